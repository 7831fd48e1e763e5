from __future__ import annotations

import cv2
import numpy as np
import pytest
import tensorflow as tf

import deepam_tf
from deepam_tf import proximal
from deepam_tf.cli.demo import PICTURE
from deepam_tf.data.degradations import benchmark_noise

ELEMENTWISE = {
    "L1": (proximal.TotalVariation(isotropic=False), lambda v: np.abs(v)),
    "L0": (proximal.L0(isotropic=False), lambda v: (v != 0).astype(float)),
    "L1/2": (proximal.Lp(1 / 2), lambda v: np.abs(v) ** (1 / 2)),
    "L2/3": (proximal.Lp(2 / 3), lambda v: np.abs(v) ** (2 / 3)),
    "L0.8": (proximal.Lp(0.8), lambda v: np.abs(v) ** 0.8),
    "L0.3": (proximal.Lp(0.3), lambda v: np.abs(v) ** 0.3),
}
ISOTROPIC = {
    "TV": proximal.TotalVariation(),
    "L0": proximal.L0(),
    "Lp": proximal.Lp(0.5, isotropic=True),
}


def as_gradients(values):
    """Numbers `[N]` as a gradient field `[1, 1, N / 2, 2]`."""
    return tf.constant(np.reshape(values, (1, 1, -1, 2)), tf.float64)


@pytest.mark.parametrize("name", ELEMENTWISE)
@pytest.mark.parametrize("t", [0.01, 0.3, 2.0])
def test_prox_is_the_minimum_found_by_trying(rng, name, t):
    regularizer, phi = ELEMENTWISE[name]
    d = np.concatenate([rng.uniform(-4, 4, 60), [0.0, 1e-9]])
    v = regularizer.prox(as_gradients(d), t).numpy().ravel()
    grid = np.concatenate([[0.0], np.linspace(-4, 4, 20001)])
    cost = t * phi(grid) + 0.5 * (grid - d[:, np.newaxis]) ** 2
    ours = t * phi(v) + 0.5 * (v - d) ** 2
    assert np.all(ours <= cost.min(axis=1) + 1e-9)
    assert np.all(np.abs(v) <= np.abs(d))
    assert np.all(v * d >= 0)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_prox_is_odd_and_without_weight_the_identity(rng, name):
    regularizer, _ = ELEMENTWISE[name]
    d = as_gradients(rng.normal(size=40))
    np.testing.assert_allclose(regularizer.prox(-d, 0.2), -regularizer.prox(d, 0.2))
    np.testing.assert_allclose(regularizer.prox(d, 0.0), d)


@pytest.mark.parametrize("name", ISOTROPIC)
def test_isotropic_prox_shrinks_the_length_and_keeps_the_direction(rng, name):
    regularizer = ISOTROPIC[name]
    d = rng.normal(size=(1, 3, 4, 6))
    v = regularizer.prox(tf.constant(d), 0.3).numpy()
    length = np.sqrt(d[..., :3] ** 2 + d[..., 3:] ** 2)
    np.testing.assert_allclose(v[..., :3] * d[..., 3:], v[..., 3:] * d[..., :3], atol=1e-12)
    elementwise = type(regularizer)(**{**vars(regularizer), "isotropic": False})
    expected = elementwise.prox(tf.constant(np.concatenate([length, length], -1)), 0.3)[..., :3]
    np.testing.assert_allclose(np.sqrt(v[..., :3] ** 2 + v[..., 3:] ** 2), expected, atol=1e-12)


def test_value_by_hand():
    v = tf.constant([[[[3.0, 4.0], [0.0, 0.0]]], [[[0.0, 1.0], [1.0, 0.0]]]], tf.float64)
    weight = tf.constant(2.0, tf.float64)
    for regularizer, expected in (
        (proximal.TotalVariation(), [10.0, 4.0]),
        (proximal.TotalVariation(isotropic=False), [14.0, 4.0]),
        (proximal.L0(), [2.0, 4.0]),
        (proximal.L0(isotropic=False), [4.0, 4.0]),
        (proximal.Lp(0.5), [2 * (3**0.5 + 2), 4.0]),
    ):
        np.testing.assert_allclose(regularizer.value(v, weight), expected)


@pytest.mark.parametrize("p", [0.0, 1.0, -1.0])
def test_exponents_outside_are_refused(p):
    with pytest.raises(ValueError, match="Received"):
        proximal.Lp(p)


REGULARIZERS = [ISOTROPIC["TV"], ELEMENTWISE["L1"][0], ISOTROPIC["L0"], ELEMENTWISE["L2/3"][0]]


@pytest.mark.parametrize("regularizer", REGULARIZERS)
@pytest.mark.parametrize("varying", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_objective_never_rises_within_a_step(rng, regularizer, varying):
    f = tf.constant(rng.uniform(size=(2, 9, 8, 2)))
    data_weight = rng.uniform(0, 20, (2, 9, 8, 1)) if varying else 10.0
    weight = rng.uniform(0.5, 1, (2, 9, 8, 1)) if varying else 1.0
    solve = tf.function(deepam_tf.alternating_minimization)  # eagerly, a V-cycle is slow
    result = solve(f, regularizer, data_weight=data_weight, weight=weight, steps_per_beta=2)
    objective = result.objective.numpy()
    assert objective.shape == (30, 3, 2)
    assert np.all(np.diff(objective, axis=1) <= 1e-7 * objective[:, :1])
    # ... nor over two steps with the same beta.
    assert np.all(objective[1::2, 0] <= objective[::2, 2] * (1 + 1e-9))


def test_split_is_closed_at_the_end(rng):
    result = deepam_tf.alternating_minimization(
        rng.uniform(size=(1, 12, 12, 1)), proximal.TotalVariation(), data_weight=10.0
    )
    gap = np.abs(deepam_tf.image_gradient(result.u) - result.v).max()
    assert gap < 1e-3


@pytest.mark.slow
def test_total_variation_reaches_the_minimum_of_rudin_osher_fatemi(rng):
    denoise = pytest.importorskip("skimage.restoration").denoise_tv_chambolle
    clean = np.kron(rng.uniform(size=(4, 4)), np.ones((8, 8)))
    f = clean + 0.1 * rng.normal(size=clean.shape)
    weight = 0.08

    def objective(u):
        dy, dx = np.moveaxis(deepam_tf.image_gradient(u[None, ..., None])[0].numpy(), -1, 0)
        return 0.5 / weight * np.sum((u - f) ** 2) + np.sum(np.hypot(dy, dx))

    theirs = denoise(f, weight=weight, eps=1e-9, max_num_iter=5000)
    ours = deepam_tf.alternating_minimization(
        f[None, ..., None], proximal.TotalVariation(), data_weight=1 / weight, steps_per_beta=4
    ).u.numpy()[0, ..., 0]
    assert objective(ours) <= 1.005 * objective(theirs)
    assert np.sqrt(np.mean((ours - theirs) ** 2)) < 0.005


@pytest.mark.parametrize("jit_compile", [False, True])
def test_same_answer_in_a_function_of_unknown_sizes(rng, jit_compile):
    @tf.function(
        jit_compile=jit_compile, input_signature=[tf.TensorSpec([None, None, None, 2], tf.float64)]
    )
    def compiled(f):
        return deepam_tf.alternating_minimization(f, proximal.TotalVariation(), data_weight=8.0).u

    for shape in ((2, 9, 8, 2), (1, 5, 11, 2)):
        f = rng.uniform(size=shape)
        eager = deepam_tf.alternating_minimization(f, proximal.TotalVariation(), data_weight=8.0)
        np.testing.assert_allclose(compiled(f), eager.u, atol=1e-9)


@pytest.mark.slow
def test_images_of_a_batch_do_not_meet(rng):
    f = rng.uniform(size=(3, 8, 9, 1))
    together = deepam_tf.alternating_minimization(f, proximal.L0(), data_weight=30.0).u
    for i in range(3):
        alone = deepam_tf.alternating_minimization(f[i : i + 1], proximal.L0(), data_weight=30.0)
        np.testing.assert_allclose(alone.u[0], together[i], atol=1e-10)


@pytest.mark.slow
def test_exact_and_iterative_u_step_agree(rng):
    f = rng.uniform(size=(1, 10, 7, 2))
    exact = deepam_tf.alternating_minimization(f, proximal.TotalVariation(), data_weight=9.0)
    iterative = deepam_tf.alternating_minimization(
        f, proximal.TotalVariation(), data_weight=np.full((1, 10, 7, 1), 9.0)
    )
    np.testing.assert_allclose(exact.u, iterative.u, atol=1e-4)


@pytest.mark.slow
def test_holes_are_filled(rng):
    clean = np.zeros((1, 16, 16, 1))
    clean[:, :, 8:] = 1.0
    data_weight = np.full_like(clean, 100.0)
    data_weight[:, 5:9, 2:6] = 0.0
    f = np.where(data_weight > 0, clean, 7.0)
    solve = tf.function(deepam_tf.alternating_minimization)
    u = solve(f, proximal.TotalVariation(), data_weight=data_weight, steps_per_beta=3).u
    np.testing.assert_allclose(u, clean, atol=0.05)


def test_guide_saves_the_edges_it_shows(rng):
    clean = np.zeros((1, 24, 24, 1))
    clean[:, :, 12:] = 0.3
    f = clean + 0.15 * rng.normal(size=clean.shape)
    guide = np.where(clean > 0, 0.9, 0.2) + 0.01 * rng.normal(size=clean.shape)

    def error(**options):
        u = deepam_tf.alternating_minimization(
            f, proximal.TotalVariation(), data_weight=2.0, **options
        ).u
        return float(np.mean((u - clean) ** 2))

    assert error(weight=deepam_tf.guide_weight(guide, 0.1)) < 0.5 * error()
    with pytest.raises(ValueError, match="Received"):
        deepam_tf.guide_weight(guide, 0.0)


@pytest.fixture(scope="module")
def portrait():
    clean = deepam_tf.image_io.read(PICTURE).pixels[60:156, 60:156]
    return clean, (clean + benchmark_noise(clean.shape, 25 / 255, 0))[np.newaxis]


def decibels(clean, u):
    return float(deepam_tf.metrics.psnr(clean[np.newaxis], tf.clip_by_value(u, 0.0, 1.0))[0])


def test_plug_and_play_with_our_own_denoiser(portrait):
    clean, noisy = portrait
    model = deepam_tf.load_pretrained("denoise_gray_s25")
    u = deepam_tf.plug_and_play(
        noisy,
        lambda u, stddev: model({"image": u}, training=False)["restored"],
        data_weight=0.05,
        beta=(255 / 25) ** 2,
        num_steps=1,
    )
    assert decibels(clean, u) > decibels(clean, noisy) + 8


def test_plug_and_play_with_opencv(portrait):
    clean, noisy = portrait

    def non_local_means(u, stddev):
        image = np.clip(255 * u[0, ..., 0].numpy(), 0, 255).astype(np.uint8)
        return cv2.fastNlMeansDenoising(image, h=255 * float(stddev))[None, ..., None] / 255.0

    u = deepam_tf.plug_and_play(
        noisy, non_local_means, data_weight=1.0, beta=(255 / 25) ** 2, num_steps=2
    )
    assert decibels(clean, u) > decibels(clean, noisy) + 3


def test_wrong_arguments_are_refused():
    f = np.zeros((1, 4, 4, 1))
    for options in ({"beta": 0.0}, {"beta_growth": 1.0}, {"steps_per_beta": 0}, {"beta_max": 0.5}):
        with pytest.raises(ValueError, match="Received"):
            deepam_tf.alternating_minimization(
                f, proximal.TotalVariation(), data_weight=1.0, **options
            )
    with pytest.raises(ValueError, match=r"rank 4.*Received"):
        deepam_tf.alternating_minimization(f[0], proximal.L0(), data_weight=1.0)
