"""Examples that are streamed from shards, in the place of `Examples` in memory."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import re
import zlib
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from deepam_tf.data.crops import crop_drawer, same_dtype, sample_seeds
from deepam_tf.data.streams import PictureStream
from deepam_tf.files.pictures import ImageFileError
from training.data.shards import Index, read_index, read_record
from training.data.tasks import Examples

__all__ = ["StreamedExamples", "open_shards", "read_errors"]

_OPEN_SHARDS = 8
"""Shards that are read side by side: neighbours in a shard are often alike."""


@dataclasses.dataclass(frozen=True)
class StreamedExamples:
    """Examples of shards, each read when its turn comes.

    Attributes:
        shards: the files.
        parts: names of the task's parts.
        index: of all records, those of the first shard first.
        shard_numbers: which shard a record is in, `[N]`.
        chosen: numbers of the records that take part.
        buffer_bytes: most memory that pictures may take.
    """

    shards: tuple[pathlib.Path, ...]
    parts: tuple[str, ...]
    index: Index
    shard_numbers: np.ndarray
    chosen: np.ndarray
    buffer_bytes: int

    def __len__(self) -> int:
        return len(self.chosen)

    def pick(self, numbers: list[int]) -> StreamedExamples:
        """The examples of these positions alone, in the order of the shards."""
        return dataclasses.replace(self, chosen=self.chosen[np.sort(np.array(numbers, int))])

    def share(self, part: int, count: int) -> StreamedExamples:
        """Those of every `count`-th shard, from number `part` on: no other part has them.

        Raises:
            ValueError: if no shard is left.
        """
        if count == 1:
            return self
        if count > len(self.shards):
            raise ValueError(
                "Every stream must have a shard of its own. Received: "
                f"data.streams={count} for {len(self.shards)} shards."
            )
        mine = self.chosen[self.shard_numbers[self.chosen] % count == part]
        return dataclasses.replace(self, chosen=mine, buffer_bytes=self.buffer_bytes // count)

    def in_memory(self) -> Examples:
        """Read all examples now; meant for a few that are held out."""
        read = [self._read(int(number)) for number in self.chosen]
        return Examples(
            [name for name, _ in read],
            [arrays if self.parts[1:] else arrays[0] for _, arrays in read],
        )

    def sizes(self) -> list[tuple[int, int]]:
        """Height and width of each example."""
        return [tuple(size) for size in self.index.sizes[self.chosen].tolist()]

    def fingerprint(self) -> str:
        """A text that tells these pictures from others, wherever their files lie."""
        checksum = 0
        for values in _columns(self.index):
            checksum = zlib.crc32(np.ascontiguousarray(values[self.chosen]), checksum)
        return f"{len(self)} streamed examples, crc32 {checksum:08x}"

    def source(self) -> PictureStream:
        """The stream of pictures that the pipelines of crops take."""
        largest = self.index.bits.max(axis=0)
        dtypes = tuple(np.uint16 if bits == 16 else np.uint8 for bits in largest)
        factor = np.where((self.index.bits[:, 0] == 8) & (largest[0] == 16), 257, 1)
        peaks = self.index.peaks * factor
        return PictureStream(
            self.index.sizes,
            tuple(self.index.channels[0].tolist()),
            dtypes,
            lambda number: self._as(dtypes, self._read(number)[1]),
            self._order,
            buffer_bytes=self.buffer_bytes,
            ranges=self.index.ranges * factor[:, np.newaxis],
            largest=float(peaks.max()),
            chosen=self.chosen,
        )

    def full_scale(self) -> float:
        """The largest value of all targets, as a share of what their type holds."""
        return float((self.index.peaks / (2.0 ** self.index.bits[:, 0] - 1)).max())

    def sources(self, *, crop_size: int, batch_size: int, seed: int, batch: int) -> Iterator[str]:
        """Names of the pictures that the crops of a batch come from."""
        groups = self.source().groups(crop_size, seed, batch * batch_size)
        group = next(groups)
        for sample in range(batch * batch_size, (batch + 1) * batch_size):
            while sample >= group.end:
                group = next(groups)
            draw = crop_drawer(self.index.sizes[group.numbers].tolist(), crop_size)
            place = int(draw(sample_seeds(seed, tf.constant(sample, tf.int64))))
            yield self._read(int(group.numbers[place]))[0]

    def _order(self, seed: int, number: int) -> np.ndarray:
        """Shards in random order, a few of them record by record in turn."""
        rng = np.random.default_rng([seed, number])
        turn = rng.permutation(len(self.shards))[self.shard_numbers[self.chosen]]
        places = np.arange(len(self.chosen)) - np.searchsorted(
            self.shard_numbers[self.chosen], self.shard_numbers[self.chosen]
        )
        return self.chosen[np.lexsort((turn, places, turn // _OPEN_SHARDS))]

    def _read(self, number: int) -> tuple[str, tuple[np.ndarray, ...]]:
        shard = self.shards[self.shard_numbers[number]]
        offset, length = int(self.index.offsets[number]), int(self.index.lengths[number])
        return read_record(shard, offset, length, self.parts)

    @staticmethod
    def _as(dtypes, arrays: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        empty = (np.empty([0], dtype) for dtype in dtypes)
        return tuple(same_dtype([x, e])[0] for x, e in zip(arrays, empty, strict=True))


@contextlib.contextmanager
def read_errors() -> Iterator[None]:
    """Around what draws from a stream: what is wrong with a record, as a line of its own.

    Raises:
        ImageFileError: in the place of TensorFlow's error, if a record cannot be read.
    """
    try:
        yield
    except tf.errors.OpError as error:
        found = re.search(r"ImageFileError: (.*)", str(error))
        if found is None:
            raise
        raise ImageFileError(found[1]) from error


def open_shards(
    paths: list[pathlib.Path], parts: tuple[str, ...], *, crop_size: int, buffer_bytes: int
) -> StreamedExamples:
    """The examples of shards, nothing but their indices read.

    Args:
        paths: files that `training.make_shards` wrote.
        parts: names of the task's parts.
        crop_size: side of the crops in pixels; smaller examples are left out.
        buffer_bytes: most memory that pictures may take.

    Returns:
        The examples, in the order of the shards.

    Raises:
        ImageFileError: if an index is missing or damaged.
        ValueError: if the shards are of another task or differ in their channels, or no example
            is as large as the crops.
    """
    shards = tuple(sorted(paths))
    indices = [read_index(path) for path in shards]
    for path, index in zip(shards, indices, strict=True):
        other = np.any(index.channels != indices[0].channels[0])
        if index.channels.shape[1] != len(parts) or other:
            raise ValueError(
                f"{path}: every shard must hold {', '.join(parts)} of the same channels. "
                f"Received: {np.unique(index.channels, axis=0).tolist()} channels."
            )
    columns = zip(*map(_columns, indices), strict=True)
    joined = Index(*(np.concatenate(column) for column in columns))
    numbers = np.repeat(np.arange(len(shards)), [len(index.offsets) for index in indices])
    chosen = np.flatnonzero(joined.sizes.min(axis=1) >= crop_size)
    if not len(chosen):
        raise ValueError(
            "A training image must be at least as large as the crop. Received: "
            f"{len(numbers)} images, data.crop_size={crop_size}."
        )
    return StreamedExamples(shards, parts, joined, numbers, chosen, buffer_bytes)


def _columns(index: Index) -> list[np.ndarray]:
    return [getattr(index, field.name) for field in dataclasses.fields(index)]
