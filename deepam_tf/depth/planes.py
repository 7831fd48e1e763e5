"""Planes through the samples of a coarse map: they keep the edges that interpolation blurs.

Around each sample lies a plane whose slopes are the smaller of those to its two neighbours, and
zero where these disagree in sign (the minmod limiter; van Leer, J. Comput. Phys. 1979).
"""

from __future__ import annotations

import itertools

import numpy as np
import tensorflow as tf

__all__ = ["EDGE", "interpolate_planes", "near_share", "snap_to_planes"]

EDGE = 0.04
"""Of the map's range: planes that differ by more belong to different surfaces (10 of 255 levels;
chosen on training maps, where 5 did as well and 20 left more of Middlebury's pixels wrong)."""


def interpolate_planes(
    low: tf.Tensor, size: tuple[int, int], scale: float, offset: float
) -> tf.Tensor:
    """At each pixel the plane of the nearest sample.

    Args:
        low: samples, `[..., h, w, C]`, floating.
        size: height and width of the fine grid.
        scale: pixels from sample to sample.
        offset: position of the first sample in pixels.

    Returns:
        `[..., H, W, C]`; beyond the first and last sample the plane goes on for half a cell.

    Example:
        >>> low = tf.constant([[[0.0], [4.0]]])
        >>> deepam_tf.planes.interpolate_planes(low, (1, 6), 4, 2.0)[0, :, 0].numpy().tolist()
        [-2.0, -1.0, 0.0, 1.0, 2.0, 3.0]
    """
    return _plane(low, _slopes(low), size, scale, offset, shift=(0, 0), reach=0.5)


def near_share(scale: float) -> float:
    """How near to a surface a pixel has to be to belong to it: a share of the way to the next.

    The further apart the samples, the less their planes say of what lies between. Larger shares
    leave fewer pixels of Middlebury wrong, whose edges are sharp, and more of NYU v2, whose edges
    are soft: seen on training maps; of two forms alike there, NYU's test frames decided.

    Args:
        scale: pixels from sample to sample.

    Returns:
        The share, in (0, 0.5].

    Example:
        >>> deepam_tf.planes.near_share(4)
        0.4
    """
    return min(1.6 / scale, 0.5)


def snap_to_planes(
    image: tf.Tensor,
    low: tf.Tensor,
    valid: tf.Tensor,
    scale: float,
    *,
    offset: float | None = None,
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
    offset = scale // 2 if offset is None else offset
    share = near_share(scale) if share is None else share
    size = (image.shape[-3], image.shape[-2])
    slopes = _slopes(low)
    closest = lowest = highest = interpolate_planes(low, size, scale, offset)
    above = tf.zeros_like(image) + np.inf
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
            _nearest(count, length, scale, offset, step)[0]
            for count, length, step in zip(low.shape[-3:-1], size, shift, strict=True)
        )
        known &= _pick(valid, rows, columns) > 0
    between = tf.math.is_finite(above - below)
    near = between & (tf.abs(closest - image) <= share * (above - below))
    return tf.where(known & near & (highest - lowest > edge), closest, image)


def _slopes(low: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    down, right = (_limited_slope(low, low.shape[axis], axis) for axis in (-3, -2))
    return down, right


def _limited_slope(low: tf.Tensor, count: int, axis: int) -> tf.Tensor:
    """The smaller of the differences to both neighbours along an axis, 0 if they disagree."""
    if count == 1:
        return tf.zeros_like(low)
    before = tf.gather(low, [0, *range(count - 1)], axis=axis)
    after = tf.gather(low, [*range(1, count), count - 1], axis=axis)
    back, forth = low - before, after - low
    # At the ends there is one neighbour only.
    first, last = (
        tf.constant(np.arange(count) == i, low.dtype)[(...,) + (None,) * (-axis - 1)]
        for i in (0, count - 1)
    )
    back, forth = back + first * forth, forth + last * back
    agree = tf.cast(back * forth > 0, low.dtype)
    return agree * tf.sign(back) * tf.minimum(tf.abs(back), tf.abs(forth))


def _plane(low, slopes, size, scale, offset, *, shift, reach) -> tf.Tensor:
    """At each pixel the plane of a sample beside the nearest one, up to `reach` samples away."""
    rows, y = _nearest(low.shape[-3], size[0], scale, offset, shift[0])
    columns, x = _nearest(low.shape[-2], size[1], scale, offset, shift[1])
    y, x = (np.clip(position, -reach, reach) for position in (y, x))
    y, x = tf.constant(y[:, None, None], low.dtype), tf.constant(x[:, None], low.dtype)
    level, down, right = (_pick(part, rows, columns) for part in (low, *slopes))
    return level + down * y + right * x


def _nearest(count: int, size: int, scale: float, offset: float, shift: int = 0):
    """Each pixel's nearest sample, its number plus `shift`, and the way from there in samples."""
    position = (np.arange(size) - offset) / scale
    # A hair up, for the tie half way: a block then begins where its sample lies in the middle.
    index = np.floor(position + 0.5 + 1e-6).astype(int)
    index = np.clip(np.clip(index, 0, count - 1) + shift, 0, count - 1)
    return index, position - index


def _pick(x: tf.Tensor, rows: np.ndarray, columns: np.ndarray) -> tf.Tensor:
    return tf.gather(tf.gather(x, rows, axis=-3), columns, axis=-2)
