"""Windows of a picture: one size, whole blocks, every pixel kept once and seen around."""

from __future__ import annotations

import numpy as np
import pytest

import deepam_tf
from deepam_tf.restoration.windows import cut_axis, cut_picture


@pytest.mark.parametrize("length", [1, 2, 7, 64, 100, 129, 640, 1023])
@pytest.mark.parametrize(("tile", "overlap"), [(1, 0), (8, 3), (64, 0), (64, 24), (500, 61)])
@pytest.mark.parametrize("block", [1, 2, 3])
def test_every_pixel_is_kept_once_and_seen_around(length, tile, overlap, block):
    spans = cut_axis(length, tile, overlap, block)
    kept = [i for span in spans for i in range(span.keep_start, span.keep_stop)]
    assert kept == list(range(length))
    for span in spans:
        assert 0 <= span.start <= span.keep_start < span.keep_stop <= span.stop <= length
        assert span.start % block == 0
        # As far as promised, or to the border.
        assert span.start == 0 or span.keep_start - span.start >= overlap
        assert span.stop == length or span.stop - span.keep_stop >= overlap
    assert len({span.stop - span.start for span in spans}) == 1
    # The last part of a block is the picture's own, or the windows' blocks would be others.
    assert {(span.stop - length) % block for span in spans} == {0}
    longest = tile + 2 * overlap + 5 * block
    assert spans[0].stop <= max(longest, tile + 2 * overlap)


def test_a_picture_that_fits_is_one_window():
    (window,) = cut_picture(640, 640, tile=512, overlap=64)
    assert window.read == window.kept == window.inside == (slice(0, 640), slice(0, 640))


def test_windows_put_together_are_the_picture(rng):
    picture = rng.normal(size=(97, 131))
    together = np.zeros_like(picture)
    for window in cut_picture(*picture.shape, tile=40, overlap=7, block=2):
        together[window.kept] += picture[window.read][window.inside]
    np.testing.assert_array_equal(together, picture)


@pytest.mark.parametrize(
    ("channels", "block"),
    [(1, 2), (3, 2), (1, 1)],
    ids=["denoise_gray", "denoise_color", "denoise_gray_s25"],
)
def test_little_of_a_large_picture_is_computed_twice(channels, block):
    """12 megapixels, half a gibibyte of feature maps."""
    model = deepam_tf.DeepAM(1, image_channels=channels, pixel_unshuffle=block)
    windows = deepam_tf.Restorer(model).windows(3000, 4000)
    assert sum(np.prod(window.shape) for window in windows) / 12e6 <= 1.15
