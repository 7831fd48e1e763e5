"""How far off a restored value may be: a small network beside the last solve.

The energy read as a normal distribution does not tell (docs/uncertainty.md); what the network and
the solve leave behind does. A few convolutions on the grid of 2x2 blocks turn `u_K`, `f - u_K`,
`gamma_K`, `|v_K|`, the noise level and the mask into the standard deviation of

    f_clean | inputs ~ Student-t(df, u_K, scale),    stddev = scale sqrt(df / (df - 2)),

one scale a pixel and channel, one `df > 2` a head. Nothing of it needs TensorFlow Probability.

Errors of much noise are distributed otherwise than those of little, those of a depth map of few
samples otherwise than those of many. A head whose scales have a factor for each of several such
levels, found on held-out pictures (`recalibrate`), is right at each.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from deepam_tf.networks.blocks import to_blocks, to_pixels, zero_outside

__all__ = ["UncertaintyHead"]

_BLOCK = 2  # pixels along a side of the blocks
_DEPTH = 4  # convolutions: with them a value sees 9 pixels to every side
_DENSITY_BLOCKS = 16  # along a side of the square whose measured pixels are counted
_LEAST_DF = 2.05  # the variance is infinite at 2
_FIRST_LOG_STDDEV = -3.5  # of a head that has learnt nothing: 8 of 255 gray levels
_LOG_STDDEV_RANGE = (-12.0, 3.0)
_FLOORS = {False: 1e-3, True: 1e-4}  # of magnitudes before their logarithm; of depth the smaller


@keras.saving.register_keras_serializable(package="deepam_tf")
class UncertaintyHead(keras.layers.Layer):
    """Standard deviations `[B, H, W, C]`, positive, for the restored image of a `DeepAM`.

    Input: a list of `u_K` and the observation, `[B, H, W, C]`, `v_K`, `[B, H, W, 2C]`, and
    `gamma_K`, `[B, H, W, 1]`, then, if there are such, the noise level, `[B, H, W, 1]` or
    `[B, 1, 1, 1]`, and the mask, `[B, H, W, 1]`.

    Args:
        image_channels: channels `C` of the image.
        filters: feature maps of the hidden convolutions.
        noise_level: whether there is a noise level among the inputs.
        mask: whether there is a mask.
        shift_invariant: do not look at `u_K` itself: a constant added to the observation then
            changes no standard deviation.
        calibrated_at: levels in `(0, 1]`, rising, each of which has a factor of the scales of its
            own, 1 at first, which `recalibrate` sets: noise levels, standard deviations, or, of a
            head that is told none, the share of measured pixels in the 32x32 around, by the mask
            (1/64 for one in 8x8). Between levels the logarithm of the factor is linear in that of
            the level, beyond them constant. Needs `noise_level` or `mask`.
        **kwargs: `name`, `dtype` and other arguments of `keras.layers.Layer`.

    Attributes:
        block: side in pixels of the blocks that its convolutions see as one place.
        reach: how far it sees to every side, in pixels.

    Raises:
        TypeError: if the layer's compute dtype is neither float32 nor float64.
        ValueError: if `image_channels` or `filters` is not positive, or `calibrated_at` does not
            rise, is not positive, or given without `noise_level` or `mask`.

    Example:
        >>> u = tf.zeros([1, 5, 6, 1])
        >>> head = deepam_tf.UncertaintyHead(filters=4)
        >>> stddev = head([u, u, tf.zeros([1, 5, 6, 2]), u + 1.0])
        >>> stddev.shape.as_list(), round(head.df, 2)
        ([1, 5, 6, 1], 4.05)
    """

    block = _BLOCK

    def __init__(
        self,
        image_channels: int = 1,
        *,
        filters: int = 24,
        noise_level: bool = False,
        mask: bool = False,
        shift_invariant: bool = False,
        calibrated_at: Sequence[float] = (),
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        if self.compute_dtype not in ("float32", "float64"):
            raise TypeError(
                "`UncertaintyHead` must compute in float32 or float64: half precision knows no "
                f"small differences. Received: dtype policy {self.dtype_policy.name}. Pass "
                "dtype='float32'."
            )
        if min(image_channels, filters) < 1:
            raise ValueError(
                "`image_channels` and `filters` must be at least 1. "
                f"Received: image_channels={image_channels}, filters={filters}."
            )
        calibrated_at = tuple(float(level) for level in calibrated_at)
        if calibrated_at and not (noise_level or mask):
            raise ValueError(
                "`calibrated_at` are noise levels, which the head must be told, or shares of "
                f"measured pixels, which a mask tells. Received: calibrated_at={calibrated_at}, "
                "noise_level=False, mask=False. Leave it out or add one of them."
            )
        if any(low >= high for low, high in itertools.pairwise((0.0, *calibrated_at))):
            raise ValueError(
                "`calibrated_at` must be positive and rise. "
                f"Received: calibrated_at={calibrated_at}."
            )
        self.image_channels = image_channels
        self.filters = filters
        self.noise_level = noise_level
        self.mask = mask
        self.shift_invariant = shift_invariant
        self.calibrated_at = calibrated_at
        counted = _DENSITY_BLOCKS // 2 if calibrated_at and not noise_level else 0
        self.reach = _BLOCK * max(_DEPTH, counted) + 1
        self.convolutions = [
            keras.layers.Conv2D(
                filters,
                3,
                padding="same",
                data_format="channels_last",  # whatever keras.json says
                activation="relu",
                kernel_initializer="he_normal",
                dtype=self.dtype_policy,
                name=f"conv_{i}",
            )
            for i in range(1, _DEPTH)
        ]
        self.log_stddev = keras.layers.Conv2D(
            image_channels * _BLOCK**2,
            3,
            padding="same",
            data_format="channels_last",
            kernel_initializer=keras.initializers.RandomNormal(stddev=1e-3),
            bias_initializer=keras.initializers.Constant(_FIRST_LOG_STDDEV),
            dtype=self.dtype_policy,
            name="log_stddev",
        )

    def build(self, input_shape) -> None:
        del input_shape
        maps = 2 * self.image_channels + 1 + self.noise_level + self.mask
        maps += 0 if self.shift_invariant else self.image_channels
        channels = maps * _BLOCK**2
        for convolution in (*self.convolutions, self.log_stddev):
            convolution.build((None, None, None, channels))
            channels = self.filters
        self.raw_df = self.add_weight(
            shape=(), initializer=keras.initializers.Constant(1.8544), name="raw_df"
        )
        if self.calibrated_at:
            self.log_factors = self.add_weight(
                shape=(len(self.calibrated_at),),
                initializer="zeros",
                trainable=False,
                name="log_factors",
            )
        super().build((None, None, None, maps))

    @property
    def df_tensor(self) -> tf.Tensor:
        """Degrees of freedom of the distribution, a scalar above 2 with a gradient."""
        return _LEAST_DF + tf.nn.softplus(tf.convert_to_tensor(self.raw_df))

    @property
    def df(self) -> float:
        """Degrees of freedom of the distribution, above 2."""
        return float(self.df_tensor)

    def recalibrate(self, factor: float | Sequence[float], df: float) -> None:
        """Multiply the scales by a factor, and set the degrees of freedom.

        Args:
            factor: of the scales, positive; the standard deviations follow from both. With
                `calibrated_at` one for each of these levels, or one for all.
            df: degrees of freedom, above 2.05.

        Raises:
            ValueError: if one of them is out of its range, or there are more or fewer factors
                than levels.

        Example:
            >>> head = deepam_tf.UncertaintyHead(filters=4)
            >>> _ = head([tf.zeros([1, 2, 2, n]) for n in (1, 1, 2, 1)])
            >>> head.recalibrate(1.0, 3.0)
            >>> round(head.df, 3)
            3.0
        """
        factors = np.asarray(factor, np.float64)
        if factors.ndim and factors.shape != (len(self.calibrated_at),):
            raise ValueError(
                f"`factor` must be one number or {len(self.calibrated_at)}, one for each of "
                f"`calibrated_at`. Received: {factors.size}."
            )
        if not (factors > 0).all() or df <= _LEAST_DF:
            raise ValueError(
                f"`factor` must be positive and `df` above {_LEAST_DF}. "
                f"Received: factor={factor}, df={df}."
            )
        ratio = np.sqrt(df / (df - 2) * (self.df - 2) / self.df)
        log_factors = np.log(factors * ratio)
        changed = self.log_factors if factors.ndim else self.log_stddev.bias
        changed.assign_add(np.broadcast_to(log_factors, changed.shape))
        # The inverse of softplus; log(expm1(x)) would be infinite from 89 on.
        self.raw_df.assign((df - _LEAST_DF) + np.log(-np.expm1(_LEAST_DF - df)))

    def _log_factor(self, level: tf.Tensor) -> tf.Tensor:
        """The logarithm of the factor at a noise level, of the shape of `level`."""
        logs = np.log(self.calibrated_at)
        at_knots = tf.unstack(tf.cast(self.log_factors, level.dtype), len(logs))
        log_level = tf.math.log(tf.maximum(level, self.calibrated_at[0]))
        result = at_knots[0] + tf.zeros_like(log_level)
        for (left, right), (low, high) in zip(
            itertools.pairwise(logs), itertools.pairwise(at_knots), strict=True
        ):
            share = tf.clip_by_value((log_level - left) / (right - left), 0.0, 1.0)
            result += share * (high - low)
        return result

    def _density(self, mask: tf.Tensor, inside: tf.Tensor | None) -> tf.Tensor:
        """The share of measured pixels around, `[B, h, w, 1]` on the grid of blocks."""
        # Between samples a mask is small, not 0.
        measured = to_blocks(tf.cast(mask > 0.5, mask.dtype), _BLOCK)
        measured = tf.reduce_mean(measured, axis=-1, keepdims=True)
        counted, places = (
            tf.nn.avg_pool2d(zero_outside(x, inside), _DENSITY_BLOCKS, strides=1, padding="SAME")
            for x in (measured, tf.ones_like(measured))
        )
        return counted / tf.maximum(places, 1e-6)

    def call(self, inputs, inside=None):
        u, f, v, gamma, *conditions = inputs
        floor = _FLOORS[self.shift_invariant]
        down, right = tf.split(v, 2, axis=-1)
        features = [
            _log(f - u, floor),
            _log(tf.sqrt(tf.square(down) + tf.square(right)), floor),
            0.5 * tf.math.log(gamma + 1e-3),
        ]
        if not self.shift_invariant:
            features.append(u)
        log_factor = density_log_factor = 0.0
        if self.noise_level:
            level, *conditions = conditions
            features.append(_log(level, floor))
            if self.calibrated_at:
                log_factor = self._log_factor(level)
        elif self.calibrated_at:
            density_log_factor = self._log_factor(self._density(conditions[0], inside))
        features += conditions
        shape = tf.shape(u)[:3]
        features = [tf.broadcast_to(x, tf.concat([shape, [x.shape[-1]]], axis=0)) for x in features]
        x = zero_outside(to_blocks(tf.concat(features, axis=-1), _BLOCK), inside)
        for convolution in self.convolutions:
            x = zero_outside(convolution(x), inside)
        log_stddev = self.log_stddev(x) + density_log_factor
        log_stddev = to_pixels(log_stddev, u, _BLOCK) + log_factor
        return tf.exp(tf.clip_by_value(log_stddev, *_LOG_STDDEV_RANGE))

    def compute_output_shape(self, input_shape):
        return tuple(input_shape[0])

    def get_config(self):
        return {
            **super().get_config(),
            "image_channels": self.image_channels,
            "filters": self.filters,
            "noise_level": self.noise_level,
            "mask": self.mask,
            "shift_invariant": self.shift_invariant,
            "calibrated_at": list(self.calibrated_at),
        }


def _log(x: tf.Tensor, floor: float) -> tf.Tensor:
    """The logarithm of a magnitude, about in [-1, 1]."""
    return tf.math.log(tf.abs(x) + floor) / 3 + 1
