"""How clean images become observations, seeded and usable inside `tf.data`."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

__all__ = ["add_gaussian_noise", "benchmark_noise", "sensor_noise"]


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
