from __future__ import annotations

import itertools

import cv2
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
        assert np.mean(after > 0.02) < 0.1 * np.mean(before > 0.02)
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
    assert np.all((snapped == noise) == beside)


def test_units_do_not_matter(rng):
    low = rng.uniform(size=(8, 10, 1)).astype(np.float32)
    image = rng.uniform(size=(32, 40, 1)).astype(np.float32)
    one, other = (
        planes.snap_to_planes(a * image, a * low, tf.ones_like(low), 4, edge=a * 0.04)
        for a in (1.0, 8.0)
    )
    np.testing.assert_allclose(other, 8 * one, rtol=1e-6)


def nearest_by_hand(count: int, size: int, scale: int, offset: float) -> np.ndarray:
    positions = offset + scale * np.arange(count)
    return np.abs(positions[np.newaxis] - np.arange(size)[:, np.newaxis] - 1e-4).argmin(axis=1)


@pytest.mark.parametrize(("scale", "offset"), [(4, None), (8, 0), (4, 1.5)])
def test_neighbors_are_compared_as_by_hand(rng, scale, offset):
    first = scale // 2 if offset is None else offset
    height, width = 32, 40
    low = rng.uniform(size=(height // scale, width // scale, 1)).astype(np.float32)
    # Steps between samples that agree in sign nowhere: all planes are level.
    low = np.round(low) + 2 * (np.indices(low.shape[:2]).sum(axis=0) % 2)[..., np.newaxis] * 1.0
    guide = rng.uniform(size=(height, width, 3)).astype(np.float32)
    image = rng.uniform(size=(height, width, 1)).astype(np.float32)
    args = (tf.constant(low, tf.float32), tf.ones(low.shape), tf.constant(guide), scale)
    hints = planes.compare_neighbors(tf.constant(image), *args, offset=offset).numpy()
    assert hints.shape == (height, width, planes.HINT_CHANNELS)

    smooth = cv2.blur(np.pad(guide, [(1, 1), (1, 1), (0, 0)]), (3, 3))[1:-1, 1:-1]
    counted = cv2.blur(np.pad(np.ones((height, width)), 1), (3, 3))[1:-1, 1:-1]
    smooth /= counted[..., np.newaxis]
    rows, columns = (
        nearest_by_hand(count, size, scale, first)
        for count, size in zip(low.shape, (height, width), strict=False)
    )
    shifts = list(itertools.product((-1, 0, 1), repeat=2))
    beside = [shift for shift in shifts if shift != (0, 0)]
    for y, x in rng.integers(0, (height, width), size=(40, 2)):
        for number, (dy, dx) in enumerate(shifts):
            row, column = (
                int(np.clip(nearest + step, 0, count - 1))
                for nearest, step, count in zip(
                    (rows[y], columns[x]), (dy, dx), low.shape, strict=False
                )
            )
            at = tuple(int(np.floor(first + scale * i + 0.5)) for i in (row, column))
            color = np.abs(guide[y, x] - smooth[at]).mean()
            np.testing.assert_allclose(hints[y, x, 8 + number], 4 * color, atol=1e-5)
            if (dy, dx) != (0, 0) and 0 < row < low.shape[0] - 1 and 0 < column < low.shape[1] - 1:
                difference = 4 * (low[row, column, 0] - image[y, x, 0])
                found = hints[y, x, beside.index((dy, dx))]
                np.testing.assert_allclose(found, difference, atol=1e-5)
        way = np.clip((np.array([y, x]) - first) / scale - (rows[y], columns[x]), -0.5, 0.5)
        np.testing.assert_allclose(hints[y, x, -3:], [*way, scale / 16], atol=1e-6)


def test_hints_do_not_see_constants_unknown_samples_or_what_lies_outside_of_a_window(rng):
    low, image, guide = (
        tf.constant(rng.uniform(size=size), tf.float32)
        for size in ((4, 5, 1), (32, 40, 1), (32, 40, 3))
    )
    valid = np.ones_like(low)
    valid[1, 2] = 0
    valid = tf.constant(valid)
    hints = planes.compare_neighbors(image, low, valid, guide, 8)
    shifted = planes.compare_neighbors(image + 3, low + 3, valid, guide, 8)
    np.testing.assert_allclose(shifted, hints, atol=1e-5)
    window = (slice(5, 20), slice(7, 40))
    part = planes.compare_neighbors(image, low, valid, guide, 8, window=window)
    np.testing.assert_array_equal(part, hints[window])
    # The unknown sample is the one below right of pixel (4, 12), and its own nearest at (12, 20).
    assert hints[4, 12, 7] == 0
    assert hints[4, 12, 8 + 8] == 4
    assert hints[12, 20, 8 + 4] == 4
