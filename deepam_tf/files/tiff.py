"""TIFF read as its tags say, page by page, by tifffile."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import pathlib
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import tifffile
from PIL import Image, TiffImagePlugin

from deepam_tf.files.metadata import (
    IPTC_TAG,
    PHOTOSHOP_TAG,
    STRUCTURE,
    XMP_TAG,
    exif_of_tiff,
    iptc_of,
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
    "BLACK_IS_ZERO",
    "NO_DATA",
    "RGB",
    "WHITE_IS_ZERO",
    "TiffReader",
    "check_whole",
    "encoding_of",
    "is_cut_off",
    "is_raw",
    "value_of",
]

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6
_MOSAIC, _LINEAR_RAW = 32803, 34892
_DNG_VERSION = 50706
_REDUCED, _MASK = 1, 4  # bits of NewSubfileType
_OLD_REDUCED = 2  # value of SubfileType
NO_DATA = 42113  # of GDAL
_ICC = 34675
_ASSOCIATED, _STRAIGHT = 1, 2
_UNITS = {1: "none", 2: "inch", 3: "cm"}


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
        file: as tifffile has opened it.
        pages: these pages, as tifffile describes them.
        stack: all pictures of a file with one directory for them, `[count, ...]`; or None.
        notes: one line each: what is not as in the file.

    Raises:
        ImageFileError: if it holds nothing that is read.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self.file = tifffile.TiffFile(path)
        self.several = "pages"
        self.notes: list[str] = []
        self.pages = self._full_pages()
        self.stack = None
        stack = self.file.series[0] if self.file.is_imagej or self.file.is_shaped else None
        if len(self.pages) == 1 and stack is not None and stack.dataoffset is not None:
            page = self.pages[0]
            frames = stack.size // max(int(np.prod(page.shape)), 1)
            if frames > 1:  # one directory for a whole stack
                self.stack = np.memmap(
                    path,
                    mode="r",
                    dtype=self.file.byteorder + page.dtype.char,
                    offset=stack.dataoffset,
                    shape=(frames, *page.shape),
                )
        self.count = len(self.pages) if self.stack is None else len(self.stack)
        sizes = [(page.imagelength, page.imagewidth) for page in self.pages]
        self.size = max(sizes, key=lambda size: size[0] * size[1])

    def close(self) -> None:
        """Let go of the file."""
        self.file.close()

    def _full_pages(self) -> list:
        """The pages that are neither previews nor masks of others."""
        pages = list(self.file.pages)
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
            self.notes.append(f"{copies} previews or masks beside its pictures are left out.")
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
            page = self.pages[0 if self.stack is not None else number]
            values, facts, notes = self._decoded(page, number)
            orientation = value_of(page, 274, 1)
            alpha, unknown = facts.pop("alpha"), facts.pop("unknown")
            yield from_numbers(
                turned(values, orientation),
                None if alpha is None else turned(alpha, orientation),
                black_level=black,
                white_level=white,
                unknown=None if unknown is None else turned(unknown, orientation),
                metadata=self.metadata(page, number, orientation in TRANSPOSED),
                encoding=facts["encoding"],
                notes=(*(self.notes if number == 0 else ()), *notes),
            )

    def ranges(self, count: int) -> tuple[np.dtype, float, float, bool]:
        """Type, least and largest number of the first pages, and whether 0 is white."""
        low, high, dtype, inverted = np.inf, -np.inf, np.dtype("u1"), False
        for number in range(count):
            page = self.pages[0 if self.stack is not None else number]
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
        page = self.pages[0]
        values, facts, _ = self._decoded(page, 0)
        orientation, unknown = value_of(page, 274, 1), facts["unknown"]
        return turned(values, orientation), (
            None if unknown is None else turned(unknown, orientation)
        )

    def dtype(self) -> np.dtype:
        """The type of numbers of the first page."""
        return np.dtype(self.pages[0].dtype or "u1")

    def _decoded(self, page, number: int) -> tuple[np.ndarray, dict[str, Any], list[str]]:
        """Numbers `[H, W, 1 or 3]` as stored, alpha, unknown and encoding; notes."""
        notes: list[str] = []
        photometric = int(page.photometric)
        bits = page.bitspersample if isinstance(page.bitspersample, int) else page.bitspersample[0]
        if photometric not in (
            WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, _PALETTE, _CMYK, _YCBCR
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
            photometric = RGB
        else:
            values = self._stored(page, number)
        if values.ndim == 2:
            values = values[..., np.newaxis]
        encoding = encoding_of(page, self.file)
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
        channels = 3 if photometric in (RGB, _PALETTE) else 1
        if values.shape[-1] not in (channels, channels + 1):
            raise UnsupportedImageError(
                f"TIFF with {values.shape[-1]} channels is not read; 1 and 3 are, and alpha."
            )
        values, alpha = values[..., :channels], values[..., channels:]
        alpha = alpha[..., 0] if alpha.shape[-1] else None
        if photometric == WHITE_IS_ZERO and values.dtype.kind == "u":
            values = np.iinfo(values.dtype).max - values
        encoding = dataclasses.replace(encoding, white_is_zero=photometric == WHITE_IS_ZERO)
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
        if NO_DATA in page.tags:
            unknown = _no_data(page.tags[NO_DATA].value, values)
        return values, {"alpha": alpha, "unknown": unknown, "encoding": encoding}, notes

    def _stored(self, page, number: int) -> np.ndarray:
        if self.stack is not None:
            values = np.array(self.stack[number])
            return values.astype(values.dtype.newbyteorder("="), copy=False)
        check_whole(page, self.file.filehandle.size)
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
        self.file.filehandle.seek(0)
        return self.file.filehandle.read()

    def _stored_by_opencv(self, page) -> np.ndarray | None:
        """Plain colour of 16 bits: OpenCV turns others wrongly, and multiplies by alpha."""
        upright = value_of(page, 274, 1) == 1
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
        if int(page.photometric) == WHITE_IS_ZERO and image.mode in ("1", "L"):
            values = ~values
        return as_stored(values, value_of(page, 274, 1))

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
        check_whole(page, self.file.filehandle.size)
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
        return as_stored(values, value_of(page, 274, 1)), note

    def metadata(self, page, number: int, transposed: bool) -> Metadata:
        """What the file says of a page that has been turned, on its side or not."""
        tags = page.tags
        resolution = None
        unit = _UNITS.get(int(value_of(page, 296, 2)), "none")
        x, y = (_ratio(value_of(page, code, None)) for code in (282, 283))
        if x and y and not (unit == "none" and x == y):
            resolution = Resolution(*((y, x) if transposed else (x, y)), unit)
        icc = tags.valueof(_ICC)
        if int(page.photometric) == _CMYK:
            from PIL import ImageCms

            icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        iptc = _as_bytes(tags, IPTC_TAG)
        photoshop = _as_bytes(tags, PHOTOSHOP_TAG)
        return Metadata(
            icc=bytes(icc) if icc else None,
            exif=exif_of_tiff(self.file.filehandle) if number == 0 else None,
            xmp=upright_xmp(_as_bytes(tags, XMP_TAG)),
            iptc=iptc or iptc_of(photoshop),
            photoshop=photoshop,
            resolution=resolution,
            tags=_kept_tags(page),
        )


def value_of(page, code: int, default: Any) -> Any:
    """What a tag of a page says, the default where there is none."""
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
    kind = int(value_of(page, 254, 0))
    return bool(kind & (_REDUCED | _MASK)) or int(value_of(page, 255, 0)) == _OLD_REDUCED


def check_whole(page, size: int) -> None:
    """Raise `ImageFileError` if pixels are missing, which would be read as zeros."""
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


def _no_data(text: Any, values: np.ndarray) -> np.ndarray | None:
    try:
        sign = np.asarray(float(str(text).strip("\x00 ")))
    except ValueError:
        return None
    hidden = np.all(values == sign.astype(values.dtype), axis=-1) if np.isfinite(sign) else None
    return hidden if hidden is not None and hidden.any() else None


def encoding_of(page, file) -> Encoding:
    """How a page is stored."""
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
