"""The noise of a depth sensor, found in its maps."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from deepam_tf.depth.noise import DepthNoise, estimate_depth_noise


@pytest.fixture
def scene(rng) -> np.ndarray:
    """Metres: slanted walls, and boxes before them."""
    depth = np.add.outer(np.linspace(1, 4, 180), np.linspace(0, 1, 240))
    for _ in range(12):
        top, left = rng.integers(0, 140), rng.integers(0, 200)
        depth[top : top + 30, left : left + 40] = rng.uniform(0.8, 3)
    return depth


@pytest.mark.parametrize(("floor", "growth"), [(0.0, 0.003), (0.01, 0.0), (0.004, 0.002)])
def test_both_parts_are_found_beside_edges_and_holes(rng, scene, floor, growth):
    noisy = scene + (floor + growth * scene**2) * rng.normal(size=scene.shape)
    valid = rng.uniform(size=scene.shape) > 0.05
    found = estimate_depth_noise(np.where(valid, noisy, 65.535), valid)
    for z in (1.0, 2.0, 4.0):
        assert found.stddev(z) == pytest.approx(floor + growth * z**2, rel=0.15)


def test_the_unit_does_not_matter(rng, scene):
    noisy = scene + 0.002 * scene**2 * rng.normal(size=scene.shape)
    metres, millimetres = (estimate_depth_noise(unit * noisy) for unit in (1.0, 1000.0))
    np.testing.assert_allclose(millimetres.stddev(2500.0), 1000 * metres.stddev(2.5), rtol=1e-6)


def test_noise_common_to_neighbours_is_not_missed(rng, scene):
    """Second differences of single pixels see a fourth of it."""
    noise = cv2.GaussianBlur(rng.normal(size=scene.shape), (0, 0), 1.0)
    found = estimate_depth_noise(scene + 0.01 * noise / noise.std())
    assert 0.005 < found.stddev(2.0) < 0.012


def test_steps_of_disparity_count_as_noise(scene):
    counted = 351.3 / 8 / np.rint(351.3 / 8 / scene)
    found = estimate_depth_noise(counted)
    for z in (1.5, 3.0):
        assert found.stddev(z) == pytest.approx(8 / 351.3 * z**2 / np.sqrt(12), rel=0.3)


def test_an_exact_map_has_none(scene):
    assert estimate_depth_noise(scene) == DepthNoise(
        pytest.approx(0, abs=1e-9), pytest.approx(0, abs=1e-9)
    )


@pytest.mark.parametrize("depth", [np.zeros([5]), np.full([40, 40], np.nan), np.zeros([4, 4])])
def test_what_cannot_be_told_is_refused(depth):
    with pytest.raises(ValueError, match=r"`depth` must.*Received"):
        estimate_depth_noise(depth)
