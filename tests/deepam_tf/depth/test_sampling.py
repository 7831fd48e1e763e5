from __future__ import annotations

import cv2
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from deepam_tf import sampling


def ramp(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return (2 * y + 3 * x + 5)[..., np.newaxis]


def between_samples(size: int, scale: int, offset: float) -> slice:
    count = len(np.arange(offset, size, scale))
    return slice(int(np.ceil(offset)), int(offset + (count - 1) * scale) + 1)


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 8, 16])
@pytest.mark.parametrize("offset", [None, 0])
@pytest.mark.parametrize("limited", [False, True])
def test_a_ramp_comes_back_exactly(scale, offset, limited):
    image = ramp(37, 50)
    low = sampling.take_samples(tf.constant(image), scale, offset=offset)
    dense, mask = sampling.interpolate_samples(
        low, tf.ones_like(low), (37, 50), scale, offset=offset, limited=limited
    )
    first = scale // 2 if offset is None else offset
    inside = between_samples(37, scale, first), between_samples(50, scale, first)
    np.testing.assert_allclose(dense[inside], image[inside], rtol=1e-6)
    assert np.sum(mask == 1) == low.shape[0] * low.shape[1]
    np.testing.assert_array_equal(mask.numpy()[first::scale, first::scale], 1)


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_averages_of_a_ramp_come_back_exactly(scale):
    image = ramp(32, 48)
    low = cv2.resize(image, (48 // scale, 32 // scale), interpolation=cv2.INTER_AREA)[
        ..., np.newaxis
    ]
    offset = (scale - 1) / 2
    dense, mask = sampling.interpolate_samples(
        tf.constant(low), tf.ones_like(low), (32, 48), scale, offset=offset
    )
    inside = between_samples(32, scale, offset), between_samples(48, scale, offset)
    np.testing.assert_allclose(dense[inside], image[inside], rtol=1e-5)
    np.testing.assert_array_equal(
        mask, np.float32(sampling.INTERPOLATED)
    )  # none was measured itself


@pytest.mark.parametrize("offset", [None, 0, 1.5])
def test_limited_planes_keep_edges_sharp_and_add_no_extremes(rng, offset):
    step = np.where(np.arange(48) < 22, 1.0, 5.0).astype(np.float32)
    step = np.tile(step[:, np.newaxis, np.newaxis], (1, 40, 1))
    low = sampling.take_samples(tf.constant(step), 4, offset=int(offset or 2))
    dense, _ = sampling.interpolate_samples(
        low, tf.ones_like(low), (48, 40), 4, offset=offset, limited=True
    )
    assert set(np.unique(dense)) == {1.0, 5.0}
    # What goes up along each axis still does, and lies within the samples around.
    low = np.cumsum(np.cumsum(rng.uniform(size=(9, 7, 1)), axis=0), axis=1).astype(np.float32)
    dense, mask = sampling.interpolate_samples(
        tf.constant(low), tf.ones_like(low), (36, 28), 4, offset=offset, limited=True
    )
    first = 2 if offset is None else offset
    blocks = np.clip(np.floor((np.arange(36) - first) / 4 + 0.5 + 1e-6), 0, 8).astype(int)
    for column in np.moveaxis(dense.numpy()[..., 0], 1, 0):
        for i in range(9):  # within the block of a sample; from block to block it may jump
            assert np.all(np.diff(column[blocks == i]) >= -1e-5)
    if first != 1.5:
        np.testing.assert_allclose(dense[first::4, first::4], low, atol=1e-5)
        assert np.sum(mask == 1) == 63


def test_a_wrong_grid_shifts_the_map_by_the_difference():
    low = sampling.take_samples(tf.constant(ramp(64, 64)), 8)
    shifted, _ = sampling.interpolate_samples(low, tf.ones_like(low), (64, 64), 8, offset=0)
    inside = slice(8, 48)
    np.testing.assert_allclose(shifted.numpy()[inside, inside] - ramp(64, 64)[inside, inside], 20)


def test_samples_are_those_of_pillow_and_opencv(rng):
    image = rng.integers(0, 255, (24, 40), dtype=np.uint8)
    for scale in (2, 4, 8):
        size = (40 // scale, 24 // scale)
        pillow = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.NEAREST))
        np.testing.assert_array_equal(
            sampling.take_samples(image[..., np.newaxis], scale)[..., 0], pillow
        )
        opencv = cv2.resize(image, size, interpolation=cv2.INTER_NEAREST)
        np.testing.assert_array_equal(
            sampling.take_samples(image[..., np.newaxis], scale, offset=0)[..., 0], opencv
        )


def test_interpolation_agrees_with_opencv(rng):
    low = rng.uniform(size=(6, 9)).astype(np.float32)
    dense, _ = sampling.interpolate_samples(
        tf.constant(low[..., np.newaxis]), tf.ones([6, 9, 1]), (24, 36), 4, offset=1.5
    )
    expected = cv2.resize(low, (36, 24), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(dense[..., 0], expected, atol=1e-5)


def test_unknown_samples_do_not_matter(rng):
    low = rng.uniform(size=(5, 6, 1)).astype(np.float32)
    valid = np.ones_like(low)
    valid[1:3, 2:5] = 0
    results = []
    for junk in (0.0, 100.0):
        low[valid == 0] = junk
        results.append(
            sampling.interpolate_samples(tf.constant(low), tf.constant(valid), (20, 24), 4)
        )
    np.testing.assert_allclose(results[0][0], results[1][0], atol=1e-6)
    mask = results[0][1].numpy()[..., 0]
    # Pixels all of whose neighbours are unknown, and no others.
    np.testing.assert_array_equal(np.argwhere(mask == 0).min(axis=0), [6, 10])
    np.testing.assert_array_equal(np.argwhere(mask == 0).max(axis=0), [10, 18])
    assert np.sum(mask == 1) == np.sum(valid)


@pytest.mark.slow
def test_holes_are_filled_without_new_extremes(rng):
    image = rng.uniform(1, 2, size=(12, 15, 1)).astype(np.float32)
    valid = np.ones_like(image)
    valid[3:9, 4:12] = 0
    filled = sampling.fill_holes(tf.constant(image), tf.constant(valid)).numpy()
    np.testing.assert_array_equal(filled[valid == 1], image[valid == 1])
    # A membrane takes its extremes at its rim.
    rim = image[2:10, 3:13][valid[2:10, 3:13] == 1]
    assert rim.min() - 1e-3 <= filled[valid == 0].min()
    assert filled[valid == 0].max() <= rim.max() + 1e-3
    # It is the same in a graph.
    graph = tf.function(sampling.fill_holes)(tf.constant(image), tf.constant(valid))
    np.testing.assert_allclose(graph, filled, atol=1e-3)


@pytest.mark.slow
def test_a_ramp_continues_through_a_hole():
    image, valid = ramp(15, 15), np.ones([15, 15, 1], np.float32)
    valid[5:10, 5:10] = 0
    filled = sampling.fill_holes(tf.constant(image), tf.constant(valid))
    np.testing.assert_allclose(filled, image, atol=0.02)


def test_an_image_without_anything_known_is_zero():
    filled = sampling.fill_holes(tf.ones([2, 4, 5, 1]), tf.zeros([2, 4, 5, 1]))
    np.testing.assert_array_equal(filled, 0)


@pytest.mark.slow
def test_random_observations(rng):
    """Every kind occurs, and what the mask calls measured has the true value."""
    image = tf.constant(rng.uniform(0.2, 1, size=(32, 32, 1)), tf.float32)
    observe = tf.function(sampling.observe_coarse)
    kinds = set()
    for i in range(40):
        dense, mask = observe(image, tf.ones_like(image), (4, 8), tf.constant([i, 1], tf.int64))
        mask = mask.numpy()
        np.testing.assert_allclose(dense.numpy()[mask == 1], image.numpy()[mask == 1], atol=1e-6)
        count = np.sum(mask == 1)
        kinds.add("averages" if count == 0 else "x8" if count <= 16 else "x4")
        if np.any(mask == 0):
            kinds.add("hole")
    assert kinds == {"averages", "x4", "x8", "hole"}
