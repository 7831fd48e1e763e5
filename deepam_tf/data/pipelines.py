"""Folders of images to `tf.data` pipelines of training crops.

Sample number `i` of a pipeline depends on the seed and on `i` alone, so that training
which starts again at step `n` sees the very crops and noise it would have seen.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from deepam_tf.data import degradations
from deepam_tf.data.crops import (
    augment,
    crop_batcher,
    crop_drawer,
    random_crops,
    same_dtype,
    sample_seeds,
    uniform_int,
)
from deepam_tf.data.noise import PoissonGaussian
from deepam_tf.data.streams import PictureStream
from deepam_tf.depth.holes import value_range
from deepam_tf.depth.sampling import observe_coarse
from deepam_tf.files.pairs import (
    Pair,
    list_pairs,
    load_image,
    load_images,
    load_pair,
    load_pairs,
    read_pairs,
    to_channels,
)

__all__ = [
    "MISSED",
    "Pair",
    "PictureStream",
    "augment",
    "camera_crops",
    "crop_sources",
    "denoising_batcher",
    "denoising_crops",
    "depth_crops",
    "full_scale",
    "list_pairs",
    "load_image",
    "load_images",
    "load_pair",
    "load_pairs",
    "read_pairs",
    "recorrupted_crops",
    "to_channels",
]

MISSED = 0.01
"""Of the largest value of all depth maps: error from where on interpolation is wrong."""

_TOLD_ERROR = 0.25  # of the level of a depth camera's noise, the width of a log-normal factor
_SMOOTH_RATE = 1 / 300  # of a crop's pixels
# From sigma 15 to 50 the RMSE of `denoise_gray` on BSD68 grows as the power 0.51 of sigma.
_ERROR_GROWTH = 0.5
# What a level told differs from the true one: a factor, log-normal, mostly of the first width,
# else of the second; and noise found in some pictures that have none, exponential of this mean.
_ESTIMATE_ERRORS, _GROSS_RATE = (0.3, 0.8), 0.4
_FALSE_RATE, _MEAN_FALSE = 0.3, 3 / 255
_LEAST_LEVEL, _UNIT_LEVEL = 3 / 255, 35 / 255  # bounds the weight of clean crops; has weight 1
_LEAST_DEPTH_LEVEL, _UNIT_DEPTH_LEVEL = 0.001, 0.02  # the same of depth maps


def crop_sources(
    sizes: list[tuple[int, int]], *, crop_size: int, batch_size: int, seed: int, batch: int
) -> list[int]:
    """Which images the crops of one batch come from, to look at them when it made trouble.

    Args:
        sizes: height and width of the images that the pipeline was given.
        crop_size: of the pipeline.
        batch_size: of the pipeline.
        seed: of the pipeline.
        batch: number of the batch, from 0.

    Returns:
        Positions in the list of images.
    """
    draw = crop_drawer(sizes, crop_size)
    indices = range(batch * batch_size, (batch + 1) * batch_size)
    return [int(draw(sample_seeds(seed, tf.constant(index, tf.int64)))) for index in indices]


def denoising_crops(
    images: list[np.ndarray] | PictureStream,
    *,
    noise_stddev: float | tuple[float, float],
    crop_size: int,
    batch_size: int,
    guides: list[np.ndarray] | None = None,
    vary_pairs: bool = False,
    vary_colors: bool = False,
    weigh_levels: bool = False,
    seed: int = 0,
    first_batch: int = 0,
) -> tf.data.Dataset:
    """An endless pipeline of random crops, turned and flipped, with fresh noise.

    Every position in every image is as likely as another.

    Args:
        images: uint8 or uint16 arrays `[H, W, C]`, none smaller than the crop; or a stream of
            them, whose second part, if it has one, is the guide.
        noise_stddev: standard deviation of the noise in units of [0, 1]; or the two ends of a
            range, from which each crop gets its own, which the model is then told.
        crop_size: side of the square crops in pixels.
        batch_size: crops in a batch.
        guides: clean guides `[H, W, G]`, one for each image and of its size.
        vary_pairs: whether image and guide get exposures of their own, and the guide a small
            shift or blur, see `degradations.vary_pair`.
        vary_colors: whether half of the images get other colours, see
            `degradations.vary_colors`.
        weigh_levels: whether each crop gets a weight in the loss, falling with its noise as
            fast as errors grow: each level then counts the same. Without it the high ones, that
            leave larger errors, count for most.
        seed: seed of every random choice.
        first_batch: number of the first batch, to go on where a run stopped.

    Returns:
        Dataset of `({"image": noisy}, {"restored": clean})`, float32 in [0, 1] plus noise,
        `[batch_size, crop_size, crop_size, C]`; where the level varies also
        `"noise_stddev"`, `[batch_size, 1, 1, 1]`, beside `"image"`, and with guides `"guide"`.
        With `weigh_levels` there is a third part, `{"restored": weight}`,
        `[batch_size, crop_size, crop_size]`.

    Raises:
        ValueError: if there is no image, one is smaller than the crop, or a guide does not fit.
    """
    observe = _noisy_observer(noise_stddev, crop_size, vary_pairs, vary_colors, weigh_levels)
    if isinstance(images, PictureStream):
        parts = images
    else:
        parts = [images] if guides is None else [images, guides]
    return random_crops(
        parts,
        observe,
        crop_size=crop_size,
        batch_size=batch_size,
        seed=seed,
        first_batch=first_batch,
    )


def denoising_batcher(
    images: list[np.ndarray],
    *,
    noise_stddev: float | tuple[float, float],
    crop_size: int,
    batch_size: int,
    guides: list[np.ndarray] | None = None,
    vary_pairs: bool = False,
    vary_colors: bool = False,
    weigh_levels: bool = False,
    seed: int = 0,
) -> Callable[[tf.Tensor], Any]:
    """The batches of `denoising_crops` one by one, for a step that XLA compiles with its crops.

    Args:
        images: as of `denoising_crops`, in memory.
        noise_stddev: as of `denoising_crops`, as all that follows.
        crop_size: side of the square crops in pixels.
        batch_size: crops in a batch.
        guides: clean guides, one for each image.
        vary_pairs: whether image and guide differ in exposure and place.
        vary_colors: whether half of the images get other colours.
        weigh_levels: whether there is a third part, the weight in the loss.
        seed: seed of every random choice.

    Returns:
        Function of a batch's number, an int64 scalar: what `denoising_crops` gives.

    Raises:
        ValueError: if there is no image, one is smaller than the crop, or a guide does not fit.

    Example:
        >>> images = [np.zeros([32, 32, 1], np.uint8)]
        >>> batch = deepam_tf.data.denoising_batcher(
        ...     images, noise_stddev=0.1, crop_size=16, batch_size=2
        ... )
        >>> inputs, target = batch(tf.constant(3, tf.int64))
        >>> inputs["image"].shape.as_list()
        [2, 16, 16, 1]
    """
    observe = _noisy_observer(noise_stddev, crop_size, vary_pairs, vary_colors, weigh_levels)
    parts = [images] if guides is None else [images, guides]
    return crop_batcher(parts, observe, crop_size=crop_size, batch_size=batch_size, seed=seed)


def _noisy_observer(
    noise_stddev: float | tuple[float, float],
    crop_size: int,
    vary_pairs: bool,
    vary_colors: bool,
    weigh_levels: bool,
):
    """What `random_crops` calls for each sample of `denoising_crops`."""

    def observe(crops: list[tf.Tensor], number: tf.Tensor, seed: tf.Tensor):
        del number
        clean, *guide = (tf.image.convert_image_dtype(crop, tf.float32) for crop in crops)
        if vary_colors:
            clean = degradations.vary_colors(clean, tf.random.fold_in(seed, 4))
        if guide and vary_pairs:
            clean, guide[0] = degradations.vary_pair(clean, guide[0], tf.random.fold_in(seed, 3))
        inputs = {"guide": guide[0]} if guide else {}
        # Streams of its own: seed + 1 would be another sample's.
        noise_seed = tf.random.fold_in(seed, 1)
        level = noise_stddev
        if isinstance(level, tuple):
            level = tf.random.stateless_uniform([1, 1, 1], tf.random.fold_in(seed, 2), *level)
            inputs["noise_stddev"] = level
        noisy = degradations.add_gaussian_noise(clean, level, noise_seed)
        observed = {"image": noisy, **inputs}, {"restored": clean}
        if not weigh_levels:
            return observed
        weight = tf.reshape((level + _LEAST_LEVEL) / _UNIT_LEVEL, []) ** -_ERROR_GROWTH
        return *observed, {"restored": tf.fill([crop_size, crop_size], weight)}

    return observe


def recorrupted_crops(
    images: list[np.ndarray] | PictureStream,
    *,
    noise: PoissonGaussian,
    crop_size: int,
    batch_size: int,
    alpha: float = 0.25,
    seed: int = 0,
    first_batch: int = 0,
) -> tf.data.Dataset:
    """An endless pipeline of crops to learn denoising from pictures that are all noisy.

    Input and target are made of the one noisy crop, by `degradations.recorrupt`. The loss has to
    be the square error: by absolute ones a network learns medians, which noise moves.

    Every crop comes twice in its batch, with the same added noise and with its negative. What
    the noise of the target does to the gradient has opposite signs in both, and nearly cancels
    (antithetic variates); of one alone most of a gradient would be that.

    Args:
        images: uint8 or uint16 arrays `[H, W, C]`, noisy, not cut off at black or white, none
            smaller than the crop; or a stream of them.
        noise: what their noise is.
        crop_size: side of the square crops in pixels.
        batch_size: crops in a batch, an even number, half of them different.
        alpha: see `degradations.recorrupt`.
        seed: seed of every random choice.
        first_batch: number of the first batch, to go on where a run stopped.

    Returns:
        Dataset of `({"image": noisier}, {"restored": noisier in another way})`, float32,
        `[batch_size, crop_size, crop_size, C]`.

    Raises:
        ValueError: if there is no image, or one is smaller than the crop, there is no noise, or
            the batch cannot be halved.

    Example:
        >>> noisy = np.random.default_rng(0).normal(128, 10, [64, 64, 1]).astype(np.uint8)
        >>> noise = deepam_tf.noise.PoissonGaussian(gain=0.0, variance=(10 / 255) ** 2)
        >>> batches = deepam_tf.data.recorrupted_crops(
        ...     [noisy], noise=noise, crop_size=32, batch_size=2
        ... )
        >>> next(iter(batches))[0]["image"].shape.as_list()
        [2, 32, 32, 1]
    """
    if noise.gain <= 0 and noise.variance <= 0:
        raise ValueError(f"`noise` must be more than nothing. Received: {noise}.")
    if batch_size % 2:
        raise ValueError(
            "`batch_size` must be even: each crop comes with a noise and with its negative. "
            f"Received: {batch_size}."
        )

    def observe(crops: list[tf.Tensor], number: tf.Tensor, seed: tf.Tensor):
        del number
        noisy = tf.image.convert_image_dtype(crops[0], tf.float32)
        given, wanted = degradations.recorrupt(
            noisy, noise.gain, noise.variance, tf.random.fold_in(seed, 1), alpha=alpha
        )
        # 2 y - x is made with the negative of the noise that x was made with.
        return (
            {"image": tf.stack([given, 2 * noisy - given])},
            {"restored": tf.stack([wanted, 2 * noisy - wanted])},
        )

    pairs = random_crops(
        images if isinstance(images, PictureStream) else [images],
        observe,
        crop_size=crop_size,
        batch_size=batch_size // 2,
        seed=seed,
        first_batch=first_batch,
    )
    return pairs.map(
        lambda *batch: tf.nest.map_structure(
            lambda x: tf.reshape(x, [batch_size, *x.shape[2:]]), batch
        )
    )


def camera_crops(
    images: list[np.ndarray] | PictureStream,
    *,
    crop_size: int,
    batch_size: int,
    camera: degradations.CameraSimulator | None = None,
    weigh_levels: bool = False,
    seed: int = 0,
    first_batch: int = 0,
) -> tf.data.Dataset:
    """An endless pipeline of crops out of files that a simulated camera made of clean pictures.

    The level that the model is told is that of the crop, what the file differs from its target,
    but only nearly: estimates of it are wrong by a quarter, some by a factor of two, now and then
    they find noise in a clean picture, and a network that relied on them would pass that on.

    Args:
        images: uint8 or uint16 arrays `[H, W, 3]`, or a stream of such, none smaller than
            `CameraSimulator.source_size(crop_size)`.
        crop_size: side of the square crops in pixels.
        batch_size: crops in a batch.
        camera: the simulator; None: one with the values it has where nothing is said.
        weigh_levels: see `denoising_crops`.
        seed: seed of every random choice.
        first_batch: number of the first batch, to go on where a run stopped.

    Returns:
        Dataset of `({"image": noisy, "noise_stddev": told}, {"restored": target})`, as
        `denoising_crops` has them.

    Raises:
        ValueError: if there is no image, or one is too small.
    """
    camera = camera or degradations.CameraSimulator()

    def observe(crops: list[tf.Tensor], number: tf.Tensor, seed: tf.Tensor):
        del number
        clean = tf.image.convert_image_dtype(crops[0], tf.float32)
        noisy, target = camera(clean, tf.random.fold_in(seed, 1), crop_size=crop_size)
        level = tf.sqrt(tf.reduce_mean(tf.square(noisy - target)))
        error = tf.random.stateless_normal([], tf.random.fold_in(seed, 2))
        chances = tf.random.stateless_uniform([3], tf.random.fold_in(seed, 3), minval=1e-6)
        width = tf.where(chances[0] < _GROSS_RATE, _ESTIMATE_ERRORS[1], _ESTIMATE_ERRORS[0])
        false = tf.where(chances[1] < _FALSE_RATE, -_MEAN_FALSE * tf.math.log(chances[2]), 0.0)
        hint = tf.sqrt(tf.square(level * tf.exp(width * error)) + tf.square(false))
        observed = (
            {"image": noisy, "noise_stddev": tf.reshape(hint, [1, 1, 1])},
            {"restored": target},
        )
        if not weigh_levels:
            return observed
        weight = ((level + _LEAST_LEVEL) / _UNIT_LEVEL) ** -_ERROR_GROWTH
        return *observed, {"restored": tf.fill([crop_size, crop_size], weight)}

    return random_crops(
        images if isinstance(images, PictureStream) else [images],
        observe,
        crop_size=camera.source_size(crop_size),
        batch_size=batch_size,
        seed=seed,
        first_batch=first_batch,
    )


def depth_crops(
    pairs: list[tuple[np.ndarray, np.ndarray]] | PictureStream,
    *,
    scale: int | tuple[int, ...],
    crop_size: int,
    batch_size: int,
    candidates: int = 1,
    missed: float = MISSED,
    vary_samples: bool = False,
    camera: degradations.DepthCameraSimulator | None = None,
    contrast: bool = False,
    seed: int = 0,
    first_batch: int = 0,
) -> tf.data.Dataset:
    """An endless pipeline of crops for guided depth upsampling.

    Each map is brought to [0, 1] by its own range (`depth.holes.value_range`), and turned upside
    down every other time: near may be large, as in disparities, or small. Then it is observed as
    `sampling.observe_coarse` says.

    Args:
        pairs: `(depth, guide)` arrays, integer `[H, W, 1]` with 0 where nothing is known, and
            `[H, W, G]`; or a stream of them that knows the maps' ranges.
        scale: pixels from sample to sample; of several, each crop gets one, as often as it
            stands in the tuple.
        crop_size: side of the square crops in pixels.
        batch_size: crops in a batch.
        candidates: crops drawn for each that is taken: mostly those of which interpolation
            misses more pixels. Most of a depth map is smooth and teaches little.
        missed: error from where on a pixel is missed, of the largest value of all maps: of a
            map's own range it would call noise an edge where little happens.
        vary_samples: whether samples lie on any grid and are made in any way, see
            `sampling.observe_coarse`.
        camera: what measures every pixel of the crop, in the place of a coarse observation; its
            noise is told, as `"noise_stddev"`, `[B, crop_size, crop_size, 1]`, wrong by a
            quarter as estimates are, and crops weigh less the more noise they have.
        contrast: whether to add the input `"contrast"`, what 1 in a crop is of that value.
        seed: seed of every random choice.
        first_batch: number of the first batch, to go on where a run stopped.

    Returns:
        Dataset of `({"image", "mask", "guide"}, {"restored"}, {"restored"})`: the
        interpolated samples and what they are (see `sampling.interpolate_samples`), the guide,
        the full map, and its weight in the loss, 0 where it has holes. With `contrast` there is
        one more input, `[B, 1, 1, 1]`.

    Raises:
        ValueError: if there is no pair, one is smaller than the crop or does not fit, a map is
            empty or constant, or a scale is below 1 or larger than the crop.
    """
    scales = scale if isinstance(scale, tuple) else (scale,)
    if not scales or any(not 1 <= s <= crop_size for s in scales):
        raise ValueError(
            "Every scale must be at least 1 and no larger than the crop. "
            f"Received: scale={scale}, crop_size={crop_size}."
        )
    if isinstance(pairs, PictureStream):
        parts, ranges, largest = pairs, pairs.ranges, pairs.largest
        if ranges is None:
            raise ValueError("A stream of depth maps must know their ranges. Received: none.")
        empty = np.flatnonzero(ranges[:, 0] >= ranges[:, 1]).tolist()
    else:
        depths = same_dtype([depth for depth, _ in pairs])
        parts = [depths, [guide for _, guide in pairs]]
        empty = [i for i, depth in enumerate(depths) if len(np.unique(depth[depth > 0])) < 2]
        largest = max((depth.max() for depth in depths), default=1)
    if empty:
        raise ValueError(
            f"Every depth map must have two different values besides 0. Received: {empty} without."
        )
    if not isinstance(pairs, PictureStream):
        ranges = [value_range(depth[..., 0], depth[..., 0] > 0) for depth in depths]
    limits = tf.constant(np.array(ranges, np.float32).reshape(-1, 2))

    def observe(crops: list[tf.Tensor], number: tf.Tensor, seed: tf.Tensor):
        depth, guide = crops
        valid = tf.cast(depth > 0, tf.float32)
        low, high = tf.unstack(limits[number])
        depth = (tf.cast(depth, tf.float32) - low) / (high - low)
        inverted = uniform_int(tf.random.fold_in(seed, 1), 2) == 1
        depth = tf.where(inverted, 1.0 - depth, depth) * valid
        told, weight = {}, valid[..., 0]
        if camera is None:
            image, mask = observe_coarse(
                depth, valid, scales, tf.random.fold_in(seed, 2), vary=vary_samples
            )
        else:
            image, mask, stddev = camera(depth, valid, tf.random.fold_in(seed, 2))
            error = tf.random.stateless_normal([], tf.random.fold_in(seed, 3))
            told = {"noise_stddev": tf.minimum(stddev * tf.exp(_TOLD_ERROR * error), 1.0)}
            level = tf.reduce_mean(stddev)
            weight *= ((level + _LEAST_DEPTH_LEVEL) / _UNIT_DEPTH_LEVEL) ** -_ERROR_GROWTH
        inputs = {
            "image": image,
            "mask": mask,
            "guide": tf.image.convert_image_dtype(guide, tf.float32),
            **told,
            "contrast": tf.reshape((high - low) / float(largest), [1, 1, 1]),
        }
        return inputs, {"restored": depth}, {"restored": weight}

    batches = random_crops(
        parts,
        observe,
        crop_size=crop_size,
        batch_size=batch_size * candidates,
        seed=seed,
        first_batch=first_batch,
    )
    if candidates > 1:
        numbered = batches.enumerate(first_batch)
        batches = numbered.map(functools.partial(_take_hard, batch_size, missed, seed)).prefetch(2)
    return batches if contrast else batches.map(_without_contrast)


def full_scale(depths: list[np.ndarray]) -> float:
    """The largest value of all depth maps, as a share of what their type can hold.

    Args:
        depths: uint8 and uint16 arrays.

    Returns:
        The share, in (0, 1].

    Example:
        >>> deepam_tf.data.full_scale([np.array([[51]], np.uint8), np.array([[0]], np.uint16)])
        0.2
    """
    return max(float(depth.max()) / np.iinfo(depth.dtype).max for depth in depths)


def _without_contrast(x, y, weight):
    return {name: value for name, value in x.items() if name != "contrast"}, y, weight


def _take_hard(batch_size: int, missed: float, seed: int, number: tf.Tensor, batch):
    """Crops of a batch, drawn without replacement as often as pixels are missed in them."""
    x, y, weight = batch
    wrong = (x["contrast"] * tf.abs(y["restored"] - x["image"]))[..., 0] > missed
    count = tf.reduce_sum(tf.cast(wrong, tf.float32) * weight["restored"], axis=[1, 2])
    # The largest keys log(p) + Gumbel are such a draw (Vieira, 2014). The constant gives smooth
    # crops a chance, in proportion to the size of the crop.
    rate = count + _SMOOTH_RATE * tf.cast(tf.size(wrong[0]), tf.float32)
    batch_seed = tf.stack([tf.cast(seed, tf.int64), number])
    uniform = tf.random.stateless_uniform(tf.shape(rate), batch_seed, minval=1e-6)
    keys = tf.math.log(rate) - tf.math.log(-tf.math.log(uniform))
    chosen = tf.math.top_k(keys, batch_size).indices

    def take(values: tf.Tensor) -> tf.Tensor:
        return tf.ensure_shape(tf.gather(values, chosen), [batch_size, *values.shape[1:]])

    return tf.nest.map_structure(take, batch)
