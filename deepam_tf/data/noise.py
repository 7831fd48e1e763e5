"""How noisy is a picture? Estimates of one level, or of one that changes with the light."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

__all__ = ["PoissonGaussian", "estimate_noise_stddev", "estimate_poisson_gaussian"]

_LEAST_SIDE = 32
_LEVELS = 24  # of brightness, each with as many pixels
_CLIPPED = 0.02  # from black and white, where a file's noise is cut off
_REACH = 2.0  # standard deviation in pixels of the mean that a noise map looks at
_MEDIAN_OF_NORMAL = 0.67448975  # of |x|, x standard normal

# High-pass filter of Daubechies' wavelet with two vanishing moments: no answer to ramps.
_ROOT = np.sqrt(3.0)
_HIGH_PASS = np.array([1 - _ROOT, -(3 - _ROOT), 3 + _ROOT, -(1 + _ROOT)]) / np.sqrt(32.0)


def estimate_noise_stddev(image: np.ndarray) -> float:
    """Standard deviation of white Gaussian noise in an image.

    From the median of the absolute diagonal details of a wavelet transform's finest scale,
    where edges are few and noise is everywhere (Donoho and Johnstone, "Ideal spatial adaptation
    by wavelet shrinkage", Biometrika 1994). On 20 gray training images of BSDS500 the mean
    estimate is 6.5 for a true sigma of 5, then 15.9 for 15, 25.7 for 25 and 50.4 for 50, on the
    0..255 scale: fine texture counts as noise, and so does a photograph's own grain.

    Args:
        image: `[H, W, C]`, floating, at least 32 pixels a side.

    Returns:
        The standard deviation, root mean square over the channels, in the image's units.

    Raises:
        ValueError: if the image has another rank, is too small, or not finite.

    Example:
        >>> noisy = 0.1 * np.random.default_rng(0).standard_normal([128, 128, 1])
        >>> round(deepam_tf.noise.estimate_noise_stddev(noisy), 2)
        0.1
    """
    channels = _channels(image)
    stddevs = [np.median(_details(channel)) / _MEDIAN_OF_NORMAL for channel in channels]
    return float(np.sqrt(np.mean(np.square(stddevs))))


@dataclasses.dataclass(frozen=True)
class PoissonGaussian:
    """Noise of a sensor: its variance is `gain x + variance` where the clean value is `x`.

    Photons arrive at random (Poisson, `gain` is one electron in units of the image), and reading
    them adds noise of one level (Gaussian). Foi, Trimeche, Katkovnik and Egiazarian, "Practical
    Poissonian-Gaussian noise modeling and fitting for single-image raw-data", IEEE TIP 2008.

    Attributes:
        gain: slope of the variance, in the image's units, not negative.
        variance: of the part that does not depend on the light, in their square.
    """

    gain: float
    variance: float

    def stddev_map(self, image: np.ndarray) -> np.ndarray:
        """The standard deviation at every pixel of a noisy image.

        The clean value is taken to be a Gaussian mean over a few pixels, and the variance that
        of the mean channel: models take one map.

        Args:
            image: `[H, W, C]`, floating.

        Returns:
            `[H, W, 1]` float32, in the image's units.

        Example:
            >>> noise = deepam_tf.noise.PoissonGaussian(gain=0.01, variance=0.0)
            >>> round(float(noise.stddev_map(np.full([40, 40, 1], 0.25))[0, 0, 0]), 4)
            0.05
        """
        gray = np.mean(np.asarray(image, np.float32), axis=-1)
        mean = np.maximum(cv2.GaussianBlur(gray, (0, 0), _REACH), 0)
        return np.sqrt(self.gain * mean + self.variance)[..., np.newaxis].astype(np.float32)


def estimate_poisson_gaussian(image: np.ndarray) -> PoissonGaussian:
    """Gain and constant variance of a sensor's noise, from one noisy image.

    The variance is measured as `estimate_noise_stddev` does, apart for each of 24 levels of
    brightness, and a line fitted that is nowhere negative; what is nearly black or white is left
    out, where files cut the noise off.

    Args:
        image: `[H, W, C]`, floating, in [0, 1] plus noise, linear in the light, at least 32
            pixels a side.

    Returns:
        The two parameters, of all channels together.

    Raises:
        ValueError: if the image has another rank, is too small, or not finite.

    Example:
        >>> clean = np.tile(np.linspace(0.1, 0.9, 256), (256, 1))[:, :, np.newaxis]
        >>> noise = np.random.default_rng(0).standard_normal(clean.shape)
        >>> noisy = clean + np.sqrt(0.01 * clean) * noise
        >>> round(deepam_tf.noise.estimate_poisson_gaussian(noisy).gain, 3)
        0.01
    """
    levels, variances = [], []
    for channel in _channels(image):
        details = _details(channel).ravel()
        # A mean as wide as the details reach, or it would depend on their noise.
        means = cv2.GaussianBlur(channel, (0, 0), _REACH).ravel()
        inside = (means > _CLIPPED) & (means < 1 - _CLIPPED)
        order = np.argsort(means[inside], kind="stable")
        for group in np.array_split(np.flatnonzero(inside)[order], _LEVELS):
            if group.size:
                levels.append(means[group].mean())
                variances.append((np.median(details[group]) / _MEDIAN_OF_NORMAL) ** 2)
    if not levels:
        return PoissonGaussian(0.0, estimate_noise_stddev(image) ** 2)
    levels, variances = np.array(levels), np.array(variances)
    # An estimate of a variance is as uncertain as it is large.
    weights = 1 / np.maximum(variances, 0.1 * variances.mean() + np.finfo(np.float32).tiny)
    system = np.stack([levels, np.ones_like(levels)], axis=1) * weights[:, np.newaxis]
    target = variances * weights
    fit = np.linalg.lstsq(system, target, rcond=None)[0]
    if fit.min() < 0:
        # The best fit without negative parts then has one of them zero.
        fit = np.where(fit < 0, 0.0, system.T @ target / np.square(system).sum(axis=0))
    return PoissonGaussian(float(fit[0]), float(fit[1]))


def _channels(image: np.ndarray) -> list[np.ndarray]:
    image = np.asarray(image, np.float32)
    if image.ndim != 3 or min(image.shape[:2]) < _LEAST_SIDE or not np.isfinite(image).all():
        raise ValueError(
            f"`image` must be finite and have shape [H, W, C] of at least {_LEAST_SIDE} pixels a "
            f"side to estimate its noise. Received: image.shape={image.shape}. Give the noise "
            "level instead."
        )
    return [np.ascontiguousarray(channel) for channel in np.moveaxis(image, -1, 0)]


def _details(channel: np.ndarray) -> np.ndarray:
    """Absolute diagonal details; of white noise, their standard deviation is the noise's."""
    return np.abs(cv2.sepFilter2D(channel, -1, _HIGH_PASS, _HIGH_PASS))
