"""Derivatives of the solve: finite differences, dense algebra, scaling, memory."""

from __future__ import annotations

import collections

import numpy as np
import pytest
import tensorflow as tf

import deepam_tf
from tests import helpers
from tests.helpers import gradients, problem


@pytest.mark.parametrize("gamma_maps", [1, 2])
def test_gradient_is_that_of_finite_differences(rng, gamma_maps):
    f, v, gamma = problem(rng, (1, 4, 3, 2), gamma_maps)
    exact, numeric = tf.test.compute_gradient(
        tf.function(lambda *x: deepam_tf.reconstruct(*x, preconditioner="jacobi", rtol=1e-13)),
        [f, v, gamma],
    )
    for a, b in zip(exact, numeric, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6 * abs(b).max())


@pytest.mark.slow
def test_second_derivative_is_that_of_finite_differences(rng):
    @tf.function
    def first(f, v, gamma):
        with tf.GradientTape() as tape:
            tape.watch([f, v, gamma])
            u = deepam_tf.reconstruct(f, v, gamma, preconditioner="jacobi", rtol=1e-13)
            loss = tf.reduce_sum(tf.sin(u))
        return tf.concat([tf.reshape(x, [-1]) for x in tape.gradient(loss, [f, v, gamma])], 0)

    arguments = [tf.constant(x) for x in problem(rng, (1, 3, 3, 1))]
    exact, numeric = tf.test.compute_gradient(first, arguments)
    for a, b in zip(exact, numeric, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_gradient_is_that_through_a_dense_solve(rng):
    f, v, gamma = problem(rng, (1, 4, 5, 1))
    target = rng.normal(size=f.shape)

    def dense(f, v, gamma):
        dy, dx = (tf.constant(d.toarray()) for d in helpers.gradient_matrices(4, 5))
        laplacian = tf.transpose(dy) @ dy + tf.transpose(dx) @ dx
        matrix = tf.linalg.diag(tf.reshape(gamma, [-1])) + laplacian
        rhs = tf.reshape(gamma * f, [-1, 1]) + tf.transpose(dy) @ tf.reshape(v[..., 0], [-1, 1])
        rhs += tf.transpose(dx) @ tf.reshape(v[..., 1], [-1, 1])
        return tf.reshape(tf.linalg.solve(matrix, rhs), f.shape)

    loss = lambda solve: lambda *x: tf.reduce_sum(tf.square(solve(*x) - target))  # noqa: E731
    ours = gradients(loss(lambda *x: deepam_tf.reconstruct(*x, rtol=1e-13)), f, v, gamma)
    for a, b in zip(ours, gradients(loss(dense), f, v, gamma), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9)


@pytest.mark.parametrize("c", [1e-4, 1e-8, 1e-13])
def test_gradient_scales_with_the_loss_in_float32(rng, c):
    arguments = [x.astype("float32") for x in problem(rng, (1, 16, 16, 1))]
    loss = lambda c: lambda *x: c * tf.reduce_sum(tf.abs(deepam_tf.reconstruct(*x)))  # noqa: E731
    for a, b in zip(gradients(loss(c), *arguments), gradients(loss(1.0), *arguments), strict=True):
        np.testing.assert_allclose(a / np.float32(c), b, rtol=1e-3, atol=1e-4 * abs(b).max())


def test_zero_cotangent_gives_zero_gradient(rng):
    for g in gradients(lambda *x: 0.0 * tf.reduce_sum(deepam_tf.reconstruct(*x)), *problem(rng)):
        assert not g.any()


def test_gradient_of_gamma_stays_accurate_where_gamma_is_large(rng):
    # u is close to f there, so that f - u must not be the difference of rounded numbers.
    f, v, gamma = problem(rng, (1, 12, 12, 1), low=500.0, high=1000.0)
    loss = lambda *x: tf.reduce_sum(tf.abs(deepam_tf.reconstruct(*x)))  # noqa: E731
    exact = gradients(loss, f, v, gamma)[2]
    single = gradients(loss, *(x.astype("float32") for x in (f, v, gamma)))[2]
    assert np.linalg.norm(single - exact) <= 1e-3 * np.linalg.norm(exact)


def operations_of_gradient(solve):
    @tf.function
    def step(f, v, gamma):
        with tf.GradientTape() as tape:
            tape.watch(gamma)
            loss = tf.reduce_sum(solve(f, v, gamma))
        return tape.gradient(loss, gamma)

    x = tf.TensorSpec([None, None, None, 1])
    graph = step.get_concrete_function(x, tf.TensorSpec([None, None, None, 2]), x).graph
    graph = graph.as_graph_def()
    nodes = [*graph.node, *(n for function in graph.library.function for n in function.node_def)]
    return collections.Counter(node.op for node in nodes)


@pytest.mark.slow
def test_memory_and_graph_do_not_grow_with_the_step_limit():
    def reconstruct(max_steps):
        return lambda *x: deepam_tf.reconstruct(*x, preconditioner="jacobi", max_steps=max_steps)

    def through_the_loop(f, v, gamma):
        operator = deepam_tf.ReconstructionOperator(gamma)
        rhs = deepam_tf.image_gradient_adjoint(v - deepam_tf.image_gradient(f))
        return deepam_tf.conjugate_gradient(operator, tf.reshape(rhs, [tf.shape(f)[0], -1])).x

    operations = operations_of_gradient(reconstruct(10))
    assert operations == operations_of_gradient(reconstruct(1000))
    # What a loop keeps of each step for its gradient, it pushes onto such lists.
    assert operations["TensorListPushBack"] == 0
    assert operations_of_gradient(through_the_loop)["TensorListPushBack"] > 0


def test_gradient_belongs_to_the_result_even_if_the_solve_was_cut_short(rng):
    f, v, gamma = (tf.constant(x) for x in problem(rng, (1, 12, 12, 1), low=1e-3, high=1e-2))
    with tf.GradientTape() as tape:
        tape.watch([f, v, gamma])
        u = deepam_tf.reconstruct(f, v, gamma, max_steps=5)
        loss = tf.reduce_sum(u)
    f_bar, v_bar, gamma_bar = tape.gradient(loss, [f, v, gamma])
    w = f_bar / gamma
    np.testing.assert_allclose(v_bar, deepam_tf.image_gradient(w), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(gamma_bar, w * (f - u), rtol=1e-9, atol=1e-9)


def test_third_derivative(rng):
    gamma = tf.constant(1.7, tf.float64)
    f, v = tf.constant([[[[1.0]]]], tf.float64), tf.constant([[[[0.0, 0.0]]]], tf.float64)
    f = tf.concat([f, -2 * f], axis=2)
    v = tf.concat([v, v], axis=2)
    with tf.GradientTape() as c:
        c.watch(gamma)
        with tf.GradientTape() as b:
            b.watch(gamma)
            with tf.GradientTape() as a:
                a.watch(gamma)
                u = deepam_tf.reconstruct(f, v, gamma * tf.ones_like(f), rtol=1e-14)[0, 0, 0, 0]
            first = a.gradient(u, gamma)
        second = b.gradient(first, gamma)
    # Two pixels: u_0 = -1/2 + 3/2 gamma / (gamma + 2).
    assert float(second) == pytest.approx(-6 / (1.7 + 2) ** 3)
    assert float(c.gradient(second, gamma)) == pytest.approx(18 / (1.7 + 2) ** 4)
