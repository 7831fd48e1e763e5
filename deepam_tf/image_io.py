"""Image files to arrays and back: OpenCV for the pixels, Pillow for the header.

Pillow looks at a file before anything is decoded, so that size and orientation are known
first; OpenCV decodes 16-bit colour, which Pillow reduces to 8 bits.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import tempfile
import warnings

import cv2
import numpy as np
from PIL import ExifTags, Image

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_MEGAPIXELS",
    "ImageFileError",
    "Picture",
    "check_writable",
    "list_images",
    "read",
    "write",
]

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
MAX_MEGAPIXELS = 200.0
_SIXTEEN_BIT_SUFFIXES = frozenset({".png", ".tif", ".tiff"})
_ALPHA_SUFFIXES = frozenset({".png", ".tif", ".tiff", ".webp"})
_DEPTHS = {np.dtype("uint8"): 255.0, np.dtype("uint16"): 65535.0}

# How to turn stored pixels upright, by the value of the EXIF orientation tag.
_UPRIGHT = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


class ImageFileError(ValueError):
    """A file that cannot be read or written as an image; the message is one line."""


@dataclasses.dataclass(frozen=True)
class Picture:
    """A decoded image, upright.

    Attributes:
        pixels: `[H, W, C]` float32 in [0, 1], C = 1 (gray) or 3 (RGB), not linearised.
        alpha: `[H, W]` in the file's own integers, or None.
        dtype: the file's integer type, uint8 or uint16.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None
    dtype: np.dtype


def list_images(folder: str | os.PathLike) -> list[pathlib.Path]:
    """Paths of the image files in `folder`, not below it, sorted by name.

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
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)


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
    if not path.is_file():
        raise ImageFileError(f"{path}: no such file.")
    data = path.read_bytes()
    if not data:
        raise ImageFileError(f"{path}: the file is empty.")
    orientation, is_tiff = _check_header(path, max_megapixels)
    if is_tiff and orientation != 1:
        stored, orientation = _decode_turned_tiff(path), 1
    else:
        stored = _decode(data)
    if stored is None:
        raise ImageFileError(f"{path}: the file is damaged or truncated.")
    if stored.dtype not in _DEPTHS:
        raise ImageFileError(
            f"{path}: pixels must be 8 or 16 bit integers. Received: {stored.dtype}."
        )
    stored = np.atleast_3d(_UPRIGHT.get(orientation, lambda a: a)(stored))
    alpha = stored[..., 3] if stored.shape[-1] == 4 else None
    color = stored[..., :3]
    if alpha is not None and (color == color[..., :1]).all() and _is_gray(path):
        color = color[..., :1]  # OpenCV spreads gray with alpha over four channels
    pixels = color[..., ::-1].astype(np.float32) / _DEPTHS[stored.dtype]
    return Picture(np.ascontiguousarray(pixels), alpha, stored.dtype)


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
    peak = _DEPTHS[picture.dtype]
    pixels = np.rint(np.clip(picture.pixels, 0.0, 1.0) * peak).astype(picture.dtype)
    pixels = pixels[..., ::-1]
    if picture.alpha is not None:
        if pixels.shape[-1] == 1:
            pixels = np.repeat(pixels, 3, axis=-1)
        pixels = np.concatenate([pixels, picture.alpha[..., np.newaxis]], axis=-1)
    quality = [cv2.IMWRITE_JPEG_QUALITY, 95] if path.suffix.lower() in (".jpg", ".jpeg") else []
    done, encoded = cv2.imencode(path.suffix, np.ascontiguousarray(pixels), quality)
    if not done:
        raise ImageFileError(f"{path}: the picture could not be encoded.")
    write_bytes(path, encoded.tobytes())


def check_writable(path: pathlib.Path, picture: Picture, *, overwrite: bool = False) -> None:
    """Raise as `write` would, before the work whose result it writes is done.

    Raises:
        ImageFileError: see `write`.
    """
    if path.exists() and not overwrite:
        raise ImageFileError(f"{path}: the file exists already. Use --force to overwrite it.")
    if not os.access(path.parent, os.W_OK):
        raise ImageFileError(f"{path}: its folder does not exist or cannot be written to.")
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


def write_bytes(path: pathlib.Path, data: bytes) -> None:
    """Write a file beside `path` and rename it, so that `path` is never half written.

    Raises:
        ImageFileError: if the folder does not exist or cannot be written to.
    """
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)
        raise ImageFileError(f"{path}: cannot be written ({error.strerror}).") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _decode(data: bytes) -> np.ndarray | None:
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None


def _decode_turned_tiff(path: pathlib.Path) -> np.ndarray | None:
    """Upright pixels in OpenCV's channel order, through Pillow.

    OpenCV 5.0 turns some orientations of TIFF itself and scrambles others.
    """
    try:
        with Image.open(path) as image:
            bits = image.tag_v2.get(258, (1,))  # BitsPerSample
            if len(bits) > 1 and max(bits) > 8:
                raise ImageFileError(
                    f"{path}: TIFF files of 16 bit colour must be stored upright. Save it as PNG."
                )
            stored = np.asarray(image if image.mode in ("L", "I;16") else image.convert("RGBA"))
            has_alpha = image.has_transparency_data
    except OSError:
        return None
    if stored.ndim == 2:
        return stored
    return cv2.cvtColor(stored, cv2.COLOR_RGBA2BGRA if has_alpha else cv2.COLOR_RGBA2BGR)


def _check_header(path: pathlib.Path, max_megapixels: float) -> tuple[int, bool]:
    """EXIF orientation, and whether it is TIFF; raises if no image or too large a one."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # ours is below
    try:
        # Pillow warns of damage that the decoder then decides on.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as header:
                width, height = header.size
                orientation = header.getexif().get(ExifTags.Base.Orientation, 1)
                is_tiff = header.format == "TIFF"
    except OSError as error:
        raise ImageFileError(f"{path}: not an image, or a damaged one.") from error
    finally:
        Image.MAX_IMAGE_PIXELS = limit
    megapixels = width * height / 1e6
    if megapixels > max_megapixels:
        raise ImageFileError(
            f"{path}: the image has {megapixels:.3g} megapixels, the limit is {max_megapixels:g}."
        )
    return orientation, is_tiff


def _is_gray(path: pathlib.Path) -> bool:
    with Image.open(path) as header:
        return header.mode in ("LA", "La", "L", "I;16")
