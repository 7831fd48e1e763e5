"""Folders of images to `tf.data` pipelines of training crops.

Sample number `i` of a pipeline depends on the seed and on `i` alone, so that training
which starts again at step `n` sees the very crops and noise it would have seen.
"""

from __future__ import annotations

import os

import cv2
import numpy as np
import tensorflow as tf

from deepam_tf import image_io
from deepam_tf.degradations import add_gaussian_noise

__all__ = ["augment", "denoising_crops", "load_images", "to_channels"]


def to_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """Gray to RGB by repetition, RGB to gray by the BT.601 weights (as MATLAB's rgb2gray).

    Args:
        pixels: `[H, W, 1 or 3]` float32, RGB.
        channels: 1 or 3.

    Returns:
        `[H, W, channels]`, float32.
    """
    if pixels.shape[-1] == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=-1)
    return cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)[..., np.newaxis]


def load_images(folder: str | os.PathLike, channels: int = 1) -> list[np.ndarray]:
    """Read all images of a folder into memory, one byte a value.

    Args:
        folder: a folder of image files.
        channels: 1 (colour becomes gray) or 3 (gray becomes colour).

    Returns:
        uint8 arrays `[H, W, channels]`, sorted by file name.

    Raises:
        image_io.ImageFileError: if the folder is missing or holds no image, or a file in it
            cannot be read.
    """
    paths = image_io.list_images(folder)
    if not paths:
        raise image_io.ImageFileError(f"{folder}: the folder holds no image files.")
    images = (to_channels(image_io.read(path).pixels, channels) for path in paths)
    return [np.rint(255.0 * image).astype(np.uint8) for image in images]


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


def denoising_crops(
    images: list[np.ndarray],
    *,
    noise_stddev: float | tuple[float, float],
    crop_size: int,
    batch_size: int,
    seed: int = 0,
    first_batch: int = 0,
) -> tf.data.Dataset:
    """An endless pipeline of random crops, turned and flipped, with fresh noise.

    Every image is as likely as another, and every position in it.

    Args:
        images: uint8 arrays `[H, W, C]`, none smaller than the crop.
        noise_stddev: standard deviation of the noise in units of [0, 1]; or the two ends of a
            range, from which each crop gets its own, which the model is then told.
        crop_size: side of the square crops in pixels.
        batch_size: crops in a batch.
        seed: seed of every random choice.
        first_batch: number of the first batch, to go on where a run stopped.

    Returns:
        Dataset of `({"image": noisy}, {"restored": clean})`, float32 in [0, 1] plus noise,
        `[batch_size, crop_size, crop_size, C]`; where the level varies also
        `"noise_stddev"`, `[batch_size, 1, 1, 1]`, beside `"image"`.

    Raises:
        ValueError: if there is no image, or one is smaller than the crop.
    """
    sizes = [image.shape[:2] for image in images]
    if not images or min(min(size) for size in sizes) < crop_size:
        smallest = min(sizes, key=min, default=None)
        raise ValueError(
            "Every training image must be at least as large as the crop. Received: "
            f"{len(images)} images, smallest {smallest}, crop_size={crop_size}."
        )
    channels = images[0].shape[-1]
    shapes = tf.constant([image.shape for image in images], tf.int64)
    starts = tf.constant(np.cumsum([0, *(image.size for image in images[:-1])]), tf.int64)
    values = tf.constant(np.concatenate([image.reshape(-1) for image in images]))

    def sample(index: tf.Tensor):
        seeds = tf.random.split(tf.stack([tf.cast(seed, tf.int64), index]), 4)
        number = _uniform_int(seeds[0], len(images))
        height, width, _ = tf.unstack(shapes[number])
        top = _uniform_int(seeds[1], height - crop_size + 1)
        left = _uniform_int(seeds[2], width - crop_size + 1)
        # Only the crop's own rows are sliced out of the one long array.
        rows = tf.slice(
            values,
            [starts[number] + top * width * channels],
            [crop_size * width * channels],
        )
        rows = tf.reshape(rows, [crop_size, width, channels])
        crop = rows[:, left : left + crop_size]
        choice = tf.cast(_uniform_int(seeds[3], 8), tf.int32)
        crop = augment(tf.image.convert_image_dtype(crop, tf.float32), choice)
        clean = tf.ensure_shape(crop, [crop_size, crop_size, channels])
        # Streams of its own: seeds[3] + 1 would be another sample's.
        noise_seed = tf.random.fold_in(seeds[3], 1)
        if not isinstance(noise_stddev, tuple):
            noisy = add_gaussian_noise(clean, noise_stddev, noise_seed)
            return {"image": noisy}, {"restored": clean}
        low, high = noise_stddev
        level = tf.random.stateless_uniform([1, 1, 1], tf.random.fold_in(seeds[3], 2), low, high)
        noisy = add_gaussian_noise(clean, level, noise_seed)
        return {"image": noisy, "noise_stddev": level}, {"restored": clean}

    indices = tf.data.Dataset.range(first_batch * batch_size, np.iinfo(np.int64).max)
    samples = indices.map(sample, num_parallel_calls=tf.data.AUTOTUNE)
    return samples.batch(batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def _uniform_int(seed: tf.Tensor, bound: tf.Tensor | int) -> tf.Tensor:
    return tf.random.stateless_uniform([], seed, maxval=tf.cast(bound, tf.int64), dtype=tf.int64)
