"""What files say of their pictures: EXIF, XMP and IPTC, of pictures that have been turned."""

from __future__ import annotations

import io
import re
import struct
from typing import Any

from PIL import ExifTags, Image, TiffImagePlugin

from deepam_tf.files.picture import Metadata, Resolution

__all__ = [
    "IPTC_TAG",
    "PHOTOSHOP_TAG",
    "STRUCTURE",
    "XMP_TAG",
    "exif_of_tiff",
    "iptc_of",
    "jpeg_segments",
    "photoshop_of",
    "read_resolution",
    "sub_directories",
    "upright_exif",
    "upright_xmp",
]

_EXIF_HEADER = b"Exif\x00\x00"
_PHOTOSHOP_HEADER = b"Photoshop 3.0\x00"
_IPTC_RESOURCE = 0x0404
_SEGMENT = 65533 - len(_PHOTOSHOP_HEADER)  # bytes that fit into one APP13
_ORIENTATION = 0x0112
_DIRECTORIES = (0x8769, 0x8825)  # of the camera, of the place
XMP_TAG, IPTC_TAG, PHOTOSHOP_TAG = 700, 33723, 34377  # of TIFF
# Tags of TIFF that say how pixels are stored, or that are kept by other means.
STRUCTURE = frozenset(
    {
        *range(254, 267), 273, *range(274, 285), *range(287, 294), 296, 297, 301,
        317, 318, 319, *range(320, 327), 328, *range(330, 348), *range(512, 522),
        *range(529, 533), 559, 700, 32995, 32996, 32997, 32998, 33421, 33422, 33723, 34377, 34665,
        34675, 34853, 37724, 40965, 50706, 50707, 50708, 50710, 50711, 50713, 50714, 50717,
    }
)  # fmt: skip


def upright_exif(exif: bytes | None, *, transposed: bool = False) -> bytes | None:
    """EXIF of a picture that has been turned upright, all else byte by byte as it was.

    The thumbnail, which shows the picture as it was before, is cut off.

    Args:
        exif: with or without the six bytes that JPEG files put before it; or None.
        transposed: whether height and width changed places.

    Returns:
        EXIF without those bytes, None where there is none that can be read.
    """
    if not exif:
        return None
    data = bytearray(exif.removeprefix(_EXIF_HEADER))
    if data[:4] not in (b"II*\x00", b"MM\x00*"):
        return None
    order = "<" if data[:2] == b"II" else ">"
    try:
        (start,) = struct.unpack_from(order + "I", data, 4)
        entries = _entries(data, start, order)
        struct.pack_into(order + "I", data, start + 2 + 12 * len(entries), 0)  # no thumbnail
        for code, _, _, place in entries:
            if code == _ORIENTATION:
                struct.pack_into(order + "H", data, place, 1)
            elif code == 0x8769 and transposed:
                (below,) = struct.unpack_from(order + "I", data, place)
                _swap_sides(data, _entries(data, below, order))
    except struct.error:
        return None
    return bytes(data)


def _entries(data: bytearray, start: int, order: str) -> list[tuple[int, int, int, int]]:
    """Code, type, count and place of the value, of each entry of a directory."""
    (count,) = struct.unpack_from(order + "H", data, start)
    places = range(start + 2, start + 2 + 12 * count, 12)
    return [(*struct.unpack_from(order + "HHI", data, place), place + 8) for place in places]


def _swap_sides(data: bytearray, entries: list[tuple[int, int, int, int]]) -> None:
    sides = {code: (kind, place) for code, kind, _, place in entries if code in (0xA002, 0xA003)}
    if len(sides) == 2 and sides[0xA002][0] == sides[0xA003][0]:
        x, y = sides[0xA002][1], sides[0xA003][1]
        data[x : x + 4], data[y : y + 4] = data[y : y + 4], data[x : x + 4]


def upright_xmp(xmp: bytes | str | None) -> bytes | None:
    """XMP of a picture that has been turned upright, all else as it was."""
    if not xmp:
        return None
    xmp = xmp.encode() if isinstance(xmp, str) else bytes(xmp)
    return re.sub(rb"(tiff:Orientation(?:\s*=\s*[\"']|>\s*))\d", rb"\g<1>1", xmp)


def photoshop_of(metadata: Metadata) -> bytes | None:
    """Photoshop's image resources, those of IPTC records alone if there are no others."""
    if metadata.photoshop or not metadata.iptc:
        return metadata.photoshop
    size = len(metadata.iptc)
    padding = b"\x00" * (size % 2)
    return struct.pack(">4sHHI", b"8BIM", _IPTC_RESOURCE, 0, size) + metadata.iptc + padding


def iptc_of(photoshop: bytes | None) -> bytes | None:
    """The IPTC records in Photoshop's image resources."""
    place = 0
    while photoshop and photoshop[place : place + 4] == b"8BIM" and place + 12 <= len(photoshop):
        kind, length = struct.unpack_from(">HB", photoshop, place + 4)
        place += 6 + (1 + length + 1) // 2 * 2
        if place + 4 > len(photoshop):
            break
        (size,) = struct.unpack_from(">I", photoshop, place)
        if kind == _IPTC_RESOURCE:
            return photoshop[place + 4 : place + 4 + size]
        place += 4 + size + size % 2
    return None


def jpeg_segments(photoshop: bytes | None) -> bytes:
    """Photoshop's image resources as segments of a JPEG file."""
    content = photoshop or b""
    parts = [content[i : i + _SEGMENT] for i in range(0, len(content), _SEGMENT)]
    return b"".join(
        struct.pack(">HH", 0xFFED, 2 + len(_PHOTOSHOP_HEADER) + len(part))
        + _PHOTOSHOP_HEADER
        + part
        for part in parts
    )


def read_resolution(image: Image.Image) -> Resolution | None:
    """The resolution that a PNG, JPEG or BMP file itself tells."""
    info = image.info
    if image.format in ("JPEG", "MPO"):
        unit = {0: "none", 1: "inch", 2: "cm"}.get(info.get("jfif_unit", -1))
        x, y = info.get("jfif_density", (0, 0))
        if unit is None or not x or not y or (unit == "none" and x == y):
            return None
        return Resolution(float(x), float(y), unit)
    if "dpi" in info and min(info["dpi"]) > 0:
        return Resolution(*(float(x) for x in info["dpi"]), "inch")
    if "aspect" in info and info["aspect"][0] != info["aspect"][1]:
        return Resolution(*(float(x) for x in info["aspect"]), "none")
    return None


def exif_of_tiff(file: io.BufferedIOBase | io.RawIOBase | Any) -> bytes | None:
    """EXIF of an open TIFF file, without the tags that say how its pixels are stored."""
    exif = Image.Exif()
    try:
        file.seek(0)
        exif.load_from_fp(file)
        kept = Image.Exif()
        for code, value in exif.items():
            if code not in STRUCTURE and 0x010D <= code < 0xC000 and code not in _DIRECTORIES:
                kept[code] = value
        for code in _DIRECTORIES:
            if directory := exif.get_ifd(code):
                directory.pop(ExifTags.IFD.MakerNote, None)  # its offsets would be wrong
                kept.get_ifd(code).update(directory)
                kept[code] = 0
        if not len(kept):
            return None
        return kept.tobytes().removeprefix(_EXIF_HEADER)
    except Exception:  # of no promised kind, and a picture needs no EXIF
        return None


def sub_directories(exif: bytes, order: str) -> dict[int, TiffImagePlugin.ImageFileDirectory_v2]:
    """The directories of camera and place in EXIF, by their tags, ready for a TIFF file."""
    found = Image.Exif()
    found.load(_EXIF_HEADER + exif)
    directories = {}
    for code in _DIRECTORIES:
        values = found.get_ifd(code)
        if values:
            directory = TiffImagePlugin.ImageFileDirectory_v2(
                prefix=b"II" if order == "<" else b"MM"
            )
            for key, value in values.items():
                if key != ExifTags.IFD.MakerNote and not isinstance(value, dict):
                    directory[key] = value
            directories[code] = directory
    return directories
