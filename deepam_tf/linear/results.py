"""What a solver of linear systems says at its end, for every system of a batch."""

from __future__ import annotations

import enum
from typing import NamedTuple

import tensorflow as tf

__all__ = ["SolveResult", "SolveStatus"]


class SolveStatus(enum.IntEnum):
    """How a solve ended. `advice` says what to do about it.

    Example:
        >>> deepam_tf.SolveStatus(2)
        <SolveStatus.STEP_LIMIT: 2>
        >>> deepam_tf.SolveStatus.STEP_LIMIT.advice
        'The step limit came first: raise `max_steps`, or take a better preconditioner.'
    """

    CONVERGED = 0
    STAGNATED = 1
    STEP_LIMIT = 2
    NOT_POSITIVE_DEFINITE = 3
    NOT_FINITE = 4

    @property
    def advice(self) -> str:
        """What to do about it, one sentence."""
        return _ADVICE[self]


_ADVICE = {
    SolveStatus.CONVERGED: "Nothing needs to be done: the residual is within the tolerance.",
    SolveStatus.STAGNATED: (
        "The dtype holds no closer solution: take it as it is, raise `rtol`, or use float64."
    ),
    SolveStatus.STEP_LIMIT: (
        "The step limit came first: raise `max_steps`, or take a better preconditioner."
    ),
    SolveStatus.NOT_POSITIVE_DEFINITE: (
        "The operator or the preconditioner is declared positive definite and is not: look "
        "for negative weights."
    ),
    SolveStatus.NOT_FINITE: (
        "Right-hand side, operator or start hold NaN or infinity, or overflow: look at them."
    ),
}


class SolveResult(NamedTuple):
    """The solution of a batch of systems, and how each of them ended.

    Attributes:
        x: solution, `[B, N]`; NaN where the status is `NOT_FINITE`.
        num_steps: steps taken, `[B]`, int32.
        residual_norm: `||b - A x||_2` recomputed from `x`, `[B]`. In float32 the residual
            that a recurrence carries is too optimistic below about 1e-6 `||b||`.
        status: a `SolveStatus` for each system, `[B]`, int32.
        residual_history: `||b - A x||_2` before each step as the recurrence carries it,
            `[max_steps + 1, B]`, NaN after a system's last; None unless asked for.
    """

    x: tf.Tensor
    num_steps: tf.Tensor
    residual_norm: tf.Tensor
    status: tf.Tensor
    residual_history: tf.Tensor | None = None

    @property
    def converged(self) -> tf.Tensor:
        """Which systems are within their tolerance, `[B]`, bool."""
        return tf.equal(self.status, SolveStatus.CONVERGED.value)

    def advice(self) -> list[str]:
        """What to do about each system, one sentence each; in eager mode.

        Example:
            >>> A = deepam_tf.ReconstructionOperator(tf.ones([1, 1, 2, 1]))
            >>> deepam_tf.conjugate_gradient(A, [[1.0, 2.0]]).advice()
            ['Nothing needs to be done: the residual is within the tolerance.']
        """
        return [SolveStatus(int(status)).advice for status in self.status.numpy()]
