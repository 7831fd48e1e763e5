"""What TensorBoard shows of a run: curves, solver, pictures, and a row of its settings."""

from __future__ import annotations

import pathlib
import time
from typing import Any

import cv2
import keras
import numpy as np
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams

import deepam_tf
from training.configuration.config import TrainingConfig, flat

__all__ = ["InsideView", "Throughput", "make_monitors", "picture_sheet"]

ERROR_GAIN = 4.0
"""How many times brighter than it is the error is shown."""

GAMMA_RANGE = (-2.0, 2.0)
"""The decades of `gamma` from black to white."""


class Throughput(keras.callbacks.Callback):
    """Adds `pixels_per_second` of the training steps to the epoch's logs.

    The first step of an epoch is left out: it waits for the pipeline, once also for the
    compiler.

    Args:
        pixels: pixels in a batch.
    """

    def __init__(self, pixels: int) -> None:
        super().__init__()
        self._pixels = pixels
        self._start, self._end, self._steps = 0.0, 0.0, 0

    def on_epoch_begin(self, epoch, logs=None) -> None:
        self._steps = 0

    def on_train_batch_end(self, batch, logs=None) -> None:
        self._end = time.perf_counter()
        if self._steps == 0:
            self._start = self._end
        self._steps += 1

    def on_epoch_end(self, epoch, logs=None) -> None:
        if logs is not None and self._steps > 1:
            seconds = self._end - self._start
            logs["pixels_per_second"] = (self._steps - 1) * self._pixels / seconds


class InsideView(keras.callbacks.Callback):
    """Pictures of every iteration, solver steps and the histogram of `gamma`, now and then.

    Args:
        folder: of the event files.
        model: the model that is trained.
        inputs: its inputs for one image, `[1, H, W, C]` each.
        target: the clean image, `[1, H, W, C]`.
        every: epochs between two views.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        model: deepam_tf.DeepAM,
        inputs: dict[str, np.ndarray],
        target: np.ndarray,
        every: int,
    ) -> None:
        super().__init__()
        self._writer = tf.summary.create_file_writer(str(folder))
        self._deepam = model
        iterates = model.iterates()
        self._run = tf.function(lambda x: iterates(x, training=False))
        self._inputs = {name: tf.constant(value) for name, value in inputs.items()}
        self._target = target
        self._every = every

    def on_epoch_end(self, epoch, logs=None) -> None:
        if (epoch + 1) % self._every:
            return
        outputs = self._run(self._inputs)
        step = self.model.steps_done
        with self._writer.as_default(step=step):
            for k in range(1, self._deepam.num_iterations + 1):
                gamma = tf.cast(outputs[f"gamma_{k}"], tf.float32)
                _, info = deepam_tf.reconstruct_with_info(
                    self._inputs["image"],
                    tf.cast(outputs[f"v_{k}"], tf.float32),
                    gamma,
                    method=self._deepam.method,
                    preconditioner=self._deepam.preconditioner,
                    rtol=self._deepam.rtol,
                    max_steps=self._deepam.max_steps,
                )
                for name, values in {"steps": info.num_steps, "converged": info.converged}.items():
                    mean = tf.reduce_mean(tf.cast(values, tf.float32))
                    tf.summary.scalar(f"solver/{name}_{k}", mean)
                tf.summary.histogram(f"log10_gamma/{k}", _log10(gamma))
            for name, picture in picture_sheet(outputs, self._inputs, self._target).items():
                tf.summary.image(f"pictures/{name}", picture)
        self._writer.flush()


def picture_sheet(
    outputs: dict[str, tf.Tensor], inputs: dict[str, Any], target: np.ndarray
) -> dict[str, np.ndarray]:
    """What one image looks like on its way through the iterations.

    Args:
        outputs: of `DeepAM.iterates()`.
        inputs: of the model.
        target: the clean image.

    Returns:
        By name, in the order of the way, pictures `[1, H, W, 1 or 3]` in [0, 1]: the input, the
        guide if there is one, `u_k`, `|v_k|` over its own largest value, `gamma_k` on a
        logarithmic scale of `GAMMA_RANGE`, the target and the error, `ERROR_GAIN` times.
    """
    sheet = {"0_input": inputs["image"]}
    if "guide" in inputs:
        sheet["0_guide"] = inputs["guide"]
    count = sum(name.startswith("u_") for name in outputs)
    low, high = GAMMA_RANGE
    for k in range(1, count + 1):
        v = np.asarray(tf.cast(outputs[f"v_{k}"], tf.float32))
        length = np.sqrt(np.sum(v**2, axis=-1, keepdims=True))
        gamma = np.asarray(tf.cast(outputs[f"gamma_{k}"], tf.float32))
        sheet[f"{k}_u"] = outputs[f"u_{k}"]
        sheet[f"{k}_v_length"] = length / max(float(length.max()), 1e-6)
        sheet[f"{k}_gamma"] = (_log10(gamma) - low) / (high - low)
    sheet["target"] = target
    sheet["target_error"] = ERROR_GAIN * np.abs(np.asarray(outputs["restored"]) - target)
    return {name: np.clip(np.asarray(x, np.float32), 0, 1) for name, x in sheet.items()}


def make_monitors(
    out: pathlib.Path,
    config: TrainingConfig,
    model: deepam_tf.DeepAM,
    inputs: dict[str, np.ndarray],
    target: np.ndarray,
    metrics: list[str],
) -> list[keras.callbacks.Callback]:
    """The callbacks of a run that write to its `logs/`, in the order they belong in.

    Args:
        out: folder of the run.
        config: its configuration, which becomes its row among the hyperparameters.
        model: the model that is trained.
        inputs: of the picture to show, see `InsideView`.
        target: of the picture to show.
        metrics: names of the metrics of the restored image, columns of its row.

    Returns:
        Callbacks for `fit`.
    """
    logs = out / "logs"
    callbacks: list[keras.callbacks.Callback] = [
        Throughput(config.data.batch_size * config.data.crop_size**2)
    ]
    if config.monitor.pictures_every:
        known = inputs.get("mask", np.ones_like(target))
        window = _window(known, config.monitor.picture_size)
        callbacks.append(
            InsideView(
                logs / "validation",
                model,
                {
                    name: value if value.shape[1:3] == (1, 1) else value[window]
                    for name, value in inputs.items()
                },
                target[window],
                config.monitor.pictures_every,
            )
        )
    with tf.summary.create_file_writer(str(logs)).as_default():
        values = {
            name: value if isinstance(value, (str, bool, int, float)) else str(value)
            for name, value in flat(config).items()
        }
        named = [hparams.HParam(name) for name in values]
        hparams.hparams_config(hparams=named, metrics=_shown_metrics(metrics))
        hparams.hparams(values, trial_id=out.name)
    every = max(1, config.run.steps_per_epoch // 10)
    callbacks.append(keras.callbacks.TensorBoard(logs, profile_batch=0, update_freq=every))
    return callbacks


def _window(known: np.ndarray, size: int) -> tuple[slice, slice, slice]:
    """Where to cut a picture to `size`: where most of it is known.

    Nothing is restored where nothing is known, and the corner of a depth map often is such a
    place.

    Args:
        known: `[1, H, W, C]`, more where more is known.
        size: longest side of the window.

    Returns:
        Index of arrays `[1, H, W, C]`.
    """
    sums = cv2.integral(known[0].mean(axis=-1).astype(np.float64))
    height, width = (min(size, side) for side in known.shape[1:3])
    inside = (sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width]) + sums[
        :-height, :-width
    ]
    top, left = np.unravel_index(np.argmax(inside), inside.shape)
    return (slice(None), slice(int(top), int(top) + height), slice(int(left), int(left) + width))


def _shown_metrics(names: list[str]) -> list[hparams.Metric]:
    shown = [hparams.Metric("epoch_loss", group="train", display_name="loss")]
    for name in names:
        tag = f"epoch_restored_{name}"
        shown.append(hparams.Metric(tag, group="validation", display_name=f"validation {name}"))
    return shown


def _log10(gamma) -> np.ndarray:
    return np.log10(np.maximum(np.asarray(gamma), 1e-6))
