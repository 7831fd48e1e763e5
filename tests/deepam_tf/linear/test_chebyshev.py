"""Chebyshev iteration: the bound, the count, the solution, its derivatives."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import tensorflow as tf

import deepam_tf
from deepam_tf import SolveStatus
from deepam_tf.linear.chebyshev import chebyshev_iteration, chebyshev_steps, spectral_bound
from tests import helpers
from tests.helpers import gradients, problem

chebyshev = functools.partial(deepam_tf.reconstruct, method="chebyshev")


def operators(rng, shape=(2, 9, 8, 1), kind="log-uniform"):
    gamma = {
        "log-uniform": lambda: 10 ** rng.uniform(-1.5, 1, shape),
        "constant": lambda: np.full(shape, 0.3),
        "scattered": lambda: np.where(rng.uniform(size=shape) < 0.1, 1e-3, 1.0),
        "wide": lambda: 10 ** rng.uniform(-1, 6, shape),
        "some zero": lambda: np.where(rng.uniform(size=shape) < 0.1, 0.0, 1.0),
    }[kind]()
    return gamma


KINDS = ["log-uniform", "constant", "scattered", "wide", "some zero"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("edges", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bound_is_one_and_never_looser_than_gershgorin(rng, kind, edges, dtype):
    gamma = operators(rng, (2, 9, 8, 1), kind)
    weight = 10 ** rng.uniform(-2, 0, (2, 9, 8, 2)) if edges else None
    operator = deepam_tf.ReconstructionOperator(
        tf.constant(gamma, dtype),
        edge_weight=None if weight is None else tf.constant(weight, dtype),
    )
    bound = spectral_bound(operator).numpy()
    for i in range(2):
        dense = helpers.system_matrix(
            gamma[i, :, :, 0], None if weight is None else weight[i]
        ).toarray()
        jacobi = np.eye(72) - dense / np.diag(dense)[:, np.newaxis]
        radius = np.abs(np.linalg.eigvals(jacobi)).max()
        gershgorin = np.abs(jacobi).sum(axis=1).max()
        assert radius <= bound[i] * (1 + 1e-6) <= gershgorin * (1 + 3e-6)
    if kind == "scattered":
        assert np.all(1 - bound > 10 * (1 - 4 / 4.001))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rtol", [1e-2, 1e-5, 1e-9])
def test_error_falls_below_what_was_asked_for(rng, kind, rtol):
    gamma = operators(rng, (3, 9, 8, 1), kind)
    b = rng.normal(size=(3, 72))
    operator = deepam_tf.ReconstructionOperator(gamma)
    result = chebyshev_iteration(operator, b, rtol=rtol, max_steps=5000)
    needed = chebyshev_steps(spectral_bound(operator), rtol)
    np.testing.assert_array_equal(result.num_steps, needed)
    assert np.all(result.converged)
    for i in range(3):
        matrix = helpers.system_matrix(gamma[i, :, :, 0])
        x = np.linalg.solve(matrix.toarray(), b[i])
        weight = np.sqrt(matrix.diagonal())
        error = np.linalg.norm(weight * (result.x.numpy()[i] - x)) / np.linalg.norm(weight * x)
        assert error <= rtol * (1 + 1e-6)
        residual = np.linalg.norm(b[i] - matrix @ result.x.numpy()[i])
        np.testing.assert_allclose(result.residual_norm[i], residual, rtol=1e-5)


def test_count_is_that_of_the_formula_and_of_nothing_else(rng):
    gamma, b = operators(rng), rng.normal(size=(2, 72))
    operator = deepam_tf.ReconstructionOperator(gamma)
    rho = spectral_bound(operator).numpy()
    expected = np.ceil(np.arccosh(1e4) / np.arccosh(1 / rho))
    steps = chebyshev_iteration(operator, b, rtol=1e-4).num_steps
    np.testing.assert_array_equal(steps, expected)
    for other in (1e-30 * b, 1e12 * b, np.ones_like(b), b[::-1].copy()):
        again = chebyshev_iteration(operator, other, rtol=1e-4)
        np.testing.assert_array_equal(again.num_steps, steps)


@pytest.mark.parametrize("shape", [(2, 6, 5, 2), (1, 1, 7, 2), (1, 7, 1, 2), (3, 1, 1, 2)])
@pytest.mark.parametrize("maps", [1, 2])
@pytest.mark.parametrize("edges", [False, True])
def test_agrees_with_a_direct_solver(rng, shape, maps, edges):
    f, v, gamma = problem(rng, shape, maps)
    weight = rng.uniform(0, 2, (*shape[:3], 2 * maps)) if edges else None
    u = chebyshev(f, v, gamma, edge_weight=weight, rtol=1e-12, max_steps=5000)
    expected = helpers.spsolve_reconstruction(f, v, gamma, weight)
    np.testing.assert_allclose(u, expected, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("edges", [False, True])
def test_derivatives_are_those_of_conjugate_gradients(rng, edges):
    arguments = problem(rng, (2, 6, 5, 2), 2)
    if edges:
        arguments = (*arguments, rng.uniform(0.1, 1, (2, 6, 5, 2)))

    def loss(method):
        @tf.function
        def run(f, v, gamma, *weight):
            u = deepam_tf.reconstruct(
                f, v, gamma, edge_weight=weight[0] if weight else None, rtol=1e-12,
                method=method, preconditioner="jacobi", max_steps=5000,
            )  # fmt: skip
            return tf.reduce_sum(tf.sin(u))

        return run

    ours, theirs = (gradients(loss(method), *arguments) for method in ("chebyshev", "cg"))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9)


def test_second_derivative_is_that_of_conjugate_gradients(rng):
    f, v, gamma = (tf.constant(x) for x in problem(rng, (1, 3, 3, 1), low=0.5))

    def second(method):
        with tf.GradientTape() as outer:
            outer.watch(gamma)
            with tf.GradientTape() as inner:
                inner.watch(gamma)
                u = deepam_tf.reconstruct(
                    f, v, gamma, method=method, preconditioner="jacobi", rtol=1e-13
                )
                loss = tf.reduce_sum(u**3)
            first = tf.reduce_sum(inner.gradient(loss, gamma) ** 2)
        return outer.gradient(first, gamma)

    np.testing.assert_allclose(second("chebyshev"), second("cg"), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_same_steps_and_answers_in_a_function_of_unknown_sizes(rng, jit_compile):
    signature = [tf.TensorSpec([None, None, None, n], tf.float64) for n in (2, 4, 1)]

    @tf.function(jit_compile=jit_compile, input_signature=signature)
    def compiled(f, v, gamma):
        u, info = deepam_tf.reconstruct_with_info(
            f, v, gamma, method="chebyshev", preconditioner="jacobi"
        )
        return u, info.num_steps, info.status

    for shape in ((3, 6, 5, 2), (1, 3, 8, 2)):
        f, v, gamma = problem(rng, shape)
        u, steps, status = compiled(f, v, gamma)
        assert not np.any(status)
        for i in range(shape[0]):
            alone, info = deepam_tf.reconstruct_with_info(
                f[i : i + 1], v[i : i + 1], gamma[i : i + 1], method="chebyshev"
            )
            assert int(steps[i]) == int(info.num_steps[0])
            np.testing.assert_allclose(alone[0], u[i], atol=1e-12)


def test_float32_keeps_the_digits_that_conjugate_gradients_keep(rng):
    f, v, gamma = problem(rng, (1, 24, 24, 1), low=0.1, high=1e3)
    exact = helpers.spsolve_reconstruction(f, v, gamma)
    single = [x.astype("float32") for x in (f, v, gamma)]
    ours, theirs = chebyshev(*single, rtol=1e-6), deepam_tf.reconstruct(*single, rtol=1e-6)
    assert np.abs(ours - exact).max() <= max(2 * np.abs(theirs - exact).max(), 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("preconditioner", ["jacobi", "multigrid"])
def test_what_would_take_too_many_steps_is_left_to_conjugate_gradients(rng, preconditioner):
    f, v, gamma = problem(rng, (3, 24, 40, 1), low=0.3)
    gamma[1, 2:22, 2:38] = 0.0
    solve = functools.partial(
        deepam_tf.reconstruct_with_info, preconditioner=preconditioner, max_steps=200
    )
    u, info = tf.function(functools.partial(solve, method="chebyshev"))(f, v, gamma)
    by_gradients, other = solve(f, v, gamma)
    assert np.all(info.converged)
    assert int(info.num_steps[1]) == pytest.approx(int(other.num_steps[1]), abs=30)
    np.testing.assert_allclose(u, by_gradients, atol=2e-4)
    # And changes no other image of the batch.
    alone, _ = solve(f[::2], v[::2], gamma[::2], method="chebyshev")
    np.testing.assert_allclose(u.numpy()[::2], alone, atol=1e-12)

    operator = deepam_tf.ReconstructionOperator(gamma)
    result = chebyshev_iteration(operator, np.ones((3, 960)), max_steps=200)
    assert result.status.numpy().tolist() == [0, SolveStatus.STEP_LIMIT, 0]
    assert int(result.num_steps[1]) == 0
    assert not np.any(result.x[1])


@pytest.mark.parametrize("which", [pytest.param(0, marks=pytest.mark.slow), 2])
def test_nan_stays_in_its_image(rng, which):
    arguments = problem(rng)
    solve = tf.function(functools.partial(chebyshev, preconditioner="jacobi"))
    clean = solve(*arguments)
    arguments[which][0, 2, 3, 0] = np.nan
    u = solve(*arguments)
    np.testing.assert_allclose(u[1], clean[1], rtol=1e-12)
    assert np.all(np.isnan(u[0][..., 0]))


def test_a_good_guess_makes_the_same_steps_better(rng):
    f, v, gamma = problem(rng, (2, 12, 12, 1), low=0.1)
    exact = chebyshev(f, v, gamma, rtol=1e-13, max_steps=5000)
    near = exact + 1e-3
    errors = [
        np.abs(chebyshev(f, v, gamma, rtol=1e-3, **k) - exact).max() for k in ({}, {"u0": near})
    ]
    assert errors[1] < 1e-5 < errors[0]


def test_wrong_arguments_are_refused(rng):
    f, v, gamma = problem(rng)
    with pytest.raises(ValueError, match=r"one of.*'chebyshev'.*Received: 'tchebychev'"):
        deepam_tf.reconstruct(f, v, gamma, method="tchebychev")
    with pytest.raises(ValueError, match=r"look.* at its residual.*atol=0.1"):
        chebyshev(f, v, gamma, atol=0.1)
    with pytest.raises(ValueError, match=r"\(0, 1\).*rtol=0.0"):
        chebyshev(f, v, gamma, rtol=0.0)
    operator = deepam_tf.ReconstructionOperator(gamma)
    with pytest.raises(ValueError, match=r"rank 2.*Received"):
        chebyshev_iteration(operator, np.ones(30))
    with pytest.raises(ValueError, match=r"max_steps=-1"):
        chebyshev_iteration(operator, np.ones((2, 30)), max_steps=-1)


@pytest.mark.slow
def test_model_takes_it_and_keeps_it(rng):
    model = deepam_tf.DeepAM(2, filters=8, depth=3, rtol=1e-6)
    for weight in model.trainable_variables:  # v nearly D u would leave nothing to solve
        weight.assign_add(0.1 * tf.random.stateless_normal(weight.shape, [0, 1]))
    twin = model.with_solver(method="chebyshev")
    assert twin.method == twin.get_config()["method"] == "chebyshev"
    image = {"image": rng.uniform(size=(1, 12, 12, 1)).astype(np.float32)}
    np.testing.assert_allclose(twin(image)["restored"], model(image)["restored"], atol=1e-4)
    assert {
        layer.method for layer in twin.layers if isinstance(layer, deepam_tf.Reconstruction)
    } == {"chebyshev"}
