"""Random crops of images in memory, as a `tf.data` pipeline.

Sample number `i` depends on the seed and on `i` alone, so that training which starts again at
step `n` sees the very crops it would have seen.
"""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from deepam_tf.data.streams import PictureStream

__all__ = [
    "augment",
    "crop_batcher",
    "crop_drawer",
    "crop_sampler",
    "numbered",
    "random_crops",
    "same_dtype",
    "sample_seeds",
    "uniform_int",
]


def augment(images: tf.Tensor, choice: tf.Tensor) -> tf.Tensor:
    """One of the eight symmetries of the square, the same for every channel.

    Args:
        images: `[H, W, C]`; what must move alike goes in as channels of one tensor.
        choice: integer scalar in 0..7: quarter turns (choice % 4), then a flip (choice >= 4).

    Returns:
        The turned images.

    Example:
        >>> deepam_tf.data.augment(tf.reshape(tf.range(4), [2, 2, 1]), 4)[..., 0].numpy().tolist()
        [[1, 0], [3, 2]]
    """
    turned = tf.image.rot90(images, choice % 4)
    return tf.cond(choice >= 4, lambda: tf.reverse(turned, axis=[1]), lambda: turned)


def same_dtype(images: list[np.ndarray]) -> list[np.ndarray]:
    """8 bit beside 16 bit images as 16 bit ones of the same brightness.

    Args:
        images: uint8 and uint16 arrays.

    Returns:
        Arrays of one dtype.
    """
    if not any(image.dtype == np.uint16 for image in images):
        return images
    return [
        image if image.dtype == np.uint16 else image.astype(np.uint16) * np.uint16(257)
        for image in images
    ]


def random_crops(
    parts: list[list[np.ndarray]] | PictureStream,
    observe: Callable[[list[tf.Tensor], tf.Tensor, tf.Tensor], Any],
    *,
    crop_size: int,
    batch_size: int,
    seed: int,
    first_batch: int,
) -> tf.data.Dataset:
    """Random crops, the same of every part, turned alike and observed.

    Args:
        parts: lists of images `[H, W, C]`, uint8 or uint16, the sizes alike in every list; or a
            stream of pictures of as many parts.
        observe: function of the crops, one a part, the number of the image and a seed `[2]`,
            that returns what the pipeline shall yield.
        crop_size: side of the square crops in pixels.
        batch_size: crops in a batch.
        seed: seed of every random choice.
        first_batch: number of the first batch.

    Returns:
        Endless dataset of batches.

    Raises:
        ValueError: if there is no image, one is smaller than the crop, or the parts differ.
    """
    if isinstance(parts, PictureStream):
        sizes = parts.sizes[parts.chosen]
        _check_sizes(len(sizes), sizes[np.argmin(sizes.min(axis=1))].tolist(), crop_size)
        samples = _streamed(parts, observe, crop_size, seed, first_batch * batch_size)
        return samples.batch(batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE)
    with tf.device("CPU:0"):  # where the pipeline runs: a GPU's memory is for the network
        sample = crop_sampler(parts, observe, crop_size=crop_size, seed=seed)
    indices = tf.data.Dataset.range(first_batch * batch_size, np.iinfo(np.int64).max)
    samples = indices.map(sample, num_parallel_calls=tf.data.AUTOTUNE)
    return samples.batch(batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def crop_sampler(
    parts: list[list[np.ndarray]],
    observe: Callable[[list[tf.Tensor], tf.Tensor, tf.Tensor], Any],
    *,
    crop_size: int,
    seed: int,
) -> Callable[[tf.Tensor], Any]:
    """The samples of `random_crops` one by one, by their numbers.

    All shapes are known, so that XLA compiles a step of training with its crops.

    Args:
        parts: lists of images, see `random_crops`; no stream.
        observe: see there.
        crop_size: side of the square crops in pixels.
        seed: seed of every random choice.

    Returns:
        Function of a sample's number, an int64 scalar.

    Raises:
        ValueError: if there is no image, one is smaller than the crop, or the parts differ.
    """
    sizes = [image.shape[:2] for image in parts[0]]
    _check_sizes(len(sizes), min(sizes, key=min, default=None), crop_size)
    for part in parts[1:]:
        if [image.shape[:2] for image in part] != sizes:
            raise ValueError(
                "Every image must have a guide of its size. "
                f"Received: {len(sizes)} images and {len(part)} guides, or other sizes."
            )
    stored = [_Store.of(same_dtype(part)) for part in parts]

    def sample(index: tf.Tensor):
        seeds = sample_seeds(seed, index)
        shapes = tf.constant(sizes, tf.int64)
        number = _draw(shapes, crop_size, seeds)
        # Looked up, not sliced: XLA would want to know at compile time where a slice begins.
        shape = tf.gather(shapes, number)
        return observe(_crops(stored, shape, number, crop_size, seeds), number, seeds[3])

    return sample


def crop_batcher(
    parts: list[list[np.ndarray]],
    observe: Callable[[list[tf.Tensor], tf.Tensor, tf.Tensor], Any],
    *,
    crop_size: int,
    batch_size: int,
    seed: int,
) -> Callable[[tf.Tensor], Any]:
    """The batches of `random_crops` one by one, by their numbers.

    Args:
        parts: lists of images, see `random_crops`; no stream.
        observe: see there; all that it returns has shapes that are known.
        crop_size: side of the square crops in pixels.
        batch_size: crops in a batch.
        seed: seed of every random choice.

    Returns:
        Function of a batch's number, an int64 scalar.

    Raises:
        ValueError: if there is no image, one is smaller than the crop, or the parts differ.
    """
    sample = crop_sampler(parts, observe, crop_size=crop_size, seed=seed)
    specification = tf.TensorSpec([], tf.int64)
    outputs = tf.function(sample).get_concrete_function(specification).structured_outputs
    signature = tf.nest.map_structure(lambda x: tf.TensorSpec(x.shape, x.dtype), outputs)

    def batch(number: tf.Tensor):
        numbers = number * batch_size + tf.range(batch_size, dtype=tf.int64)
        return tf.map_fn(sample, numbers, fn_output_signature=signature)

    return batch


def _check_sizes(count: int, smallest: Any, crop_size: int) -> None:
    if smallest is None or min(smallest) < crop_size:
        raise ValueError(
            "Every training image must be at least as large as the crop. Received: "
            f"{count} images, smallest {smallest}, crop_size={crop_size}."
        )


def _streamed(
    stream: PictureStream, observe: Callable, crop_size: int, seed: int, first_sample: int
) -> tf.data.Dataset:
    """Samples of a stream, from that number on."""
    group_at = _Numbered(lambda: stream.groups(crop_size, seed, first_sample))

    def loaded(number: int):
        group = group_at(number)
        # Nothing is kept here: what is returned is held by the pipeline alone.
        return (
            tuple(stream.load(group)),
            stream.sizes[group.numbers],
            group.numbers,
            group.first,
            group.end,
        )

    signature = (
        tuple(tf.TensorSpec([None], dtype) for dtype in stream.dtypes),
        tf.TensorSpec([None, 2], tf.int64),
        tf.TensorSpec([None], tf.int64),
        tf.TensorSpec([], tf.int64),
        tf.TensorSpec([], tf.int64),
    )
    groups = numbered(loaded, signature).prefetch(1)

    def samples(values, shapes, numbers, first, end):
        starts = tf.cumsum(tf.reduce_prod(shapes, axis=1), exclusive=True)
        stored = [
            _Store(value, starts, channels)
            for value, channels in zip(values, stream.channels, strict=True)
        ]

        def sample(index: tf.Tensor):
            seeds = sample_seeds(seed, index)
            place = _draw(shapes, crop_size, seeds)
            crops = _crops(stored, shapes[place], place, crop_size, seeds)
            return observe(crops, numbers[place], seeds[3])

        return tf.data.Dataset.range(first, end).map(sample, num_parallel_calls=tf.data.AUTOTUNE)

    return groups.flat_map(samples)


def numbered(
    function: Callable[[int], Any], signature: Any, *, count: int = np.iinfo(np.int64).max
) -> tf.data.Dataset:
    """What a Python function gives of 0, 1, 2 and so on, as a pipeline.

    Not `tf.data.Dataset.from_generator`: with it TensorFlow has the process give memory back to
    the system at every turn (`mallopt`), for good, and a training step then takes up to twice as
    long.

    Args:
        function: of a number.
        signature: `tf.TensorSpec` of what it gives, in the same structure.
        count: how often it is called.

    Returns:
        The pipeline; the function is called for one number after the other.

    Example:
        >>> from deepam_tf.data.crops import numbered
        >>> squares = numbered(lambda i: np.int64(i * i), tf.TensorSpec([], tf.int64), count=4)
        >>> [int(x) for x in squares]
        [0, 1, 4, 9]
    """
    specs = tf.nest.flatten(signature)

    def values_of(number: np.ndarray) -> list[np.ndarray]:
        values = tf.nest.flatten(function(int(number)))
        return [
            np.asarray(x, spec.dtype.as_numpy_dtype) for x, spec in zip(values, specs, strict=True)
        ]

    def call(number: tf.Tensor):
        values = tf.numpy_function(values_of, [number], [spec.dtype for spec in specs])
        values = values if isinstance(values, (list, tuple)) else [values]
        shaped = [tf.ensure_shape(x, spec.shape) for x, spec in zip(values, specs, strict=True)]
        return tf.nest.pack_sequence_as(signature, shaped)

    return tf.data.Dataset.range(count).map(call)


class _Numbered:
    """The items of an iterator by their number; those of the last turns, or it begins anew.

    Several pipelines may read them, from several threads.
    """

    def __init__(self, begin: Callable[[], Iterator[Any]]) -> None:
        self._begin, self._lock = begin, threading.Lock()
        self._items = begin()
        self._count = 0
        self._last: collections.deque[Any] = collections.deque(maxlen=4)

    def __call__(self, number: int) -> Any:
        with self._lock:
            if number < self._count - len(self._last):
                self._items, self._count = self._begin(), 0
                self._last.clear()
            while self._count <= number:
                self._last.append(next(self._items))
                self._count += 1
            return self._last[number - self._count]


class _Store:
    """Images of any size behind one another in one tensor."""

    def __init__(self, values: tf.Tensor, starts: tf.Tensor | np.ndarray, channels: int) -> None:
        self.channels = channels
        self._pixels, self._starts = tf.reshape(values, [-1, channels]), starts

    @classmethod
    def of(cls, images: list[np.ndarray]) -> _Store:
        starts = np.cumsum([0, *(image.shape[0] * image.shape[1] for image in images[:-1])])
        values = np.concatenate([image.reshape(-1) for image in images])
        return cls(tf.constant(values), starts, images[0].shape[-1])

    def crop(self, number, width, rows: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
        start = tf.gather(tf.convert_to_tensor(self._starts, tf.int64), number)
        return tf.gather(self._pixels, start + rows * width + columns)


def _crops(
    stored: list[_Store], shape: tf.Tensor, number: tf.Tensor, size: int, seeds: tf.Tensor
) -> list[tf.Tensor]:
    """The crop of a sample, the same of every part, turned as `augment` turns it."""
    height, width = tf.unstack(shape)
    top = uniform_int(seeds[1], height - size + 1)
    left = uniform_int(seeds[2], width - size + 1)
    rows, columns = _turned(size, uniform_int(seeds[3], 8))
    return [
        tf.ensure_shape(
            part.crop(number, width, top + rows, left + columns), [size, size, part.channels]
        )
        for part in stored
    ]


def _turned(size: int, choice: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Row and column, `[size, size]`, from which `augment` takes each pixel of a square.

    Pictures that are looked up there are turned without a branch in the graph.
    """
    turns = choice % 4
    side = tf.range(size, dtype=tf.int64)
    down, right = tf.meshgrid(side, side, indexing="ij")
    right = tf.where(choice >= 4, size - 1 - right, right)
    rows, columns = tf.where(turns % 2 == 1, right, down), tf.where(turns % 2 == 1, down, right)
    rows = tf.where((turns == 2) | (turns == 3), size - 1 - rows, rows)
    return rows, tf.where((turns == 1) | (turns == 2), size - 1 - columns, columns)


def _draw(shapes: tf.Tensor, crop_size: int, seeds: tf.Tensor) -> tf.Tensor:
    """The position of the image that a sample's crop comes from."""
    ends = tf.cumsum(tf.reduce_prod(shapes - crop_size + 1, axis=1))
    position = uniform_int(seeds[0], ends[-1])
    return tf.searchsorted(ends, position[tf.newaxis], "right", tf.int64)[0]


def crop_drawer(sizes: list[tuple[int, int]], crop_size: int) -> Callable[[tf.Tensor], tf.Tensor]:
    """From the seeds of a sample, which image its crop comes from: each as often as it has crops.

    Args:
        sizes: height and width of every image, none smaller than the crop.
        crop_size: side of the square crops in pixels.

    Returns:
        Function of what `sample_seeds` returns: the image's position in the list, int64.
    """
    shapes = tf.constant(sizes, tf.int64)
    return lambda seeds: _draw(shapes, crop_size, seeds)


def sample_seeds(seed: int, index: tf.Tensor) -> tf.Tensor:
    """Four seeds, `[4, 2]`, of the sample of that number."""
    return tf.random.split(tf.stack([tf.cast(seed, tf.int64), index]), 4)


def uniform_int(seed: tf.Tensor, bound: tf.Tensor | int) -> tf.Tensor:
    """An int64 scalar, uniform in `0..bound - 1`, that depends on the seed `[2]` alone."""
    return tf.random.stateless_uniform([], seed, maxval=tf.cast(bound, tf.int64), dtype=tf.int64)
