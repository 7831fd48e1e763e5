from __future__ import annotations

import numpy as np
import pytest

from deepam_tf.depth.holes import find_measured, find_strays, value_range


def ramp(rows: int = 48, columns: int = 64) -> np.ndarray:
    y, x = np.mgrid[:rows, :columns]
    return 800.0 + 10 * y + 5 * x


@pytest.mark.parametrize("marker", [np.nan, np.inf, -np.inf, 0.0, -1.0, -9999.0, 3e38])
def test_markers_of_floats_are_holes(marker):
    depth = ramp().astype(np.float32)
    depth[3:9, 5:20] = marker
    measured, _ = find_measured(depth)
    np.testing.assert_array_equal(measured, ramp() == depth)


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.int32, np.int64])
def test_the_largest_number_of_an_integer_is_a_hole_unless_others_are_near(dtype):
    largest = np.iinfo(dtype).max
    depth = ramp().astype(dtype)
    depth[3:9, 5:20] = largest
    measured, notes = find_measured(depth)
    np.testing.assert_array_equal(measured, depth != largest)
    assert str(largest) in notes[0]
    depth[0, 0] = largest - largest // 200
    measured, notes = find_measured(depth)
    assert measured.all()
    assert notes == []


def test_a_saturated_map_of_eight_bits_is_data():
    depth = np.full((4, 5), 255, np.uint8)
    depth[0] = 100
    assert find_measured(depth)[0].all()


def test_heights_below_zero_are_data_and_so_is_zero_beside_them():
    heights = ramp() - 1000
    heights[2, 3] = 0
    measured, notes = find_measured(heights)
    assert measured.all()
    assert len(notes) == 1


def test_told_holes_take_the_place_of_the_rules():
    depth = ramp()
    depth[0, :3] = [0, -1, 7]
    depth[1, 0] = np.nan
    measured, _ = find_measured(depth, [7])
    assert np.argwhere(~measured).tolist() == [[0, 2], [1, 0]]


@pytest.mark.parametrize("wild", [9000.0, -5000.0, 65535.0, 1e9])
@pytest.mark.parametrize("place", [(0, 0), (20, 30), (47, 63)])
def test_one_wild_sample_among_three_thousand_is_a_stray_and_sets_no_unit(wild, place):
    depth = ramp()
    depth[place] = wild
    measured = np.ones(depth.shape, bool)
    assert np.argwhere(find_strays(depth, measured)).tolist() == [list(place)]
    others = np.delete(ramp().ravel(), np.ravel_multi_index(place, depth.shape))
    low, high = value_range(depth, measured)
    assert abs(low - others.min()) <= 10
    assert abs(high - others.max()) <= 10


def test_what_may_be_a_thing_stays():
    """A pole hit by one sample, inside the range; a near box of four samples; noise."""
    depth = ramp()
    depth[10, 10] = 1300
    depth[30:32, 40:42] = 200
    measured = np.ones(depth.shape, bool)
    assert not find_strays(depth, measured).any()
    assert value_range(depth, measured)[0] == 200
    noise = np.random.default_rng(0).uniform(0, 1, (12, 16))
    assert not find_strays(noise, noise > -1).any()


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (2, 2), (1, 50)])
def test_maps_of_a_few_samples_have_a_range(shape):
    depth = np.arange(np.prod(shape), dtype=float).reshape(shape)
    measured = np.ones(shape, bool)
    assert not find_strays(depth, measured).any()
    low, high = value_range(depth, measured)
    assert (low, high) == (0, max(depth.max(), 1.0))


def test_values_in_holes_do_not_matter():
    depth, measured = ramp(), np.ones((48, 64), bool)
    measured[5:9, 5:30] = False
    results = []
    for junk in (0.0, 1e9):
        depth[~measured] = junk
        results.append((value_range(depth, measured), find_strays(depth, measured).sum()))
    assert results[0] == results[1]


def test_units_do_not_matter():
    depth, measured = ramp(), np.ones((48, 64), bool)
    depth[7, 8] = 1e5
    low, high = value_range(depth, measured)
    assert value_range(depth * 1e-3 - 4, measured) == pytest.approx(
        (low * 1e-3 - 4, high * 1e-3 - 4)
    )
