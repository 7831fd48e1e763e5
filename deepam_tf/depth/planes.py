"""Planes through the samples of a coarse map: they keep the edges that interpolation blurs.

Around each sample lies a plane whose slopes are the smaller of those to its two neighbours, and
zero where these disagree in sign (the minmod limiter; van Leer, J. Comput. Phys. 1979).
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import tensorflow as tf

from deepam_tf.depth.grids import Scale, as_pair, default_offset, positions

__all__ = ["EDGE", "clamp_to_samples", "interpolate_planes", "near_share", "snap_to_planes"]

EDGE = 0.04
"""Of the map's range: planes that differ by more belong to different surfaces (10 of 255 levels;
chosen on training maps, where 5 did as well and 20 left more of Middlebury's pixels wrong)."""


def interpolate_planes(
    low: tf.Tensor, size: tuple[int, int], scale: Scale, offset: Scale
) -> tf.Tensor:
    """At each pixel the plane of the nearest sample.

    Args:
        low: samples, `[..., h, w, C]`, floating.
        size: height and width of the fine grid.
        scale: pixels from sample to sample, see `grids`.
        offset: position of the first sample in pixels.

    Returns:
        `[..., H, W, C]`; beyond the first and last sample the plane goes on for half a cell.

    Example:
        >>> low = tf.constant([[[0.0], [4.0]]])
        >>> deepam_tf.planes.interpolate_planes(low, (1, 6), 4, 2.0)[0, :, 0].numpy().tolist()
        [-2.0, -1.0, 0.0, 1.0, 2.0, 3.0]
    """
    return _plane(low, _slopes(low), size, scale, offset, shift=(0, 0), reach=0.5)


def near_share(scale: Scale) -> float:
    """How near to a surface a pixel has to be to belong to it: a share of the way to the next.

    The further apart the samples, the less their planes say of what lies between. Larger shares
    leave fewer pixels of Middlebury wrong, whose edges are sharp, and more of NYU v2, whose edges
    are soft. Chosen on training frames of both (docs/joint.md, "Edges").

    Args:
        scale: pixels from sample to sample.

    Returns:
        The share, in (0, 0.5].

    Example:
        >>> deepam_tf.planes.near_share(4)
        0.4
    """
    rows, columns = as_pair(scale)
    return min(1.6 / math.sqrt(rows * columns), 0.5)


def snap_to_planes(
    image: tf.Tensor,
    low: tf.Tensor,
    valid: tf.Tensor,
    scale: Scale,
    *,
    offset: Scale | None = None,
    edge: float = EDGE,
    share: float | None = None,
) -> tf.Tensor:
    """Decide for one surface where a restored map lies near it, but not on it.

    A pixel beside an edge belongs to one of two surfaces. A network that is nearly sure which
    takes a value near it, which is wrong all the same: in a point cloud it hangs in the air. Here
    the pixel takes the value of that plane, of the nine of the samples around, that is closest.
    Where the network could not tell, in the middle, and where maps have soft edges, it stays.

    Args:
        image: the restored map, `[H, W, C]`, floating.
        low: the samples it was restored from, `[h, w, C]`; finite.
        valid: 1 where a sample was measured, 0 where not, `[h, w, 1]`.
        scale: pixels from sample to sample, above 1.
        offset: position of the first sample in pixels, `scale // 2` by default.
        edge: where the planes differ by no more, and where one of the nine samples is unknown,
            the pixel keeps its value.
        share: nor does a pixel change that is further from the closest plane than this share of
            the way between the planes above and below it, or that lies between no two; in
            (0, 0.5], by default `near_share(scale)`.

    Returns:
        `[H, W, C]`.

    Example:
        >>> low = tf.constant([[[0.0], [0.0], [1.0], [1.0]]])
        >>> soft = tf.constant([[[0.0], [0.0], [0.2], [0.5], [0.9], [1.0], [1.0], [1.0]]])
        >>> hard = deepam_tf.planes.snap_to_planes(soft, low, tf.ones_like(low), 2, share=0.3)
        >>> hard[0, :, 0].numpy().tolist()
        [0.0, 0.0, 0.0, 0.5, 1.0, 1.0, 1.0, 1.0]
    """
    scale = as_pair(scale)
    offset = as_pair(tuple(map(default_offset, scale)) if offset is None else offset)
    share = near_share(scale) if share is None else share
    size = (image.shape[-3], image.shape[-2])
    slopes = _slopes(low)
    closest = lowest = highest = interpolate_planes(low, size, scale, offset)
    above = tf.zeros_like(image) + math.inf
    below = -above
    known = tf.ones_like(image[..., :1], tf.bool)
    for shift in itertools.product((-1, 0, 1), repeat=2):
        plane = _plane(low, slopes, size, scale, offset, shift=shift, reach=1.0)
        closer = tf.abs(plane - image) < tf.abs(closest - image)
        closest = tf.where(closer, plane, closest)
        lowest, highest = tf.minimum(lowest, plane), tf.maximum(highest, plane)
        above = tf.where(plane >= image, tf.minimum(above, plane), above)
        below = tf.where(plane <= image, tf.maximum(below, plane), below)
        rows, columns = (
            _nearest(*axis)[0]
            for axis in zip(low.shape[-3:-1], size, scale, offset, shift, strict=True)
        )
        known &= _pick(valid, rows, columns) > 0
    between = tf.math.is_finite(above - below)
    near = between & (tf.abs(closest - image) <= share * (above - below))
    return tf.where(known & near & (highest - lowest > edge), closest, image)


def clamp_to_samples(
    image: tf.Tensor,
    low: tf.Tensor,
    valid: tf.Tensor,
    scale: Scale,
    *,
    offset: Scale | None = None,
) -> tf.Tensor:
    """Keep a restored map within what the samples around can mean.

    No pixel leaves the range of the nine samples around it by more than this range is wide; where
    none of them is known, that of all samples.

    Args:
        image: the restored map, `[H, W, C]`, floating.
        low: the samples it was restored from, `[h, w, C]`; finite.
        valid: 1 where a sample was measured, 0 where not, `[h, w, 1]`.
        scale: pixels from sample to sample, see `grids`.
        offset: position of the first sample in pixels, `grids.default_offset` by default.

    Returns:
        `[H, W, C]`.

    Example:
        >>> low = tf.constant([[[0.0], [0.0], [1.0], [1.0]]])
        >>> wild = tf.constant([[[9.0], [9.0], [9.0], [9.0], [9.0], [0.5], [-9.0], [1.0]]])
        >>> tame = deepam_tf.planes.clamp_to_samples(wild, low, tf.ones_like(low), 2)
        >>> tame[0, :, 0].numpy().tolist()
        [0.0, 0.0, 2.0, 2.0, 2.0, 0.5, 1.0, 1.0]
    """
    scale = as_pair(scale)
    offset = as_pair(tuple(map(default_offset, scale)) if offset is None else offset)
    low, known = tf.convert_to_tensor(low), tf.cast(valid, tf.bool)
    bounds = []
    for sign in (-1.0, 1.0):
        signed = tf.where(known, sign * low, low.dtype.min)
        largest = tf.nn.max_pool2d(signed[tf.newaxis], 3, 1, "SAME")[0]
        # Where no sample around is known, that of them all.
        bounds.append(tf.where(largest > low.dtype.min, largest, tf.reduce_max(signed)))
    least, largest = bounds
    spread = largest + least
    rows, columns = (
        _nearest(*axis)[0]
        for axis in zip(low.shape[-3:-1], image.shape[-3:-1], scale, offset, strict=True)
    )
    bottom, top = (_pick(bound, rows, columns) for bound in (-least - spread, largest + spread))
    return tf.clip_by_value(image, bottom, top)


def _slopes(low: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return _limited_slope(low, -3), _limited_slope(low, -2)


def _limited_slope(low: tf.Tensor, axis: int) -> tf.Tensor:
    """The smaller of the differences to both neighbours along an axis, 0 if they disagree."""
    number = tf.range(tf.shape(low)[axis])
    last = tf.shape(low)[axis] - 1
    back = low - tf.gather(low, tf.maximum(number - 1, 0), axis=axis)
    forth = tf.gather(low, tf.minimum(number + 1, last), axis=axis) - low
    # At the ends there is one neighbour only.
    number = tf.reshape(number, [-1] + [1] * (-axis - 1))
    back, forth = tf.where(number == 0, forth, back), tf.where(number == last, back, forth)
    agree = tf.cast(back * forth > 0, low.dtype)
    return agree * tf.sign(back) * tf.minimum(tf.abs(back), tf.abs(forth))


def _plane(low, slopes, size, scale, offset, *, shift, reach) -> tf.Tensor:
    """At each pixel the plane of a sample beside the nearest one, up to `reach` samples away."""
    grid = zip(as_pair(size), as_pair(scale), as_pair(offset), shift, strict=True)
    counts = tf.unstack(tf.shape(low)[-3:-1])
    (rows, y), (columns, x) = (
        _nearest(count, *axis) for count, axis in zip(counts, grid, strict=True)
    )
    y, x = (tf.cast(tf.clip_by_value(way, -reach, reach), low.dtype) for way in (y, x))
    level, down, right = (_pick(part, rows, columns) for part in (low, *slopes))
    return level + down * y[:, tf.newaxis, tf.newaxis] + right * x[:, tf.newaxis]


def _nearest(count: Any, size: Any, scale: Any, offset: Any, shift: int = 0):
    """Each pixel's nearest sample, its number plus `shift`, and the way from there in samples."""
    position = positions(size, scale, offset)
    # A hair up, for the tie half way: a block then begins where its sample lies in the middle.
    index = tf.cast(tf.floor(position + 0.5 + 1e-6), tf.int32)
    index = tf.clip_by_value(tf.clip_by_value(index, 0, count - 1) + shift, 0, count - 1)
    return index, position - tf.cast(index, tf.float64)


def _pick(x: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
    return tf.gather(tf.gather(x, rows, axis=-3), columns, axis=-2)
