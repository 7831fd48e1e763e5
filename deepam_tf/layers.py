"""Keras layers: the aggregation network `u -> (v, gamma)` and the reconstruction.

Data format is channels-last throughout: images are `[B, H, W, C]`.
"""

from __future__ import annotations

import keras
import tensorflow as tf

from deepam_tf.operators import image_gradient
from deepam_tf.preconditioners import check_name
from deepam_tf.reconstruction import reconstruct

__all__ = ["AggregationNetwork", "FusedBatchNormalization", "Reconstruction"]


@keras.saving.register_keras_serializable(package="deepam_tf")
class FusedBatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` over the last axis, through TensorFlow's fused op.

    The same function, variables and arguments. Keras composes it of elementary operations
    in float32, which under mixed precision costs as much as half of the convolutions it
    normalises; the fused operation reads and writes the compute dtype once.
    """

    def call(self, inputs, training=None, mask=None):
        fused = (
            inputs.shape.rank == 4
            and self.axis in (-1, 3)
            and mask is None
            and not getattr(self, "renorm", False)  # Keras 3.14 has it, 3.12 does not
            and self.scale
            and self.center
            and self.compute_dtype != "float64"  # the fused operation has no float64
        )
        if not fused:
            return super().call(inputs, training=training, mask=mask)
        gamma = tf.cast(self.gamma, "float32")
        beta = tf.cast(self.beta, "float32")
        if not (training and self.trainable):
            outputs, _, _ = tf.compat.v1.nn.fused_batch_norm(
                inputs,
                gamma,
                beta,
                mean=tf.cast(self.moving_mean, "float32"),
                variance=tf.cast(self.moving_variance, "float32"),
                epsilon=self.epsilon,
                is_training=False,
            )
            return outputs
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs, gamma, beta, epsilon=self.epsilon, is_training=True
        )
        # The fused operation reports the unbiased variance; Keras tracks the biased one.
        count = tf.cast(tf.reduce_prod(tf.shape(inputs)[:3]), "float32")
        variance = variance * (count - 1.0) / count
        for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            kept = tf.convert_to_tensor(moving) * self.momentum
            moving.assign(kept + batch * (1.0 - self.momentum))
        return outputs


@keras.saving.register_keras_serializable(package="deepam_tf")
class AggregationNetwork(keras.layers.Layer):
    """The CNN that proposes gradients `v` and a confidence `gamma` from an image `u`.

    `depth` convolutions 3x3 (receptive field `2 depth + 1`), all but the last followed by
    batch normalisation and ReLU. The last is linear and gives `v`. `gamma` comes from the
    features after convolution `depth - 2`, through one 3x3 convolution and a ReLU (Kim et
    al., CVPR 2017, section 4.3: depth 10, 64 filters).

    Input: `u`, `[B, H, W, image_channels]`, or a list of it and of what else the network
    shall see (a noise level, the observation, a guide), each `[B, H, W, c]`, or `[B, 1, 1, c]`
    for the same everywhere. Output: the pair `(v, gamma)` of shapes
    `[B, H, W, 2 image_channels]`, maps ordered (dy, dx), and `[B, H, W, 1]`,
    `gamma >= gamma_min`. Before training, `v` is nearly 0 (nearly `D u` with `residual`)
    and `gamma` nearly 1.

    Args:
        image_channels: channels `C` of the image.
        filters: feature maps of each hidden convolution.
        depth: number of convolutions, at least 3.
        gamma_min: floor added to `gamma`, positive: it bounds how far the solve reaches
            (about `1 / sqrt(gamma)` pixels) and how many steps it takes.
        pixel_unshuffle: `r`: the convolutions run on the grid of `r x r` blocks, each
            pixel of a block a channel, at `1 / r^2` of the cost (Shi et al., CVPR 2016;
            for denoising Zhang et al., "FFDNet", 2018). 1 is the paper's network.
        residual: the last convolution gives `v - D u` instead of `v`.
        **kwargs: `name`, `dtype` and other arguments of `keras.layers.Layer`.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> v, gamma = deepam_tf.AggregationNetwork(depth=3, filters=8)(tf.zeros([1, 5, 6, 1]))
        >>> v.shape.as_list(), gamma.shape.as_list()
        ([1, 5, 6, 2], [1, 5, 6, 1])
    """

    def __init__(
        self,
        image_channels: int = 1,
        *,
        filters: int = 64,
        depth: int = 10,
        gamma_min: float = 0.02,
        pixel_unshuffle: int = 1,
        residual: bool = False,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        if min(image_channels, filters, pixel_unshuffle) < 1 or depth < 3 or gamma_min <= 0:
            raise ValueError(
                "`image_channels`, `filters` and `pixel_unshuffle` must be at least 1, `depth` "
                "at least 3 and `gamma_min` positive. Received: "
                f"image_channels={image_channels}, filters={filters}, "
                f"pixel_unshuffle={pixel_unshuffle}, depth={depth}, gamma_min={gamma_min}."
            )
        self.image_channels = image_channels
        self.filters = filters
        self.depth = depth
        self.gamma_min = gamma_min
        self.pixel_unshuffle = pixel_unshuffle
        self.residual = residual

        policy = self.dtype_policy
        block = pixel_unshuffle**2
        self.convolutions = [
            keras.layers.Conv2D(
                filters,
                3,
                padding="same",
                use_bias=False,  # batch normalisation follows, which removes any bias
                kernel_initializer="he_normal",
                dtype=policy,
                name=f"conv_{i}",
            )
            for i in range(1, depth)
        ]
        self.normalizations = [
            FusedBatchNormalization(dtype=policy, name=f"norm_{i}") for i in range(1, depth)
        ]
        self.v_head = keras.layers.Conv2D(
            2 * image_channels * block,
            3,
            padding="same",
            kernel_initializer=keras.initializers.RandomNormal(stddev=1e-3),
            dtype=policy,
            name="v_head",
        )
        self.gamma_head = keras.layers.Conv2D(
            block,
            3,
            padding="same",
            kernel_initializer=keras.initializers.RandomNormal(stddev=1e-3),
            bias_initializer=keras.initializers.Constant(1.0 - gamma_min),
            dtype=policy,
            name="gamma_head",
        )

    def build(self, input_shape) -> None:
        shapes = input_shape if isinstance(input_shape, list) else [input_shape]
        channels = sum(shape[-1] for shape in shapes) * self.pixel_unshuffle**2
        features = (None, None, None, self.filters)
        self.convolutions[0].build((None, None, None, channels))
        for convolution in [*self.convolutions[1:], self.v_head, self.gamma_head]:
            convolution.build(features)
        for normalization in self.normalizations:
            normalization.build(features)
        super().build(input_shape)

    def call(self, inputs, training=None):
        u, *others = inputs if isinstance(inputs, (list, tuple)) else [inputs]
        x = self._to_blocks(tf.concat([u, *(self._broadcast(x, u) for x in others)], axis=-1))
        for i, (convolution, normalization) in enumerate(
            zip(self.convolutions, self.normalizations, strict=True), start=1
        ):
            x = tf.nn.relu(normalization(convolution(x), training=training))
            if i == self.depth - 2:
                gamma = self._to_pixels(tf.nn.relu(self.gamma_head(x)), u) + self.gamma_min
        v = self._to_pixels(self.v_head(x), u)
        return (v + image_gradient(u) if self.residual else v), gamma

    def _broadcast(self, x, u):
        return tf.broadcast_to(x, tf.concat([tf.shape(u)[:3], [x.shape[-1]]], axis=0))

    def _to_blocks(self, x):
        """`[B, H, W, c]` to `[B, H/r, W/r, r^2 c]`, last rows repeated to whole blocks."""
        if self.pixel_unshuffle == 1:
            return x
        for axis in (1, 2):
            missing = -tf.shape(x)[axis] % self.pixel_unshuffle
            last = tf.gather(x, tf.repeat(tf.shape(x)[axis] - 1, missing), axis=axis)
            x = tf.concat([x, last], axis=axis)
        return tf.nn.space_to_depth(x, self.pixel_unshuffle)

    def _to_pixels(self, x, u):
        """The way back, cut to the size of `u`."""
        if self.pixel_unshuffle == 1:
            return x
        x = tf.nn.depth_to_space(x, self.pixel_unshuffle)
        return x[:, : tf.shape(u)[1], : tf.shape(u)[2]]

    def compute_output_shape(self, input_shape):
        first = input_shape[0] if isinstance(input_shape, list) else input_shape
        batch_and_size = tuple(first[:-1])
        return (*batch_and_size, 2 * self.image_channels), (*batch_and_size, 1)

    def get_config(self):
        return {
            **super().get_config(),
            "image_channels": self.image_channels,
            "filters": self.filters,
            "depth": self.depth,
            "gamma_min": self.gamma_min,
            "pixel_unshuffle": self.pixel_unshuffle,
            "residual": self.residual,
        }


@keras.saving.register_keras_serializable(package="deepam_tf")
class Reconstruction(keras.layers.Layer):
    """`deepam_tf.reconstruct` as a layer without variables.

    Input: `[f, v, gamma]`, as `reconstruct` takes them. Output: `u`, `[B, H, W, C]`.
    The solve needs the digits of float32: under a mixed or half precision policy build the
    layer with `dtype="float32"`, as `DeepAM` does; Keras then casts its inputs.

    Args:
        preconditioner: a name that `reconstruct` takes. The networks here keep `gamma`
            above a floor, where Jacobi is the fastest; `"multigrid"` or `"auto"` suit data
            with holes (`gamma = 0`), at the price of a larger graph.
        rtol: relative tolerance of the solves, forward and adjoint.
        max_steps: most conjugate gradient steps in either.
        **kwargs: `name`, `dtype` and other arguments of `keras.layers.Layer`.

    Raises:
        TypeError: if the layer's compute dtype is neither float32 nor float64.
        ValueError: if there is no such preconditioner.

    Example:
        >>> f = tf.ones([1, 4, 4, 1])
        >>> u = deepam_tf.Reconstruction()([f, tf.zeros([1, 4, 4, 2]), f])
        >>> float(tf.reduce_max(abs(u - 1.0)))
        0.0
    """

    def __init__(
        self,
        *,
        preconditioner: str = "jacobi",
        rtol: float = 1e-5,
        max_steps: int = 500,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        if self.compute_dtype not in ("float32", "float64"):
            raise TypeError(
                "`Reconstruction` must compute in float32 or float64. "
                f"Received: dtype policy {self.dtype_policy.name}. Pass dtype='float32'."
            )
        check_name(preconditioner)
        self.preconditioner = preconditioner
        self.rtol = rtol
        self.max_steps = max_steps

    def call(self, inputs):
        f, v, gamma = inputs
        return reconstruct(
            f,
            v,
            gamma,
            preconditioner=self.preconditioner,
            rtol=self.rtol,
            max_steps=self.max_steps,
        )

    def compute_output_shape(self, input_shape):
        return tuple(input_shape[0])

    def get_config(self):
        return {
            **super().get_config(),
            "preconditioner": self.preconditioner,
            "rtol": self.rtol,
            "max_steps": self.max_steps,
        }
