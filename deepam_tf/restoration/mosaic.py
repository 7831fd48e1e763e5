"""Raw photographs: the noise of the sensor out of its mosaic, before anything is made of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from deepam_tf.data.noise import PoissonGaussian, estimate_poisson_gaussian
from deepam_tf.files.picture import Picture
from deepam_tf.restoration.picture import restore_picture

__all__ = ["restore_mosaic"]

_BRIGHT = 99.9  # percentile that becomes 1: linear light leaves most of its range empty
_MOST_GAIN = 32.0


def restore_mosaic(
    planes: Sequence[np.ndarray],
    *,
    noise: float | None = None,
    on_progress: Callable[[int, int], object] = lambda done, total: None,
    **options: Any,
) -> tuple[list[np.ndarray], PoissonGaussian]:
    """Remove the noise of a sensor from the four planes of its mosaic.

    In linear light the variance of the noise is `gain x + variance`, x being the clean value, in
    every pixel on its own; after demosaicking and development it is neither. The generalised
    Anscombe transform `2 / gain sqrt(gain x + 3/8 gain^2 + variance)` makes noise of one level of
    it, which the weights for gray pictures are told (Makitalo and Foi, "Optimal inversion of the
    generalized Anscombe transformation for Poisson-Gaussian noise", IEEE TIP 2013). Telling them
    the level of every pixel instead leaves 1.1 to 1.2 times the error in the developed picture,
    most of it in the shadows, which development makes brighter.

    Args:
        planes: `[H, W, 1]` each, black 0, white 1, noise on both sides of 0.
        noise: standard deviation of noise that is the same everywhere, in units of [0, 1]; None:
            gain and variance are measured on the planes.
        on_progress: called with the numbers of tiles that are done and that there are.
        **options: `model`, `dtype`, `tile` and `self_ensemble` of `restore_picture`.

    Returns:
        The restored planes, and the noise that they had.

    Raises:
        ValueError: see `restore_picture`.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> clean = np.tile(np.linspace(0.1, 0.4, 64, dtype=np.float32), [64, 1])[..., np.newaxis]
        >>> planes = [clean + 0.02 * rng.standard_normal(clean.shape) for _ in range(4)]
        >>> restored, _ = deepam_tf.restore_mosaic(planes)
        >>> max(float(abs(x - clean).mean()) for x in restored) < 0.005
        True
    """
    if noise is None:
        found = [estimate_poisson_gaussian(plane) for plane in _brightened(planes)]
        factor = _factor(planes)
        levels = PoissonGaussian(
            float(np.mean([x.gain for x in found])) / factor,
            float(np.mean([x.variance for x in found])) / factor**2,
        )
    else:
        levels = PoissonGaussian(0.0, float(noise) ** 2)
    restored = []
    for number, plane in enumerate(planes):

        def on_tile(done: int, total: int, number: int = number) -> None:
            on_progress(number * total + done, len(planes) * total)

        even = _stabilized(plane, levels)
        low, high = float(even.min()), float(np.percentile(even, _BRIGHT))
        scale = 1.0 / max(high - low, 1e-6)
        result = restore_picture(
            Picture(((even - low) * scale).astype(np.float32), None, np.dtype("uint16")),
            noise=min(scale * _stddev_of_stabilized(levels), 1.0),
            on_progress=on_tile,
            **options,
        )
        restored.append(_light_of(result.picture.pixels / scale + low, levels).astype(np.float32))
    return restored, levels


def _factor(planes: Sequence[np.ndarray]) -> float:
    """What brings the brightest light near 1: linear light leaves most of its range empty."""
    bright = float(np.percentile(np.stack([plane[::4, ::4] for plane in planes]), _BRIGHT))
    return 1.0 / min(max(bright, 1.0 / _MOST_GAIN), 1.0)


def _brightened(planes: Sequence[np.ndarray]) -> list[np.ndarray]:
    factor = np.float32(_factor(planes))
    return [np.asarray(plane, np.float32) * factor for plane in planes]


def _stabilized(plane: np.ndarray, levels: PoissonGaussian) -> np.ndarray:
    """Light as numbers whose noise has one level, 1, wherever it is bright enough to have one."""
    x, gain = np.asarray(plane, np.float64), levels.gain
    if gain == 0:
        return x
    return 2 / gain * np.sqrt(np.maximum(gain * x + 0.375 * gain**2 + levels.variance, 0.0))


def _stddev_of_stabilized(levels: PoissonGaussian) -> float:
    return float(np.sqrt(levels.variance)) if levels.gain == 0 else 1.0


def _light_of(stabilized: np.ndarray, levels: PoissonGaussian) -> np.ndarray:
    """The light whose mean number that is, if it is not very dark (asymptotically unbiased)."""
    gain = levels.gain
    if gain == 0:
        return stabilized
    return gain / 4 * np.maximum(stabilized, 0.0) ** 2 - gain / 8 - levels.variance / gain
