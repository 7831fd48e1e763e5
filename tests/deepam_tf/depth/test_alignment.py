from __future__ import annotations

import cv2
import numpy as np
import pytest

from deepam_tf.depth.alignment import misalignment


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
