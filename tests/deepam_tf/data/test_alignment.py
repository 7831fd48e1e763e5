from __future__ import annotations

import cv2
import numpy as np
import pytest

from deepam_tf.data.alignment import doubt_guide, misalignment


def scene(rng) -> np.ndarray:
    image = np.full((96, 128), 60, np.uint8)
    for _ in range(25):
        corner = rng.integers(0, 100, 2)
        other = corner + rng.integers(8, 50, 2)
        cv2.rectangle(image, corner.tolist(), other.tolist(), int(rng.integers(20, 250)), -1)
    return image.astype(np.float32)[..., np.newaxis] / 255


@pytest.mark.parametrize("shift", [(0, 0), (3, -2), (-6, 4)])
def test_misalignment_is_measured_across_modalities(rng, shift):
    a = scene(rng)
    b = np.roll(1 - 0.5 * a**2, shift, (0, 1))
    assert misalignment(a, b) == pytest.approx(shift, abs=0.3)


def test_edges_that_do_not_fit_say_nothing(rng):
    a, b = scene(rng), scene(rng)
    assert misalignment(a, b) is None
    assert misalignment(np.zeros_like(a), b) is None


@pytest.mark.parametrize("stddev", [0.0, 0.1, 0.2])
def test_guides_of_the_scene_are_trusted_and_wrong_ones_are_not(rng, stddev):
    image = cv2.resize(scene(rng)[..., 0], (256, 192))[..., np.newaxis]
    other = cv2.resize(scene(rng)[..., 0], (256, 192))[..., np.newaxis]
    noisy = np.repeat(image, 3, axis=-1)
    noisy = noisy + stddev * rng.normal(size=noisy.shape).astype(np.float32)
    guide = 1 - 0.5 * image**2
    assert doubt_guide(noisy, guide) is None
    assert doubt_guide(noisy, np.roll(guide, 1, axis=1)) is None
    assert "not those" in doubt_guide(noisy, other)
    for shift in ((0, 3), (3, 0), (-2, 2)):
        assert "shifted" in doubt_guide(noisy, np.roll(guide, shift, axis=(0, 1)))
    for flat in (0.0, 0.3, 1.0):
        assert "nothing" in doubt_guide(noisy, np.full_like(guide, flat))


def test_small_pictures_are_not_judged_by_chance(rng):
    a, b = (scene(rng)[:60, :60] for _ in range(2))
    assert doubt_guide(a, b) is None
    assert "nothing" in doubt_guide(a, np.zeros_like(b))
