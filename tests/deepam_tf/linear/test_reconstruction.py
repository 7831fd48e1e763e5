from __future__ import annotations

import functools

import numpy as np
import pytest
import tensorflow as tf

import deepam_tf
from tests import helpers
from tests.helpers import gradients, problem


@pytest.mark.parametrize("gamma_maps", [1, 2])
@pytest.mark.parametrize("shape", [(2, 6, 5, 2), (1, 1, 7, 2), (1, 7, 1, 2), (3, 1, 1, 2)])
def test_agrees_with_a_direct_solver(rng, shape, gamma_maps):
    f, v, gamma = problem(rng, shape, gamma_maps)
    u = deepam_tf.reconstruct(f, v, gamma, rtol=1e-12)
    np.testing.assert_allclose(u, helpers.spsolve_reconstruction(f, v, gamma), atol=1e-9)


GAMMAS = {
    **{f"{g:g}": lambda rng, shape, g=g: np.full(shape, g) for g in 10.0 ** np.arange(-3, 4)},
    "uniform": lambda rng, shape: rng.uniform(1e-3, 1.0, shape),
    "log-uniform": lambda rng, shape: 10 ** rng.uniform(-3, 3, shape),
    "square": lambda rng, shape: (
        np.where(np.arange(shape[2]) < 20, 1e-3, 1.0)[:, np.newaxis] * np.ones(shape)
    ),
}


def value_and_gradients(f, v, gamma, weights, **options):
    x = [tf.convert_to_tensor(array) for array in (f, v, gamma)]
    with tf.GradientTape() as tape:
        tape.watch(x)
        u = deepam_tf.reconstruct(*x, **options)
        loss = tf.reduce_sum(tf.cast(weights, u.dtype) * u)
    return u, *tape.gradient(loss, x)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name == "0.1" else pytest.mark.slow) for name in GAMMAS],
)
def test_default_tolerance_in_float32_over_six_decades_of_gamma(rng, name):
    f, v, _ = problem(rng, (1, 32, 32, 1))
    gamma, weights = GAMMAS[name](rng, f.shape), rng.normal(size=f.shape)
    exact = value_and_gradients(f, v, gamma, weights, preconditioner="multigrid", rtol=1e-12)
    np.testing.assert_allclose(exact[0], helpers.spsolve_reconstruction(f, v, gamma), atol=1e-6)
    single = value_and_gradients(*(x.astype("float32") for x in (f, v, gamma)), weights)
    for a, b in zip(single, exact, strict=True):
        assert tf.norm(tf.cast(a, tf.float64) - b) <= 1e-3 * tf.norm(b)


def test_consistent_data_come_back_whatever_gamma(rng):
    g, _, gamma = problem(rng)
    u = deepam_tf.reconstruct(g, deepam_tf.image_gradient(g), gamma)
    np.testing.assert_array_equal(u, g)


def test_smoothing_keeps_the_range_and_constants(rng):
    f, _, gamma = problem(rng)
    u = deepam_tf.reconstruct(f, np.zeros((2, 6, 5, 4)), gamma, rtol=1e-12).numpy()
    low, high = f.min(axis=(1, 2)), f.max(axis=(1, 2))
    assert np.all(u.min(axis=(1, 2)) >= low - 1e-9)
    assert np.all(u.max(axis=(1, 2)) <= high + 1e-9)
    constant = np.full_like(f, 0.3)
    np.testing.assert_array_equal(
        deepam_tf.reconstruct(constant, np.zeros((2, 6, 5, 4)), gamma), constant
    )


def test_weighted_mean_of_the_data_is_kept(rng):
    f, v, gamma = problem(rng)
    u = deepam_tf.reconstruct(f, v, gamma, rtol=1e-12)
    np.testing.assert_allclose(tf.reduce_sum(gamma * (u - f), [1, 2]), 0.0, atol=1e-8)


def test_limits_of_gamma(rng):
    f, v, _ = problem(rng, (1, 6, 5, 1))
    g = rng.normal(size=f.shape)
    np.testing.assert_allclose(deepam_tf.reconstruct(f, v, 1e9 * np.ones_like(f)), f, atol=1e-7)
    u = deepam_tf.reconstruct(f, deepam_tf.image_gradient(g), 1e-9 * np.ones_like(f), rtol=1e-14)
    difference = (u - g).numpy()
    assert difference.std() <= 1e-5 * abs(difference.mean())


def test_is_linear_in_data_and_gradients(rng):
    (f1, v1, gamma), (f2, v2, _) = problem(rng), problem(rng)
    solve = lambda f, v: deepam_tf.reconstruct(f, v, gamma, rtol=1e-13).numpy()  # noqa: E731
    np.testing.assert_allclose(
        solve(2 * f1 - 3 * f2, 2 * v1 - 3 * v2), 2 * solve(f1, v1) - 3 * solve(f2, v2), atol=1e-9
    )


def test_minimises_the_energy(rng):
    f, v, gamma = problem(rng)
    u = deepam_tf.reconstruct(f, v, gamma, rtol=1e-13)
    least = deepam_tf.energy(u, f, v, gamma)
    for size in (1e-3, 1e-1, 1.0):
        moved = deepam_tf.energy(u + size * rng.normal(size=f.shape), f, v, gamma)
        assert np.all(moved.numpy() > least.numpy())


def test_energy_of_known_case():
    u = np.array([0.0, 1.0, 3.0]).reshape(1, 1, 3, 1)
    v = np.zeros((1, 1, 3, 2))
    energy = deepam_tf.energy(u, np.zeros_like(u), v, np.full_like(u, 2.0))
    np.testing.assert_allclose(energy, [0.5 * (2 * (1 + 9) + 1 + 4)])


def test_channels_do_not_mix(rng):
    f, v, gamma = problem(rng)
    u = deepam_tf.reconstruct(f, v, gamma, rtol=1e-12).numpy()
    f[..., 1] += 1.0
    changed = deepam_tf.reconstruct(f, v, gamma, rtol=1e-12).numpy()
    np.testing.assert_allclose(changed[..., 0], u[..., 0], atol=1e-9)
    assert np.abs(changed[..., 1] - u[..., 1]).min() > 1e-3


@pytest.mark.parametrize(
    ("jit_compile", "preconditioner"),
    [
        (False, "jacobi"),
        pytest.param(True, "jacobi", marks=pytest.mark.slow),
        pytest.param(False, "auto", marks=pytest.mark.slow),
        pytest.param(True, "auto", marks=pytest.mark.slow),
    ],
)
def test_same_answer_and_gradient_in_a_function_of_unknown_sizes(rng, jit_compile, preconditioner):
    @tf.function(
        jit_compile=jit_compile,
        input_signature=[tf.TensorSpec([None, None, None, n], tf.float64) for n in (2, 4, 1)],
    )
    def compiled(f, v, gamma):
        with tf.GradientTape() as tape:
            tape.watch([f, v, gamma])
            u = deepam_tf.reconstruct(f, v, gamma, preconditioner=preconditioner, rtol=1e-12)
            loss = tf.reduce_sum(u * u)
        return u, *tape.gradient(loss, [f, v, gamma])

    for shape in ((2, 6, 5, 2), (1, 3, 8, 2)):
        arguments = problem(rng, shape)
        u, *grads = compiled(*arguments)
        np.testing.assert_allclose(u, deepam_tf.reconstruct(*arguments, rtol=1e-12), atol=1e-9)
        square = lambda *x: tf.reduce_sum(deepam_tf.reconstruct(*x, rtol=1e-12) ** 2)  # noqa: E731
        for a, b in zip(grads, gradients(square, *arguments), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-8)


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_refused_or_stays_in_its_image(rng, which, bad):
    arguments = problem(rng)
    solve = tf.function(functools.partial(deepam_tf.reconstruct, preconditioner="jacobi"))
    clean = solve(*arguments)
    arguments[which][0, 2, 3, 0] = bad
    with pytest.raises(ValueError, match=r"must be finite.*Received: 1 NaN.*\[0\]"):
        deepam_tf.reconstruct(*arguments)
    u = solve(*arguments)
    np.testing.assert_allclose(u[1], clean[1], rtol=1e-12)
    assert np.all(np.isnan(u[0][..., 0]))


@pytest.mark.parametrize("jit_compile", [False, True])
def test_float32_and_nan_in_a_function(rng, jit_compile):
    f, v, gamma = (x.astype("float32") for x in problem(rng))
    expected = deepam_tf.reconstruct(f, v, gamma)
    jacobi = functools.partial(deepam_tf.reconstruct, preconditioner="jacobi")
    compiled = tf.function(jacobi, jit_compile=jit_compile)
    np.testing.assert_allclose(compiled(f, v, gamma), expected, atol=1e-5)
    f[0, 1, 1, 0] = np.nan
    u = compiled(f, v, gamma)
    assert np.all(np.isnan(u[0]))
    np.testing.assert_allclose(u[1], expected[1], atol=1e-5)


@pytest.mark.slow
def test_a_tolerance_of_its_own_changes_the_adjoint_solve_alone():
    def answer(**options):
        variables = [tf.constant(x) for x in problem(np.random.default_rng(3), (2, 16, 16, 2))]
        with tf.GradientTape() as tape:
            tape.watch(variables)
            u = deepam_tf.reconstruct(*variables, preconditioner="jacobi", rtol=1e-9, **options)
            loss = tf.reduce_sum(tf.abs(u - 0.3))
        gradients = [tf.reshape(g, [-1]) for g in tape.gradient(loss, variables)]
        return u.numpy(), tf.concat(gradients, axis=0).numpy()

    u, exact = answer()
    for tolerance in (1e-2, 1e-4):
        same, gradient = answer(adjoint_rtol=tolerance)
        np.testing.assert_array_equal(same, u)
        error = np.linalg.norm(gradient - exact) / np.linalg.norm(exact)
        assert 1e-3 * tolerance < error < 10 * tolerance


def test_sizes_that_differ_at_run_time_are_refused():
    function = tf.function(
        functools.partial(deepam_tf.reconstruct, preconditioner="jacobi"),
        input_signature=[tf.TensorSpec([None, None, None, n]) for n in (1, 2, 1)],
    )
    with pytest.raises(tf.errors.InvalidArgumentError):
        function(tf.zeros([1, 4, 4, 1]), tf.zeros([1, 1, 1, 2]), tf.ones([1, 4, 4, 1]))


def test_flips_and_turns_of_the_data_flip_and_turn_the_result(rng):
    f, v, gamma = problem(rng, (1, 6, 6, 1))
    v[:, -1, :, 0] = v[:, :, -1, 1] = 0.0
    u = deepam_tf.reconstruct(f, v, gamma, rtol=1e-13).numpy()

    # Left to right, a difference changes sign and belongs to the pixel before.
    dy, dx = v[:, :, ::-1, :1], -np.roll(v[:, :, ::-1, 1:], -1, axis=2)
    flipped = deepam_tf.reconstruct(
        f[:, :, ::-1], np.concatenate([dy, dx], -1), gamma[:, :, ::-1], rtol=1e-13
    )
    np.testing.assert_allclose(flipped, u[:, :, ::-1], atol=1e-9)
    transposed = deepam_tf.reconstruct(
        *(x.swapaxes(1, 2) for x in (f, v[..., ::-1], gamma)), rtol=1e-13
    )
    np.testing.assert_allclose(transposed, u.swapaxes(1, 2), atol=1e-9)


def test_hole_in_the_data_is_filled_from_the_gradients(rng):
    truth = np.cumsum(rng.normal(size=(1, 8, 9, 1)), axis=2)
    gamma = np.ones_like(truth)
    gamma[:, 2:6, 3:7] = 0.0
    damaged = np.where(gamma > 0, truth, 99.0)
    u = deepam_tf.reconstruct(damaged, deepam_tf.image_gradient(truth), gamma, rtol=1e-12)
    np.testing.assert_allclose(u, truth, atol=1e-8)


@pytest.mark.slow
def test_hole_over_half_of_the_image_converges_in_float32(rng):
    f, v, gamma = (x.astype("float32") for x in problem(rng, (1, 256, 256, 1)))
    gamma[:, :, :128] = 0.0
    _, info = deepam_tf.reconstruct_with_info(f, v, gamma)
    assert bool(info.converged[0])
    assert int(info.num_steps[0]) <= 14


@pytest.mark.slow
def test_gamma_zero_everywhere_is_refused_or_floored(rng):
    f, v, gamma = problem(rng, (2, 4, 4, 1))
    gamma[1] = 0.0
    with pytest.raises(ValueError, match=r"at least one pixel.*Received.*\[1\]"):
        deepam_tf.reconstruct(f, v, gamma)
    u = tf.function(deepam_tf.reconstruct)(f, v, gamma, rtol=1e-12, max_steps=5000)
    gamma[1] = deepam_tf.reconstruction.ALL_ZERO_GAMMA_FLOOR
    np.testing.assert_allclose(u, helpers.spsolve_reconstruction(f, v, gamma), atol=1e-4)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in ("none", "jacobi") else pytest.mark.slow)
        for name in deepam_tf.preconditioners.NAMES
    ],
)
def test_every_preconditioner_solves_and_differentiates(rng, name):
    arguments = problem(rng, (1, 6, 5, 2), 2)
    solve = tf.function(
        lambda *x: deepam_tf.reconstruct(*x, preconditioner=name, rtol=1e-13)  # in a graph: fast
    )
    np.testing.assert_allclose(solve(*arguments), helpers.spsolve_reconstruction(*arguments))
    square = lambda *x: tf.reduce_sum(solve(*x) ** 2)  # noqa: E731
    reference = lambda *x: tf.reduce_sum(  # noqa: E731
        deepam_tf.reconstruct(*x, preconditioner="none", rtol=1e-13) ** 2
    )
    for a, b in zip(gradients(square, *arguments), gradients(reference, *arguments), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-8)


def test_preconditioner_may_be_an_operator(rng):
    f, v, gamma = problem(rng, (2, 6, 5, 1))
    exact_inverse = deepam_tf.ReconstructionOperator(gamma).inverse()
    u, info = deepam_tf.reconstruct_with_info(f, v, gamma, preconditioner=exact_inverse)
    assert info.num_steps.numpy().tolist() == [1, 1]
    np.testing.assert_allclose(u, helpers.spsolve_reconstruction(f, v, gamma), atol=1e-9)
    with pytest.raises(ValueError, match=r"one of.*Received: 'jacoby'.*'jacobi'"):
        deepam_tf.reconstruct(f, v, gamma, preconditioner="jacoby")


@pytest.mark.slow
def test_a_good_guess_saves_steps_and_a_bad_one_costs_only_steps(rng):
    f, v, gamma = problem(rng, (2, 12, 12, 1), low=0.01, high=0.1)
    u = deepam_tf.reconstruct(f, v, gamma, rtol=1e-8)
    again, no_steps = deepam_tf.reconstruct_with_info(f, v, gamma, u0=u, rtol=1e-7)
    assert no_steps.num_steps.numpy().tolist() == [0, 0]
    np.testing.assert_allclose(again, u, atol=1e-9)
    far = deepam_tf.reconstruct(f, v, gamma, u0=u + 100.0, rtol=1e-8)
    np.testing.assert_allclose(far, u, atol=1e-5)

    def grads(**options):
        return gradients(
            lambda *x: tf.reduce_sum(deepam_tf.reconstruct(*x, rtol=1e-10, **options) ** 2),
            f,
            v,
            gamma,
        )

    for a, b in zip(grads(), grads(u0=u), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_absolute_tolerance_is_in_the_units_of_the_image(rng):
    f, v, gamma = problem(rng, (1, 12, 12, 1))
    _, info = deepam_tf.reconstruct_with_info(f, v, gamma, rtol=0.0, atol=0.1)
    assert 0.01 < float(info.residual_norm[0]) <= 0.1


def test_equations_hold_in_sum_in_float32_even_after_few_steps(rng):
    f, v, _ = problem(rng, (1, 64, 64, 2))
    gamma = np.full((1, 64, 64, 1), 1e-3)
    u = deepam_tf.reconstruct(
        *(x.astype("f4") for x in (f, v, gamma)), preconditioner="jacobi", max_steps=5
    )
    np.testing.assert_allclose(np.mean(u - f, axis=(1, 2)), 0.0, atol=5e-5)


def test_information_about_the_solve(rng):
    f, v, gamma = problem(rng, (3, 8, 8, 1))
    u, info = deepam_tf.reconstruct_with_info(f, v, gamma, rtol=1e-6)
    np.testing.assert_array_equal(u, deepam_tf.reconstruct(f, v, gamma, rtol=1e-6))
    assert info.num_steps.shape == info.converged.shape == (3,)
    assert np.all(info.converged)
    rhs = deepam_tf.image_gradient_adjoint(v - deepam_tf.image_gradient(f))
    assert np.all(info.residual_norm <= 2e-6 * tf.norm(tf.reshape(rhs, [3, -1]), axis=1))


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((4, 4, 1), (4, 4, 2), (4, 4, 1)), "rank 4"),
        (((1, 4, 4, 1), (1, 4, 4, 1), (1, 4, 4, 1)), "2C maps"),
        (((1, 4, 4, 3), (1, 4, 4, 6), (1, 4, 4, 2)), "1 or C"),
        (((1, 4, 4, 1), (1, 4, 5, 2), (1, 4, 4, 1)), "agree"),
        (((2, 4, 4, 1), (1, 4, 4, 2), (2, 4, 4, 1)), "agree"),
    ],
)
def test_wrong_shapes_are_refused(shapes, message):
    with pytest.raises(ValueError, match=rf"{message}.*Received"):
        deepam_tf.reconstruct(*(tf.ones(shape) for shape in shapes))


def test_wrong_values_and_types_are_refused():
    f, v = tf.zeros([1, 3, 3, 1]), tf.zeros([1, 3, 3, 2])
    with pytest.raises(ValueError, match=r"negative.*Received"):
        deepam_tf.reconstruct(f, v, f - 1.0)
    with pytest.raises(TypeError, match=r"float32 or float64.*Received"):
        deepam_tf.reconstruct(tf.cast(f, tf.bfloat16), v, f + 1.0)
