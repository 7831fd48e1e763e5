"""Batched preconditioned conjugate gradients that treat every system on its own.

For symmetric positive definite `A` (one system for each leading index) and right-hand
side `b`, steps run until each system satisfies

    ||b - A x||_2 <= max(rtol * ||b||_2, atol)

or `max_steps` is reached. The recurrences are those of Saad, Iterative Methods for Sparse
Linear Systems, 2nd ed., algorithm 9.1. Nothing here imports Keras, or knows of images.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

__all__ = ["CGResult", "conjugate_gradient"]


class CGResult(NamedTuple):
    """What `conjugate_gradient` returns; every field but `x` has one entry a system.

    Attributes:
        x: solution, `[B, N]`.
        num_steps: conjugate gradient steps taken, `[B]`, int32.
        residual_norm: `||b - A x||_2` recomputed from `x`, `[B]`. In float32 the residual
            that the recurrence carries is too optimistic below about 1e-6 `||b||`.
        converged: whether `residual_norm` is within twice the tolerance, `[B]`, bool.
    """

    x: tf.Tensor
    num_steps: tf.Tensor
    residual_norm: tf.Tensor
    converged: tf.Tensor


class _State(NamedTuple):
    x: tf.Tensor
    r: tf.Tensor
    p: tf.Tensor
    rz: tf.Tensor
    active: tf.Tensor
    num_steps: tf.Tensor


def conjugate_gradient(
    operator: tf.linalg.LinearOperator,
    rhs: tf.Tensor,
    *,
    preconditioner: tf.linalg.LinearOperator | None = None,
    x0: tf.Tensor | None = None,
    rtol: float = 1e-5,
    atol: float = 0.0,
    max_steps: int = 500,
    name: str = "conjugate_gradient",
) -> CGResult:
    """Solve `A x = b` for a batch of symmetric positive definite systems.

    This differs from `tf.linalg.experimental.conjugate_gradient` in that

    1. every system has its own stop test and is frozen once it passes, so that no system
       of a batch can change another, and a zero right-hand side gives exactly zero;
    2. the stop test is relative and each right-hand side is scaled to 1 first, so that
       `solve(c b) = c solve(b)` down to the smallest floats. An absolute tolerance
       silently destroys gradients, whose right-hand sides are tiny;
    3. the residual reported is recomputed from the solution;
    4. a system that is not positive definite (a curvature `<p, A p> <= 0`) stops where it
       is, reported as not converged; one that contains NaN or infinity gives NaN.

    A gradient through it would run back through every step; `deepam_tf.reconstruct`
    differentiates the solution itself instead.

    Args:
        operator: `A`, of shape `[B, N, N]`, with `matvec`.
        rhs: right-hand side `b`, `[B, N]`.
        preconditioner: symmetric positive definite approximation of `A^-1`, with `matvec`.
        x0: start, `[B, N]`; zero by default.
        rtol: tolerance relative to `||b||_2`.
        atol: absolute tolerance, in units of `b`.
        max_steps: most steps any system may take.
        name: name scope.

    Returns:
        A `CGResult`.

    Raises:
        ValueError: if `rhs` is not `[B, N]`, or a tolerance or `max_steps` is negative.

    Example:
        >>> A = tf.linalg.LinearOperatorDiag([[1.0, 2.0]])
        >>> result = deepam_tf.conjugate_gradient(A, [[1.0, 4.0]])
        >>> result.x.numpy().round(5).tolist(), result.num_steps.numpy().tolist()
        ([[1.0, 2.0]], [2])
    """
    if rtol < 0 or atol < 0 or max_steps < 0:
        raise ValueError(
            "`rtol`, `atol` and `max_steps` must not be negative. "
            f"Received: rtol={rtol}, atol={atol}, max_steps={max_steps}."
        )
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
        tolerance = tf.maximum(rtol * tf.norm(b, axis=1), atol / scale[:, 0])
        precondition = tf.identity if preconditioner is None else preconditioner.matvec

        r = b if x0 is None else b - operator.matvec(x)
        z = precondition(r)
        # A NaN compares as False: such a system is never active.
        start = _State(
            x=x,
            r=r,
            p=z,
            rz=_dot(r, z),
            active=tf.norm(r, axis=1) > tolerance,
            num_steps=tf.zeros_like(tolerance, dtype=tf.int32),
        )

        def step(state: _State) -> tuple[_State]:
            product = operator.matvec(state.p)
            curvature = _dot(state.p, product)
            active = state.active & (curvature > 0) & (state.rz > 0)
            alpha = tf.where(active, tf.math.divide_no_nan(state.rz, curvature), 0)
            x = state.x + alpha[:, tf.newaxis] * state.p
            r = state.r - alpha[:, tf.newaxis] * product
            z = precondition(r)
            rz = tf.where(active, _dot(r, z), state.rz)
            beta = tf.where(active, tf.math.divide_no_nan(rz, state.rz), 0)
            return (
                _State(
                    x=x,
                    r=r,
                    p=z + beta[:, tf.newaxis] * state.p,
                    rz=rz,
                    active=active & (tf.norm(r, axis=1) > tolerance),
                    num_steps=state.num_steps + tf.cast(active, tf.int32),
                ),
            )

        (end,) = tf.while_loop(
            lambda state: tf.reduce_any(state.active),
            step,
            (start,),
            maximum_iterations=max_steps,
        )

        residual_norm = tf.norm(b - operator.matvec(end.x), axis=1)
        finite = tf.math.is_finite(residual_norm)
        solution = tf.where(finite[:, tf.newaxis], end.x * scale, float("nan"))
        return CGResult(
            x=tf.ensure_shape(solution, rhs.shape),
            num_steps=end.num_steps,
            residual_norm=residual_norm * scale[:, 0],
            converged=finite & (residual_norm <= 2 * tolerance),
        )


def _dot(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(a * b, axis=1)


def _power_of_two_above(x: tf.Tensor) -> tf.Tensor:
    """Round up to a power of two; 1 where `x` is zero or not finite."""
    usable = tf.math.is_finite(x) & (x > 0)
    exponent = tf.math.ceil(tf.math.log(tf.where(usable, x, 1)) / tf.math.log(tf.cast(2, x.dtype)))
    # Both 2^k and its inverse must stay normal numbers.
    limit = tf.cast(126 if x.dtype == tf.float32 else 1022, x.dtype)
    return tf.pow(tf.cast(2, x.dtype), tf.clip_by_value(exponent, -limit, limit))
