"""The rim of pictures that are cleaner than what is told of them."""

from __future__ import annotations

import numpy as np
import pytest

import deepam_tf
from deepam_tf.restoration.borders import FRAME, has_quiet_rim, with_frame

FLAT = np.broadcast_to(np.array([0.9, 0.2, 0.4], np.float32), (40, 56, 3))


@pytest.fixture(scope="module")
def model():
    return deepam_tf.DeepAM(
        1, filters=4, depth=3, image_channels=3, noise_level=True, uncertainty_filters=4
    )


@pytest.mark.parametrize("sigma", [2, 5, 25, 75])
@pytest.mark.parametrize("shape", [(70, 90, 3), (33, 200, 1), (5, 7, 3)])
def test_noise_as_told_is_not_quiet_and_its_absence_is(rng, sigma, shape):
    level = np.full([1, 1, 1], sigma / 255)
    clean = np.broadcast_to(rng.uniform(size=[1, 1, shape[-1]]), shape)
    noisy = clean + level * rng.normal(size=shape)
    assert not has_quiet_rim(noisy, level)
    assert not has_quiet_rim(noisy, np.broadcast_to(level, (*shape[:2], 1)))
    assert has_quiet_rim(clean, level)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    ramp = clean + 0.001 * rows[..., np.newaxis] + 0.002 * columns[..., np.newaxis]
    assert has_quiet_rim(ramp)


@pytest.mark.parametrize("turns", range(4))
def test_one_quiet_place_along_any_side_is_found_and_none_inside(rng, turns):
    noisy = 0.5 + 0.1 * rng.normal(size=(64, 64, 1))
    inside = noisy.copy()
    inside[20:44, 20:44] = 0.5
    assert not has_quiet_rim(inside, np.full([1, 1, 1], 0.1))
    noisy[:12, 16:48] = 0.5
    assert has_quiet_rim(np.rot90(noisy, turns), np.full([1, 1, 1], 0.1))


@pytest.mark.parametrize("sigma", [pytest.param(5, marks=pytest.mark.slow), 25])
@pytest.mark.parametrize("color", [(1.0, 0.0, 0.0), (0.7, 0.3, 0.5), (1.0, 1.0, 1.0)])
def test_flat_colours_stay_within_one_level(sigma, color):
    flat = np.broadcast_to(np.array(color, np.float32), (36, 44, 3))
    restorer = deepam_tf.Restorer(deepam_tf.load_pretrained("denoise_color"))
    restored = restorer(flat, noise_stddev=sigma / 255)
    assert 255 * np.abs(restored - flat).max() <= 1


@pytest.mark.parametrize("ensemble", [False, True])
def test_frame_is_that_of_the_mirrored_picture_and_is_cut_off(model, ensemble):
    restorer = deepam_tf.Restorer(model, self_ensemble=ensemble, tile=48, overlap=8)
    level = np.full([*FLAT.shape[:2], 1], 0.1, np.float32)
    calls = []
    restored = restorer(FLAT, noise_stddev=level, on_tile=lambda: calls.append(1))
    assert len(calls) == restorer.count_tiles(*FLAT.shape)
    whole = deepam_tf.Restorer(model, self_ensemble=ensemble)
    expected = whole(with_frame(FLAT), noise_stddev=0.1)[FRAME:-FRAME, FRAME:-FRAME]
    np.testing.assert_allclose(restored, expected, atol=2e-3)


def test_all_ways_in_give_the_same(model):
    restorer = deepam_tf.Restorer(model)
    rng = np.random.default_rng(0)
    noisy = (FLAT + 0.1 * rng.normal(size=FLAT.shape)).astype(np.float32)
    alone = [restorer(x, noise_stddev=0.1) for x in (FLAT, noisy, FLAT)]
    together = restorer.restore_all([FLAT, noisy, FLAT], noise_stddev=0.1)
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    first, stddev = restorer.with_stddev(FLAT, noise_stddev=0.1)
    np.testing.assert_allclose(first, alone[0], atol=1e-5)
    assert stddev.shape == FLAT.shape
    out = FLAT.copy()
    assert restorer(out, noise_stddev=0.1, out=out) is out
    np.testing.assert_allclose(out, alone[0], atol=1e-5)
