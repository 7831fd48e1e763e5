"""The simulated camera: what it makes is seeded, aligned, and looks like what cameras make."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import deepam_tf
from deepam_tf import data
from deepam_tf.cli.demo import PICTURE
from deepam_tf.data import camera as module
from deepam_tf.data.degradations import CameraSimulator

PHOTOGRAPHS = CameraSimulator(shares=(1, 0, 0, 0))


@pytest.fixture(scope="module")
def clean() -> tf.Tensor:
    pixels = deepam_tf.image_io.read(PICTURE).pixels
    return tf.constant(np.tile(pixels, [1, 1, 3 // pixels.shape[-1]])[:300, :300])


@pytest.fixture(scope="module")
def photograph():
    return tf.function(lambda image, seed: PHOTOGRAPHS(image, seed))


@pytest.mark.slow
def test_one_seed_is_one_photograph(clean, photograph):
    first, again, other = (photograph(clean, tf.constant([0, i])) for i in (1, 1, 2))
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert first[0].shape != other[0].shape or np.any(first[0] != other[0])


def test_without_noise_and_jpeg_the_photograph_is_its_target(clean):
    still = CameraSimulator(gain=(1e-9, 1e-9), shares=(1, 0, 0, 0))
    close = 0
    for seed in range(6):
        noisy, target = still(clean, tf.constant([seed, 5]))
        assert noisy.shape == target.shape
        error = np.abs(noisy - target)
        assert error.mean() < 12 / 255  # JPEG of quality 50 and better
        close += error.max() <= 0.6 / 255 + 1e-6  # stored without it: rounded to 8 bit alone
    assert 0 < close < 6


def test_development_gives_back_the_picture(clean):
    """Taken apart and put together: a smooth picture comes back, whatever the camera."""
    smooth = tf.image.resize(tf.image.resize(clean, [12, 12], antialias=True), [96, 96], "bicubic")
    smooth = 0.15 + 0.5 * tf.clip_by_value(smooth, 0, 1)  # no colour that a camera cannot have
    for seed in range(8):
        draws = module._Draws(tf.constant([seed, 9]))
        pair = PHOTOGRAPHS._photograph(draws, tf.constant([seed, 1]))(smooth)
        target = pair[1].numpy()
        exposed = target.mean() / smooth.numpy().mean()  # some are darker on purpose
        if exposed > 0.9:
            np.testing.assert_allclose(target[8:-8, 8:-8], smooth[8:-8, 8:-8], atol=0.06)


@pytest.mark.parametrize("demosaic", ["linear", "edges"])
def test_demosaicking_keeps_what_was_measured_and_is_exact_on_ramps(demosaic):
    rows, columns = np.mgrid[:24, :30].astype(np.float32)
    colors = np.stack([rows + 2 * columns, 5 + rows + 2 * columns, rows + 2 * columns - 3], -1)
    pattern = module._pattern(tf.constant([24, 30])).numpy()
    np.testing.assert_array_equal(pattern.sum(-1), 1)
    assert pattern.mean((0, 1)).tolist() == [0.25, 0.5, 0.25]
    mosaic = tf.constant((colors * pattern).sum(-1))[tf.newaxis]
    if demosaic == "linear":
        found = module._demosaic_linear(mosaic, tf.constant(0.0))[0].numpy()
    else:
        found = module._demosaic_along_edges(mosaic)[0].numpy()
    np.testing.assert_allclose((found * pattern).sum(-1), mosaic[0], atol=1e-4)
    np.testing.assert_allclose(found[3:-3, 3:-3], colors[3:-3, 3:-3], atol=1e-3)


@pytest.mark.slow
def test_noise_is_not_white_depends_on_light_and_joins_channels():
    """Lag-1 autocorrelation, correlation of channels and level over brightness, many cameras."""
    ramp = np.tile(np.linspace(0.02, 0.98, 192, dtype=np.float32)[:, None, None], [1, 192, 3])
    camera = CameraSimulator(gain=(3e-3, 3e-3), shares=(1, 0, 0, 0))
    run = tf.function(lambda seed: camera(tf.constant(ramp), seed))
    lag, joint, curves = [], [], []
    for seed in range(24):
        noisy, target = (x.numpy() for x in run(tf.constant([seed, 3])))
        noise = noisy - target
        lag.append(np.mean(noise[:, 1:] * noise[:, :-1]) / np.mean(noise**2))
        joint.append(np.corrcoef(noise.reshape(-1, 3).T)[np.triu_indices(3, 1)].mean())
        bins = np.clip((5 * target.mean(-1)).astype(int), 0, 4)
        if all(np.any(bins == i) for i in range(4)):
            level = [np.sqrt(np.mean(noise[bins == i] ** 2)) for i in range(4)]
            curves.append(np.array(level) / np.sqrt(np.mean(noise**2)))
    assert 0.4 < np.median(lag) < 0.8
    assert 0.1 < np.median(joint) < 0.8
    dark, bright = np.median(curves, axis=0)[[1, 3]]
    assert dark > bright


def test_shares_are_those_asked_for(clean):
    image = clean[:256, :256]
    white = CameraSimulator(shares=(0, 1, 0, 0), white_noise=(0.1, 0.1))
    nothing = CameraSimulator(shares=(0, 0, 0, 1))
    levels = []
    for seed in range(4):
        noisy, target = nothing(image, tf.constant([seed, 1]), crop_size=64)
        assert np.abs(noisy - target).max() <= 0.5 / 255 + 1e-6
        noisy, target = white(image, tf.constant([seed, 1]), crop_size=64)
        levels.append(float(np.std(noisy - target)))
    assert max(levels) == pytest.approx(0.1, rel=0.05)


@pytest.mark.slow
def test_crops_for_training_are_seeded_and_told_their_level(clean):
    images = [np.uint8(255 * clean.numpy())]

    def batches(first, count, seed=0):
        dataset = data.camera_crops(
            images, crop_size=32, batch_size=2, weigh_levels=True, seed=seed, first_batch=first
        )
        return list(dataset.take(count))

    two, second = batches(0, 2), batches(1, 1)
    for one, other in zip(tf.nest.flatten(two[1]), tf.nest.flatten(second[0]), strict=True):
        np.testing.assert_array_equal(one, other)
    inputs, target, weight = two[0]
    assert inputs["image"].shape == target["restored"].shape == [2, 32, 32, 3]
    assert inputs["noise_stddev"].shape == [2, 1, 1, 1]
    assert weight["restored"].shape == [2, 32, 32]
    assert np.any(batches(0, 1, seed=1)[0][0]["image"] != inputs["image"])


def test_too_small_pictures_are_refused():
    with pytest.raises(ValueError, match=r"at least as large.*96"):
        data.camera_crops([np.zeros([80, 200, 3], np.uint8)], crop_size=32, batch_size=1)
