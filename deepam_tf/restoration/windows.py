"""A picture cut into overlapping windows of one size, each of which answers for its middle."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator

import cv2
import numpy as np

__all__ = ["Span", "Window", "cut_across_holes", "cut_axis", "cut_picture", "strips"]

_SOLVED_AT_ONCE = (2e6, 16e6)  # pixels of all channels, each of which takes 145 bytes
_OVERLAPS = 10  # of a window's side, where memory allows: 1.6 times the pixels are solved then
_BEYOND_HOLES = 64  # pixels: what comes from further away has faded


@dataclasses.dataclass(frozen=True)
class Span:
    """One window along one axis, in pixels.

    Attributes:
        start: where it begins.
        stop: where it ends.
        keep_start: from here on its result is kept.
        keep_stop: up to here.
    """

    start: int
    stop: int
    keep_start: int
    keep_stop: int


@dataclasses.dataclass(frozen=True)
class Window:
    """A window of a picture: what is read, and what of the result is kept.

    Attributes:
        rows: along the height.
        columns: along the width.
    """

    rows: Span
    columns: Span

    @property
    def read(self) -> tuple[slice, slice]:
        """What is computed, as an index of the picture."""
        rows, columns = self.rows, self.columns
        return slice(rows.start, rows.stop), slice(columns.start, columns.stop)

    @property
    def kept(self) -> tuple[slice, slice]:
        """What the window answers for, as an index of the picture."""
        rows, columns = self.rows, self.columns
        return (
            slice(rows.keep_start, rows.keep_stop),
            slice(columns.keep_start, columns.keep_stop),
        )

    @property
    def inside(self) -> tuple[slice, slice]:
        """The same, as an index of the window."""
        rows, columns = self.rows, self.columns
        return (
            slice(rows.keep_start - rows.start, rows.keep_stop - rows.start),
            slice(columns.keep_start - columns.start, columns.keep_stop - columns.start),
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of what is computed."""
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start


def cut_axis(length: int, tile: int, overlap: int, block: int = 1) -> list[Span]:
    """Windows along one axis, all of one size, that keep no pixel twice.

    A window reaches at least `overlap` pixels beyond what it keeps, or to the border, and is
    at most `tile + 2 overlap` pixels long, rounded up to whole blocks. The windows are spread
    evenly: none is smaller than the others, and none computes more than it must.

    Args:
        length: pixels of the axis, positive.
        tile: pixels that a window keeps at most, positive.
        overlap: how far a window reaches beyond what it keeps, not negative.
        block: windows begin at multiples of it, counted from the picture's first pixel.

    Returns:
        The windows in order.

    Example:
        >>> [(span.start, span.stop, span.keep_start) for span in cut_axis(20, 8, 2)]
        [(0, 12, 0), (8, 20, 10)]
    """
    if length <= tile + 2 * overlap:
        return [Span(0, length, 0, length)]
    # In whole blocks, so that those of a window are those of the picture. Where the picture ends
    # in a part of a block, so does every window, or the last would be of another size.
    blocks = -(-length // block)
    missing = blocks * block - length
    reach = -(-(overlap + missing) // block)
    count = -(-(blocks - 2 * reach) // -(-tile // block))
    if count < 2:
        return [Span(0, length, 0, length)]
    size = -(-(blocks - 2 * reach) // count) + 2 * reach
    starts = [round(i * (blocks - size) / (count - 1)) * block for i in range(count)]
    stops = [start + size * block - missing for start in starts]
    cuts = [
        0,
        *((start + stop) // 2 for start, stop in zip(starts[1:], stops[:-1], strict=True)),
        length,
    ]
    return [Span(*span) for span in zip(starts, stops, cuts[:-1], cuts[1:], strict=True)]


def cut_picture(height: int, width: int, tile: int, overlap: int, block: int = 1) -> list[Window]:
    """Windows of a picture, row by row; see `cut_axis`.

    Args:
        height: of the picture in pixels.
        width: of the picture in pixels.
        tile: see `cut_axis`.
        overlap: see `cut_axis`.
        block: see `cut_axis`.

    Returns:
        The windows.

    Example:
        >>> len(cut_picture(3000, 4000, tile=1000, overlap=32))
        12
    """
    return [
        Window(rows, columns)
        for rows, columns in itertools.product(
            cut_axis(height, tile, overlap, block), cut_axis(width, tile, overlap, block)
        )
    ]


def cut_across_holes(mask: np.ndarray, channels: int) -> list[Window]:
    """Where solves of a picture with holes are done: at once, but where it is too large for it.

    Windows of such a picture must see beyond its holes: where one is too wide, memory has to do.

    Args:
        mask: `[H, W, 1]`, above 0 where the picture is known.
        channels: of the picture, times its number in a batch.

    Returns:
        The windows.

    Example:
        >>> len(cut_across_holes(np.ones([30, 40, 1]), 3))
        1
    """
    height, width, _ = mask.shape
    if height * width * channels <= _SOLVED_AT_ONCE[0]:
        return cut_picture(height, width, max(height, width), 0)
    holes = (mask[..., 0] <= 0).astype(np.uint8)
    holes[0, 0] = holes[0, 0] and not holes.all()  # distances to nothing are none
    widest = float(cv2.distanceTransform(holes, cv2.DIST_L2, cv2.DIST_MASK_PRECISE).max())
    overlap = math.ceil(2 * widest) + _BEYOND_HOLES
    least, most = (math.isqrt(int(pixels // channels)) for pixels in _SOLVED_AT_ONCE)
    tile = min(max(_OVERLAPS * overlap, least), most) - 2 * overlap
    if tile < overlap:
        return cut_picture(height, width, max(height, width), 0)
    return cut_picture(height, width, tile, overlap)


def strips(
    image: np.ndarray, windows: list[Window], *, overwritten: bool
) -> Iterator[tuple[np.ndarray, Window]]:
    """Each window with the rows of the image that it sees.

    Where results overwrite the image, the rows are copied before those of the window above are.

    Args:
        image: `[H, W, C]`.
        windows: of the image, row by row.
        overwritten: whether what windows keep is written into the image before the next is taken.

    Yields:
        `[window height, W, C]` and the window.

    Example:
        >>> image = np.arange(20.0).reshape(20, 1, 1)
        >>> [strip.shape for strip, _ in strips(image, cut_picture(20, 1, 8, 2), overwritten=False)]
        [(12, 1, 1), (12, 1, 1)]
    """
    strip, above = image[:0], None
    for window in windows:
        rows = window.rows
        if rows != above:
            if above is None or not overwritten:
                strip = image[rows.start : rows.stop]
                strip = strip.copy() if overwritten else strip
            else:
                kept = strip[rows.start - above.start : above.keep_stop - above.start]
                strip = np.concatenate([kept, image[above.keep_stop : rows.stop]])
            above = rows
        yield strip, window
