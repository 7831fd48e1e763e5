"""What is hidden has no influence on what is seen."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import deepam_tf
from deepam_tf.files.picture import from_numbers
from deepam_tf.restoration.hidden import fill_hidden


def sprite(rng, garbage: int, dtype: str = "uint8") -> deepam_tf.image_io.Picture:
    """A noisy disk on nothing, whatever nothing holds."""
    y, x = np.mgrid[:96, :80] - 40
    inside = y**2 + x**2 < 30**2
    top = np.iinfo(dtype).max
    values = np.clip(0.6 + 0.06 * rng.standard_normal((96, 80, 3)), 0, 1) * top
    values[~inside] = garbage
    return from_numbers(values.astype(dtype), (inside * top).astype(dtype))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_hidden_colours_do_not_leak(dtype):
    results = [
        deepam_tf.restore_picture(
            sprite(np.random.default_rng(0), garbage, dtype), noise=15 / 255
        ).picture
        for garbage in (0, 128, np.iinfo(dtype).max)
    ]
    visible = results[0].visible
    for garbage, result in zip((0, 128, np.iinfo(dtype).max), results, strict=True):
        np.testing.assert_allclose(
            result.pixels[visible], results[0].pixels[visible], atol=0.5 / 255
        )
        # Nothing is lost either.
        assert np.all(result.numbers()[~visible] == garbage)
    # The rim is as bright as the middle.
    y, x = np.mgrid[:96, :80] - 40
    rim = visible & (y**2 + x**2 > 28**2)
    assert abs(results[0].pixels[rim].mean() - 0.6) < 3 / 255


@pytest.mark.slow
def test_unmeasured_pixels_do_not_leak():
    rng = np.random.default_rng(0)
    values = (0.6 + 0.05 * rng.standard_normal((70, 70, 1))).astype(np.float32)
    holes = values.copy()
    holes[20:40, 30:60] = np.nan
    whole, other = (
        deepam_tf.restore_picture(from_numbers(x, None), noise=0.05).picture
        for x in (values, holes)
    )
    assert np.isnan(other.numbers()[20:40, 30:60]).all()
    far = np.ones((70, 70), bool)
    far[15:45, 25:65] = False
    assert np.abs(whole.numbers() - other.numbers())[far].max() < 0.02


@pytest.mark.slow
def test_large_hidden_areas_are_filled_piece_by_piece():
    ramp = np.linspace(0.2, 0.8, 400, dtype=np.float32)
    pixels = np.tile(ramp, (120, 1))[..., np.newaxis]
    alpha = np.full((120, 400), 255, np.uint8)
    alpha[30:90, 50:350] = 0
    picture = deepam_tf.image_io.Picture(
        np.where(alpha[..., np.newaxis] > 0, pixels, 9.0), alpha, np.dtype("uint8")
    )
    filled = fill_hidden(picture).pixels
    np.testing.assert_array_equal(filled[alpha > 0], pixels[alpha > 0])
    rim = (alpha == 0) & ((np.arange(120) < 33) | (np.arange(120) >= 87))[:, np.newaxis]
    assert np.abs(filled - pixels)[rim].max() < 0.08
    nothing = dataclasses.replace(picture, alpha=np.zeros_like(alpha))
    assert fill_hidden(nothing) is nothing
