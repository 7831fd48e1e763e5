"""Image files, whole or not at all: limits, errors and safe writing."""

from __future__ import annotations

import contextlib
import io
import os
import pathlib
import struct
import warnings
from collections.abc import Iterator

import cv2
import numpy as np
from PIL import Image

from deepam_tf.files import atomic
from deepam_tf.files.codecs import DEPTHS, ImageFileError, Picture, decode, encode
from deepam_tf.files.levels import from_unit

__all__ = [
    "DEPTHS",
    "IMAGE_SUFFIXES",
    "MAX_MEGAPIXELS",
    "ImageFileError",
    "Picture",
    "check_place",
    "check_writable",
    "is_image_name",
    "list_images",
    "read",
    "write",
]

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
MAX_MEGAPIXELS = 200.0
_SIXTEEN_BIT_SUFFIXES = frozenset({".png", ".tif", ".tiff"})
_ALPHA_SUFFIXES = frozenset({".png", ".tif", ".tiff", ".webp"})
_LONGEST_SIDE = {".webp": 16383, ".jpg": 65500, ".jpeg": 65500}
# What Pillow raises on damaged files, besides what it means to.
_DAMAGE = (OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, struct.error)


def list_images(folder: str | os.PathLike) -> list[pathlib.Path]:
    """Paths of the image files in `folder`, not below it, sorted by name.

    Hidden files, also the `._` companions that macOS writes, links to nothing and folders are
    none.

    Args:
        folder: a folder.

    Returns:
        Paths whose suffix is in `IMAGE_SUFFIXES`, in any case.

    Raises:
        ImageFileError: if `folder` is not a folder.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise ImageFileError(f"An existing folder is needed. Received: {str(folder)!r}.")
    return sorted(path for path in folder.iterdir() if is_image_name(path) and path.is_file())


def is_image_name(path: pathlib.Path) -> bool:
    """Whether a file of that name is taken for a picture where a folder is read."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def read(path: str | os.PathLike, *, max_megapixels: float = MAX_MEGAPIXELS) -> Picture:
    """Decode an 8 or 16 bit gray or colour image file, upright, alpha kept apart.

    Args:
        path: PNG, JPEG, TIFF, WebP or BMP file.
        max_megapixels: refuse larger images before decoding them.

    Returns:
        A `Picture`.

    Raises:
        ImageFileError: if the file is missing, empty, truncated, no image, too large, or
            holds neither 8 nor 16 bit integers.
    """
    path = pathlib.Path(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ImageFileError(f"{path}: no such file.") from None
    except OSError as error:
        raise ImageFileError(f"{path}: cannot be read ({error.strerror}).") from error
    if not data:
        raise ImageFileError(f"{path}: the file is empty.")
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # ours is below
    try:
        # Pillow warns of damage that does not keep it from decoding.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as image:
                megapixels = image.width * image.height / 1e6
                if megapixels > max_megapixels:
                    raise ImageFileError(
                        f"{path}: the image has {megapixels:.3g} megapixels, the limit is "
                        f"{max_megapixels:g}."
                    )
                return decode(path, image, data)
    except ImageFileError:
        raise
    except Image.UnidentifiedImageError as error:
        raise ImageFileError(f"{path}: not an image, or a damaged one.") from error
    except _DAMAGE as error:
        raise ImageFileError(f"{path}: the file is damaged or truncated.") from error
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def write(path: str | os.PathLike, picture: Picture, *, overwrite: bool = False) -> None:
    """Encode a picture at its own bit depth, whole or not at all.

    Args:
        path: file to write; its suffix names the format.
        picture: what to write. `pixels` are clipped to [0, 1].
        overwrite: whether an existing file may be replaced.

    Raises:
        ImageFileError: if the file exists and `overwrite` is False, if the format cannot
            hold the picture's bit depth or alpha, or the folder cannot be written to.
    """
    path = pathlib.Path(path)
    check_writable(path, picture, overwrite=overwrite)
    pixels = from_unit(picture.pixels, picture.dtype)
    if picture.alpha is not None:
        pixels = np.dstack([pixels, picture.alpha])
    try:
        encoded = encode(pixels, path.suffix.lower())
    except (OSError, ValueError, cv2.error) as error:
        raise ImageFileError(f"{path}: the picture could not be encoded ({error}).") from error
    write_bytes(path, encoded)


def check_writable(path: pathlib.Path, picture: Picture, *, overwrite: bool = False) -> None:
    """Raise as `write` would, before the work whose result it writes is done.

    Raises:
        ImageFileError: see `write`.
    """
    check_place(path, overwrite=overwrite)
    longest = max(picture.pixels.shape[:2])
    if longest > _LONGEST_SIDE.get(path.suffix.lower(), longest):
        raise ImageFileError(
            f"{path}: the format holds at most {_LONGEST_SIDE[path.suffix.lower()]} pixels a side. "
            f"Received: {longest}. Use .png."
        )
    suffix = path.suffix.lower()
    if suffix not in IMAGE_SUFFIXES:
        raise ImageFileError(
            f"{path}: the suffix must name an image format, one of "
            f"{', '.join(sorted(IMAGE_SUFFIXES))}."
        )
    if picture.dtype == np.uint16 and suffix not in _SIXTEEN_BIT_SUFFIXES:
        raise ImageFileError(f"{path}: {suffix} cannot hold 16 bits. Use .png or .tiff.")
    if picture.alpha is not None and suffix not in _ALPHA_SUFFIXES:
        raise ImageFileError(f"{path}: {suffix} cannot hold transparency. Use .png.")
    if picture.alpha is not None and picture.dtype == np.uint16 and suffix != ".png":
        raise ImageFileError(f"{path}: transparency of 16 bits goes into PNG alone. Use .png.")


@contextlib.contextmanager
def _named_as_image() -> Iterator[None]:
    """What cannot be written is an error of this module."""
    try:
        yield
    except atomic.WriteError as error:
        raise ImageFileError(str(error)) from error


def check_place(path: pathlib.Path, *, overwrite: bool = False) -> None:
    """Raise where no file could be written, or one is in the way.

    Raises:
        ImageFileError: see `atomic.check_place`.
    """
    with _named_as_image():
        atomic.check_place(path, overwrite=overwrite)


def write_bytes(path: pathlib.Path, data: bytes) -> None:
    """Write an encoded picture, whole or not at all.

    Raises:
        ImageFileError: see `atomic.write_bytes`.
    """
    with _named_as_image():
        atomic.write_bytes(path, data)
