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

import dataclasses
import functools

import tensorflow as tf

from deepam_tf.linear import preconditioners
from deepam_tf.linear.checks import ALL_ZERO_GAMMA_FLOOR, validated
from deepam_tf.linear.conjugate_gradients import CGResult, conjugate_gradient
from deepam_tf.linear.operators import (
    ReconstructionOperator,
    image_gradient,
    image_gradient_adjoint,
)

__all__ = ["ALL_ZERO_GAMMA_FLOOR", "energy", "reconstruct", "reconstruct_with_info"]


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
    preconditioner: str | tf.linalg.LinearOperator = "auto",
    u0: tf.Tensor | None = None,
    rtol: float = 1e-5,
    atol: float = 0.0,
    adjoint_rtol: float | None = None,
    max_steps: int = 500,
    name: str = "reconstruct",
) -> tf.Tensor:
    """The image closest to `f` (weighted by `gamma`) whose gradients are close to `v`.

    Solves `(Gamma + D^T D) u = Gamma f + D^T v` (paper, eq. 7) by preconditioned conjugate
    gradients. Differentiable in `f`, `v` and `gamma`, any number of times, at the cost of one
    more solve and with memory independent of `max_steps`.

    `gamma` may be zero on part of an image: there, the data are ignored and the gradients
    integrated from the surroundings. An image whose `gamma` is zero everywhere has no
    unique solution: in eager mode this is an error; inside `tf.function`, where values
    cannot be looked at, it gets `gamma = 1e-6` everywhere (`ALL_ZERO_GAMMA_FLOOR`).

    Args:
        f: observation, `[B, H, W, C]`, float32 or float64, any range.
        v: target gradients, `[B, H, W, 2C]`, maps ordered (dy, dx), in the units of `f`.
        gamma: confidence in `f`, `[B, H, W, 1]` or `[B, H, W, C]`, non-negative.
            Data are followed where it is well above 1, gradients where well below.
        preconditioner: one of `preconditioners.NAMES`, or a symmetric positive definite
            `tf.linalg.LinearOperator` of shape `[B, H*W*C, H*W*C]`. The adjoint solve uses
            the same. `"auto"` chooses by the range of `gamma`, see `preconditioners`; in a
            `tf.function` its graph holds all three candidates.
        u0: a guess at `u`, `[B, H, W, C]`, `f` by default. No gradient flows into it.
        rtol: stop once the residual of the system for `u - f` is below `rtol` times its
            right-hand side `D^T (v - D f)`, image by image.
        atol: or below `atol`, in the units of `f`; the adjoint solve knows `rtol` alone.
        adjoint_rtol: `rtol` of the adjoint solve, if not the same (docs/training.md).
        max_steps: most conjugate gradient steps.
        name: name scope.

    Returns:
        `u`, `[B, H, W, C]`. In a `tf.function`, an image of the batch that holds NaN gives
        NaN and changes no other.

    Raises:
        ValueError: if shapes do not match, or there is no such preconditioner; in eager mode
            also if something is not finite, or `gamma` is negative somewhere or zero on a
            whole image.
        TypeError: if `f` is neither float32 nor float64.

    Example:
        >>> f = tf.constant([0.0, 0.0, 1.0, 1.0])[tf.newaxis, tf.newaxis, :, tf.newaxis]
        >>> v = deepam_tf.image_gradient(f)
        >>> u = deepam_tf.reconstruct(f, v, 0.1 * tf.ones_like(f))
        >>> bool(tf.reduce_all(u == f))
        True
    """
    with tf.name_scope(name):
        f, v, gamma = validated(f, v, gamma)
        how = _Solve(preconditioner, rtol, max_steps)
        adjoint = dataclasses.replace(how, rtol=rtol if adjoint_rtol is None else adjoint_rtol)
        x0 = None if u0 is None else tf.stop_gradient(tf.convert_to_tensor(u0, f.dtype) - f)

        @tf.custom_gradient
        def differentiable(f, v, gamma):
            rhs = _correction_rhs(f, v)
            correction = how.run(gamma, rhs, x0=x0, atol=atol).x
            correction = tf.stop_gradient(tf.reshape(correction, tf.shape(f)))

            def vjp(u_bar):
                w = _solve(gamma, u_bar, adjoint)
                known = _known_solution(gamma, _correction_rhs(f, v), correction, adjoint)
                return gamma * w, image_gradient(w), _sum_to_maps(-w * known, gamma)

            return f + correction, vjp

        return tf.ensure_shape(differentiable(f, v, gamma), f.shape)


def reconstruct_with_info(
    f: tf.Tensor,
    v: tf.Tensor,
    gamma: tf.Tensor,
    *,
    preconditioner: str | tf.linalg.LinearOperator = "auto",
    u0: tf.Tensor | None = None,
    rtol: float = 1e-5,
    atol: float = 0.0,
    max_steps: int = 500,
    return_history: bool = False,
    name: str = "reconstruct_with_info",
) -> tuple[tf.Tensor, CGResult]:
    """`reconstruct`, and how the solve went; not differentiable.

    Args:
        f: see `reconstruct`.
        v: see `reconstruct`.
        gamma: see `reconstruct`.
        preconditioner: see `reconstruct`.
        u0: see `reconstruct`.
        rtol: see `reconstruct`.
        atol: see `reconstruct`.
        max_steps: see `reconstruct`.
        return_history: whether to keep the residual norms of all steps.
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
        f, v, gamma = validated(f, v, gamma)
        how = _Solve(preconditioner, rtol, max_steps)
        x0 = None if u0 is None else tf.convert_to_tensor(u0, f.dtype) - f
        rhs = _correction_rhs(f, v)
        result = how.run(gamma, rhs, x0=x0, atol=atol, return_history=return_history)
        result = CGResult(*(x if x is None else tf.stop_gradient(x) for x in result))
        return tf.stop_gradient(f + tf.reshape(result.x, tf.shape(f))), result


def _correction_rhs(f: tf.Tensor, v: tf.Tensor) -> tf.Tensor:
    return image_gradient_adjoint(v - image_gradient(f))


@dataclasses.dataclass(frozen=True)
class _Solve:
    """How systems are solved; the derivatives of a solve are solves of the same kind."""

    preconditioner: str | tf.linalg.LinearOperator
    rtol: float
    max_steps: int

    def run(self, gamma, rhs, *, x0=None, atol=0.0, return_history=False) -> CGResult:
        operator = ReconstructionOperator(gamma, num_channels=rhs.shape[-1])
        flat = operator.shape_tensor()[:2]

        def solve(preconditioner: tf.linalg.LinearOperator | None) -> CGResult:
            return conjugate_gradient(
                operator,
                tf.reshape(rhs, flat),
                preconditioner=preconditioner,
                x0=None if x0 is None else tf.reshape(x0, flat),
                rtol=self.rtol,
                atol=atol,
                max_steps=self.max_steps,
                return_history=return_history,
            )

        if not isinstance(self.preconditioner, str):
            result = solve(self.preconditioner)
        elif self.preconditioner != "auto":
            result = solve(preconditioners.make_preconditioner(self.preconditioner, operator))
        else:
            # Branches may not return None, which is what a history not asked for is.
            branches = [
                functools.partial(_fields, solve, name, operator)
                for name in preconditioners.AUTO_CANDIDATES
            ]
            result = CGResult(*tf.switch_case(preconditioners.auto_choice(gamma), branches))
        return result._replace(x=_with_exact_mean(result.x, gamma, rhs))


def _fields(solve, name: str, operator: ReconstructionOperator) -> list[tf.Tensor]:
    result = solve(preconditioners.make_preconditioner(name, operator))
    return [field for field in result if field is not None]


def _with_exact_mean(x: tf.Tensor, gamma: tf.Tensor, rhs: tf.Tensor) -> tf.Tensor:
    """Shift each channel so that its equations hold in sum: `sum gamma x = sum rhs`.

    A constant `c` leaves a residual of only `gamma c`: where `gamma` is small, a residual
    within the tolerance can hide a shift that the eye sees. This removes it; being a
    projection in the norm of `A`, it never makes the error larger there.
    """
    image = tf.reshape(x, tf.shape(rhs))
    missing = tf.reduce_sum(rhs - gamma * image, axis=[1, 2], keepdims=True)
    total = tf.reduce_sum(gamma * tf.ones_like(rhs), axis=[1, 2], keepdims=True)
    return tf.reshape(image + missing / total, tf.shape(x))


def _solve(gamma, rhs, how: _Solve) -> tf.Tensor:
    """`A(gamma)^-1 rhs` on images `[B, H, W, C]`, differentiable in both."""
    x = how.run(gamma, rhs).x
    x = tf.stop_gradient(tf.reshape(x, tf.shape(rhs)))
    return _known_solution(gamma, rhs, x, how)


def _known_solution(gamma, rhs, x, how: _Solve) -> tf.Tensor:
    """`x`, which solves `A(gamma) x = rhs`, as a function of `gamma` and `rhs`.

    Its value costs nothing. Its derivative is a solve: `dx = A^-1 (drhs - dgamma x)`, hence
    with `A w = x_bar`: `rhs_bar = w`, `gamma_bar = -w x`. That the derivative is made of
    such functions again makes every order available.
    """

    @tf.custom_gradient
    def differentiable(gamma, rhs):
        def vjp(x_bar):
            w = _solve(gamma, x_bar, how)
            known = _known_solution(gamma, rhs, x, how)
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
