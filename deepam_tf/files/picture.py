"""A decoded picture, and all that its file holds besides pixels."""

from __future__ import annotations

import dataclasses
from typing import Any, cast

import numpy as np

from deepam_tf.files.levels import Levels, from_unit

__all__ = [
    "DEPTHS",
    "Encoding",
    "ImageFileError",
    "Metadata",
    "Picture",
    "Resolution",
    "UnsupportedImageError",
    "from_numbers",
]

DEPTHS = {np.dtype("uint8"): 255.0, np.dtype("uint16"): 65535.0}
"""Integer types of most pictures, and the value that is white."""


class ImageFileError(ValueError):
    """A file that cannot be read or written as an image; the message is one line."""


class UnsupportedImageError(ImageFileError):
    """A file that is whole, as far as one can see, but of a kind that is not read."""


@dataclasses.dataclass(frozen=True)
class Resolution:
    """Pixels a unit of length.

    Attributes:
        x: along rows.
        y: along columns.
        unit: `"inch"`, `"cm"`, or `"none"`: only the ratio of the two means something.
    """

    x: float
    y: float
    unit: str

    def per(self, unit: str) -> tuple[float, float]:
        """In pixels an `"inch"`, `"cm"` or `"m"`; of no unit as they are."""
        lengths = {"inch": 0.0254, "cm": 0.01, "m": 1.0}
        factor = 1.0 if self.unit == "none" else lengths[unit] / lengths[self.unit]
        return self.x * factor, self.y * factor


@dataclasses.dataclass(frozen=True)
class Metadata:
    """What a file says of its picture. Nothing of it turns pixels: they are upright.

    Attributes:
        icc: ICC colour profile, byte by byte.
        exif: EXIF as in a JPEG file behind its first six bytes, orientation 1.
        xmp: XMP packet, orientation 1.
        iptc: IPTC records.
        photoshop: Photoshop's image resources; hold the IPTC records too.
        resolution: pixels a unit of length.
        text: named texts.
        color_chunks: of PNG, kind and content: gamma, primaries, code points.
        tags: of TIFF, `(code, type, count, value)`, those that say nothing of how pixels are
            stored.
    """

    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    photoshop: bytes | None = None
    resolution: Resolution | None = None
    text: tuple[tuple[str, str], ...] = ()
    color_chunks: tuple[tuple[bytes, bytes], ...] = ()
    tags: tuple[tuple[int, int, int, Any], ...] = ()

    def stripped(self) -> Metadata:
        """What pixels need in order to look as they do, and nothing else."""
        return Metadata(icc=self.icc, color_chunks=self.color_chunks)


@dataclasses.dataclass(frozen=True)
class Encoding:
    """How a file stored its picture, for files of the same format.

    Attributes:
        format: `"PNG"`, `"JPEG"`, `"TIFF"`, `"WEBP"`, `"GIF"`, `"BMP"` or another that is read.
        quantization: of JPEG, the tables by their numbers.
        progressive: of JPEG.
        lossless: of WebP.
        compression: of TIFF, its number; 1 is none.
        predictor: of TIFF.
        tile: of TIFF, height and width of tiles, or None: strips.
        planar: of TIFF, whether channels are stored apart.
        white_is_zero: of TIFF, whether 0 is white.
        associated: of TIFF, whether colours are stored multiplied by alpha.
        big: of TIFF, whether offsets have 64 bits.
        byteorder: of TIFF, `"<"` or `">"`.
        loop: of animations, how often they are shown; 0: for ever; None: once.
        default_image: of animated PNG, whether the first picture is not part of it.
    """

    format: str = ""
    quantization: dict[int, list[int]] | None = None
    progressive: bool = False
    lossless: bool = False
    compression: int = 1
    predictor: int = 1
    tile: tuple[int, int] | None = None
    planar: bool = False
    white_is_zero: bool = False
    associated: bool = False
    big: bool = False
    byteorder: str = "<"
    loop: int | None = None
    default_image: bool = False


@dataclasses.dataclass(frozen=True)
class Picture:
    """A decoded image, upright.

    Attributes:
        pixels: `[H, W, C]` float32, C = 1 (gray) or 3 (RGB), not linearised. Of integers in
            [0, 1]; of floats `black` is 0 and `white` is 1, and there may be more. `Levels` are
            read the same, and are what `open_pictures` gives where it is asked to.
        alpha: `[H, W]` in the file's own numbers, or None.
        dtype: the file's type of numbers.
        black: what is 0 in `pixels`, in the file's numbers; 0 of unsigned types.
        white: what is 1 in `pixels`, in the file's numbers; None: the largest of an unsigned
            type, 1 of floats.
        unknown: `[H, W]`, True where the file holds NaN, infinity or its own sign for "no
            value"; `pixels` are 0 there; None: nowhere.
        stored: `[H, W, C]` of the file's numbers at pixels that are not `visible`; None: there
            are none.
        metadata: what the file says of the picture.
        encoding: how the file stored it.
        duration: how long a frame of an animation is shown, in milliseconds; None: no frame.
        notes: one line each: what is not as in the file.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None
    dtype: np.dtype
    black: float = 0.0
    white: float | None = None
    unknown: np.ndarray | None = None
    stored: np.ndarray | None = None
    metadata: Metadata = Metadata()
    encoding: Encoding = Encoding()
    duration: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def visible(self) -> np.ndarray | None:
        """`[H, W]`, False where alpha is 0 or nothing is known; None: everywhere True."""
        hidden = None if self.alpha is None else self.alpha == 0
        if self.unknown is not None:
            hidden = self.unknown if hidden is None else hidden | self.unknown
        return None if hidden is None or not hidden.any() else ~hidden

    @property
    def levels(self) -> tuple[float, float]:
        """Black and white in the file's numbers."""
        if self.white is not None:
            return self.black, self.white
        dtype = np.dtype(self.dtype)
        return self.black, float(np.iinfo(dtype).max) if dtype.kind in "ui" else 1.0

    def stripped(self) -> Picture:
        """The picture without what its file says of it, its colours apart."""
        return dataclasses.replace(self, metadata=self.metadata.stripped())

    def numbers(self) -> np.ndarray:
        """`[H, W, C]`, the pixels in the file's own numbers; what is not visible as it was."""
        if isinstance(self.pixels, Levels):
            return self.pixels.numbers
        black, white = self.levels
        dtype = np.dtype(self.dtype)
        if dtype.kind == "u":  # ten bits in sixteen stay ten
            values = from_unit(self.pixels, dtype, white)
        else:
            values = black + self.pixels.astype(np.float64) * (white - black)
            if dtype.kind == "i":
                values = np.rint(values)
            limits = np.iinfo(dtype) if dtype.kind == "i" else np.finfo(dtype)
            values = np.clip(values, limits.min, limits.max).astype(dtype)
        if self.stored is not None and self.visible is not None:
            values = np.where(self.visible[..., np.newaxis], values, self.stored)
        return values


def from_numbers(
    values: np.ndarray,
    alpha: np.ndarray | None,
    *,
    white_level: float | None = None,
    black_level: float | None = None,
    unknown: np.ndarray | None = None,
    **facts: Any,
) -> Picture:
    """A picture from the numbers of a file.

    Args:
        values: `[H, W, C]`.
        alpha: `[H, W]`, or None.
        white_level: what becomes 1; by default the largest of an unsigned type, 1 of floats.
        black_level: what becomes 0; 0 by default, and always of unsigned types.
        unknown: `[H, W]`, True where there is no value; NaN and infinity are found here.
        **facts: the other fields of `Picture`.

    Returns:
        The picture; its `pixels` are `Levels` where all are there, of 8 or 16 bits.
    """
    dtype = values.dtype.newbyteorder("=")
    black = 0.0 if black_level is None else black_level
    if dtype.kind == "f":
        infinite = ~np.asarray(np.isfinite(values).all(axis=-1))
        if infinite.any():
            unknown = infinite if unknown is None else unknown | infinite
    picture = Picture(
        np.zeros([1, 1, 1], np.float32),
        alpha,
        dtype,
        black=black,
        white=white_level,
        unknown=unknown,
        **facts,
    )
    low, high = picture.levels
    known = values
    if unknown is not None and unknown.any():
        known = np.where(unknown[..., np.newaxis], np.asarray(low, dtype), values)
    if dtype.kind == "u":
        levels = Levels(known, high)
        whole = picture.visible is None and dtype.itemsize <= 2
        pixels = cast("np.ndarray", levels) if whole else np.asarray(levels)
    else:
        pixels = ((known.astype(np.float64) - low) / (high - low)).astype(np.float32)
    stored = values.astype(dtype) if picture.visible is not None else None
    return dataclasses.replace(picture, pixels=pixels, stored=stored)
