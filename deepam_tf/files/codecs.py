"""Between the bytes of image files and arrays: Pillow, and OpenCV for 16 bit colour.

Pillow reduces 16 bit colour to 8 bits; OpenCV turns some TIFF files wrongly and multiplies
colours by their alpha. Each gets what it does right.
"""

from __future__ import annotations

import dataclasses
import io
import pathlib

import cv2
import numpy as np
from PIL import ExifTags, Image, ImageOps

from deepam_tf.files.levels import to_unit

__all__ = ["DEPTHS", "ImageFileError", "Picture", "decode", "encode"]

DEPTHS = {np.dtype("uint8"): 255.0, np.dtype("uint16"): 65535.0}
"""Integer types of pixels, and the value that is white."""

_SAVE_OPTIONS = {
    ".jpg": {"quality": 95, "subsampling": 0},
    ".jpeg": {"quality": 95, "subsampling": 0},
    ".webp": {"quality": 95},
}

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


def decode(path: pathlib.Path, image: Image.Image, data: bytes) -> Picture:
    """Upright pixels of an opened image.

    Raises:
        ImageFileError: if it holds something else than 8 or 16 bit integers, or a kind of 16
            bit colour that cannot be read reliably.
    """
    if _is_deep_color(image, data):
        return _decode_deep_color(path, image, data)
    image.load()  # Pillow turns TIFF upright here, the others below
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.uint16)[..., np.newaxis]
    elif image.mode in ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr"):
        gray = image.mode in ("1", "L", "LA", "La")
        mode = ("L" if gray else "RGB") + ("A" if image.has_transparency_data else "")
        values = np.atleast_3d(np.asarray(image.convert(mode)))
    else:
        raise ImageFileError(
            f"{path}: pixels must be 8 or 16 bit integers. Received: mode {image.mode}."
        )
    return _split(values)


def _is_deep_color(image: Image.Image, data: bytes) -> bool:
    """Whether there are 16 bits for more than one channel."""
    if image.format == "PNG":
        depth, color_type = data[24], data[25]  # of the header chunk, always the first
        return depth == 16 and color_type != 0
    bits = image.tag_v2.get(258, (1,)) if image.format == "TIFF" else (8,)  # BitsPerSample
    return len(bits) > 1 and max(bits) > 8


def _decode_deep_color(path: pathlib.Path, image: Image.Image, data: bytes) -> Picture:
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    if image.format == "TIFF" and (
        orientation != 1
        or image.tag_v2.get(284, 1) != 1  # PlanarConfiguration: one plane a channel
        or image.tag_v2.get(262) != 2  # PhotometricInterpretation: other than RGB
    ):
        raise ImageFileError(
            f"{path}: TIFF files of 16 bit colour must be plain RGB, upright and interleaved. "
            "Save it as PNG."
        )
    # It would print on its own of what ends in an error here.
    log_level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        values = None
    finally:
        cv2.utils.logging.setLogLevel(log_level)
    if values is None:
        raise ImageFileError(f"{path}: the file is damaged or truncated.")
    if values.dtype != np.uint16:
        raise ImageFileError(
            f"{path}: pixels must be 8 or 16 bit integers. Received: {values.dtype}."
        )
    values = _UPRIGHT.get(orientation, lambda a: a)(values)
    is_gray = image.format == "PNG" and data[25] == 4  # OpenCV spreads it over all channels
    color = values[..., :1] if is_gray else values[..., 2::-1]
    return _split(np.concatenate([color, values[..., 3:]], axis=-1))


def _split(values: np.ndarray) -> Picture:
    """Colour and alpha of `[H, W, 1..4]` integers."""
    has_alpha = values.shape[-1] in (2, 4)
    color = values[..., :-1] if has_alpha else values
    return Picture(to_unit(color), values[..., -1] if has_alpha else None, values.dtype)


def encode(values: np.ndarray, suffix: str) -> bytes:
    """A file of `[H, W, 1..4]` integers, the last of an even number being alpha."""
    if values.dtype == np.uint16 and values.shape[-1] > 1:
        if values.shape[-1] == 2:  # OpenCV writes no gray with alpha
            values = values[..., [0, 0, 0, 1]]
        order = [2, 1, 0, 3][: values.shape[-1]]
        done, encoded = cv2.imencode(suffix, np.ascontiguousarray(values[..., order]))
        if not done:
            raise ValueError("OpenCV could not encode it")
        return encoded.tobytes()
    image = Image.fromarray(values[..., 0] if values.shape[-1] == 1 else values)
    buffer = io.BytesIO()
    image.save(
        buffer, format=Image.registered_extensions()[suffix], **_SAVE_OPTIONS.get(suffix, {})
    )
    return buffer.getvalue()
