"""Preconditioners for `A = Gamma + D^T W D`: approximate inverses, as linear operators.

A preconditioner `M` is a symmetric positive definite `tf.linalg.LinearOperator` whose
`matvec` is cheap and close to `A^-1`. Nothing here imports Keras.

`NAMES` says which names `reconstruct` takes; `"auto"` looks at `gamma` and takes

- `"cosine"` where `gamma` is nearly constant and small: it is then nearly the inverse;
- `"multigrid"` where some region has so little of it that plain steps would be many;
- `"jacobi"` otherwise: the cheapest step, and few of them.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable

import tensorflow as tf

from deepam_tf.linear.multigrid import Multigrid
from deepam_tf.linear.operators import ReconstructionOperator, SymmetricImageOperator

__all__ = [
    "NAMES",
    "CosineInverse",
    "Multigrid",
    "auto_choice",
    "check_name",
    "jacobi",
    "make_preconditioner",
]


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


class CosineInverse(SymmetricImageOperator):
    """`(g + D^T W D)^-1` for constant `g` and `W`, by the cosine transform.

    `D^T D` with its Neumann borders is diagonal in the DCT-II, with eigenvalues
    `4 sin^2(pi i / 2H) + 4 sin^2(pi j / 2W)` (Strang, "The discrete cosine transform", SIAM
    Review 1999), and stays so if vertical and horizontal differences have a weight each. Where
    `gamma` and the weights are constant in each channel of an image this is the exact inverse
    of `A`; where they vary, `g` and `W` their means, a preconditioner whose steps do not grow
    with the image.

    Args:
        operator: the system `A`, the mean of its `gamma` positive in each channel.
        name: name of the operator.

    Example:
        >>> A = deepam_tf.ReconstructionOperator(tf.fill([1, 4, 5, 1], 0.5))
        >>> x = tf.random.stateless_normal([1, 20], seed=[0, 1])
        >>> M = deepam_tf.preconditioners.CosineInverse(A)
        >>> bool(tf.reduce_max(abs(M.matvec(A.matvec(x)) - x)) < 1e-5)
        True
    """

    def __init__(self, operator: ReconstructionOperator, name: str = "CosineInverse") -> None:
        with tf.name_scope(name):
            _, height, width, _ = tf.unstack(operator.image_shape)
            rows = _eigenvalues(height, operator.dtype)[:, tf.newaxis]
            columns = _eigenvalues(width, operator.dtype)
            if operator.links is not None:
                down, right = (_mean_link(x, operator.num_channels) for x in operator.links)
                rows, columns = down * rows, right * columns
            mean = tf.reduce_mean(operator.gamma, axis=[1, 2])[:, :, tf.newaxis, tf.newaxis]
            self._reciprocals = tf.math.reciprocal(mean + rows + columns)
            super().__init__(
                operator.image_shape,
                operator.static_image_shape,
                operator.dtype,
                {"operator": operator, "name": name},
                name,
            )

    def _apply(self, image: tf.Tensor) -> tf.Tensor:
        planes = tf.transpose(image, [0, 3, 1, 2])
        spectrum = _transposed(_dct(_transposed(_dct(planes)))) * self._reciprocals
        planes = _idct(_transposed(_idct(_transposed(spectrum))))
        return tf.transpose(planes, [0, 2, 3, 1])


_MAKERS: dict[str, Callable[[ReconstructionOperator], tf.linalg.LinearOperator | None]] = {
    "none": lambda operator: None,
    "jacobi": jacobi,
    "cosine": CosineInverse,
    "multigrid": Multigrid,
}
NAMES = (*_MAKERS, "auto")
"""What may be asked for by name."""

AUTO_CANDIDATES = ("jacobi", "cosine", "multigrid")
"""What `"auto"` chooses from."""

_AUTO_BLOCK = 16
_AUTO_JACOBI, _AUTO_COSINE, _AUTO_RATIO = 0.025, 0.5, 1.5


def make_preconditioner(
    name: str, operator: ReconstructionOperator
) -> tf.linalg.LinearOperator | None:
    """The preconditioner of that name, `"auto"` excepted: it is a choice between them.

    Args:
        name: one of `NAMES` but `"auto"`.
        operator: the system `A`.

    Returns:
        The preconditioner, or None for `"none"`.

    Raises:
        ValueError: if there is no such name; the message suggests the nearest.

    Example:
        >>> A = deepam_tf.ReconstructionOperator(tf.ones([1, 4, 5, 1]))
        >>> deepam_tf.preconditioners.make_preconditioner("multigrid", A).name
        'Multigrid'
    """
    check_name(name)
    return _MAKERS[name](operator)


def check_name(name: str) -> None:
    """Refuse what is not in `NAMES`.

    Args:
        name: name of a preconditioner.

    Raises:
        ValueError: if there is no such name; the message suggests the nearest.
    """
    if name not in NAMES:
        near = difflib.get_close_matches(name, NAMES, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"A preconditioner's name must be one of {list(NAMES)}. Received: {name!r}.{hint}"
        )


def auto_choice(operator: ReconstructionOperator) -> tf.Tensor:
    """Which of `AUTO_CANDIDATES` suits a batch.

    The steps that plain conjugate gradients take grow like `16 / sqrt(g)`, `g` the least mean
    of `min(gamma, 1)` over blocks of 16x16 pixels: single pixels without data cost nothing,
    regions do. A V-cycle costs as much as about a dozen plain steps and 6 to 12 of them do,
    so that it pays below `g = 0.025`; the cosine transform pays where in each channel the
    largest `gamma` is at most 1.5 times the least and `g < 0.5` (`python -m
    benchmarks.solver` measures both).

    With edge weights it is the mean of `min(gamma, w)` over that of `w`, `w` the mean weight
    of a pixel's links; the cosine transform pays if they too are constant in each direction.

    Args:
        operator: the system. Images that hold NaN have no say.

    Returns:
        Index into `AUTO_CANDIDATES`, int32 scalar: one for the batch.

    Example:
        >>> A = deepam_tf.ReconstructionOperator(tf.fill([1, 32, 32, 1], 1e-4))
        >>> int(deepam_tf.preconditioners.auto_choice(A))
        1
    """
    gamma, links = operator.gamma, operator.links
    finite = tf.reduce_all(tf.math.is_finite(gamma), axis=[1, 2, 3], keepdims=True)
    gamma = tf.where(finite, gamma, 1)
    if links is None:
        least = tf.reduce_min(_block_means(tf.minimum(gamma, 1)))
        constant = _is_nearly_constant(gamma)
    else:
        weights_finite = tf.math.is_finite(tf.reduce_sum(operator.strength(), axis=[1, 2, 3]))
        weights_finite = tf.reshape(weights_finite, [-1, 1, 1, 1])
        neighbours = ReconstructionOperator(gamma, operator.num_channels).strength()
        mean_weight = operator.strength() / tf.maximum(neighbours, 1)
        share = tf.math.divide_no_nan(
            _block_means(tf.minimum(gamma, mean_weight)), _block_means(mean_weight)
        )
        # A block without links is one of equations of their own: nothing is left to solve.
        share = tf.where(_block_means(mean_weight) > 0, share, 1)
        least = tf.reduce_min(tf.where(weights_finite, share, 1))
        constant = _is_nearly_constant(gamma)
        for direction in links:
            by_channel = tf.concat([tf.shape(direction)[:2], [-1, operator.num_channels]], axis=0)
            direction = tf.where(weights_finite[..., 0], direction, 1)
            constant &= _is_nearly_constant(tf.reshape(direction, by_channel))
    return tf.where(constant & (least < _AUTO_COSINE), 1, tf.where(least < _AUTO_JACOBI, 2, 0))


def _block_means(x: tf.Tensor) -> tf.Tensor:
    """Means over the pixels that a block has: those at the border have fewer."""
    return tf.nn.avg_pool2d(x, _AUTO_BLOCK, _AUTO_BLOCK, "SAME")


def _is_nearly_constant(x: tf.Tensor) -> tf.Tensor:
    """Whether every channel of every image `[B, H, W, C]` is, or has no pixels."""
    spread = tf.reduce_max(x, axis=[1, 2]) / tf.reduce_min(x, axis=[1, 2])
    return tf.reduce_all(spread <= _AUTO_RATIO) | tf.equal(tf.size(x), 0)


def _mean_link(links: tf.Tensor, num_channels: int) -> tf.Tensor:
    """Mean weight of each channel, `[B, C, 1, 1]`, of links on rows of `W*C`; 0 of none."""
    shape = tf.shape(links)
    links = tf.reshape(links, tf.concat([shape[:2], [shape[2] // num_channels, num_channels]], 0))
    count = tf.cast(tf.maximum(tf.size(links[0, :, :, 0]), 1), links.dtype)
    return (tf.reduce_sum(links, axis=[1, 2]) / count)[:, :, tf.newaxis, tf.newaxis]


def _dct(x: tf.Tensor) -> tf.Tensor:
    return tf.signal.dct(x, norm="ortho")


def _idct(x: tf.Tensor) -> tf.Tensor:
    return tf.signal.idct(x, norm="ortho")


def _transposed(x: tf.Tensor) -> tf.Tensor:
    return tf.linalg.matrix_transpose(x)


def _eigenvalues(length: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Eigenvalues of `D^T D` on a line of `length` pixels."""
    index = tf.cast(tf.range(length), dtype)
    return 4 * tf.square(tf.sin(0.5 * math.pi * index / tf.cast(length, dtype)))
