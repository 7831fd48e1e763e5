from __future__ import annotations

import cv2
import numpy as np
import pytest

from deepam_tf.data.noise import estimate_noise
from deepam_tf.data.white_noise import white_noise_stddev
from tests import helpers


def blocks(rng, side, channels):
    """Squares of random colours: there is no larger part without an edge."""
    colors = rng.uniform(0.1, 0.9, [192 // side + 1, 192 // side + 1, channels])
    return np.kron(colors, np.ones([side, side, 1]))[:192, :192]


@pytest.mark.parametrize("side", [4, 5, 6, 8, 12])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("sigma", [5, 25])
def test_white_noise_on_small_blocks_of_random_colours(rng, side, channels, sigma):
    noisy = blocks(rng, side, channels) + sigma / 255 * rng.normal(size=(192, 192, channels))
    found = estimate_noise(noisy)
    assert found.kind == "white"
    assert 255 * found.stddev == pytest.approx(sigma, rel=0.08)


@pytest.mark.parametrize("sigma", [3, 5, 15, 50])
def test_white_noise_on_a_photograph(rng, sigma):
    clean = helpers.color_photograph()
    found = estimate_noise(clean + sigma / 255 * rng.normal(size=clean.shape))
    assert found.kind == "white"
    assert 255 * found.stddev == pytest.approx(sigma, rel=0.05)


@pytest.mark.parametrize("flat", [True, False])
def test_noise_that_reaches_over_pixels_is_not_white(rng, flat):
    clean = np.full([192, 192, 3], 0.5) if flat else blocks(rng, 8, 3)
    noise = cv2.GaussianBlur(rng.standard_normal(clean.shape), (0, 0), 0.7)
    channels = list(np.moveaxis(clean + 0.05 * noise / noise.std(), -1, 0))
    assert white_noise_stddev(channels, np.ones([192, 192], bool)) is None


def test_the_level_scales_with_the_image_and_leaves_out_what_says_nothing(rng):
    noise = rng.normal(size=(128, 128))
    everywhere = np.ones(noise.shape, bool)
    one = white_noise_stddev([noise], everywhere)
    assert one == pytest.approx(1, rel=0.05)
    assert white_noise_stddev([0.01 * noise + 3], everywhere) == pytest.approx(0.01 * one, rel=1e-3)
    half = everywhere.copy()
    half[:, 64:] = False
    louder = np.where(half, noise, 10 * noise)
    assert white_noise_stddev([louder], half) == pytest.approx(1, rel=0.05)
    assert white_noise_stddev([noise[:15, :15]], everywhere[:15, :15]) is None
