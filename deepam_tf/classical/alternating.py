"""The classical alternating minimization that DeepAM unrolls and learns.

    min_u  lambda/2 ||u - f||^2 + Phi(D u)                                  (paper, eq. 1)

is split by `v = D u` and a penalty (eq. 3), and for growing `beta` solved by (eq. 4)

    v <- argmin_v  Phi(v) + beta/2 ||D u - v||^2        a proximal map, pixel by pixel
    u <- argmin_u  lambda/2 ||u - f||^2 + beta/2 ||D u - v||^2
    beta <- alpha beta

The u-step is `reconstruct` with `gamma = lambda / beta`; where `lambda` is one number it is
diagonal under the cosine transform and solved exactly. A denoiser in place of the proximal
map gives plug-and-play restoration (eq. 8).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from deepam_tf.classical.proximal import Regularizer
from deepam_tf.linear.operators import (
    ReconstructionOperator,
    image_gradient,
    image_gradient_adjoint,
)
from deepam_tf.linear.preconditioners import CosineInverse
from deepam_tf.linear.reconstruction import reconstruct

__all__ = [
    "AlternatingResult",
    "alternating_minimization",
    "guide_weight",
    "plug_and_play",
]


class AlternatingResult(NamedTuple):
    """What `alternating_minimization` returns.

    Attributes:
        u: restored images, `[B, H, W, C]`.
        v: their split gradients, `[B, H, W, 2C]`, maps ordered (dy, dx).
        objective: the penalised objective of eq. (3), `[steps, 3, B]`: before a step, after
            its v-step and after its u-step, all with that step's `beta`. It never rises
            along the second axis.
    """

    u: tf.Tensor
    v: tf.Tensor
    objective: tf.Tensor


def alternating_minimization(
    f: tf.Tensor,
    regularizer: Regularizer,
    *,
    data_weight: float | tf.Tensor,
    weight: float | tf.Tensor = 1.0,
    beta: float = 1.0,
    beta_growth: float = 2.0,
    beta_max: float = 2.0**14,
    steps_per_beta: int = 1,
) -> AlternatingResult:
    """Restore images with a hand-made regulariser (paper, eq. 4).

    Works on batches of any size, eagerly and inside `tf.function`.

    Args:
        f: observations, `[B, H, W, C]`, floating, [0, 1] by convention.
        regularizer: `TotalVariation`, `L0`, `Lp`, or anything with their methods.
        data_weight: `lambda`: one number, or `[B, H, W, 1 or C]`, zero where there are no
            data (then the u-step is an iterative solve).
        weight: of the regulariser at each pixel, broadcast against `[B, H, W, C]`; see
            `guide_weight`.
        beta: first penalty.
        beta_growth: `alpha`, the factor between one penalty and the next, above 1.
        beta_max: no penalty is larger. The split is as good as closed once it is far above
            `lambda`.
        steps_per_beta: steps before `beta` grows.

    Returns:
        An `AlternatingResult`.

    Raises:
        ValueError: if `f` does not have rank 4, or a parameter is out of its range.

    Example:
        >>> f = tf.constant([0.0, 0.1, 1.0, 0.9])[tf.newaxis, tf.newaxis, :, tf.newaxis]
        >>> result = deepam_tf.alternating_minimization(
        ...     f, deepam_tf.proximal.TotalVariation(), data_weight=20.0)
        >>> result.u.numpy().ravel().round(2).tolist()
        [0.03..., 0.10..., 0.93..., 0.93...]
    """
    f = _checked(f, beta, beta_growth, beta_max, steps_per_beta)
    data_weight = tf.convert_to_tensor(data_weight, f.dtype)
    weight = tf.convert_to_tensor(weight, f.dtype)

    def objective(u, v, beta):
        data = tf.reduce_sum(data_weight * tf.square(u - f), axis=[1, 2, 3])
        split = tf.reduce_sum(tf.square(image_gradient(u) - v), axis=[1, 2, 3])
        return 0.5 * data + regularizer.value(v, weight) + 0.5 * beta * split

    def step(u, v, beta):
        before = objective(u, v, beta)
        v = regularizer.prox(image_gradient(u), weight / beta)
        between = objective(u, v, beta)
        u = _u_step(f, v, data_weight / beta)
        return u, v, tf.stack([before, between, objective(u, v, beta)])

    betas = _penalties(beta, beta_growth, beta_max, steps_per_beta)
    return _run(_start(f, data_weight), step, tf.constant(betas, f.dtype))


def plug_and_play(
    f: tf.Tensor,
    denoiser: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    *,
    data_weight: float | tf.Tensor,
    beta: float = 1.0,
    beta_growth: float = 2.0,
    num_steps: int = 4,
) -> tf.Tensor:
    """Restore images with a denoiser as the regulariser (paper, eq. 8).

    The paper applies the denoiser to `D u`; image denoisers expect images, so here it is
    `v <- D denoiser(u)`: the gradients of the denoised image.

    Args:
        f: observations, `[B, H, W, C]`, floating.
        denoiser: function from an image `[B, H, W, C]` and the noise's standard deviation in
            it, `1 / sqrt(beta)`, to an image. It need not be differentiable, and may be
            NumPy code if this is not called inside `tf.function`.
        data_weight: `lambda`, see `alternating_minimization`.
        beta: first penalty.
        beta_growth: factor between one penalty and the next.
        num_steps: how often the denoiser is called.

    Returns:
        Restored images, `[B, H, W, C]`.

    Raises:
        ValueError: as `alternating_minimization`.

    Example:
        >>> f = tf.random.stateless_uniform([1, 8, 8, 1], seed=[0, 1])
        >>> u = deepam_tf.plug_and_play(f, lambda u, sigma: u, data_weight=1.0)
        >>> bool(tf.reduce_max(abs(u - f)) < 1e-5)
        True
    """
    f = _checked(f, beta, beta_growth, math.inf, num_steps)
    data_weight = tf.convert_to_tensor(data_weight, f.dtype)

    def step(u, v, beta):
        del v
        v = image_gradient(tf.cast(denoiser(u, tf.math.rsqrt(beta)), f.dtype))
        return _u_step(f, v, data_weight / beta), v, tf.zeros([3, tf.shape(f)[0]], f.dtype)

    betas = [beta * beta_growth**k for k in range(num_steps)]
    return _run(_start(f, data_weight), step, tf.constant(betas, f.dtype)).u


def guide_weight(guide: tf.Tensor, scale: float) -> tf.Tensor:
    """A weight of the regulariser that lets edges stay where a guide has them.

    `exp(-|D g|^2 / (2 scale^2))`, with `|D g|^2` summed over the guide's channels: near 1
    where the guide is flat, near 0 on its edges.

    Args:
        guide: image registered with the observation, `[B, H, W, G]`.
        scale: contrast in the guide that counts as an edge, in its units, positive.

    Returns:
        `weight` for `alternating_minimization`, `[B, H, W, 1]`.

    Raises:
        ValueError: if `scale` is not positive.

    Example:
        >>> weight = deepam_tf.guide_weight(tf.ones([1, 4, 4, 3]), 0.1)
        >>> float(tf.reduce_min(weight))
        1.0
    """
    if scale <= 0:
        raise ValueError(f"`scale` must be positive. Received: scale={scale}.")
    squared = tf.reduce_sum(tf.square(image_gradient(guide)), axis=-1, keepdims=True)
    return tf.exp(-squared / (2 * scale**2))


def _u_step(f: tf.Tensor, v: tf.Tensor, gamma: tf.Tensor) -> tf.Tensor:
    if gamma.shape.rank:
        gamma = tf.broadcast_to(gamma, tf.concat([tf.shape(f)[:3], tf.shape(gamma)[-1:]], 0))
        # As beta grows, gamma falls below anything that plain steps could cope with.
        return reconstruct(f, v, gamma, preconditioner="multigrid", rtol=1e-6)
    constant = tf.fill(tf.concat([tf.shape(f)[:1], [1, 1, 1]], 0), gamma)
    constant = tf.broadcast_to(constant, tf.concat([tf.shape(f)[:3], [1]], 0))
    operator = ReconstructionOperator(constant, num_channels=f.shape[-1])
    rhs = image_gradient_adjoint(v - image_gradient(f))
    correction = CosineInverse(operator).matvec(tf.reshape(rhs, operator.shape_tensor()[:2]))
    return f + tf.reshape(correction, tf.shape(f))


def _start(f: tf.Tensor, data_weight: tf.Tensor) -> tf.Tensor:
    """The observation; where it has no weight, a smooth surface through the rest."""
    if not data_weight.shape.rank:
        return f
    smooth = _u_step(f, tf.zeros_like(image_gradient(f)), data_weight)
    return tf.where(data_weight > 0, f, smooth)


def _run(start: tf.Tensor, step, betas: tf.Tensor) -> AlternatingResult:
    """Steps with one penalty after another, from `u = start` and `v = D start`."""
    num_steps = betas.shape[0]
    history = tf.TensorArray(start.dtype, size=num_steps, element_shape=[3, None])

    def body(k, u, v, history):
        u, v, objective = step(u, v, betas[k])
        return k + 1, tf.ensure_shape(u, start.shape), v, history.write(k, objective)

    _, u, v, history = tf.while_loop(
        lambda k, *_: k < num_steps, body, (tf.constant(0), start, image_gradient(start), history)
    )
    return AlternatingResult(u, v, history.stack())


def _penalties(beta: float, growth: float, largest: float, repeats: int) -> list[float]:
    count = 1 + max(0, math.floor(math.log(largest / beta) / math.log(growth) + 1e-9))
    return [beta * growth**k for k in range(count) for _ in range(repeats)]


def _checked(f, beta: float, growth: float, largest: float, steps: int) -> tf.Tensor:
    f = tf.convert_to_tensor(f)
    if f.shape.rank != 4:
        raise ValueError(
            "`f` must have rank 4, [batch, height, width, channels]. "
            f"Received: f.shape={f.shape}. Add the missing axes with tf.newaxis."
        )
    if beta <= 0 or growth <= 1 or largest < beta or steps < 1:
        raise ValueError(
            "`beta` must be positive and at most `beta_max`, `beta_growth` above 1, the number "
            f"of steps at least 1. Received: beta={beta}, beta_growth={growth}, "
            f"beta_max={largest}, steps={steps}."
        )
    return f
