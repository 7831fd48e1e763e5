"""The EXIF tag that says how a picture is to be turned before one looks at it."""

from __future__ import annotations

import os

import numpy as np
from PIL import ExifTags, Image

__all__ = ["TRANSPOSED", "as_stored", "read_orientation", "turned"]

# How to turn stored pixels upright, by the value of the tag.
_UPRIGHT = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}
_UNDONE_BY = {6: 8, 8: 6}  # the others undo themselves
TRANSPOSED = frozenset({5, 6, 7, 8})
"""Values of the tag that make rows of columns."""


def read_orientation(path: str | os.PathLike) -> int:
    """The tag of a picture file.

    Args:
        path: any file.

    Returns:
        1 to 8; 1, as it is, where there is no tag or no picture.
    """
    try:
        with Image.open(path) as image:
            value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return 1
    return value if value in _UPRIGHT else 1


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turn a picture as its tag says.

    Args:
        pixels: `[H, W, ...]` in the order of the file.
        orientation: 1 to 8; others count as 1.

    Returns:
        A view of the pixels, upright.

    Example:
        >>> from deepam_tf.files.orientation import turned
        >>> turned(np.array([[1, 2, 3]]), 6).tolist()
        [[1], [2], [3]]
    """
    return _UPRIGHT.get(orientation, lambda a: a)(pixels)


def as_stored(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turn a picture that was turned upright back to how its file has it.

    Args:
        pixels: `[H, W, ...]`, upright.
        orientation: what `read_orientation` says.

    Returns:
        The pixels in the order of the file.

    Example:
        >>> from deepam_tf.files.orientation import as_stored
        >>> as_stored(np.array([[1, 2, 3]]), 6).tolist()
        [[3], [2], [1]]
    """
    return turned(pixels, _UNDONE_BY.get(orientation, orientation))
