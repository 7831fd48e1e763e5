from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse.linalg
import tensorflow as tf

import deepam_tf
from deepam_tf import SolveStatus, preconditioners
from tests import helpers

GAMMAS = {
    "constant 1": lambda rng, shape: np.ones(shape),
    "constant 1e-3": lambda rng, shape: np.full(shape, 1e-3),
    "constant 100": lambda rng, shape: np.full(shape, 100.0),
    "log-uniform": lambda rng, shape: 10 ** rng.uniform(-3, 2, shape),
    "half zero": lambda rng, shape: (rng.uniform(size=shape) > 0.5).astype(float),
    "hole": lambda rng, shape: (
        np.where(np.arange(shape[2]) < shape[2] / 2, 0.0, 1.0)[
            np.newaxis, np.newaxis, :, np.newaxis
        ]
        * np.ones(shape)
    ),
}


def system(gamma, dtype="float64"):
    return deepam_tf.ReconstructionOperator(tf.constant(gamma, dtype))


def statuses(result):
    return [SolveStatus(int(status)) for status in result.status]


@pytest.mark.parametrize("name", GAMMAS)
@pytest.mark.parametrize("precondition", [False, True])
def test_agrees_with_a_direct_solver(rng, name, precondition):
    gamma = GAMMAS[name](rng, (2, 9, 8, 1))
    b = rng.normal(size=(2, 72))
    operator = system(gamma)
    result = deepam_tf.conjugate_gradient(
        operator,
        b,
        preconditioner=preconditioners.jacobi(operator) if precondition else None,
        rtol=1e-13,
        max_steps=1000,
    )
    for i in range(2):
        expected = scipy.sparse.linalg.spsolve(helpers.system_matrix(gamma[i, :, :, 0]), b[i])
        np.testing.assert_allclose(
            result.x[i], expected, rtol=1e-9, atol=1e-9 * abs(expected).max()
        )
    assert np.all(result.converged)


@pytest.mark.parametrize("name", ["constant 1", "log-uniform"])
def test_takes_the_steps_that_scipy_takes(rng, name):
    gamma = GAMMAS[name](rng, (3, 16, 16, 1))
    b = rng.normal(size=(3, 256))
    result = deepam_tf.conjugate_gradient(system(gamma), b, rtol=1e-6)
    for i in range(3):
        steps = []
        matrix = helpers.system_matrix(gamma[i, :, :, 0])
        scipy.sparse.linalg.cg(matrix, b[i], rtol=1e-6, atol=0, callback=steps.append)
        assert abs(int(result.num_steps[i]) - len(steps)) <= 1


def test_ends_after_as_many_steps_as_unknowns(rng):
    result = deepam_tf.conjugate_gradient(
        system(rng.uniform(0.1, 1, (1, 3, 4, 1))), rng.normal(size=(1, 12)), rtol=1e-10
    )
    assert int(result.num_steps[0]) <= 12
    assert bool(result.converged[0])


def test_error_falls_monotonically_in_the_energy_norm(rng):
    gamma, b = 10 ** rng.uniform(-2, 1, (1, 8, 8, 1)), rng.normal(size=(1, 64))
    matrix = helpers.system_matrix(gamma[0, :, :, 0])
    exact = scipy.sparse.linalg.spsolve(matrix, b[0])
    errors = []
    for steps in range(12):
        x = deepam_tf.conjugate_gradient(system(gamma), b, rtol=0.0, max_steps=steps)
        x = x.x.numpy()[0]
        errors.append((x - exact) @ (matrix @ (x - exact)))
    assert np.all(np.diff(errors) < 0)


@pytest.mark.parametrize("c", [1e-30, 1e-13, 1e-6, 1e6, 1e30])
def test_is_homogeneous_in_float32(rng, c):
    gamma, b = rng.uniform(0.1, 1, (1, 8, 8, 1)), rng.normal(size=(1, 64)).astype("float32")
    one = deepam_tf.conjugate_gradient(system(gamma, "float32"), b)
    scaled = deepam_tf.conjugate_gradient(system(gamma, "float32"), b * np.float32(c))
    np.testing.assert_allclose(scaled.x / np.float32(c), one.x, rtol=1e-4, atol=1e-5)
    assert bool(scaled.converged[0])


def test_zero_right_hand_side_gives_exactly_zero_in_no_step(rng):
    b = rng.normal(size=(3, 64)).astype("float32")
    b[1] = 0.0
    result = deepam_tf.conjugate_gradient(system(np.full((3, 8, 8, 1), 0.1), "float32"), b)
    assert not np.any(result.x[1])
    assert result.num_steps.numpy()[1] == 0
    assert np.all(result.num_steps.numpy()[[0, 2]] > 0)
    assert np.all(result.converged)


def test_no_image_of_a_batch_changes_another(rng):
    gamma = np.stack([np.full((8, 8, 1), g) for g in (100.0, 1e-3, 1.0)])
    b = rng.normal(size=(3, 64))
    batch = deepam_tf.conjugate_gradient(system(gamma), b, rtol=1e-8)
    order = [2, 0, 1]
    permuted = deepam_tf.conjugate_gradient(system(gamma[order]), b[order], rtol=1e-8)
    np.testing.assert_allclose(permuted.x, batch.x.numpy()[order], rtol=1e-10)
    for i in range(3):
        alone = deepam_tf.conjugate_gradient(system(gamma[i : i + 1]), b[i : i + 1], rtol=1e-8)
        np.testing.assert_allclose(alone.x[0], batch.x[i], rtol=1e-10)
        assert int(alone.num_steps[0]) == int(batch.num_steps[i])


@pytest.mark.parametrize("where", ["rhs", "gamma"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_stays_in_its_image(rng, where, bad):
    gamma, b = rng.uniform(0.1, 1, (2, 8, 8, 1)), rng.normal(size=(2, 64))
    clean = deepam_tf.conjugate_gradient(system(gamma), b)
    if where == "rhs":
        b[0, 5] = bad
    else:
        gamma[0, 2, 3] = bad
    result = deepam_tf.conjugate_gradient(system(gamma), b)
    np.testing.assert_allclose(result.x[1], clean.x[1], rtol=1e-12)
    assert np.all(np.isnan(result.x[0]))
    assert statuses(result) == [SolveStatus.NOT_FINITE, SolveStatus.CONVERGED]


def test_starts_from_a_given_solution(rng):
    gamma, b = rng.uniform(0.1, 1, (2, 8, 8, 1)), rng.normal(size=(2, 64))
    first = deepam_tf.conjugate_gradient(system(gamma), b, rtol=1e-10)
    again = deepam_tf.conjugate_gradient(system(gamma), b, x0=first.x, rtol=1e-9)
    assert again.num_steps.numpy().tolist() == [0, 0]
    np.testing.assert_allclose(again.x, first.x, rtol=1e-12)


def test_says_when_it_did_not_converge(rng):
    gamma, b = np.full((1, 16, 16, 1), 1e-3), rng.normal(size=(1, 256))
    result = deepam_tf.conjugate_gradient(system(gamma), b, max_steps=5)
    assert result.num_steps.numpy().tolist() == [5]
    assert not result.converged[0]
    residual = b[0] - helpers.system_matrix(gamma[0, :, :, 0]) @ result.x.numpy()[0]
    np.testing.assert_allclose(result.residual_norm[0], np.linalg.norm(residual), rtol=1e-8)


def test_absolute_tolerance_is_in_units_of_the_right_hand_side(rng):
    b = 1e-3 * rng.normal(size=(1, 64))
    gamma = np.full((1, 8, 8, 1), 0.1)
    result = deepam_tf.conjugate_gradient(system(gamma), b, rtol=0.0, atol=1e-6)
    assert float(result.residual_norm[0]) <= 1e-6
    loose = deepam_tf.conjugate_gradient(system(gamma), b, rtol=0.0, atol=1.0)
    assert int(loose.num_steps[0]) == 0


def test_negative_curvature_is_reported_not_followed(rng):
    diagonal = tf.constant([[1.0, -1.0], [1.0, 2.0]], tf.float64)
    operator = tf.linalg.LinearOperatorDiag(diagonal, is_positive_definite=True)
    result = deepam_tf.conjugate_gradient(
        operator, tf.constant([[0.0, 1.0], [1.0, 1.0]], tf.float64)
    )
    assert statuses(result) == [SolveStatus.NOT_POSITIVE_DEFINITE, SolveStatus.CONVERGED]
    assert np.all(np.isfinite(result.x))


def test_asking_for_more_than_float32_holds_ends_and_is_reported(rng):
    gamma, b = np.full((1, 32, 32, 1), 1e-4), rng.normal(size=(1, 1024))
    solve = deepam_tf.conjugate_gradient
    result = solve(system(gamma, "float32"), b.astype("f4"), rtol=1e-12, max_steps=5000)
    assert np.all(np.isfinite(result.x))
    assert int(result.num_steps[0]) < 500
    assert statuses(result) == [SolveStatus.STAGNATED]
    cut_short = solve(system(gamma, "float32"), b.astype("f4"), max_steps=5)
    assert statuses(cut_short) == [SolveStatus.STEP_LIMIT]


def test_residual_that_stops_falling_is_given_up(rng):
    # No data anywhere, and a right-hand side that no image can have: its mean is not 0.
    b = rng.normal(size=(2, 64))
    b[0] += 1.0 - b[0].mean()
    gamma = np.zeros((2, 8, 8, 1))
    gamma[1] = 0.1
    result = deepam_tf.conjugate_gradient(system(gamma), b, max_steps=100_000)
    assert statuses(result) == [SolveStatus.STAGNATED, SolveStatus.CONVERGED]
    assert int(result.num_steps[0]) < 400


def test_history_holds_the_residual_of_every_step(rng):
    gamma, b = rng.uniform(0.1, 1, (2, 8, 8, 1)), rng.normal(size=(2, 64))
    b[1] = 0.0
    result = deepam_tf.conjugate_gradient(system(gamma), b, max_steps=60, return_history=True)
    history, steps = result.residual_history.numpy(), int(result.num_steps[0])
    assert history.shape == (61, 2)
    np.testing.assert_array_equal(history[:, 1], [0.0] + 60 * [np.nan])
    assert np.all(np.isnan(history[steps + 1 :, 0]))
    for k in (0, 1, steps):
        x = deepam_tf.conjugate_gradient(system(gamma), b, rtol=0.0, max_steps=k).x.numpy()[0]
        residual = b[0] - helpers.system_matrix(gamma[0, :, :, 0]) @ x
        np.testing.assert_allclose(history[k, 0], np.linalg.norm(residual), rtol=1e-8)
    assert deepam_tf.conjugate_gradient(system(gamma), b).residual_history is None


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match=r"rank 2.*Received"):
        deepam_tf.conjugate_gradient(system(np.ones((1, 2, 2, 1))), np.ones(4))
    with pytest.raises(ValueError, match=r"negative.*Received"):
        deepam_tf.conjugate_gradient(system(np.ones((1, 2, 2, 1))), np.ones((1, 4)), rtol=-1.0)


def test_what_is_not_declared_positive_definite_is_refused():
    b = tf.ones([1, 2], tf.float64)
    said = {"is_self_adjoint": True, "is_positive_definite": True}
    matrix = tf.eye(2, batch_shape=[1], dtype=tf.float64)
    good = tf.linalg.LinearOperatorFullMatrix(matrix, **said)
    for missing in said:
        less = tf.linalg.LinearOperatorFullMatrix(matrix, **{**said, missing: None})
        with pytest.raises(ValueError, match=rf"`operator`.*declared.*{missing}=None"):
            deepam_tf.conjugate_gradient(less, b)
        with pytest.raises(ValueError, match=rf"`preconditioner`.*declared.*{missing}=None"):
            deepam_tf.conjugate_gradient(good, b, preconditioner=less)
    assert statuses(deepam_tf.conjugate_gradient(good, b, preconditioner=good)) == [0]


def test_residual_and_status_are_of_the_solution_that_is_returned(rng):
    gamma, b = rng.uniform(0.1, 1, (2, 8, 8, 1)), rng.normal(size=(2, 64))
    off = tf.constant([[0.0], [1.0]], tf.float64)
    result = deepam_tf.conjugate_gradient(system(gamma), b, projection=lambda x: x + off)
    assert statuses(result) == [SolveStatus.CONVERGED, SolveStatus.STAGNATED]
    for i in range(2):
        residual = b[i] - helpers.system_matrix(gamma[i, :, :, 0]) @ result.x.numpy()[i]
        np.testing.assert_allclose(result.residual_norm[i], np.linalg.norm(residual), rtol=1e-8)


def test_every_status_has_an_advice_of_its_own(rng):
    advice = [status.advice for status in SolveStatus]
    assert len(set(advice)) == len(SolveStatus) == 5
    assert all(text.endswith(".") and text.count(". ") == 0 for text in advice)
    result = deepam_tf.conjugate_gradient(system(np.ones((2, 2, 2, 1))), [4 * [0.0], 4 * [np.nan]])
    assert result.advice() == [SolveStatus.CONVERGED.advice, SolveStatus.NOT_FINITE.advice]
