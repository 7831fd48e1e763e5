"""Preconditioners for `A = Gamma + D^T D`: approximate inverses, as linear operators.

A preconditioner `M` is a symmetric positive definite `tf.linalg.LinearOperator` whose
`matvec` is cheap and close to `A^-1`. Nothing here imports Keras.
"""

from __future__ import annotations

import tensorflow as tf

from deepam_tf.operators import ReconstructionOperator

__all__ = ["jacobi"]


def jacobi(operator: ReconstructionOperator) -> tf.linalg.LinearOperator:
    """The inverse of the diagonal of `A`.

    Worth its one multiplication a step wherever `gamma` spans far above 1: for
    `gamma` log-uniform in [1e-3, 1e4] it needs 10 steps instead of 428. For `gamma <= 1`
    it changes nothing.

    Args:
        operator: the system `A`.

    Returns:
        `diag(A)^-1`, a `tf.linalg.LinearOperatorDiag` acting on `[B, H*W*C]`.

    Example:
        >>> A = deepam_tf.ReconstructionOperator(tf.ones([1, 1, 2, 1]))
        >>> deepam_tf.preconditioners.jacobi(A).matvec([[1.0, 1.0]]).numpy().tolist()
        [[0.5, 0.5]]
    """
    return tf.linalg.LinearOperatorDiag(
        tf.math.reciprocal(operator.diag_part()),
        is_non_singular=True,
        is_self_adjoint=True,
        is_positive_definite=True,
        name="jacobi",
    )
