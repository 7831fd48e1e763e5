"""The Gaussian Markov random field whose energy `reconstruct` minimises.

    p(u) ~ exp(-E(u)),    E(u) = 1/2 sum gamma (u - f)^2 + 1/2 sum w (D u - v)^2

is the normal distribution `N(A^-1 b, A^-1)` with `A = Gamma + D^T W D`, `b = Gamma f + D^T W v`.

- An exact sample costs one solve: `A^-1 (b + Gamma^(1/2) e1 + D^T W^(1/2) e2)` with standard
  normal `e1, e2`, since what is added to `b` has the covariance `A` (Papandreou and Yuille,
  "Gaussian sampling by local perturbations", NeurIPS 2010). In other words: perturb `f` by noise
  of variance `1 / gamma` and `v` by noise of variance `1 / w`, and restore.
- The marginal variance is estimated from samples `x` of mean 0. Given its neighbours, pixel `i`
  has the variance `1 / A_ii` and the mean `x_i - (A x)_i / A_ii`, hence (law of total variance;
  Siden et al., "Efficient covariance approximations for large sparse precision matrices", JCGS
  2018)

      Var(u_i) = 1 / A_ii + E (x_i - (A x)_i / A_ii)^2,

  of which only the second part carries an error, `sqrt(2 / n)` of itself.
- `log det A` is exact for small images, by block elimination row by row, and else stochastic:
  `tr log(S A S) - 2 tr log S`, `S = diag(A)^(-1/2)`, by Lanczos quadrature (Ubaru, Chen and
  Saad, "Fast estimation of tr f(A) via stochastic Lanczos quadrature", SIMAX 2017).

It suits those whose `gamma` and `w` are precisions: kriging, holes, sensors to be fused. The
`gamma` of a trained network is none: see docs/uncertainty.md.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import tensorflow as tf

from deepam_tf.linear.checks import validated
from deepam_tf.linear.operators import (
    ReconstructionOperator,
    image_gradient,
    image_gradient_adjoint,
    per_channel,
)
from deepam_tf.linear.reconstruction import reconstruct
from deepam_tf.probability.tfp import import_tfp

tfp: Any = import_tfp()

__all__ = ["Estimate", "GaussianField"]

_EXACT_COST = 3e9
"""Multiplications from where on the determinant is estimated: about a square of 230 pixels."""
_VALUES_AT_ONCE = 1 << 22
"""Of samples that are solved for together."""


class Estimate(NamedTuple):
    """A value found by random numbers, and how far it may be off.

    Attributes:
        value: the estimate.
        standard_error: its standard deviation over the random numbers; 0 where it is exact.
    """

    value: tf.Tensor
    standard_error: tf.Tensor


class GaussianField(tfp.distributions.Distribution):
    """The normal distribution `N(A^-1 (Gamma f + D^T W v), A^-1)` of images.

    A `tfp.distributions.Distribution` with `batch_shape` `[B]` and `event_shape` `[H, W, C]`:
    `mean`, `mode`, `sample`, `log_prob`, `entropy`, `variance` and `stddev`. Samples are
    reparameterized; gradients flow into `f`, `v`, `gamma` and `edge_weight` from everything but
    `variance`, whose random numbers are fixed.

    Args:
        f: observation, `[B, H, W, C]`, float32 or float64. Where `gamma` is below 1e-4 or so
            everywhere, samples need float64: they spread by `1 / sqrt(gamma)`.
        v: expected differences between neighbours, `[B, H, W, 2C]`, maps ordered (dy, dx).
        gamma: precision (one over the variance) of `f`, `[B, H, W, 1 or C]`; 0 in holes.
        edge_weight: precision of `v`, `[B, H, W, 2 or 2C]`, maps ordered (dy, dx); 1 by
            default.
        preconditioner: of the solves, see `deepam_tf.reconstruct`.
        rtol: of the solves.
        max_steps: of the solves.
        num_samples: samples behind `variance` and `stddev`, and behind the gradient of an
            estimated determinant.
        num_probes: random vectors behind an estimated determinant.
        num_lanczos_steps: matrix products for each of them. Their number should grow with the
            square root of the condition of `diag(A)^-1 A`: 40 do for `gamma` above 0.01.
        exact_determinant: whether `log_prob` has no random error, at the cost of `H W` times
            the square of the shorter side; by default where that is a second or so.
        seed: of the random numbers of all estimates. (Samples have their own, by the customs of
            TensorFlow Probability: two integers repeat them, one does not.)
        validate_args: for `tfp.distributions.Distribution`; values are checked in eager mode
            whatever it is.
        allow_nan_stats: for `tfp.distributions.Distribution`.
        name: name of the distribution.

    Raises:
        ValueError: see `deepam_tf.reconstruct`.
        TypeError: see `deepam_tf.reconstruct`.

    Example:
        >>> f = tf.zeros([1, 8, 8, 1])
        >>> field = deepam_tf.probability.GaussianField(f, tf.zeros([1, 8, 8, 2]), f + 0.5)
        >>> field.sample(3, seed=(1, 0)).shape.as_list(), field.log_prob(f).shape.as_list()
        ([3, 1, 8, 8, 1], [1])
    """

    def __init__(
        self,
        f: tf.Tensor,
        v: tf.Tensor,
        gamma: tf.Tensor,
        edge_weight: tf.Tensor | None = None,
        *,
        preconditioner: str = "auto",
        rtol: float = 1e-5,
        max_steps: int = 500,
        num_samples: int = 64,
        num_probes: int = 32,
        num_lanczos_steps: int = 40,
        exact_determinant: bool | None = None,
        seed: int = 0,
        validate_args: bool = False,
        allow_nan_stats: bool = True,
        name: str = "GaussianField",
    ) -> None:
        parameters = dict(locals())
        if min(num_samples, num_probes, num_lanczos_steps) < 2:
            raise ValueError(
                "`num_samples`, `num_probes` and `num_lanczos_steps` must be at least 2. Received: "
                f"{num_samples}, {num_probes}, {num_lanczos_steps}."
            )
        with tf.name_scope(name) as scope:
            self._f, self._v, self._gamma, self._edge_weight = validated(f, v, gamma, edge_weight)
            self._solve = {
                "preconditioner": preconditioner,
                "rtol": rtol,
                "max_steps": max_steps,
            }
            self.num_samples = num_samples
            self.num_probes = num_probes
            self.num_lanczos_steps = num_lanczos_steps
            self.exact_determinant = exact_determinant
            # Two numbers, which TensorFlow Probability takes for a seed without a state.
            self._seed = tf.constant([seed, 0], tf.int32)
            super().__init__(
                dtype=self._f.dtype,
                reparameterization_type=tfp.distributions.FULLY_REPARAMETERIZED,
                validate_args=validate_args,
                allow_nan_stats=allow_nan_stats,
                parameters=parameters,
                name=scope,
            )

    @classmethod
    def _parameter_properties(cls, dtype, num_classes=None):
        del dtype, num_classes
        image = tfp.util.ParameterProperties(event_ndims=3)
        return {"f": image, "v": image, "gamma": image, "edge_weight": image}

    @property
    def f(self) -> tf.Tensor:
        """The observation, `[B, H, W, C]`."""
        return self._f

    @property
    def v(self) -> tf.Tensor:
        """The expected differences, `[B, H, W, 2C]`."""
        return self._v

    @property
    def gamma(self) -> tf.Tensor:
        """The precision of the observation, `[B, H, W, 1 or C]`."""
        return self._gamma

    @property
    def edge_weight(self) -> tf.Tensor | None:
        """The precision of the differences, `[B, H, W, 2 or 2C]`; None: 1."""
        return self._edge_weight

    @property
    def precision(self) -> ReconstructionOperator:
        """The precision matrix `A = Gamma + D^T W D`, on flattened images."""
        return ReconstructionOperator(
            self._gamma, num_channels=self._f.shape[-1], edge_weight=self._edge_weight
        )

    def marginal_variance(self, num_samples: int | None = None, *, seed: Any = None) -> Estimate:
        """The variance of every pixel, and how exact it is.

        Args:
            num_samples: solves, by default those the field was made with.
            seed: of the samples, by default that of the field.

        Returns:
            The diagonal of `A^-1` and its standard error, `[B, H, W, C]` each.

        Example:
            >>> f = tf.zeros([1, 4, 4, 1])
            >>> field = deepam_tf.probability.GaussianField(f, tf.zeros([1, 4, 4, 2]), f + 1e4)
            >>> round(float(field.marginal_variance(2).value[0, 0, 0, 0]), 6)
            0.0001
        """
        count = self.num_samples if num_samples is None else num_samples
        diagonal = tf.reshape(self.precision.diag_part(), tf.shape(self._f))

        def explained(samples: tf.Tensor) -> tf.Tensor:
            return tf.square(samples - self._product(samples) / diagonal)

        mean, count = self._mean_over_samples(explained, count, seed)
        value = tf.stop_gradient(tf.math.reciprocal(diagonal) + mean)
        return Estimate(value, tf.stop_gradient(math.sqrt(2.0 / count) * mean))

    def log_determinant(self) -> Estimate:
        """`log det A` of every image, and how exact it is.

        Returns:
            The determinant's logarithm and its standard error, `[B]` each.

        Example:
            >>> f = tf.zeros([1, 1, 2, 1])
            >>> field = deepam_tf.probability.GaussianField(f, tf.zeros([1, 1, 2, 2]), f + 1.0)
            >>> round(math.exp(float(field.log_determinant().value[0])), 5)  # [[2, -1], [-1, 2]]
            3.0
        """
        if self._is_exact():
            value = self._exact_log_determinant()
            return Estimate(value, tf.zeros_like(value))
        return self._estimated_log_determinant()

    def _event_shape(self):
        return self._f.shape[1:]

    def _event_shape_tensor(self):
        return tf.shape(self._f)[1:]

    def _default_event_space_bijector(self):
        return tfp.bijectors.Identity(validate_args=self.validate_args)

    def _mean(self):
        return self._restored(self._f[tf.newaxis], self._v[tf.newaxis])[0]

    def _mode(self):
        return self._mean()

    def _variance(self):
        return self.marginal_variance().value

    def _stddev(self):
        return tf.sqrt(self._variance())

    def _entropy(self):
        return 0.5 * (self._num_values() * (1 + math.log(2 * math.pi)) - self._log_det())

    def _log_prob(self, value):
        value = tf.convert_to_tensor(value, self.dtype)
        distance = value - self._mean()
        squared = tf.reduce_sum(distance * self._product(distance), axis=[-3, -2, -1])
        return 0.5 * (self._log_det() - squared - self._num_values() * math.log(2 * math.pi))

    def _sample_n(self, n, seed=None):
        df, dv = self._noise(n, seed)
        return tf.ensure_shape(self._restored(self._f + df, self._v + dv), [None, *self._f.shape])

    def _noise(self, n: int | tf.Tensor, seed: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """Perturbations of `f` and `v` with the variances `1 / gamma` and `1 / w`, `[n, ...]`."""
        first, second = tfp.random.split_seed(seed, n=2)
        df, dv = (
            tf.random.stateless_normal(tf.concat([[n], tf.shape(x)], axis=0), one, dtype=x.dtype)
            for x, one in ((self._f, first), (self._v, second))
        )
        if self._edge_weight is not None:
            dv *= _inverse_root(per_channel(self._edge_weight, self._f.shape[-1]))
        return df * _inverse_root(self._gamma), dv

    def _restored(self, f: tf.Tensor, v: tf.Tensor) -> tf.Tensor:
        """The solutions for `f` and `v` of several samples, `[n, B, H, W, ...]`, at once."""
        count = tf.shape(f)[0]

        def flat(x: tf.Tensor) -> tf.Tensor:
            return tf.reshape(x, tf.concat([[-1], tf.shape(x)[2:]], axis=0))

        def repeated(x: tf.Tensor | None) -> tf.Tensor | None:
            return None if x is None else tf.tile(x, [count, 1, 1, 1])

        flat_f = tf.ensure_shape(flat(f), [None, *self._f.shape[1:]])
        flat_v = tf.ensure_shape(flat(v), [None, *self._v.shape[1:]])
        weight = repeated(self._edge_weight)
        gamma = repeated(self._gamma)
        u = reconstruct(flat_f, flat_v, gamma, edge_weight=weight, **self._solve)
        return tf.reshape(u, tf.shape(f))

    def _mean_over_samples(self, function, count: int, seed: Any) -> tuple[tf.Tensor, int]:
        """The mean of a function of samples around 0, as many in memory as there is room for.

        Returns:
            The mean, and of how many samples it is.
        """
        at_once = max(1, min(count, _VALUES_AT_ONCE // (self._f.shape.num_elements() or 1 << 30)))
        rounds = -(-count // at_once)
        total = tf.zeros([], self.dtype)
        for one in tfp.random.split_seed(self._seed if seed is None else seed, n=rounds):
            samples = tf.stop_gradient(self._restored(*self._noise(at_once, one)))
            total += tf.reduce_sum(function(samples), axis=0)
        return tf.stop_gradient(total / (rounds * at_once)), rounds * at_once

    def _product(self, x: tf.Tensor) -> tf.Tensor:
        """`A x` of `[..., B, H, W, C]`."""
        slopes = _per_image(image_gradient, x)
        if self._edge_weight is not None:
            slopes *= per_channel(self._edge_weight, self._f.shape[-1])
        return self._gamma * x + _per_image(image_gradient_adjoint, slopes)

    def _num_values(self) -> tf.Tensor:
        return tf.cast(tf.reduce_prod(tf.shape(self._f)[1:]), self.dtype)

    def _log_det(self) -> tf.Tensor:
        return self.log_determinant().value

    def _is_exact(self) -> bool:
        if self.exact_determinant is not None:
            return self.exact_determinant
        _, height, width, channels = self._f.shape
        if None in (height, width):
            return False
        return height * width * min(height, width) ** 2 * channels <= _EXACT_COST

    def _exact_log_determinant(self) -> tf.Tensor:
        """Block elimination: each row of pixels, its neighbours above eliminated.

        `A` is block tridiagonal: `T_i` inside row `i` of the image, `-diag(d_i)` between rows
        `i` and `i + 1`. With `S_0 = T_0` and `S_i = T_i - diag(d) S_(i-1)^-1 diag(d)` the
        determinant is the product of those of the `S_i`.
        """
        channels = self._f.shape[-1]
        weight = tf.ones_like(self._v)
        if self._edge_weight is not None:
            weight = per_channel(self._edge_weight, channels)
        dy, dx = tf.split(tf.cast(weight, tf.float64), 2, axis=-1)
        diagonal = tf.reshape(self.precision.diag_part(), tf.shape(self._f))
        # Channels never mix: each is an image of its own, [rows, B, C, columns].
        diagonal, dy, dx = (
            tf.transpose(tf.cast(x, tf.float64), [1, 0, 3, 2]) for x in (diagonal, dy, dx)
        )
        height, width = tf.shape(diagonal)[0], tf.shape(diagonal)[-1]
        down, right = dy[:-1], dx[..., :-1]
        if (self._f.shape[1] or 0) < (self._f.shape[2] or 0):  # eliminate along the longer side
            diagonal, down, right = (
                tf.transpose(x, [3, 1, 2, 0]) for x in (diagonal, dx[..., :-1], dy[:-1])
            )
            height, width = width, height
        down = tf.concat([tf.zeros_like(diagonal[:1]), down], axis=0)

        def eliminate(i, schur_inverse, total):
            links = tf.linalg.diag(right[i], k=1) + tf.linalg.diag(right[i], k=-1)
            above = down[i]
            schur = tf.linalg.diag(diagonal[i]) - links
            schur -= above[..., tf.newaxis] * schur_inverse * above[..., tf.newaxis, :]
            factor = tf.linalg.cholesky(schur)
            roots = tf.math.log(tf.linalg.diag_part(factor))
            total += 2 * tf.reduce_sum(roots, axis=[-2, -1])
            identity = tf.eye(width, batch_shape=tf.shape(schur)[:2], dtype=schur.dtype)
            return i + 1, tf.linalg.cholesky_solve(factor, identity), total

        start = tf.zeros(tf.concat([tf.shape(diagonal)[1:], [width]], axis=0), tf.float64)
        shapes = [tf.TensorShape([]), start.shape[:2] + [None, None], tf.TensorShape([None])]
        _, _, total = tf.while_loop(
            lambda i, *_: i < height,
            eliminate,
            (0, start, tf.zeros_like(diagonal[0, :, 0, 0])),
            shape_invariants=tuple(shapes),
        )
        return tf.cast(total, self.dtype)

    def _estimated_log_determinant(self) -> Estimate:
        @tf.custom_gradient
        def differentiable(gamma, *weights):
            estimate = self._quadrature()

            def vjp(bar, _):
                # d log det A = tr(A^-1 dA), that is the variances of u and of D u.
                def squares(x):
                    return tf.square(tf.concat([x, _per_image(image_gradient, x)], axis=-1))

                channels = self._f.shape[-1]
                mean, _ = self._mean_over_samples(squares, self.num_samples, None)
                mean *= bar[:, tf.newaxis, tf.newaxis, tf.newaxis]
                of_gamma, of_weight = mean[..., :channels], mean[..., channels:]
                bars = [_sum_to(of_gamma, gamma.shape[-1], 1)]
                bars += [_sum_to(of_weight, weight.shape[-1], 2) for weight in weights]
                return bars

            return (estimate.value, estimate.standard_error), vjp

        weights = [] if self._edge_weight is None else [self._edge_weight]
        return Estimate(*differentiable(self._gamma, *weights))

    def _quadrature(self) -> Estimate:
        """Stochastic Lanczos quadrature of `tr log(S A S)`, and `-2 tr log S` beside it."""
        diagonal = tf.reshape(self.precision.diag_part(), tf.shape(self._f))
        scale = tf.math.rsqrt(diagonal)
        shape = tf.concat([[self.num_probes], tf.shape(self._f)], axis=0)
        signs = 2 * tf.random.stateless_uniform(shape, self._seed, 0, 2, tf.int32) - 1
        flat = tf.stack([self.num_probes * shape[1], tf.reduce_prod(shape[2:])])

        def apply(x: tf.Tensor) -> tf.Tensor:
            return tf.reshape(scale * self._product(scale * tf.reshape(x, shape)), flat)

        start = tf.reshape(tf.cast(signs, self.dtype), flat)
        traces = _quadrature_of_log(*_lanczos(apply, start, self.num_lanczos_steps))
        traces = tf.reshape(traces, shape[:2]) * tf.cast(flat[1], tf.float64)
        value = tf.reduce_mean(traces, axis=0)
        value += tf.reduce_sum(tf.math.log(tf.cast(diagonal, tf.float64)), axis=[1, 2, 3])
        spread = tf.math.reduce_variance(traces, axis=0) / (self.num_probes - 1)
        return Estimate(tf.cast(value, self.dtype), tf.cast(tf.sqrt(spread), self.dtype))


def _per_image(function, x: tf.Tensor) -> tf.Tensor:
    """A function of images `[B, H, W, ...]`, of samples of them, `[..., B, H, W, ...]`."""
    shape = tf.shape(x)
    flat = tf.reshape(x, tf.concat([[-1], shape[-3:]], axis=0))
    result = function(tf.ensure_shape(flat, [None, *x.shape[-3:]]))
    return tf.reshape(result, tf.concat([shape[:-1], tf.shape(result)[-1:]], axis=0))


def _inverse_root(x: tf.Tensor) -> tf.Tensor:
    """`1 / sqrt(x)`; 0 for 0, where the weight makes every value count for nothing."""
    positive = x > 0
    return tf.where(positive, tf.math.rsqrt(tf.where(positive, x, 1)), 0)


def _sum_to(x: tf.Tensor, maps: int, shared: int) -> tf.Tensor:
    """Sum over channels where `shared` maps served all of them; order (dy, dx) kept."""
    if maps == x.shape[-1]:
        return x
    return tf.concat(
        [tf.reduce_sum(part, axis=-1, keepdims=True) for part in tf.split(x, shared, axis=-1)],
        axis=-1,
    )


def _lanczos(apply, start: tf.Tensor, count: int) -> tuple[tf.Tensor, tf.Tensor]:
    """The tridiagonal matrices of the Krylov spaces of `start`, `[B, N]`.

    Vectors lose their orthogonality as the extreme eigenvalues converge; that repeats nodes of
    the quadrature and shares their weights, and leaves its sums as they are.

    Returns:
        Diagonals and sub-diagonals, `[count, B]` each. Where a space ends early the diagonal
        goes on with ones, out of reach of the first vector.
    """
    q = start / tf.norm(start, axis=1, keepdims=True)
    tiny = 1e3 * q.dtype.as_numpy_dtype(2.0) ** (-23 if q.dtype == tf.float32 else -52)
    alphas = tf.TensorArray(q.dtype, count)
    betas = tf.TensorArray(q.dtype, count)

    def step(k, q, before, beta, alphas, betas):
        image = apply(q) - beta[:, tf.newaxis] * before
        alpha = tf.reduce_sum(q * image, axis=1)
        image -= alpha[:, tf.newaxis] * q
        norm = tf.norm(image, axis=1)
        going = norm > tiny
        following = tf.where(going[:, tf.newaxis], image / norm[:, tf.newaxis], 0)
        norm = tf.where(going, norm, 0)
        ended = tf.reduce_all(tf.equal(q, 0), axis=1)
        alphas = alphas.write(k, tf.where(ended, tf.ones_like(alpha), alpha))
        return k + 1, following, q, norm, alphas, betas.write(k, norm)

    _, _, _, _, alphas, betas = tf.while_loop(
        lambda k, *_: k < count,
        step,
        (0, q, tf.zeros_like(q), tf.zeros_like(q[:, 0]), alphas, betas),
        maximum_iterations=count,
    )
    return alphas.stack(), betas.stack()


def _quadrature_of_log(alphas: tf.Tensor, betas: tf.Tensor) -> tf.Tensor:
    """`e1^T log(T) e1` of tridiagonal `T`, `[B]` float64."""
    alphas, betas = (tf.cast(tf.transpose(x), tf.float64) for x in (alphas, betas))
    between = betas[:, :-1]
    matrix = tf.linalg.diag(alphas) + tf.linalg.diag(between, k=1) + tf.linalg.diag(between, k=-1)
    values, vectors = tf.linalg.eigh(matrix)
    # Rounding may push the least of them to 0 or below, with next to no weight.
    values = tf.maximum(values, 1e-12 * values[:, -1:])
    return tf.reduce_sum(tf.square(vectors[:, 0]) * tf.math.log(values), axis=-1)
