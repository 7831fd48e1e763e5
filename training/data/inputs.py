"""From the paths of the command line to examples in memory, for training and validation.

A source of data is a folder, a list or a file of shards:

    photos/            images; for pairs two folders whose files have the same names
    photos.txt         one example a line: its files, separated by tabs, relative to the list
    photos-0.tfrecord  what `python -m training.make_shards` writes: lossless, names included

All of it is read at the start and held as it is stored, a byte (or two) a value; shards that do not
fit into memory are streamed instead (`data.stream_megabytes`).
"""

from __future__ import annotations

import pathlib

import numpy as np

from deepam_tf.files.pictures import ImageFileError
from training.configuration.config import Data
from training.data.shards import read_shard
from training.data.streams import StreamedExamples, open_shards
from training.data.tasks import Examples, Paths, Task

__all__ = ["hold_out", "list_files", "load_examples", "open_examples"]


def open_examples(
    sources: list[pathlib.Path], values: Data, task: Task
) -> Examples | StreamedExamples:
    """The examples of a run: in memory, or streamed if the configuration says so.

    Args:
        sources: see `load_examples`; of a stream shards alone.
        values: the data's part of the configuration.
        task: what is read.

    Returns:
        The examples.

    Raises:
        ImageFileError: if something is missing or cannot be read.
        ValueError: if no example is as large as the crops, or something else than shards is to
            be streamed.
    """
    if not values.stream_megabytes:
        return load_examples(sources, values, task)
    others = [str(source) for source in sources if source.suffix != ".tfrecord"]
    if others:
        raise ValueError(
            f"Only shards are streamed (data.stream_megabytes). Received: {', '.join(others)}. "
            "Make shards of it with python -m training.make_shards."
        )
    return open_shards(
        sources,
        task.parts,
        crop_size=task.source_size(values),
        buffer_bytes=values.stream_megabytes * 2**20,
    )


def load_examples(sources: list[pathlib.Path], values: Data, task: Task) -> Examples:
    """Read all sources of clean data into memory.

    Args:
        sources: folders, lists `.txt` and shards `.tfrecord`.
        values: the data's part of the configuration.
        task: what is read.

    Returns:
        The examples that are at least as large as the crops, in the order of the sources.

    Raises:
        ImageFileError: if something is missing or cannot be read.
        ValueError: if no example is as large as the crops.
    """
    examples = Examples([], [])
    for source in sources:
        if source.suffix == ".tfrecord":
            examples += read_shard(source, task.parts)
            continue
        files = list_files(source, task)
        items = [task.read(paths, values) for paths in files]
        examples += Examples([str(paths[0]) for paths in files], items)
    sizes = examples.sizes()
    least = task.source_size(values)
    large = [i for i, size in enumerate(sizes) if min(size) >= least]
    if len(large) < len(examples):
        left_out = len(examples) - len(large)
        print(f"note: {left_out} images are smaller than {least} pixels a side and left out.")
    if not large:
        raise ValueError(
            f"A training image must have at least {least} pixels a side. Received: "
            f"{len(examples)} images, largest {max(sizes, key=min, default=None)}, "
            f"data.crop_size={values.crop_size}."
        )
    return examples.pick(large)


def list_files(source: pathlib.Path, task: Task) -> list[Paths]:
    """The files of each example of a folder or a list.

    Args:
        source: a folder, or a list whose name ends in `.txt`.
        task: what is read.

    Returns:
        For each example the files of its parts, in the task's order.

    Raises:
        ImageFileError: if the source is missing or empty, or a line has the wrong number of
            files.
    """
    if source.suffix != ".txt":
        return task.list_folder(source)
    try:
        lines = [line for line in source.read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ImageFileError(f"{source}: not a list that can be read ({error}).") from error
    files = [tuple(source.parent / name for name in line.split("\t")) for line in lines]
    wrong = [
        line for line, paths in zip(lines, files, strict=True) if len(paths) != len(task.parts)
    ]
    if wrong or not files:
        raise ImageFileError(
            f"{source}: every line of a list must name {len(task.parts)} files "
            f"({', '.join(task.parts)}), separated by tabs. "
            f"Received: {wrong[0] if wrong else 'no line'!r}."
        )
    return files


def hold_out(
    examples: Examples | StreamedExamples, count: int
) -> tuple[Examples | StreamedExamples, Examples]:
    """Split off a few examples, spread over the whole list, which is often sorted by scene.

    Args:
        examples: all of them.
        count: how many to hold out; at most one in ten is.

    Returns:
        Examples for training, and those held out, in memory.
    """
    count = min(count, len(examples) // 10)
    held = set(np.linspace(0, len(examples) - 1, count, dtype=int).tolist())
    kept = [i for i in range(len(examples)) if i not in held]
    return examples.pick(kept), examples.pick(sorted(held)).in_memory()
