"""Raw photographs: the noise of the sensor out of its mosaic, before anything is made of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from deepam_tf.data.noise import PoissonGaussian, estimate_poisson_gaussian
from deepam_tf.files.picture import Picture
from deepam_tf.restoration.picture import restore_picture

__all__ = ["restore_mosaic"]

_BRIGHT = 99.5  # percentile that becomes 1: linear light leaves most of its range empty
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
    every pixel on its own: what the weights for gray pictures are told, pixel by pixel. After
    demosaicking and development it is neither.

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
    bright = np.percentile(np.stack([plane[::4, ::4] for plane in planes]), _BRIGHT)
    scale = np.float32(1.0 / min(max(float(bright), 1.0 / _MOST_GAIN), 1.0))
    scaled = [np.asarray(plane, np.float32) * scale for plane in planes]
    if noise is None:
        found = [estimate_poisson_gaussian(plane) for plane in scaled]
        levels = PoissonGaussian(
            float(np.mean([x.gain for x in found])), float(np.mean([x.variance for x in found]))
        )
    else:
        levels = PoissonGaussian(0.0, float(scale * noise) ** 2)
    restored = []
    for number, plane in enumerate(scaled):

        def on_tile(done: int, total: int, number: int = number) -> None:
            on_progress(number * total + done, len(scaled) * total)

        result = restore_picture(
            Picture(plane, None, np.dtype("uint16")),
            noise=levels,
            on_progress=on_tile,
            **options,
        )
        restored.append(result.picture.pixels / scale)
    return restored, PoissonGaussian(
        levels.gain / float(scale), levels.variance / float(scale) ** 2
    )
