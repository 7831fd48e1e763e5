"""Test images degraded as the benchmarks of their task are, one after the other."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from training.configuration.config import Data
from training.data.tasks import Examples, Task
from training.evaluation.uncertainty import Observed

__all__ = ["observations"]


def observations(
    examples: Examples, task: Task, values: Data, level: float, told_level: float | None
) -> Iterator[Observed]:
    """Test images, degraded as the task's benchmarks are.

    Args:
        examples: clean ones.
        task: how they are observed.
        values: of its configuration.
        level: sigma of the noise on the 0..255 scale, or pixels from sample to sample.
        told_level: sigma that the model is told instead of the true one.

    Yields:
        One observation an example.
    """
    values = dataclasses.replace(
        values,
        validation_sigma=float(level),
        validation_scale=int(level) if level == int(level) and level >= 1 else 1,
    )
    for number, item in enumerate(examples.items):
        inputs, target, *weight = task.observe(item, values, number)
        if told_level is not None:
            inputs = {**inputs, "noise_stddev": np.full([1, 1, 1, 1], told_level / 255, np.float32)}
        known = weight[0] if weight else np.ones(target.shape[:3], np.float32)
        yield Observed(inputs, target, known)
