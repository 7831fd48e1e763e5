"""Keras callbacks that keep a run safe: checkpoints, and an end at the first NaN."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

__all__ = ["ResumableCheckpoint", "StopOnNaN"]


class ResumableCheckpoint(keras.callbacks.Callback):
    """Weights and optimizer state after each epoch, written whole or not at all.

    `tf.train.CheckpointManager` writes to temporary files and renames them, so that a run
    killed at any moment goes on from the epoch before. The optimizer's own count of steps
    is part of what is saved: it alone says where to go on.

    Args:
        folder: where the checkpoints go; the two latest are kept.
        model: compiled model, its optimizer built.
    """

    def __init__(self, folder: pathlib.Path, model: keras.Model) -> None:
        super().__init__()
        # By list: followed through the objects' attributes, TensorFlow finds the optimizer's
        # references to the weights but not the moving statistics of nested Keras 3 layers.
        checkpoint = tf.train.Checkpoint(
            weights=[variable.value for variable in model.variables],
            optimizer=[variable.value for variable in model.optimizer.variables],
        )
        self._manager = tf.train.CheckpointManager(checkpoint, str(folder), max_to_keep=2)

    @property
    def latest(self) -> str | None:
        """Path of the latest checkpoint, None if there is none."""
        return self._manager.latest_checkpoint

    def restore(self) -> bool:
        """Load the latest checkpoint; False if there is none.

        Raises:
            ValueError: if the checkpoint is not one of this model and optimizer.
        """
        if self.latest is None:
            return False
        try:
            self._manager.checkpoint.restore(self.latest).assert_consumed()
        except (AssertionError, ValueError, tf.errors.OpError) as error:
            raise ValueError(
                "The run's checkpoint must fit its configuration. Received: "
                f"{self.latest}, damaged or of another model or optimizer. "
                "Choose another folder."
            ) from error
        return True

    def save(self, epoch: int) -> None:
        """Write the checkpoint after `epoch` epochs.

        Raises:
            OSError: if it cannot be written; those before it stay.
        """
        try:
            self._manager.save(checkpoint_number=epoch)
        except (tf.errors.OpError, OSError) as error:
            raise self._no_room(error) from error

    @contextlib.contextmanager
    def report_full_disk(self):
        """Around the steps, where TensorBoard's events too need room on the disk.

        Raises:
            OSError: in the place of TensorFlow's error, if the disk is full.
        """
        try:
            yield
        except tf.errors.OpError as error:
            if "No space left" not in str(error):  # memory is exhausted by the same class
                raise
            raise self._no_room(error) from error

    def _no_room(self, error: Exception) -> OSError:
        return OSError(
            f"A run must find room on the disk. Received: {_first_line(error)}. The last good "
            f"checkpoint is {self.latest}: make room, and the same command goes on."
        )

    def on_epoch_end(self, epoch, logs=None) -> None:
        # A checkpoint of NaN would be where the next run starts.
        if np.isfinite((logs or {}).get("loss", np.nan)):
            self.save(epoch + 1)


class StopOnNaN(keras.callbacks.Callback):
    """Ends the run at the first step whose loss is not finite, and says what it saw.

    Args:
        sources: the files of a batch, by its number.
        checkpoint: where the run would go on.
    """

    def __init__(
        self, sources: Callable[[int], list[str]], checkpoint: ResumableCheckpoint
    ) -> None:
        super().__init__()
        self._sources = sources
        self._checkpoint = checkpoint

    def on_train_batch_end(self, batch, logs=None) -> None:
        # The mean over the epoch's batches: not finite from the first such batch on.
        if not np.isfinite((logs or {})["loss"]):
            self.stop(self.model.steps_done)

    def stop(self, step: int) -> None:
        """Raise for the batch of step `step`, counted from 1."""
        files = list(dict.fromkeys(self._sources(step - 1)))
        raise FloatingPointError(
            f"The loss must stay finite. Received: NaN or infinity at step {step}, batch from "
            f"{', '.join(files)}; the last good checkpoint is {self._checkpoint.latest}. "
            "Look at the files, lower the learning rate or clip the gradient."
        )


def _first_line(error: Exception) -> str:
    line = str(getattr(error, "message", error)).strip().split("\n")[0]
    return line.rpartition("}} ")[2]  # behind the name of TensorFlow's operation
