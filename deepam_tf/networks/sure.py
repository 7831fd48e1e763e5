"""How good is a denoiser, of pictures of which nobody has the truth? Stein's unbiased estimate.

Of Gaussian noise of variance `s^2` the mean square error of `F(y)` is in expectation that of

    mean (F(y) - y)^2 - mean s^2 + 2 mean s^2 dF/dy,

whose divergence one more restoration tells, of the picture with a little random noise added
(Ramani, Blu and Unser, "Monte-Carlo SURE: a black-box optimization of regularization parameters
for general denoising algorithms", IEEE TIP 2008). Where the noise grows with the light its variance
is taken from the noisy value, which is right to first order (Le Montagner, Angelini and
Olivo-Marin, "An unbiased risk estimator for image denoising in the presence of mixed
Poisson-Gaussian noise", IEEE TIP 2014).
"""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from deepam_tf.networks.metrics import MOST_DECIBELS

__all__ = ["UnbiasedPSNR", "probe", "unbiased_mse"]

_STEP = 0.1  # of the noise: above what solves leave, below where denoisers bend
_LEAST_VARIANCE = 1e-8  # in units of [0, 1]


def probe(noisy: np.ndarray, gain: float, variance: float, seed: int) -> tuple:
    """What has to be restored to estimate the error of a denoiser, and with what to compare it.

    Args:
        noisy: `[1, H, W, C]`, not clipped, its noise of the variance `gain x + variance`.
        gain: in the image's units.
        variance: in their square.
        seed: of the random signs.

    Returns:
        Two images to restore, `[2, H, W, C]` float32, the noisy one first, and the array of that
        shape that `unbiased_mse` takes.

    Example:
        >>> from deepam_tf.networks.sure import probe, unbiased_mse
        >>> noisy = np.random.default_rng(0).normal(0.5, 0.1, [1, 64, 64, 1])
        >>> images, reference = probe(noisy, 0.0, 0.1**2, seed=0)
        >>> mse = unbiased_mse(reference, images)  # of a denoiser that does nothing
        >>> round(float(mse) ** 0.5, 2)
        0.1
    """
    noisy = np.asarray(noisy, np.float32)
    variances = np.maximum(gain * noisy + variance, _LEAST_VARIANCE)
    step = _STEP * float(np.sqrt(variances.mean()))
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], noisy.shape)
    images = np.concatenate([noisy, noisy + step * signs])
    reference = np.concatenate([noisy, variances * signs / step])
    return images.astype(np.float32), reference.astype(np.float32)


def unbiased_mse(reference: tf.Tensor, restored: tf.Tensor) -> tf.Tensor:
    """Stein's unbiased estimate of the mean square error of a denoiser.

    Args:
        reference: what `probe` returns beside the images.
        restored: the images of `probe` restored, `[2, H, W, C]`.

    Returns:
        A scalar, in the square of the images' units; near 0 it may be negative.

    Example:
        >>> from deepam_tf.networks.sure import probe, unbiased_mse
        >>> images, reference = probe(np.full([1, 64, 64, 1], 0.5), 0.0, 0.1**2, seed=0)
        >>> round(float(unbiased_mse(reference, 0 * images)), 2)  # of one that says 0 of 0.5
        0.24
    """
    noisy, weight = reference[0], reference[1]
    # The weight is s^2 b / step, b the signs; the step a tenth of the mean s.
    stddev = tf.reduce_mean(tf.abs(weight)) * _STEP
    divergence = tf.reduce_mean(weight * (restored[1] - restored[0]))
    return tf.reduce_mean(tf.square(restored[0] - noisy)) - tf.square(stddev) + 2 * divergence


@keras.saving.register_keras_serializable(package="deepam_tf")
class UnbiasedPSNR(keras.metrics.Mean):
    """PSNR over all images, of Stein's unbiased estimate of their error; no truth is needed.

    Each batch is the two images of `probe`, and its target what `probe` returns beside them.
    The errors are averaged, not their decibels, of which an estimate would be biased.

    Args:
        max_value: peak value of the images.
        **kwargs: `name` and `dtype`.

    Example:
        >>> from deepam_tf.networks.sure import UnbiasedPSNR, probe
        >>> noisy = np.random.default_rng(0).normal(0.5, 0.1, [1, 64, 64, 1])
        >>> images, reference = probe(noisy, 0.0, 0.1**2, seed=0)
        >>> metric = UnbiasedPSNR()
        >>> metric.update_state(reference, images)
        >>> round(float(metric.result()))
        20
    """

    def __init__(self, max_value: float = 1.0, *, name="unbiased_psnr", **kwargs) -> None:
        super().__init__(name=name, **kwargs)
        self.max_value = max_value

    def update_state(self, y_true, y_pred, sample_weight=None) -> None:
        del sample_weight
        reference, restored = tf.cast(y_true, self.dtype), tf.cast(y_pred, self.dtype)
        super().update_state(unbiased_mse(reference, restored))

    def result(self):
        least = self.max_value**2 * 10 ** (-MOST_DECIBELS / 10)
        mse = tf.maximum(super().result(), least)
        return 10 * tf.math.log(self.max_value**2 / mse) / np.log(10.0)

    def get_config(self):
        return {**super().get_config(), "max_value": self.max_value}
