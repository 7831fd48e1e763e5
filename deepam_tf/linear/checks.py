"""What `reconstruct` accepts, checked: values in eager mode only, shapes always."""

from __future__ import annotations

import tensorflow as tf

__all__ = ["ALL_ZERO_GAMMA_FLOOR", "validated"]

ALL_ZERO_GAMMA_FLOOR = 1e-6
"""What an image whose `gamma` is zero everywhere is given instead (see `reconstruct`)."""


def validated(
    f: tf.Tensor, v: tf.Tensor, gamma: tf.Tensor, edge_weight: tf.Tensor | None = None
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor | None]:
    """The arguments of a solve as tensors of one dtype; errors where they do not fit.

    Args:
        f: see `deepam_tf.reconstruct`.
        v: see `deepam_tf.reconstruct`.
        gamma: see `deepam_tf.reconstruct`.
        edge_weight: see `deepam_tf.reconstruct`.

    Returns:
        `(f, v, gamma, edge_weight)`, `gamma` with a floor where it would be zero on all that
        links of positive weight join.

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
    given = {"f": f, "v": v, "gamma": gamma}
    if edge_weight is not None:
        edge_weight = tf.convert_to_tensor(edge_weight, dtype=f.dtype, name="edge_weight")
        received = f"Received: f.shape={f.shape}, edge_weight.shape={edge_weight.shape}."
        maps = edge_weight.shape[-1] if edge_weight.shape.rank == 4 else None
        if maps not in (2, 2 * channels):
            raise ValueError(
                "With C channels in `f`, `edge_weight` must be [batch, height, width, 2 or 2C], "
                "maps (dy, dx). " + received
            )
        if not f.shape[:3].is_compatible_with(edge_weight.shape[:3]):
            raise ValueError(
                "`f` and `edge_weight` must agree in batch, height and width. " + received
            )
        given["edge_weight"] = edge_weight
    if tf.executing_eagerly():
        for name, x in given.items():
            _check_finite(name, x)
        _check_gamma(gamma)
        if edge_weight is not None:
            _check_edge_weight(gamma, edge_weight)
    # Sizes that are only known when the graph runs must not broadcast either.
    v, gamma = _like_image(v, f), _like_image(gamma, f)
    floor = tf.cast(ALL_ZERO_GAMMA_FLOOR, gamma.dtype)
    all_zero = tf.reduce_all(tf.equal(gamma, 0), axis=[1, 2], keepdims=True)
    gamma = tf.where(all_zero, floor, gamma)
    if edge_weight is not None:
        edge_weight = _like_image(edge_weight, f)
        if not tf.executing_eagerly():
            gamma = _floored_where_cut_off(gamma, edge_weight, floor)
    return f, v, gamma, edge_weight


def _like_image(x: tf.Tensor, f: tf.Tensor) -> tf.Tensor:
    return tf.reshape(x, tf.concat([tf.shape(f)[:3], [x.shape[-1]]], axis=0))


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


def _check_edge_weight(gamma: tf.Tensor, edge_weight: tf.Tensor) -> None:
    if bool(tf.reduce_any(edge_weight < 0)):
        raise ValueError(
            "`edge_weight` must not be negative: the energy would have no minimum. "
            f"Received: min(edge_weight)={float(tf.reduce_min(edge_weight))}. Apply tf.nn.relu "
            "to it."
        )
    if not bool(_cuts(edge_weight)):
        return
    alone = ~_reached(gamma, edge_weight)
    if bool(tf.reduce_any(alone)):
        where = tf.where(alone)
        images = tf.unique(where[:, 0])[0].numpy().tolist()
        raise ValueError(
            "Pixels that links of `edge_weight` > 0 join must hold one with `gamma` > 0: the "
            f"solution is not unique otherwise. Received: {where.shape[0]} pixels cut off from "
            f"all data in image(s) {images} of the batch. Add a small floor to either."
        )


def _floored_where_cut_off(gamma, edge_weight, floor) -> tf.Tensor:
    """`gamma` with the floor on pixels that no link joins to any with `gamma > 0`."""

    def cut_off() -> tf.Tensor:
        alone = ~_reached(gamma, edge_weight)
        if gamma.shape[-1] == 1:  # one map serves all channels, whose cuts may differ
            alone = tf.reduce_any(alone, axis=-1, keepdims=True)
        return tf.ensure_shape(alone, gamma.shape)

    # The branches give no numbers: XLA compiles no derivative of a `cond` that is called by a
    # graph outside of it.
    alone = tf.cond(_cuts(edge_weight), cut_off, lambda: tf.zeros_like(gamma, dtype=tf.bool))
    return tf.where(alone, floor, gamma)


def _cuts(edge_weight: tf.Tensor) -> tf.Tensor:
    """Whether any link between two pixels has no weight."""
    dy, dx = tf.split(edge_weight, 2, axis=-1)
    return tf.reduce_any(tf.equal(dy[:, :-1], 0)) | tf.reduce_any(tf.equal(dx[:, :, :-1], 0))


def _reached(gamma: tf.Tensor, edge_weight: tf.Tensor) -> tf.Tensor:
    """Which pixels links of positive weight join to one with `gamma > 0`, channel by channel.

    From those with data it goes one pixel on at a time: as many passes as the longest way.
    What is not a number has no say: it is reported elsewhere.
    """
    # In numbers, 1 where it holds: converters to other runtimes know little of truth values.
    dtype = gamma.dtype
    down, right = (tf.cast(tf.not_equal(x, 0), dtype) for x in tf.split(edge_weight, 2, axis=-1))
    down, right = down[:, :-1], right[:, :, :-1]
    maps = max(gamma.shape[-1], edge_weight.shape[-1] // 2)
    start = tf.cast(tf.not_equal(gamma, 0), dtype)
    start = tf.concat([start] * (maps // gamma.shape[-1]), axis=-1)

    def spread(reached: tf.Tensor, _) -> tuple[tf.Tensor, tf.Tensor]:
        grown = reached
        for link, axis in ((down, 1), (right, 2)):
            here, beyond = (
                (reached[:, :-1], reached[:, 1:])
                if axis == 1
                else (reached[:, :, :-1], reached[:, :, 1:])
            )
            for x, sides in ((here * link, [1, 0]), (beyond * link, [0, 1])):
                paddings = [[0, 0], [0, 0], [0, 0], [0, 0]]
                paddings[axis] = sides
                grown = tf.maximum(grown, tf.pad(x, paddings))
        return tf.ensure_shape(grown, start.shape), tf.reduce_any(grown > reached)

    return tf.while_loop(lambda _, grew: grew, spread, (start, True))[0] > 0
