"""TIFF larger than memory, read in parts: what a part needs is decoded, and no more."""

from __future__ import annotations

import collections
import dataclasses
import pathlib

import numpy as np

from deepam_tf.files.picture import ImageFileError, UnsupportedImageError
from deepam_tf.files.tiff import (
    BLACK_IS_ZERO,
    NO_DATA,
    RGB,
    WHITE_IS_ZERO,
    TiffReader,
    check_whole,
    encoding_of,
    value_of,
)

__all__ = ["TiffRegions"]

_MOST_KEPT = 256 * 2**20  # bytes of decoded strips and tiles


class TiffRegions:
    """A file with one page that is read in parts: what a part needs is decoded, and no more.

    Args:
        path: the file.
        first_frame: take the first of several pages.

    Attributes:
        shape: height, width and channels, 1 or 3.
        dtype: uint8 or uint16.
        encoding: how the file stored it.
        metadata: what the file says of it.
        notes: one line each: what is not as in the file.

    Raises:
        ImageFileError: if it cannot be read in parts.
    """

    def __init__(self, path: pathlib.Path, *, first_frame: bool = False) -> None:
        self._reader = TiffReader(path)
        self._kept: collections.OrderedDict[int, np.ndarray] = collections.OrderedDict()
        try:
            self._begin(first_frame)
        except BaseException:
            self.close()
            raise

    def _begin(self, first_frame: bool) -> None:
        reader = self._reader
        if reader.count > 1 and not first_frame:
            raise ImageFileError(
                f"one picture is needed. Received: {reader.count} pages. Take the first with "
                "--first-frame."
            )
        page = self._page = reader.pages[0]
        self._handle = reader.file.filehandle
        bits = page.bitspersample if isinstance(page.bitspersample, int) else page.bitspersample[0]
        channels = int(page.samplesperpixel)
        photometric = int(page.photometric)
        unread = {
            "numbers that are no unsigned integers of 8 or 16 bits": page.dtype is None
            or page.dtype.str[1:] not in ("u1", "u2")
            or bits != 8 * page.dtype.itemsize,
            "other colours than gray and RGB": photometric
            not in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB),
            "transparency": bool(page.extrasamples) or channels not in (1, 3),
            "a tag that turns it": value_of(page, 274, 1) != 1,
            "pixels without a value": NO_DATA in page.tags,
            "a stack in one directory": reader.stack is not None,
        }
        for what, there in unread.items():
            if there:
                raise UnsupportedImageError(f"TIFF with {what} is not read in parts.")
        check_whole(page, self._handle.size)
        self.shape = (int(page.imagelength), int(page.imagewidth), channels)
        self.dtype = np.dtype(page.dtype).newbyteorder("=")
        self._white_is_zero = photometric == WHITE_IS_ZERO
        self.encoding = dataclasses.replace(
            encoding_of(page, reader.file), white_is_zero=self._white_is_zero
        )
        self.metadata = reader.metadata(page, 0, False)
        self.notes = tuple(reader.notes)
        height, width, _ = self.shape
        self._side = (
            (int(page.tilelength), int(page.tilewidth))
            if page.is_tiled
            else (min(int(page.rowsperstrip), height), width)
        )
        self._across = -(-width // self._side[1])
        self._planes = channels if self.encoding.planar else 1
        size = self._side[0] * self._side[1] * channels * self.dtype.itemsize
        self._plain = int(page.compression) == 1 and not page.is_tiled and self._planes == 1
        if not self._plain and size > _MOST_KEPT:
            raise UnsupportedImageError(
                f"TIFF whose strips hold {size / 2**20:.0f} MiB each is not read in parts. Write "
                "it anew in tiles."
            )
        if not self._plain:
            self._segment(0)  # whether it can be decoded is known now

    def close(self) -> None:
        """Let go of the file."""
        self._reader.close()

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        """The numbers of a part.

        Args:
            rows: which, within the picture.
            columns: which, likewise.

        Returns:
            `[h, w, C]`; 0 is black.

        Raises:
            ImageFileError: if the file is damaged there.
        """
        values = np.empty(
            [rows.stop - rows.start, columns.stop - columns.start, self.shape[2]], self.dtype
        )
        if self._plain:
            self._read_plain(values, rows, columns)
        else:
            self._read_segments(values, rows, columns)
        return np.iinfo(self.dtype).max - values if self._white_is_zero else values

    def _read_plain(self, values: np.ndarray, rows: slice, columns: slice) -> None:
        """Rows as they lie in the file: strips of any length."""
        _, width, channels = self.shape
        pixel = channels * self.dtype.itemsize
        stored = self.dtype.newbyteorder(self._reader.file.byteorder)
        for row in range(rows.start, rows.stop):
            strip, inside = divmod(row, self._side[0])
            place = self._page.dataoffsets[strip] + (inside * width + columns.start) * pixel
            self._handle.seek(place)
            data = self._handle.read((columns.stop - columns.start) * pixel)
            values[row - rows.start] = np.frombuffer(data, stored).reshape(values.shape[1:])

    def _read_segments(self, values: np.ndarray, rows: slice, columns: slice) -> None:
        high, wide = self._side
        down = -(-self.shape[0] // high)
        for i in range(rows.start // high, -(-rows.stop // high)):
            for j in range(columns.start // wide, -(-columns.stop // wide)):
                top, left = max(rows.start, i * high), max(columns.start, j * wide)
                for plane in range(self._planes):
                    segment = self._segment((plane * down + i) * self._across + j)
                    part = segment[
                        top - i * high : rows.stop - i * high,
                        left - j * wide : columns.stop - j * wide,
                    ]
                    y, x = top - rows.start, left - columns.start
                    channels = slice(plane, plane + 1) if self._planes > 1 else slice(None)
                    values[y : y + part.shape[0], x : x + part.shape[1], channels] = part

    def _segment(self, index: int) -> np.ndarray:
        """One strip or tile, decoded, `[h, w, c]`."""
        found = self._kept.get(index)
        if found is not None:
            self._kept.move_to_end(index)
            return found
        page = self._page
        offset, count = page.dataoffsets[index], page.databytecounts[index]
        data = None
        if count:
            self._handle.seek(offset)
            data = self._handle.read(count)
        try:
            decoded, _, shape = page.decode(data, index, jpegtables=page.jpegtables)
        except (ValueError, KeyError, ModuleNotFoundError) as error:
            if "imagecodecs" not in str(error) and "compression" not in str(error):
                raise
            raise UnsupportedImageError(
                "this TIFF's compression needs the package imagecodecs. Install it: pip install "
                "'deepam-tf[tiff]'."
            ) from error
        if decoded is None:
            decoded = np.full(shape, page.nodata, self.dtype)
        segment = self._kept[index] = decoded[0].astype(self.dtype, copy=False)
        # A row of windows needs the same strips, neighbours alone the same tiles.
        most = _MOST_KEPT // 4 if page.is_tiled else _MOST_KEPT
        while sum(x.nbytes for x in self._kept.values()) > most and len(self._kept) > 1:
            self._kept.popitem(last=False)
        return segment
