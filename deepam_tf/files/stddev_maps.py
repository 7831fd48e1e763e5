"""Files of standard deviations: how far off each value of another file may be, and in which unit.

    .npy            float32, `[H, W]` or `[H, W, 3]`
    .tif, .tiff     the same
    .png            16 bit: value times a step, a power of two that a text chunk says

A preview in colours, `NAME_preview.png`, is written beside it.
"""

from __future__ import annotations

import io
import math
import os
import pathlib
import struct
import zlib

import cv2
import numpy as np

from deepam_tf.files import atomic
from deepam_tf.files import pictures as image_io

__all__ = [
    "SUFFIXES",
    "check_writable_stddev",
    "colored",
    "preview_path",
    "read_stddev",
    "write_stddev",
]

SUFFIXES = (".npy", ".png", ".tif", ".tiff")
_LARGEST = 65535
_STEP, _UNIT = b"deepam:step", b"deepam:unit"
_SIGNATURE_AND_HEADER = 33  # bytes of a PNG file; text may follow them
_WHITE = 99.5  # percentile of the deviations that is the brightest colour of the preview


def preview_path(path: pathlib.Path) -> pathlib.Path:
    """The coloured preview's file, beside the numbers'."""
    return path.with_name(f"{path.stem}_preview.png")


def check_writable_stddev(path: pathlib.Path, *, overwrite: bool = False) -> None:
    """Raise as `write_stddev` would, before the work whose result it writes is done.

    Raises:
        image_io.ImageFileError: if the suffix is another than `SUFFIXES`.
        atomic.WriteError: if a file could not be written there.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise image_io.ImageFileError(
            f"{path}: standard deviations go into one of {', '.join(SUFFIXES)}."
        )
    for place in (path, preview_path(path)):
        atomic.check_place(place, overwrite=overwrite)


def write_stddev(
    path: str | os.PathLike, stddev: np.ndarray, unit: str, *, overwrite: bool = False
) -> pathlib.Path:
    """Write standard deviations and their preview, each file whole or not at all.

    Args:
        path: file to write; its suffix is one of `SUFFIXES`.
        stddev: `[H, W]`, `[H, W, 1]` or `[H, W, 3]`, positive, in any unit.
        unit: what 1 is, for people; it goes into the text chunks of PNG files.
        overwrite: whether existing files may be replaced.

    Returns:
        Path of the preview.

    Raises:
        image_io.ImageFileError: see `check_writable_stddev`.
        atomic.WriteError: see `check_writable_stddev`.
    """
    path = pathlib.Path(path)
    check_writable_stddev(path, overwrite=overwrite)
    stddev = np.asarray(stddev, np.float32)
    if stddev.ndim == 3 and stddev.shape[-1] == 1:
        stddev = stddev[..., 0]
    suffix = path.suffix.lower()
    if suffix == ".npy":
        buffer = io.BytesIO()
        np.save(buffer, stddev, allow_pickle=False)
        data = buffer.getvalue()
    elif suffix == ".png":
        step = _step(float(stddev.max()))
        # Never 0, which would say that the value is certain.
        values = np.clip(np.rint(stddev / step), 1, _LARGEST).astype(np.uint16)
        data = _with_text(_encoded(".png", values), {_STEP: f"{step!r}", _UNIT: unit})
    else:
        data = _encoded(".tiff", stddev)
    atomic.write_bytes(path, data)
    preview = preview_path(path)
    atomic.write_bytes(preview, colored(stddev, unit))
    return preview


def read_stddev(path: str | os.PathLike) -> np.ndarray:
    """Read what `write_stddev` wrote.

    Args:
        path: the file.

    Returns:
        `[H, W]` or `[H, W, 3]` float32, in the unit it was written in.

    Raises:
        image_io.ImageFileError: if it cannot be read, or is a PNG file that says no step.
    """
    path = pathlib.Path(path)
    try:
        data = path.read_bytes()
        if path.suffix.lower() == ".npy":
            return np.load(io.BytesIO(data), allow_pickle=False).astype(np.float32)
        values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except (OSError, ValueError, cv2.error) as error:
        raise image_io.ImageFileError(f"{path}: cannot be read ({error}).") from error
    if values is None:
        raise image_io.ImageFileError(f"{path}: not an image, or a damaged one.")
    if values.ndim == 3:
        values = values[..., ::-1]
    if path.suffix.lower() != ".png":
        return values.astype(np.float32)
    at = data.find(_STEP + b"\0")
    if at < 0:
        raise image_io.ImageFileError(
            f"{path}: a PNG file of standard deviations says its step in a text chunk. Received: "
            "none. Write it as NPY or TIFF, or keep the chunk."
        )
    (length,) = struct.unpack(">I", data[at - 8 : at - 4])
    step = float(data[at + len(_STEP) + 1 : at + length])
    return (values * step).astype(np.float32)


def _step(largest: float) -> float:
    """The least power of two of which 65535 reach the largest value."""
    return 2.0 ** math.ceil(math.log2(max(largest, 1e-30) / _LARGEST))


def _encoded(suffix: str, values: np.ndarray) -> bytes:
    done, data = cv2.imencode(suffix, values[..., ::-1] if values.ndim == 3 else values)
    if not done:
        raise image_io.ImageFileError(f"The picture could not be encoded as {suffix}.")
    return data.tobytes()


def _with_text(png: bytes, texts: dict[bytes, str]) -> bytes:
    """A PNG file with text chunks behind its header."""
    chunks = b""
    for keyword, text in texts.items():
        content = b"tEXt" + keyword + b"\0" + text.encode("latin-1", "replace")
        chunks += struct.pack(">I", len(content) - 4) + content
        chunks += struct.pack(">I", zlib.crc32(content))
    return png[:_SIGNATURE_AND_HEADER] + chunks + png[_SIGNATURE_AND_HEADER:]


def colored(stddev: np.ndarray, unit: str) -> bytes:
    """A PNG file that shows standard deviations: dark is sure and bright is not.

    Args:
        stddev: `[H, W]`, `[H, W, 1]` or `[H, W, 3]`, positive; of colour the root mean square is
            shown.
        unit: what 1 is, for people. A text chunk says so, and another the deviation that the
            brightest colour stands for.

    Returns:
        The file's bytes.

    Example:
        >>> from deepam_tf.files.stddev_maps import colored
        >>> colored(np.full([8, 8], 0.1), "white of the picture")[1:4]
        b'PNG'
    """
    stddev = np.asarray(stddev, np.float32)
    one = stddev if stddev.ndim == 2 else np.sqrt(np.square(stddev).mean(axis=-1))
    top = float(np.percentile(one, _WHITE))
    levels = np.clip(255 * one / top, 0, 255).astype(np.uint8)
    colors = cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)[..., ::-1]
    return _with_text(_encoded(".png", colors), {b"deepam:white": f"{top:.6g}", _UNIT: unit})
