from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from deepam_tf import planes, sampling

SIZE = (37, 50)


def step(height: int, width: int) -> np.ndarray:
    """Two slanted surfaces that meet in a slanted edge, `[H, W, 1]`."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    near, far = 0.7 + 0.001 * x, 0.2 + 0.002 * y
    return np.where(2 * x + y < width + height / 2, near, far)[..., np.newaxis].astype(np.float32)


@pytest.mark.parametrize(("scale", "offset"), [(4, None), (8, None), (4, 0), (4, 1.5)])
def test_snapping_decides_for_one_surface(rng, scale, offset):
    truth = step(*SIZE)
    low = sampling.take_samples(tf.constant(truth), scale, offset=int(offset or scale // 2))
    first = scale // 2 if offset is None else offset
    # What a network that is unsure gives: the right surface by more than a half.
    soft = tf.constant(truth + rng.uniform(-0.2, 0.2, truth.shape).astype(np.float32))
    valid = tf.ones_like(low)
    hard = planes.snap_to_planes(soft, low, valid, scale, offset=offset)
    changed = (hard != soft).numpy()
    assert 0.05 < changed.mean() < 0.95
    if offset != 1.5:  # where the samples really lie
        before, after = (np.abs(x - truth)[changed] for x in (soft, hard))
        assert np.mean(after > 0.02) < 0.2 * np.mean(before > 0.02)
    # Once decided, it stays.
    again = planes.snap_to_planes(hard, low, valid, scale, offset=offset)
    np.testing.assert_array_equal(again, hard)
    # The nearest planes are planes.
    start = planes.interpolate_planes(low, SIZE, scale, first)
    np.testing.assert_array_equal(
        planes.snap_to_planes(start, low, valid, scale, offset=offset), start
    )


def test_smooth_maps_and_pixels_beside_holes_keep_their_values(rng):
    noise = tf.constant(rng.uniform(size=(32, 40, 1)), tf.float32)
    flat = tf.constant(0.2 * rng.uniform(size=(8, 10, 1)) * planes.EDGE, tf.float32)
    kept = planes.snap_to_planes(noise, flat, tf.ones_like(flat), 4)
    np.testing.assert_array_equal(kept, noise)
    rough = tf.constant(rng.uniform(size=(8, 10, 1)), tf.float32)
    valid = np.ones_like(rough)
    valid[3, 4] = 0
    snapped = planes.snap_to_planes(noise, rough, tf.constant(valid), 4).numpy()
    # Of the pixels whose nearest sample is the hole or touches it.
    beside = np.zeros([32, 40, 1], bool)
    beside[4 * 2 : 4 * 5, 4 * 3 : 4 * 6] = True
    same = (snapped == noise).numpy()
    assert same[beside].all()
    assert 0.2 < np.mean(~same[~beside]) < 0.8


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_a_share_of_the_way_is_near_and_the_middle_stays(share):
    low = tf.constant([[0.2, 0.2, 0.7, 0.7]] * 3, tf.float32)[..., tf.newaxis]
    way = np.linspace(-0.2, 1.2, 41, dtype=np.float32)[:, None, None, None]
    image = tf.constant(0.2 + 0.5 * way * np.ones([12, 16, 1], np.float32))

    @tf.function
    def snap_each(images):
        return tf.map_fn(
            lambda x: planes.snap_to_planes(x, low, tf.ones_like(low), 4, share=share), images
        )

    snapped = snap_each(image)
    beside = snapped[:, 6, 8, 0]  # a sample of either surface touches this pixel
    way = way.ravel()
    decided = np.where(way <= share + 1e-6, 0.2, np.where(way >= 1 - share - 1e-6, 0.7, np.nan))
    between = (way > 0) & (way < 1)
    expected = np.where(between & ~np.isnan(decided), decided, 0.2 + 0.5 * way)
    # The ends of the share are a matter of rounding.
    off = np.minimum(abs(way - share), abs(way - 1 + share)) > 1e-3
    np.testing.assert_allclose(beside.numpy()[off], expected[off], atol=1e-6)
    np.testing.assert_array_equal(snapped[:, 6, 1], image[:, 6, 1])  # far from the edge


def test_units_do_not_matter(rng):
    low = rng.uniform(size=(8, 10, 1)).astype(np.float32)
    image = rng.uniform(size=(32, 40, 1)).astype(np.float32)
    one, other = (
        planes.snap_to_planes(a * image, a * low, tf.ones_like(low), 4, edge=a * 0.04)
        for a in (1.0, 8.0)
    )
    np.testing.assert_allclose(other, 8 * one, rtol=1e-6)
