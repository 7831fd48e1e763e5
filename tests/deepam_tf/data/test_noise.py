from __future__ import annotations

import cv2
import numpy as np
import pytest

from deepam_tf import image_io
from deepam_tf.cli.demo import PICTURE
from deepam_tf.data.degradations import sensor_noise
from deepam_tf.data.noise import (
    PoissonGaussian,
    estimate_noise,
    estimate_noise_stddev,
    estimate_poisson_gaussian,
)
from tests import helpers


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


@pytest.mark.parametrize(("gain", "variance"), [(0.01, 0.0004), (0.03, 0.001), (0.0, 0.01)])
def test_noise_that_grows_with_the_light(rng, gain, variance):
    clean = image_io.read(PICTURE).pixels
    deviation = np.sqrt(gain * clean + variance)
    noisy = clean + deviation * rng.normal(size=clean.shape)
    found = estimate_poisson_gaussian(noisy)
    relative = found.stddev_map(noisy) / deviation.mean(axis=-1, keepdims=True)
    assert np.abs(relative - 1).mean() < 0.1
    assert found.gain >= 0
    assert found.variance >= 0
    # In twice the unit of the image, gain counts twice and variance four times.
    half = estimate_poisson_gaussian(0.5 * noisy)
    dark = clean < 0.9
    twice = 2 * half.stddev_map(0.5 * noisy) / found.stddev_map(noisy)
    assert twice[dark.all(axis=-1)].mean() == pytest.approx(1, abs=0.1)


def test_the_map_follows_the_light_and_not_the_noise(rng):
    clean = np.where(np.arange(96) < 48, 0.1, 0.8)[np.newaxis, :, np.newaxis] * np.ones([96, 1, 1])
    noise_map = PoissonGaussian(0.01, 1e-4).stddev_map(
        clean + 0.05 * rng.standard_normal(clean.shape)
    )
    assert noise_map.shape == (96, 96, 1)
    for side, value in ((slice(0, 40), 0.1), (slice(56, 96), 0.8)):
        expected = np.sqrt(0.01 * value + 1e-4)
        np.testing.assert_allclose(noise_map[:, side], expected, rtol=0.15)


def test_black_picture_has_one_level(rng):
    noisy = 0.01 * rng.standard_normal((64, 64, 1)) - 0.1
    found = estimate_poisson_gaussian(noisy)
    assert found.gain == 0
    assert found.variance == pytest.approx(1e-4, rel=0.2)


def test_simulated_sensor_has_the_variance_it_says():
    for value in (0.05, 0.7):
        noisy = sensor_noise(np.full([600, 600], value), 0.02, 0.001, 3)
        assert noisy.mean() == pytest.approx(value, abs=1e-3)
        assert noisy.var() == pytest.approx(0.02 * value + 0.001, rel=0.02)


def camera_noise(rng, shape, stddev):
    """Noise as files of cameras have it: over several pixels, and mostly of colour."""
    noise = cv2.GaussianBlur(rng.standard_normal(shape).astype(np.float32), (0, 0), 0.9)
    noise[..., 1] *= 0.7
    return stddev * noise / noise.std()


@pytest.mark.parametrize("sigma", [5, 15, 25, 50])
def test_white_noise_is_recognised_and_measured_in_colour(rng, sigma):
    clean = helpers.color_photograph()
    found = estimate_noise(clean + sigma / 255 * rng.normal(size=clean.shape))
    assert found.kind == "white"
    assert 255 * found.stddev == pytest.approx(sigma, rel=0.1)


@pytest.mark.parametrize("sigma", [5, 12, 25])
def test_camera_noise_is_recognised_and_measured(rng, sigma):
    clean = np.tile(np.linspace(0.2, 0.8, 256)[:, np.newaxis, np.newaxis], [1, 256, 3])
    found = estimate_noise(clean + camera_noise(rng, clean.shape, sigma / 255))
    assert found.kind == "camera"
    assert 255 * found.stddev == pytest.approx(sigma, rel=0.2)


def test_a_clean_photograph_is_not_taken_for_a_noisy_one():
    found = estimate_noise(helpers.color_photograph())
    assert 255 * found.stddev < 4


def test_where_the_noise_is_strong_is_said_in_words(rng):
    clean = np.tile(np.linspace(0.1, 0.9, 256)[:, np.newaxis, np.newaxis], [1, 256, 3])
    noise = camera_noise(rng, clean.shape, 10 / 255)
    assert "strong in the shadows" in str(estimate_noise(clean + (1 - clean) * noise))
    assert "strong in the lights" in str(estimate_noise(clean + clean * noise))
    assert "alike" in str(estimate_noise(clean + noise))
    assert str(estimate_noise(clean)) == "no noise found"


@pytest.mark.parametrize(("bar", "channels"), [(0.0, 3), (1.0, 3), (0.4, 3), (0.0, 1)])
def test_bars_of_a_letterbox_are_left_out(rng, bar, channels):
    clean = helpers.color_photograph()[:200, :, :channels]
    noisy = clean + 15 / 255 * rng.normal(size=clean.shape)
    boxed = np.pad(noisy, [(150, 150), (0, 0), (0, 0)], constant_values=bar)
    found = estimate_noise(boxed)
    assert found.kind == "white"
    assert 255 * found.stddev == pytest.approx(15, rel=0.08)
    masked = np.pad(noisy, [(150, 150), (0, 0), (0, 0)], mode="reflect")
    masked[:150] += rng.normal(size=masked[:150].shape)
    mask = np.zeros(masked.shape[:2])
    mask[150:-150] = 1
    for shape in (mask.shape, (*mask.shape, 1)):
        found = estimate_noise(masked, mask=mask.reshape(shape))
        assert 255 * found.stddev == pytest.approx(15, rel=0.08)


@pytest.mark.parametrize(("quality", "least"), [(90, 7.0), (70, 4.5), (40, 3.0)])
def test_noise_that_jpeg_has_quantised_is_found(rng, quality, least):
    """Of a level of 10 JPEG leaves less the lower its quality; what is left is measured."""
    clean = helpers.color_photograph()
    noisy = np.clip(255 * clean + 10 * rng.normal(size=clean.shape), 0, 255).round()
    _, encoded = cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR) / 255.0
    left = 255 * np.sqrt(np.mean((decoded - clean) ** 2))
    found = 255 * estimate_noise(decoded).stddev
    assert least < found < 1.5 * left


def test_a_mask_of_another_size_is_refused(rng):
    with pytest.raises(ValueError, match=r"`mask`.*Received"):
        estimate_noise(rng.normal(size=(64, 64, 1)), mask=np.ones((32, 64)))


def test_nothing_seen_is_no_noise(rng):
    assert estimate_noise(rng.normal(size=(64, 64, 3)), mask=np.zeros((64, 64))).kind == "none"
