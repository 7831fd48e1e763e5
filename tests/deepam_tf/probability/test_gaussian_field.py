from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from deepam_tf.probability import GaussianField
from tests import helpers

SHAPE = (2, 5, 4, 2)


def parameters(rng, *, weighted: bool):
    """`f`, `v`, `gamma` with a hole, and weights of links."""
    f, v, gamma = helpers.problem(rng, SHAPE, low=0.05, high=5.0)
    gamma[0, 2:] = 0
    weight = 10 ** rng.uniform(-1, 1, (*SHAPE[:3], 2)) if weighted else None
    return f, v, gamma, weight


def dense(f, v, gamma, weight, b: int, c: int):
    """Mean and covariance of one channel of one image, by dense algebra."""
    dy, dx = helpers.gradient_matrices(*SHAPE[1:3])
    ones = np.ones(dy.shape[0])
    wy, wx = (ones, ones) if weight is None else (weight[b, ..., i].ravel() for i in (0, 1))
    precision = np.diag(gamma[b, ..., 0].ravel())
    precision = precision + np.asarray(dy.T @ np.diag(wy) @ dy + dx.T @ np.diag(wx) @ dx)
    rhs = gamma[b, ..., 0].ravel() * f[b, ..., c].ravel()
    rhs = rhs + dy.T @ (wy * v[b, ..., c].ravel()) + dx.T @ (wx * v[b, ..., SHAPE[3] + c].ravel())
    covariance = np.linalg.inv(precision)
    return covariance @ rhs, covariance


def dense_images(given):
    """Mean and variance of all channels and images, log det A of each image."""
    mean, variance, log_det = np.empty(SHAPE), np.empty(SHAPE), np.zeros(SHAPE[0])
    for b in range(SHAPE[0]):
        for c in range(SHAPE[3]):
            one, covariance = dense(*given, b, c)
            mean[b, ..., c] = one.reshape(SHAPE[1:3])
            variance[b, ..., c] = np.diag(covariance).reshape(SHAPE[1:3])
            log_det[b] -= np.linalg.slogdet(covariance)[1]
    return mean, variance, log_det


@pytest.fixture(params=[False, True], ids=["unweighted", "weighted"])
def given(request, rng):
    return parameters(rng, weighted=request.param)


def test_mean_density_and_entropy_are_those_of_dense_algebra(given, rng):
    field = GaussianField(*given, rtol=1e-12)
    mean, _, log_det = dense_images(given)
    np.testing.assert_allclose(field.mean(), mean, atol=1e-8)
    np.testing.assert_allclose(field.mode(), mean, atol=1e-8)
    np.testing.assert_allclose(field.log_determinant().value, log_det, rtol=1e-10)
    assert not field.log_determinant().standard_error.numpy().any()

    x = rng.normal(size=(3, *SHAPE))
    expected, entropy = np.zeros((3, SHAPE[0])), np.zeros(SHAPE[0])
    for b in range(SHAPE[0]):
        for c in range(SHAPE[3]):
            normal = scipy.stats.multivariate_normal(*dense(*given, b, c))
            entropy[b] += normal.entropy()
            expected[:, b] += normal.logpdf(x[:, b, ..., c].reshape(3, -1))
    np.testing.assert_allclose(field.log_prob(x), expected, rtol=1e-7)
    np.testing.assert_allclose(field.log_prob(x[0]), expected[0], rtol=1e-7)
    np.testing.assert_allclose(field.entropy(), entropy, rtol=1e-9)


def test_samples_have_the_mean_and_the_covariance_of_the_field(given):
    count = 3000
    field = GaussianField(*given, rtol=1e-6, preconditioner="jacobi")
    assert field.batch_shape == [SHAPE[0]]
    assert field.event_shape == list(SHAPE[1:])
    samples = field.sample(count, seed=(1, 0)).numpy()
    assert samples.shape == (count, *SHAPE)
    for b in range(SHAPE[0]):
        mean, covariance = dense(*given, b, 1)
        own = samples[:, b, ..., 1].reshape(count, -1)
        deviations = np.sqrt(np.diag(covariance))
        # Five standard errors of a mean and of a covariance.
        assert np.abs((own.mean(axis=0) - mean) / deviations).max() < 5 / math.sqrt(count)
        error = (np.cov(own.T) - covariance) / np.outer(deviations, deviations)
        assert np.abs(error).max() < 5 * math.sqrt(2 / count)
    # Images and channels are independent.
    across = np.corrcoef(samples[:, 0, 0, 0, 0], samples[:, 0, 0, 0, 1])[0, 1]
    assert abs(across) < 5 / math.sqrt(count)


def test_samples_are_those_of_their_seed(given):
    field = GaussianField(*given)
    first, again, other = (field.sample(2, seed=(seed, 0)).numpy() for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1
    np.testing.assert_array_equal(field.variance(), field.variance())


def test_marginal_variance_is_right_within_its_error(given):
    field = GaussianField(*given, rtol=1e-6, preconditioner="jacobi", num_samples=500)
    estimate = field.marginal_variance()
    _, variance, _ = dense_images(given)
    deviation = (estimate.value - variance) / estimate.standard_error
    assert np.abs(deviation).max() < 5
    assert np.sqrt(np.mean(np.square(deviation))) < 1.5
    np.testing.assert_array_equal(field.variance(), estimate.value)
    np.testing.assert_allclose(field.stddev(), np.sqrt(estimate.value))
    # The part that is known without sampling makes it better than the samples' own spread.
    assert (estimate.standard_error.numpy() < math.sqrt(2 / 500) * variance).all()


def test_estimated_determinant_is_right_within_its_error_and_has_the_gradient(given):
    f, v, gamma, weight = given
    _, variance, log_det = dense_images(given)
    tensor = tf.constant(gamma)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        field = GaussianField(
            *(f, v, tensor, weight),
            exact_determinant=False,
            num_probes=100,
            num_samples=1000,
            rtol=1e-6,
            preconditioner="jacobi",
        )
        estimate = field.log_determinant()
    spread = estimate.standard_error.numpy()
    assert (np.abs(estimate.value - log_det) < 5 * spread).all()
    assert (spread < 0.1 * np.abs(log_det) + 1).all()
    # d log det A / d gamma is the marginal variance, of both channels one gamma serves.
    gradient = tape.gradient(estimate.value, tensor)
    expected = variance.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(gradient, expected, rtol=5 * math.sqrt(2 / 1000))


def test_quadrature_stops_where_a_krylov_space_ends():
    # Of a matrix with two eigenvalues two steps give the logarithm of every vector.
    gamma = np.full([1, 1, 2, 1], 0.5)
    field = GaussianField(
        np.zeros([1, 1, 2, 1]), np.zeros([1, 1, 2, 2]), gamma, exact_determinant=False
    )
    estimate = field.log_determinant()
    # A = [[1.5, -1], [-1, 1.5]]: eigenvalues 0.5 and 2.5; a probe is one of their vectors.
    error = abs(float(estimate.value[0]) - math.log(1.25))
    assert error < 5 * float(estimate.standard_error[0])


@pytest.mark.slow
def test_gradients_of_the_density_are_those_of_differences(rng):
    f, v, gamma = helpers.problem(rng, (1, 3, 4, 1))
    x = rng.normal(size=f.shape)

    @tf.function
    def density(f, v, gamma):
        field = GaussianField(f, v, gamma, rtol=1e-12, preconditioner="jacobi")
        return field.log_prob(x)

    for theory, numerical in zip(
        *tf.test.compute_gradient(density, [f, v, gamma], delta=1e-5), strict=True
    ):
        np.testing.assert_allclose(theory, numerical, atol=1e-6)


@pytest.mark.slow
def test_samples_are_differentiable(rng):
    f, v, gamma = helpers.problem(rng, (1, 3, 4, 1))

    @tf.function
    def samples(f, gamma):
        field = GaussianField(f, v, gamma, rtol=1e-12, preconditioner="jacobi")
        return field.sample(2, seed=(1, 0))

    for theory, numerical in zip(
        *tf.test.compute_gradient(samples, [f, gamma], delta=1e-5), strict=True
    ):
        np.testing.assert_allclose(theory, numerical, atol=1e-5)


@pytest.mark.parametrize(
    ("value", "dtype"), [(1e-8, tf.float64), (1e-3, tf.float32), (1e6, tf.float32)]
)
def test_extreme_precisions(value, dtype):
    """A constant field: the variance of the mean of all pixels is 1 / (gamma N)."""
    f = tf.zeros([1, 6, 7, 1], dtype)
    field = GaussianField(f, tf.zeros([1, 6, 7, 2], dtype), f + value)
    means = tf.reduce_mean(field.sample(2000, seed=(2, 0)), axis=[2, 3, 4])
    expected = 1 / math.sqrt(value * 42)
    np.testing.assert_allclose(np.std(means), expected, rtol=0.1)


def test_wide_and_tall_images_have_the_same_determinant(rng):
    f, v, gamma = helpers.problem(rng, (1, 3, 8, 1))
    turned_v = np.concatenate([v[..., 1:], v[..., :1]], axis=-1).swapaxes(1, 2)
    wide = GaussianField(f, v, gamma)
    tall = GaussianField(f.swapaxes(1, 2), turned_v, gamma.swapaxes(1, 2))
    np.testing.assert_allclose(
        wide.log_determinant().value, tall.log_determinant().value, rtol=1e-12
    )


@pytest.mark.slow
def test_works_inside_a_function(rng):
    f, v, gamma = helpers.problem(rng, (1, 4, 5, 1))

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 1], tf.float64)])
    def density(f):
        return GaussianField(f, v, gamma, rtol=1e-9, exact_determinant=True).log_prob(f)

    expected = GaussianField(f, v, gamma, rtol=1e-9).log_prob(f)
    np.testing.assert_allclose(density(f), expected, rtol=1e-7)


def test_refusals(rng):
    f, v, gamma = helpers.problem(rng)
    with pytest.raises(ValueError, match="at least 2"):
        GaussianField(f, v, gamma, num_samples=1)
    with pytest.raises(ValueError, match="negative"):
        GaussianField(f, v, -gamma)
