"""Which numbers of a depth map were measured, and which stand for nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["find_measured", "find_strays", "value_range"]

_LARGEST = 1e30  # floats beyond are markers, such as the largest of their type
_LEAST_BITS = 16  # of an integer whose largest number is a marker; in 8 bits it may be saturation
_GAP = 0.02  # of the largest integer: nothing else comes so close to a marker
_FAR = 3.0  # ranges of all but one in a hundred: values further off do not set the unit
_ALONE = 0.1  # of the range: a neighbour closer in value confirms a sample
_STRAY = 0.5  # ranges outside of the range of all confirmed samples


def find_measured(
    values: np.ndarray, hole_values: Sequence[float] = ()
) -> tuple[np.ndarray, list[str]]:
    """Tell the numbers of a map from what its file puts where nothing was measured.

    NaN and infinity are never measured. Otherwise, where nothing is said:

    - 0 is a hole, unless some numbers are negative: heights, which may be 0.
    - Negative numbers are data, unless all of them are one number, as -1 or -9999.
    - The largest number of an integer type of 16 bits or more is a hole if no other comes near
      it (65535, 32767), and so are floats above 1e30.

    Args:
        values: numbers of any type as the file has them, any shape.
        hole_values: the numbers that are holes, in the place of the rules above.

    Returns:
        `(measured, notes)`: an array of bools of the same shape, and a line for each rule that
        found something besides 0.

    Example:
        >>> depth = np.array([[812, 65535], [0, 830]], np.uint16)
        >>> measured, notes = deepam_tf.depth.holes.find_measured(depth)
        >>> measured.tolist()
        [[True, False], [False, True]]
        >>> notes
        ['65535 is the largest number of uint16: 1 of them taken for holes']
    """
    values = np.asarray(values)
    integer = values.dtype.kind in "iu"
    measured = np.ones(values.shape, bool) if integer else np.isfinite(values)
    if len(hole_values):
        is_hole = np.isin(values, np.asarray(hole_values, np.float64))
        return measured & ~is_hole, []
    notes = []
    if integer and 8 * values.dtype.itemsize >= _LEAST_BITS:
        largest = np.iinfo(values.dtype).max
        marked = values == largest
        others = values[~marked]
        if marked.any() and others.size and others.max() < (1 - _GAP) * largest:
            notes.append(
                f"{largest} is the largest number of {values.dtype}: {marked.sum()} of them taken "
                "for holes"
            )
            measured &= ~marked
    elif not integer:
        marked = measured & (np.abs(values) > _LARGEST)
        if marked.any():
            notes.append(f"{marked.sum()} numbers above 1e30 taken for holes")
            measured &= ~marked
    negative = measured & (values < 0)
    if negative.any():
        least = values[negative].min()
        if (values[negative] == least).all() and (values[measured] > 0).any():
            notes.append(f"{least} is the only negative number: {negative.sum()} taken for holes")
            measured &= ~negative
        else:
            notes.append("some numbers are negative: they and 0 are taken for data")
            return measured, notes
    return measured & (values != 0), notes


def find_strays(values: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Measured samples that cannot be: alone, and far outside of what all others span.

    A sample that none of its eight neighbours confirms, by a value within a tenth of the range,
    is a stray if it lies more than half of the range outside. What stands alone within the range
    may be a thin thing that one sample has hit, and stays.

    Args:
        values: `[h, w]`, finite where measured.
        measured: `[h, w]`, bools.

    Returns:
        `[h, w]`, bools.

    Example:
        >>> depth = np.array([[800.0, 810, 820], [805, 9000, 825], [810, 820, 830]])
        >>> int(deepam_tf.depth.holes.find_strays(depth, depth > 0).sum())
        1
    """
    confirmed = _confirmed(values, measured)
    low, high = _span(values, confirmed, measured)
    margin = _STRAY * (high - low) if high > low else 1e-3 * max(abs(low), 1e-30)
    outside = (values < low - margin) | (values > high + margin)
    strays = measured & ~confirmed & outside
    return strays if (measured & ~strays).any() else np.zeros_like(strays)


def value_range(values: np.ndarray, measured: np.ndarray) -> tuple[float, float]:
    """The least and the largest value of a map, without what a few wrong samples say.

    It sets the unit in which a map is restored. Samples that no neighbour confirms do not count
    (see `find_strays`), nor do those further from the middle 98 % than three times what these
    span; where that leaves less than half of the samples, all count.

    Args:
        values: `[h, w]`, finite where measured.
        measured: `[h, w]`, bools, at least one True.

    Returns:
        `(low, high)`, `low < high`: of a constant map `high = low + 1`.

    Example:
        >>> ramp = np.arange(60.0).reshape(6, 10)
        >>> ramp[2, 3] = 65535
        >>> deepam_tf.depth.holes.value_range(ramp, ramp >= 0)
        (0.0, 59.0)
    """
    values = np.asarray(values, np.float64)
    low, high = _span(values, _confirmed(values, measured), measured)
    return low, high if high > low else low + 1.0


def _core(values: np.ndarray, measured: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(values[measured], [0.01, 0.99])
    return float(low), float(high)


def _confirmed(values: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Where one of the eight neighbours has nearly the same value."""
    low, high = _core(values, measured)
    tolerance = _ALONE * (high - low)
    padded = np.pad(
        np.where(measured, values, np.nan).astype(np.float64), 1, constant_values=np.nan
    )
    height, width = values.shape
    confirmed = np.zeros(values.shape, bool)
    with np.errstate(invalid="ignore"):
        for row in range(3):
            for column in range(3):
                if (row, column) != (1, 1):
                    other = padded[row : row + height, column : column + width]
                    confirmed |= np.abs(values - other) <= tolerance
    return confirmed & measured


def _span(values, confirmed, measured) -> tuple[float, float]:
    low, high = _core(values, measured)
    far = _FAR * (high - low)
    inside = confirmed & (values >= low - far) & (values <= high + far)
    # Of a map of a few samples, or of noise, none may be like its neighbours.
    counted = inside if 2 * inside.sum() >= measured.sum() else measured
    return float(values[counted].min()), float(values[counted].max())
