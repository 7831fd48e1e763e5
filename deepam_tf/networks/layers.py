"""Keras layers: the reconstruction as a layer, and batch normalisation in one operation.

Data format is channels-last throughout: images are `[B, H, W, C]`.
"""

from __future__ import annotations

import functools

import keras
import tensorflow as tf

from deepam_tf.linear.operators import image_gradient
from deepam_tf.linear.preconditioners import check_name
from deepam_tf.linear.reconstruction import check_method, reconstruct
from deepam_tf.networks.blocks import zero_outside

__all__ = ["FusedBatchNormalization", "ImageGradient", "Reconstruction"]


@keras.saving.register_keras_serializable(package="deepam_tf")
class FusedBatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` over the last axis, through TensorFlow's fused op.

    The same function, variables and arguments. Keras composes it of elementary operations
    in float32, which under mixed precision costs as much as half of the convolutions it
    normalises; the fused operation reads and writes the compute dtype once.

    Attributes:
        fixed_statistics: whether training too normalises by the moving statistics, and leaves
            them as they are; False at first. (`trainable = False` would also keep scale and
            offset from learning.) It is how the layer is trained: it is not saved.
    """

    fixed_statistics = False

    def call(self, inputs, training=None, mask=None):
        training = training and not self.fixed_statistics
        fused = (
            inputs.shape.rank == 4
            and self.axis in (-1, 3)
            and mask is None
            and not self.synchronized
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
            kept = tf.cast(moving, "float32") * self.momentum
            # Under a policy of half precision the variable has it too.
            moving.assign(tf.cast(kept + batch * (1.0 - self.momentum), moving.dtype))
        return outputs


@keras.saving.register_keras_serializable(package="deepam_tf")
class ImageGradient(keras.layers.Layer):
    """`operators.image_gradient` as a layer: `[B, H, W, C]` to `[B, H, W, 2C]`, (dy, dx).

    Example:
        >>> deepam_tf.layers.ImageGradient()(tf.ones([1, 4, 5, 3])).shape.as_list()
        [1, 4, 5, 6]
    """

    def call(self, inputs):
        return image_gradient(inputs)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], 2 * input_shape[-1])


def folded_weights(
    convolution: keras.layers.Conv2D, normalization: keras.layers.BatchNormalization
) -> tuple[tf.Tensor, tf.Tensor]:
    """Kernel and bias of the one convolution that does what these two layers do at inference.

    With moving statistics, batch normalisation is one factor and one shift a map,

        norm(W * x) = s (W * x) + t,    s = gamma / sqrt(variance + epsilon),    t = beta - s mean

    which a convolution with kernel `s W` and bias `t` does on its own.

    Args:
        convolution: a built layer.
        normalization: the built layer that follows it, over the last axis.

    Returns:
        The kernel and the bias, in the dtype of the variables.
    """
    kernel = tf.convert_to_tensor(convolution.kernel)
    factor, shift, mean, variance = (
        tf.cast(x, kernel.dtype)
        for x in (
            normalization.gamma,
            normalization.beta,
            normalization.moving_mean,
            normalization.moving_variance,
        )
    )
    scale = factor * tf.math.rsqrt(variance + normalization.epsilon)
    bias = tf.cast(convolution.bias, kernel.dtype) if convolution.use_bias else 0.0
    return kernel * scale, shift + scale * (bias - mean)


def normalized_features(
    x: tf.Tensor,
    convolution: keras.layers.Conv2D,
    normalization: keras.layers.BatchNormalization,
    training: bool | None,
    inside: tf.Tensor | None = None,
) -> tf.Tensor:
    """Convolution, batch normalisation and ReLU.

    In training they are what they are called. At inference the normalisation is folded into the
    convolution as the graph runs: weights may change between calls, and TensorFlow makes one
    operation of convolution, bias and ReLU.

    Args:
        x: `[B, H, W, c]`.
        convolution: a built layer, stride 1, padding "same".
        normalization: the layer that follows it; or an identity, where it is folded already.
        training: as Keras passes it to `call`.
        inside: at inference, `[B, H, W, 1]`: 0 where features are to be 0, 1 elsewhere.

    Returns:
        Features `[B, H, W, filters]`, in the compute dtype of the layers.
    """
    folded = isinstance(normalization, keras.layers.Identity)
    if training and not folded:
        return tf.nn.relu(normalization(convolution(x), training=training))
    if folded:
        kernel, bias = convolution.kernel, convolution.bias
    else:
        kernel, bias = folded_weights(convolution, normalization)
    dtype = convolution.compute_dtype
    x = tf.nn.conv2d(tf.cast(x, dtype), tf.cast(kernel, dtype), 1, "SAME")
    return zero_outside(tf.nn.relu(tf.nn.bias_add(x, tf.cast(bias, dtype))), inside)


@keras.saving.register_keras_serializable(package="deepam_tf")
class Reconstruction(keras.layers.Layer):
    """`deepam_tf.reconstruct` as a layer without variables.

    Input: `[f, v, gamma]` or `[f, v, gamma, edge_weight]`, as `reconstruct` takes them. Output:
    `u`, `[B, H, W, C]`.
    The solve needs the digits of float32: under a mixed or half precision policy build the
    layer with `dtype="float32"`, as `DeepAM` does; Keras then casts its inputs.

    Args:
        method: `"cg"` or `"chebyshev"`, see `reconstruct`.
        preconditioner: a name that `reconstruct` takes. The networks here keep `gamma`
            above a floor, where Jacobi is the fastest; `"multigrid"` or `"auto"` suit data
            with holes (`gamma = 0`), at the price of a larger graph.
        rtol: relative tolerance of the solves, forward and adjoint.
        max_steps: most steps in either.
        adjoint_rtol: relative tolerance of the adjoint solve, if it shall be another.
        **kwargs: `name`, `dtype` and other arguments of `keras.layers.Layer`.

    Attributes:
        jit_compile: whether XLA compiles the solves, False at first. It halves their time for
            crops on a CPU; every new size is compiled anew. It is how they are run, not part of
            the layer: it is not saved, nor are SavedModels made with it.

    Raises:
        TypeError: if the layer's compute dtype is neither float32 nor float64.
        ValueError: if there is no such method or preconditioner.

    Example:
        >>> f = tf.ones([1, 4, 4, 1])
        >>> u = deepam_tf.Reconstruction()([f, tf.zeros([1, 4, 4, 2]), f])
        >>> float(tf.reduce_max(abs(u - 1.0)))
        0.0
    """

    def __init__(
        self,
        *,
        method: str = "cg",
        preconditioner: str = "jacobi",
        rtol: float = 1e-5,
        max_steps: int = 500,
        adjoint_rtol: float | None = None,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        if self.compute_dtype not in ("float32", "float64"):
            raise TypeError(
                "`Reconstruction` must compute in float32 or float64. "
                f"Received: dtype policy {self.dtype_policy.name}. Pass dtype='float32'."
            )
        check_method(method)
        check_name(preconditioner)
        self.method = method
        self.preconditioner = preconditioner
        self.rtol = rtol
        self.max_steps = max_steps
        self.adjoint_rtol = adjoint_rtol
        self.jit_compile = False

    def call(self, inputs):
        settings = (self.method, self.preconditioner, self.rtol, self.max_steps, self.adjoint_rtol)
        return _reconstruction(self.jit_compile, *settings)(*inputs)

    def compute_output_shape(self, input_shape):
        return tuple(input_shape[0])

    def get_config(self):
        return {
            **super().get_config(),
            "method": self.method,
            "preconditioner": self.preconditioner,
            "rtol": self.rtol,
            "max_steps": self.max_steps,
            "adjoint_rtol": self.adjoint_rtol,
        }


@functools.cache
def _reconstruction(
    jit_compile: bool, method: str, preconditioner: str, rtol, max_steps, adjoint_rtol
):
    """`reconstruct` with these settings; compiled once for all layers that share them."""

    def run(f, v, gamma, edge_weight=None):
        return reconstruct(
            f,
            v,
            gamma,
            edge_weight=edge_weight,
            method=method,
            preconditioner=preconditioner,
            rtol=rtol,
            max_steps=max_steps,
            adjoint_rtol=adjoint_rtol,
        )

    return tf.function(run, jit_compile=True) if jit_compile else run
