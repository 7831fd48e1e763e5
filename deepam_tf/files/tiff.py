"""TIFF as its tags say, page by page, by tifffile."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import importlib.util
import io
import os
import pathlib
import struct
from collections.abc import Iterable, Iterator
from typing import Any

import cv2
import numpy as np
import tifffile
from PIL import Image, TiffImagePlugin

from deepam_tf.files.metadata import (
    STRUCTURE,
    exif_of_tiff,
    iptc_of,
    photoshop_of,
    sub_directories,
    upright_xmp,
)
from deepam_tf.files.orientation import TRANSPOSED, as_stored, turned
from deepam_tf.files.picture import (
    Encoding,
    ImageFileError,
    Metadata,
    Picture,
    Resolution,
    UnsupportedImageError,
    from_numbers,
)
from deepam_tf.files.raster import to_srgb

__all__ = [
    "TiffReader",
    "TiffRegions",
    "TiffWriter",
    "compression_note",
    "is_cut_off",
    "is_raw",
    "tile_side",
]

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6
_MOSAIC, _LINEAR_RAW = 32803, 34892
_DNG_VERSION = 50706
_REDUCED, _MASK = 1, 4  # bits of NewSubfileType
_OLD_REDUCED = 2  # value of SubfileType
_NO_DATA = 42113  # of GDAL
_ICC, _XMP, _IPTC, _PHOTOSHOP = 34675, 700, 33723, 34377
_ASSOCIATED, _STRAIGHT = 1, 2
_KEPT_COMPRESSIONS = {1: "none", 5: "lzw", 8: "zlib", 32946: "zlib", 32773: "packbits",
                      34925: "lzma", 50000: "zstd"}  # fmt: skip
_NEED_IMAGECODECS = {"lzw", "packbits", "zstd"}
_UNITS = {1: "none", 2: "inch", 3: "cm"}
_TILE = (512, 512)  # of what is written in parts and had no tiles
_MOST_KEPT = 256 * 2**20  # bytes of decoded strips and tiles
_CLASSIC_LIMIT = 3_900_000_000  # bytes; offsets of 32 bits end at 4 GiB


def is_raw(path: pathlib.Path) -> bool:
    """Whether a TIFF file is a raw photograph: a sensor's mosaic, or DNG.

    Args:
        path: a file that begins as TIFF does.

    Returns:
        True also if the mosaic lies below a preview.

    Raises:
        tifffile.TiffFileError: if the file is damaged.
    """
    with tifffile.TiffFile(path) as file:
        first = file.pages.first
        if _DNG_VERSION in first.tags:
            return True
        pages = [*file.pages[:8], *(below for page in file.pages[:8] for below in _below(page))]
        return any(int(page.photometric or 0) in (_MOSAIC, _LINEAR_RAW) for page in pages)


def is_cut_off(path: pathlib.Path) -> bool:
    """Whether a file that begins as TIFF does ends before the pixels that it announces.

    Args:
        path: the file.

    Returns:
        False also for what is no TIFF.
    """
    try:
        with tifffile.TiffFile(path) as file:
            pages = [page for one in file.pages for page in (one, *_below(one))]
            ends = [
                offset + count
                for page in pages
                for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False)
            ]
            return bool(ends) and max(ends) > file.filehandle.size
    except Exception:  # of no promised kind: whoever reads it says what is wrong
        return False


def _below(page) -> list:
    return list(page.pages) if getattr(page, "subifds", None) and page.pages else []


class TiffReader:
    """A file whose pages are decoded one by one; nothing is read before it is needed.

    Args:
        path: the file.

    Attributes:
        size: height and width of the largest page.
        count: how many pages there are that are no reduced copies of others.
        several: what they are.

    Raises:
        ImageFileError: if it holds nothing that is read.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self._file = tifffile.TiffFile(path)
        self.several = "pages"
        self._notes: list[str] = []
        self._pages = self._full_pages()
        self._stack = None
        stack = self._file.series[0] if self._file.is_imagej or self._file.is_shaped else None
        if len(self._pages) == 1 and stack is not None and stack.dataoffset is not None:
            page = self._pages[0]
            frames = stack.size // max(int(np.prod(page.shape)), 1)
            if frames > 1:  # one directory for a whole stack
                self._stack = np.memmap(
                    path,
                    mode="r",
                    dtype=self._file.byteorder + page.dtype.char,
                    offset=stack.dataoffset,
                    shape=(frames, *page.shape),
                )
        self.count = len(self._pages) if self._stack is None else len(self._stack)
        sizes = [(page.imagelength, page.imagewidth) for page in self._pages]
        self.size = max(sizes, key=lambda size: size[0] * size[1])

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _full_pages(self) -> list:
        """The pages that are neither previews nor masks of others."""
        pages = list(self._file.pages)
        full = [page for page in pages if not _is_copy(page)]
        copies = len(pages) - len(full)
        below = [other for page in pages for other in _below(page)]
        if not full:
            full = [other for other in below if not _is_copy(other)]
            copies = len(pages) + len(below) - len(full)
            if not full:
                raise UnsupportedImageError("it holds previews alone.")
        elif below:
            largest = max(page.imagelength * page.imagewidth for page in full)
            if any(other.imagelength * other.imagewidth > largest for other in below):
                raise UnsupportedImageError(
                    "a picture that lies below another is larger than it; which is meant is not "
                    "told."
                )
            copies += len(below)
        if copies:
            self._notes.append(f"{copies} previews or masks beside its pictures are left out.")
        return full

    def pictures(
        self, count: int, *, black: float | None = None, white: float | None = None
    ) -> Iterator[Picture]:
        """The first pages, decoded one after another.

        Args:
            count: how many.
            black: what becomes 0 of types that are not unsigned.
            white: what becomes 1; None: the largest of the type, 1 of floats.

        Yields:
            Each page, upright.

        Raises:
            ImageFileError: if a page is of a kind that is not read, or damaged.
        """
        for number in range(count):
            page = self._pages[0 if self._stack is not None else number]
            values, facts, notes = self._decoded(page, number)
            orientation = _value(page, 274, 1)
            alpha, unknown = facts.pop("alpha"), facts.pop("unknown")
            yield from_numbers(
                turned(values, orientation),
                None if alpha is None else turned(alpha, orientation),
                black_level=black,
                white_level=white,
                unknown=None if unknown is None else turned(unknown, orientation),
                metadata=self._metadata(page, number, orientation in TRANSPOSED),
                encoding=facts["encoding"],
                notes=(*(self._notes if number == 0 else ()), *notes),
            )

    def ranges(self, count: int) -> tuple[np.dtype, float, float, bool]:
        """Type, least and largest number of the first pages, and whether 0 is white."""
        low, high, dtype, inverted = np.inf, -np.inf, np.dtype("u1"), False
        for number in range(count):
            page = self._pages[0 if self._stack is not None else number]
            values, facts, _ = self._decoded(page, number)
            dtype, inverted = values.dtype, facts["encoding"].white_is_zero
            if facts["unknown"] is not None:
                values = values[~facts["unknown"]]
            if dtype.kind == "f":
                values = values[np.isfinite(values)]
            if values.size:
                low, high = min(low, float(values.min())), max(high, float(values.max()))
        return dtype, low, high, inverted

    def numbers(self) -> tuple[np.ndarray, np.ndarray | None]:
        """The first page as its file has it, `[H, W, 1 or 3]` upright, and what is unknown."""
        page = self._pages[0]
        values, facts, _ = self._decoded(page, 0)
        orientation, unknown = _value(page, 274, 1), facts["unknown"]
        return turned(values, orientation), (
            None if unknown is None else turned(unknown, orientation)
        )

    def dtype(self) -> np.dtype:
        """The type of numbers of the first page."""
        return np.dtype(self._pages[0].dtype or "u1")

    def _decoded(self, page, number: int) -> tuple[np.ndarray, dict[str, Any], list[str]]:
        """Numbers `[H, W, 1 or 3]` as stored, alpha, unknown and encoding; notes."""
        notes: list[str] = []
        photometric = int(page.photometric)
        bits = page.bitspersample if isinstance(page.bitspersample, int) else page.bitspersample[0]
        if photometric not in (
            _WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR
        ):  # fmt: skip
            name = getattr(page.photometric, "name", photometric)
            raise UnsupportedImageError(f"TIFF whose pixels mean {name} is not read.")
        if page.dtype is None or page.dtype.kind not in "buif" or page.dtype.itemsize * 8 > 64:
            raise UnsupportedImageError(f"TIFF with numbers of {bits} bits is not read.")
        if page.dtype.kind in "ui" and page.dtype.itemsize > 4:
            raise UnsupportedImageError("TIFF with integers of 64 bits is not read.")
        if photometric in (_CMYK, _YCBCR):
            values, note = self._by_pillow(page, photometric)
            notes += note
            photometric = _RGB
        else:
            values = self._stored(page, number)
        if values.ndim == 2:
            values = values[..., np.newaxis]
        encoding = _encoding_of(page, self._file)
        if photometric == _PALETTE:
            table = np.asarray(page.colormap)
            values = table.T[values[..., 0]]
            if np.all(table % 257 == 0) or np.all(table % 256 == 0):  # 8 bits, in either way
                values = (values >> 8).astype(np.uint8)
            elif table.max() <= 255:
                values = values.astype(np.uint8)
            notes.append("its palette becomes colours of their own.")
        elif values.dtype == bool or bits < 8 or (values.dtype == np.uint16 and bits < 16):
            deep = np.uint16 if bits > 8 else np.uint8
            top = 1 if values.dtype == bool else 2**bits - 1
            values = np.rint(values.astype(np.float64) / top * np.iinfo(deep).max).astype(deep)
            of = f"{bits} bit{'s' * (bits != 1)}"
            notes.append(f"its pixels of {of} become pixels of {values.itemsize * 8} bits.")
        channels = 3 if photometric in (_RGB, _PALETTE) else 1
        if values.shape[-1] not in (channels, channels + 1):
            raise UnsupportedImageError(
                f"TIFF with {values.shape[-1]} channels is not read; 1 and 3 are, and alpha."
            )
        values, alpha = values[..., :channels], values[..., channels:]
        alpha = alpha[..., 0] if alpha.shape[-1] else None
        if photometric == _WHITE_IS_ZERO and values.dtype.kind == "u":
            values = np.iinfo(values.dtype).max - values
        encoding = dataclasses.replace(encoding, white_is_zero=photometric == _WHITE_IS_ZERO)
        if alpha is not None:
            meaning = int(page.extrasamples[0]) if page.extrasamples else 0
            if meaning == _ASSOCIATED:
                values = _unmultiplied(values, alpha)
                encoding = dataclasses.replace(encoding, associated=True)
            elif meaning != _STRAIGHT:
                if channels == 1:
                    raise UnsupportedImageError(
                        "TIFF with 2 channels of no told meaning is not read."
                    )
                notes.append("its fourth channel is taken for transparency.")
        unknown = None
        if _NO_DATA in page.tags:
            unknown = _no_data(page.tags[_NO_DATA].value, values)
        return values, {"alpha": alpha, "unknown": unknown, "encoding": encoding}, notes

    def _stored(self, page, number: int) -> np.ndarray:
        if self._stack is not None:
            values = np.array(self._stack[number])
            return values.astype(values.dtype.newbyteorder("="), copy=False)
        _check_whole(page, self._file.filehandle.size)
        if page.axes not in ("YX", "YXS", "SYX"):
            raise UnsupportedImageError(f"TIFF with the axes {page.axes} is not read.")
        try:
            values = page.asarray()
        except (ValueError, KeyError, ModuleNotFoundError) as error:
            if "imagecodecs" not in str(error) and "compression" not in str(error):
                raise
            values = self._without_imagecodecs(page)
        return np.moveaxis(values, 0, -1) if page.axes == "SYX" else values

    def _without_imagecodecs(self, page) -> np.ndarray:
        """What Pillow and OpenCV decode of compressions that tifffile leaves to imagecodecs."""
        name = getattr(page.compression, "name", page.compression)
        advice = UnsupportedImageError(
            f"this TIFF with {name} compression needs the package imagecodecs. Install it: "
            "pip install 'deepam-tf[tiff]'."
        )
        for decode in (self._stored_by_pillow, self._stored_by_opencv):
            values = None
            with contextlib.suppress(OSError, SyntaxError, ValueError, cv2.error):
                values = decode(page)
            if values is not None and values.shape == page.shape and values.dtype == page.dtype:
                return values
        raise advice

    def _bytes(self) -> bytes:
        self._file.filehandle.seek(0)
        return self._file.filehandle.read()

    def _stored_by_opencv(self, page) -> np.ndarray | None:
        """Plain colour of 16 bits: OpenCV turns others wrongly, and multiplies by alpha."""
        upright = _value(page, 274, 1) == 1
        if not upright or page.dtype != np.uint16 or page.axes != "YXS" or page.shape[-1] != 3:
            return None
        if self.count > 1 or page.is_subifd:
            return None
        values = cv2.imdecode(np.frombuffer(self._bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
        return None if values is None else values[..., ::-1]

    def _stored_by_pillow(self, page) -> np.ndarray | None:
        """Pixels as stored, not as Pillow thinks that they should look."""
        if page.is_subifd:
            return None
        image = self._pillow_image(page.index)
        if image.mode not in ("1", "L", "P", "RGB", "RGBA", "I;16", "F"):
            return None
        values = np.asarray(image)
        if int(page.photometric) == _WHITE_IS_ZERO and image.mode in ("1", "L"):
            values = ~values
        return as_stored(values, _value(page, 274, 1))

    def _pillow_image(self, number: int = 0) -> Image.Image:
        image = TiffImagePlugin.TiffImageFile(io.BytesIO(self._bytes()), None)
        image.seek(number)
        image.load()
        return image

    def _by_pillow(self, page, photometric: int) -> tuple[np.ndarray, list[str]]:
        """Inks and luma with differences of colour, to RGB of 8 bits."""
        if self.count > 1 or page.dtype != np.uint8 or page.is_subifd:
            raise UnsupportedImageError(
                "TIFF in CMYK or YCbCr is read if it has one page, of 8 bits. Convert it to RGB."
            )
        _check_whole(page, self._file.filehandle.size)
        image = self._pillow_image()
        # Pillow has turned it already, all others here are turned later.
        if photometric == _CMYK:
            if image.mode != "CMYK":
                raise UnsupportedImageError("TIFF with other inks than CMYK is not read.")
            image, _ = to_srgb(image, image.info.get("icc_profile"))
            note = ["CMYK was converted to sRGB by its profile."]
        else:
            image, note = image.convert("RGB"), []
        values = np.asarray(image)
        return as_stored(values, _value(page, 274, 1)), note

    def _metadata(self, page, number: int, transposed: bool) -> Metadata:
        tags = page.tags
        resolution = None
        unit = _UNITS.get(int(_value(page, 296, 2)), "none")
        x, y = (_ratio(_value(page, code, None)) for code in (282, 283))
        if x and y and not (unit == "none" and x == y):
            resolution = Resolution(*((y, x) if transposed else (x, y)), unit)
        icc = tags.valueof(_ICC)
        if int(page.photometric) == _CMYK:
            from PIL import ImageCms

            icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        iptc = _as_bytes(tags, _IPTC)
        photoshop = _as_bytes(tags, _PHOTOSHOP)
        return Metadata(
            icc=bytes(icc) if icc else None,
            exif=exif_of_tiff(self._file.filehandle) if number == 0 else None,
            xmp=upright_xmp(_as_bytes(tags, _XMP)),
            iptc=iptc or iptc_of(photoshop),
            photoshop=photoshop,
            resolution=resolution,
            tags=_kept_tags(page),
        )


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
        page = self._page = reader._pages[0]
        self._handle = reader._file.filehandle
        bits = page.bitspersample if isinstance(page.bitspersample, int) else page.bitspersample[0]
        channels = int(page.samplesperpixel)
        photometric = int(page.photometric)
        unread = {
            "numbers that are no unsigned integers of 8 or 16 bits": page.dtype is None
            or page.dtype.str[1:] not in ("u1", "u2")
            or bits != 8 * page.dtype.itemsize,
            "other colours than gray and RGB": photometric
            not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB),
            "transparency": bool(page.extrasamples) or channels not in (1, 3),
            "a tag that turns it": _value(page, 274, 1) != 1,
            "pixels without a value": _NO_DATA in page.tags,
            "a stack in one directory": reader._stack is not None,
        }
        for what, there in unread.items():
            if there:
                raise UnsupportedImageError(f"TIFF with {what} is not read in parts.")
        _check_whole(page, self._handle.size)
        self.shape = (int(page.imagelength), int(page.imagewidth), channels)
        self.dtype = np.dtype(page.dtype).newbyteorder("=")
        self._white_is_zero = photometric == _WHITE_IS_ZERO
        self.encoding = dataclasses.replace(
            _encoding_of(page, reader._file), white_is_zero=self._white_is_zero
        )
        self.metadata = reader._metadata(page, 0, False)
        self.notes = tuple(reader._notes)
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
        stored = self.dtype.newbyteorder(self._reader._file.byteorder)
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


def _value(page, code: int, default: Any) -> Any:
    return page.tags.valueof(code, default)


def _ratio(value: Any) -> float:
    try:
        return value[0] / value[1] if isinstance(value, tuple) else float(value or 0)
    except ZeroDivisionError:
        return 0.0


def _as_bytes(tags, code: int) -> bytes | None:
    if code not in tags:
        return None
    tag = tags[code]
    value = tag.value
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    # IPTC is often said to consist of long integers.
    handle = tag.parent.filehandle
    handle.seek(tag.valueoffset)
    return handle.read(tag.valuebytecount)


def _is_copy(page) -> bool:
    kind = int(_value(page, 254, 0))
    return bool(kind & (_REDUCED | _MASK)) or int(_value(page, 255, 0)) == _OLD_REDUCED


def _check_whole(page, size: int) -> None:
    """Missing pixels would be read as zeros."""
    ends = [
        offset + count
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False)
        if count
    ]
    if not page.dataoffsets or (ends and max(ends) > size):
        raise ImageFileError("the file is damaged or truncated.")
    if int(page.compression) == 1 and sum(page.databytecounts) < page.nbytes and page.dtype != bool:
        packed = page.bitspersample if isinstance(page.bitspersample, int) else 8
        if packed >= 8 and packed % 8 == 0 and sum(page.databytecounts):
            raise ImageFileError("the file is damaged or truncated.")


def _unmultiplied(values: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    top = 1.0 if values.dtype.kind == "f" else float(np.iinfo(values.dtype).max)
    share = np.where(alpha > 0, alpha, top)[..., np.newaxis].astype(np.float64) / top
    straight = values / share
    if values.dtype.kind == "f":
        return straight.astype(values.dtype)
    return np.rint(np.clip(straight, 0, top)).astype(values.dtype)


def _multiplied(values: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    top = 1.0 if values.dtype.kind == "f" else float(np.iinfo(values.dtype).max)
    share = alpha[..., np.newaxis].astype(np.float64) / top
    share = np.where(alpha[..., np.newaxis] > 0, share, 1.0)  # what is hidden is as it was
    product = values * share
    return (
        product.astype(values.dtype)
        if values.dtype.kind == "f"
        else np.rint(product).astype(values.dtype)
    )


def _no_data(text: Any, values: np.ndarray) -> np.ndarray | None:
    try:
        sign = np.asarray(float(str(text).strip("\x00 ")))
    except ValueError:
        return None
    hidden = np.all(values == sign.astype(values.dtype), axis=-1) if np.isfinite(sign) else None
    return hidden if hidden is not None and hidden.any() else None


def _encoding_of(page, file) -> Encoding:
    return Encoding(
        format="TIFF",
        compression=int(page.compression),
        predictor=int(page.predictor),
        tile=(page.tilelength, page.tilewidth) if page.is_tiled else None,
        planar=int(page.planarconfig) == 2 and page.samplesperpixel > 1,
        big=file.is_bigtiff,
        byteorder=file.byteorder,
    )


def _kept_tags(page) -> tuple[tuple[int, int, int, Any], ...]:
    """What the tags say besides how pixels are stored, ready to be written again."""
    kept = []
    for tag in page.tags:
        if tag.code in STRUCTURE or tag.code in (282, 283, 296, 274) or tag.count < 1:
            continue
        value = tag.value
        if isinstance(value, (str, bytes, int, float)) or (
            isinstance(value, tuple) and all(isinstance(x, (int, float)) for x in value)
        ):
            if hasattr(value, "value") and isinstance(value, int):
                value = int(value)
            kept.append((int(tag.code), int(tag.dtype), int(tag.count), value))
    return tuple(kept)


class TiffWriter:
    """A file that is written page by page.

    Args:
        path: a file that may be written to.
        encoding: how the first page was stored decides how all are.
        size: bytes of the numbers of all pages.
        count: how many pages there will be.
    """

    def __init__(self, path: pathlib.Path, encoding: Encoding, size: int, count: int = 1) -> None:
        self._path = path
        self._big = encoding.big or size > _CLASSIC_LIMIT
        self._order = encoding.byteorder
        self._writer = tifffile.TiffWriter(path, bigtiff=self._big, byteorder=self._order)
        self._directories: dict[int, Any] = {}
        self._count = count
        self._number = 0

    def write(self, picture: Picture) -> None:
        """Write the next page."""
        encoding, metadata = picture.encoding, picture.metadata
        values = picture.numbers()
        if encoding.white_is_zero and values.dtype.kind == "u":
            values = np.iinfo(values.dtype).max - values
        extra = None
        if picture.alpha is not None:
            if encoding.associated:
                values = _multiplied(values, picture.alpha)
            values = np.dstack([values, picture.alpha.astype(values.dtype)])
            extra = ["assocalpha" if encoding.associated else "unassalpha"]
        colors = values.shape[-1] - (extra is not None)
        planar = encoding.planar and values.shape[-1] > 1
        if values.shape[-1] == 1:
            values = values[..., 0]
        elif planar:
            values = np.moveaxis(values, -1, 0)
        self._writer.write(
            np.ascontiguousarray(values),
            planarconfig=("separate" if planar else "contig") if values.ndim == 3 else None,
            extrasamples=extra,
            tile=encoding.tile,
            **self._options(encoding, metadata, colors, values.dtype),
        )
        self._number += 1

    def write_bands(
        self,
        bands: Iterable[np.ndarray],
        shape: tuple[int, int, int],
        dtype: np.dtype,
        encoding: Encoding,
        metadata: Metadata,
    ) -> None:
        """Write a page in tiles of which it is given a row at a time.

        Args:
            bands: numbers `[h, W, C]` of `tile_side(encoding)[0]` rows each, the last of what is
                left.
            shape: height, width and channels of the page.
            dtype: unsigned integers.
            encoding: how it is stored.
            metadata: what the file says of it.
        """
        high, wide = tile_side(encoding)
        top = np.iinfo(dtype).max

        def tiles() -> Iterator[np.ndarray]:
            for band in bands:
                values = top - band if encoding.white_is_zero else band
                for left in range(0, shape[1], wide):
                    part = values[:, left : left + wide]
                    tile = np.zeros([high, wide, shape[2]], dtype)
                    tile[: part.shape[0], : part.shape[1]] = part
                    yield tile[..., 0] if shape[2] == 1 else tile

        self._writer.write(
            tiles(),
            shape=shape[:2] if shape[2] == 1 else shape,
            dtype=dtype,
            planarconfig="contig" if shape[2] > 1 else None,
            tile=(high, wide),
            **self._options(encoding, metadata, shape[2], dtype),
        )
        self._number += 1

    def _options(
        self, encoding: Encoding, metadata: Metadata, colors: int, dtype: np.dtype
    ) -> dict[str, Any]:
        """What a page is written with, however its pixels are given."""
        gray = "miniswhite" if encoding.white_is_zero else "minisblack"
        compression, predictor = _compression_of(encoding, dtype)
        resolution = metadata.resolution
        return {
            "photometric": "rgb" if colors == 3 else gray,
            "compression": compression,
            "predictor": predictor,
            "resolution": None if resolution is None else (resolution.x, resolution.y),
            "resolutionunit": None
            if resolution is None
            else resolution.unit.replace("cm", "centimeter"),
            "iccprofile": metadata.icc,
            "metadata": None,
            "software": False,
            "subfiletype": 2 if self._count > 1 else 0,
            "extratags": self._tags(metadata),
        }

    def _tags(self, metadata: Metadata) -> list[tuple]:
        # Text tags begin with what the file had; EXIF of other formats brings its own.
        tags = {
            code: (code, kind, count, value, True) for code, kind, count, value in metadata.tags
        }
        for code, value in ((_XMP, metadata.xmp), (_IPTC, metadata.iptc),
                            (_PHOTOSHOP, photoshop_of(metadata))):  # fmt: skip
            if value:
                tags[code] = (code, 1, len(value), value, True)
        if metadata.exif:
            if not metadata.tags:
                tags |= _text_tags(metadata.exif)
            if self._number == 0 and not self._big:
                self._directories = sub_directories(metadata.exif, self._order)
                # tifffile leaves these tags to itself: their places are kept by their neighbours.
                tags |= {code: (code + 1, 4, 1, 0, True) for code in self._directories}
        return [tags[code] for code in sorted(tags)]

    def close(self) -> None:
        """Write what is left, and let go of the file."""
        self._writer.close()
        if not self._directories:
            return
        with tifffile.TiffFile(self._path, mode="r+b") as file:
            handle = file.filehandle
            for code, directory in self._directories.items():
                handle.seek(0, os.SEEK_END)
                place = handle.tell() + handle.tell() % 2
                handle.seek(place)
                handle.write(directory.tobytes(place))
                entry = file.pages.first.tags[code + 1].offset
                handle.seek(entry)
                handle.write(struct.pack(self._order + "H", code))
                handle.seek(entry + 8)
                handle.write(struct.pack(self._order + "I", place))


def tile_side(encoding: Encoding) -> tuple[int, int]:
    """Height and width of the tiles of what is written in parts."""
    return encoding.tile or _TILE


def _text_tags(exif: bytes) -> dict[int, tuple]:
    """Texts of EXIF's first directory, as tags."""
    found = Image.Exif()
    found.load(b"Exif\x00\x00" + exif)
    return {
        code: (code, 2, 0, value, True)
        for code, value in found.items()
        if isinstance(value, str) and code not in STRUCTURE and value.isascii()
    }


def compression_note(encoding: Encoding) -> str | None:
    """What is not as it was of a file's compression, None if nothing is."""
    if encoding.format != "TIFF":
        return None
    name = _KEPT_COMPRESSIONS.get(encoding.compression)
    if name is None:
        return "its compression becomes deflate, which loses nothing."
    if name in _NEED_IMAGECODECS and not _has_imagecodecs():
        return f"its {name} compression becomes deflate; with the package imagecodecs it stays."
    return None


def _compression_of(encoding: Encoding, dtype: np.dtype) -> tuple[str | None, int | bool | None]:
    if encoding.format != "TIFF":
        return "zlib", dtype.kind in "ui"
    name = _KEPT_COMPRESSIONS.get(encoding.compression, "zlib")
    if name in _NEED_IMAGECODECS and not _has_imagecodecs():
        name = "zlib"
    if name == "none":
        return None, None
    predictor = encoding.predictor
    if predictor == 3 and (dtype.kind != "f" or not _has_imagecodecs()):
        predictor = 1
    if predictor == 2 and dtype.kind == "f":
        predictor = 1
    return name, None if predictor == 1 or name == "packbits" else predictor


def _has_imagecodecs() -> bool:
    return importlib.util.find_spec("imagecodecs") is not None
