from __future__ import annotations

import numpy as np
import pytest

from deepam_tf import image_io
from deepam_tf.demo import PICTURE
from deepam_tf.noise import estimate_noise_stddev


@pytest.mark.parametrize("sigma", [15, 25, 50, 75])
def test_estimate_on_a_photograph(rng, sigma):
    clean = image_io.read(PICTURE).pixels
    noisy = clean + sigma / 255 * rng.normal(size=clean.shape)
    assert estimate_noise_stddev(noisy) * 255 == pytest.approx(sigma, rel=0.07)


def test_clean_picture_has_little_noise():
    clean = np.add.outer(np.linspace(0, 1, 90), np.linspace(0, 1, 70))[..., np.newaxis]
    assert estimate_noise_stddev(clean) < 1e-3


def test_estimate_scales_with_the_image_and_not_with_its_size(rng):
    noise = rng.normal(size=(64, 80, 3))
    one = estimate_noise_stddev(noise)
    assert one == pytest.approx(1.0, rel=0.05)
    assert estimate_noise_stddev(0.01 * noise + 3) == pytest.approx(0.01 * one, rel=1e-2)
    large = rng.normal(size=(900, 1100, 1))
    assert estimate_noise_stddev(large) == pytest.approx(1.0, rel=0.02)


@pytest.mark.parametrize(
    "image", [np.zeros((64, 64)), np.zeros((64, 31, 1)), np.full((64, 64, 1), np.nan)]
)
def test_what_cannot_be_estimated_is_refused(image):
    with pytest.raises(ValueError, match=r"finite.*Received"):
        estimate_noise_stddev(image)
