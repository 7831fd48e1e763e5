"""Training an uncertainty head on the errors of weights that stay as they are.

The frozen model runs once over the crops; what its head would see is kept, and the head, a
hundredth of the model, learns from that in a minute or two.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from deepam_tf import DeepAM, UncertaintyHead
from deepam_tf.probability import NegativeLogLikelihood
from training.configuration.config import TrainingConfig
from training.data.degraded import observations
from training.data.tasks import Examples, find_task
from training.evaluation.calibration import LEVELS, coverage, recalibration
from training.evaluation.uncertainty import judge, watch

__all__ = [
    "CalibrationView",
    "Remembered",
    "fit_head",
    "recalibrate",
    "remember",
    "sorted_ratios",
    "with_head",
]

_CONTRAST = "contrast"  # what pipelines of depth maps add for losses; no input of a model


@dataclasses.dataclass(frozen=True)
class Remembered:
    """What a frozen model did on crops.

    Attributes:
        inputs: what the head is given, in its order, each `[N, H, W, c]`.
        errors: `clean - restored`, `[N, H, W, C]`.
        weights: of each pixel, `[N, H, W]`; 0 where the truth is not known.
    """

    inputs: list[np.ndarray]
    errors: np.ndarray
    weights: np.ndarray


def with_head(model: DeepAM, filters: int, levels: Sequence[float] = ()) -> DeepAM:
    """A copy of a model with an uncertainty head that has learnt nothing.

    Args:
        model: without a head.
        filters: feature maps of the head.
        levels: at which pictures are observed, see `recalibrate`: the head has a factor for each
            where it can tell them apart.

    Returns:
        The new model.
    """
    config = {
        **model.get_config(),
        "uncertainty_filters": filters,
        "uncertainty_calibrated_at": sorted(_told(model, levels)),
    }
    whole = DeepAM.from_config(config)
    values = {variable.path: variable for variable in model.variables}
    for variable in whole.variables:
        if variable.path in values:
            variable.assign(values[variable.path])
    return whole


def _told(model: DeepAM, levels: Sequence[float]) -> list[float]:
    """What a head knows levels by: the noise it is told, or the share of measured pixels.

    Nothing where there is neither, or a level of 0 says that nobody knows it.
    """
    if min(levels, default=0.0) <= 0:
        return []
    if model.noise_level:
        return [level / 255 for level in levels]
    return [1 / level**2 for level in levels] if model.mask else []


def remember(
    model: DeepAM, examples: Examples, config: TrainingConfig, num_crops: int
) -> Remembered:
    """Run a model on training crops, hard and easy as they come, and keep what its head sees.

    Args:
        model: with a head.
        examples: to cut crops from.
        config: of the task; crops are not chosen by their difficulty whatever it says.
        num_crops: how many crops, rounded up to whole batches.

    Returns:
        What the head sees, and the errors.
    """
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, candidates=1))
    head = model.get_layer("uncertainty")
    watched = keras.Model(model.input, {"inputs": head.input, "restored": model.output["restored"]})
    run = tf.function(lambda inputs: watched(inputs, training=False))
    parts: list[tuple] = []
    count = -(-num_crops // config.data.batch_size)
    for inputs, target, *weight in (
        find_task(config.data.task).crops(examples, config, 0).take(count)
    ):
        outputs = run({name: x for name, x in inputs.items() if name != _CONTRAST})
        error = (target["restored"] - outputs["restored"]).numpy()
        # Weights of depth maps say where there is a truth; those of noise levels are of a loss.
        known = np.ones(error.shape[:3], np.float32)
        if weight:
            known = (weight[0]["restored"].numpy() > 0).astype(np.float32)
        parts.append(([x.numpy() for x in outputs["inputs"]], error, known))
    inputs, errors, weights = zip(*parts, strict=True)
    return Remembered(
        [np.concatenate(part) for part in zip(*inputs, strict=True)],
        np.concatenate(errors),
        np.concatenate(weights),
    )


def sorted_ratios(stddev: np.ndarray, crops: Remembered) -> np.ndarray:
    """Magnitudes of errors over their standard deviations, where there is a truth, rising."""
    known = np.broadcast_to(crops.weights[..., np.newaxis] > 0, crops.errors.shape)
    return np.sort((np.abs(crops.errors) / stddev)[known])


class CalibrationView(keras.callbacks.Callback):
    """What TensorBoard shows of calibration: coverages, and errors in units of their deviation.

    Args:
        logs: folder of the events.
        head: the head.
        crops: held out.
    """

    def __init__(self, logs: pathlib.Path, head: UncertaintyHead, crops: Remembered) -> None:
        super().__init__()
        self._writer = tf.summary.create_file_writer(str(logs))
        self._head = head
        self._crops = crops

    def on_epoch_end(self, epoch, logs=None) -> None:
        del logs
        stddev = self.model.predict(self._crops.inputs, batch_size=8, verbose=0)
        ratios = sorted_ratios(stddev, self._crops)
        with self._writer.as_default(step=epoch):
            for level, share in zip(LEVELS, coverage(ratios, LEVELS, self._head.df), strict=True):
                tf.summary.scalar(f"calibration/coverage_of_{100 * level:.0f}", 100 * share)
            tf.summary.scalar("calibration/df", self._head.df)
            tf.summary.histogram("calibration/error_over_stddev", np.minimum(ratios, 6.0))
        self._writer.flush()


def fit_head(
    model: DeepAM,
    crops: Remembered,
    held_out: Remembered,
    *,
    epochs: int,
    learning_rate: float,
    logs: pathlib.Path,
    verbose: int = 2,
) -> float:
    """Train the head of a model.

    Args:
        model: with a head; nothing else of it changes.
        crops: to learn from.
        held_out: to validate on.
        epochs: passes over `crops`.
        learning_rate: of Adam at the start; it falls to 0 by a cosine.
        logs: folder of TensorBoard's events.
        verbose: of `keras.Model.fit`.

    Returns:
        Negative log-likelihood of the held-out crops, nats a value.
    """
    head = model.get_layer("uncertainty")
    inputs = [keras.Input((None, None, x.shape[-1])) for x in crops.inputs]
    student = keras.Model(inputs, head(inputs), name="head")
    batch_size = 16
    steps = epochs * -(-len(crops.errors) // batch_size)
    student.compile(
        optimizer=keras.optimizers.Adam(
            keras.optimizers.schedules.CosineDecay(learning_rate, steps), clipnorm=1.0
        ),
        loss=NegativeLogLikelihood(head),
    )
    history = student.fit(
        crops.inputs,
        crops.errors,
        sample_weight=crops.weights,
        batch_size=batch_size,
        epochs=epochs,
        validation_data=(held_out.inputs, held_out.errors, held_out.weights),
        callbacks=[
            keras.callbacks.TensorBoard(logs, profile_batch=0),
            CalibrationView(logs / "validation", head, held_out),
        ],
        verbose=verbose,
    )

    return float(history.history["val_loss"][-1])


def recalibrate(
    model: DeepAM, examples: Examples, config: TrainingConfig, levels: Sequence[float]
) -> dict[str, Any]:
    """Set the factors and the tails of a head by whole pictures, observed as those of benchmarks.

    Crops will not do: those of training are of levels and kinds of samples in the shares from
    which weights learn best, and intervals that are right on that mixture are too wide or too
    narrow at each of its parts.

    Args:
        model: with a head; nothing else of it changes.
        examples: held out.
        config: of the task.
        levels: at which they are observed; intervals are to be right at each.

    Returns:
        Coverages in percent at each level before and after, the factors of standard deviations,
        one for each level or the same for all, the degrees of freedom.
    """
    head, run, task = model.get_layer("uncertainty"), watch(model), find_task(config.data.task)
    ratios: dict[float, np.ndarray] = {}
    for level in levels:
        judged = [
            judge(run, one, gaussian=False)
            for one in observations(examples, task, config.data, level, None)
        ]
        ratios[level] = np.sort(np.concatenate([np.abs(x.errors) / x.stddev for x in judged]))
    shared = not head.calibrated_at
    before = _coverages(ratios, [1.0] * len(ratios), head.df)
    factors, df = recalibration(list(ratios.values()), one_factor=shared)
    # The factors are of standard deviations; `recalibrate` takes those of scales.
    of_scales = np.array(factors) * np.sqrt((df - 2) / df * head.df / (head.df - 2))
    rising = np.argsort(_told(model, levels))
    head.recalibrate(float(of_scales[0]) if shared else of_scales[rising], df)
    return {
        "coverage_before": before,
        "coverage": _coverages(ratios, factors, df),
        "factors": [round(factor, 4) for factor in factors],
        "df": round(df, 3),
    }


def _coverages(
    ratios: dict[float, np.ndarray], factors: Sequence[float], df: float
) -> dict[str, dict]:
    """Coverages in percent, by level and probability."""
    return {
        f"{level:g}": {
            f"{100 * x:.0f}": round(100 * share, 2)
            for x, share in zip(LEVELS, coverage(errors / factor, LEVELS, df), strict=True)
        }
        for (level, errors), factor in zip(ratios.items(), factors, strict=True)
    }
