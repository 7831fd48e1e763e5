"""Integers go to [0, 1] and come back."""

from __future__ import annotations

import numpy as np
import pytest

from deepam_tf.files.levels import Levels, from_unit, to_unit


@pytest.mark.parametrize(
    ("dtype", "white"),
    [("u1", None), ("u2", None), ("u2", 1023), ("u2", 4095), ("u2", 16383), (">u2", None)],
)
def test_every_level_comes_back(dtype, white):
    levels = np.arange((white or np.iinfo(dtype).max) + 1).astype(dtype)
    unit = to_unit(levels, white)
    assert unit.dtype == np.float32
    assert unit[0] == 0.0
    assert unit[-1] == 1.0
    np.testing.assert_array_equal(from_unit(unit, dtype, white), levels)


def test_long_integers_keep_what_float32_holds():
    values = np.array([0, 1, 2**31, 2**32 - 1], np.uint32)
    unit = to_unit(values)
    np.testing.assert_allclose(unit, values / (2**32 - 1), rtol=1e-7)
    back = from_unit(unit, np.uint32)
    assert back[0] == 0
    assert back[-1] == 2**32 - 1
    np.testing.assert_allclose(back.astype(float), values.astype(float), rtol=1e-7)


def test_what_lies_outside_is_clipped():
    values = from_unit(np.array([-1e9, -1e-3, 1.001, np.inf]), np.uint16, 4095)
    np.testing.assert_array_equal(values, [0, 0, 4095, 4095])


def test_floats_and_signed_integers_have_no_white():
    for dtype in (np.float32, np.int16, bool):
        with pytest.raises(TypeError, match="unsigned"):
            to_unit(np.zeros(3, dtype))
        with pytest.raises(TypeError, match="unsigned"):
            from_unit(np.zeros(3), dtype)


@pytest.mark.parametrize(("dtype", "white"), [("u1", None), ("u2", None), ("u2", 4095)])
def test_levels_are_read_and_written_as_their_floats(rng, dtype, white):
    numbers = rng.integers(0, (white or np.iinfo(dtype).max) + 1, [9, 7, 3]).astype(dtype)
    levels, floats = Levels(numbers.copy(), white), to_unit(numbers, white)
    assert (levels.shape, levels.ndim, levels.dtype, len(levels)) == (
        floats.shape,
        floats.ndim,
        floats.dtype,
        len(floats),
    )
    np.testing.assert_array_equal(np.asarray(levels), floats)
    np.testing.assert_array_equal(levels[2:5, ::-1], floats[2:5, ::-1])
    levels[1:3] = floats[4:6] + 0.3 / (white or np.iinfo(dtype).max)  # less than half a level
    np.testing.assert_array_equal(levels.numbers[1:3], numbers[4:6])
    np.testing.assert_array_equal(levels.of(np.fliplr)[:], np.fliplr(levels))


def test_floats_are_no_levels():
    with pytest.raises(TypeError, match=r"unsigned integers. Received: dtype=float32"):
        Levels(np.zeros([2, 2, 1], np.float32))
