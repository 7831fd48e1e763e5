"""Where the samples of a coarse map lie on a fine grid.

Along each axis sample `i` lies at pixel `offset + i scale` of the fine grid, `i = 0, 1, ...`.
Scale and offset may be any numbers, and others along the rows than along the columns.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

__all__ = ["Scale", "as_float64", "as_pair", "default_offset", "neighbours", "positions"]

Scale = float | tuple[float, float]
"""One number for both axes, or one for the rows and one for the columns."""

_ON_PIXEL = 1e-4  # of the way between two samples: closer to a pixel than that is on it


def as_pair(value: Any) -> tuple[Any, Any]:
    """A number for the rows and one for the columns.

    Args:
        value: a number, or two of them; tensors too.

    Returns:
        The two.

    Example:
        >>> deepam_tf.depth.grids.as_pair(7.5), deepam_tf.depth.grids.as_pair((4, 8))
        ((7.5, 7.5), (4, 8))
    """
    if isinstance(value, (tuple, list)):
        rows, columns = value
        return rows, columns
    return value, value


def as_float64(value: Any) -> tf.Tensor:
    """A number or a tensor with all its digits: `tf.cast` would round a Python number first.

    Args:
        value: a number or a tensor.

    Returns:
        A float64 tensor.

    Example:
        >>> float(deepam_tf.depth.grids.as_float64(1.3))
        1.3
    """
    return tf.cast(value, tf.float64) if tf.is_tensor(value) else tf.constant(value, tf.float64)


def default_offset(scale: float) -> float:
    """Where the first sample lies if nothing else is known.

    Whole scales: `scale // 2`, as nearest neighbour of Pillow and MATLAB takes it. Fractions:
    `(scale - 1) / 2`, the middle of the cell that a sample stands for.

    Args:
        scale: pixels from sample to sample.

    Returns:
        Position in pixels.

    Example:
        >>> deepam_tf.depth.grids.default_offset(8), deepam_tf.depth.grids.default_offset(7.5)
        (4, 3.25)
    """
    return int(scale) // 2 if float(scale).is_integer() else (scale - 1) / 2


def positions(size: Any, scale: Any, offset: Any) -> tf.Tensor:
    """The position of each pixel of an axis, counted in samples.

    Args:
        size: pixels of the axis.
        scale: pixels from sample to sample.
        offset: position of the first sample in pixels.

    Returns:
        `[size]`, float64.

    Example:
        >>> deepam_tf.depth.grids.positions(4, 2, 1).numpy().tolist()
        [-0.5, 0.0, 0.5, 1.0]
    """
    pixels = tf.cast(tf.range(size), tf.float64)
    return (pixels - as_float64(offset)) / as_float64(scale)


def neighbours(
    count: Any, size: Any, scale: Any, offset: Any
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The two samples around each pixel of an axis, before the first and after the last twice one.

    Args:
        count: samples of the axis.
        size: pixels of the axis.
        scale: pixels from sample to sample.
        offset: position of the first sample in pixels.

    Returns:
        `(left, fraction, exact)`, each `[size]`: number of the sample to the left, the way
        from it to the next one in [0, 1], and whether a sample lies on the pixel.

    Example:
        >>> left, fraction, exact = deepam_tf.depth.grids.neighbours(2, 4, 2, 1)
        >>> left.numpy().tolist(), fraction.numpy().tolist(), exact.numpy().tolist()
        ([0, 0, 0, 0], [0.0, 0.0, 0.5, 1.0], [False, True, False, True])
    """
    position = positions(size, scale, offset)
    last = tf.cast(count, tf.float64) - 1.0
    nearest = tf.round(position)
    exact = tf.abs(position - nearest) < _ON_PIXEL
    inside = (nearest >= 0) & (nearest <= last)
    # Rounding of the scale must not make a sample's own pixel a mixture of two.
    position = tf.clip_by_value(tf.where(exact, nearest, position), 0.0, last)
    left = tf.minimum(tf.floor(position), tf.maximum(last - 1.0, 0.0))
    return tf.cast(left, tf.int32), position - left, exact & inside
