"""A symmetric multigrid V-cycle for `A = Gamma + D^T D`, as a preconditioner.

Conjugate gradients spread information by one pixel a step. Where `gamma` is small the data
are felt `1 / sqrt(gamma)` pixels away, and the steps grow like that. A V-cycle carries it
through a pyramid of coarser grids (Briggs, Henson and McCormick, A Multigrid Tutorial, 2nd
ed., 2000): the steps it leaves depend neither on `gamma` nor on the image's size.

Each coarse cell stands for up to 2x2 cells of the finer grid. Its `gamma` is the sum of
theirs, its links are those of the finite volume discretisation of the same energy
(Trottenberg, Oosterlee and Schüller, Multigrid, 2001, section 2.8.4, cell-centred), so that
odd sizes and thin images need no special case. Nothing here imports Keras.
"""

from __future__ import annotations

import math

import tensorflow as tf

from deepam_tf.linear.operators import ReconstructionOperator, SymmetricImageOperator

__all__ = ["Multigrid"]

_DAMPING = 0.8
"""Of the Jacobi smoother. Below 1 the cycle is positive definite for every `gamma >= 0`."""

_LEVELS_OF_UNKNOWN_SIZE = 8
"""More would cost XLA minutes: on grids of a single cell its fusion grows exponentially."""


class Multigrid(SymmetricImageOperator):
    """One V-cycle with one damped Jacobi step before and one after each coarser grid.

    Symmetric and positive definite wherever `A` is: the interpolation is bilinear, the
    restriction its exact transpose, and the last smoothing step the transpose of the first.
    A cycle costs about four applications of `A`.

    Args:
        operator: the system `A`.
        num_levels: grids in all. By default as many as it takes to reach a single cell; 8
            where the image's size is not known when the graph is built, which reach it up to
            128 pixels a side. A larger coarsest grid is left to its smoother: a few more steps.
        name: name of the operator.

    Raises:
        ValueError: if `num_levels` is not positive.

    Example:
        >>> A = deepam_tf.ReconstructionOperator(tf.fill([1, 64, 64, 1], 1e-4))
        >>> b = tf.random.stateless_normal([1, 64 * 64], seed=[0, 1])
        >>> M = deepam_tf.preconditioners.Multigrid(A)
        >>> int(deepam_tf.conjugate_gradient(A, b, preconditioner=M).num_steps[0]) < 12
        True
    """

    def __init__(
        self,
        operator: ReconstructionOperator,
        *,
        num_levels: int | None = None,
        name: str = "Multigrid",
    ) -> None:
        if num_levels is not None and num_levels < 1:
            raise ValueError(f"`num_levels` must be at least 1. Received: {num_levels}.")
        with tf.name_scope(name):
            gamma = tf.transpose(operator.gamma, [0, 3, 1, 2])
            _, height, width, _ = tf.unstack(operator.image_shape)
            heights, widths = tf.ones([height], gamma.dtype), tf.ones([width], gamma.dtype)
            self._grids = []
            for _ in range(num_levels or _levels(operator.static_image_shape)):
                self._grids.append(_Grid(gamma, heights, widths))
                gamma = _sum_pairs(_sum_pairs(gamma, -2), -1)
                heights, widths = _sum_pairs(heights, -1), _sum_pairs(widths, -1)
            super().__init__(
                operator.image_shape,
                operator.static_image_shape,
                operator.dtype,
                {"operator": operator, "num_levels": num_levels, "name": name},
                name,
            )

    def _apply(self, image: tf.Tensor) -> tf.Tensor:
        planes = self._cycle(0, tf.transpose(image, [0, 3, 1, 2]))
        return tf.transpose(planes, [0, 2, 3, 1])

    def _cycle(self, level: int, r: tf.Tensor) -> tf.Tensor:
        grid = self._grids[level]
        u = grid.smoothing * r
        if level + 1 < len(self._grids):
            coarse = self._cycle(level + 1, _restrict(_restrict(r - grid.apply(u), -2), -1))
            size = tf.shape(r)
            u += _prolong(_prolong(coarse, -1, size[-1]), -2, size[-2])
        return u + grid.smoothing * (r - grid.apply(u))


class _Grid:
    """`A` on one grid of cells, whose heights and widths are counted in pixels."""

    def __init__(self, gamma: tf.Tensor, heights: tf.Tensor, widths: tf.Tensor) -> None:
        self._gamma = gamma
        # A link is as strong as the border between two cells is long, over their distance.
        self._down = widths / (0.5 * (heights[1:] + heights[:-1]))[:, tf.newaxis]
        self._right = heights[:, tf.newaxis] / (0.5 * (widths[1:] + widths[:-1]))
        diagonal = gamma + _ends(self._down, -2, add=True) + _ends(self._right, -1, add=True)
        # A single cell is solved exactly, and without data it has nothing to be solved for.
        damping = tf.where(tf.size(heights) * tf.size(widths) == 1, 1.0, _DAMPING)
        self.smoothing = tf.where(diagonal > 0, tf.cast(damping, gamma.dtype) / diagonal, 0)

    def apply(self, u: tf.Tensor) -> tf.Tensor:
        down = self._down * (u[..., 1:, :] - u[..., :-1, :])
        right = self._right * (u[..., 1:] - u[..., :-1])
        return self._gamma * u + _ends(down, -2) + _ends(right, -1)


def _ends(links: tf.Tensor, axis: int, *, add: bool = False) -> tf.Tensor:
    """At each cell the link that ends there less the one that begins there; or their sum."""
    ending, beginning = _padded(links, axis, 1, 0), _padded(links, axis, 0, 1)
    return ending + beginning if add else ending - beginning


def _restrict(x: tf.Tensor, axis: int) -> tf.Tensor:
    """The transpose of `_prolong` along one axis."""
    even, odd = _halves(x, axis)
    first, last = _slice(even, axis, 0, 1), _slice(odd, axis, -1, None)
    before = tf.concat([first, _slice(odd, axis, 0, -1)], axis)
    after = tf.concat([_slice(even, axis, 1, None), last], axis)
    return 0.75 * (even + odd) + 0.25 * (before + after)


def _prolong(x: tf.Tensor, axis: int, length: tf.Tensor) -> tf.Tensor:
    """Linear interpolation between the centres of cells, constant beyond the outermost."""
    before = tf.concat([_slice(x, axis, 0, 1), _slice(x, axis, 0, -1)], axis)
    after = tf.concat([_slice(x, axis, 1, None), _slice(x, axis, -1, None)], axis)
    even, odd = 0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after
    pairs = tf.stack([even, odd], axis=axis)
    shape = tf.shape(x)
    if axis == -1:
        fine = tf.reshape(pairs, tf.concat([shape[:-1], [-1]], 0))
    else:
        fine = tf.reshape(pairs, tf.concat([shape[:-2], [-1], shape[-1:]], 0))
    return _slice(fine, axis, 0, length)


def _sum_pairs(x: tf.Tensor, axis: int) -> tf.Tensor:
    even, odd = _halves(x, axis)
    return even + odd


def _halves(x: tf.Tensor, axis: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Entries 0, 2, ... and 1, 3, ..., with a zero where the last has no partner."""
    x = _padded(x, axis, 0, tf.shape(x)[axis] % 2)
    return _slice(x, axis, 0, None, 2), _slice(x, axis, 1, None, 2)


def _padded(x: tf.Tensor, axis: int, before, after) -> tf.Tensor:
    paddings = [[0, 0] for _ in range(x.shape.rank)]
    paddings[axis] = [before, after]
    return tf.pad(x, paddings)


def _slice(x: tf.Tensor, axis: int, start, stop, step: int = 1) -> tf.Tensor:
    index = [slice(None)] * (x.shape.rank + axis) + [slice(start, stop, step)]
    return x[tuple(index)]


def _levels(shape: tf.TensorShape) -> int:
    _, height, width, _ = shape.as_list()
    if height is None or width is None:
        return _LEVELS_OF_UNKNOWN_SIZE
    return 1 + max(0, math.ceil(math.log2(max(height, width, 1))))
