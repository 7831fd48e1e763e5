"""Training data in TFRecord shards: a few large files in the place of many small ones.

A record holds the name of an example and its parts as PNG, so that nothing is lost. Beside each
shard lies its index, `part-00000-of-00004.index.npz`: where each record begins, and what has to be
known of a picture before it is read, to stream data that do not fit into memory.
`training.make_shards` is the command that writes both.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import multiprocessing
import pathlib
import zipfile
from typing import Any

import numpy as np
import tensorflow as tf

from deepam_tf.depth.holes import value_range
from deepam_tf.files.atomic import whole_file
from deepam_tf.files.pictures import ImageFileError
from training.configuration.config import Data
from training.data.tasks import Examples, Paths, find_task

__all__ = ["Index", "index_path", "read_index", "read_record", "read_shard", "write_shards"]

_HEADER, _FOOTER = 12, 4  # bytes of a TFRecord around its data: length and its checksum; checksum


@dataclasses.dataclass(frozen=True)
class Index:
    """What is known of the records of a shard, or of several.

    Attributes:
        offsets: where the data of each record begin in the file, `[N]`.
        lengths: bytes of the data, `[N]`.
        sizes: height and width, `[N, 2]`.
        channels: of each part, `[N, parts]`.
        bits: 8 or 16, of each part, `[N, parts]`.
        ranges: of targets in which 0 is unknown their range, as `depth.holes.value_range` says,
            `(0, 0)` where there are not two values; of others the least and the largest value,
            `[N, 2]`.
        peaks: the largest value of each target, `[N]`.
    """

    offsets: np.ndarray
    lengths: np.ndarray
    sizes: np.ndarray
    channels: np.ndarray
    bits: np.ndarray
    ranges: np.ndarray
    peaks: np.ndarray


def write_shards(
    files: list[Paths],
    values: Data,
    out: pathlib.Path,
    count: int,
    *,
    processes: int = 1,
) -> list[tuple[pathlib.Path, Index]]:
    """Read examples and write them to shards, each whole or not at all, with its index.

    One example of a shard after the other is in memory, whatever the number of files.

    Args:
        files: of the examples.
        values: the data's part of the configuration: what they are, and how they are read.
            Examples that are smaller than its crops are left out.
        out: folder to make.
        count: number of shards; example `i` goes to shard `i % count`.
        processes: how many shards are written at a time.

    Returns:
        The shards, and what is in them.

    Raises:
        ValueError: if a shard would hold no example, or the folder holds shards already.
        ImageFileError: if a file cannot be read.
        OSError: if the folder cannot be made.
        WriteError: if it cannot be written to.
    """
    if not 1 <= count <= len(files):
        raise ValueError(
            "Every shard must hold an example. "
            f"Received: {count} shards for {len(files)} examples. Ask for fewer with --shards."
        )
    others = sorted(out.glob("*.tfrecord"))
    if others:
        raise ValueError(
            "The folder of shards must not hold others, which would be taken for theirs. "
            f"Received: {len(others)} in {out}, the first {others[0].name}. Choose another folder."
        )
    out.mkdir(parents=True, exist_ok=True)
    paths = [out / f"part-{i:05}-of-{count:05}.tfrecord" for i in range(count)]
    write = functools.partial(_write_shard, values=values)
    shares = [files[i::count] for i in range(count)]
    written: list[tuple[pathlib.Path, Index]] = []
    try:
        if processes == 1:
            found = map(write, paths, shares)
            written += zip(paths, found, strict=True)
        else:
            # TensorFlow does not survive a fork.
            context = multiprocessing.get_context("spawn")
            with concurrent.futures.ProcessPoolExecutor(processes, context) as pool:
                written += zip(paths, pool.map(write, paths, shares), strict=True)
    except BaseException:
        for path in paths:
            path.unlink(missing_ok=True)
            index_path(path).unlink(missing_ok=True)
        raise
    return written


def _write_shard(path: pathlib.Path, files: list[Paths], *, values: Data) -> Index:
    task = find_task(values.task)
    rows, position = [], 0
    with whole_file(path) as temporary:
        with tf.io.TFRecordWriter(str(temporary)) as writer:
            for paths in files:
                item = task.read(paths, values)
                parts = item if isinstance(item, tuple) else (item,)
                if min(parts[0].shape[:2]) < task.source_size(values):
                    continue
                record = _record(str(paths[0]), parts, task.parts)
                writer.write(record)
                rows.append((position + _HEADER, len(record), *_facts(parts, task)))
                position += _HEADER + len(record) + _FOOTER
        if not rows:
            raise ValueError(
                f"Every shard must hold an example. Received: {len(files)} files for {path.name}, "
                f"all smaller than data.crop_size={values.crop_size}. Ask for fewer with --shards."
            )
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    index = Index(*columns)
    with whole_file(index_path(path)) as temporary, temporary.open("wb") as file:
        np.savez(file, **dataclasses.asdict(index))
    return index


def _facts(parts: tuple[np.ndarray, ...], task) -> tuple:
    target = parts[0]
    if not task.zero_is_unknown:
        bounds = float(target.min()), float(target.max())
    elif len(np.unique(target[target > 0])) < 2:
        bounds = 0.0, 0.0
    else:
        bounds = value_range(target[..., 0], target[..., 0] > 0)
    return (
        target.shape[:2],
        [part.shape[-1] for part in parts],
        [8 * part.dtype.itemsize for part in parts],
        bounds,
        int(target.max()),
    )


def index_path(shard: pathlib.Path) -> pathlib.Path:
    """Path of the index that lies beside a shard."""
    return shard.with_suffix(".index.npz")


def read_index(shard: pathlib.Path) -> Index:
    """Read the index that lies beside a shard.

    Args:
        shard: a file that `write_shards` wrote.

    Returns:
        The index.

    Raises:
        ImageFileError: if it is missing, damaged, or of another shard.
    """
    path = index_path(shard)
    try:
        with np.load(path) as file:
            index = Index(**{field.name: file[field.name] for field in dataclasses.fields(Index)})
        end = int(index.offsets[-1] + index.lengths[-1]) + _FOOTER
        why = "" if end == shard.stat().st_size else "an index of other data"
    except (OSError, ValueError, KeyError, IndexError, zipfile.BadZipFile) as error:
        why = str(error)
    if why:
        raise ImageFileError(
            f"{path}: a shard that is streamed needs its index. Received: {why}. "
            "Write both anew with python -m training.make_shards."
        )
    return index


def read_record(
    shard: pathlib.Path, offset: int, length: int, parts: tuple[str, ...]
) -> tuple[str, tuple[np.ndarray, ...]]:
    """Read one record of a shard, wherever it lies in the file.

    Args:
        shard: a file that `write_shards` wrote.
        offset: where its data begin.
        length: bytes of the data.
        parts: names of the task's parts.

    Returns:
        Name and parts of the example.

    Raises:
        ImageFileError: if the file is missing or damaged.
    """
    try:
        with shard.open("rb") as file:
            file.seek(offset)
            return _example(file.read(length), parts)
    # Of a damaged record protobuf's own errors come, which share no class with others.
    except Exception as error:
        raise ImageFileError(
            f"{shard}: the record at byte {offset} cannot be read ({_short(error)}). "
            "Write the shard anew with python -m training.make_shards."
        ) from error


def read_shard(path: pathlib.Path, parts: tuple[str, ...]) -> Examples:
    """Read all examples of a shard into memory.

    Args:
        path: a file that `write_shards` wrote.
        parts: names of the task's parts.

    Returns:
        The examples, in the order of the shard.

    Raises:
        ImageFileError: if the file is missing, damaged, or of another task.
    """
    names, items, why = [], [], "no record"
    try:
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            name, arrays = _example(record, parts)
            names.append(name)
            items.append(arrays if parts[1:] else arrays[0])
    except (tf.errors.OpError, KeyError) as error:
        names, why = [], _short(error)
    if not names:
        raise ImageFileError(
            f"{path}: a shard must be whole and hold {', '.join(parts)}. "
            f"Received: {why}. Write it anew with python -m training.make_shards."
        )
    return Examples(names, items)


def _record(name: str, parts: tuple[np.ndarray, ...], part_names: tuple[str, ...]) -> bytes:
    values = {"name": name.encode()}
    for part, array in zip(part_names, parts, strict=True):
        values[part] = tf.io.encode_png(array).numpy()
        values[f"{part}/dtype"] = array.dtype.name.encode()
    features = {
        key: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        for key, value in values.items()
    }
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return example.SerializeToString(deterministic=True)  # whichever process writes it


def _example(record: bytes, parts: tuple[str, ...]) -> tuple[str, tuple[Any, ...]]:
    features = tf.train.Example.FromString(record).features.feature
    values = {key: features[key].bytes_list.value[0] for key in list(features)}
    arrays = tuple(
        tf.io.decode_png(values[part], dtype=values[f"{part}/dtype"].decode()).numpy()
        for part in parts
    )
    return values["name"].decode(), arrays


def _short(error: Exception) -> str:
    return str(error).strip()[:200]
