from __future__ import annotations

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf

import deepam_tf
from deepam_tf import planes
from deepam_tf.data.degradations import DepthCameraSimulator
from deepam_tf.depth.observation import observe
from deepam_tf.restoration.depth import denoise_depth, upsample_depth
from training.make_scenes import draw_scene


@pytest.fixture(scope="module")
def restorer():
    """Without training the model hands its input on: `v` is nearly `D u`."""
    keras.utils.set_random_seed(0)  # how nearly is a matter of the weights drawn
    model = deepam_tf.DeepAM(
        1, filters=8, depth=6, residual=True, guide_channels=3, mask=True, rtol=1e-6
    )
    return deepam_tf.Restorer(model)


def ramp(height=32, width=48):
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return 1000 + 20 * y + 30 * x


GUIDE = np.full((32, 48, 3), 0.5, np.float32)


@pytest.mark.parametrize("scale", [4, pytest.param(8, marks=pytest.mark.slow)])
def test_a_ramp_comes_back(restorer, scale):
    low = ramp()[scale // 2 :: scale, scale // 2 :: scale]
    restored = upsample_depth(restorer, low, GUIDE, scale=scale)
    inside = slice(scale // 2, -scale), slice(scale // 2, -scale)
    error = np.abs(restored - ramp())[inside].max()
    assert error < 0.02 * (ramp().max() - ramp().min())
    # A grid off by half a sample would cost that much more.
    wrong = upsample_depth(restorer, low, GUIDE, scale=scale, offset=0)
    assert np.abs(wrong - ramp())[inside].max() > 10 * scale


@pytest.mark.slow
def test_every_unit_gives_the_same_map(restorer, rng):
    low = rng.uniform(1, 2, (8, 12))
    metres = upsample_depth(restorer, low, GUIDE)
    millimetres = upsample_depth(restorer, 1000 * low, GUIDE)
    shifted = upsample_depth(restorer, low + 7, GUIDE)
    np.testing.assert_allclose(millimetres, 1000 * metres, rtol=1e-4)
    np.testing.assert_allclose(shifted, metres + 7, atol=1e-4)


@pytest.mark.slow
def test_an_upsampled_map_is_sampled_again(restorer, rng):
    low = rng.uniform(1, 2, (4, 6)).astype(np.float32)
    blocks = np.kron(low, np.ones((8, 8), np.float32))
    np.testing.assert_allclose(
        upsample_depth(restorer, blocks, GUIDE, scale=8),
        upsample_depth(restorer, low, GUIDE),
        atol=1e-5,
    )


@pytest.mark.slow
def test_holes_are_filled_whatever_stands_in_them(restorer):
    low = ramp()[2::4, 2::4]
    valid = np.ones_like(low, bool)
    valid[3:5, 4:8] = False
    results = []
    for junk in (0.0, np.nan, 1e6):
        low[~valid] = junk
        results.append(upsample_depth(restorer, low, GUIDE, valid=valid))
    np.testing.assert_allclose(results[0], results[1], rtol=1e-4)
    np.testing.assert_allclose(results[0], results[2], rtol=1e-4)
    assert np.abs(results[0] - ramp())[2:-4, 2:-4].max() < 0.05 * np.ptp(ramp())


@pytest.mark.slow
def test_a_map_on_the_grid_of_its_guide_is_filled(restorer):
    full = ramp()
    full[10:20, 15:30] = np.nan
    observation = observe(full, (32, 48))
    assert set(np.unique(observation.mask)) == {0, 1}
    restored = upsample_depth(restorer, full, GUIDE)
    assert np.abs(restored - ramp()).max() < 0.05 * np.ptp(ramp())


@pytest.mark.slow
def test_a_constant_map_stays_constant(restorer):
    restored = upsample_depth(restorer, np.full((8, 12), 3.5), GUIDE)
    np.testing.assert_allclose(restored, 3.5, atol=1e-2)


@pytest.mark.slow
def test_size_that_is_no_multiple_of_the_scale(restorer):
    low = ramp(30, 45)[4::8, 4::8]
    assert upsample_depth(restorer, low, GUIDE[:30, :45], scale=8).shape == (30, 45)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": np.zeros((2, 3, 1))}, "height, width"),
        ({"depth": np.full((4, 6), np.nan)}, "holes alone"),
        ({"depth": np.ones((5, 9))}, "times as large"),
        ({"depth": np.ones((4, 6)), "scale": 4}, "times as large"),
        ({"depth": np.ones((4, 6)), "offset": 8.0}, "offset"),
        ({"depth": np.ones((4, 6)), "valid": np.ones((3, 3))}, "shape of `depth`"),
    ],
)
def test_wrong_maps_are_refused(arguments, message):
    with pytest.raises(ValueError, match=rf"{message}"):
        observe(arguments.pop("depth"), (32, 48), **arguments)


@pytest.mark.slow
def test_snapping_leaves_no_values_near_a_surface_but_off_it(restorer, rng):
    low = np.where(np.arange(12) < 6, 1000.0, 3000.0) * np.ones([8, 1])
    guide = rng.uniform(size=GUIDE.shape).astype(np.float32)
    hard, soft = (upsample_depth(restorer, low, guide, snap=snap) for snap in (True, False))
    beside = np.s_[:, 20:28]  # the samples of the edge are at 22 and 26
    off, still_off = (np.minimum(abs(x - 1000), abs(x - 3000))[beside] for x in (soft, hard))
    between = (soft > 1000)[beside] & (soft < 3000)[beside]
    near = between & (off < planes.near_share(4) * 2000 - 1)
    assert np.max(off[near]) > 0.5
    np.testing.assert_allclose(still_off[near], 0.0, atol=0.01)


@pytest.mark.parametrize("kind", ["means", "bicubic"])
def test_averages_come_out_as_measured(restorer, rng, kind):
    low = 2000 + ramp()[::4, ::4] + rng.uniform(-50, 50, (8, 12))

    def measured_again(**settings) -> np.ndarray:
        fine = upsample_depth(restorer, low, GUIDE, kind=kind, snap=False, **settings)
        again, _ = deepam_tf.sampling.coarsen(
            fine[..., np.newaxis], np.ones([32, 48, 1], np.float32), 4, kind=kind
        )
        return again.numpy()[..., 0]

    np.testing.assert_allclose(measured_again(), low, atol=0.1)
    assert np.abs(measured_again(keep=False) - low).max() > 1


@pytest.fixture(scope="module")
def sensed():
    """A drawn scene as a sensor measures it: metres, picture, noisy, valid."""
    nearness, guide = draw_scene(np.random.default_rng(11), (96, 128))
    unit = ((255 - nearness) / 255).astype(np.float32)[..., np.newaxis]
    camera = DepthCameraSimulator((4.0, 4.0), (0.8, 0.8), (3.0, 3.0))
    noisy, valid, _ = (x.numpy()[..., 0] for x in camera(unit, tf.ones_like(unit), [5, 2]))
    depth, noisy = (0.8 + 3.0 * x for x in (unit[..., 0], noisy))
    return depth, guide.astype(np.float32), noisy, valid > 0


@pytest.fixture(scope="module")
def sensor_restorer():
    return deepam_tf.Restorer(deepam_tf.load_pretrained("denoise_depth"))


@pytest.mark.slow
def test_the_noise_of_a_sensor_goes_and_edges_stay(sensor_restorer, sensed):
    """Nearer to the truth than what it was given, and than a median that keeps edges too.

    Which of two surfaces a pixel that looks aside has seen nobody can tell: the root mean square
    is mostly of these.
    """
    depth, guide, noisy, valid = sensed
    denoised, noise = denoise_depth(sensor_restorer, noisy, guide, valid=valid)
    filled = np.where(valid, noisy, np.median(noisy[valid])).astype(np.float32)
    ours, given, median = (
        np.abs(x - depth)[valid] for x in (denoised, noisy, cv2.medianBlur(filled, 5))
    )
    assert 0.3 < noise.stddev(2.5) / (4 * (0.0012 + 0.0019 * 2.1**2)) < 2
    assert np.median(ours) < 0.5 * np.median(given)
    assert np.sqrt(np.mean(ours**2)) < 0.9 * np.sqrt(np.mean(given**2))
    assert np.sqrt(np.mean(ours**2)) < 0.9 * np.sqrt(np.mean(median**2))


@pytest.mark.slow
def test_the_unit_of_a_noisy_map_does_not_matter(sensor_restorer, sensed):
    _, guide, noisy, valid = sensed
    metres, _ = denoise_depth(sensor_restorer, noisy, guide, valid=valid)
    millimetres, _ = denoise_depth(sensor_restorer, 1000 * noisy, guide, valid=valid)
    np.testing.assert_allclose(millimetres, 1000 * metres, rtol=1e-3)


def test_a_map_without_noise_stays(sensor_restorer, sensed):
    depth, guide, *_ = sensed
    denoised, noise = denoise_depth(sensor_restorer, depth, guide)
    assert noise.stddev(2.0) < 1e-3
    assert np.sqrt(np.mean(np.square(denoised - depth))) < 0.01 * np.ptp(depth)
