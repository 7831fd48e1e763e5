"""Keras callbacks of a training run."""

from __future__ import annotations

import pathlib

import keras
import numpy as np
import tensorflow as tf

__all__ = ["LearningRateLogger", "ResumableCheckpoint"]


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

    def restore(self) -> bool:
        """Load the latest checkpoint; False if there is none.

        Raises:
            ValueError: if the checkpoint is not one of this model and optimizer.
        """
        latest = self._manager.latest_checkpoint
        if latest is None:
            return False
        try:
            self._manager.checkpoint.restore(latest).assert_consumed()
        except (AssertionError, ValueError) as error:
            raise ValueError(
                "The run's checkpoint must fit its configuration. "
                f"Received: {latest}, of another model or optimizer. Choose another folder."
            ) from error
        return True

    def on_epoch_end(self, epoch, logs=None) -> None:
        # A checkpoint of NaN would be where the next run starts.
        if np.isfinite((logs or {}).get("loss", np.nan)):
            self._manager.save(checkpoint_number=epoch + 1)


class LearningRateLogger(keras.callbacks.Callback):
    """Adds the learning rate to the epoch's logs, and so to TensorBoard."""

    def on_epoch_end(self, epoch, logs=None) -> None:
        if logs is not None:
            logs["learning_rate"] = float(self.model.optimizer.learning_rate)
