"""Batched preconditioned conjugate gradients that treat every system on its own.

For symmetric positive definite `A` (one system for each leading index) and right-hand
side `b`, steps run until each system satisfies

    ||b - A x||_2 <= max(rtol * ||b||_2, atol)

or its residual has stopped falling, or `max_steps` is reached. The recurrences are those of
Saad, Iterative Methods for Sparse Linear Systems, 2nd ed., algorithm 9.1. Nothing here imports
Keras, or knows of images.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from deepam_tf.linear.results import SolveResult, SolveStatus

__all__ = ["CGResult", "conjugate_gradient"]


CGResult = SolveResult
"""What `conjugate_gradient` returns."""


class _State(NamedTuple):
    x: tf.Tensor
    r: tf.Tensor
    p: tf.Tensor
    rz: tf.Tensor
    active: tf.Tensor
    indefinite: tf.Tensor
    num_steps: tf.Tensor
    lowest: tf.Tensor
    num_stale: tf.Tensor


def conjugate_gradient(
    operator: tf.linalg.LinearOperator,
    rhs: tf.Tensor,
    *,
    preconditioner: tf.linalg.LinearOperator | None = None,
    x0: tf.Tensor | None = None,
    rtol: float | tf.Tensor = 1e-5,
    atol: float = 0.0,
    max_steps: int = 500,
    projection: Callable[[tf.Tensor], tf.Tensor] | None = None,
    return_history: bool = False,
    name: str = "conjugate_gradient",
) -> CGResult:
    """Solve `A x = b` for a batch of symmetric positive definite systems.

    This differs from `tf.linalg.experimental.conjugate_gradient` in that

    1. every system has its own stop test and is frozen once it passes, so that no system
       of a batch can change another, and a zero right-hand side gives exactly zero;
    2. the stop test is relative and each right-hand side is scaled to 1 first, so that
       `solve(c b) = c solve(b)` down to the smallest floats. An absolute tolerance
       silently destroys gradients, whose right-hand sides are tiny;
    3. residual and status are those of the solution that is returned, recomputed from it;
    4. operator and preconditioner must be declared self-adjoint and positive definite. One
       that is not (a curvature `<p, A p> <= 0`) stops where it is, and so does a system
       whose residual finds no new minimum for `100 + 4 sqrt(N)` steps; `status` tells them
       apart. A system that contains NaN or infinity gives NaN.

    A gradient through it would run back through every step; `deepam_tf.reconstruct`
    differentiates the solution itself instead.

    Args:
        operator: `A`, of shape `[B, N, N]`, with `matvec`, declared self-adjoint and positive
            definite.
        rhs: right-hand side `b`, `[B, N]`.
        preconditioner: approximation of `A^-1`, with `matvec`, declared like `operator`.
        x0: start, `[B, N]`; zero by default.
        rtol: tolerance relative to `||b||_2`, one for all or one for each system, `[B]`.
        atol: absolute tolerance, in units of `b`.
        max_steps: most steps any system may take.
        projection: what is done to the solution at the end, `[B, N]` to `[B, N]`, before its
            residual and status are taken.
        return_history: whether to keep the residual norms of all steps.
        name: name scope.

    Returns:
        A `CGResult`.

    Raises:
        ValueError: if `rhs` is not `[B, N]`, a tolerance or `max_steps` is negative, or
            `operator` or `preconditioner` is not declared self-adjoint and positive definite.

    Example:
        >>> A = tf.linalg.LinearOperatorDiag([[1.0, 2.0]], is_positive_definite=True)
        >>> result = deepam_tf.conjugate_gradient(A, [[1.0, 4.0]])
        >>> result.x.numpy().round(5).tolist(), result.num_steps.numpy().tolist()
        ([[1.0, 2.0]], [2])
    """
    if (not tf.is_tensor(rtol) and rtol < 0) or atol < 0 or max_steps < 0:
        raise ValueError(
            "`rtol`, `atol` and `max_steps` must not be negative. "
            f"Received: rtol={rtol}, atol={atol}, max_steps={max_steps}."
        )
    _check_declared("operator", operator)
    if preconditioner is not None:
        _check_declared("preconditioner", preconditioner)
    with tf.name_scope(name):
        rhs = tf.convert_to_tensor(rhs, dtype=operator.dtype, name="rhs")
        if rhs.shape.rank != 2:
            raise ValueError(
                "`rhs` must have rank 2, [batch, unknowns]. "
                f"Received: rhs.shape={rhs.shape}. Flatten each image first."
            )

        # Powers of two keep every digit, whatever the size of b.
        scale = _power_of_two_above(tf.reduce_max(tf.abs(rhs), axis=1, keepdims=True))
        b = rhs / scale
        x = tf.zeros_like(b) if x0 is None else tf.convert_to_tensor(x0, b.dtype) / scale
        norm_of_b = tf.norm(b, axis=1)
        tolerance = tf.maximum(rtol * norm_of_b, atol / scale[:, 0])
        # The recurrence would go on towards 0 while x has long stopped changing.
        # Solvable systems have plateaus too: of 1104 steps with N = 512^2 and gamma = 1e-6.
        patience = 100 + 4 * tf.cast(tf.sqrt(tf.cast(tf.shape(b)[1], tf.float32)), tf.int32)
        precision = float(np.finfo(b.dtype.as_numpy_dtype).eps)
        target = tf.maximum(tolerance, precision * norm_of_b)
        apply = _traced_once(operator.matvec)
        precondition = (
            tf.identity if preconditioner is None else _traced_once(preconditioner.matvec)
        )

        r = b if x0 is None else b - apply(x)
        z = precondition(r)
        norm = tf.norm(r, axis=1)
        # A NaN compares as False: such a system is never active.
        start = _State(
            x=x,
            r=r,
            p=z,
            rz=_dot(r, z),
            active=norm > target,
            indefinite=tf.zeros_like(norm, dtype=tf.bool),
            num_steps=tf.zeros_like(norm, dtype=tf.int32),
            lowest=norm,
            num_stale=tf.zeros_like(norm, dtype=tf.int32),
        )

        def step(state: _State) -> tuple[_State, tf.Tensor]:
            product = apply(state.p)
            curvature = _dot(state.p, product)
            indefinite = state.active & ((curvature <= 0) | (state.rz <= 0))
            active = state.active & (curvature > 0) & (state.rz > 0)
            alpha = tf.where(active, tf.math.divide_no_nan(state.rz, curvature), 0)
            x = state.x + alpha[:, tf.newaxis] * state.p
            r = state.r - alpha[:, tf.newaxis] * product
            z = precondition(r)
            rz = tf.where(active, _dot(r, z), state.rz)
            beta = tf.where(active, tf.math.divide_no_nan(rz, state.rz), 0)
            norm = tf.norm(r, axis=1)
            num_stale = tf.where(norm < state.lowest, 0, state.num_stale + 1)
            stepped = _State(
                x=x,
                r=r,
                p=z + beta[:, tf.newaxis] * state.p,
                rz=rz,
                active=active & (norm > target) & (num_stale < patience),
                indefinite=state.indefinite | indefinite,
                num_steps=state.num_steps + tf.cast(active, tf.int32),
                lowest=tf.minimum(norm, state.lowest),
                num_stale=num_stale,
            )
            return stepped, tf.where(active, norm, np.nan)

        end, history = _iterate(start, step, norm, max_steps, return_history)

        x = end.x if projection is None else projection(end.x * scale) / scale
        residual_norm = tf.norm(b - apply(x), axis=1)
        finite = tf.math.is_finite(residual_norm)
        status = tf.where(end.active, SolveStatus.STEP_LIMIT.value, SolveStatus.STAGNATED.value)
        status = tf.where(end.indefinite, SolveStatus.NOT_POSITIVE_DEFINITE.value, status)
        converged = residual_norm <= 2 * tolerance
        status = tf.where(converged, SolveStatus.CONVERGED.value, status)
        status = tf.where(finite, status, SolveStatus.NOT_FINITE.value)
        solution = tf.where(finite[:, tf.newaxis], x * scale, np.nan)
        return CGResult(
            x=tf.ensure_shape(solution, rhs.shape),
            num_steps=end.num_steps,
            residual_norm=residual_norm * scale[:, 0],
            status=status,
            residual_history=None if history is None else history * scale[:, 0],
        )


def _check_declared(name: str, operator: tf.linalg.LinearOperator) -> None:
    if not (operator.is_self_adjoint and operator.is_positive_definite):
        raise ValueError(
            f"`{name}` must be declared self-adjoint and positive definite. Received: "
            f"{type(operator).__name__} with is_self_adjoint={operator.is_self_adjoint}, "
            f"is_positive_definite={operator.is_positive_definite}. Pass both as True where it "
            "is made, if they are true."
        )


def _iterate(start: _State, step, norm: tf.Tensor, max_steps: int, keep_history: bool):
    """Step until no system is active; the last state, and the residual norms if wanted."""

    def condition(state: _State, *_) -> tf.Tensor:
        return tf.reduce_any(state.active)

    if not keep_history:
        (end,) = tf.while_loop(
            condition, lambda state: step(state)[:1], (start,), maximum_iterations=max_steps
        )
        return end, None

    def body(state: _State, k: tf.Tensor, norms: tf.TensorArray):
        state, norm = step(state)
        return state, k + 1, norms.write(k, norm)

    norms = tf.TensorArray(norm.dtype, size=max_steps + 1, element_shape=norm.shape)
    end, taken, norms = tf.while_loop(
        condition, body, (start, 1, norms.write(0, norm)), maximum_iterations=max_steps
    )
    untaken = tf.range(max_steps + 1) >= taken
    return end, tf.where(untaken[:, tf.newaxis], np.nan, norms.stack())


def _traced_once(matvec: Callable[[tf.Tensor], tf.Tensor]):
    """In a graph, one copy of what is called in two places; a V-cycle is hundreds of nodes.

    Loops and branches forget static shapes, which those of `x` restore.
    """

    def product(x: tf.Tensor) -> tf.Tensor:
        return tf.ensure_shape(matvec(x), x.shape)

    return product if tf.executing_eagerly() else tf.function(product)


def _dot(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(a * b, axis=1)


def _power_of_two_above(x: tf.Tensor) -> tf.Tensor:
    """Round up to a power of two; 1 where `x` is zero or not finite."""
    usable = tf.math.is_finite(x) & (x > 0)
    exponent = tf.math.ceil(tf.math.log(tf.where(usable, x, 1)) / tf.math.log(tf.cast(2, x.dtype)))
    # Both 2^k and its inverse must stay normal numbers.
    limit = tf.cast(126 if x.dtype == tf.float32 else 1022, x.dtype)
    return tf.pow(tf.cast(2, x.dtype), tf.clip_by_value(exponent, -limit, limit))
