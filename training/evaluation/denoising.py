"""Denoisers measured on clean images: what is read, what runs, what a model reaches."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

import deepam_tf
from deepam_tf import classical, data, image_io, metrics, pretrained
from deepam_tf.restoration.tiles import Restorer
from training.evaluation import peers
from training.evaluation.scores import evaluate, means

__all__ = [
    "classical_methods",
    "denoiser",
    "figures",
    "models_for",
    "read_images",
    "restorers",
]


def read_images(
    folder: pathlib.Path, channels: int = 1, *, only: pathlib.Path | None = None
) -> dict[str, np.ndarray]:
    """The images of a folder in [0, 1], by file name, sorted.

    Args:
        folder: of image files.
        channels: 1, `[H, W]` float32, colour becomes gray; or 3, `[H, W, 3]`.
        only: a text; images whose file names do not occur in it are left out.

    Returns:
        The images.

    Raises:
        image_io.ImageFileError: if it holds none, or one cannot be read.
        ValueError: if one is too small to measure SSIM.
    """
    paths = image_io.list_images(folder)
    if only is not None:
        try:
            named = {pathlib.PurePath(word).name for word in only.read_text().split()}
        except (OSError, UnicodeDecodeError) as error:
            raise image_io.ImageFileError(f"{only}: no text that can be read ({error}).") from error
        paths = [path for path in paths if path.name in named]
    if not paths:
        those = "" if only is None else f" that {only} names"
        raise image_io.ImageFileError(f"{folder}: the folder holds no image files{those}.")
    images = {path.name: data.to_channels(image_io.read(path).pixels, channels) for path in paths}
    if channels == 1:
        images = {name: image[..., 0] for name, image in images.items()}
    small = [name for name, image in images.items() if min(image.shape[:2]) < metrics.SSIM_WINDOW]
    if small:
        raise ValueError(
            f"Images must have at least {metrics.SSIM_WINDOW} pixels a side for SSIM. "
            f"Received: {small[0]} and {len(small) - 1} others smaller than that."
        )
    return images


def restorers(name: str, model: deepam_tf.DeepAM, *, ensemble: bool) -> dict[str, Restorer]:
    """A model as it is, and averaged over orientations where that was asked for.

    Args:
        name: of the model.
        model: what restores.
        ensemble: whether the mean over the eight orientations gets a row too.

    Returns:
        One or two restorers, by the name of their row in a table.
    """
    rows = {name: Restorer(model)}
    if ensemble:
        rows[f"{name}, 8 orientations"] = Restorer(model, self_ensemble=True)
    return rows


def denoiser(restorer: Restorer, noise_stddev: float) -> peers.Denoiser:
    """A function from one noisy image to the restored one.

    Args:
        restorer: of as many channels, or of one: then channel by channel.
        noise_stddev: standard deviation of the noise in units of [0, 1], for models that take it.

    Returns:
        The function, of `[H, W]` or `[H, W, C]`.
    """
    given = noise_stddev if restorer.noise_level else None
    return lambda image: restorer(np.atleast_3d(image), noise_stddev=given).reshape(image.shape)


def classical_methods(
    noise_stddev: float, methods: Mapping[str, Callable[..., Any]] = classical.METHODS
) -> dict[str, peers.Denoiser]:
    """The classical regularisers of this library, as functions of `[H, W]` images in [0, 1].

    Args:
        noise_stddev: standard deviation of the noise in units of [0, 1].
        methods: which ones, some of `classical.METHODS`.

    Returns:
        Functions from a noisy to a restored image, by name.
    """
    compiled = {
        name: tf.function(
            functools.partial(method, noise_stddev=noise_stddev), reduce_retracing=True
        )
        for name, method in methods.items()
    }
    return {f"{name} (ours)": peers.gray(denoise) for name, denoise in compiled.items()}


def models_for(noise_stddev: float, names: Sequence[str] | None = None) -> list[str]:
    """The shipped gray denoisers that know a noise level.

    Args:
        noise_stddev: standard deviation of the noise in units of [0, 1].
        names: those to choose from; all that ship by default.

    Returns:
        Their names.
    """
    chosen = []
    for name in pretrained.list_pretrained() if names is None else names:
        card = pretrained.pretrained_card(name)
        model = card["model"]
        # Cards say only what differs from the defaults of their time.
        gray = model.get("image_channels", 1) == 1 and not model.get("guide_channels", 0)
        if "noise_stddev" not in card or not gray:
            continue
        low, high = pretrained.noise_range(name)
        if low - 1e-6 <= noise_stddev <= high + 1e-6:
            chosen.append(name)
    return chosen


def figures(
    folder: pathlib.Path, restorer: Restorer, noise_stddev: float, *, channels: int = 1
) -> dict[str, float]:
    """What a model reaches on a folder of clean images.

    Args:
        folder: of image files.
        restorer: of a denoiser.
        noise_stddev: standard deviation of the noise in units of [0, 1].
        channels: 1 or 3, of the images that are read.

    Returns:
        Means over the images, `psnr` in dB and `ssim`.
    """
    images = read_images(folder, channels)
    scores = evaluate(images, {"model": denoiser(restorer, noise_stddev)}, noise_stddev)
    return means(scores, "model")
