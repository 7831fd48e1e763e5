"""A symmetric multigrid V-cycle for `A = Gamma + D^T W D`, as a preconditioner.

Conjugate gradients spread information by one pixel a step. Where `gamma` is small the data
are felt `1 / sqrt(gamma)` pixels away, and the steps grow like that. A V-cycle carries it
through a pyramid of coarser grids (Briggs, Henson and McCormick, A Multigrid Tutorial, 2nd
ed., 2000): the steps it leaves depend neither on `gamma` nor on the image's size.

Each coarse cell stands for up to 2x2 cells of the finer grid. Its `gamma` is the sum of
theirs, its links are those of the finite volume discretisation of the same energy
(Trottenberg, Oosterlee and Schüller, Multigrid, 2001, section 2.8.4, cell-centred), so that
odd sizes and thin images need no special case.

With edge weights a coarse link is the sum of the fine links that cross the border, in
parallel, over the longer way; and where a link is weak the interpolation does not reach over
it. Nothing here imports Keras.
"""

from __future__ import annotations

import math

import tensorflow as tf

from deepam_tf.linear.operators import ReconstructionOperator, SymmetricImageOperator

__all__ = ["Multigrid"]

_DAMPING = 0.8
"""Of the Jacobi smoother. Below 1 the cycle is positive definite for every `gamma >= 0`."""

_REACH = 0.25
"""How much of the next coarse cell's value linear interpolation takes."""

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
            if operator.links is None:
                down = tf.ones([1, 1, height - 1, width], gamma.dtype)
                right = tf.ones([1, 1, height, width - 1], gamma.dtype)
            else:
                channels = operator.num_channels
                down, right = (_as_planes(x, channels) for x in operator.links)
            self._grids = []
            for _ in range(num_levels or _levels(operator.static_image_shape)):
                grid = _Grid(gamma, down, right)
                self._grids.append(grid)
                if operator.links is not None:
                    grid.weigh_interpolation()
                gamma = _sum_pairs(_sum_pairs(gamma, -2), -1)
                down = _sum_pairs(_coarse_links(down, heights[:, tf.newaxis], -2), -1)
                right = _sum_pairs(_coarse_links(right, widths, -1), -2)
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
            left = _restrict(r - grid.apply(u), -2, grid.reach_down)
            coarse = self._cycle(level + 1, _restrict(left, -1, grid.reach_right))
            size = tf.shape(r)
            wide = _prolong(coarse, -1, size[-1], grid.reach_right)
            u += _prolong(wide, -2, size[-2], grid.reach_down)
        return u + grid.smoothing * (r - grid.apply(u))


class _Grid:
    """`A` on one grid of cells, and the shares by which its interpolation reaches over links.

    Args:
        gamma: of the cells, `[B, C, H, W]`.
        down: weights of the links between rows, `[.., .., H - 1, W]`: as strong as the border
            between two cells is long, over their distance.
        right: of those between columns, `[.., .., H, W - 1]`.
    """

    def __init__(self, gamma: tf.Tensor, down: tf.Tensor, right: tf.Tensor) -> None:
        self._gamma, self._down, self._right = gamma, down, right
        diagonal = gamma + _ends(down, -2, add=True) + _ends(right, -1, add=True)
        # A single cell is solved exactly, and without data it has nothing to be solved for.
        single = tf.equal(tf.shape(gamma)[-1] * tf.shape(gamma)[-2], 1)
        damping = tf.cast(tf.where(single, 1.0, _DAMPING), gamma.dtype)
        self.smoothing = tf.where(diagonal > 0, damping / diagonal, 0)
        self.reach_down = self.reach_right = (_REACH, _REACH)

    def weigh_interpolation(self) -> None:
        """Reach less far over links that are weaker than the one on the cell's other side."""
        self.reach_down = _reaches(self._down, -2)
        self.reach_right = _reaches(_sum_pairs(self._right, -2), -1)

    def apply(self, u: tf.Tensor) -> tf.Tensor:
        down = self._down * (u[..., 1:, :] - u[..., :-1, :])
        right = self._right * (u[..., 1:] - u[..., :-1])
        return self._gamma * u + _ends(down, -2) + _ends(right, -1)


def _as_planes(links: tf.Tensor, num_channels: int) -> tf.Tensor:
    """From rows of `W*C`, `[B, H, W*C]`, to `[B, C, H, W]`."""
    shape = tf.shape(links)
    links = tf.reshape(links, tf.concat([shape[:2], [shape[2] // num_channels, num_channels]], 0))
    return tf.transpose(links, [0, 3, 1, 2])


def _coarse_links(links: tf.Tensor, lengths: tf.Tensor, axis: int) -> tf.Tensor:
    """Of the links along an axis those that cross from one pair of cells to the next.

    The way between the pairs' centres is longer, and the link weaker by as much.
    """
    crossing = _slice(links, axis, 1, None, 2)
    pairs = _sum_pairs(lengths, axis)
    near = _slice(lengths, axis, 1, -1, 2) + _slice(lengths, axis, 2, None, 2)
    return crossing * (near / (_slice(pairs, axis, 1, None) + _slice(pairs, axis, 0, -1)))


def _reaches(links: tf.Tensor, axis: int) -> tuple[tf.Tensor, tf.Tensor]:
    """What share of the next coarse cell the first and the second of each pair take.

    `_REACH` between links of one weight, less over a weak one: interpolation over a cut
    would give its ends a difference that costs far more than it corrects.
    """
    before, after = _padded(links, axis, 1, 0), _padded(links, axis, 0, 1)
    (first_over, second_inside), (first_inside, second_over) = (
        _halves(before, axis),
        _halves(after, axis),
    )

    def share(over: tf.Tensor, inside: tf.Tensor) -> tf.Tensor:
        return _REACH * tf.minimum(tf.math.divide_no_nan(2 * over, over + inside), 1)

    return share(first_over, first_inside), share(second_over, second_inside)


def _ends(links: tf.Tensor, axis: int, *, add: bool = False) -> tf.Tensor:
    """At each cell the link that ends there less the one that begins there; or their sum."""
    ending, beginning = _padded(links, axis, 1, 0), _padded(links, axis, 0, 1)
    return ending + beginning if add else ending - beginning


def _restrict(x: tf.Tensor, axis: int, reach: tuple) -> tf.Tensor:
    """The transpose of `_prolong` along one axis."""
    even, odd = _halves(x, axis)
    to_before, to_after = reach[0] * even, reach[1] * odd
    first, last = _slice(to_before, axis, 0, 1), _slice(to_after, axis, -1, None)
    from_before = tf.concat([first, _slice(to_after, axis, 0, -1)], axis)
    from_after = tf.concat([_slice(to_before, axis, 1, None), last], axis)
    return (even - to_before) + (odd - to_after) + (from_before + from_after)


def _prolong(x: tf.Tensor, axis: int, length: tf.Tensor, reach: tuple) -> tf.Tensor:
    """Linear interpolation between the centres of cells, constant beyond the outermost."""
    before = tf.concat([_slice(x, axis, 0, 1), _slice(x, axis, 0, -1)], axis)
    after = tf.concat([_slice(x, axis, 1, None), _slice(x, axis, -1, None)], axis)
    even, odd = x + reach[0] * (before - x), x + reach[1] * (after - x)
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
