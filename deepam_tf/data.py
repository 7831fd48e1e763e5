"""Folders of images to `tf.data` pipelines of training crops.

Sample number `i` of a pipeline depends on the seed and on `i` alone, so that training
which starts again at step `n` sees the very crops and noise it would have seen.
"""

from __future__ import annotations

import os
import pathlib

import cv2
import numpy as np
import tensorflow as tf

from deepam_tf import image_io
from deepam_tf._crops import augment, random_crops, same_dtype, sample_seeds, uniform_int
from deepam_tf.degradations import add_gaussian_noise
from deepam_tf.sampling import observe_coarse

__all__ = [
    "augment",
    "crop_sources",
    "denoising_crops",
    "depth_crops",
    "load_images",
    "load_pairs",
    "to_channels",
]


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


def load_pairs(
    folder: str | os.PathLike,
    *,
    target: str,
    guide: str,
    target_channels: int,
    guide_channels: int,
    border: int = 0,
    jpeg_shrink: int = 1,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Read aligned pairs of pictures: two folders whose files have the same names.

    Args:
        folder: holds the two folders; suffixes may differ, `rgb/0001.jpg` and
            `depth/0001.png`.
        target: name of the folder of what is to be restored.
        guide: name of the folder of guides.
        target_channels: 1 or 3.
        guide_channels: 1 or 3.
        border: pixels to cut off on every side, for pictures with a frame.
        jpeg_shrink: targets that are JPEG files, and their guides, are reduced by this
            factor, blocks averaged: what the compression left of its artefacts would be
            learnt.

    Returns:
        `(target, guide)` pairs, sorted by name: arrays `[H, W, channels]`, uint8, or uint16 for
        targets of 16 bit.

    Raises:
        image_io.ImageFileError: if a folder is missing or empty, a file has no partner or
            cannot be read, or the sizes in a pair differ.
    """
    targets, guides = (
        {path.stem: path for path in image_io.list_images(pathlib.Path(folder) / name)}
        for name in (target, guide)
    )
    alone = sorted(targets.keys() ^ guides.keys())
    if alone or not targets:
        raise image_io.ImageFileError(
            f"{folder}: every file in {target}/ must have a partner of its name in {guide}/. "
            f"Received: {len(targets)} and {len(guides)} files"
            + (f", {len(alone)} alone, the first {alone[0]!r}." if alone else ".")
        )
    pairs = []
    for name, path in sorted(targets.items()):
        pictures = image_io.read(path), image_io.read(guides[name])
        sizes = [picture.pixels.shape[:2] for picture in pictures]
        if sizes[0] != sizes[1]:
            raise image_io.ImageFileError(
                f"{path}: a pair must have one size. Received: {sizes[0]} and {sizes[1]}, height "
                "and width."
            )
        jpeg = path.suffix.lower() in (".jpg", ".jpeg")
        pairs.append(
            tuple(
                _as_integers(picture, channels, border, jpeg_shrink if jpeg else 1)
                for picture, channels in zip(
                    pictures, (target_channels, guide_channels), strict=True
                )
            )
        )
    return pairs


def _as_integers(picture: image_io.Picture, channels: int, border: int, shrink: int) -> np.ndarray:
    height, width, _ = picture.pixels.shape
    pixels = to_channels(picture.pixels, channels)
    pixels = pixels[border : height - border, border : width - border]
    if shrink > 1:
        height, width = (side // shrink for side in pixels.shape[:2])
        pixels = pixels[: height * shrink, : width * shrink]
        pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
        pixels = pixels.reshape(height, width, channels)
    return np.rint(image_io.DEPTHS[picture.dtype] * pixels).astype(picture.dtype)


def crop_sources(num_images: int, *, batch_size: int, seed: int, batch: int) -> list[int]:
    """Which images the crops of one batch come from, to look at them when it made trouble.

    Args:
        num_images: how many images the pipeline was given.
        batch_size: of the pipeline.
        seed: of the pipeline.
        batch: number of the batch, from 0.

    Returns:
        Positions in the list of images.
    """
    indices = range(batch * batch_size, (batch + 1) * batch_size)
    seeds = (sample_seeds(seed, tf.constant(index, tf.int64))[0] for index in indices)
    return [int(uniform_int(own, num_images)) for own in seeds]


def denoising_crops(
    images: list[np.ndarray],
    *,
    noise_stddev: float | tuple[float, float],
    crop_size: int,
    batch_size: int,
    guides: list[np.ndarray] | None = None,
    seed: int = 0,
    first_batch: int = 0,
) -> tf.data.Dataset:
    """An endless pipeline of random crops, turned and flipped, with fresh noise.

    Every image is as likely as another, and every position in it.

    Args:
        images: uint8 or uint16 arrays `[H, W, C]`, none smaller than the crop.
        noise_stddev: standard deviation of the noise in units of [0, 1]; or the two ends of a
            range, from which each crop gets its own, which the model is then told.
        crop_size: side of the square crops in pixels.
        batch_size: crops in a batch.
        guides: clean guides `[H, W, G]`, one for each image and of its size.
        seed: seed of every random choice.
        first_batch: number of the first batch, to go on where a run stopped.

    Returns:
        Dataset of `({"image": noisy}, {"restored": clean})`, float32 in [0, 1] plus noise,
        `[batch_size, crop_size, crop_size, C]`; where the level varies also
        `"noise_stddev"`, `[batch_size, 1, 1, 1]`, beside `"image"`, and with guides `"guide"`.

    Raises:
        ValueError: if there is no image, one is smaller than the crop, or a guide does not fit.
    """

    def observe(crops: list[tf.Tensor], number: tf.Tensor, seed: tf.Tensor):
        del number
        clean, *guide = (tf.image.convert_image_dtype(crop, tf.float32) for crop in crops)
        inputs = {"guide": guide[0]} if guide else {}
        # Streams of its own: seed + 1 would be another sample's.
        noise_seed = tf.random.fold_in(seed, 1)
        level = noise_stddev
        if isinstance(level, tuple):
            level = tf.random.stateless_uniform([1, 1, 1], tf.random.fold_in(seed, 2), *level)
            inputs["noise_stddev"] = level
        noisy = add_gaussian_noise(clean, level, noise_seed)
        return {"image": noisy, **inputs}, {"restored": clean}

    parts = [images] if guides is None else [images, guides]
    return random_crops(
        parts,
        observe,
        crop_size=crop_size,
        batch_size=batch_size,
        seed=seed,
        first_batch=first_batch,
    )


def depth_crops(
    pairs: list[tuple[np.ndarray, np.ndarray]],
    *,
    scale: int | tuple[int, ...],
    crop_size: int,
    batch_size: int,
    seed: int = 0,
    first_batch: int = 0,
) -> tf.data.Dataset:
    """An endless pipeline of crops for guided depth upsampling.

    Each map is brought to [0, 1] by its own least and largest value, and turned upside down
    every other time: near may be large, as in disparities, or small. Then it is observed as
    `sampling.observe_coarse` says.

    Args:
        pairs: `(depth, guide)` arrays, integer `[H, W, 1]` with 0 where nothing is known, and
            `[H, W, G]`.
        scale: pixels from sample to sample; of several, each crop gets one, as often as it
            stands in the tuple.
        crop_size: side of the square crops in pixels, a multiple of every scale.
        batch_size: crops in a batch.
        seed: seed of every random choice.
        first_batch: number of the first batch, to go on where a run stopped.

    Returns:
        Dataset of `({"image", "mask", "guide"}, {"restored"}, {"restored"})`: the
        interpolated samples and what they are (see `sampling.interpolate_samples`), the guide,
        the full map, and its weight in the loss, 0 where it has holes.

    Raises:
        ValueError: if there is no pair, one is smaller than the crop or does not fit, a map
            is empty or constant, or `crop_size` is no multiple of a scale.
    """
    scales = scale if isinstance(scale, tuple) else (scale,)
    if any(crop_size % s for s in scales):
        raise ValueError(
            "`crop_size` must be a multiple of every scale. "
            f"Received: crop_size={crop_size}, scale={scale}."
        )
    depths, guides = same_dtype([depth for depth, _ in pairs]), [guide for _, guide in pairs]
    ranges = [(np.where(depth > 0, depth, depth.max()).min(), depth.max()) for depth in depths]
    if any(low >= high for low, high in ranges):
        raise ValueError(
            "Every depth map must have two different values besides 0. "
            f"Received: {[i for i, (low, high) in enumerate(ranges) if low >= high]} without."
        )
    limits = tf.constant(np.array(ranges, np.float32).reshape(-1, 2))

    def observe(crops: list[tf.Tensor], number: tf.Tensor, seed: tf.Tensor):
        depth, guide = crops
        valid = tf.cast(depth > 0, tf.float32)
        low, high = tf.unstack(limits[number])
        depth = (tf.cast(depth, tf.float32) - low) / (high - low)
        inverted = uniform_int(tf.random.fold_in(seed, 1), 2) == 1
        depth = tf.where(inverted, 1.0 - depth, depth) * valid
        image, mask = observe_coarse(depth, valid, scales, tf.random.fold_in(seed, 2))
        inputs = {
            "image": image,
            "mask": mask,
            "guide": tf.image.convert_image_dtype(guide, tf.float32),
        }
        return inputs, {"restored": depth}, {"restored": valid[..., 0]}

    return random_crops(
        [depths, guides],
        observe,
        crop_size=crop_size,
        batch_size=batch_size,
        seed=seed,
        first_batch=first_batch,
    )
