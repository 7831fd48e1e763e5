"""Chebyshev iteration for `A = Gamma + D^T W D`: steps without inner products.

With `S` the diagonal of `A`, the Jacobi iteration `x <- N x + S^-1 b`, `N = I - S^-1 A`, has
the solution as its fixed point; `N` is made of the links alone and not negative, and its
spectrum lies in `[-rho, rho]`. Chebyshev polynomials over that interval combine its steps best
(Saad, Iterative Methods for Sparse Linear Systems, 2nd ed., section 12.3; in this form Golub
and Varga, Numerische Mathematik 3, 1961):

    x_{k+1} = omega_{k+1} (N x_k + S^-1 b - x_{k-1}) + x_{k-1}
    omega_1 = 1,   omega_2 = 2 / (2 - rho^2),   omega_{k+1} = 4 / (4 - rho^2 omega_k)

    ||x_k - x||_S <= ||x_0 - x||_S / cosh(k arcosh(1 / rho))

so that the number of steps for a tolerance is known before the first one, and a step reads and
writes each number once. Nothing here imports Keras.

`rho` is bounded by Gershgorin's theorem in a weighted maximum norm (Varga, Matrix Iterative
Analysis, 2nd ed., theorem 2.9): for any positive `y`

    rho <= max_i (N y)_i / y_i.

With `y = 1` that is Gershgorin's own bound, `max strength / (gamma + strength)`, which a single
pixel of small `gamma` spoils; with `y = N^k 1` it sees the pixel's surroundings.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from deepam_tf.linear.operators import ReconstructionOperator
from deepam_tf.linear.results import SolveResult, SolveStatus

__all__ = ["chebyshev_iteration", "chebyshev_steps", "spectral_bound"]

_BOUND_STEPS = 8
"""Each costs as much as a step of the iteration. Where low values of `gamma` are scattered they
save several times as many steps as they are; where it is constant, none."""

_LEAST_WEIGHT = 1e-6
"""Of a pixel in the bound's norm, relative to the largest: any positive weight is as right."""

_COUNTLESS = 1_000_000_000


def spectral_bound(operator: ReconstructionOperator) -> tf.Tensor:
    """An upper bound of the spectral radius of `I - diag(A)^-1 A`, for each image.

    Args:
        operator: the system `A`.

    Returns:
        `rho`, `[B]`, at most 1; it is 1 where a hole (`gamma = 0`) is wider than some 16 pixels.

    Example:
        >>> A = deepam_tf.ReconstructionOperator(tf.ones([1, 9, 9, 1]))
        >>> round(float(deepam_tf.chebyshev.spectral_bound(A)[0]), 2)
        0.79
    """
    with tf.name_scope("spectral_bound"):
        return _bound(_Rows(operator))


def _bound(rows: _Rows) -> tf.Tensor:
    whole = tf.ones_like(rows.scale)
    gershgorin = tf.reduce_max(rows.average(whole), axis=[1, 2])
    # Kept near 1, that no weight may vanish.
    largest = tf.where(gershgorin > 0, gershgorin, 1)[:, tf.newaxis, tf.newaxis]

    def smoothed(y: tf.Tensor) -> tf.Tensor:
        return tf.maximum(rows.average(y) / largest, _LEAST_WEIGHT)

    def twice(y: tf.Tensor) -> tuple[tf.Tensor]:
        return (tf.ensure_shape(smoothed(smoothed(y)), whole.shape),)

    (y,) = tf.while_loop(lambda _: True, twice, (whole,), maximum_iterations=_BOUND_STEPS // 2)
    sharper = tf.math.divide_no_nan(rows.average(y), y)
    return tf.minimum(tf.minimum(gershgorin, tf.reduce_max(sharper, axis=[1, 2])), 1)


def chebyshev_steps(rho: tf.Tensor, rtol: float) -> tf.Tensor:
    """How many steps divide the error by `1 / rtol`.

    Args:
        rho: spectral radius or a bound of it, `[B]`.
        rtol: the share of the first error that may be left, in (0, 1).

    Returns:
        Steps, `[B]`, int32, at least 1, at most 1e9: so many where `rho` is 1 or NaN.

    Raises:
        ValueError: if `rtol` is not in (0, 1).

    Example:
        >>> deepam_tf.chebyshev.chebyshev_steps(tf.constant([0.5, 0.99, 1.0]), 1e-3).numpy()
        array([         6,         54, 1000000000], dtype=int32)
    """
    if not 0 < rtol < 1:
        raise ValueError(f"`rtol` must be in (0, 1). Received: rtol={rtol}.")
    # arcosh(1 / rho), as every exporter knows it.
    gain = tf.math.log((1 + tf.sqrt((1 - rho) * (1 + rho))) / rho)
    steps = tf.math.ceil(np.arccosh(1 / rtol) / gain)
    countable = steps < _COUNTLESS
    steps = tf.cast(tf.where(countable, steps, 1), tf.int32)
    return tf.where(countable, tf.maximum(steps, 1), _COUNTLESS)


def chebyshev_iteration(
    operator: ReconstructionOperator,
    rhs: tf.Tensor,
    *,
    x0: tf.Tensor | None = None,
    rtol: float = 1e-5,
    max_steps: int = 500,
    projection=None,
    name: str = "chebyshev_iteration",
) -> SolveResult:
    """Solve `A x = b` for a batch of reconstruction systems, in a number of steps known before.

    Unlike `conjugate_gradient` it takes no inner product and looks at no residual on its way:
    each system takes the steps that divide its error by `1 / rtol` for certain, whatever its
    right-hand side and whatever else is in the batch.

    Args:
        operator: the system `A`.
        rhs: right-hand side `b`, `[B, N]`.
        x0: start, `[B, N]`; zero by default.
        rtol: the share of the first error `x0 - x` that may be left, in the norm of the
            diagonal of `A`; in (0, 1).
        max_steps: most steps any system may take.
        projection: see `conjugate_gradient`.
        name: name scope.

    Returns:
        A `SolveResult`. A system that needs more than `max_steps` steps is not begun, its
        status is `STEP_LIMIT`; `STAGNATED` is that of one whose residual is above `2 rtol`
        times the first after all, by rounding.

    Raises:
        ValueError: if `rhs` is not `[B, N]`, or `rtol` not in (0, 1), or `max_steps` negative.

    Example:
        >>> A = deepam_tf.ReconstructionOperator(tf.ones([1, 8, 8, 1]))
        >>> b = tf.random.stateless_normal([1, 64], seed=[0, 1])
        >>> result = deepam_tf.chebyshev_iteration(A, b, rtol=1e-5)
        >>> result.converged.numpy().tolist(), int(result.num_steps[0]) < 20
        ([True], True)
    """
    if max_steps < 0:
        raise ValueError(f"`max_steps` must not be negative. Received: max_steps={max_steps}.")
    with tf.name_scope(name):
        rhs = tf.convert_to_tensor(rhs, dtype=operator.dtype, name="rhs")
        if rhs.shape.rank != 2:
            raise ValueError(
                "`rhs` must have rank 2, [batch, unknowns]. "
                f"Received: rhs.shape={rhs.shape}. Flatten each image first."
            )
        rows = _Rows(operator)
        rho = _bound(rows)
        needed = chebyshev_steps(rho, rtol)
        num_steps = tf.where(needed > max_steps, 0, needed)
        start = tf.zeros_like(rhs) if x0 is None else tf.convert_to_tensor(x0, rhs.dtype)
        first = rhs if x0 is None else rhs - operator.matvec(start)
        constant = rows.scale * rows.of(rhs)
        x = rows.back(_iterate(rows, constant, rho, num_steps, rows.of(start)))
        if projection is not None:
            x = projection(x)

        residual = rhs - operator.matvec(x)
        finite = tf.math.is_finite(tf.reduce_sum(residual, axis=1))
        # The norm in which the bound holds; in it the residual falls as the error does.
        weight = tf.math.rsqrt(operator.diag_part())
        within = tf.norm(weight * residual, axis=1) <= 2 * rtol * tf.norm(weight * first, axis=1)
        status = tf.where(within, SolveStatus.CONVERGED.value, SolveStatus.STAGNATED.value)
        status = tf.where(needed > max_steps, SolveStatus.STEP_LIMIT.value, status)
        status = tf.where(finite, status, SolveStatus.NOT_FINITE.value)
        return SolveResult(
            x=tf.ensure_shape(tf.where(finite[:, tf.newaxis], x, np.nan), rhs.shape),
            num_steps=tf.where(finite, num_steps, 0),
            residual_norm=tf.norm(residual, axis=1),
            status=status,
        )


def _iterate(rows: _Rows, constant, rho, num_steps, x0) -> tf.Tensor:
    """The iteration, each image for its own number of steps.

    Two steps at a time: the new image of the first lies where the one before last did, that of
    the second where the last did. With one at a time XLA copies an image in every step.
    """
    square = tf.square(rho)[:, tf.newaxis, tf.newaxis]
    alone = constant.shape[0] == 1

    def step(k, omega: tf.Tensor, x: tf.Tensor, before: tf.Tensor) -> tf.Tensor:
        after = omega * (rows.average(x) + constant - before) + before
        if not alone:
            after = tf.where((num_steps > k)[:, tf.newaxis, tf.newaxis], after, x)
        return tf.ensure_shape(after, x.shape)

    def twice(k: tf.Tensor, omega: tf.Tensor, x: tf.Tensor, before: tf.Tensor):
        omega = 4 / (4 - square * omega)
        between = step(k, omega, x, before)
        omega = 4 / (4 - square * omega)
        return k + 2, omega, step(k + 1, omega, between, x), between

    first = step(0, tf.ones_like(square), x0, tf.zeros_like(x0))
    most = tf.reduce_max(num_steps)
    k, _, x, before = tf.while_loop(
        lambda k, *_: k < most, twice, (1, 2 * tf.ones_like(square), first, x0)
    )
    return tf.where(k > most, before, x)


class _Rows:
    """Images as rows, `[B, H, W C]`: the neighbours of a pixel lie a row or `C` numbers away.

    Args:
        operator: the system.

    Attributes:
        scale: the inverse of the diagonal of `A`.
    """

    def __init__(self, operator: ReconstructionOperator) -> None:
        self._shape = operator.image_shape
        self._step = operator.num_channels
        self.scale = self.of(tf.math.reciprocal(operator.gamma + operator.strength()))
        self._links = None
        if operator.links is not None:
            down, right = operator.links
            self._links = (
                tf.pad(down, [[0, 0], [1, 1], [0, 0]]),
                tf.pad(right, [[0, 0], [0, 0], [self._step, self._step]]),
            )

    def of(self, x: tf.Tensor) -> tf.Tensor:
        """Rows of images, `[B, H, W, C]` to be broadcast, or flattened."""
        if x.shape.rank == 4:
            x = tf.broadcast_to(x, self._shape)
        batch, height, width, channels = tf.unstack(self._shape)
        return tf.reshape(x, tf.stack([batch, height, width * channels]))

    def back(self, rows: tf.Tensor) -> tf.Tensor:
        """Flattened images of rows."""
        return tf.reshape(rows, tf.stack([self._shape[0], -1]))

    def average(self, x: tf.Tensor) -> tf.Tensor:
        """`N x`: of each pixel's neighbours, the sum weighted by its links, over the diagonal."""
        step = self._step
        wide = tf.pad(x, [[0, 0], [1, 1], [step, step]])
        above, below = wide[:, :-2, step:-step], wide[:, 2:, step:-step]
        before, after = wide[:, 1:-1, : -2 * step], wide[:, 1:-1, 2 * step :]
        if self._links is not None:
            down, right = self._links
            above, below = down[:, :-1] * above, down[:, 1:] * below
            before, after = right[:, :, :-step] * before, right[:, :, step:] * after
        return self.scale * (above + below + before + after)
