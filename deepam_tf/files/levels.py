"""Between the integers of files and [0, 1]."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["Levels", "from_unit", "mapped", "to_unit"]

_ROWS = 64


def to_unit(values: np.ndarray, white: float | None = None) -> np.ndarray:
    """Integers to [0, 1], 0 staying 0.

    Args:
        values: unsigned integers of any shape.
        white: what becomes 1; by default the largest value of the type.

    Returns:
        float32 of that shape.

    Raises:
        TypeError: if `values` are no unsigned integers: floats have no largest value, and
            below 0 there is no level.

    Example:
        >>> to_unit(np.array([0, 51, 255], np.uint8))
        array([0. , 0.2, 1. ], dtype=float32)
        >>> to_unit(np.array([2047.5, 4095]).astype(np.uint16), white=4095)
        array([0.4998779, 1.       ], dtype=float32)
    """
    values = np.asarray(values)
    if values.dtype.kind != "u":
        raise TypeError(f"`values` must be unsigned integers. Received: dtype={values.dtype}.")
    white = np.iinfo(values.dtype).max if white is None else white
    if values.dtype.itemsize > 2:  # float32 does not hold them
        return (values / np.float64(white)).astype(np.float32)
    # Without a copy of the integers as floats: pictures are large.
    return np.divide(values, np.float32(white), dtype=np.float32, casting="unsafe")


def from_unit(values: np.ndarray, dtype: np.dtype | type, white: float | None = None) -> np.ndarray:
    """[0, 1] to the nearest integers; what lies outside is clipped.

    Args:
        values: floats of any shape.
        dtype: unsigned integers.
        white: what 1 becomes; by default the largest value of the type.

    Returns:
        `dtype` of that shape.

    Raises:
        TypeError: if `dtype` is no unsigned integer.

    Example:
        >>> from_unit(np.array([-0.1, 0.2, 2.0]), np.uint8)
        array([  0,  51, 255], dtype=uint8)
    """
    dtype = np.dtype(dtype)
    if dtype.kind != "u":
        raise TypeError(f"`dtype` must be an unsigned integer. Received: {dtype}.")
    white = np.iinfo(dtype).max if white is None else white
    precise = np.float32 if dtype.itemsize <= 2 else np.float64
    values = np.asarray(values)
    integers = np.empty(values.shape, dtype)
    # In parts, or a large picture would be there three times more.
    source, target = np.atleast_1d(values), np.atleast_1d(integers)
    for start in range(0, len(source), _ROWS):
        part = source[start : start + _ROWS].astype(precise)
        target[start : start + _ROWS] = np.rint(np.clip(part, 0.0, 1.0) * precise(white))
    return integers


class Levels:
    """Integers of a file that are read and written as [0, 1], part by part.

    A picture of 8 bits takes a quarter of the memory that it would as floats. An index gives
    float32, `np.asarray` all of it, and what is assigned becomes the nearest integers.

    Args:
        numbers: `[H, W, C]`, unsigned.
        white: see `to_unit`.

    Attributes:
        numbers: as given.
        white: as given.
        shape: of the numbers.
        ndim: of the numbers.
        dtype: float32, what they are read as.

    Raises:
        TypeError: see `to_unit`.

    Example:
        >>> levels = Levels(np.array([[[0], [51]]], np.uint8))
        >>> levels[0, 1] = 0.4
        >>> levels.numbers.ravel(), levels[0].ravel()
        (array([  0, 102], dtype=uint8), array([0. , 0.4], dtype=float32))
    """

    def __init__(self, numbers: np.ndarray, white: float | None = None) -> None:
        if numbers.dtype.kind != "u":
            raise TypeError(
                f"`numbers` must be unsigned integers. Received: dtype={numbers.dtype}."
            )
        self.numbers, self.white = numbers, white
        self.shape, self.ndim, self.dtype = numbers.shape, numbers.ndim, np.dtype(np.float32)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: Any) -> np.ndarray:
        return to_unit(self.numbers[index], self.white)

    def __setitem__(self, index: Any, values: np.ndarray) -> None:
        self.numbers[index] = from_unit(values, self.numbers.dtype, self.white)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("`Levels` become floats by a copy. Received: copy=False.")
        return to_unit(self.numbers, self.white).astype(dtype or np.float32, copy=False)

    def of(self, function: Callable[[np.ndarray], np.ndarray]) -> Levels:
        """The same of other numbers: what a function makes of these."""
        return Levels(function(self.numbers), self.white)


def mapped(
    function: Callable[[np.ndarray], np.ndarray], pixels: np.ndarray | Levels
) -> np.ndarray | Levels:
    """What a function that only moves pixels makes of an array, or of `Levels`, which they stay.

    Args:
        function: of an array, whatever its type.
        pixels: floats, or the integers of a file.

    Returns:
        The same kind.

    Example:
        >>> mapped(np.flipud, Levels(np.array([[0], [255]], np.uint8)))[0]
        array([1.], dtype=float32)
    """
    return pixels.of(function) if isinstance(pixels, Levels) else function(pixels)
