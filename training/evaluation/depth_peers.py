"""Other ways to upsample depth, to measure against: OpenCV's, tuned on training frames."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable

import cv2
import numpy as np
import tensorflow as tf

from deepam_tf import sampling
from training.evaluation.bilateral_solver import fast_bilateral_solver

__all__ = ["GRIDS", "Sample", "interpolators", "tuned"]

Upsampler = Callable[["Sample"], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Sample:
    """The observation of a depth map that a method is given.

    Attributes:
        low: samples `[h, w]` float32, 0..255.
        scale: pixels from sample to sample; the first lies at `scale // 2`.
        dense: `[H, W]`, bilinear interpolation of the samples.
        at_sample: `[H, W]` float32, 1 at the samples, 0 elsewhere.
        guide: `[H, W, 3]` uint8, RGB.
    """

    low: np.ndarray
    scale: int
    dense: np.ndarray
    at_sample: np.ndarray
    guide: np.ndarray


def interpolators() -> dict[str, Upsampler]:
    """Nearest neighbour, bilinear, bicubic, and what our networks start from (minmod planes).

    All on the grid the samples were taken from.

    Returns:
        Functions from a `Sample` to a map `[H, W]`, by name.
    """
    return {
        "nearest": functools.partial(_remapped, flags=cv2.INTER_NEAREST),
        "bilinear": lambda sample: sample.dense,
        "bicubic": functools.partial(_remapped, flags=cv2.INTER_CUBIC),
        "minmod planes": _planes,
    }


def _planes(sample: Sample) -> np.ndarray:
    low = tf.constant(sample.low[..., np.newaxis])
    known = tf.cast(low > 0, tf.float32)
    size = sample.dense.shape
    dense, _ = sampling.interpolate_samples(low, known, size, sample.scale, limited=True)
    return dense.numpy()[..., 0]


def _remapped(sample: Sample, flags: int) -> np.ndarray:
    height, width = sample.dense.shape
    x = (np.arange(width, dtype=np.float32) - sample.scale // 2) / sample.scale
    y = (np.arange(height, dtype=np.float32) - sample.scale // 2) / sample.scale
    # A hair up, for the tie half way: a nearest neighbour's block then begins where its
    # sample lies in the middle.
    x, y = np.meshgrid(x + 1e-4, y + 1e-4)
    return cv2.remap(sample.low, x, y, flags, borderMode=cv2.BORDER_REPLICATE)


def _guided_filter(sample: Sample, radius: float, eps: float) -> np.ndarray:
    return cv2.ximgproc.guidedFilter(
        sample.guide, sample.dense, max(int(radius * sample.scale), 1), eps * 255**2
    )


def _joint_bilateral(sample: Sample, spatial: float, color: float) -> np.ndarray:
    sigma = spatial * sample.scale
    return cv2.ximgproc.jointBilateralFilter(
        sample.guide.astype(np.float32), sample.dense, int(3 * sigma) | 1, color, sigma
    )


def _fast_global_smoother(sample: Sample, smoothness: float, color: float) -> np.ndarray:
    smooth = cv2.ximgproc.createFastGlobalSmootherFilter(
        sample.guide, smoothness * sample.scale**2, color
    )
    weight = smooth.filter(sample.at_sample)
    return smooth.filter(sample.at_sample * sample.dense) / np.maximum(weight, 1e-8)


def _bilateral_solver(sample: Sample, color: float, smoothness: float) -> np.ndarray:
    return fast_bilateral_solver(
        sample.guide,
        sample.dense,
        sample.at_sample + 1e-3,
        sigma_spatial=max(sample.scale / 2, 4.0),
        sigma_luma=color,
        sigma_chroma=color,
        smoothness=smoothness,
    )


GRIDS: dict[str, tuple[Callable[..., np.ndarray], dict[str, tuple[float, ...]]]] = {
    "guided filter": (_guided_filter, {"radius": (0.5, 1.0, 2.0), "eps": (1e-4, 1e-3, 1e-2)}),
    "joint bilateral": (
        _joint_bilateral,
        {"spatial": (0.3, 0.6, 1.0), "color": (5.0, 10.0, 20.0, 40.0)},
    ),
    "fast global smoother": (
        _fast_global_smoother,
        {"smoothness": (1.0, 4.0, 16.0), "color": (3.0, 6.0, 12.0, 24.0)},
    ),
    "fast bilateral solver": (
        _bilateral_solver,
        {"color": (6.0, 12.0, 24.0), "smoothness": (0.01, 0.1, 1.0)},
    ),
}
"""Methods with parameters, and the values tried for each. Lengths are in samples, colours in
0..255."""


def tuned(
    samples: list[tuple[Sample, np.ndarray]],
    error: Callable[[np.ndarray, np.ndarray], float],
    *,
    on_run: Callable[[], object] = lambda: None,
) -> dict[str, Upsampler]:
    """The methods of `GRIDS`, each with the parameters that are best on training samples.

    Args:
        samples: pairs of a sample and the true map, all of one scale.
        error: of a true and an upsampled map.
        on_run: called after each trial, for a progress bar.

    Returns:
        Functions from a `Sample` to a map `[H, W]`, by name, parameters in the name.

    Raises:
        ValueError: if OpenCV comes without its contributed modules.
    """
    if not hasattr(cv2, "ximgproc"):
        raise ValueError(
            "The filters must come from OpenCV's contributed modules. Received: cv2 without "
            "ximgproc. Install opencv-contrib-python in the place of opencv-python."
        )
    found = {}
    for name, (method, grid) in GRIDS.items():
        trials = [
            dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())
        ]
        errors = []
        for trial in trials:
            errors.append(np.mean([error(truth, method(s, **trial)) for s, truth in samples]))
            on_run()
        best = trials[int(np.argmin(errors))]
        label = ", ".join(f"{key} {value:g}" for key, value in best.items())
        found[f"{name} ({label})"] = functools.partial(method, **best)
    return found
