"""What `reconstruct` accepts, checked: values in eager mode only, shapes always."""

from __future__ import annotations

import tensorflow as tf

__all__ = ["ALL_ZERO_GAMMA_FLOOR", "validated"]

ALL_ZERO_GAMMA_FLOOR = 1e-6
"""What an image whose `gamma` is zero everywhere is given instead (see `reconstruct`)."""


def validated(
    f: tf.Tensor, v: tf.Tensor, gamma: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The arguments of a solve as tensors of one dtype; errors where they do not fit.

    Args:
        f: see `deepam_tf.reconstruct`.
        v: see `deepam_tf.reconstruct`.
        gamma: see `deepam_tf.reconstruct`.

    Returns:
        `(f, v, gamma)`, `gamma` with a floor in images where it is zero everywhere.

    Raises:
        ValueError: see `deepam_tf.reconstruct`.
        TypeError: see `deepam_tf.reconstruct`.
    """
    f = tf.convert_to_tensor(f, name="f")
    if f.dtype not in (tf.float32, tf.float64):
        raise TypeError(
            "`f` must be float32 or float64: a solve needs the digits. "
            f"Received: f.dtype={f.dtype.name}. Cast it with tf.cast(f, tf.float32)."
        )
    v = tf.convert_to_tensor(v, dtype=f.dtype, name="v")
    gamma = tf.convert_to_tensor(gamma, dtype=f.dtype, name="gamma")
    received = f"Received: f.shape={f.shape}, v.shape={v.shape}, gamma.shape={gamma.shape}."
    if not f.shape.rank == v.shape.rank == gamma.shape.rank == 4:
        raise ValueError(
            "`f`, `v` and `gamma` must have rank 4, [batch, height, width, channels]. " + received
        )
    channels = f.shape[-1]
    if channels is None or v.shape[-1] != 2 * channels or gamma.shape[-1] not in (1, channels):
        raise ValueError(
            "With C channels in `f`, `v` must have 2C maps, (dy, dx), and `gamma` 1 or C. "
            + received
        )
    if not (
        f.shape[:3].is_compatible_with(v.shape[:3])
        and f.shape[:3].is_compatible_with(gamma.shape[:3])
    ):
        raise ValueError("`f`, `v` and `gamma` must agree in batch, height and width. " + received)
    if tf.executing_eagerly():
        for name, x in (("f", f), ("v", v), ("gamma", gamma)):
            _check_finite(name, x)
        _check_gamma(gamma)
    # Sizes that are only known when the graph runs must not broadcast either.
    v = tf.reshape(v, tf.concat([tf.shape(f)[:3], [v.shape[-1]]], axis=0))
    gamma = tf.reshape(gamma, tf.concat([tf.shape(f)[:3], [gamma.shape[-1]]], axis=0))
    all_zero = tf.reduce_all(tf.equal(gamma, 0), axis=[1, 2], keepdims=True)
    floor = tf.cast(ALL_ZERO_GAMMA_FLOOR, gamma.dtype)
    return f, v, tf.where(all_zero, floor, gamma)


def _check_finite(name: str, x: tf.Tensor) -> None:
    finite = tf.math.is_finite(x)
    if not bool(tf.reduce_all(finite)):
        bad = tf.where(~finite)
        images = tf.unique(bad[:, 0])[0].numpy().tolist()
        raise ValueError(
            f"`{name}` must be finite. Received: {bad.shape[0]} NaN or infinite values in "
            f"image(s) {images} of the batch. Set `gamma` to 0 and `f` to any number where "
            "data are missing."
        )


def _check_gamma(gamma: tf.Tensor) -> None:
    if bool(tf.reduce_any(gamma < 0)):
        raise ValueError(
            "`gamma` must not be negative: the energy would have no minimum. "
            f"Received: min(gamma)={float(tf.reduce_min(gamma))}. Apply tf.nn.relu to it."
        )
    all_zero = tf.reduce_all(tf.equal(gamma, 0), axis=[1, 2])
    if bool(tf.reduce_any(all_zero)):
        images = tf.unique(tf.where(all_zero)[:, 0])[0].numpy().tolist()
        raise ValueError(
            "`gamma` must be positive on at least one pixel of each image and channel: the "
            "solution is not unique otherwise. "
            f"Received: gamma all zero in image(s) {images} of the batch. Add a small floor."
        )
