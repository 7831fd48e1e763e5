"""What stands in `f` where `gamma` is 0, and where few pixels carry any weight."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import tensorflow as tf

import deepam_tf
from tests import helpers
from tests.helpers import gradients, problem

BAD = [255.0, 65535.0, 1e6, -1e30]
multigrid = functools.partial(deepam_tf.reconstruct, preconditioner="multigrid")
in_a_graph = tf.function(multigrid)


def smooth(height, width, channels=1):
    """Pictures in [0, 1]."""
    y, x = np.mgrid[:height, :width]
    waves = [0.5 + 0.4 * np.sin(0.07 * (c + 1) * x) * np.cos(0.05 * y) for c in range(channels)]
    return np.stack(waves, axis=-1)[np.newaxis]


def picture(rng, kind, shape):
    """Pictures in [0, 1], from the mildest to the roughest that there are."""
    if kind == "noise":
        return rng.uniform(size=shape)
    if kind == "checkerboard":
        return np.broadcast_to(np.indices(shape[1:3]).sum(0)[..., np.newaxis] % 2.0, shape)
    return np.concatenate([smooth(*shape[1:])] * shape[0])


def punched(rng, shape, maps=1, kind="smooth"):
    """Truth, exact gradients, `gamma`, and the mask of a hole of half of each side."""
    truth = picture(rng, kind, shape)
    gamma = rng.uniform(0.05, 1.0, (*shape[:3], maps))
    hole = np.zeros(gamma.shape, bool)
    _, height, width, _ = shape
    hole[:, height // 4 : height // 4 + height // 2, width // 4 : width // 4 + width // 2] = True
    if maps > 1:
        hole[..., 1] = hole[:, ::-1, ::-1, 1] & (rng.uniform(size=hole.shape[:3]) > 0.3)
    gamma[hole] = 0.0
    return truth, deepam_tf.image_gradient(truth).numpy(), gamma, hole


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["smooth", "noise", "checkerboard"])
@pytest.mark.parametrize(
    ("shape", "maps"),
    [pytest.param((1, 128, 128, 1), 1, marks=pytest.mark.slow), ((2, 64, 40, 1), 1)],
)
def test_what_stands_in_a_hole_does_not_matter(rng, dtype, shape, maps, kind):
    truth, v, gamma, hole = punched(rng, shape, maps, kind)
    answers = []
    for bad in [0.5, *BAD]:
        f = np.where(hole, bad, truth).astype(dtype)
        u = in_a_graph(*(tf.constant(x, dtype) for x in (f, v, gamma)))
        np.testing.assert_allclose(u, truth, atol=1e-5)
        answers.append(u.numpy())
    for other in answers[1:]:
        np.testing.assert_array_equal(other, answers[0])


@pytest.mark.parametrize("preconditioner", ["auto", "jacobi"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nor_with_any_preconditioner_in_eager_mode(rng, dtype, preconditioner):
    truth, v, gamma, hole = punched(rng, (1, 12, 9, 2), 2)
    for bad in BAD:
        f = np.where(hole, bad, truth)
        u, info = deepam_tf.reconstruct_with_info(
            *(x.astype(dtype) for x in (f, v, gamma)), preconditioner=preconditioner, rtol=1e-6
        )
        np.testing.assert_allclose(u, truth, atol=1e-5)
        assert np.all(info.converged)


@pytest.mark.parametrize("bad", [255.0, 65535.0, 1e6])
def test_derivatives_are_those_of_finite_differences(rng, bad):
    f, v, gamma = problem(rng, (1, 4, 4, 2), 2)
    hole = np.zeros(gamma.shape, bool)
    hole[:, 1:3, 1:4, 0] = hole[:, :2, 2:, 1] = True
    f[hole], gamma[hole] = bad, 0.0
    weights = tf.constant(rng.normal(size=f.shape))

    @tf.function(reduce_retracing=True)
    def loss(f, v, gamma):
        u = deepam_tf.reconstruct(f, v, gamma, preconditioner="jacobi", rtol=1e-14)
        return tf.reduce_sum(weights * tf.sin(u))

    f_bar, v_bar, gamma_bar = gradients(loss, f, v, gamma)
    assert not f_bar[hole].any()

    def difference(which, index, step, one_sided):
        moved = [np.array(x) for x in (f, v, gamma)]
        moved[which][index] += step
        forward = float(loss(*moved))
        if one_sided:  # gamma may not fall below 0: second order from three points
            moved[which][index] += step
            return (4 * forward - 3 * float(loss(f, v, gamma)) - float(loss(*moved))) / (2 * step)
        moved[which][index] -= 2 * step
        return (forward - float(loss(*moved))) / (2 * step)

    for index in [(0, 1, 2, 0), (0, 0, 3, 1), (0, 3, 0, 0), (0, 2, 0, 1)]:
        inside = hole[index]
        for which, exact in ((0, f_bar), (1, v_bar), (2, gamma_bar)):
            one_sided = which == 2 and inside
            step = 1e-4 / abs(exact[index]) if one_sided else 1e-5
            numeric = difference(which, index, min(step, 1e-4), one_sided)
            assert numeric == pytest.approx(exact[index], rel=1e-3, abs=1e-8)


@pytest.mark.slow
def test_second_derivatives_with_a_hole(rng):
    f, v, gamma = problem(rng, (1, 3, 3, 1))
    f[0, 1, 1], gamma[0, 1, 1] = 30.0, 0.0

    @tf.function
    def first(*arguments):
        with tf.GradientTape() as tape:
            tape.watch(arguments)
            u = deepam_tf.reconstruct(*arguments, preconditioner="jacobi", rtol=1e-14)
            loss = tf.reduce_sum(tf.sin(u))
        return tf.concat([tf.reshape(x, [-1]) for x in tape.gradient(loss, arguments)], 0)

    arguments = [tf.constant(x) for x in (f, v, gamma)]
    exact, numeric = tf.test.compute_gradient(first, arguments, delta=1e-5)
    for a, b in zip(exact, numeric, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * abs(b).max())


@pytest.mark.slow
@pytest.mark.parametrize(("gamma_there", "bad"), [(1e-8, 65535.0), (1e-6, 255.0), (1e-5, 255.0)])
def test_far_off_data_of_next_to_no_weight_hide_nothing(rng, gamma_there, bad):
    truth, v, gamma, hole = punched(rng, (1, 64, 64, 1))
    f, gamma = np.where(hole, bad, truth), np.where(hole, gamma_there, gamma)
    expected = helpers.spsolve_reconstruction(f, v, gamma)
    for dtype in ("float32", "float64"):
        u = in_a_graph(*(tf.constant(x, dtype) for x in (f, v, gamma)))
        np.testing.assert_allclose(u, expected, atol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("size", "pixels", "gamma_there"), [(256, 1, 1e-4), (512, 4, 1e-3)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_few_pixels_of_little_weight_hold_the_picture(rng, size, pixels, gamma_there, dtype):
    truth = smooth(size, size)
    f = rng.uniform(size=truth.shape)
    gamma = np.zeros_like(truth)
    for _ in range(pixels):
        i, j = rng.integers(0, size, 2)
        gamma[0, i, j], f[0, i, j] = gamma_there, truth[0, i, j]
    v = deepam_tf.image_gradient(truth).numpy()
    u = in_a_graph(*(tf.constant(x, dtype) for x in (f, v, gamma)))
    np.testing.assert_allclose(u, truth, atol=1e-3)


def test_preconditioner_that_holds_a_variable_may_be_differentiated_past(rng):
    f, v, gamma = problem(rng, (1, 5, 4, 1))
    diagonal = tf.Variable(rng.uniform(0.2, 0.3, (1, 20)))
    owned = tf.linalg.LinearOperatorDiag(diagonal, is_positive_definite=True)

    def gradient(preconditioner):
        with tf.GradientTape() as tape:
            x = [tf.constant(y) for y in (f, v, gamma)]
            tape.watch(x)
            u = deepam_tf.reconstruct(*x, preconditioner=preconditioner, rtol=1e-12)
            loss = tf.reduce_sum(u**2)
        return tape.gradient(loss, [*x, diagonal])

    expected = gradient("jacobi")
    for solve in (gradient, tf.function(gradient)):
        *found, of_variable = solve(owned)
        assert of_variable is None
        for a, b in zip(found, expected, strict=False):
            np.testing.assert_allclose(a, b, atol=1e-8)
