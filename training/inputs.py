"""From the paths of the command line to examples for training and for validation."""

from __future__ import annotations

import pathlib

import numpy as np

from training.config import Data
from training.tasks import Examples, Task

__all__ = ["hold_out", "load_examples"]


def load_examples(sources: list[pathlib.Path], values: Data, task: Task) -> Examples:
    """Read all sources of clean data into memory.

    Args:
        sources: folders.
        values: the data's part of the configuration.
        task: what is read.

    Returns:
        The examples that are at least as large as the crops, in the order of the sources.

    Raises:
        image_io.ImageFileError: if something is missing or cannot be read.
    """
    examples = Examples([], [])
    for source in sources:
        examples += task.load(source, values)
    large = [i for i, size in enumerate(examples.sizes()) if min(size) >= values.crop_size]
    if len(large) < len(examples):
        left_out = len(examples) - len(large)
        print(f"note: {left_out} images are smaller than the crops and left out.")
    return examples.pick(large)


def hold_out(examples: Examples, count: int) -> tuple[Examples, Examples]:
    """Split off a few examples, spread over the whole list, which is often sorted by scene.

    Args:
        examples: all of them.
        count: how many to hold out; at most one in ten is.

    Returns:
        Examples for training, and those held out.
    """
    count = min(count, len(examples) // 10)
    held = set(np.linspace(0, len(examples) - 1, count, dtype=int).tolist())
    kept = [i for i in range(len(examples)) if i not in held]
    return examples.pick(kept), examples.pick(sorted(held))
