"""Weights on the gradients: E(u) = 1/2 sum gamma (u - f)^2 + 1/2 sum w (D u - v)^2."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import tensorflow as tf

import deepam_tf
from deepam_tf import preconditioners
from tests import helpers
from tests.helpers import problem

jacobi = functools.partial(deepam_tf.reconstruct, preconditioner="jacobi")


def weighted(rng, shape=(2, 6, 5, 2), gamma_maps=1, weight_maps=2, low=0.02):
    """A problem of `helpers` and log-uniform edge weights in [low, 2]."""
    maps = (*shape[:3], weight_maps)
    return (*problem(rng, shape, gamma_maps), 10 ** rng.uniform(np.log10(low), 0.3, maps))


def solve(f, v, gamma, edge_weight, **options):
    return jacobi(f, v, gamma, edge_weight=edge_weight, **options)


@pytest.mark.parametrize("shape", [(2, 5, 7, 3), (1, 1, 6, 1), (1, 6, 1, 2), (2, 1, 1, 1)])
@pytest.mark.parametrize("per_channel", [False, True])
def test_system_is_the_sparse_matrix(rng, shape, per_channel):
    *_, channels = shape
    gamma = rng.uniform(0, 2, size=shape)
    weight = rng.uniform(0, 2, size=(*shape[:3], 2 * channels if per_channel else 2))
    operator = deepam_tf.ReconstructionOperator(gamma, edge_weight=weight)
    dense = operator.to_dense().numpy()
    every = np.repeat(weight, 2 * channels // weight.shape[-1], axis=-1)
    for b in range(shape[0]):
        for c in range(channels):
            expected = helpers.system_matrix(gamma[b, :, :, c], every[b][..., [c, channels + c]])
            own = dense[b, c::channels, c::channels]
            np.testing.assert_allclose(own, expected.toarray(), atol=1e-13)
    np.testing.assert_allclose(operator.diag_part(), np.einsum("bii->bi", dense), atol=1e-13)


@pytest.mark.parametrize(("gamma_maps", "weight_maps"), [(1, 2), (2, 4), (1, 4), (2, 2)])
@pytest.mark.parametrize(("dtype", "atol"), [("float32", 1e-4), ("float64", 1e-10)])
def test_agrees_with_a_direct_solver(rng, gamma_maps, weight_maps, dtype, atol):
    arguments = weighted(rng, (2, 6, 5, 2), gamma_maps, weight_maps)
    u = solve(*(x.astype(dtype) for x in arguments), rtol=1e-6 if dtype == "float32" else 1e-13)
    np.testing.assert_allclose(u, helpers.spsolve_reconstruction(*arguments), atol=atol)


def test_weights_of_one_change_nothing(rng):
    f, v, gamma = problem(rng)
    u = solve(f, v, gamma, np.ones((2, 6, 5, 2)), rtol=1e-13)
    np.testing.assert_allclose(u, jacobi(f, v, gamma, rtol=1e-13), atol=1e-12)


def test_solution_has_the_least_energy(rng):
    arguments = weighted(rng)
    u = solve(*arguments, rtol=1e-13)
    least = deepam_tf.energy(u, *arguments)
    for _ in range(5):
        other = deepam_tf.energy(u + 1e-3 * rng.normal(size=u.shape), *arguments)
        assert np.all(other > least)


@pytest.mark.parametrize(
    ("gamma_maps", "weight_maps"), [pytest.param(1, 2, marks=pytest.mark.slow), (2, 4)]
)
def test_gradient_is_that_of_finite_differences(rng, gamma_maps, weight_maps):
    arguments = weighted(rng, (1, 3, 4, 2), gamma_maps, weight_maps, low=0.2)
    arguments[3][0, 1, 1] = 0.0  # cut, and not cut off
    run = tf.function(functools.partial(solve, rtol=1e-13))
    exact, numeric = tf.test.compute_gradient(run, arguments)
    for a, b in zip(exact, numeric, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6 * abs(b).max())


@pytest.mark.slow
def test_second_derivative_is_that_of_finite_differences(rng):
    @tf.function
    def first(*arguments):
        with tf.GradientTape() as tape:
            tape.watch(arguments)
            loss = tf.reduce_sum(tf.sin(solve(*arguments, rtol=1e-13)))
        return tf.concat([tf.reshape(x, [-1]) for x in tape.gradient(loss, arguments)], 0)

    arguments = [tf.constant(x) for x in weighted(rng, (1, 3, 2, 1), low=0.2)]
    exact, numeric = tf.test.compute_gradient(first, arguments)
    for a, b in zip(exact, numeric, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * max(1, abs(b).max()))


@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_same_answer_and_gradient_in_a_function_of_unknown_sizes(rng, jit_compile):
    def value_and_gradients(*arguments):
        with tf.GradientTape() as tape:
            tape.watch(arguments)
            u = solve(*arguments, rtol=1e-12)
            loss = tf.reduce_sum(u * u)
        return u, *tape.gradient(loss, arguments)

    signature = [tf.TensorSpec([None, None, None, n], tf.float64) for n in (2, 4, 1, 2)]
    compiled = tf.function(value_and_gradients, jit_compile=jit_compile, input_signature=signature)
    for shape in ((2, 6, 5, 2), (1, 3, 8, 2)):
        arguments = [tf.constant(x) for x in weighted(rng, shape)]
        expected = value_and_gradients(*arguments)
        for a, b in zip(compiled(*arguments), expected, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-8)


def test_no_image_of_a_batch_changes_another(rng):
    arguments = weighted(rng, (3, 7, 6, 1))
    together = solve(*arguments, rtol=1e-8)
    for i in range(3):
        alone = solve(*(x[i : i + 1] for x in arguments), rtol=1e-8)
        np.testing.assert_allclose(alone[0], together[i], rtol=1e-10)


def test_zero_weight_lets_neighbours_go_apart(rng):
    f, v, gamma = problem(rng, (1, 6, 8, 1))
    weight = np.ones((1, 6, 8, 2))
    weight[:, :, 3, 1] = 0.0  # no link from the fourth column to the fifth
    u = solve(f, v, gamma, weight, rtol=1e-13).numpy()
    left = jacobi(f[:, :, :4], v[:, :, :4], gamma[:, :, :4], rtol=1e-13)
    right = jacobi(f[:, :, 4:], v[:, :, 4:], gamma[:, :, 4:], rtol=1e-13)
    np.testing.assert_allclose(u, np.concatenate([left, right], axis=2), atol=1e-10)


def test_what_is_cut_off_from_all_data_is_refused_or_floored(rng):
    f, v, gamma = problem(rng, (2, 6, 8, 2), 2)
    weight = np.ones((2, 6, 8, 4))
    weight[1, :, 3, 2:] = 0.0
    solve(f, v, gamma, weight)  # both sides have data
    gamma[1, :, :4, 1] = 0.0
    with pytest.raises(ValueError, match=r"solution is not unique.*24 pixels.*image\(s\) \[1\]"):
        solve(f, v, gamma, weight)
    u = tf.function(functools.partial(solve, rtol=1e-13, max_steps=5000))(f, v, gamma, weight)
    gamma[1, :, :4, 1] = deepam_tf.reconstruction.ALL_ZERO_GAMMA_FLOOR
    np.testing.assert_allclose(
        u, helpers.spsolve_reconstruction(f, v, gamma, weight), rtol=1e-4, atol=1e-4
    )


def test_data_reach_through_a_maze_and_not_through_its_walls(rng):
    f, v, gamma = problem(rng, (1, 6, 5, 1))
    weight = np.zeros((1, 6, 5, 2))
    weight[..., 1] = 1.0  # along the rows, and from each to the next at alternate ends
    for i in range(5):
        weight[0, i, 4 if i % 2 == 0 else 0, 0] = 1.0
    gamma[:], gamma[0, 5, 0] = 0.0, 1.0
    u = solve(f, v, gamma, weight, rtol=1e-12)
    np.testing.assert_allclose(u, helpers.spsolve_reconstruction(f, v, gamma, weight), atol=1e-8)
    weight[0, 2, 4, 0] = 0.0
    with pytest.raises(ValueError, match=r"Received: 15 pixels cut off"):
        solve(f, v, gamma, weight)


def test_negative_and_misshapen_weights_are_refused(rng):
    f, v, gamma = problem(rng, (1, 4, 5, 2))
    ones = np.ones((1, 4, 5, 2))
    with pytest.raises(ValueError, match=r"`edge_weight` must not be negative.*-1.0"):
        solve(f, v, gamma, -ones)
    with pytest.raises(ValueError, match=r"`edge_weight` must be finite"):
        solve(f, v, gamma, np.nan * ones)
    with pytest.raises(ValueError, match=r"2 or 2C.*Received"):
        solve(f, v, gamma, ones[..., :1])
    with pytest.raises(ValueError, match=r"agree.*Received"):
        solve(f, v, gamma, ones[:, :3])
    with pytest.raises(ValueError, match=r"two maps.*Received"):
        deepam_tf.ReconstructionOperator(gamma, 2, edge_weight=ones[..., :1])


MAKERS = {
    "jacobi": preconditioners.jacobi,
    "cosine": preconditioners.CosineInverse,
    "multigrid": preconditioners.Multigrid,
}


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("shape", [(1, 5, 7, 2), (1, 1, 6, 1), (1, 6, 1, 1), (1, 1, 1, 1)])
def test_preconditioner_is_symmetric_and_positive_definite(rng, name, shape):
    gamma = 10 ** rng.uniform(-3, 2, shape)
    weight = 10 ** rng.uniform(-4, 1, (*shape[:3], 2 * shape[3]))
    weight[rng.uniform(size=weight.shape) < 0.2] = 0.0
    operator = deepam_tf.ReconstructionOperator(gamma, edge_weight=weight)
    # As a graph: it applies the operator to each unit vector in turn.
    for dense in tf.function(lambda: MAKERS[name](operator).to_dense())().numpy():
        np.testing.assert_allclose(dense, dense.T, atol=1e-9 * abs(dense).max())
        assert np.linalg.eigvalsh(dense).min() > 0


def test_cosine_inverts_the_system_of_weights_constant_in_each_direction(rng):
    shape = (2, 6, 5, 2)
    gamma = np.broadcast_to(rng.uniform(0.01, 1, (2, 1, 1, 2)), shape)
    weight = np.broadcast_to(rng.uniform(0.1, 2, (2, 1, 1, 4)), (2, 6, 5, 4))
    operator = deepam_tf.ReconstructionOperator(gamma, edge_weight=weight)
    x = rng.normal(size=(2, 60))
    back = preconditioners.CosineInverse(operator).matvec(operator.matvec(x))
    np.testing.assert_allclose(back, x, atol=1e-11)


@pytest.mark.parametrize(
    ("gamma", "low", "name"),
    [(1.0, 0.5, "jacobi"), (1e-3, 0.5, "multigrid"), (1e-3, 1.0, "cosine"), (0.1, 1e-3, "jacobi")],
)
def test_auto_looks_at_gamma_beside_the_weights(rng, gamma, low, name):
    weight = rng.uniform(low, 1.0, (1, 40, 40, 2))
    operator = deepam_tf.ReconstructionOperator(np.full((1, 40, 40, 1), gamma), edge_weight=weight)
    assert preconditioners.AUTO_CANDIDATES[int(preconditioners.auto_choice(operator))] == name
    # The same system in other units.
    scaled = deepam_tf.ReconstructionOperator(
        np.full((1, 40, 40, 1), 1e-2 * gamma), edge_weight=1e-2 * weight
    )
    assert preconditioners.AUTO_CANDIDATES[int(preconditioners.auto_choice(scaled))] == name


def edges(rng, size):
    """Weights that fall to 1e-3 on the borders of random blocks, as an image's do."""
    blocks = np.kron(rng.uniform(size=(size // 9 + 1,) * 2), np.ones((9, 9)))[:size, :size]
    weight = np.ones((1, size, size, 2))
    weight[0, :-1, :, 0] = np.where(np.abs(np.diff(blocks, axis=0)) > 0.2, 1e-3, 1.0)
    weight[0, :, :-1, 1] = np.where(np.abs(np.diff(blocks, axis=1)) > 0.2, 1e-3, 1.0)
    return weight


@pytest.mark.slow
def test_multigrid_takes_far_fewer_steps_over_edges(rng):
    f, v, _ = problem(rng, (1, 96, 96, 1))
    gamma, weight = np.full((1, 96, 96, 1), 1e-3), edges(rng, 96)

    @tf.function
    def steps(name):
        _, info = deepam_tf.reconstruct_with_info(
            f, v, gamma, edge_weight=weight, preconditioner=name, max_steps=2000
        )
        return info

    plain, multigrid = steps("jacobi"), steps("multigrid")
    assert bool(multigrid.converged[0])
    assert bool(plain.converged[0])
    assert int(multigrid.num_steps[0]) < 0.3 * int(plain.num_steps[0])


def test_layer_takes_weights_as_its_fourth_input(rng):
    arguments = [tf.constant(x, tf.float32) for x in weighted(rng)]
    layer = deepam_tf.Reconstruction(rtol=1e-6)
    np.testing.assert_allclose(layer(arguments), solve(*arguments, rtol=1e-6), atol=1e-6)
    without = layer(arguments[:3])
    np.testing.assert_allclose(without, jacobi(*arguments[:3], rtol=1e-6), atol=1e-6)
    assert np.abs(without - layer(arguments)).max() > 1e-3
