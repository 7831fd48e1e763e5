from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import deepam_tf
from deepam_tf import preconditioners

MAKERS = {"jacobi": preconditioners.jacobi, "cosine": preconditioners.CosineInverse}
SHAPES = [(2, 5, 4, 2), (1, 1, 6, 1), (1, 6, 1, 1), (1, 1, 1, 2)]


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("maps", [1, 2])
def test_is_symmetric_and_positive_definite(rng, name, shape, maps):
    gamma = 10 ** rng.uniform(-3, 2, (*shape[:3], min(maps, shape[3])))
    operator = deepam_tf.ReconstructionOperator(gamma, num_channels=shape[3])
    for dense in MAKERS[name](operator).to_dense().numpy():
        np.testing.assert_allclose(dense, dense.T, atol=1e-9 * abs(dense).max())
        assert np.linalg.eigvalsh(dense).min() > 0


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("jit_compile", [False, True])
def test_same_product_with_unknown_sizes(rng, name, jit_compile):
    @tf.function(
        jit_compile=jit_compile,
        input_signature=[
            tf.TensorSpec([None, None, None, 1], tf.float64),
            tf.TensorSpec([None, None], tf.float64),
        ],
    )
    def product(gamma, x):
        return MAKERS[name](deepam_tf.ReconstructionOperator(gamma)).matvec(x)

    gamma, x = rng.uniform(0.1, 1, size=(2, 3, 4, 1)), rng.normal(size=(2, 12))
    expected = MAKERS[name](deepam_tf.ReconstructionOperator(gamma)).matvec(x)
    np.testing.assert_allclose(product(gamma, x), expected, rtol=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
def test_cosine_inverts_the_system_of_constant_gamma(rng, shape):
    gamma = np.broadcast_to(rng.uniform(0.01, 1, (shape[0], 1, 1, 1)), (*shape[:3], 1))
    operator = deepam_tf.ReconstructionOperator(gamma, num_channels=shape[3])
    x = rng.normal(size=(shape[0], shape[1] * shape[2] * shape[3]))
    back = preconditioners.CosineInverse(operator).matvec(operator.matvec(x))
    np.testing.assert_allclose(back, x, atol=1e-11)


def test_each_does_what_it_is_for(rng):
    def steps(gamma, name):
        operator = deepam_tf.ReconstructionOperator(gamma)
        b = tf.constant(np.random.default_rng(1).normal(size=(1, 32 * 32)))
        result = deepam_tf.conjugate_gradient(
            operator, b, preconditioner=MAKERS[name](operator) if name else None, rtol=1e-6
        )
        return int(result.num_steps[0])

    wide = 10 ** rng.uniform(-3, 4, (1, 32, 32, 1))
    assert steps(wide, "jacobi") < 0.1 * steps(wide, None)
    narrow = rng.uniform(0.05, 1, (1, 32, 32, 1)) * 1e-2
    assert steps(narrow, "cosine") < 0.2 * steps(narrow, None)
