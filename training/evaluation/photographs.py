"""Photographs with the noise of a real camera, and the means of many of each, their truth."""

from __future__ import annotations

import pathlib
import time
from collections.abc import Callable

import numpy as np

from deepam_tf import data, image_io
from deepam_tf.restoration.camera_noise import measure_noise
from deepam_tf.restoration.tiles import Restorer
from training.evaluation.scores import NOISY, Score, means, score

__all__ = ["blind", "evaluate_pairs", "figures", "read_pairs"]

NOISY_END, TRUE_END = "real", "mean"

Denoiser = Callable[[np.ndarray], np.ndarray]


def read_pairs(folder: pathlib.Path) -> dict[str, tuple[pathlib.Path, pathlib.Path]]:
    """The pairs of a folder: `NAME_real.EXT`, noisy, and `NAME_mean.EXT`, its truth.

    Args:
        folder: where they lie.

    Returns:
        Both paths by name, sorted.

    Raises:
        image_io.ImageFileError: if there is none, or one lacks its partner.
    """
    paths = {path.stem: path for path in image_io.list_images(folder)}
    names = sorted(stem.removesuffix(NOISY_END) for stem in paths if stem.endswith(NOISY_END))
    alone = [name for name in names if name + TRUE_END not in paths]
    if alone or not names:
        raise image_io.ImageFileError(
            f"{folder}: every NAME_{NOISY_END} must have its NAME_{TRUE_END}. "
            f"Received: {alone[0] + NOISY_END if alone else 'no pair'}."
        )
    return {name.rstrip("_"): (paths[name + NOISY_END], paths[name + TRUE_END]) for name in names}


def evaluate_pairs(
    pairs: dict[str, tuple[pathlib.Path, pathlib.Path]],
    methods: dict[str, Denoiser],
    *,
    on_image: Callable[[], object] = lambda: None,
) -> list[Score]:
    """Every method on every noisy picture; outputs are rounded to 8 bit, as a file is.

    Args:
        pairs: what `read_pairs` returns.
        methods: functions from a noisy `[H, W, 3]` picture in [0, 1] to the restored one.
        on_image: called after each picture and method.

    Returns:
        One score for each, the noisy picture first.
    """
    scores = []
    for name, files in pairs.items():
        noisy, clean = (data.to_channels(image_io.read(path).pixels, 3) for path in files)
        scores.append(score(name, NOISY, clean, noisy, 0.0))
        for method, denoise in methods.items():
            start = time.perf_counter()
            restored = denoise(noisy)
            seconds = time.perf_counter() - start
            rounded = (np.round(255 * np.clip(restored, 0, 1)) / 255).astype(np.float32)
            scores.append(score(name, method, clean, rounded, seconds))
            on_image()
    return scores


def blind(restorer: Restorer) -> Denoiser:
    """A network for camera noise, told what `measure_noise` finds with its help."""
    return lambda image: restorer(image, noise_stddev=measure_noise(image, restorer).stddev)


def figures(folder: pathlib.Path, restorer: Restorer) -> dict[str, float]:
    """What weights reach on a folder of pairs when nobody tells them the noise.

    Args:
        folder: see `read_pairs`.
        restorer: of the weights.

    Returns:
        Mean PSNR in dB and SSIM.
    """
    return means(evaluate_pairs(read_pairs(folder), {"model": blind(restorer)}), "model")
