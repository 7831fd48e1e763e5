"""Image quality: the mean of each image's own figure, at a stated peak value."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

__all__ = [
    "MOST_DECIBELS",
    "PSNR",
    "SSIM_WINDOW",
    "BadMatchingPercentage",
    "bad_matching_percentage",
    "psnr",
    "rmse",
    "ssim",
]

SSIM_WINDOW = 11
"""Side of the window of `ssim` in pixels: images must be at least as large."""

MOST_DECIBELS = 100.0
"""What an image counts for in a mean of PSNR where it is exact, or as good as."""


def psnr(
    reference: tf.Tensor,
    restored: tf.Tensor,
    *,
    max_value: float = 1.0,
    weight: tf.Tensor | None = None,
) -> tf.Tensor:
    """Peak signal-to-noise ratio of each image, `10 log10(max_value^2 / MSE)`.

    Nothing is clipped or cropped; the mean square error runs over all pixels and channels.

    Args:
        reference: clean images, `[B, H, W, C]`.
        restored: images to judge, the same shape.
        max_value: peak value of the reference.
        weight: 1 where a pixel counts, 0 where not, `[B, H, W, C]`; all of them by default.

    Returns:
        Decibels, `[B]`; infinite where the images are equal.

    Example:
        >>> float(deepam_tf.metrics.psnr(tf.zeros([1, 8, 8, 1]), 0.1 * tf.ones([1, 8, 8, 1]))[0])
        20.0...
    """
    if weight is None:
        return tf.image.psnr(reference, restored, max_val=max_value)
    return 20.0 * _log10(max_value / rmse(reference, restored, weight=weight))


def ssim(reference: tf.Tensor, restored: tf.Tensor, *, max_value: float = 1.0) -> tf.Tensor:
    """Structural similarity of each image (Wang et al., TIP 2004).

    Gaussian window 11x11 with standard deviation 1.5, K1 = 0.01, K2 = 0.03, over the
    positions where the window fits, mean over channels: the settings of the original code.

    Args:
        reference: clean images, `[B, H, W, C]`, both sides at least 11 pixels.
        restored: images to judge, the same shape.
        max_value: peak value of the reference.

    Returns:
        Similarity, `[B]`, 1 where the images are equal.

    Example:
        >>> image = tf.random.stateless_uniform([1, 16, 16, 1], seed=[0, 0])
        >>> float(deepam_tf.metrics.ssim(image, image)[0])
        1.0
    """
    return tf.image.ssim(reference, restored, max_val=max_value, filter_size=SSIM_WINDOW)


def bad_matching_percentage(
    reference: tf.Tensor,
    restored: tf.Tensor,
    *,
    tolerance: float,
    weight: tf.Tensor | None = None,
) -> tf.Tensor:
    """Percentage of pixels further than `tolerance` from the truth (paper, Table 3).

    Args:
        reference: true depth or disparity, `[B, H, W, C]`.
        restored: maps to judge, the same shape.
        tolerance: largest difference that is still right, in the maps' own unit.
        weight: 1 where a pixel counts, 0 where not (holes of the truth), `[B, H, W, C]`.

    Returns:
        Per cent, `[B]`; NaN for an image without a pixel that counts.

    Example:
        >>> truth = tf.zeros([1, 2, 2, 1])
        >>> other = tf.constant([[[[0.0], [1.0]], [[2.0], [4.0]]]])
        >>> metric = deepam_tf.metrics.bad_matching_percentage(truth, other, tolerance=1.5)
        >>> float(metric[0])
        50.0
    """
    # Written so that NaN is bad.
    bad = tf.cast(~(tf.abs(reference - restored) <= tolerance), reference.dtype)
    return 100.0 * _weighted_mean(bad, weight)


def rmse(
    reference: tf.Tensor, restored: tf.Tensor, *, weight: tf.Tensor | None = None
) -> tf.Tensor:
    """Root of the mean square error of each image, in the images' own unit.

    Args:
        reference: true images, `[B, H, W, C]`.
        restored: images to judge, the same shape.
        weight: 1 where a pixel counts, 0 where not, `[B, H, W, C]`.

    Returns:
        `[B]`; NaN for an image without a pixel that counts.

    Example:
        >>> float(deepam_tf.metrics.rmse(tf.zeros([1, 2, 2, 1]), 3.0 * tf.ones([1, 2, 2, 1]))[0])
        3.0
    """
    return tf.sqrt(_weighted_mean(tf.square(reference - restored), weight))


def _log10(x: tf.Tensor) -> tf.Tensor:
    return tf.math.log(x) / np.log(10.0)


def _pixel_weight(sample_weight, images: tf.Tensor) -> tf.Tensor | None:
    """What Keras passes, which has no axis for the channels, as a weight of the images."""
    if sample_weight is None:
        return None
    weight = tf.reshape(sample_weight, tf.concat([tf.shape(images)[:3], [1]], 0))
    return tf.broadcast_to(tf.cast(weight, images.dtype), tf.shape(images))


def _weighted_mean(x: tf.Tensor, weight: tf.Tensor | None) -> tf.Tensor:
    weight = tf.ones_like(x) if weight is None else tf.cast(weight, x.dtype)
    axes = [1, 2, 3]
    return tf.reduce_sum(weight * x, axes) / tf.reduce_sum(weight, axes)


def _counting(values: tf.Tensor, weight: tf.Tensor | None) -> tf.Tensor:
    """Figures of the images in which some pixel counts.

    Not those that are finite: of a restored image with NaN the mean shall be NaN.
    """
    if weight is None:
        return values
    return tf.boolean_mask(values, tf.reduce_any(weight > 0, axis=[1, 2, 3]))


@keras.saving.register_keras_serializable(package="deepam_tf")
class PSNR(keras.metrics.Mean):
    """Mean over images of `psnr`, the restored image clipped to [0, max_value] first.

    Sample weights `[B, H, W]` mark the pixels that count; an image without any is left out. An
    exact image counts `MOST_DECIBELS`: its own figure, infinite, would be that of all.

    Args:
        max_value: peak value of the reference.
        clip: whether to clip the restored image, as a viewer would.
        **kwargs: `name` and `dtype`.

    Example:
        >>> metric = deepam_tf.metrics.PSNR()
        >>> metric.update_state(tf.zeros([2, 8, 8, 1]), 0.1 * tf.ones([2, 8, 8, 1]))
        >>> round(float(metric.result()), 3)
        20.0
    """

    def __init__(self, max_value: float = 1.0, *, clip: bool = True, name="psnr", **kwargs) -> None:
        super().__init__(name=name, **kwargs)
        self.max_value = max_value
        self.clip = clip

    def update_state(self, y_true, y_pred, sample_weight=None) -> None:
        y_true = tf.cast(y_true, self.dtype)
        y_pred = tf.cast(y_pred, self.dtype)
        if self.clip:
            y_pred = tf.clip_by_value(y_pred, 0.0, self.max_value)
        weight = _pixel_weight(sample_weight, y_true)
        values = psnr(y_true, y_pred, max_value=self.max_value, weight=weight)
        super().update_state(tf.minimum(_counting(values, weight), MOST_DECIBELS))

    def get_config(self):
        return {**super().get_config(), "max_value": self.max_value, "clip": self.clip}


@keras.saving.register_keras_serializable(package="deepam_tf")
class BadMatchingPercentage(keras.metrics.Mean):
    """Mean over images of `bad_matching_percentage`, sample weights marking what counts.

    Args:
        tolerance: largest difference that is still right.
        **kwargs: `name` and `dtype`.

    Example:
        >>> metric = deepam_tf.metrics.BadMatchingPercentage(0.5)
        >>> metric.update_state(tf.zeros([1, 2, 2, 1]), tf.ones([1, 2, 2, 1]))
        >>> float(metric.result())
        100.0
    """

    def __init__(self, tolerance: float, *, name="bad_matching_percentage", **kwargs) -> None:
        super().__init__(name=name, **kwargs)
        self.tolerance = tolerance

    def update_state(self, y_true, y_pred, sample_weight=None) -> None:
        y_true = tf.cast(y_true, self.dtype)
        y_pred = tf.cast(y_pred, self.dtype)
        weight = _pixel_weight(sample_weight, y_true)
        values = bad_matching_percentage(y_true, y_pred, tolerance=self.tolerance, weight=weight)
        super().update_state(_counting(values, weight))

    def get_config(self):
        return {**super().get_config(), "tolerance": self.tolerance}
