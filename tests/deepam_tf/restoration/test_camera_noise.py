"""What the network for camera noise is asked, and what is made of its answer."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

import deepam_tf
from deepam_tf.data.noise import NoiseEstimate
from deepam_tf.restoration import camera_noise
from deepam_tf.restoration.camera_noise import level_to_tell, measure_noise
from deepam_tf.restoration.tiles import Restorer
from tests import helpers


def correlated(rng, shape) -> np.ndarray:
    noise = cv2.GaussianBlur(rng.standard_normal(shape).astype(np.float32), (0, 0), 0.9)
    return noise / noise.std()


class Knowing:
    """A restorer that knows the picture, and removes more of its noise the more it is told."""

    def __init__(self, clean: np.ndarray, level: float) -> None:
        self.clean, self.level = clean, level

    def __call__(self, window, *, noise_stddev):
        share = (noise_stddev / self.level) ** 0.4 / 1.7
        return window - min(share, 1.0) * (window - self.clean)


@pytest.mark.parametrize("sigma", [2, 10, 30])
def test_the_level_is_where_told_and_removed_agree(rng, sigma):
    clean = np.full((96, 96, 3), 0.5, np.float32)
    noisy = clean + sigma / 255 * correlated(rng, clean.shape)
    found = measure_noise(noisy, Knowing(clean, sigma / 255))
    assert found.kind == "camera"
    assert 255 * found.stddev == pytest.approx(sigma, rel=0.12)


def test_more_is_told_of_what_is_certainly_noise():
    levels = np.linspace(0, 30, 61) / 255
    told = [level_to_tell(NoiseEstimate("camera", x, (), ())) for x in levels]
    assert told[:8] == pytest.approx(levels[:8])
    assert told[-1] == pytest.approx(1.6 * levels[-1])
    assert np.all(np.diff(told) > 0)


def test_gray_that_is_removed_from_a_colour_picture_is_texture(rng):
    clean = np.full((96, 96, 3), 0.5, np.float32) + np.float32([0.1, 0.0, 0.0])
    gray = np.repeat(correlated(rng, (96, 96, 3))[..., :1], 3, axis=-1)
    colors = correlated(rng, clean.shape)
    for noise, low, high in ((gray, 0.0, 1.0), (colors, 4.0, 6.5)):
        found = measure_noise(clean + 5 / 255 * noise, Knowing(clean, 5 / 255))
        assert low <= 255 * found.stddev <= high


@pytest.mark.parametrize("gray", [False, True])
def test_what_is_fine_and_not_everywhere_is_texture_in_any_colour(rng, gray, monkeypatch):
    """Grass: upright blades, with ground between the tufts."""
    guess = NoiseEstimate("camera", 10 / 255, (), ())
    monkeypatch.setattr(camera_noise, "estimate_noise", lambda pixels, mask: guess)
    grain = rng.standard_normal((96, 96, 1 if gray else 3)).astype(np.float32)
    blades = cv2.filter2D(grain, -1, np.outer([1, 1], [-1, 2, -1])).reshape(grain.shape)
    places = np.kron(rng.uniform(size=(12, 12)) > 0.2, np.ones([8, 8]))[..., np.newaxis]
    clean = np.full(grain.shape, 0.5, np.float32)
    for noise, low, high in (
        (places * blades / blades.std(), 0.0, 2.0),
        (correlated(rng, (96, 96, 3))[..., : grain.shape[-1]], 8.0, 12.0),
    ):
        seen = np.repeat(clean, 3, axis=-1) if gray else clean
        level = 10 / 255 * np.sqrt(np.mean(np.square(noise)))
        found = measure_noise((clean + 10 / 255 * noise).astype(np.float32), Knowing(seen, level))
        assert low <= 255 * found.stddev <= high


def test_nothing_removed_is_no_noise(rng):
    clean = cv2.GaussianBlur(rng.uniform(size=(96, 96, 3)).astype(np.float32), (0, 0), 4)
    assert measure_noise(clean, lambda window, noise_stddev: window).kind == "none"


def test_hidden_windows_are_not_shown_to_the_network(rng):
    noisy = 0.5 + 0.05 * correlated(rng, (384, 384, 3))
    noisy[192:] = 0.25 + 0.05 * correlated(rng, (192, 384, 3))
    mask = np.zeros((384, 384))
    mask[:192] = 1
    seen = []

    def restore(window, *, noise_stddev):
        seen.append(window.mean())
        return np.zeros_like(window) + 0.5

    measure_noise(noisy, restore, mask=mask)
    assert seen
    assert min(seen) > 0.4


@pytest.mark.slow
def test_the_shipped_weights_find_camera_noise_and_spare_a_clean_picture(rng):
    """The photograph with correlated noise gains 3 dB or more; without, it stays what it is."""
    clean = helpers.color_photograph()
    restorer = Restorer(deepam_tf.load_pretrained("denoise_camera"))

    def psnr(image):
        return float(deepam_tf.metrics.psnr(clean[None], np.clip(image, 0, 1)[None])[0])

    noisy = np.round(255 * np.clip(clean + 10 / 255 * correlated(rng, clean.shape), 0, 1)) / 255
    noisy = noisy.astype(np.float32)
    found = measure_noise(noisy, restorer)
    assert found.kind == "camera"
    assert 255 * found.stddev == pytest.approx(10, rel=0.5)
    restored = restorer(noisy, noise_stddev=level_to_tell(found))
    assert psnr(restored) > psnr(noisy) + 3
    _, encoded = cv2.imencode(".jpg", 255 * clean, [cv2.IMWRITE_JPEG_QUALITY, 90])
    stored = cv2.imdecode(encoded, cv2.IMREAD_COLOR).astype(np.float32) / 255
    result = deepam_tf.restore_picture(deepam_tf.image_io.Picture(stored, None, np.dtype("uint8")))
    assert psnr(result.picture.pixels) > psnr(stored) - 0.3


def test_what_jpeg_has_done_is_told_where_the_network_finds_less(rng):
    """A restorer that finds nothing to remove, and one that finds more than JPEG."""
    _, encoded = cv2.imencode(
        ".jpg", np.uint8(255 * helpers.color_photograph()), [cv2.IMWRITE_JPEG_QUALITY, 40]
    )
    decoded = np.float32(cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1]) / 255
    found = measure_noise(decoded, lambda window, noise_stddev: window)
    assert found.kind == "jpeg"
    assert found.stddev == found.quantised > 2 / 255
    assert level_to_tell(found) == found.stddev
    assert np.sqrt(np.mean(np.square(found.stddevs))) == pytest.approx(found.stddev, rel=1e-6)
    assert "JPEG artefacts" in str(found)
    colored = correlated(rng, (96, 96, 3))  # as the noise of cameras, not as texture is
    much = measure_noise(
        decoded,
        lambda window, noise_stddev: window - 0.6 * noise_stddev * colored[: window.shape[0]],
    )
    assert much.kind == "camera"
    assert much.stddev > found.stddev
