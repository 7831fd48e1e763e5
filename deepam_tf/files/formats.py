"""Which files are pictures: told by their first bytes, not by their names; and what each keeps."""

from __future__ import annotations

import dataclasses
import pathlib

__all__ = [
    "NAMED_SUFFIXES",
    "PILLOW_FORMATS",
    "RAW_SUFFIXES",
    "READ_SUFFIXES",
    "WRITTEN",
    "Written",
    "identify",
    "written_format",
]


@dataclasses.dataclass(frozen=True)
class Written:
    """What a format that is written can hold.

    Attributes:
        name: of the format.
        suffixes: of its files.
        keeps: what of a file's metadata has a place in it.
        depths: types of numbers.
        alpha: whether pixels can be transparent.
        pages: `"animation"`, `"pages"` or None: one picture.
        longest_side: in pixels, None: no limit that matters.
        lossless: whether every number comes back.
    """

    name: str
    suffixes: tuple[str, ...]
    keeps: frozenset[str]
    depths: tuple[str, ...] = ("uint8",)
    alpha: bool = False
    pages: str | None = None
    longest_side: int | None = None
    lossless: bool = True


_INTEGERS = ("uint8", "uint16")
_NUMBERS = (*_INTEGERS, "uint32", "int8", "int16", "int32", "float16", "float32", "float64")
_MOST = {"colour profile", "EXIF", "XMP"}
WRITTEN = (
    Written(
        "PNG",
        (".png",),
        frozenset(_MOST | {"resolution", "text", "gamma and primaries"}),
        depths=_INTEGERS,
        alpha=True,
        pages="animation",
    ),
    Written(
        "JPEG",
        (".jpg", ".jpeg"),
        frozenset(_MOST | {"IPTC", "resolution", "comment"}),
        longest_side=65500,
        lossless=False,
    ),
    Written(
        "TIFF",
        (".tif", ".tiff"),
        frozenset(_MOST | {"IPTC", "resolution", "tags"}),
        depths=_NUMBERS,
        alpha=True,
        pages="pages",
    ),
    Written(
        "WEBP",
        (".webp",),
        frozenset(_MOST),
        alpha=True,
        pages="animation",
        longest_side=16383,
        lossless=False,
    ),
    Written(
        "GIF",
        (".gif",),
        frozenset({"comment"}),
        alpha=True,
        pages="animation",
        longest_side=65535,
        lossless=False,
    ),
    Written("BMP", (".bmp",), frozenset({"resolution"})),
)
"""The formats that are written."""

RAW_SUFFIXES = frozenset(
    {
        ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".iiq", ".kdc", ".mef",
        ".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2",
        ".srf", ".srw", ".x3f",
    }
)  # fmt: skip
"""Of raw photographs."""

READ_SUFFIXES = (
    frozenset(suffix for written in WRITTEN for suffix in written.suffixes)
    | RAW_SUFFIXES
    | {".avif", ".heic", ".heif"}
)
"""Of files that are taken for pictures where a folder is read."""

NAMED_SUFFIXES = frozenset({".dds", ".exr", ".hdr", ".icns", ".j2k", ".jp2", ".jpx", ".jxl",
                            ".pfm", ".pgm", ".ppm", ".psd", ".qoi", ".tga"})  # fmt: skip
"""Of pictures that are not read, or seldom: a folder run names them instead of passing them by."""

PILLOW_FORMATS = frozenset({"PNG", "JPEG", "WEBP", "GIF", "BMP", "PPM", "AVIF"})
"""What Pillow decodes here."""

# Place, bytes there, and what they say; of more kinds than are read, to call them by their names.
_SIGNATURES = (
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"GIF87a", "GIF"),
    (0, b"GIF89a", "GIF"),
    (8, b"WEBP", "WEBP"),
    (0, b"BM", "BMP"),
    (0, b"P5", "PPM"),
    (0, b"P6", "PPM"),
    (0, b"II*\x00", "TIFF"),
    (0, b"MM\x00*", "TIFF"),
    (0, b"II+\x00", "TIFF"),
    (0, b"MM\x00+", "TIFF"),
    (4, b"ftypcrx", "RAW"),
    (4, b"ftypavif", "AVIF"),
    (4, b"ftypavis", "AVIF"),
    (4, b"ftyphei", "HEIC"),
    (4, b"ftyphev", "HEIC sequence"),
    (4, b"ftypmif1", "HEIC"),
    (4, b"ftypmsf1", "HEIC sequence"),
    (0, b"FUJIFILMCCD-RAW", "RAW"),
    (0, b"IIU\x00", "RAW"),
    (0, b"IIRO", "RAW"),
    (0, b"IIRS", "RAW"),
    (0, b"MMOR", "RAW"),
    (0, b"FOVb", "RAW"),
    (0, b"\x00MRM", "RAW"),
    (6, b"HEAPCCDR", "RAW"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (0, b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"\x76\x2f\x31\x01", "OpenEXR"),
    (0, b"#?RADIANCE", "Radiance HDR"),
    (0, b"#?RGBE", "Radiance HDR"),
    (0, b"8BPS", "Photoshop PSD"),
    (0, b"\x00\x00\x01\x00", "Windows icon"),
    (0, b"icns", "Apple icon"),
    (0, b"DDS ", "DirectDraw surface"),
    (0, b"PF", "PFM"),
    (0, b"Pf", "PFM"),
    (0, b"P1", "PBM"),
    (0, b"P2", "plain PGM"),
    (0, b"P3", "plain PPM"),
    (0, b"P4", "PBM"),
    (0, b"P7", "PAM"),
    (0, b"qoif", "QOI"),
    (0, b"%PDF", "PDF"),
    (0, b"%!PS", "PostScript"),
    (0, b"SIMPLE  =", "FITS"),
    (0, b"\x93NUMPY", "NumPy array"),
    (0, b"gimp xcf", "GIMP XCF"),
    (0, b"<svg", "SVG"),
    (0, b"\x89HDF", "HDF5"),
    (0, b"FLIF", "FLIF"),
    (0, b"BPG\xfb", "BPG"),
)


def identify(head: bytes) -> str | None:
    r"""The format of a file.

    Args:
        head: its first bytes, 32 or more.

    Returns:
        The name, also of formats that are not read; None if the bytes say nothing.

    Example:
        >>> identify(b"\x89PNG\r\n\x1a\n")
        'PNG'
    """
    for place, signature, name in _SIGNATURES:
        if head[place : place + len(signature)] == signature:
            return name
    if head[4:8] == b"ftyp":
        if b"avif" in head or b"avis" in head:
            return "AVIF"
        return "HEIC" if b"heic" in head or b"mif1" in head else "video"
    return None


def written_format(path: pathlib.Path) -> Written | None:
    """The format that the suffix of a file to write names, None if there is none."""
    suffix = path.suffix.lower()
    return next((written for written in WRITTEN if suffix in written.suffixes), None)
