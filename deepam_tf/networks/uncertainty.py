"""How far off a restored value may be: a small network beside the last solve.

The energy read as a normal distribution does not tell (docs/uncertainty.md); what the network and
the solve leave behind does. A few convolutions on the grid of 2x2 blocks turn `u_K`, `f - u_K`,
`gamma_K`, `|v_K|`, the noise level and the mask into the standard deviation of

    f_clean | inputs ~ Student-t(df, u_K, scale),    stddev = scale sqrt(df / (df - 2)),

one scale a pixel and channel, one `df > 2` a head. Nothing of it needs TensorFlow Probability.
"""

from __future__ import annotations

import keras
import tensorflow as tf

from deepam_tf.networks.blocks import to_blocks, to_pixels, zero_outside

__all__ = ["UncertaintyHead"]

_BLOCK = 2  # pixels along a side of the blocks
_DEPTH = 4  # convolutions: with them a value sees 18 pixels to every side
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
        **kwargs: `name`, `dtype` and other arguments of `keras.layers.Layer`.

    Attributes:
        block: side in pixels of the blocks that its convolutions see as one place.

    Raises:
        TypeError: if the layer's compute dtype is neither float32 nor float64.
        ValueError: if `image_channels` or `filters` is not positive.

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
        self.image_channels = image_channels
        self.filters = filters
        self.noise_level = noise_level
        self.mask = mask
        self.shift_invariant = shift_invariant
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
        super().build((None, None, None, maps))

    @property
    def df_tensor(self) -> tf.Tensor:
        """Degrees of freedom of the distribution, a scalar above 2 with a gradient."""
        return _LEAST_DF + tf.nn.softplus(tf.convert_to_tensor(self.raw_df))

    @property
    def df(self) -> float:
        """Degrees of freedom of the distribution, above 2."""
        return float(self.df_tensor)

    def recalibrate(self, factor: float, df: float) -> None:
        """Multiply every scale by a factor, and set the degrees of freedom.

        Args:
            factor: of the scales, positive; the standard deviations follow from both.
            df: degrees of freedom, above 2.05.

        Raises:
            ValueError: if one of them is out of its range.

        Example:
            >>> head = deepam_tf.UncertaintyHead(filters=4)
            >>> _ = head([tf.zeros([1, 2, 2, n]) for n in (1, 1, 2, 1)])
            >>> head.recalibrate(1.0, 3.0)
            >>> round(head.df, 3)
            3.0
        """
        if factor <= 0 or df <= _LEAST_DF:
            raise ValueError(
                f"`factor` must be positive and `df` above {_LEAST_DF}. "
                f"Received: factor={factor}, df={df}."
            )
        ratio = tf.sqrt(df / (df - 2) * (self.df_tensor - 2) / self.df_tensor)
        self.log_stddev.bias.assign_add(
            tf.fill(self.log_stddev.bias.shape, tf.math.log(factor * ratio))
        )
        self.raw_df.assign(tf.math.log(tf.math.expm1(df - _LEAST_DF)))

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
        if self.noise_level:
            level, *conditions = conditions
            features.append(_log(level, floor))
        features += conditions
        shape = tf.shape(u)[:3]
        features = [tf.broadcast_to(x, tf.concat([shape, [x.shape[-1]]], axis=0)) for x in features]
        x = zero_outside(to_blocks(tf.concat(features, axis=-1), _BLOCK), inside)
        for convolution in self.convolutions:
            x = zero_outside(convolution(x), inside)
        log_stddev = to_pixels(self.log_stddev(x), u, _BLOCK)
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
        }


def _log(x: tf.Tensor, floor: float) -> tf.Tensor:
    """The logarithm of a magnitude, about in [-1, 1]."""
    return tf.math.log(tf.abs(x) + floor) / 3 + 1
