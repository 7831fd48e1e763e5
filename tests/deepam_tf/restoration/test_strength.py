"""More or less noise removed, of luma and chroma apart."""

from __future__ import annotations

import numpy as np
import pytest

from deepam_tf.restoration.strength import Strength


@pytest.fixture
def image(rng) -> np.ndarray:
    return rng.uniform(size=(6, 7, 3)).astype(np.float32)


def luma(image):
    return image @ np.array([0.299, 0.587, 0.114], np.float32)


def test_zero_leaves_the_picture_and_nothing_runs(image):
    def never(factor):
        raise AssertionError(factor)

    strength = Strength(luma=0.0, chroma=0.0)
    assert strength.count_runs(image) == 0
    assert strength.apply(image, never) is image


def test_one_level_is_one_run(image):
    asked = []
    strength = Strength(luma=1.5, chroma=1.5)
    result = strength.apply(image, lambda factor: asked.append(factor) or image * 0.5)
    assert asked == [1.5]
    assert strength.scales
    assert not Strength().scales
    np.testing.assert_array_equal(result, image * 0.5)


@pytest.mark.parametrize("chroma", [0.0, 2.0])
def test_luma_and_chroma_come_from_their_own_runs(image, rng, chroma):
    runs = {1.0: rng.uniform(size=image.shape), 2.0: rng.uniform(size=image.shape), 0.0: image}
    strength = Strength(luma=1.0, chroma=chroma)
    assert strength.count_runs(image) == (1 if chroma == 0 else 2)
    result = strength.apply(image, lambda factor: runs[factor].astype(np.float32))
    np.testing.assert_allclose(luma(result), luma(runs[1.0]), atol=1e-5)
    # The differences of colour are those of the other.
    for channel in (0, 2):
        np.testing.assert_allclose(
            result[..., channel] - luma(result),
            runs[chroma][..., channel] - luma(runs[chroma]),
            atol=1e-5,
        )


def test_gray_has_no_chroma(image):
    gray = image[..., :1]
    strength = Strength(luma=1.0, chroma=2.0)
    assert strength.count_runs(gray) == 1
    np.testing.assert_array_equal(strength.apply(gray, lambda factor: gray * factor), gray)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_grain_is_mixed_back(image, share):
    result = Strength(keep_grain=share).apply(image, lambda factor: image * 0.5)
    np.testing.assert_allclose(result, image * (0.5 + 0.5 * share), rtol=1e-6)


@pytest.mark.parametrize("values", [{"luma": 2.1}, {"chroma": -0.1}, {"keep_grain": np.nan}])
def test_values_out_of_range_are_refused(values):
    with pytest.raises(ValueError, match=r"must be from 0 to.*Received"):
        Strength(**values)
