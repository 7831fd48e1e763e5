"""The reconstruction layer's function: one linear solve, differentiated by another.

    E(u) = 1/2 sum gamma (u - f)^2 + 1/2 sum w (D u - v)^2

is minimised by the solution of (paper, eq. 7, where every edge weight `w` is 1)

    (Gamma + D^T W D) u = Gamma f + D^T W v,        A := Gamma + D^T W D.

It is solved for the correction `d = u - f_0` to a start `f_0`, which is `f` where `f` tells
something and else the weighted mean `m` of what it tells:

    A d = Gamma (f - f_0) + D^T W (v - D f_0).

That keeps every digit of `d` where `gamma` is large and `u` close to `f`; and what stands in
`f` where `gamma` is 0 never meets the solution.

With `u_bar` the incoming cotangent and `A q = u_bar` (one adjoint solve, same operator and
preconditioner), the vector-Jacobian products are

    f_bar = gamma q        v_bar = W D q        gamma_bar = q (f - u)        w_bar = (D q) (v - D u)

summed over the axes along which `gamma` and `w` were broadcast. The paper's eq. (12) has
`v_bar = A^-1 (D u_bar)`, which equals `D A^-1 u_bar` only where `D` and `A` commute
(constant `gamma`, periodic borders); ours is exact, as finite differences confirm.

Nothing here imports Keras.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from deepam_tf.linear import preconditioners
from deepam_tf.linear.chebyshev import chebyshev_iteration
from deepam_tf.linear.checks import ALL_ZERO_GAMMA_FLOOR, validated
from deepam_tf.linear.conjugate_gradients import conjugate_gradient
from deepam_tf.linear.operators import (
    ReconstructionOperator,
    image_gradient,
    image_gradient_adjoint,
    per_channel,
)
from deepam_tf.linear.results import SolveResult, SolveStatus

__all__ = ["ALL_ZERO_GAMMA_FLOOR", "METHODS", "energy", "reconstruct", "reconstruct_with_info"]

METHODS = ("cg", "chebyshev")
"""What `reconstruct` solves by: conjugate gradients, Chebyshev iteration."""

_LITTLE_GAMMA, _FAR_OFF = 1e-3, 16.0
"""Data are no start where `gamma` is below that share of its largest value and `f` further off
the mean than that many mean deviations: a rim of large differences would hide the solution."""

_OF_HOLES, _ROUNDING = 0.05, 8.0
"""Solves of images with holes are run to that share of `rtol`: the same residual hides a larger
error where nothing but the rim holds the solution; not below that many roundings of the start."""


def energy(
    u: tf.Tensor,
    f: tf.Tensor,
    v: tf.Tensor,
    gamma: tf.Tensor,
    edge_weight: tf.Tensor | None = None,
) -> tf.Tensor:
    """The quadratic energy that `reconstruct` minimises over `u`.

    `E(u) = 1/2 sum gamma (u - f)^2 + 1/2 sum w (D u - v)^2`. The paper's eq. (6) squares
    `gamma`; its linear system (7), and this function, do not.

    Args:
        u: image, `[B, H, W, C]`.
        f: observation, `[B, H, W, C]`.
        v: target gradients, `[B, H, W, 2C]`, maps ordered (dy, dx).
        gamma: confidence in `f`, `[B, H, W, 1 or C]`.
        edge_weight: confidence in `v`, `[B, H, W, 2 or 2C]`; 1 by default.

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
    weight = image_gradient(_ramp_like(u))
    if edge_weight is not None:
        weight *= per_channel(edge_weight, u.shape[-1])
    smoothness = tf.reduce_sum(weight * tf.square(image_gradient(u) - v), axis=[1, 2, 3])
    return 0.5 * (data + smoothness)


def reconstruct(
    f: tf.Tensor,
    v: tf.Tensor,
    gamma: tf.Tensor,
    *,
    edge_weight: tf.Tensor | None = None,
    method: str = "cg",
    preconditioner: str | tf.linalg.LinearOperator = "auto",
    u0: tf.Tensor | None = None,
    rtol: float = 1e-5,
    atol: float = 0.0,
    adjoint_rtol: float | None = None,
    max_steps: int = 500,
    name: str = "reconstruct",
) -> tf.Tensor:
    """The image closest to `f` (weighted by `gamma`) whose gradients are close to `v`.

    Solves `(Gamma + D^T W D) u = Gamma f + D^T W v` (paper, eq. 7) by preconditioned conjugate
    gradients or Chebyshev iteration. Differentiable in `f`, `v`, `gamma` and `edge_weight`, any
    number of times, at the cost of one more solve and with memory independent of `max_steps`.

    `gamma` may be zero on part of an image: there `f` may be any finite number, since the
    gradients are integrated from the surroundings. An image whose `gamma` is zero everywhere
    has no unique solution: in eager mode this is an error; inside `tf.function`, where values
    cannot be looked at, it gets `gamma = 1e-6` everywhere (`ALL_ZERO_GAMMA_FLOOR`). The same
    goes for pixels that zeros in `edge_weight` cut off from all data.

    Args:
        f: observation, `[B, H, W, C]`, float32 or float64, any range.
        v: target gradients, `[B, H, W, 2C]`, maps ordered (dy, dx), in the units of `f`.
        gamma: confidence in `f`, `[B, H, W, 1]` or `[B, H, W, C]`, non-negative.
            Data are followed where it is well above 1, gradients where well below.
        edge_weight: confidence in each entry of `v`, `[B, H, W, 2]` or `[B, H, W, 2C]`, maps
            ordered (dy, dx), non-negative; 1 by default. 0 lets two neighbours go apart.
        method: `"cg"`, conjugate gradients, for any `gamma`; or `"chebyshev"`, the cheaper
            steps, and more of them, for `gamma` that is nowhere small over a region: see
            `deepam_tf.chebyshev`. Images that would need more than `max_steps` of them are
            left to conjugate gradients.
        preconditioner: of conjugate gradients: one of `preconditioners.NAMES`, or a symmetric
            positive definite `tf.linalg.LinearOperator` of shape `[B, H*W*C, H*W*C]`. The
            adjoint solve uses the same. `"auto"` chooses by the range of `gamma`, see
            `preconditioners`; in a `tf.function` its graph holds all three candidates.
        u0: a guess at `u`, `[B, H, W, C]`, `f` by default. No gradient flows into it.
        rtol: stop once the residual of the system for the correction is below `rtol` times its
            right-hand side (`D^T W (v - D f)` where `gamma > 0` everywhere), image by image;
            down to a twentieth of it in images with holes, as the dtype allows. With `"chebyshev"`
            the share of the first error that is left, see `chebyshev_iteration`.
        atol: or below `atol`, in the units of `f`; the adjoint solve knows `rtol` alone.
        adjoint_rtol: `rtol` of the adjoint solve, if not the same (docs/training.md).
        max_steps: most steps, of either method.
        name: name scope.

    Returns:
        `u`, `[B, H, W, C]`. In a `tf.function`, an image of the batch that holds NaN gives
        NaN and changes no other.

    Raises:
        ValueError: if shapes do not match, there is no such method or preconditioner, or
            `atol` or a history is asked of Chebyshev iteration, which tests nothing; in eager mode
            also if something is not finite, or a weight is negative somewhere, or `gamma` zero
            on a whole image or on all that an image's `edge_weight` joins.
        TypeError: if `f` is neither float32 nor float64.

    Example:
        >>> f = tf.constant([0.0, 0.0, 1.0, 1.0])[tf.newaxis, tf.newaxis, :, tf.newaxis]
        >>> v = deepam_tf.image_gradient(f)
        >>> u = deepam_tf.reconstruct(f, v, 0.1 * tf.ones_like(f))
        >>> bool(tf.reduce_all(u == f))
        True
    """
    with tf.name_scope(name):
        f, v, gamma, edge_weight = validated(f, v, gamma, edge_weight)
        solver = _Solve(method, preconditioner, rtol, max_steps)
        adjoint = dataclasses.replace(solver, rtol=rtol if adjoint_rtol is None else adjoint_rtol)
        weights = (gamma,) if edge_weight is None else (gamma, edge_weight)
        # Solved outside of the function that is differentiated: inside of it, a
        # preconditioner that holds variables would be asked for their derivatives.
        start = _Start.at(f, gamma)
        correction = solver.run(weights, _system(f, v, weights, start), u0=u0, atol=atol).x
        correction = tf.reshape(correction, tf.shape(f))

        @tf.custom_gradient
        def differentiable(f, v, *weights):
            def vjp(u_bar):
                q = _solve(weights, u_bar, adjoint)
                system = _system(f, v, weights, start)
                known = _known_solution(weights, system.rhs, correction, adjoint)
                gamma_bar = _sum_to_maps(q * (system.rest - known), weights[0])
                if len(weights) == 1:
                    return weights[0] * q, image_gradient(q), gamma_bar
                slope = image_gradient(q)
                slack = v - image_gradient(system.image) - image_gradient(known)
                v_bar = per_channel(weights[1], f.shape[-1]) * slope
                return weights[0] * q, v_bar, gamma_bar, _sum_to_maps(slope * slack, weights[1])

            return start.split(f)[0] + correction, vjp

        return tf.ensure_shape(differentiable(f, v, *weights), f.shape)


def reconstruct_with_info(
    f: tf.Tensor,
    v: tf.Tensor,
    gamma: tf.Tensor,
    *,
    edge_weight: tf.Tensor | None = None,
    method: str = "cg",
    preconditioner: str | tf.linalg.LinearOperator = "auto",
    u0: tf.Tensor | None = None,
    rtol: float = 1e-5,
    atol: float = 0.0,
    max_steps: int = 500,
    return_history: bool = False,
    name: str = "reconstruct_with_info",
) -> tuple[tf.Tensor, SolveResult]:
    """`reconstruct`, and how the solve went; not differentiable.

    Args:
        f: see `reconstruct`.
        v: see `reconstruct`.
        gamma: see `reconstruct`.
        edge_weight: see `reconstruct`.
        method: see `reconstruct`.
        preconditioner: see `reconstruct`.
        u0: see `reconstruct`.
        rtol: see `reconstruct`.
        atol: see `reconstruct`.
        max_steps: see `reconstruct`.
        return_history: whether to keep the residual norms of all steps.
        name: name scope.

    Returns:
        `(u, result)`: the restored image `[B, H, W, C]`, and the `SolveResult` of the system
        for the correction to the start, which is `f` wherever `f` tells something.

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
        f, v, gamma, edge_weight = validated(f, v, gamma, edge_weight)
        weights = (gamma,) if edge_weight is None else (gamma, edge_weight)
        system = _system(f, v, weights, _Start.at(f, gamma))
        solver = _Solve(method, preconditioner, rtol, max_steps)
        result = solver.run(weights, system, u0=u0, atol=atol, return_history=return_history)
        return tf.stop_gradient(system.image + tf.reshape(result.x, tf.shape(f))), result


class _Start(NamedTuple):
    """Where a solve starts: at `f` where it is kept, at its mean elsewhere."""

    kept: tf.Tensor
    mean: tf.Tensor

    @classmethod
    def at(cls, f: tf.Tensor, gamma: tf.Tensor) -> _Start:
        f, gamma = tf.stop_gradient(f), tf.stop_gradient(gamma)
        share = gamma / tf.reduce_sum(gamma, axis=[1, 2], keepdims=True)
        mean = tf.reduce_sum(share * f, axis=[1, 2], keepdims=True)
        distance = tf.abs(f - mean)
        usual = tf.reduce_sum(share * distance, axis=[1, 2], keepdims=True)
        little = gamma <= _LITTLE_GAMMA * tf.reduce_max(gamma, axis=[1, 2], keepdims=True)
        kept = tf.not_equal(gamma, 0) & ~(little & (distance > _FAR_OFF * usual))
        return cls(kept, mean)

    def split(self, f: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """`f_0` and `f - f_0`, whose sum is `f`, as functions of `f`."""
        nothing = tf.zeros([], f.dtype)
        return tf.where(self.kept, f, self.mean), tf.where(self.kept, nothing, f - self.mean)


class _System(NamedTuple):
    """`A d = rhs`.

    Attributes:
        rhs: right-hand side, `[B, H, W, C]`.
        total: its sum over each channel, `[B, 1, 1, C]`, with more digits than `rhs` keeps.
        image: the start `f_0`; None where the solution is none of an image.
        rest: `f - f_0`.
    """

    rhs: tf.Tensor
    total: tf.Tensor
    image: tf.Tensor | None = None
    rest: tf.Tensor | None = None


def _system(f: tf.Tensor, v: tf.Tensor, weights, start: _Start) -> _System:
    """The system for the correction to `f_0`."""
    image, rest = start.split(f)
    slack = v - image_gradient(image)
    if len(weights) == 2:
        slack *= per_channel(weights[1], f.shape[-1])
    pull = weights[0] * rest
    # What D^T gives sums to zero, which in float32 its rounded values do not.
    total = tf.reduce_sum(pull, axis=[1, 2], keepdims=True)
    return _System(image_gradient_adjoint(slack) + pull, total, image, rest)


@dataclasses.dataclass(frozen=True)
class _Solve:
    """How systems are solved; the derivatives of a solve are solves of the same kind."""

    method: str
    preconditioner: str | tf.linalg.LinearOperator
    rtol: float
    max_steps: int

    def run(
        self, weights, system: _System, *, u0=None, atol=0.0, return_history=False
    ) -> SolveResult:
        """Solve, on images `[B, H, W, C]`; nothing of it is differentiated."""
        check_method(self.method)
        gamma, *edge_weight = (tf.stop_gradient(x) for x in weights)
        operator = ReconstructionOperator(
            gamma, system.rhs.shape[-1], edge_weight=edge_weight[0] if edge_weight else None
        )
        rhs = tf.stop_gradient(tf.reshape(system.rhs, operator.shape_tensor()[:2]))
        x0 = None
        if u0 is not None:
            x0 = tf.stop_gradient(tf.convert_to_tensor(u0, rhs.dtype) - system.image)
            x0 = tf.reshape(x0, tf.shape(rhs))
        project = functools.partial(
            _with_exact_mean, operator=operator, total=tf.stop_gradient(system.total)
        )
        image = None if system.image is None else tf.stop_gradient(system.image)
        if self.method == "cg":
            options = {"projection": project, "atol": atol, "return_history": return_history}
            result = self._gradients(operator, rhs, x0, image, **options)
        elif atol or return_history:
            raise ValueError(
                "`atol` and `return_history` need a method that looks at its residual. Received: "
                f"method='chebyshev', atol={atol}, return_history={return_history}. Take 'cg'."
            )
        else:
            result = self._chebyshev(operator, rhs, x0, image, project)
        return SolveResult(*(x if x is None else tf.stop_gradient(x) for x in result))

    def _gradients(self, operator, rhs, x0, image, **options) -> SolveResult:
        rtol = self.rtol
        if image is not None:
            holes = tf.reduce_any(tf.equal(operator.gamma, 0), axis=[1, 2, 3])
            precision = float(np.finfo(rhs.dtype.as_numpy_dtype).eps)
            rounding = _ROUNDING * precision * tf.norm(tf.reshape(image, tf.shape(rhs)), axis=1)
            attainable = tf.math.divide_no_nan(rounding, tf.norm(rhs, axis=1))
            tight = tf.maximum(tf.minimum(attainable, rtol), _OF_HOLES * rtol)
            rtol = tf.where(holes, tight, rtol)

        def solve(preconditioner: tf.linalg.LinearOperator | None) -> SolveResult:
            return conjugate_gradient(
                operator,
                rhs,
                preconditioner=preconditioner,
                x0=x0,
                rtol=rtol,
                max_steps=self.max_steps,
                **options,
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
            result = SolveResult(*tf.switch_case(preconditioners.auto_choice(operator), branches))
        # Judged by what was asked for, also where more was tried.
        enough = 2 * self.rtol * tf.norm(rhs, axis=1)
        within = tf.math.is_finite(result.residual_norm) & (result.residual_norm <= enough)
        return result._replace(status=tf.where(within, SolveStatus.CONVERGED.value, result.status))

    def _chebyshev(self, operator, rhs, x0, image, project) -> SolveResult:
        options = {"rtol": self.rtol, "max_steps": self.max_steps, "projection": project}
        result = chebyshev_iteration(operator, rhs, x0=x0, **options)
        late = tf.equal(result.status, SolveStatus.STEP_LIMIT.value)
        late_rows = late[:, tf.newaxis]

        def finished() -> list[tf.Tensor]:
            # What is done already has nothing left to solve, which takes no step.
            rest = tf.where(late_rows, rhs, 0)
            start = None if x0 is None else tf.where(late_rows, x0, 0)
            other = self._gradients(operator, rest, start, image, projection=project)
            return [
                tf.where(late_rows if a.shape.rank == 2 else late, b, a)
                for a, b in zip(result[:4], other[:4], strict=True)
            ]

        return SolveResult(*tf.cond(tf.reduce_any(late), finished, lambda: list(result[:4])))


def check_method(method: str) -> None:
    """Refuse what is not in `METHODS`.

    Args:
        method: name of a method.

    Raises:
        ValueError: if there is no such method.
    """
    if method not in METHODS:
        raise ValueError(f"`method` must be one of {list(METHODS)}. Received: {method!r}.")


def _fields(solve, name: str, operator: ReconstructionOperator) -> list[tf.Tensor]:
    result = solve(preconditioners.make_preconditioner(name, operator))
    return [field for field in result if field is not None]


def _with_exact_mean(x: tf.Tensor, *, operator: ReconstructionOperator, total: tf.Tensor):
    """Shift each channel so that its equations hold in sum: `sum gamma x = sum rhs`.

    A constant `c` leaves a residual of only `gamma c`: where `gamma` is small, a residual
    within the tolerance can hide a shift that the eye sees. This removes it; being a
    projection in the norm of `A`, it never makes the error larger there.
    """
    image = tf.reshape(x, operator.image_shape)
    missing = total - tf.reduce_sum(operator.gamma * image, axis=[1, 2], keepdims=True)
    of_one = tf.reduce_sum(operator.gamma * tf.ones_like(image), axis=[1, 2], keepdims=True)
    return tf.reshape(image + missing / of_one, tf.shape(x))


def _solve(weights, rhs, solver: _Solve) -> tf.Tensor:
    """`A^-1 rhs` on images `[B, H, W, C]`, differentiable in `rhs` and the weights of `A`."""
    system = _System(rhs, tf.reduce_sum(rhs, axis=[1, 2], keepdims=True))
    x = tf.reshape(solver.run(weights, system).x, tf.shape(rhs))
    return _known_solution(weights, rhs, x, solver)


def _known_solution(weights, rhs, x, solver: _Solve) -> tf.Tensor:
    """`x`, which solves `A x = rhs`, as a function of `rhs` and the weights of `A`.

    Its value costs nothing. Its derivative is a solve: `dx = A^-1 (drhs - dgamma x - D^T dw D
    x)`, hence with `A q = x_bar`: `rhs_bar = q`, `gamma_bar = -q x`, `w_bar = -(D q) (D x)`.
    That the derivative is made of such functions again makes every order available.
    """

    @tf.custom_gradient
    def differentiable(rhs, *weights):
        def vjp(x_bar):
            q = _solve(weights, x_bar, solver)
            known = _known_solution(weights, rhs, x, solver)
            gamma_bar = _sum_to_maps(-q * known, weights[0])
            if len(weights) == 1:
                return q, gamma_bar
            product = image_gradient(q) * image_gradient(known)
            return q, gamma_bar, _sum_to_maps(-product, weights[1])

        return tf.identity(x), vjp

    return tf.ensure_shape(differentiable(rhs, *weights), rhs.shape)


def _sum_to_maps(cotangent: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    """Sum over channels where the maps of a weight, one or (dy, dx), served all of them."""
    maps = weight.shape[-1]
    if maps == cotangent.shape[-1]:
        return cotangent
    groups = tf.split(cotangent, maps, axis=-1)
    return tf.concat([tf.reduce_sum(x, axis=-1, keepdims=True) for x in groups], axis=-1)


def _ramp_like(u: tf.Tensor) -> tf.Tensor:
    """An image whose forward differences are all 1, wherever `D` has one."""
    shape = tf.shape(u)
    ramp = tf.range(shape[1])[:, tf.newaxis] + tf.range(shape[2])[tf.newaxis, :]
    return tf.broadcast_to(tf.cast(ramp, u.dtype)[tf.newaxis, :, :, tf.newaxis], shape)
