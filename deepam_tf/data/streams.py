"""Pictures that do not fit into memory: read in an order of their own, a bounded part at a time.

A pass goes through all pictures once, in an order that depends on the seed and the number of the
pass. The order is cut into groups that fit into a part of the buffer. While crops are drawn from
the pictures of one group, at random over all of them, the next group is read. A group gives about
as many pixels as its pictures have.

Which group sample number `i` comes from, and which crop of it, follows from the seed, `i` and the
pictures' sizes: training goes on at any step without a state that would have to be saved, and
without reading what came before.
"""

from __future__ import annotations

import concurrent.futures
import itertools
import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

__all__ = ["Group", "PictureStream"]

_GROUPS_HELD = 4  # one that is drawn from, one that waits, one that is read and its copy


class Group(NamedTuple):
    """Pictures that are in memory together.

    Attributes:
        numbers: of the pictures.
        first: number of the first sample that is drawn from them.
        end: number behind the last.
    """

    numbers: np.ndarray
    first: int
    end: int


class PictureStream:
    """Pictures of known sizes that are read by their number.

    Args:
        sizes: height and width of each picture, `[N, 2]`.
        channels: of each part, the same in every picture.
        dtypes: of each part, `uint8` or `uint16`, the same in every picture.
        read: the parts of a picture by its number, `[H, W, channels]` each.
        order: numbers of the pictures in the order of one pass, by the seed and the pass.
        buffer_bytes: most memory that pictures may take; one picture that is larger than a
            quarter of it takes four times its own.
        ranges: least and largest value of each picture, `[N, 2]`, of data in which that matters.
        largest: the largest value of all.
        chosen: numbers of the pictures that `order` gives; by default all.

    Raises:
        ValueError: if there is none.

    Example:
        >>> pictures = [np.full([8, 8, 1], 10 * i, np.uint8) for i in range(3)]
        >>> stream = PictureStream(
        ...     np.array([[8, 8]] * 3), (1,), (np.uint8,), lambda i: (pictures[i],),
        ...     lambda seed, number: np.random.default_rng([seed, number]).permutation(3),
        ...     buffer_bytes=600)
        >>> [len(group.numbers) for group in itertools.islice(stream.groups(4, 0, 0), 3)]
        [2, 1, 2]
    """

    def __init__(
        self,
        sizes: np.ndarray,
        channels: tuple[int, ...],
        dtypes: tuple[type | np.dtype, ...],
        read: Callable[[int], tuple[np.ndarray, ...]],
        order: Callable[[int, int], np.ndarray],
        *,
        buffer_bytes: int,
        ranges: np.ndarray | None = None,
        largest: float = 1.0,
        chosen: np.ndarray | None = None,
    ) -> None:
        self.sizes = np.asarray(sizes, np.int64)
        self.channels = channels
        self.dtypes = tuple(np.dtype(dtype) for dtype in dtypes)
        self.ranges = ranges
        self.largest = largest
        self.chosen = np.arange(len(self.sizes)) if chosen is None else chosen
        if not len(self.chosen):
            raise ValueError("A stream must have a picture. Received: none.")
        self._read, self._order = read, order
        pixel_bytes = sum(
            c * dtype.itemsize for c, dtype in zip(channels, self.dtypes, strict=True)
        )
        self._bytes = self.sizes.prod(axis=1) * pixel_bytes
        self._group_bytes = max(buffer_bytes // _GROUPS_HELD, 1)

    def groups(self, crop_size: int, seed: int, first_sample: int) -> Iterator[Group]:
        """The groups from the one that a sample is drawn from on, without end.

        Args:
            crop_size: side of the crops in pixels.
            seed: of the order.
            first_sample: number of the sample.

        Yields:
            Groups; nothing is read.
        """
        start = 0
        for number in itertools.count():
            order = self._order(seed, number)
            # A group ends where the next picture would be too much.
            ends, held = [], 0
            for i, size in enumerate(self._bytes[order]):
                if held and held + size > self._group_bytes:
                    ends.append(i)
                    held = 0
                held += size
            for numbers in np.split(order, ends):
                positions = np.prod(self.sizes[numbers] - crop_size + 1, axis=1).sum()
                end = start + int(-(-positions // crop_size**2))
                if end > first_sample:
                    yield Group(numbers, max(start, first_sample), end)
                start = end

    def load(self, group: Group) -> list[np.ndarray]:
        """The pictures of a group behind one another, one flat array a part.

        Args:
            group: what to read.

        Returns:
            Arrays of the parts' dtypes.
        """
        pixels = self.sizes[group.numbers].prod(axis=1)
        flat = [
            np.empty(int(pixels.sum()) * channels, dtype)
            for channels, dtype in zip(self.channels, self.dtypes, strict=True)
        ]
        starts = np.cumsum([0, *pixels])
        threads = os.cpu_count() or 1
        with concurrent.futures.ThreadPoolExecutor(threads) as pool:
            # A few at a time: what is read and not yet in its place takes memory too.
            for first in range(0, len(group.numbers), 2 * threads):
                numbers = group.numbers[first : first + 2 * threads].tolist()
                for i, parts in enumerate(pool.map(self._read, numbers), start=first):
                    for array, part, channels in zip(flat, parts, self.channels, strict=True):
                        array[starts[i] * channels : starts[i + 1] * channels] = part.ravel()
        return flat
