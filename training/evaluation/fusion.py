"""Noisy colour restored with near infrared, measured on pairs of the two."""

from __future__ import annotations

import itertools
import pathlib
from collections.abc import Callable

import numpy as np

from deepam_tf import data, degradations, metrics
from deepam_tf.files.levels import to_unit
from deepam_tf.restoration.tiles import Restorer
from training.evaluation import peers
from training.evaluation.scores import evaluate, means

__all__ = ["figures", "fuser", "read_pairs", "tuned_guided_filter"]

RADII, EPS, TUNING_PAIRS = (1, 2, 4, 8, 16), (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3), 8


def read_pairs(folder: pathlib.Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Read pairs of colour and near infrared in [0, 1], by name.

    Args:
        folder: holds rgb/ and nir/.

    Returns:
        `[H, W, 3]` and `[H, W, 1]` float32 of each pair.

    Raises:
        image_io.ImageFileError: if a file is missing or cannot be read.
    """
    pairs = data.read_pairs(folder, target="rgb", guide="nir", target_channels=3, guide_channels=1)
    return {pair.name: (to_unit(pair.target), to_unit(pair.guide)) for pair in pairs}


def tuned_guided_filter(
    pairs: dict[str, tuple[np.ndarray, np.ndarray]], noise_stddev: float
) -> dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]]:
    """The guided filter with the radius and eps of the best mean PSNR on training pairs.

    Args:
        pairs: of training data, as `read_pairs` gives them; eight spread over them are used.
        noise_stddev: standard deviation of the noise in units of [0, 1].

    Returns:
        The filter, by a name that says its parameters.
    """
    chosen = list(pairs.values())[:: max(len(pairs) // TUNING_PAIRS, 1)][:TUNING_PAIRS]
    noisy = [
        clean + degradations.benchmark_noise(clean.shape, noise_stddev, i)
        for i, (clean, _) in enumerate(chosen)
    ]
    trials = {
        f"guided filter (radius {radius}, eps {eps:g})": peers.guided_filter(radius, eps)
        for radius, eps in itertools.product(RADII, EPS)
    }
    decibels = {
        name: np.mean(
            [
                metrics.psnr(clean[np.newaxis], np.clip(trial(x, guide), 0, 1)[np.newaxis])
                for x, (clean, guide) in zip(noisy, chosen, strict=True)
            ]
        )
        for name, trial in trials.items()
    }
    best = max(decibels, key=lambda name: decibels[name])
    return {best: trials[best]}


def figures(folder: pathlib.Path, restorer: Restorer, noise_stddev: float) -> dict[str, float]:
    """What a model reaches on a folder of pairs.

    Args:
        folder: holds rgb/ and nir/.
        restorer: of a model guided by near infrared.
        noise_stddev: standard deviation of the noise in units of [0, 1].

    Returns:
        Means over the images, `psnr` in dB and `ssim`.
    """
    pairs = read_pairs(folder)
    scores = evaluate(
        {name: target for name, (target, _) in pairs.items()},
        {"model": fuser(restorer, noise_stddev)},
        noise_stddev,
        guides={name: guide for name, (_, guide) in pairs.items()},
    )
    return means(scores, "model")


def fuser(
    restorer: Restorer, noise_stddev: float
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """A function from a noisy image and its guide to the restored image.

    Args:
        restorer: of a model guided by near infrared.
        noise_stddev: standard deviation of the noise in units of [0, 1], for models that take
            it.

    Returns:
        The function, of `[H, W, 3]` and `[H, W, 1]`.
    """
    given = noise_stddev if restorer.noise_level else None
    return lambda noisy, guide: restorer(noisy, guide=guide, noise_stddev=given)
