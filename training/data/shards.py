"""Training data in TFRecord shards: a few large files in the place of many small ones.

A record holds the name of an example and its parts as PNG, so that nothing is lost;
`training.make_shards` is the command that writes them.
"""

from __future__ import annotations

import pathlib
from typing import Any

import tensorflow as tf

from deepam_tf.files.atomic import whole_file
from deepam_tf.files.pictures import ImageFileError
from training.data.tasks import Examples, Task

__all__ = ["read_shard", "write_shards"]


def write_shards(
    examples: Examples, task: Task, out: pathlib.Path, count: int
) -> list[pathlib.Path]:
    """Write examples to shards, each whole or not at all.

    Args:
        examples: in memory.
        task: what they are, which names their parts.
        out: folder to make.
        count: number of shards; example `i` goes to shard `i % count`.

    Returns:
        The shards.

    Raises:
        ValueError: if there are more shards than examples.
        OSError: if the folder cannot be made.
        WriteError: if it cannot be written to.
    """
    if not 1 <= count <= len(examples):
        raise ValueError(
            "Every shard must hold an example. "
            f"Received: {count} shards for {len(examples)} examples. Ask for fewer with --shards."
        )
    out.mkdir(parents=True, exist_ok=True)
    paths = [out / f"part-{i:05}-of-{count:05}.tfrecord" for i in range(count)]
    for i, path in enumerate(paths):
        with whole_file(path) as temporary, tf.io.TFRecordWriter(str(temporary)) as writer:
            for name, item in zip(examples.names[i::count], examples.items[i::count], strict=True):
                writer.write(_record(name, item, task))
    return paths


def read_shard(path: pathlib.Path, task: Task) -> Examples:
    """The examples of one shard.

    Args:
        path: a file that `write_shards` wrote.
        task: what it holds.

    Returns:
        The examples, in the order of the shard.

    Raises:
        ImageFileError: if the file is missing, damaged, or of another task.
    """
    names, items, why = [], [], "no record"
    try:
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            name, item = _example(record, task)
            names.append(name)
            items.append(item)
    except (tf.errors.OpError, KeyError) as error:
        names, why = [], str(error).strip()[:200]
    if not names:
        raise ImageFileError(
            f"{path}: a shard must be whole and hold {', '.join(task.parts)}. "
            f"Received: {why}. Write it anew with python -m training.make_shards."
        )
    return Examples(names, items)


def _record(name: str, item: Any, task: Task) -> bytes:
    parts = item if isinstance(item, tuple) else (item,)
    values = {"name": name.encode()}
    for part, array in zip(task.parts, parts, strict=True):
        values[part] = tf.io.encode_png(array).numpy()
        values[f"{part}/dtype"] = array.dtype.name.encode()
    features = {
        key: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        for key, value in values.items()
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def _example(record: bytes, task: Task) -> tuple[str, Any]:
    features = tf.train.Example.FromString(record).features.feature
    values = {key: features[key].bytes_list.value[0] for key in list(features)}
    arrays: tuple[Any, ...] = tuple(
        tf.io.decode_png(values[part], dtype=values[f"{part}/dtype"].decode()).numpy()
        for part in task.parts
    )
    return values["name"].decode(), arrays if task.parts[1:] else arrays[0]
