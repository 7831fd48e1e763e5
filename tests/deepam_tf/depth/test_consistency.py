"""Maps that give their samples again: a projection that only ever comes closer to the truth."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from deepam_tf.depth.consistency import project_to_samples
from deepam_tf.depth.sampling import coarsen

SIZES = [(31, 9), (24, 40), (9, 30)]
SCALES = [1, 1.3, 2, 3, 4, 7.5, (2, 5)]


def made_coarse(fine: np.ndarray, scale, kind: str) -> tuple[np.ndarray, np.ndarray]:
    known = tf.ones([*fine.shape, 1], fine.dtype)
    samples, valid = coarsen(tf.constant(fine[..., np.newaxis]), known, scale, kind=kind)
    return samples.numpy()[..., 0], valid.numpy()[..., 0]


def middle(scale) -> tuple[float, float]:
    pair = scale if isinstance(scale, tuple) else (scale, scale)
    return tuple((s - 1) / 2 for s in pair)


@pytest.mark.parametrize("kind", ["means", "bicubic"])
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("size", SIZES)
def test_samples_come_out_and_the_error_gets_smaller(size, scale, kind):
    rng = np.random.default_rng(0)
    truth = rng.uniform(0, 1, size)
    samples, valid = made_coarse(truth, scale, kind)
    image = truth + 0.1 * rng.normal(size=size)
    grid = {"offset": middle(scale), "kind": kind}
    projected = project_to_samples(image, samples, valid, scale, **grid)
    np.testing.assert_allclose(made_coarse(projected, scale, kind)[0], samples, atol=1e-5)
    assert np.linalg.norm(projected - truth) < np.linalg.norm(image - truth)
    # The way moved is at right angles to all that keeps the samples: nothing less would do.
    moved = np.sum((projected - image) * (truth - projected))
    np.testing.assert_allclose(moved, 0, atol=1e-9)
    again = project_to_samples(projected, samples, valid, scale, **grid)
    np.testing.assert_allclose(again, projected, atol=1e-9)


def test_averages_are_those_of_pillow():
    fine = np.random.default_rng(0).uniform(0, 1, (24, 40)).astype(np.float32)

    def reduced(x: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(x).resize((10, 6), Image.Resampling.BICUBIC))

    flat = np.full_like(fine, 0.5)
    found = project_to_samples(
        flat, reduced(fine), np.ones([6, 10]), 4, offset=(1.5, 1.5), kind="bicubic"
    )
    assert found.dtype == np.float32
    np.testing.assert_allclose(reduced(found), reduced(fine), atol=1e-6)


def test_points_are_put_in_their_places():
    image = np.zeros([6, 6])
    samples = np.arange(4.0).reshape(2, 2)
    found = project_to_samples(image, samples, np.ones([2, 2]), 3, offset=(1, 1), kind="points")
    np.testing.assert_array_equal(found[1::3, 1::3], samples)
    assert np.count_nonzero(found) == 3


@pytest.mark.parametrize("kind", ["means", "bicubic"])
def test_holes_and_samples_beyond_the_map_change_nothing(kind):
    rng = np.random.default_rng(0)
    image = rng.uniform(0, 1, (20, 20))
    grid = {"offset": (1.5, 1.5), "kind": kind}
    none = project_to_samples(image, np.full([5, 5], 7.0), np.zeros([5, 5]), 4, **grid)
    np.testing.assert_array_equal(none, image)
    # A sixth row and column, whose middles lie beyond the last pixel.
    samples, valid = made_coarse(image, 4, kind)
    more = np.pad(samples + 0.1, ((0, 1), (0, 1)), constant_values=9.0)
    known = np.pad(valid, ((0, 1), (0, 1)), constant_values=1.0)
    expected = project_to_samples(image, samples + 0.1, valid, 4, **grid)
    np.testing.assert_allclose(project_to_samples(image, more, known, 4, **grid), expected)


def test_one_unknown_sample_keeps_its_own_value():
    rng = np.random.default_rng(0)
    image, truth = rng.uniform(0, 1, (2, 12, 16))
    samples, valid = made_coarse(truth, 4, "means")
    valid[1, 2] = 0
    found = project_to_samples(image, samples, valid, 4, offset=(1.5, 1.5), kind="means")
    np.testing.assert_array_equal(found[4:8, 8:12], image[4:8, 8:12])
