"""Photographs with the noise of a real camera, and the means of many of each, their truth."""

from __future__ import annotations

import pathlib
import time
from collections.abc import Callable

import cv2
import numpy as np

import deepam_tf
from deepam_tf import data, image_io
from deepam_tf.restoration.camera_noise import level_to_tell, measure_noise
from deepam_tf.restoration.tiles import Restorer
from training.evaluation.scores import NOISY, Score, means, score

__all__ = [
    "blind",
    "default",
    "evaluate_pairs",
    "figures",
    "non_local_means",
    "read_pairs",
]

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


def default(dtype: str = "float32") -> Denoiser:
    """What `deepam denoise` does with a picture where nothing else is asked for.

    Args:
        dtype: Keras dtype policy of the networks.

    Returns:
        A function of `[H, W, 3]` in [0, 1].
    """

    def denoise(image: np.ndarray) -> np.ndarray:
        picture = image_io.Picture(image, None, np.dtype("uint8"))
        return deepam_tf.restore_picture(picture, dtype=dtype).picture.pixels

    return denoise


def non_local_means(image: np.ndarray) -> np.ndarray:
    """OpenCV's non-local means for colour, with the values it has where nothing is said."""
    pixels = np.uint8(np.round(255 * np.clip(image, 0, 1)))
    return cv2.fastNlMeansDenoisingColored(pixels) / np.float32(255)


def blind(restorer: Restorer) -> Denoiser:
    """A network for camera noise, told what `measure_noise` finds with its help."""
    return lambda image: restorer(image, noise_stddev=level_to_tell(measure_noise(image, restorer)))


def figures(folder: pathlib.Path, restorer: Restorer) -> dict[str, float]:
    """What weights reach on a folder of pairs when nobody tells them the noise.

    Args:
        folder: see `read_pairs`.
        restorer: of the weights.

    Returns:
        Mean PSNR in dB and SSIM.
    """
    return means(evaluate_pairs(read_pairs(folder), {"model": blind(restorer)}), "model")
