"""The reconstruction layer's function: one linear solve, differentiated by another.

    E(u) = 1/2 sum gamma (u - f)^2 + 1/2 ||D u - v||^2

is minimised by the solution of (paper, eq. 7)

    (Gamma + D^T D) u = Gamma f + D^T v,        A := Gamma + D^T D.

It is solved for the correction `d = u - f`, whose system `A d = D^T (v - D f)` keeps every
digit of `d` where `gamma` is large and `u` close to `f`.

With `u_bar` the incoming cotangent and `A w = u_bar` (one adjoint solve, same operator and
preconditioner), the vector-Jacobian products are

    f_bar = gamma w        v_bar = D w        gamma_bar = w (f - u)

summed over the axes along which `gamma` was broadcast. The paper's eq. (12) has
`v_bar = A^-1 (D u_bar)`, which equals `D A^-1 u_bar` only where `D` and `A` commute
(constant `gamma`, periodic borders); ours is exact, as finite differences confirm.

Nothing here imports Keras.
"""

from __future__ import annotations

import tensorflow as tf

from deepam_tf import preconditioners
from deepam_tf.operators import (
    ReconstructionOperator,
    image_gradient,
    image_gradient_adjoint,
)
from deepam_tf.solvers import CGResult, conjugate_gradient

__all__ = ["ALL_ZERO_GAMMA_FLOOR", "energy", "reconstruct", "reconstruct_with_info"]

ALL_ZERO_GAMMA_FLOOR = 1e-6
"""What an image whose `gamma` is zero everywhere is given instead (see `reconstruct`)."""


def energy(u: tf.Tensor, f: tf.Tensor, v: tf.Tensor, gamma: tf.Tensor) -> tf.Tensor:
    """The quadratic energy that `reconstruct` minimises over `u`.

    `E(u) = 1/2 sum gamma (u - f)^2 + 1/2 ||D u - v||^2`. The paper's eq. (6) squares
    `gamma`; its linear system (7), and this function, do not.

    Args:
        u: image, `[B, H, W, C]`.
        f: observation, `[B, H, W, C]`.
        v: target gradients, `[B, H, W, 2C]`, maps ordered (dy, dx).
        gamma: confidence in `f`, `[B, H, W, 1 or C]`.

    Returns:
        One energy for each image, `[B]`.

    Example:
        >>> f = tf.zeros([1, 2, 2, 1])
        >>> float(deepam_tf.energy(f + 1.0, f, tf.zeros([1, 2, 2, 2]), tf.ones([1, 2, 2, 1]))[0])
        2.0
    """
    data = tf.reduce_sum(gamma * tf.square(u - f), axis=[1, 2, 3])
    # D never reaches the last row of dy and the last column of dx: entries of v there
    # would only add a constant, so they are left out.
    mask = image_gradient(_ramp_like(u))
    smoothness = tf.reduce_sum(mask * tf.square(image_gradient(u) - v), axis=[1, 2, 3])
    return 0.5 * (data + smoothness)


def reconstruct(
    f: tf.Tensor,
    v: tf.Tensor,
    gamma: tf.Tensor,
    *,
    rtol: float = 1e-5,
    max_steps: int = 500,
    name: str = "reconstruct",
) -> tf.Tensor:
    """The image closest to `f` (weighted by `gamma`) whose gradients are close to `v`.

    Solves `(Gamma + D^T D) u = Gamma f + D^T v` (paper, eq. 7) by conjugate gradients with
    the Jacobi preconditioner. Differentiable in `f`, `v` and `gamma`, any number of times,
    at the cost of one more solve and with memory independent of `max_steps`.

    `gamma` may be zero on part of an image: there, the data are ignored and the gradients
    integrated from the surroundings. An image whose `gamma` is zero everywhere has no
    unique solution: in eager mode this is an error; inside `tf.function`, where values
    cannot be looked at, it gets `gamma = 1e-6` everywhere (`ALL_ZERO_GAMMA_FLOOR`).

    Args:
        f: observation, `[B, H, W, C]`, float32 or float64, any range.
        v: target gradients, `[B, H, W, 2C]`, maps ordered (dy, dx), in the units of `f`.
        gamma: confidence in `f`, `[B, H, W, 1]` or `[B, H, W, C]`, non-negative.
            Data are followed where it is well above 1, gradients where well below.
        rtol: stop once the residual of the system for `u - f` is below `rtol` times its
            right-hand side `D^T (v - D f)`, image by image.
        max_steps: most conjugate gradient steps.
        name: name scope.

    Returns:
        `u`, `[B, H, W, C]`. An image of the batch that holds NaN gives NaN, and changes no
        other.

    Raises:
        ValueError: if shapes do not match; in eager mode also if `gamma` is negative
            somewhere or zero on a whole image.
        TypeError: if `f` is neither float32 nor float64.

    Example:
        >>> f = tf.constant([0.0, 0.0, 1.0, 1.0])[tf.newaxis, tf.newaxis, :, tf.newaxis]
        >>> v = deepam_tf.image_gradient(f)
        >>> u = deepam_tf.reconstruct(f, v, 0.1 * tf.ones_like(f))
        >>> bool(tf.reduce_all(u == f))
        True
    """
    with tf.name_scope(name):
        f, v, gamma = _validated(f, v, gamma)

        @tf.custom_gradient
        def differentiable(f, v, gamma):
            rhs = _correction_rhs(f, v)
            correction = _solve_result(gamma, rhs, rtol, max_steps).x
            correction = tf.stop_gradient(tf.reshape(correction, tf.shape(f)))

            def vjp(u_bar):
                w = _solve(gamma, u_bar, rtol, max_steps)
                known = _known_solution(gamma, _correction_rhs(f, v), correction, rtol, max_steps)
                return gamma * w, image_gradient(w), _sum_to_maps(-w * known, gamma)

            return f + correction, vjp

        return tf.ensure_shape(differentiable(f, v, gamma), f.shape)


def reconstruct_with_info(
    f: tf.Tensor,
    v: tf.Tensor,
    gamma: tf.Tensor,
    *,
    rtol: float = 1e-5,
    max_steps: int = 500,
    name: str = "reconstruct_with_info",
) -> tuple[tf.Tensor, CGResult]:
    """`reconstruct`, and how the solve went; not differentiable.

    Args:
        f: see `reconstruct`.
        v: see `reconstruct`.
        gamma: see `reconstruct`.
        rtol: see `reconstruct`.
        max_steps: see `reconstruct`.
        name: name scope.

    Returns:
        `(u, result)`: the restored image `[B, H, W, C]`, and the `CGResult` of the system
        for the correction `u - f`.

    Raises:
        ValueError: see `reconstruct`.

    Example:
        >>> f = tf.random.stateless_uniform([2, 8, 8, 1], seed=[0, 1])
        >>> u, info = deepam_tf.reconstruct_with_info(
        ...     f, tf.zeros([2, 8, 8, 2]), tf.ones([2, 8, 8, 1]))
        >>> info.converged.numpy().tolist()
        [True, True]
    """
    with tf.name_scope(name):
        f, v, gamma = _validated(f, v, gamma)
        result = _solve_result(gamma, _correction_rhs(f, v), rtol, max_steps)
        result = CGResult(*(tf.stop_gradient(field) for field in result))
        return tf.stop_gradient(f + tf.reshape(result.x, tf.shape(f))), result


def _correction_rhs(f: tf.Tensor, v: tf.Tensor) -> tf.Tensor:
    return image_gradient_adjoint(v - image_gradient(f))


def _solve_result(gamma, rhs, rtol, max_steps) -> CGResult:
    operator = ReconstructionOperator(gamma, num_channels=rhs.shape[-1])
    return conjugate_gradient(
        operator,
        tf.reshape(rhs, operator.shape_tensor()[:2]),
        preconditioner=preconditioners.jacobi(operator),
        rtol=rtol,
        max_steps=max_steps,
    )


def _solve(gamma, rhs, rtol, max_steps) -> tf.Tensor:
    """`A(gamma)^-1 rhs` on images `[B, H, W, C]`, differentiable in both."""
    x = _solve_result(gamma, rhs, rtol, max_steps).x
    x = tf.stop_gradient(tf.reshape(x, tf.shape(rhs)))
    return _known_solution(gamma, rhs, x, rtol, max_steps)


def _known_solution(gamma, rhs, x, rtol, max_steps) -> tf.Tensor:
    """`x`, which solves `A(gamma) x = rhs`, as a function of `gamma` and `rhs`.

    Its value costs nothing. Its derivative is a solve: `dx = A^-1 (drhs - dgamma x)`, hence
    with `A w = x_bar`: `rhs_bar = w`, `gamma_bar = -w x`. That the derivative is made of
    such functions again makes every order available.
    """

    @tf.custom_gradient
    def differentiable(gamma, rhs):
        def vjp(x_bar):
            w = _solve(gamma, x_bar, rtol, max_steps)
            known = _known_solution(gamma, rhs, x, rtol, max_steps)
            return _sum_to_maps(-w * known, gamma), w

        return tf.identity(x), vjp

    return tf.ensure_shape(differentiable(gamma, rhs), rhs.shape)


def _sum_to_maps(cotangent: tf.Tensor, gamma: tf.Tensor) -> tf.Tensor:
    """Sum over channels where one map of `gamma` served all of them."""
    if gamma.shape[-1] == 1 and cotangent.shape[-1] != 1:
        return tf.reduce_sum(cotangent, axis=-1, keepdims=True)
    return cotangent


def _ramp_like(u: tf.Tensor) -> tf.Tensor:
    """An image whose forward differences are all 1, wherever `D` has one."""
    shape = tf.shape(u)
    ramp = tf.range(shape[1])[:, tf.newaxis] + tf.range(shape[2])[tf.newaxis, :]
    return tf.broadcast_to(tf.cast(ramp, u.dtype)[tf.newaxis, :, :, tf.newaxis], shape)


def _validated(f, v, gamma) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    f = tf.convert_to_tensor(f, name="f")
    if f.dtype not in (tf.float32, tf.float64):
        raise TypeError(
            "`f` must be float32 or float64: a solve needs the digits. "
            f"Received: f.dtype={f.dtype.name}. Cast it with tf.cast(f, tf.float32)."
        )
    v = tf.convert_to_tensor(v, dtype=f.dtype, name="v")
    gamma = tf.convert_to_tensor(gamma, dtype=f.dtype, name="gamma")
    received = f"Received: f.shape={f.shape}, v.shape={v.shape}, gamma.shape={gamma.shape}."
    if not f.shape.rank == v.shape.rank == gamma.shape.rank == 4:
        raise ValueError(
            "`f`, `v` and `gamma` must have rank 4, [batch, height, width, channels]. " + received
        )
    channels = f.shape[-1]
    if channels is None or v.shape[-1] != 2 * channels or gamma.shape[-1] not in (1, channels):
        raise ValueError(
            "With C channels in `f`, `v` must have 2C maps, (dy, dx), and `gamma` 1 or C. "
            + received
        )
    if not (
        f.shape[:3].is_compatible_with(v.shape[:3])
        and f.shape[:3].is_compatible_with(gamma.shape[:3])
    ):
        raise ValueError("`f`, `v` and `gamma` must agree in batch, height and width. " + received)
    if tf.executing_eagerly():
        _check_gamma(gamma)
    # Sizes that are only known when the graph runs must not broadcast either.
    v = tf.reshape(v, tf.concat([tf.shape(f)[:3], [v.shape[-1]]], axis=0))
    gamma = tf.reshape(gamma, tf.concat([tf.shape(f)[:3], [gamma.shape[-1]]], axis=0))
    all_zero = tf.reduce_all(tf.equal(gamma, 0), axis=[1, 2], keepdims=True)
    floor = tf.cast(ALL_ZERO_GAMMA_FLOOR, gamma.dtype)
    return f, v, tf.where(all_zero, floor, gamma)


def _check_gamma(gamma: tf.Tensor) -> None:
    if bool(tf.reduce_any(gamma < 0)):
        raise ValueError(
            "`gamma` must not be negative: the energy would have no minimum. "
            f"Received: min(gamma)={float(tf.reduce_min(gamma))}. Apply tf.nn.relu to it."
        )
    all_zero = tf.reduce_all(tf.equal(gamma, 0), axis=[1, 2])
    if bool(tf.reduce_any(all_zero)):
        images = tf.unique(tf.where(all_zero)[:, 0])[0].numpy().tolist()
        raise ValueError(
            "`gamma` must be positive on at least one pixel of each image and channel: the "
            "solution is not unique otherwise. "
            f"Received: gamma all zero in image(s) {images} of the batch. Add a small floor."
        )
