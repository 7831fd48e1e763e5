"""The simulated depth camera: seeded, its noise as told, flying pixels beside edges alone."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from deepam_tf.data.degradations import DepthCameraSimulator

SEEDS = [tf.constant([number, 3]) for number in range(8)]


@pytest.fixture(scope="module")
def plane() -> tf.Tensor:
    return tf.constant(
        np.linspace(0.1, 0.9, 96, dtype=np.float32)[:, None, None] * np.ones([1, 80, 1], np.float32)
    )


def measure(scene: tf.Tensor, seed: tf.Tensor, **values):
    camera = DepthCameraSimulator(**values)
    return [x.numpy()[..., 0] for x in camera(scene, tf.ones_like(scene), seed)]


def test_one_seed_is_one_measurement(plane):
    first, again, other = (measure(plane, SEEDS[i]) for i in (0, 0, 1))
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert np.any(first[0] != other[0])


@pytest.mark.parametrize("near", [0.6, 1.0, 3.0])
def test_noise_grows_with_the_square_of_distance(near):
    """On a wall, by the formula of Nguyen et al., whatever neighbours have in common."""
    wall = tf.zeros([128, 128, 1])
    expected = 2 * (0.0012 + 0.0019 * (near - 0.4) ** 2)
    found = []
    for seed in SEEDS:
        noisy, valid, told = measure(wall, seed, strength=(2, 2), nearest=(near, near), span=(1, 1))
        if told.max() == 0:  # some sensors are exact
            continue
        steps = len(np.unique(noisy[valid > 0])) < 100
        assert np.median(told) == pytest.approx(expected, rel=0.2 if not steps else 0.4)
        found.append(noisy[valid > 0].std() / told[valid > 0].mean())
    assert len(found) >= 5
    np.testing.assert_allclose(found, 1, atol=0.15)


def test_a_sensor_without_noise_measures_the_scene(plane):
    noisy, valid, told = measure(plane, SEEDS[0], strength=(1e-6, 1e-6))
    known = valid > 0
    assert known.mean() > 0.9
    np.testing.assert_allclose(noisy[known], plane.numpy()[..., 0][known], atol=0.02)
    assert told.max() < 1e-5


def test_flying_pixels_and_shadows_lie_beside_edges():
    scene = np.zeros([64, 64, 1], np.float32)
    scene[:, 32:] = 1.0
    shadows = []
    for seed in SEEDS:
        noisy, valid, _ = measure(
            tf.constant(scene), seed, strength=(0.5, 0.5), nearest=(1, 1), span=(1, 1)
        )
        known = valid > 0
        between = known & (noisy > 0.2) & (noisy < 0.8)
        away = np.abs(np.arange(64) - 31.5) > 4
        assert not between[:, away].any()
        shadows.append([1 - known[:, ~away].mean(), 1 - known[:, away].mean()])
    beside, elsewhere = np.mean(shadows, axis=0)
    assert beside > 2 * elsewhere


def test_holes_stay_holes(plane):
    valid = np.ones(plane.shape, np.float32)
    valid[20:40, 30:50] = 0
    noisy, known, told = DepthCameraSimulator()(plane * valid, tf.constant(valid), SEEDS[2])
    assert not known.numpy()[22:38, 32:48].any()
    assert not noisy.numpy()[known.numpy() == 0].any()
    assert np.isfinite(told.numpy()).all()
