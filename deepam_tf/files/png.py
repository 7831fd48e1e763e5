"""Of PNG what Pillow leaves out: colour of 16 bits, and chunks byte by byte."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np

from deepam_tf.files.picture import Metadata

__all__ = ["chunks", "color_chunks", "decode_deep", "encode_deep", "is_deep", "with_chunks"]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOR = (b"cICP", b"cHRM", b"gAMA", b"sRGB", b"mDCV", b"cLLI")
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_SIXTEEN_BITS = 16


def chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """Kinds and contents of all chunks.

    Raises:
        ValueError: if one is cut off or damaged, or the last is missing.
    """
    found, place = [], len(_SIGNATURE)
    while place + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, place)
        kind, content = data[place + 4 : place + 8], data[place + 8 : place + 8 + size]
        check = data[place + 8 + size : place + 12 + size]
        if check != struct.pack(">I", zlib.crc32(kind + content)):
            raise ValueError("a chunk is damaged")
        found.append((kind, content))
        if kind == b"IEND":
            return found
        place += 12 + size
    raise ValueError("the end is missing")


def is_deep(data: bytes) -> bool:
    """Whether there are 16 bits for more than one channel."""
    return data[24] == _SIXTEEN_BITS and data[25] != 0  # of the header chunk, always the first


def decode_deep(data: bytes) -> np.ndarray:
    """Pixels of 16 bits, `[H, W, 2..4]`, as stored; of two or four the last is alpha.

    Raises:
        ValueError: if the file is damaged.
    """
    # OpenCV prints what it thinks of damaged files: it gets none of them.
    found = chunks(data)
    height, width = struct.unpack_from(">II", data, 16)[::-1]
    channels = _CHANNELS[data[25]]
    pixels = zlib.decompress(b"".join(content for kind, content in found if kind == b"IDAT"))
    if len(pixels) < 2 * height * width * channels:
        raise ValueError("pixels are missing")
    values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.dtype != np.uint16 or values.ndim != 3:
        raise ValueError("OpenCV cannot decode it")
    if channels == 2:  # it is spread over all channels
        return values[..., [0, -1]]
    return values[..., [2, 1, 0, 3][: values.shape[-1]]]


def encode_deep(values: np.ndarray) -> bytes:
    """A file of `[H, W, 2..4]` uint16.

    Each row is stored as its difference from the row above.
    """
    height, width, channels = values.shape
    rows = values.astype(">u2").reshape(height, -1).view(np.uint8)
    above = np.vstack([np.zeros_like(rows[:1]), rows[:-1]])
    filtered = np.hstack([np.full((height, 1), 2, np.uint8), rows - above])
    color_type = {2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, _SIXTEEN_BITS, color_type, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(filtered.tobytes(), 6)), (b"IEND", b"")]
    return _SIGNATURE + b"".join(_chunk(*part) for part in parts)


def color_chunks(data: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """The chunks that say what colours the numbers are, besides the profile."""
    return tuple(chunk for chunk in chunks(data) if chunk[0] in _COLOR)


def with_chunks(data: bytes, metadata: Metadata) -> bytes:
    """The file with what there is to say of it, behind its header."""
    entries = [*metadata.color_chunks]
    if metadata.icc:
        entries.append((b"iCCP", b"ICC profile\x00\x00" + zlib.compress(metadata.icc)))
    if metadata.resolution is not None:
        x, y = (round(value) for value in metadata.resolution.per("m"))
        if metadata.resolution.unit == "none":
            x, y = (round(1000 * value) for value in metadata.resolution.per("m"))
        known = metadata.resolution.unit != "none"
        entries.append((b"pHYs", struct.pack(">IIB", x, y, known)))
    if metadata.exif:
        entries.append((b"eXIf", metadata.exif))
    if metadata.xmp:
        entries.append((b"iTXt", b"XML:com.adobe.xmp\x00\x00\x00\x00\x00" + metadata.xmp))
    entries += [_text(*text) for text in metadata.text]
    end_of_header = len(_SIGNATURE) + 12 + 13
    added = b"".join(_chunk(*chunk) for chunk in entries)
    return data[:end_of_header] + added + data[end_of_header:]


def _text(key: str, value: str) -> tuple[bytes, bytes]:
    name = key.encode("latin-1", "replace")[:79]
    try:
        return b"tEXt", name + b"\x00" + value.encode("latin-1")
    except UnicodeEncodeError:
        return b"iTXt", name + b"\x00\x00\x00\x00\x00" + value.encode()


def _chunk(kind: bytes, content: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + check
