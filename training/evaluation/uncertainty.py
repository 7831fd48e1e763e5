"""Uncertainty heads on whole test images: errors, standard deviations, and their rivals."""

from __future__ import annotations

import dataclasses
import io
import pathlib
from collections.abc import Callable, Iterator

import keras
import numpy as np
import tensorflow as tf

from deepam_tf import DeepAM, data, image_gradient, image_io, noise
from deepam_tf.probability import GaussianField
from training.evaluation.calibration import SHARES, Scores, area, sparsification

__all__ = [
    "Judged",
    "Observed",
    "figure",
    "judge",
    "rank_correlation",
    "real_observations",
    "watch",
]

_BLOCK = 8  # pixels along a side of the blocks whose errors are ranked
_GAUSSIAN_SAMPLES = 16


@dataclasses.dataclass(frozen=True)
class Observed:
    """One degraded image and the truth.

    Attributes:
        inputs: of the model, by name.
        target: `[1, H, W, C]`.
        known: `[1, H, W]`, 0 where the truth is not known.
    """

    inputs: dict[str, np.ndarray]
    target: np.ndarray
    known: np.ndarray


@dataclasses.dataclass(frozen=True)
class Judged:
    """What a model did on an image.

    Attributes:
        errors: where the truth is known, `[N]`.
        stddev: the head's standard deviations there, `[N]`.
        rivals: what else may say which values are worst, `[N]` by name.
        correlations: Spearman's rank correlation of the head and each rival with the error, over
            blocks of 8x8 pixels (root mean squares), of which the truth is known everywhere.
        block_ause: AUSE of the head and each rival over the same blocks.
    """

    errors: np.ndarray
    stddev: np.ndarray
    rivals: dict[str, np.ndarray]
    correlations: dict[str, float]
    block_ause: dict[str, float]


def real_observations(folder: pathlib.Path, channels: int) -> Iterator[Observed]:
    """Pairs of photographs, `NAME_real.png` with the noise of a camera, `NAME_mean.png` without.

    The level told is what is estimated on each noisy one.

    Args:
        folder: of the pairs.
        channels: 1 or 3, of the model.

    Yields:
        One observation a pair.

    Raises:
        image_io.ImageFileError: if there is no pair, or a file cannot be read.
    """
    paths = sorted(folder.glob("*_real.*"))
    if not paths:
        raise image_io.ImageFileError(f"{folder}: no files NAME_real.png, NAME_mean.png there.")
    for path in paths:
        noisy, clean = (
            data.to_channels(image_io.read(file).pixels, channels)
            for file in (path, path.with_name(path.name.replace("_real", "_mean")))
        )
        level = np.full([1, 1, 1, 1], noise.estimate_noise_stddev(noisy), np.float32)
        yield Observed(
            {"image": noisy[np.newaxis], "noise_stddev": level},
            clean[np.newaxis],
            np.ones([1, *clean.shape[:2]], np.float32),
        )


def watch(model: DeepAM) -> Callable[[dict[str, np.ndarray]], dict[str, tf.Tensor]]:
    """A function from the model's inputs to its outputs and what the head sees.

    Args:
        model: with a head.

    Returns:
        The function; it is traced once for all sizes.
    """
    _, f, v, gamma, *_ = model.get_layer("uncertainty").input
    outputs = {**dict(model.output), "f": f, "v": v, "gamma": gamma}
    whole = keras.Model(model.input, outputs)
    signature = {name: tf.TensorSpec(x.shape, tf.float32) for name, x in model.input.items()}
    return tf.function(lambda inputs: whole(inputs, training=False), input_signature=[signature])


def judge(run, observed: Observed, *, gaussian: bool) -> Judged:
    """Restore an image and set what says how sure that is beside the errors.

    Args:
        run: what `watch` returned.
        observed: the image.
        gaussian: whether the energy read as a normal distribution is among the rivals.

    Returns:
        Errors, standard deviations and rivals.
    """
    outputs = run({k: tf.constant(x, tf.float32) for k, x in observed.inputs.items()})
    restored = outputs["restored"].numpy()
    errors = observed.target - restored
    down, right = np.split(image_gradient(outputs["restored"]).numpy(), 2, axis=-1)
    maps = {
        "stddev": outputs["stddev"].numpy(),
        "|gradient u|": np.hypot(down, right),
        "gamma": np.broadcast_to(outputs["gamma"].numpy(), errors.shape),
    }
    if gaussian:
        field = GaussianField(outputs["f"], outputs["v"], outputs["gamma"], rtol=1e-3)
        variance = field.marginal_variance(_GAUSSIAN_SAMPLES).value.numpy()
        maps["Gaussian stddev"] = np.sqrt(variance)
    known = np.broadcast_to(observed.known[..., np.newaxis] > 0, errors.shape)
    whole = _blocks(known) == 1
    blocks = _blocks(errors)[whole]
    orders = {name: _blocks(x)[whole] for name, x in maps.items()}
    best = area(sparsification(blocks, blocks))
    stddev = maps.pop("stddev")
    return Judged(
        errors[known],
        stddev[known],
        {name: x[known] for name, x in maps.items()},
        {name: rank_correlation(blocks, x) for name, x in orders.items()},
        {name: area(sparsification(blocks, x)) - best for name, x in orders.items()},
    )


def _blocks(x: np.ndarray) -> np.ndarray:
    """Root mean squares of blocks, `[...]` flattened."""
    height, width = (side // _BLOCK * _BLOCK for side in x.shape[1:3])
    cut = np.square(x[:, :height, :width], dtype=np.float64)
    shape = [x.shape[0], height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK, x.shape[-1]]
    return np.sqrt(cut.reshape(shape).mean(axis=(2, 4))).ravel()


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's rank correlation of two arrays `[N]`, ties in the order they come."""
    ranks = [np.argsort(np.argsort(x, kind="stable"), kind="stable") for x in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


def figure(scores: dict[str, Scores], title: str) -> bytes:
    """Reliability and sparsification, side by side.

    Args:
        scores: of each setting, by its name.
        title: of the picture.

    Returns:
        A PNG file.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    drawn, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), constrained_layout=True)
    left.plot([0, 100], [0, 100], color="0.7", linewidth=1)
    for name, one in scores.items():
        left.plot(100 * one.levels, 100 * one.coverages, marker=".", label=name)
    left.set(xlabel="central interval, %", ylabel="values inside, %", title="reliability")
    left.legend()
    left.set_aspect("equal")
    name, one = list(scores.items())[len(scores) // 2]
    for rival, curve in one.curves.items():
        area = f", AUSE {one.ause[rival]:.3f}" if rival in one.ause else ""
        style = "--" if rival == "oracle" else "-"
        right.plot(100 * SHARES, curve, style, label=f"{rival}{area}")
    right.set(
        xlabel="values taken out, %",
        ylabel="RMSE of the rest, of that of all",
        title=f"sparsification, {name}",
    )
    right.legend()
    drawn.suptitle(title)
    buffer = io.BytesIO()
    drawn.savefig(buffer, dpi=90)
    plt.close(drawn)
    return buffer.getvalue()
