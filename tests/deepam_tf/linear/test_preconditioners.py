from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse.linalg
import tensorflow as tf

import deepam_tf
from deepam_tf import preconditioners
from tests import helpers

MAKERS = {
    "jacobi": preconditioners.jacobi,
    "cosine": preconditioners.CosineInverse,
    "multigrid": preconditioners.Multigrid,
}
SHAPES = [(2, 5, 4, 2), (1, 1, 6, 1), (1, 6, 1, 1), (1, 1, 1, 2)]


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("maps", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_is_symmetric_and_positive_definite(rng, name, shape, maps):
    gamma = 10 ** rng.uniform(-3, 2, (*shape[:3], min(maps, shape[3])))
    operator = deepam_tf.ReconstructionOperator(gamma, num_channels=shape[3])
    # As a graph: it applies the operator to each unit vector in turn.
    for dense in tf.function(lambda: MAKERS[name](operator).to_dense())().numpy():
        np.testing.assert_allclose(dense, dense.T, atol=1e-9 * abs(dense).max())
        assert np.linalg.eigvalsh(dense).min() > 0


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)])
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


def test_gamma_that_is_constant_in_each_channel_is_inverted_exactly(rng):
    shape = (2, 24, 24, 3)
    gamma = np.broadcast_to(10 ** rng.uniform(-5, 0, (2, 1, 1, 3)), shape)
    f, v = rng.normal(size=shape), rng.normal(size=(2, 24, 24, 6))
    operator = deepam_tf.ReconstructionOperator(gamma)
    choice = preconditioners.AUTO_CANDIDATES[int(preconditioners.auto_choice(operator))]
    assert choice == "cosine"
    u, info = deepam_tf.reconstruct_with_info(f, v, gamma)
    assert int(tf.reduce_max(info.num_steps)) <= 2
    np.testing.assert_allclose(u, helpers.spsolve_reconstruction(f, v, gamma), atol=1e-3)


@tf.function
def solved(gamma, b, name):
    operator = deepam_tf.ReconstructionOperator(gamma)
    return deepam_tf.conjugate_gradient(
        operator,
        b,
        preconditioner=preconditioners.make_preconditioner(name, operator),
        rtol=1e-6,
        max_steps=2000,
    )


@pytest.mark.slow
def test_each_does_what_it_is_for(rng):
    def steps(gamma, name):
        b = tf.constant(np.random.default_rng(1).normal(size=(1, 32 * 32)))
        return int(solved(tf.constant(gamma), b, name).num_steps[0])

    wide = 10 ** rng.uniform(-3, 4, (1, 32, 32, 1))
    assert steps(wide, "jacobi") < 0.1 * steps(wide, "none")
    narrow = rng.uniform(0.05, 1, (1, 32, 32, 1)) * 1e-2
    assert steps(narrow, "cosine") < 0.2 * steps(narrow, "none")


def hole(shape, value=1.0):
    """No data in the left half."""
    gamma = np.full(shape, value)
    gamma[:, :, : shape[2] // 2] = 0.0
    return gamma


@pytest.mark.parametrize(
    "size",
    [(16, 16), *(pytest.param(x, marks=pytest.mark.slow) for x in [(64, 64), (129, 40), (3, 200)])],
)
@pytest.mark.parametrize("kind", ["1e-6", "1e-4", "0.1", "hole", "log-uniform"])
def test_multigrid_takes_a_dozen_steps_whatever_size_and_gamma(rng, size, kind):
    shape = (1, *size, 1)
    if kind == "hole":
        gamma = hole(shape)
    elif kind == "log-uniform":
        gamma = 10 ** rng.uniform(-3, 2, shape)
    else:
        gamma = np.full(shape, float(kind))
    b = rng.normal(size=(1, size[0] * size[1]))
    result = solved(tf.constant(gamma), tf.constant(b), "multigrid")
    assert bool(result.converged[0])
    assert int(result.num_steps[0]) <= 14
    expected = scipy.sparse.linalg.spsolve(helpers.system_matrix(gamma[0, :, :, 0]), b[0])
    np.testing.assert_allclose(result.x[0], expected, atol=1e-4 * abs(expected).max())


def test_coarse_grids_keep_the_sum_of_gamma_and_the_energy_of_ramps():
    height, width = 13, 9
    gamma = np.random.default_rng(0).uniform(size=(1, height, width, 1))
    operator = deepam_tf.ReconstructionOperator(gamma)
    ones = tf.ones([1, 1, height, width], tf.float64)
    for level, grid in enumerate(preconditioners.Multigrid(operator)._grids):
        cells = ones[:, :, :: 2**level, :: 2**level]
        total = tf.reduce_sum(cells * grid.apply(cells))
        np.testing.assert_allclose(total, gamma.sum())
        # Cells' centres in pixels; a cell at the end may be narrower.
        edges = np.minimum(np.arange(0, width + 2**level, 2**level), width)
        ramp = cells * (edges[1:] + edges[:-1])[: cells.shape[-1]] / 2
        energy = tf.reduce_sum(ramp * grid.apply(ramp)) - tf.reduce_sum(grid._gamma * ramp**2)
        distance = float(ramp[0, 0, 0, -1] - ramp[0, 0, 0, 0])
        np.testing.assert_allclose(energy, height * distance, atol=1e-9)


@pytest.mark.parametrize(
    ("gamma", "name"),
    [
        (np.full((1, 40, 40, 1), 1.0), "jacobi"),
        (np.full((2, 40, 40, 1), 1e-3), "cosine"),
        (np.random.default_rng(0).uniform(0.05, 1, (1, 40, 40, 3)), "jacobi"),
        (10 ** np.random.default_rng(0).uniform(-3, 2, (1, 40, 40, 1)), "jacobi"),
        (hole((1, 64, 64, 1)), "multigrid"),
        (np.concatenate([hole((1, 64, 64, 1)), np.ones((1, 64, 64, 1))]), "multigrid"),
        (np.concatenate([np.full((1, 64, 64, 1), np.nan), np.ones((1, 64, 64, 1))]), "jacobi"),
    ],
)
def test_auto_looks_at_gamma(gamma, name):
    choice = preconditioners.auto_choice(deepam_tf.ReconstructionOperator(gamma))
    assert preconditioners.AUTO_CANDIDATES[int(choice)] == name


def test_unknown_name_is_refused_with_the_nearest():
    operator = deepam_tf.ReconstructionOperator(np.ones((1, 2, 2, 1)))
    with pytest.raises(ValueError, match=r"one of.*Received: 'multgrid'.*'multigrid'"):
        preconditioners.make_preconditioner("multgrid", operator)
    with pytest.raises(ValueError, match=r"at least 1.*Received"):
        preconditioners.Multigrid(operator, num_levels=0)
