"""What a network sees beyond the border of a picture.

Convolutions see zeros there. Trained on noisy pictures, networks have learnt to think nothing of
them; but where the picture is far cleaner than the network is told, a flat colour beside zeros is
an edge like any other, and its rim comes out wrong by up to ten gray levels: the white ground of
a product, a drawing, a sky without noise. Such pictures are restored with a mirrored frame around
them, which is cut off again. Pictures as noisy as told do better without one (by 0.02 dB at sigma
50): there the frame would repeat the noise.
"""

from __future__ import annotations

import itertools

import numpy as np

__all__ = ["FRAME", "RIM", "has_quiet_rim", "is_quiet_strip", "sides", "with_frame"]

FRAME = 24
"""Pixels of the frame: as far as the zeros beyond it still move a flat colour by one level."""

RIM = 8
"""How deep the border is that is looked at, in pixels."""

_LENGTH = 16  # of the blocks along the border in pixels
_CLEAN = 1 / 8  # what differs from a plane, as a share of the noise that is told
_ROUNDING = 0.5 / 255


def has_quiet_rim(image: np.ndarray, noise_stddev: np.ndarray | None = None) -> bool:
    """Whether the picture has hardly any of the noise that it is said to have, along its border.

    Args:
        image: `[H, W, C]` in [0, 1] plus noise.
        noise_stddev: what is told of the noise, `[H, W, 1]` or `[1, 1, 1]`; None: nothing.

    Returns:
        True if some block of 8 x 16 pixels along the border differs from a plane by less than an
        eighth of the noise, or by no more than rounding to 8 bits does.

    Example:
        >>> has_quiet_rim(np.full([20, 30, 3], 0.7), np.full([1, 1, 1], 0.1))
        True
    """
    level = np.zeros([1, 1, 1]) if noise_stddev is None else noise_stddev
    return any(
        is_quiet_strip(
            np.rot90(image[side], turns),
            np.rot90(level if level.shape[:2] == (1, 1) else level[side], turns),
        )
        for turns, side in enumerate(sides(*image.shape[:2]))
    )


def sides(height: int, width: int) -> list[tuple[slice, slice]]:
    """The four sides of the border of a picture of that size, each after a turn to the left.

    Returns:
        Indices of the picture; what they give lies on top when it is turned by its number.
    """
    return [
        (slice(0, RIM), slice(None)),
        (slice(None), slice(max(width - RIM, 0), None)),
        (slice(max(height - RIM, 0), None), slice(None)),
        (slice(None), slice(0, RIM)),
    ]


def is_quiet_strip(rim: np.ndarray, noise_stddev: np.ndarray) -> bool:
    """The same of one side of the border.

    Args:
        rim: `[RIM, W, C]`, the pixels along it.
        noise_stddev: `[RIM, W, 1]` or `[1, 1, 1]`.

    Returns:
        True if some block is quiet.
    """
    level = np.broadcast_to(noise_stddev, (*rim.shape[:2], 1))
    length = min(_LENGTH, rim.shape[1])
    for start in range(0, rim.shape[1] - length + 1, length):
        part = slice(start, start + length)
        if _off_plane(rim[:, part]) <= max(_CLEAN * level[:, part].max(), _ROUNDING):
            return True
    return False


def with_frame(array: np.ndarray) -> np.ndarray:
    """An array `[H, W, C]` with a mirrored frame of `FRAME` pixels."""
    return np.pad(array, ((FRAME, FRAME), (FRAME, FRAME), (0, 0)), mode="symmetric")


def _off_plane(block: np.ndarray) -> float:
    """Root mean square of what a plane through each channel leaves."""
    height, width, channels = block.shape
    rows, columns = np.mgrid[:height, :width] - np.reshape([height - 1, width - 1], [2, 1, 1]) / 2
    rest = block.astype(np.float64) - block.mean(axis=(0, 1))
    for ramp, channel in itertools.product((rows, columns), range(channels)):
        steep = np.sum(ramp * rest[..., channel]) / max(np.sum(ramp * ramp), 1.0)
        rest[..., channel] -= steep * ramp
    return float(np.sqrt(np.mean(rest * rest)))
