"""The batches of a run, whole for one process, or the parts that the replicas of a worker take.

Streamed examples come in `data.streams` streams, each of shards of its own, and a batch has an
equal part of every stream. Which process reads a stream changes nothing of the batches: one reads
all of them, of several workers each reads its own.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from training.configuration.config import TrainingConfig
from training.configuration.settings import replace
from training.data.streams import StreamedExamples
from training.data.tasks import Examples, Task

__all__ = ["batch_sources", "make_batches", "make_replica_batches"]


def make_batches(
    examples: Examples | StreamedExamples, config: TrainingConfig, task: Task, first_batch: int
) -> tf.data.Dataset:
    """Whole batches, from that number on, without end."""
    return _joined(
        [_part(examples, config, task, first_batch, i) for i in range(config.data.streams)]
    )


def make_replica_batches(
    examples: StreamedExamples,
    config: TrainingConfig,
    task: Task,
    first_batch: int,
    *,
    replicas: range,
    num_replicas: int,
) -> tf.data.Dataset:
    """The parts of batches that some of all replicas take, one replica after the other.

    Args:
        examples: of which only the shards of these replicas are read.
        config: the recipe.
        task: what is restored.
        first_batch: number of the first batch.
        replicas: numbers of the replicas.
        num_replicas: how many there are, which divide `data.streams`.

    Returns:
        Endless dataset of parts, `len(replicas)` of them a batch.

    Raises:
        ValueError: if the streams cannot be shared evenly.
    """
    if config.data.streams % num_replicas:
        raise ValueError(
            "The devices must share the streams evenly. Received: "
            f"data.streams={config.data.streams} for {num_replicas} devices."
        )
    each = config.data.streams // num_replicas
    parts = [
        _joined(
            [_part(examples, config, task, first_batch, replica * each + i) for i in range(each)]
        )
        for replica in replicas
    ]
    if len(parts) == 1:
        return parts[0]
    stacked = tf.data.Dataset.zip(*parts).map(
        lambda *batches: tf.nest.map_structure(lambda *x: tf.stack(x), *batches)
    )
    return stacked.unbatch()


def batch_sources(
    examples: Examples | StreamedExamples, config: TrainingConfig, task: Task, batch: int
) -> list[str]:
    """Names of the pictures that the crops of a batch come from."""
    names = []
    for i in range(config.data.streams):
        names += task.sources(*_share(examples, config, i), batch)
    return names


def _part(examples, config, task, first_batch, number) -> tf.data.Dataset:
    return task.crops(*_share(examples, config, number), first_batch)


def _share(examples, config: TrainingConfig, number: int):
    """The examples of a stream, and the recipe as it is for that stream alone."""
    if config.data.streams == 1:
        return examples, config
    seed = int(np.random.SeedSequence([config.run.seed, number]).generate_state(1)[0])
    changes = {
        "run.seed": seed,
        "data.batch_size": config.data.batch_size // config.data.streams,
        "data.streams": 1,
    }
    return examples.share(number, config.data.streams), replace(config, changes)


def _joined(parts: list[tf.data.Dataset]) -> tf.data.Dataset:
    if len(parts) == 1:
        return parts[0]
    return tf.data.Dataset.zip(*parts).map(
        lambda *batches: tf.nest.map_structure(lambda *x: tf.concat(x, axis=0), *batches)
    )
