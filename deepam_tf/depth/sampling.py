"""Coarse maps and fine grids: which pixels a low-resolution map has measured, and back.

A map of scale `s` holds the pixels `offset + i s`, `i = 0, 1, ...`, of the fine grid along
each axis. Taking samples and interpolating them agree on these positions to the fraction of
a pixel; a map sampled at one offset and interpolated at another is shifted by the difference.

Offsets of common resampling: `s // 2` (nearest neighbour of Pillow and MATLAB, and the
default here), 0 (nearest neighbour of OpenCV), `(s - 1) / 2` (averages over blocks, such as
OpenCV's INTER_AREA and the pixels of a real coarse sensor).
"""

from __future__ import annotations

import functools

import numpy as np
import tensorflow as tf

from deepam_tf.depth.planes import interpolate_planes
from deepam_tf.linear.reconstruction import reconstruct

__all__ = [
    "INTERPOLATED",
    "fill_holes",
    "interpolate_samples",
    "observe_coarse",
    "take_samples",
]

INTERPOLATED = 0.01
"""Value of the mask where a pixel lies between samples; 1 is measured, 0 unknown. It multiplies
`gamma`: small, since an untrained model that trusted blurred edges would first have to learn not
to. At 0.01 the samples reach 10 pixels, at 0.05 only 4 (learning was slower with it)."""

_HOLE_RATE = 1 / 8  # of the training crops have a hole
_AVERAGE_RATE = 1 / 6  # of them are averages over blocks instead of single pixels
_KEEP = 1e4  # weight of a measured pixel against the smoothness of what fills the holes


def take_samples(image: tf.Tensor, scale: int, *, offset: int | None = None) -> tf.Tensor:
    """Keep one pixel in `scale` along each axis: nearest-neighbour downsampling.

    Args:
        image: `[..., H, W, C]`.
        scale: pixels from sample to sample.
        offset: position of the first sample, `scale // 2` by default.

    Returns:
        `[..., h, w, C]`.

    Example:
        >>> ramp = tf.reshape(tf.range(8), [1, 8, 1])
        >>> deepam_tf.sampling.take_samples(ramp, 4, offset=0)[0, :, 0].numpy().tolist()
        [0, 4]
    """
    offset = scale // 2 if offset is None else offset
    return image[..., offset::scale, offset::scale, :]


def interpolate_samples(
    low: tf.Tensor,
    valid: tf.Tensor,
    size: tuple[int, int],
    scale: int,
    *,
    offset: float | None = None,
    limited: bool = False,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Interpolation of samples onto the fine grid, where there are any around.

    Bilinear, or with `limited` a plane around each sample (see `planes`): as good on slopes, and
    it keeps edges sharp, if not in their place. On Middlebury's depth maps it misses about half
    as many pixels.

    Unknown samples are filled first, see `fill_holes`. Before the first and beyond the last
    sample of an axis the nearest one is repeated, with `limited` its plane goes on for half a
    cell.

    Args:
        low: samples, `[..., h, w, C]`, floating.
        valid: 1 where a sample was measured, 0 where not, `[..., h, w, 1]`.
        size: height and width of the fine grid.
        scale: pixels from sample to sample.
        offset: position of the first sample in pixels, `scale // 2` by default.
        limited: whether to keep edges sharp.

    Returns:
        `(image, mask)`: `[..., H, W, C]`, and `[..., H, W, 1]` that is 1 at measured samples,
        `INTERPOLATED` beside them, and 0 where no sample around was measured.

    Example:
        >>> low = tf.constant([[[0.0], [4.0]]])
        >>> dense, _ = deepam_tf.sampling.interpolate_samples(low, tf.ones_like(low), (1, 6), 4)
        >>> dense[0, :, 0].numpy().tolist()
        [0.0, 0.0, 0.0, 1.0, 2.0, 3.0]
    """
    offset = scale // 2 if offset is None else offset
    low = fill_holes(low, valid)
    rows = _interpolation_matrix(low.shape[-3], size[0], scale, offset)
    columns = _interpolation_matrix(low.shape[-2], size[1], scale, offset)

    weight = _spread(tf.cast(valid, low.dtype), rows, columns)
    known = weight > 1e-3
    # A pixel is a sample where interpolation takes one row and one column whole.
    exact = np.outer(np.isclose(rows.max(axis=1), 1.0), np.isclose(columns.max(axis=1), 1.0))
    inside = np.outer(
        _inside(low.shape[-3], size[0], scale, offset),
        _inside(low.shape[-2], size[1], scale, offset),
    )
    at_sample = tf.constant((exact & inside)[..., np.newaxis])
    mask = tf.where(at_sample & (weight > 0.5), 1.0, INTERPOLATED)
    dense = interpolate_planes(low, size, scale, offset) if limited else _spread(low, rows, columns)
    return dense, tf.cast(tf.where(known, mask, 0.0), low.dtype)


def fill_holes(image: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    """Fill unknown pixels with the smoothest continuation of the known ones (a membrane).

    The minimum of the energy of the paper's eq. (6) with `v = 0`, `gamma = 0` in the holes and
    large elsewhere. An image without a known pixel becomes 0.

    Args:
        image: `[..., H, W, C]`, floating; values in holes do not matter, but are finite.
        valid: 1 where the image is known, 0 where not, `[..., H, W, 1]`.

    Returns:
        The image, known pixels unchanged.

    Example:
        >>> row = tf.constant([[[1.0], [7.0], [3.0]]])
        >>> filled = deepam_tf.sampling.fill_holes(row, tf.constant([[[1.0], [0.0], [1.0]]]))
        >>> round(float(filled[0, 1, 0]), 3)
        2.0
    """
    known = tf.broadcast_to(tf.cast(valid, tf.bool), tf.shape(image))
    image = tf.where(known, image, 0.0)
    if image.shape.rank == 3:
        return fill_holes(image[tf.newaxis], valid[tf.newaxis])[0]
    if tf.executing_eagerly() and bool(tf.reduce_all(known)):
        return image

    def solved() -> tf.Tensor:
        gamma = _KEEP * tf.cast(known[..., :1], image.dtype)
        # A hole without anything around it has no smoothest continuation.
        gamma = tf.where(tf.reduce_any(known, axis=[-3, -2, -1], keepdims=True), gamma, 1.0)
        flat = tf.zeros(tf.concat([tf.shape(image)[:-1], [2 * image.shape[-1]]], 0), image.dtype)
        smooth = reconstruct(
            image, flat, gamma, preconditioner="multigrid" if tf.executing_eagerly() else "jacobi"
        )
        return tf.where(known, image, smooth)

    return tf.cond(tf.reduce_all(known), lambda: image, solved)


def observe_coarse(
    image: tf.Tensor, valid: tf.Tensor, scales: tuple[int, ...], seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """A random low-resolution observation of an image, on the image's own grid.

    Nearest-neighbour samples at the default offset, as in the paper's section 5.2; for one
    crop in six averages over blocks, the pixels of a real coarse sensor. One crop in eight
    loses a rectangle of its samples.

    Args:
        image: `[H, W, C]` of known size, multiples of every scale.
        valid: 1 where the image is known, 0 where not, `[H, W, 1]`.
        scales: pixels from sample to sample, one of them is drawn.
        seed: two integers, `[2]`.

    Returns:
        `(image, mask)`, see `interpolate_samples`; edges are kept sharp.
    """
    size = (image.shape[0], image.shape[1])
    choice, average, hole = (
        tf.random.stateless_uniform([], tf.random.fold_in(seed, i)) for i in range(3)
    )
    corners = tf.random.stateless_uniform([2, 2], tf.random.fold_in(seed, 3))

    def observed(scale: int):
        def nearest():
            low, known = (take_samples(x, scale) for x in (image, valid))
            known = _with_hole(known, corners, hole < _HOLE_RATE)
            return interpolate_samples(low, known, size, scale, limited=True)

        def averaged():
            total, count = (_block_means(x, scale) for x in (image * valid, valid))
            known = tf.cast(count > 0, image.dtype)
            low = total / tf.where(count > 0, count, 1.0)
            known = _with_hole(known, corners, hole < _HOLE_RATE)
            middle = (scale - 1) / 2
            return interpolate_samples(low, known, size, scale, offset=middle, limited=True)

        return tf.cond(average < _AVERAGE_RATE, averaged, nearest) if scale > 1 else nearest()

    distinct = sorted(set(scales))
    number = tf.cast(choice * len(scales), tf.int32)
    branch = tf.constant([distinct.index(scale) for scale in scales])[number]
    return tf.switch_case(branch, [functools.partial(observed, scale) for scale in distinct])


def _block_means(x: tf.Tensor, scale: int) -> tf.Tensor:
    return tf.nn.avg_pool2d(x[tf.newaxis], scale, scale, "VALID")[0]


def _with_hole(valid: tf.Tensor, corners: tf.Tensor, there_is_one: tf.Tensor) -> tf.Tensor:
    """Zero in a rectangle of up to half the height and width."""
    inside = tf.cast(there_is_one, valid.dtype)
    for axis in (0, 1):
        size = valid.shape[axis]
        position = (tf.range(size, dtype=tf.float32) + 0.5) / size
        first = corners[0, axis]
        line = (position > first) & (position < first + 0.1 + 0.4 * corners[1, axis])
        inside *= tf.reshape(tf.cast(line, valid.dtype), [-1, 1, 1] if axis == 0 else [1, -1, 1])
    return valid * (1.0 - inside)


def _spread(x: tf.Tensor, rows: np.ndarray, columns: np.ndarray) -> tf.Tensor:
    x = tf.einsum("Hh,...hwc->...Hwc", tf.constant(rows, x.dtype), x)
    return tf.einsum("Ww,...Hwc->...HWc", tf.constant(columns, x.dtype), x)


def _interpolation_matrix(samples: int, size: int, scale: float, offset: float) -> np.ndarray:
    """`[size, samples]`: each row the weights of a pixel's two neighbours."""
    position = np.clip((np.arange(size) - offset) / scale, 0, samples - 1)
    left = np.minimum(position.astype(int), max(samples - 2, 0))
    right = np.minimum(left + 1, samples - 1)
    fraction = position - left
    matrix = np.zeros((size, samples))
    np.add.at(matrix, (np.arange(size), left), 1 - fraction)
    np.add.at(matrix, (np.arange(size), right), fraction)
    return matrix


def _inside(samples: int, size: int, scale: float, offset: float) -> np.ndarray:
    position = (np.arange(size) - offset) / scale
    return (position >= -1e-6) & (position <= samples - 1 + 1e-6)
