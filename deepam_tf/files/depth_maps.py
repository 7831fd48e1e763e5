"""Depth map files: numbers of any type and unit, one channel."""

from __future__ import annotations

import dataclasses
import io
import os
import pathlib
import zipfile

import numpy as np
from PIL import Image

from deepam_tf.files import pictures as image_io

__all__ = ["DepthMap", "check_writable_depth", "read_depth", "write_depth"]

_ARRAYS = frozenset({".npy", ".npz"})
_HOLD_ANY = frozenset({".npy", ".npz", ".tif", ".tiff"})
_HOLD_INTEGERS = {"u1": {".bmp", ".png"}, "u2": {".png"}}
"""Suffixes that keep every number of a type."""


@dataclasses.dataclass(frozen=True)
class DepthMap:
    """A depth or disparity map, or heights, as its file has it.

    Attributes:
        values: `[H, W]` in the file's unit, holes as the file has them: which numbers are holes,
            `deepam_tf.depth.holes.find_measured` tells. Where the file itself says that there is
            no value (GDAL), floats are NaN.
        dtype: the file's type of numbers: integers or floats.
    """

    values: np.ndarray
    dtype: np.dtype


def read_depth(
    path: str | os.PathLike, *, max_megapixels: float = image_io.MAX_MEGAPIXELS
) -> DepthMap:
    """Read a depth map, every number as it stands in the file.

    Args:
        path: PNG, TIFF or another image format, gray or with three equal channels, upright; NPY;
            NPZ with one array.
        max_megapixels: refuse larger maps before decoding them.

    Returns:
        The map.

    Raises:
        image_io.ImageFileError: if the file cannot be read, is too large, or has several pages or
            channels that differ.
    """
    path = pathlib.Path(path)
    if path.suffix.lower() in _ARRAYS:
        values = _read_array(path, max_megapixels)
        return DepthMap(values, values.dtype)
    values, unknown = image_io.read_numbers(path, max_megapixels=max_megapixels)
    if values.shape[-1] > 1 and np.any(values != values[..., :1]):
        raise image_io.ImageFileError(
            f"{path}: a depth map must have one channel, or equal ones. Received: "
            f"{values.shape[-1]} that differ, a colour picture."
        )
    values = values[..., 0]
    if unknown is not None and values.dtype.kind == "f":
        values = np.where(unknown, np.asarray(np.nan, values.dtype), values)
    return DepthMap(values, values.dtype)


def check_writable_depth(path: pathlib.Path, dtype: np.dtype, *, overwrite: bool = False) -> None:
    """Raise as `write_depth` would, before the work whose result it writes is done.

    Raises:
        image_io.ImageFileError: see `write_depth`.
    """
    image_io.check_place(path, overwrite=overwrite)
    dtype = np.dtype(dtype)
    suffixes = _HOLD_ANY | _HOLD_INTEGERS.get(dtype.newbyteorder("=").str[1:], set())
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
    """Write a depth map in a type of numbers, whole or not at all.

    Args:
        path: file to write: .png for integers of 8 and 16 bit, .bmp of 8; .tiff, .npy or .npz for
            any numbers.
        values: `[H, W]`. Integers are rounded and clipped to what the type holds. NaN is a hole:
            NaN in floats, 0 in integers.
        dtype: integers or floats.
        zero_is_hole: whether 0 stands for a hole in integers; other values below 1 become 1.
        overwrite: whether an existing file may be replaced.

    Raises:
        image_io.ImageFileError: if the file exists and `overwrite` is False, the format
            cannot hold the numbers, or the folder cannot be written to.
    """
    path = pathlib.Path(path)
    check_writable_depth(path, dtype, overwrite=overwrite)
    dtype, suffix = np.dtype(dtype), path.suffix.lower()
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        holes = np.isnan(values)
        if holes.any() and not zero_is_hole:
            raise image_io.ImageFileError(
                f"{path}: a map of integers in which 0 is a value has no number for holes. "
                f"Received: {int(holes.sum())} holes. Give the map as floats."
            )
        least = 1 if zero_is_hole else limits.min
        rounded = np.rint(np.where(holes, least, values).astype(np.float64))
        largest = np.nextafter(float(limits.max), 0) if dtype.itemsize == 8 else limits.max
        values = np.where(holes, 0, np.clip(rounded, least, largest))
    values = values.astype(dtype)
    buffer = io.BytesIO()
    if suffix == ".npy":
        np.save(buffer, values, allow_pickle=False)
    elif suffix == ".npz":
        np.savez_compressed(buffer, depth=values)
    elif suffix in (".tif", ".tiff"):
        import tifffile

        tifffile.imwrite(buffer, values, photometric="minisblack", metadata=None, software=False)
    else:
        Image.fromarray(values).save(buffer, format=Image.registered_extensions()[suffix])
    image_io.write_bytes(path, buffer.getvalue())


def _read_array(path: pathlib.Path, max_megapixels: float) -> np.ndarray:
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(values, np.lib.npyio.NpzFile):
            with values:
                names = values.files
                if len(names) != 1:
                    raise image_io.ImageFileError(
                        f"{path}: one array is needed. Received: {len(names)}"
                        + (f" ({', '.join(names)})." if names else ".")
                    )
                values = values[names[0]]
    except image_io.ImageFileError:
        raise
    except FileNotFoundError:
        raise image_io.ImageFileError(f"{path}: no such file.") from None
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise image_io.ImageFileError(f"{path}: not a NumPy array, or a damaged one.") from error
    if values.ndim == 3 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim == 3 and values.shape[-1] == 3 and values.dtype.kind in "fiu":
        if np.array_equal(values, np.broadcast_to(values[..., :1], values.shape)):
            values = values[..., 0]
    if values.ndim != 2 or values.dtype.kind not in "fiu" or 0 in values.shape:
        raise image_io.ImageFileError(
            f"{path}: a depth map must be an array [height, width] of numbers. "
            f"Received: shape {values.shape}, {values.dtype}."
        )
    megapixels = values.shape[0] * values.shape[1] / 1e6
    if megapixels > max_megapixels:
        raise image_io.ImageFileError(
            f"{path}: the image has {megapixels:.3g} megapixels, the limit is {max_megapixels:g}."
        )
    return np.array(values, values.dtype.newbyteorder("="))
