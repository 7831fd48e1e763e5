from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import deepam_tf
from tests import helpers

SHAPES = [(2, 5, 7, 3), (1, 1, 6, 1), (1, 6, 1, 2), (2, 1, 1, 1), (3, 2, 2, 1)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-5)])
def test_adjoint_has_the_same_inner_product(rng, shape, dtype, tolerance):
    u = rng.normal(size=shape).astype(dtype)
    v = rng.normal(size=(*shape[:3], 2 * shape[3])).astype(dtype)
    left = float(tf.reduce_sum(deepam_tf.image_gradient(u) * v))
    right = float(tf.reduce_sum(u * deepam_tf.image_gradient_adjoint(v)))
    scale = np.linalg.norm(u) * np.linalg.norm(v)
    assert abs(left - right) <= tolerance * scale, f"<Du, v> = {left}, <u, D^T v> = {right}"


def test_gradient_is_that_of_tensorflow(rng):
    u = tf.constant(rng.normal(size=(2, 5, 7, 3)), tf.float32)
    dy, dx = tf.image.image_gradients(u)
    np.testing.assert_array_equal(deepam_tf.image_gradient(u), tf.concat([dy, dx], -1))


def test_gradient_of_a_constant_is_exactly_zero():
    assert not np.any(deepam_tf.image_gradient(np.full((1, 4, 5, 2), 0.1, "float32")))


@pytest.mark.parametrize("shape", SHAPES)
def test_system_is_the_sparse_matrix(rng, shape):
    batch, _, _, channels = shape
    gamma = rng.uniform(0, 2, size=shape)
    operator = deepam_tf.ReconstructionOperator(gamma)
    dense = operator.to_dense().numpy()
    for b in range(batch):
        for c in range(channels):
            own = dense[b, c::channels, c::channels]
            expected = helpers.system_matrix(gamma[b, :, :, c]).toarray()
            np.testing.assert_allclose(own, expected, atol=1e-14)
            others = np.delete(dense[b, c::channels], np.s_[c::channels], axis=1)
            assert not others.any(), "channels must not mix"
    np.testing.assert_allclose(operator.diag_part(), np.einsum("bii->bi", dense), atol=1e-14)


def test_system_is_positive_definite_with_one_positive_gamma():
    gamma = np.zeros((1, 4, 5, 1))
    gamma[0, 2, 3] = 1e-3
    dense = deepam_tf.ReconstructionOperator(gamma).to_dense().numpy()[0]
    assert np.linalg.eigvalsh(dense)[0] > 1e-6


def test_system_takes_one_gamma_for_all_channels(rng):
    gamma, x = rng.uniform(size=(2, 3, 4, 1)), rng.normal(size=(2, 3 * 4 * 3))
    shared = deepam_tf.ReconstructionOperator(gamma, num_channels=3)
    repeated = deepam_tf.ReconstructionOperator(np.repeat(gamma, 3, axis=-1))
    np.testing.assert_array_equal(shared.matvec(x), repeated.matvec(x))


@pytest.mark.parametrize("jit_compile", [False, True])
def test_same_product_with_unknown_sizes(rng, jit_compile):
    gamma, x = rng.uniform(size=(2, 3, 4, 1)), rng.normal(size=(2, 24))

    @tf.function(
        jit_compile=jit_compile,
        input_signature=[
            tf.TensorSpec([None, None, None, 1], tf.float64),
            tf.TensorSpec([None, None], tf.float64),
        ],
    )
    def product(gamma, x):
        return deepam_tf.ReconstructionOperator(gamma, num_channels=2).matvec(x)

    expected = deepam_tf.ReconstructionOperator(gamma, num_channels=2).matvec(x)
    np.testing.assert_allclose(product(gamma, x), expected, rtol=1e-12)


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match=r"rank 4.*Received"):
        deepam_tf.image_gradient(tf.zeros([4, 4]))
    with pytest.raises(ValueError, match=r"two maps.*Received"):
        deepam_tf.image_gradient_adjoint(tf.zeros([1, 4, 4, 3]))
    with pytest.raises(ValueError, match=r"one map.*Received"):
        deepam_tf.ReconstructionOperator(tf.ones([1, 4, 4, 2]), num_channels=3)
