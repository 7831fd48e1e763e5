"""Coarse maps and fine grids: which pixels a low-resolution map has measured, and back.

A map of scale `s` has one value for each of the pixels `offset + i s`, `i = 0, 1, ...`, of the
fine grid along each axis, see `grids`. Making a map coarse and interpolating it agree on these
positions to the fraction of a pixel; a map made at one offset and interpolated at another is
shifted by the difference.

Offsets of common resampling: `s // 2` (nearest neighbour of Pillow and MATLAB, and the
default here), 0 (nearest neighbour of OpenCV), `(s - 1) / 2` (averages over blocks, such as
OpenCV's INTER_AREA and the pixels of a real coarse sensor, and Pillow's bicubic).
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from deepam_tf.depth.grids import (
    Scale,
    as_float64,
    as_pair,
    default_offset,
    neighbours,
    positions,
)
from deepam_tf.depth.planes import interpolate_planes
from deepam_tf.linear.reconstruction import reconstruct

__all__ = [
    "INTERPOLATED",
    "KINDS",
    "coarsen",
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
        scale: whole pixels from sample to sample, see `grids`.
        offset: position of the first sample, `scale // 2` by default.

    Returns:
        `[..., h, w, C]`.

    Example:
        >>> ramp = tf.reshape(tf.range(8), [1, 8, 1])
        >>> deepam_tf.sampling.take_samples(ramp, 4, offset=0)[0, :, 0].numpy().tolist()
        [0, 4]
    """
    rows, columns = as_pair(scale)
    top, left = as_pair(offset)
    top = rows // 2 if top is None else top
    left = columns // 2 if left is None else left
    return image[..., top::rows, left::columns, :]


def _points(distance: tf.Tensor, scale: Any) -> tf.Tensor:
    del scale  # the pixel that the position falls into
    return tf.cast((distance > -0.5 - 1e-6) & (distance <= 0.5 - 1e-6), distance.dtype)


def _means(distance: tf.Tensor, scale: Any) -> tf.Tensor:
    # How much of the pixel, one wide, lies within half a scale of the position.
    return tf.clip_by_value((scale + 1) / 2 - tf.abs(distance), 0.0, 1.0)


def _bicubic(distance: tf.Tensor, scale: Any) -> tf.Tensor:
    # Keys' kernel with a = -1/2, stretched by the scale, as Pillow and MATLAB have it.
    x = tf.abs(distance) / scale
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return tf.where(x < 1, near, tf.where(x < 2, far, 0.0))


KINDS = {"points": _points, "means": _means, "bicubic": _bicubic}
"""How a coarse map may be made: of single pixels, averages over cells of `scale` by `scale`, or
by bicubic resizing with its antialiasing. The functions give the weight of a pixel for a sample,
by its distance from it."""


def coarsen(
    image: tf.Tensor,
    valid: tf.Tensor,
    scale: Scale,
    *,
    offset: Scale | None = None,
    kind: Any = "points",
) -> tuple[tf.Tensor, tf.Tensor]:
    """Make a coarse map of a fine one: a sample for each position that lies in the image.

    Args:
        image: `[H, W, C]`, floating.
        valid: 1 where the image is known, 0 where not, `[H, W, 1]`.
        scale: pixels from sample to sample, see `grids`.
        offset: position of the first sample; by default `grids.default_offset` for points, and
            `(scale - 1) / 2` for the other kinds.
        kind: a key of `KINDS`, or the number of one in a tensor.

    Returns:
        `(samples, valid)`, `[h, w, C]` and `[h, w, 1]`: 0 where less than half of the weight of
        a sample falls on known pixels; the others are normalised by what does.

    Example:
        >>> ramp = tf.reshape(tf.range(8.0), [1, 8, 1])
        >>> low, _ = deepam_tf.sampling.coarsen(ramp, tf.ones_like(ramp), (1, 4), kind="means")
        >>> low[0, :, 0].numpy().tolist()
        [1.5, 5.5]
    """
    scale = as_pair(scale)
    if offset is None:
        points = isinstance(kind, str) and kind == "points"
        offset = as_pair(tuple(default_offset(s) if points else (s - 1) / 2 for s in scale))
    rows, columns = (
        _weights(size, s, first, kind)
        for size, s, first in zip(image.shape[-3:-1], scale, as_pair(offset), strict=True)
    )
    rows, columns = (tf.cast(matrix, image.dtype) for matrix in (rows, columns))

    def gathered(x: tf.Tensor) -> tf.Tensor:
        return tf.einsum("hH,wW,HWc->hwc", rows, columns, x, optimize="greedy")

    valid = tf.cast(valid, image.dtype)
    share = gathered(valid)
    known = share > 0.5
    samples = gathered(image * valid) / tf.where(known, share, 1.0)
    return tf.where(known, samples, 0.0), tf.cast(known, image.dtype)


def _weights(size: Any, scale: Any, offset: Any, kind: Any) -> tf.Tensor:
    """`[h, size]`: how each sample of an axis is made of its pixels."""
    last = tf.floor(positions(size, scale, offset)[-1] + 1e-6)
    scale, offset = as_float64(scale), as_float64(offset)
    samples = offset + scale * tf.range(last + 1.0)
    distance = tf.cast(tf.range(size), tf.float64) - samples[:, tf.newaxis]
    if isinstance(kind, str):
        matrix = KINDS[kind](distance, scale)
    else:
        matrix = tf.switch_case(kind, [lambda f=f: f(distance, scale) for f in KINDS.values()])
    return matrix / tf.reduce_sum(matrix, axis=1, keepdims=True)


def interpolate_samples(
    low: tf.Tensor,
    valid: tf.Tensor,
    size: tuple[int, int],
    scale: Scale,
    *,
    offset: Scale | None = None,
    limited: bool = False,
    points: Any = True,
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
        scale: pixels from sample to sample, see `grids`.
        offset: position of the first sample in pixels, `grids.default_offset` by default.
        limited: whether to keep edges sharp.
        points: whether a sample is the value of the very pixel it lies on, not an average.

    Returns:
        `(image, mask)`: `[..., H, W, C]`, and `[..., H, W, 1]` that is 1 at measured pixels,
        `INTERPOLATED` beside them, and 0 where no sample around was measured.

    Example:
        >>> low = tf.constant([[[0.0], [4.0]]])
        >>> dense, _ = deepam_tf.sampling.interpolate_samples(low, tf.ones_like(low), (1, 6), 4)
        >>> dense[0, :, 0].numpy().tolist()
        [0.0, 0.0, 0.0, 1.0, 2.0, 3.0]
    """
    scale = as_pair(scale)
    offset = as_pair(tuple(map(default_offset, scale)) if offset is None else offset)
    low = fill_holes(low, valid)
    counts = tf.unstack(tf.shape(low)[-3:-1])
    rows, columns = (
        neighbours(*axis) for axis in zip(counts, as_pair(size), scale, offset, strict=True)
    )
    weight = _between(tf.cast(valid, low.dtype), rows, columns)
    at_sample = (rows[2][:, tf.newaxis] & columns[2])[..., tf.newaxis] & (weight > 0.5)
    mask = tf.where(at_sample & points, 1.0, INTERPOLATED)
    dense = (
        interpolate_planes(low, size, scale, offset) if limited else _between(low, rows, columns)
    )
    return dense, tf.cast(tf.where(weight > 1e-3, mask, 0.0), low.dtype)


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
    image: tf.Tensor,
    valid: tf.Tensor,
    scales: tuple[int, ...],
    seed: tf.Tensor,
    *,
    vary: bool = False,
) -> tuple[tf.Tensor, tf.Tensor]:
    """A random low-resolution observation of an image, on the image's own grid.

    Nearest-neighbour samples at the default offset, as in the paper's section 5.2; for one
    crop in six averages over blocks, the pixels of a real coarse sensor. One crop in eight
    loses a rectangle of its samples.

    With `vary` every grid occurs: half of the crops have their first sample anywhere, one in five
    a fraction as its scale, up to a quarter from the one drawn and a third of these another for
    the columns; one in five are averages and one in five bicubically resized. Of these two
    every second one on whole pixels is taken for points, as it will be where nobody knows.

    Args:
        image: `[H, W, C]` of known size.
        valid: 1 where the image is known, 0 where not, `[H, W, 1]`.
        scales: pixels from sample to sample, one of them is drawn.
        seed: two integers, `[2]`.
        vary: see above.

    Returns:
        `(image, mask)`, see `interpolate_samples`; edges are kept sharp.
    """
    size = (image.shape[0], image.shape[1])
    draws = tf.random.stateless_uniform([12], tf.random.fold_in(seed, 0))
    which, made, hole, fraction, apart, anywhere, known_kind = tf.unstack(draws[:7])
    scale = tf.gather(tf.constant(scales, tf.float32), tf.cast(which * len(scales), tf.int32))
    rate = 1 / 5 if vary else _AVERAGE_RATE
    means, bicubic = made < rate, (made >= rate) & (made < (2 * rate if vary else 0.0))
    kind = tf.where(scale == 1, 0, tf.where(means, 1, tf.where(bicubic, 2, 0)))
    grid = []
    for axis in (0, 1):
        step = scale
        first = tf.where(kind == 0, tf.floor(step / 2), (step - 1) / 2)
        if vary:
            stretch = draws[7 + tf.where(apart < 1 / 3, axis, 0)]
            fractional = (fraction < 1 / 5) & (scale > 1)
            step = tf.where(fractional, tf.maximum(scale * 1.25 ** (2 * stretch - 1), 1.0), scale)
            first = tf.where(fractional, (step - 1) / 2, first)
            shifted = draws[9 + axis] * step
            # Points of whole scales lie on pixels, wherever the first one does.
            shifted = tf.where((kind == 0) & ~fractional, tf.floor(shifted), shifted)
            first = tf.where(anywhere < 1 / 2, shifted, first)
        grid.append((step, first))
    scale, offset = zip(*grid, strict=True)
    low, known = coarsen(image, valid, scale, offset=offset, kind=kind)
    corners = tf.random.stateless_uniform([2, 2], tf.random.fold_in(seed, 3))
    known = _with_hole(known, corners, hole < _HOLE_RATE)
    points = (kind == 0) | (known_kind < 1 / 2) if vary else kind == 0
    dense, mask = interpolate_samples(
        low, known, size, scale, offset=offset, limited=True, points=points
    )
    return tf.ensure_shape(dense, image.shape), tf.ensure_shape(mask, valid.shape)


def _with_hole(valid: tf.Tensor, corners: tf.Tensor, there_is_one: tf.Tensor) -> tf.Tensor:
    """Zero in a rectangle of up to half the height and width."""
    inside = tf.cast(there_is_one, valid.dtype)
    for axis in (0, 1):
        size = tf.shape(valid)[axis]
        position = (tf.range(size, dtype=tf.float32) + 0.5) / tf.cast(size, tf.float32)
        first = corners[0, axis]
        line = (position > first) & (position < first + 0.1 + 0.4 * corners[1, axis])
        inside *= tf.reshape(tf.cast(line, valid.dtype), [-1, 1, 1] if axis == 0 else [1, -1, 1])
    return valid * (1.0 - inside)


def _between(x: tf.Tensor, rows: tuple, columns: tuple) -> tf.Tensor:
    """Linear interpolation along both axes."""
    for axis, (left, fraction, _) in ((-3, rows), (-2, columns)):
        right = tf.minimum(left + 1, tf.shape(x)[axis] - 1)
        share = tf.reshape(tf.cast(fraction, x.dtype), [-1] + [1] * (-axis - 1))
        before, after = (tf.gather(x, number, axis=axis) for number in (left, right))
        x = (1.0 - share) * before + share * after
    return x
