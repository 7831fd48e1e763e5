"""PNG and JPEG files inside a TensorFlow graph, read and written as the command line does.

Eight and sixteen bit, gray and colour, transparency kept apart, turned upright by the EXIF
orientation, which TensorFlow's own decoders ignore. Pixels alone go through a server: colour
profile, EXIF and texts do not. Animated PNG and JPEG in CMYK, of which TensorFlow would make one
frame and colours without their profile, are refused as by the command line. What is wrong with a
file ends in an `InvalidArgumentError` that says which file of the request it was; a server answers
it with a clean error and lives on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

__all__ = ["DecodedImage", "checked", "decode", "encode"]

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_HEADER_BYTES = 29  # of a PNG file: signature and IHDR
_DEPTH_BYTE = 24
_MOST_EXIF_BYTES = 65536
_MOST_EXIF_ENTRIES = 512
_ORIENTATION_TAG = 0x0112
_CMYK_CHANNELS = 4
_SHORT = 3  # TIFF's type of 16 bit integers

# How to turn stored pixels [H, W, C] upright, by the value of the orientation tag from 1 on.
_UPRIGHT: list[Callable[[tf.Tensor], tf.Tensor]] = [
    tf.identity,
    lambda x: tf.reverse(x, [1]),
    lambda x: tf.reverse(x, [0, 1]),
    lambda x: tf.reverse(x, [0]),
    lambda x: tf.transpose(x, [1, 0, 2]),
    lambda x: tf.reverse(tf.transpose(x, [1, 0, 2]), [1]),
    lambda x: tf.transpose(tf.reverse(x, [0, 1]), [1, 0, 2]),
    lambda x: tf.reverse(tf.transpose(x, [1, 0, 2]), [0]),
]


class DecodedImage(NamedTuple):
    """The pixels of an image file, upright, and what else has to be kept of it.

    Attributes:
        pixels: `[H, W, 1 or 3]` float32 in [0, 1].
        alpha: `[H, W, 0 or 1]` uint16 as stored: no channel where the file has none.
        peak: the integer that is white, 255 or 65535, float32.
    """

    pixels: tf.Tensor
    alpha: tf.Tensor
    peak: tf.Tensor


def checked(x: tf.Tensor, condition: tf.Tensor, *message: str | tf.Tensor) -> tf.Tensor:
    """`x`, and nothing computed from it unless the condition holds.

    Args:
        x: any tensor.
        condition: bool scalar.
        *message: texts and scalars that say, put together, what was wrong otherwise.

    Returns:
        `x`.
    """
    texts = [m if isinstance(m, str) or m.dtype == tf.string else _text(m) for m in message]
    with tf.control_dependencies([tf.debugging.Assert(condition, [tf.strings.join(texts)])]):
        return tf.identity(x)


def decode(encoded: tf.Tensor, name: tf.Tensor, *, max_megapixels: float) -> DecodedImage:
    """Pixels of one PNG or JPEG file, for use in a graph.

    Args:
        encoded: the file, scalar string.
        name: what error messages call it, scalar string.
        max_megapixels: larger images are refused before they are decoded.

    Returns:
        A `DecodedImage`.

    Raises:
        tf.errors.InvalidArgumentError: when run, if it is no PNG or JPEG file, is animated, in
            CMYK, damaged, truncated or too large.
    """
    header = tf.io.decode_raw(encoded, tf.uint8, fixed_length=_HEADER_BYTES)
    is_png = tf.reduce_all(header[:8] == list(_PNG)) & tf.reduce_all(header[12:16] == list(b"IHDR"))
    is_jpeg = tf.reduce_all(header[:3] == list(_JPEG))
    received = (" Received: ", tf.strings.length(encoded), " bytes of something else.")
    encoded = checked(encoded, is_png | is_jpeg, name, " must be a PNG or JPEG file.", *received)

    nothing = tf.zeros([3], tf.int32)
    jpeg_shape = tf.cond(
        is_png, lambda: nothing, lambda: _attempt(tf.image.extract_jpeg_shape, encoded, nothing)
    )
    height = tf.where(is_png, _big_endian(header[20:24]), tf.cast(jpeg_shape[0], tf.int64))
    width = tf.where(is_png, _big_endian(header[16:20]), tf.cast(jpeg_shape[1], tf.int64))
    encoded = checked(
        encoded,
        tf.cast(height, tf.float32) * tf.cast(width, tf.float32) <= 1e6 * max_megapixels,
        *(name, f" must have at most {max_megapixels:g} megapixels. Received: height ", height),
        *(", width ", width, "."),
    )

    # The chunk that announces frames stands before the pixels.
    announced = tf.strings.split(tf.strings.split(encoded, b"IDAT", maxsplit=1)[:1], b"acTL")
    is_animated = is_png & (announced.row_lengths()[0] > 1)
    encoded = checked(
        encoded, ~is_animated, name, " must hold one picture. Received: an animation."
    )
    is_cmyk = ~is_png & (jpeg_shape[2] == _CMYK_CHANNELS)
    encoded = checked(encoded, ~is_cmyk, name, " must be gray or RGB. Received: a JPEG in CMYK.")

    is_deep = is_png & (header[_DEPTH_BYTE] == 16)

    def png8(x: tf.Tensor) -> tf.Tensor:
        return tf.cast(tf.io.decode_png(x), tf.uint16)

    def jpeg(x: tf.Tensor, channels: int) -> tf.Tensor:
        # As Pillow decodes; TensorFlow's own choice is faster and less accurate.
        pixels = tf.io.decode_jpeg(x, channels, dct_method="INTEGER_ACCURATE")
        return tf.cast(pixels, tf.uint16)

    kind = tf.where(is_png, tf.where(is_deep, 1, 0), tf.where(jpeg_shape[2] == 1, 2, 3))

    def stored(x: tf.Tensor) -> tf.Tensor:
        return tf.switch_case(
            kind,
            [
                lambda: png8(x),
                lambda: tf.io.decode_png(x, dtype=tf.uint16),
                lambda: jpeg(x, 1),
                lambda: jpeg(x, 3),
            ],
        )

    values = _attempt(stored, encoded, tf.zeros([0, 0, 0], tf.uint16))
    values = checked(values, tf.size(values) > 0, name, " is damaged or truncated.")
    values = tf.switch_case(
        _orientation(encoded, is_png) - 1, [lambda f=f: f(values) for f in _UPRIGHT]
    )
    values = tf.ensure_shape(values, [None, None, None])
    num_colors = tf.where(tf.shape(values)[-1] >= 3, 3, 1)
    peak = tf.where(is_deep, 65535.0, 255.0)
    return DecodedImage(
        pixels=tf.cast(values[..., :num_colors], tf.float32) / peak,
        alpha=values[..., num_colors:],
        peak=peak,
    )


def encode(pixels: tf.Tensor, like: DecodedImage) -> tf.Tensor:
    """A PNG file of the depth, and with the transparency, of the file that was decoded.

    Args:
        pixels: `[H, W, 1 or 3]` float32, clipped to [0, 1] here.
        like: what was decoded, of the same size.

    Returns:
        The file, scalar string.
    """
    values = tf.cast(tf.round(tf.clip_by_value(pixels, 0.0, 1.0) * like.peak), tf.uint16)
    values = tf.concat([values, like.alpha], axis=-1)
    return tf.cond(
        like.peak > 255.0,
        lambda: tf.io.encode_png(values),
        lambda: tf.io.encode_png(tf.cast(values, tf.uint8)),
    )


def _attempt(function, encoded: tf.Tensor, otherwise: tf.Tensor) -> tf.Tensor:
    """The function's result, or `otherwise` where it fails: errors of decoders name no file."""
    results = tf.data.Dataset.from_tensors(encoded).map(function).ignore_errors()
    options = tf.data.Options()  # to prepare a pipeline of one file costs more than it saves
    options.experimental_optimization.apply_default_optimizations = False
    options.autotune.enabled = False
    return results.with_options(options).reduce(otherwise, lambda _, result: result)


def _orientation(encoded: tf.Tensor, is_png: tf.Tensor) -> tf.Tensor:
    """The orientation tag, 1 to 8, of EXIF or else of uncompressed XMP; 1 without one."""
    exif = tf.cond(is_png, lambda: _after(encoded, b"eXIf"), lambda: _after(encoded, b"Exif\0\0"))
    orientation = _tiff_orientation(exif)
    for separator in (b'tiff:Orientation="', b"tiff:Orientation>"):
        digit = tf.cast(_after(encoded, separator)[0], tf.int32) - ord("0")
        orientation = tf.where(orientation == 0, digit, orientation)
    return tf.where((orientation >= 1) & (orientation <= len(_UPRIGHT)), orientation, 1)


def _after(encoded: tf.Tensor, separator: bytes) -> tf.Tensor:
    """The bytes that follow the first occurrence of a separator, or zeros: `[64 Ki]` uint8."""
    pieces = tf.strings.split(encoded, separator, maxsplit=1)
    rest = tf.concat([pieces, [b""]], axis=0)[1]
    return tf.io.decode_raw(rest, tf.uint8, fixed_length=_MOST_EXIF_BYTES)


def _tiff_orientation(data: tf.Tensor) -> tf.Tensor:
    """The tag's value in the first directory of a TIFF header; 0 where there is none."""
    is_little = data[0] == ord("I")

    def integer(positions, length: int) -> tf.Tensor:
        offsets = tf.range(length, dtype=tf.int64)
        offsets = tf.where(is_little, offsets[::-1], offsets)
        index = tf.cast(positions, tf.int64)[..., tf.newaxis] + offsets
        inside = index < _MOST_EXIF_BYTES
        return _big_endian(tf.where(inside, tf.gather(data, tf.where(inside, index, 0)), 0))

    directory = integer(4, 4)
    count = tf.minimum(integer(directory, 2), _MOST_EXIF_ENTRIES)
    entries = directory + 2 + 12 * tf.range(count)
    is_short = integer(entries + 2, 2) == _SHORT
    values = tf.where(is_short, integer(entries + 8, 2), integer(entries + 8, 4))
    wanted = (integer(entries, 2) == _ORIENTATION_TAG) & (integer(2, 2) == 42)
    value = tf.reduce_sum(tf.where(wanted, values, 0))
    return tf.cast(tf.minimum(value, 9), tf.int32)


def _big_endian(data: tf.Tensor) -> tf.Tensor:
    """Unsigned integers of the last axis's bytes, int64."""
    weights = [256**i for i in reversed(range(data.shape[-1]))]
    return tf.reduce_sum(tf.cast(data, tf.int64) * weights, axis=-1)


def _text(x: tf.Tensor) -> tf.Tensor:
    return tf.strings.as_string(x)
