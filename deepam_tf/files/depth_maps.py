"""Depth map files: integers of 8 and 16 bit, floats as TIFF or NPY, in any unit."""

from __future__ import annotations

import dataclasses
import io
import os
import pathlib

import numpy as np
from PIL import Image

from deepam_tf.files import pictures as image_io
from deepam_tf.files.levels import from_unit

__all__ = ["DepthMap", "check_writable_depth", "read_depth", "write_depth"]

_TIFF_SUFFIXES = frozenset({".tif", ".tiff"})
_HOLDS = {
    "u1": {".bmp", ".npy", ".png", ".tif", ".tiff"},
    "u2": {".npy", ".png", ".tif", ".tiff"},
    "f": {".npy", ".tif", ".tiff"},
}
"""Suffixes that keep every number of a type."""


@dataclasses.dataclass(frozen=True)
class DepthMap:
    """A depth or disparity map as its file has it.

    Attributes:
        values: `[H, W]` in the file's unit, holes as the file has them: which numbers are holes,
            `deepam_tf.depth.holes.find_measured` tells.
        dtype: the file's type of numbers: uint8, uint16 or a float.
    """

    values: np.ndarray
    dtype: np.dtype


def read_depth(
    path: str | os.PathLike, *, max_megapixels: float = image_io.MAX_MEGAPIXELS
) -> DepthMap:
    """Read a depth map, every number as it stands in the file.

    Args:
        path: PNG or another image format, gray, of 8 or 16 bit; TIFF or NPY with floats.
        max_megapixels: refuse larger maps before decoding them.

    Returns:
        The map.

    Raises:
        image_io.ImageFileError: if the file cannot be read, is too large or has more than one
            channel.
    """
    path = pathlib.Path(path)
    if path.suffix.lower() == ".npy":
        values = _read_npy(path, max_megapixels)
    elif path.suffix.lower() in _TIFF_SUFFIXES and _is_float_tiff(path, max_megapixels):
        values = _read_float_tiff(path)
    else:
        picture = image_io.read(path, max_megapixels=max_megapixels)
        if picture.pixels.shape[-1] != 1:
            raise image_io.ImageFileError(
                f"{path}: a depth map must have one channel. Received: "
                f"{picture.pixels.shape[-1]}, a colour picture."
            )
        values = from_unit(picture.pixels[..., 0], picture.dtype)
    return DepthMap(values, values.dtype)


def check_writable_depth(path: pathlib.Path, dtype: np.dtype, *, overwrite: bool = False) -> None:
    """Raise as `write_depth` would, before the work whose result it writes is done.

    Raises:
        image_io.ImageFileError: see `write_depth`.
    """
    image_io.check_place(path, overwrite=overwrite)
    dtype = np.dtype(dtype)
    suffixes = _HOLDS["f" if dtype.kind == "f" else dtype.str[1:]]
    if path.suffix.lower() not in suffixes:
        raise image_io.ImageFileError(
            f"{path}: the suffix must name a format that keeps {dtype} numbers, one of "
            f"{', '.join(sorted(suffixes))}."
        )


def write_depth(
    path: str | os.PathLike,
    values: np.ndarray,
    dtype: np.dtype,
    *,
    zero_is_hole: bool = True,
    overwrite: bool = False,
) -> None:
    """Write a depth map without holes in a type of numbers, whole or not at all.

    Args:
        path: file to write: .png or .bmp for integers, .tiff or .npy for any numbers.
        values: `[H, W]`. Integers are rounded and clipped to what the type holds.
        dtype: uint8, uint16 or a float.
        zero_is_hole: whether integers below 1 become 1, since nothing here is a hole.
        overwrite: whether an existing file may be replaced.

    Raises:
        image_io.ImageFileError: if the file exists and `overwrite` is False, the format
            cannot hold the numbers, or the folder cannot be written to.
    """
    path = pathlib.Path(path)
    check_writable_depth(path, dtype, overwrite=overwrite)
    if np.issubdtype(dtype, np.integer):
        least = 1 if zero_is_hole else np.iinfo(dtype).min
        values = np.clip(np.rint(values), least, np.iinfo(dtype).max)
    values = values.astype(dtype)
    buffer = io.BytesIO()
    if path.suffix.lower() == ".npy":
        np.save(buffer, values, allow_pickle=False)
    else:
        # TIFF holds floats of 32 bit.
        values = values.astype(np.float32) if values.dtype.kind == "f" else values
        Image.fromarray(values).save(
            buffer, format=Image.registered_extensions()[path.suffix.lower()]
        )
    image_io.write_bytes(path, buffer.getvalue())


def _read_npy(path: pathlib.Path, max_megapixels: float) -> np.ndarray:
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise image_io.ImageFileError(f"{path}: no such file.") from None
    except (OSError, ValueError, EOFError) as error:
        raise image_io.ImageFileError(f"{path}: not a NumPy array, or a damaged one.") from error
    if values.ndim == 3 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim != 2 or values.dtype.kind not in "fiu" or 0 in values.shape:
        raise image_io.ImageFileError(
            f"{path}: a depth map must be an array [height, width] of numbers. "
            f"Received: shape {values.shape}, {values.dtype}."
        )
    _check_size(path, values.shape, max_megapixels)
    kept = values.dtype in (np.uint8, np.uint16) or values.dtype.kind == "f"
    return np.array(values, dtype=values.dtype if kept else np.float32)


def _is_float_tiff(path: pathlib.Path, max_megapixels: float) -> bool:
    try:
        with Image.open(path) as image:
            if image.mode != "F":
                return False
            _check_size(path, (image.height, image.width), max_megapixels)
            return True
    except OSError:
        return False  # `image_io.read` says what is wrong with it


def _read_float_tiff(path: pathlib.Path) -> np.ndarray:
    try:
        with Image.open(path) as image:
            return np.array(image, np.float32)
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise image_io.ImageFileError(f"{path}: the file is damaged or truncated.") from error


def _check_size(path: pathlib.Path, shape: tuple[int, ...], max_megapixels: float) -> None:
    megapixels = shape[0] * shape[1] / 1e6
    if megapixels > max_megapixels:
        raise image_io.ImageFileError(
            f"{path}: the image has {megapixels:.3g} megapixels, the limit is {max_megapixels:g}."
        )
