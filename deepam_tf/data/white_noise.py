"""Whether the noise of a picture is white, and how strong, from its flattest patches.

Patches of 4x4 pixels are described by an orthonormal (Haar) basis. Of white noise all fifteen
coefficients beside the mean are independent and of one variance, so that their vector points in
all directions alike, however long it is: choosing patches by their energy, the flattest of a
picture, leaves the shares of the coefficients in it equal. In those of camera noise, and of
texture, the coarse ones have more.
"""

from __future__ import annotations

import numpy as np

__all__ = ["white_noise_stddev"]

_SIDE = 4
_AVERAGES = np.array([[1, 1, 1, 1], [1, 1, -1, -1]]) / 2
_DIFFERENCES = np.array([[1, -1, 0, 0], [0, 0, 1, -1]]) / np.sqrt(2)
_HAAR = np.concatenate([_AVERAGES, _DIFFERENCES]).astype(np.float32)
_FIRST = 0.1  # of the patches: where the iteration for the level begins
_LEAST_PATCHES = 16
_STEPS, _NEAR = 50, 1e-4
# White noise of level 3 on photographs in colour had 1.7 and 1.13 at most, and of 5 on gray ones
# 1.9 and 1.29; of 126 photographs of the simulated camera none with noise had less than 3.
_MOST_COARSE, _MOST_MIDDLE = 2.0, 1.3
_SURE = 3  # standard errors by which few patches may lie beyond these


def white_noise_stddev(channels: list[np.ndarray], valid: np.ndarray) -> float | None:
    """Standard deviation of the noise, if it is white.

    Patches whose energy is below the one that is expected are taken for noise alone; of the
    truncated chi-square distribution that they then have the level follows, and of the level
    which patches they are. The iteration begins with the flattest tenth. Patches with structure
    in them are left out by this, also where most have some.

    Args:
        channels: `[H, W]` each, of equal noise.
        valid: `[H, W]` bool, false where pixels say nothing of the noise.

    Returns:
        The standard deviation, in the units of the channels; None if the noise is not white.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> noisy = np.kron(rng.random([32, 32]), np.ones([8, 8])) + rng.normal(0, 0.1, [256, 256])
        >>> from deepam_tf.data.white_noise import white_noise_stddev
        >>> round(white_noise_stddev([noisy], np.ones([256, 256], bool)), 2)
        0.1
    """
    height, width = (side // _SIDE for side in valid.shape)
    shape = (height, _SIDE, width, _SIDE)
    whole = valid[: height * _SIDE, : width * _SIDE].reshape(shape).all(axis=(1, 3)).ravel()
    energies = []
    for channel in channels:
        patches = channel[: height * _SIDE, : width * _SIDE].reshape(shape)
        coefficients = np.einsum("ui,aibj,vj->abuv", _HAAR, patches, _HAAR, optimize=True)
        energies.append(np.square(coefficients.reshape(-1, _SIDE, _SIDE)[whole]))
    energy = np.stack(energies, axis=1).astype(np.float64)
    if len(energy) < _LEAST_PATCHES:
        return None
    total = energy.sum(axis=(1, 2, 3)) - energy[:, :, 0, 0].sum(axis=1)
    count = (_SIDE**2 - 1) * len(channels)
    share = _mean_below_expectation(count)
    least = float(np.partition(total, _LEAST_PATCHES - 1)[_LEAST_PATCHES - 1])
    variance = max(float(np.quantile(total, _FIRST)), least) / count
    chosen = total <= least
    for _ in range(_STEPS):
        chosen = total <= max(count * variance, least)
        before, variance = variance, float(total[chosen].mean()) / count / share
        if abs(variance - before) <= _NEAR * variance:
            break
    mean = energy[chosen].mean(axis=(0, 1))
    fine = mean[2:, 2:].mean()
    middle = (mean[2:, :2].mean() + mean[:2, 2:].mean()) / 2
    coarse = (mean[0, 1] + mean[1, 0] + mean[1, 1]) / 3
    samples = np.count_nonzero(chosen) * len(channels)

    def is_less(other: float, coefficients: int, most: float) -> bool:
        # Squares of normal variables vary by twice their mean squared, on both sides of the ratio.
        error = np.sqrt(2 / (coefficients * samples) + 2 / (4 * samples))
        return other < most * (1 + _SURE * error) * fine

    if not (is_less(coarse, 3, _MOST_COARSE) and is_less(middle, 8, _MOST_MIDDLE)):
        return None
    return float(np.sqrt(fine / share))


def _mean_below_expectation(count: int) -> float:
    """Mean of a chi-square variable of `count` degrees below its expectation, as a share of it.

    `1 - x^a exp(-x) / (gamma(a + 1) P(a, x))` with `a = x = count / 2`, by the series of the
    incomplete gamma function `P`.
    """
    a = count / 2
    terms = np.cumprod(a / (a + np.arange(1, 40 * count)))
    return 1 - 1 / (1 + float(terms.sum()))
