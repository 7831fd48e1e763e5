"""Image quality: the mean of each image's own figure, at a stated peak value."""

from __future__ import annotations

import keras
import tensorflow as tf

__all__ = ["PSNR", "SSIM_WINDOW", "psnr", "ssim"]

SSIM_WINDOW = 11
"""Side of the window of `ssim` in pixels: images must be at least as large."""


def psnr(reference: tf.Tensor, restored: tf.Tensor, *, max_value: float = 1.0) -> tf.Tensor:
    """Peak signal-to-noise ratio of each image, `10 log10(max_value^2 / MSE)`.

    Nothing is clipped or cropped; the mean square error runs over all pixels and channels.

    Args:
        reference: clean images, `[B, H, W, C]`.
        restored: images to judge, the same shape.
        max_value: peak value of the reference.

    Returns:
        Decibels, `[B]`; infinite where the images are equal.

    Example:
        >>> float(deepam_tf.metrics.psnr(tf.zeros([1, 8, 8, 1]), 0.1 * tf.ones([1, 8, 8, 1]))[0])
        20.0...
    """
    return tf.image.psnr(reference, restored, max_val=max_value)


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


@keras.saving.register_keras_serializable(package="deepam_tf")
class PSNR(keras.metrics.Mean):
    """Mean over images of `psnr`, the restored image clipped to [0, max_value] first.

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
        values = psnr(y_true, y_pred, max_value=self.max_value)
        super().update_state(values, sample_weight=sample_weight)

    def get_config(self):
        return {**super().get_config(), "max_value": self.max_value, "clip": self.clip}
