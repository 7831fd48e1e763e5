"""How noisy is a picture? An estimate of the standard deviation from the picture alone."""

from __future__ import annotations

import numpy as np

__all__ = ["estimate_noise_stddev"]

_PATCH = 8
_MAX_PATCHES = 200_000


def estimate_noise_stddev(image: np.ndarray) -> float:
    """Standard deviation of white Gaussian noise in an image.

    Patches of a clean image fill few directions, noise fills all of them alike. The least
    eigenvalues of the patches' covariance therefore scatter around the noise's variance; those
    taken are the longest tail whose mean is also its median (Chen, Zhu and Heng, "An efficient
    statistical method for image noise level estimation", ICCV 2015).

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
    image = np.asarray(image, np.float32)
    if image.ndim != 3 or min(image.shape[:2]) < 4 * _PATCH or not np.isfinite(image).all():
        raise ValueError(
            f"`image` must be finite and have shape [H, W, C] of at least {4 * _PATCH} pixels a "
            f"side to estimate its noise. Received: image.shape={image.shape}. Give the noise "
            "level instead."
        )
    return float(np.sqrt(np.mean([_variance(channel) for channel in np.moveaxis(image, -1, 0)])))


def _variance(channel: np.ndarray) -> float:
    patches = np.lib.stride_tricks.sliding_window_view(channel, (_PATCH, _PATCH))
    # Large pictures have patches to spare: an odd stride keeps clear of demosaicking's period.
    stride = 1
    while patches[::stride, ::stride].size > _MAX_PATCHES * _PATCH**2:
        stride += 2
    samples = patches[::stride, ::stride].reshape(-1, _PATCH**2)
    eigenvalues = np.linalg.eigvalsh(np.cov(samples, rowvar=False))
    for count in range(len(eigenvalues), 0, -1):
        tail = eigenvalues[:count]
        # In ascending order, mean equal to median: as many above as below.
        if np.mean(tail) <= np.median(tail) * (1 + 1e-9):
            return max(float(np.mean(tail)), 0.0)
    return max(float(eigenvalues[0]), 0.0)
