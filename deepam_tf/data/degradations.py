"""How clean images become observations, seeded and usable inside `tf.data`."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from deepam_tf.data.camera import CameraSimulator
from deepam_tf.data.depth_camera import DepthCameraSimulator

__all__ = [
    "CameraSimulator",
    "DepthCameraSimulator",
    "add_gaussian_noise",
    "benchmark_noise",
    "recorrupt",
    "sensor_noise",
    "vary_colors",
    "vary_pair",
]

_MOST_SHIFT = 1.5  # pixels between the pictures of a pair
_DARKEST = -2.5  # exposure of either, as a power of two
_LEAST_SATURATION, _MOST_SATURATION = 0.5, 3.0
_NEGATIVE_RATE = 1 / 8  # of the channels, where colours are varied
_BLUR = 5  # side in pixels of the mean that a guide out of focus is


def add_gaussian_noise(
    image: tf.Tensor, noise_stddev: float | tf.Tensor, seed: tf.Tensor
) -> tf.Tensor:
    """Add white Gaussian noise; the result is not clipped.

    Args:
        image: any shape, floating.
        noise_stddev: standard deviation in the units of `image` (sigma / 255 for [0, 1]),
            a number or broadcast against `image`.
        seed: two integers, `[2]`; the same seed gives the same noise.

    Returns:
        The noisy image, of the shape and dtype of `image`.

    Example:
        >>> noisy = deepam_tf.degradations.add_gaussian_noise(tf.zeros([500, 500]), 0.1, [0, 1])
        >>> round(float(tf.math.reduce_std(noisy)), 3)
        0.1
    """
    noise = tf.random.stateless_normal(tf.shape(image), seed=seed, dtype=image.dtype)
    return image + noise_stddev * noise


def recorrupt(
    noisy: tf.Tensor, gain: float, variance: float, seed: tf.Tensor, *, alpha: float = 0.5
) -> tuple[tf.Tensor, tf.Tensor]:
    """Two noisier versions of a noisy image whose noises have nothing to do with one another.

    Recorrupted-to-Recorrupted (Pang, Zheng, Quan and Ji, CVPR 2021): with white `z` and the
    standard deviation `s` of the noise, `noisy + alpha s z` and `noisy - s z / alpha`. The
    covariance of what is wrong with both, `s^2 - alpha s (s / alpha)`, is zero. Who learns by the
    square error to foretell the second from the first learns what a clean target would teach: of
    Gaussian noise, where such noises are independent, exactly; of noise that grows with the
    light, whose `s` is taken from the noisy value, they are uncorrelated and no more.

    Args:
        noisy: any shape, floating, not clipped.
        gain: how the variance of its noise grows with the clean value, in the image's units.
        variance: of its noise where that is 0.
        seed: two integers, `[2]`; the same seed gives the same versions.
        alpha: positive: how much noise the first version gets. A small one changes the input
            little and makes the target very noisy.

    Returns:
        Input and target, of the image's shape and dtype.

    Example:
        >>> noisy = 0.5 + tf.random.stateless_normal([200, 200], [0, 0], stddev=0.1)
        >>> x, y = deepam_tf.degradations.recorrupt(noisy, 0.0, 0.1**2, [0, 1])
        >>> abs(float(tf.reduce_mean((x - 0.5) * (y - 0.5)))) < 1e-3
        True
    """
    stddev = tf.sqrt(tf.maximum(gain * noisy + variance, 0.0))
    noise = stddev * tf.random.stateless_normal(tf.shape(noisy), seed, dtype=noisy.dtype)
    return noisy + alpha * noise, noisy - noise / alpha


def benchmark_noise(shape: tuple[int, ...], noise_stddev: float, index: int) -> np.ndarray:
    """The noise of image number `index` in the evaluation protocol.

    `noise_stddev * numpy.random.default_rng(index).standard_normal(shape)`: anyone with
    NumPy can make the same noisy images.

    Args:
        shape: shape of the image.
        noise_stddev: standard deviation in the units of the image.
        index: position of the image in its sorted folder, from 0.

    Returns:
        Noise of that shape, float32.

    Example:
        >>> deepam_tf.degradations.benchmark_noise((2,), 0.1, 0).round(3).tolist()
        [0.013..., -0.013...]
    """
    noise = np.random.default_rng(index).standard_normal(shape)
    return (noise_stddev * noise).astype(np.float32)


def sensor_noise(clean: np.ndarray, gain: float, variance: float, index: int) -> np.ndarray:
    """A photograph of a simulated sensor: photons that arrive at random, and read noise.

    `gain * Poisson(clean / gain) + sqrt(variance) * N(0, 1)` from `numpy.random
    .default_rng(index)`: its variance is `gain * clean + variance`. Not clipped.

    Args:
        clean: image in [0, 1], linear in the light, any shape.
        gain: value of one photon, positive.
        variance: of the read noise.
        index: position of the image in its sorted folder, from 0.

    Returns:
        The noisy image, float32.

    Example:
        >>> noisy = deepam_tf.degradations.sensor_noise(np.full([400, 400], 0.5), 0.02, 0.0, 0)
        >>> round(float(noisy.var()), 3)
        0.01
    """
    rng = np.random.default_rng(index)
    light = gain * rng.poisson(clean / gain)
    return (light + np.sqrt(variance) * rng.standard_normal(clean.shape)).astype(np.float32)


def vary_colors(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Colours that photographs of nature seldom show: bright paint, signs, plastics.

    Half of the images stay as they are. In the others the differences of the channels from their
    mean are multiplied by 0.5 to 3, the channels exchanged at random, and one in eight of them
    made a negative. Networks that have seen natural colours alone take it for certain that the
    channels of a picture agree, and blur what only one of them shows.

    Args:
        image: `[H, W, C]`, floating, in [0, 1].
        seed: two integers, `[2]`; the same seed gives the same colours.

    Returns:
        An image of that shape, clipped to [0, 1].

    Example:
        >>> gray = tf.fill([4, 4, 3], 0.5)
        >>> bool(tf.reduce_all(deepam_tf.degradations.vary_colors(gray, [0, 1]) == gray))
        True
    """
    count = image.shape[-1]
    chance, saturation, negative, order = (
        tf.random.stateless_uniform([size], tf.random.fold_in(seed, i), dtype=image.dtype)
        for i, size in enumerate((1, 1, count, count))
    )
    mean = tf.reduce_mean(image, axis=-1, keepdims=True)
    factor = _LEAST_SATURATION + (_MOST_SATURATION - _LEAST_SATURATION) * saturation
    varied = tf.clip_by_value(mean + factor * (image - mean), 0.0, 1.0)
    varied = tf.gather(varied, tf.argsort(order), axis=-1)
    varied = tf.where(negative < _NEGATIVE_RATE, 1.0 - varied, varied)
    return tf.where(chance < 0.5, varied, image)


def vary_pair(target: tf.Tensor, guide: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """What happens between two cameras: other exposures, a shift, a guide out of focus.

    Half of the pairs are darkened, each picture by a factor of its own, down to a sixth; in half
    of them the guide is shifted by up to 1.5 pixels along each axis; one in six is blurred.
    Networks trained so follow a guide only as far as it agrees with what they restore.

    Args:
        target: what is to be restored, `[H, W, C]`, floating.
        guide: `[H, W, G]`, floating.
        seed: two integers, `[2]`; the same seed gives the same pair.

    Returns:
        Target and guide, of the shapes they had.

    Example:
        >>> pair = tf.ones([8, 8, 3]), tf.ones([8, 8, 1])
        >>> target, guide = deepam_tf.degradations.vary_pair(*pair, [0, 1])
        >>> target.shape.as_list(), guide.shape.as_list()
        ([8, 8, 3], [8, 8, 1])
    """
    chances, exposures, shift = (
        tf.random.stateless_uniform([size], tf.random.fold_in(seed, i), dtype=target.dtype)
        for i, size in enumerate((3, 2, 2))
    )
    factors = tf.where(chances[0] < 0.5, 2.0 ** (_DARKEST * exposures), 1.0)
    shift = tf.where(chances[1] < 0.5, _MOST_SHIFT * (2 * shift - 1), 0.0)
    guide = _shifted(factors[1] * guide, shift)
    guide = tf.cond(
        chances[2] < 1 / 6,
        lambda: tf.nn.avg_pool2d(guide[tf.newaxis], _BLUR, 1, "SAME")[0],
        lambda: guide,
    )
    return factors[0] * target, guide


def _shifted(image: tf.Tensor, shift: tf.Tensor) -> tf.Tensor:
    """Bilinear; what comes in at the border is its mirror image."""
    reach = int(np.ceil(_MOST_SHIFT)) + 1
    padded = tf.pad(image, [[reach, reach], [reach, reach], [0, 0]], "SYMMETRIC")
    whole = tf.floor(shift)
    part = shift - whole
    top, left = tf.unstack(tf.cast(whole, tf.int32) + reach)
    height, width = image.shape[0], image.shape[1]
    # Looked up: XLA would not know how large a slice between two tensors is.
    rows = tf.gather(padded, top + tf.range(height + 1), axis=0)
    rows = (1 - part[0]) * rows[:-1] + part[0] * rows[1:]
    columns = tf.gather(rows, left + tf.range(width + 1), axis=1)
    columns = (1 - part[1]) * columns[:, :-1] + part[1] * columns[:, 1:]
    return tf.ensure_shape(columns, image.shape)
