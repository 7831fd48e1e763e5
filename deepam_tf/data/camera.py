"""A simulated camera: from a clean picture to the file that a camera would have made of it.

Light is mosaicked, counted, read, demosaicked, developed, reduced and compressed: what noise looks
like after that is not white. It reaches over several pixels and all channels, and its level
depends on the brightness. After Brooks, Mildenhall, Xue, Chen, Sharlet and Barron, "Unprocessing
images for learned raw denoising", CVPR 2019.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

__all__ = ["CameraSimulator"]

# XYZ to the colours of four cameras, from the same source; and linear sRGB to XYZ.
_XYZ_TO_CAMERA = np.array(
    [
        [[1.0234, -0.2969, -0.2266], [-0.5625, 1.6328, -0.0469], [-0.0703, 0.2188, 0.6406]],
        [[0.4913, -0.0541, -0.0202], [-0.6130, 1.3513, 0.2906], [-0.1564, 0.2151, 0.7183]],
        [[0.8380, -0.2630, -0.0639], [-0.2887, 1.0725, 0.2496], [-0.0627, 0.1427, 0.5438]],
        [[0.6596, -0.2079, -0.0562], [-0.4782, 1.3016, 0.1933], [-0.0970, 0.1581, 0.5181]],
    ]
)
_SRGB_TO_XYZ = np.array(
    [[0.4125, 0.3576, 0.1804], [0.2127, 0.7152, 0.0722], [0.0193, 0.1192, 0.9503]]
)
_TO_YCC = np.array(
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]]
)

# Interpolation of a mosaic: green where there is none, a colour from its neighbours in the row, in
# the column, from its diagonal ones. Bilinear; and Malvar, He and Cutler, "High-quality linear
# interpolation for demosaicing of Bayer-patterned color images", ICASSP 2004.
_BILINEAR = np.zeros([4, 5, 5])
_BILINEAR[0, [1, 2, 2, 3], [2, 1, 3, 2]] = 1 / 4
_BILINEAR[1, 2, [1, 3]] = 1 / 2
_BILINEAR[2, [1, 3], 2] = 1 / 2
_BILINEAR[3, [1, 1, 3, 3], [1, 3, 1, 3]] = 1 / 4
_MALVAR = np.zeros([4, 5, 5])
_MALVAR[0, 2], _MALVAR[0, [0, 1, 3, 4], 2] = [-1, 2, 4, 2, -1], [-1, 2, 2, -1]
_MALVAR[1, 2], _MALVAR[1, [0, 4], 2] = [-1, 4, 5, 4, -1], 1 / 2
_MALVAR[1, [1, 1, 3, 3], [1, 3, 1, 3]] = -1
_MALVAR[2] = _MALVAR[1].T
_MALVAR[3, 2], _MALVAR[3, [0, 4], 2] = [-1.5, 0, 6, 0, -1.5], -1.5
_MALVAR[3, [1, 1, 3, 3], [1, 3, 1, 3]] = 2
_MALVAR /= 8
# Along a row and along a column: green between two neighbours, corrected by the curvature of the
# colour that is there; and the two differences that tell whether an edge is crossed (Hamilton and
# Adams, US patent 5629734, expired).
_ALONG = np.zeros([3, 5, 5])
_ALONG[0, 2] = [-1 / 4, 1 / 2, 1 / 2, 1 / 2, -1 / 4]
_ALONG[1, 2] = [0, 1, 0, -1, 0]
_ALONG[2, 2] = [-1, 0, 2, 0, -1]
_DIRECTIONS = np.concatenate([_ALONG, _ALONG.transpose(0, 2, 1)])
_AROUND = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 4

_REACH = 6  # pixels that a filter of the development looks to either side
_MARGIN = 16  # pixels around a crop: the blocks of JPEG may begin anywhere in it
_MOST_REDUCTION = 2
_GRAY_RATE = 0.08  # black and white photographs, three equal channels
_QUALITIES = (15, 20, 30, 40, 50, 60, 70, 80, 85, 90, 94, 98)  # without chroma subsampling


@dataclasses.dataclass(frozen=True)
class CameraSimulator:
    """What a camera makes of a scene: a noisy file, and the same file without noise.

    A clean picture is brought back to linear light in the colours of one of many cameras, by the
    inverse of a tone curve, of a colour matrix and of a white balance; mosaicked (RGGB); given
    the noise of counted photons and of reading them; and developed again: demosaicked (bilinear,
    linear with correction, or along edges), balanced, its chroma and luma smoothed or sharpened,
    its tones curved, reduced by up to 2, stored as JPEG once, twice or not at all. The target
    went the same way without noise and JPEG: who learns from the pair leaves colour and
    sharpness as they are.

    Some pictures get white Gaussian noise instead, some JPEG alone, some nothing, so that one
    network learns all of it. Every choice is a function of the seed.

    Attributes:
        gain: least and largest variance of the noise of counted photons in raw light 1, drawn
            log-uniformly; the noise of reading goes with it.
        white_noise: least and largest standard deviation of white noise, in units of [0, 1].
        shares: of photographs, of white noise, of JPEG alone, and of clean pictures.

    Example:
        >>> camera = deepam_tf.degradations.CameraSimulator()
        >>> noisy, target = camera(tf.fill([256, 256, 3], 0.5), seed=[0, 3], crop_size=96)
        >>> noisy.shape.as_list(), target.shape.as_list()
        ([96, 96, 3], [96, 96, 3])
    """

    gain: tuple[float, float] = (6e-5, 5e-2)
    white_noise: tuple[float, float] = (0.0, 50 / 255)
    shares: tuple[float, float, float, float] = (0.64, 0.16, 0.12, 0.08)

    @staticmethod
    def source_size(crop_size: int) -> int:
        """Side of the square of clean picture that a crop is made of."""
        return _MOST_REDUCTION * (crop_size + _MARGIN)

    def __call__(
        self, image: tf.Tensor, seed: tf.Tensor, *, crop_size: int | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Photograph a clean picture.

        Args:
            image: `[H, W, 3]`, floating, in [0, 1]; for crops at least `source_size(crop_size)`
                a side, of which the middle is used.
            seed: two integers, `[2]`; the same seed gives the same photograph.
            crop_size: side of the square to return; None: all of it, which is smaller than the
                picture where it has been reduced.

        Returns:
            The noisy photograph, of 8 bit unless it has white noise, and its target: float32 in
            [0, 1], of one size; white noise is not clipped.
        """
        draws = _Draws(seed)
        kinds = np.cumsum(self.shares) / np.sum(self.shares)
        kind = tf.searchsorted(tf.constant(kinds, tf.float32), draws.uniform(0, 1)[None])[0]
        image = tf.convert_to_tensor(image, tf.float32)
        reduction = tf.where(draws.chance(0.35), draws.uniform(1, _MOST_REDUCTION), 1.0)
        if crop_size is None:
            size = tf.cast(tf.cast(tf.shape(image)[:2], tf.float32) / reduction, tf.int32)
        else:
            size = tf.constant([crop_size + _MARGIN] * 2)
            side = tf.cast(tf.cast(size, tf.float32) * reduction, tf.int32)
            start = (tf.shape(image)[:2] - side) // 2
            image = tf.slice(image, [start[0], start[1], 0], [side[0], side[1], 3])

        photograph = self._photograph(draws, tf.random.fold_in(seed, 1))
        pair = tf.cond(kind == 0, lambda: photograph(image), lambda: tf.stack([image, image]))
        pair = _reduced(pair, size, reduction > 1, draws.chance(0.5))
        noisy, target = pair[0], pair[1]
        level = draws.uniform(*self.white_noise)
        noisy = tf.cond(
            kind == 1,
            lambda: noisy + level * _normal(noisy, tf.random.fold_in(seed, 2)),
            lambda: noisy,
        )
        gray = draws.chance(_GRAY_RATE)
        noisy, target = (tf.where(gray, _luma(x), x) for x in (noisy, target))
        compressed = (
            (kind == 0) & draws.chance(0.75) | (kind == 1) & draws.chance(0.3) | (kind == 2)
        )
        noisy, shift = _compressed(noisy, draws, kind, compressed)
        target = target[shift:, shift:]
        if crop_size is None:
            return noisy, target
        place = tf.cast(
            tf.stack([draws.uniform(0, 1), draws.uniform(0, 1)])
            * tf.cast(tf.shape(noisy)[:2] - crop_size + 1, tf.float32),
            tf.int32,
        )
        noisy, target = (
            tf.ensure_shape(
                tf.slice(x, [place[0], place[1], 0], [crop_size, crop_size, 3]),
                [crop_size, crop_size, 3],
            )
            for x in (noisy, target)
        )
        return noisy, target

    def _photograph(self, draws: _Draws, seed: tf.Tensor):
        """A function from a clean picture to the developed pair, noisy first."""
        curve, shoulder = draws.uniform(0, 1), draws.uniform(1, 1.6)
        weights = -tf.math.log(tf.stack([draws.uniform(1e-6, 1) for _ in _XYZ_TO_CAMERA]))
        matrix = tf.tensordot(weights, tf.constant(_XYZ_TO_CAMERA @ _SRGB_TO_XYZ, tf.float32), 1)
        matrix /= tf.reduce_sum(matrix, axis=1, keepdims=True)  # white stays white
        balance = tf.stack([draws.uniform(1.4, 2.5), 1.0, draws.uniform(1.3, 2.4)])
        optics = tf.where(draws.chance(0.75), draws.uniform(0.4, 1.8), 0.0)
        exposure = tf.where(draws.chance(0.3), 2.0 ** draws.uniform(-2.5, 0), 1.0)
        gain = tf.exp(draws.uniform(*np.log(self.gain)))
        # How the noise of reading grows with that of counting: Brooks et al., section 3.1.
        reading = tf.exp(0.5 * (2.18 * tf.math.log(gain) + 1.2 + draws.uniform(-0.5, 0.5)))
        linear_demosaic, correction = draws.chance(2 / 3), draws.uniform(0, 1)
        luma_blur = tf.where(draws.chance(0.85), draws.uniform(0.3, 1.4), 0.0)
        chroma_blur = tf.where(draws.chance(0.85), draws.uniform(0.5, 3.5), 0.0)
        amount = tf.where(draws.chance(0.4), draws.uniform(0, 1.2), 0.0)
        radius = draws.uniform(0.7, 1.6)

        def photograph(image: tf.Tensor) -> tf.Tensor:
            # A lens is softer than the pixels that it draws on, unlike a picture made smaller.
            image = tf.cond(
                optics > 0,
                lambda: _separable(image[tf.newaxis], tf.stack([_gaussian(optics)] * 3))[0],
                lambda: image,
            )
            x = 1 - tf.clip_by_value(1 - image, 0.0, 1.0) ** (1 / shoulder)
            # The inverse of a mean of curves is nearly the mean of their inverses.
            x = (1 - curve) * x + curve * (0.5 - tf.sin(tf.asin(1 - 2 * x) / 3))
            light = exposure * _linear(x)
            raw = tf.maximum(tf.tensordot(light, matrix, [[-1], [1]]), 0.0) / balance
            clean = tf.reduce_sum(raw * _pattern(tf.shape(raw)), axis=-1)
            photons = tf.random.stateless_poisson(
                tf.shape(clean), tf.random.fold_in(seed, 0), clean / gain, tf.float32
            )
            noisy = gain * photons + reading * _normal(clean, tf.random.fold_in(seed, 1))
            mosaic = tf.minimum(tf.stack([noisy, clean]), 1.0)
            colors = tf.cond(
                linear_demosaic,
                lambda: _demosaic_linear(mosaic, correction),
                lambda: _demosaic_along_edges(mosaic),
            )
            light = tf.tensordot(colors * balance, tf.linalg.inv(matrix), [[-1], [1]])
            x = _smoothed(_display(light), luma_blur, chroma_blur, amount, radius)
            x = (1 - curve) * x + curve * x * x * (3 - 2 * x)
            return 1 - tf.maximum(1 - x, 0.0) ** shoulder

        return photograph


class _Draws:
    """Independent uniform numbers of one seed, in the order in which they are asked for."""

    def __init__(self, seed: tf.Tensor) -> None:
        self._numbers = iter(tf.unstack(tf.random.stateless_uniform([48], seed)))

    def uniform(self, low: float, high: float) -> tf.Tensor:
        return float(low) + float(high - low) * next(self._numbers)

    def chance(self, probability: float) -> tf.Tensor:
        return next(self._numbers) < probability


def _normal(like: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    return tf.random.stateless_normal(tf.shape(like), seed)


def _luma(image: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(image * tf.constant(_TO_YCC[0], tf.float32), axis=-1, keepdims=True)


def _linear(x: tf.Tensor) -> tf.Tensor:
    """From the values of sRGB to linear light."""
    return tf.where(x <= 0.04045, x / 12.92, ((tf.maximum(x, 0.04045) + 0.055) / 1.055) ** 2.4)


def _display(light: tf.Tensor) -> tf.Tensor:
    """From linear light to the values of sRGB, clipped to [0, 1]."""
    light = tf.clip_by_value(light, 0.0, 1.0)
    curved = 1.055 * tf.maximum(light, 0.0031308) ** (1 / 2.4) - 0.055
    return tf.where(light <= 0.0031308, 12.92 * light, curved)


def _pattern(shape: tf.Tensor) -> tf.Tensor:
    """`[H, W, 3]`: 1 where the mosaic RGGB measures the colour."""
    odd_row = tf.cast(tf.range(shape[0]) % 2, tf.float32)[:, None]
    odd_column = tf.cast(tf.range(shape[1]) % 2, tf.float32)[None, :]
    red, blue = (1 - odd_row) * (1 - odd_column), odd_row * odd_column
    return tf.stack([red, 1 - red - blue, blue], axis=-1)


def _bank(mosaic: tf.Tensor, kernels: tf.Tensor) -> list[tf.Tensor]:
    """`[N, H, W]` filtered by each of `[K, 5, 5]`; mirrored, which keeps the mosaic's order."""
    padded = tf.pad(mosaic, [[0, 0], [2, 2], [2, 2]], "REFLECT")[..., None]
    kernels = tf.transpose(kernels, [1, 2, 0])[:, :, None]
    return tf.unstack(tf.nn.conv2d(padded, kernels, 1, "VALID"), axis=-1)


def _demosaic_linear(mosaic: tf.Tensor, correction: tf.Tensor) -> tf.Tensor:
    """Bilinear (0) to Malvar, He and Cutler (1)."""
    kernels = tf.constant(_BILINEAR, tf.float32)
    kernels += correction * tf.constant(_MALVAR - _BILINEAR, tf.float32)
    green, in_row, in_column, diagonal = _bank(mosaic, kernels)
    red, _, blue = tf.unstack(_pattern(tf.shape(mosaic)[1:]), axis=-1)
    at_green = 1 - red - blue
    red_row = tf.reduce_max(red, axis=1, keepdims=True)
    along, across = (
        at_green * (red_row * a + (1 - red_row) * b)
        for a, b in ((in_row, in_column), (in_column, in_row))
    )
    return tf.stack(
        [
            red * mosaic + along + blue * diagonal,
            at_green * mosaic + (1 - at_green) * green,
            blue * mosaic + across + red * diagonal,
        ],
        axis=-1,
    )


def _demosaic_along_edges(mosaic: tf.Tensor) -> tf.Tensor:
    """Green in the direction that changes less; then red and blue by what they differ from it."""
    row, row_step, row_bend, column, column_step, column_bend = _bank(
        mosaic, tf.constant(_DIRECTIONS, tf.float32)
    )
    in_row = tf.abs(row_step) + tf.abs(row_bend)
    in_column = tf.abs(column_step) + tf.abs(column_bend)
    estimate = tf.where(
        in_row < in_column, row, tf.where(in_column < in_row, column, (row + column) / 2)
    )
    pattern = _pattern(tf.shape(mosaic)[1:])
    green = tf.where(pattern[..., 1] > 0, mosaic, estimate)
    differences = (
        tf.stack([pattern[..., 0], pattern[..., 2]], axis=-1) * (mosaic - green)[..., None]
    )
    padded = tf.pad(differences, [[0, 0], [1, 1], [1, 1], [0, 0]], "REFLECT")
    kernel = tf.constant(_AROUND, tf.float32)[:, :, None, None] * tf.ones([1, 1, 2, 1])
    red, blue = tf.unstack(tf.nn.depthwise_conv2d(padded, kernel, [1, 1, 1, 1], "VALID"), axis=-1)
    return tf.stack([green + red, green, green + blue], axis=-1)


def _gaussian(stddev: tf.Tensor) -> tf.Tensor:
    taps = tf.exp(
        -0.5 * (tf.range(-_REACH, _REACH + 1, dtype=tf.float32) / tf.maximum(stddev, 0.05)) ** 2
    )
    return taps / tf.reduce_sum(taps)


def _separable(image: tf.Tensor, taps: tf.Tensor) -> tf.Tensor:
    """`[N, H, W, C]` filtered along both axes with the taps of each channel, `[C, K]`."""
    kernel = tf.transpose(taps)[:, None, :, None]
    image = tf.pad(image, [[0, 0], [_REACH, _REACH], [_REACH, _REACH], [0, 0]], "SYMMETRIC")
    for one in (kernel, tf.transpose(kernel, [1, 0, 2, 3])):
        image = tf.nn.depthwise_conv2d(image, one, [1, 1, 1, 1], "VALID")
    return image


def _smoothed(image, luma_blur, chroma_blur, amount, radius) -> tf.Tensor:
    """Noise reduction as a filter, chroma more than luma, and an unsharp mask of the luma."""
    ycc = tf.tensordot(image, tf.constant(_TO_YCC, tf.float32), [[-1], [1]])
    ycc = tf.cond(
        luma_blur + chroma_blur > 0,
        lambda: _separable(
            ycc, tf.stack([_gaussian(s) for s in (luma_blur, chroma_blur, chroma_blur)])
        ),
        lambda: ycc,
    )
    luma = ycc[..., :1]
    sharp = tf.cond(
        amount > 0,
        lambda: luma + amount * (luma - _separable(luma, _gaussian(radius)[None])),
        lambda: luma,
    )
    ycc = tf.concat([sharp, ycc[..., 1:]], axis=-1)
    image = tf.tensordot(ycc, tf.constant(np.linalg.inv(_TO_YCC), tf.float32), [[-1], [1]])
    return tf.clip_by_value(image, 0.0, 1.0)


def _reduced(pair: tf.Tensor, size: tf.Tensor, smaller: tf.Tensor, cubic: tf.Tensor) -> tf.Tensor:
    """Resized with a filter that averages, if it gets smaller."""

    def resize(method: str) -> tf.Tensor:
        return tf.clip_by_value(tf.image.resize(pair, size, method, antialias=True), 0.0, 1.0)

    return tf.cond(
        smaller,
        lambda: tf.cond(cubic, lambda: resize("bicubic"), lambda: resize("bilinear")),
        lambda: pair,
    )


def _compressed(image, draws: _Draws, kind, compressed) -> tuple[tf.Tensor, tf.Tensor]:
    """JPEG once or twice, with a shift of the blocks between; and that shift in pixels."""
    least = tf.where(kind == 0, 50.0, 15.0)
    qualities = [least + (98 - least) * draws.uniform(0, 1) for _ in range(2)]
    full_chroma = [draws.chance(0.4) for _ in range(2)]
    twice = compressed & draws.chance(0.25)
    shift = tf.where(twice, tf.cast(draws.uniform(0, 8), tf.int32), 0)
    image = tf.cond(
        compressed,
        lambda: _jpeg(image, qualities[0], full_chroma[0]),
        # A camera's file has 8 bit; white noise is that of benchmarks, not clipped or rounded.
        lambda: tf.where(kind == 1, image, tf.round(255 * image) / 255),
    )
    image = tf.cond(
        twice,
        lambda: _jpeg(image[shift:, shift:], qualities[1], full_chroma[1]),
        lambda: image,
    )
    return image, shift


def _jpeg(image: tf.Tensor, quality: tf.Tensor, full_chroma: tf.Tensor) -> tf.Tensor:
    pixels = tf.saturate_cast(tf.round(255 * image), tf.uint8)
    nearest = tf.argmin(tf.abs(tf.constant(_QUALITIES, tf.float32) - quality), output_type=tf.int32)

    def encoder(value: int):
        return lambda: tf.io.encode_jpeg(pixels, quality=value, chroma_downsampling=False)

    data = tf.cond(
        full_chroma,
        lambda: tf.switch_case(nearest, [encoder(value) for value in _QUALITIES]),
        lambda: tf.raw_ops.EncodeJpegVariableQuality(
            images=pixels, quality=tf.cast(tf.round(quality), tf.int32)
        ),
    )
    decoded = tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")
    return tf.cast(decoded, tf.float32) / 255
