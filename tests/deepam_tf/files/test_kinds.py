"""Every kind of file is read as it is, written in its own kind, and found again."""

from __future__ import annotations

import numpy as np
import pytest

from deepam_tf.files import pictures as image_io
from tests.deepam_tf.files import kinds

ALL = {kind.name: kind for kind in kinds.kinds()}


def read_all(path, **options):
    with image_io.open_pictures(path, **options) as pictures:
        return list(pictures)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("white_level", [None, "auto"])
def test_pictures_are_read_as_their_files_say(tmp_path, name, white_level):
    kind, path = ALL[name], tmp_path / name
    kind.write(path)
    pictures = read_all(path, white_level=white_level)
    assert len(pictures) == len(kind.values)
    for picture, expected in zip(pictures, kind.values, strict=True):
        assert picture.dtype == expected.dtype.newbyteorder("=")
        assert picture.pixels.dtype == np.float32
        assert picture.pixels.min() >= 0
        assert picture.pixels.max() <= 1.0001
        numbers = picture.numbers()
        assert numbers.shape == expected.shape
        limit = kind.near
        if not limit and expected.dtype.itemsize > 2:
            limit = 2e-7 * np.abs(expected.astype(float)).max()
        difference = np.abs(numbers.astype(float) - expected.astype(float))
        visible = np.ones(expected.shape[:2], bool) if picture.visible is None else picture.visible
        assert difference[visible].max() <= limit
        if kind.alpha is None:
            assert picture.alpha is None
        else:
            np.testing.assert_array_equal(picture.alpha, kind.alpha)


@pytest.mark.parametrize("name", [name for name in ALL if not name.endswith(".heic")])
def test_pictures_come_back_from_files_of_their_own_kind(tmp_path, name):
    kind, path, out = ALL[name], tmp_path / name, tmp_path / f"out_{name}"
    kind.write(path)
    before = read_all(path, white_level="auto")
    image_io.write_all(out, before, count=len(before))
    after = read_all(out, white_level="auto")
    assert len(after) == len(before)
    lossy = kind.near > 0 and not name.startswith("associated")
    for first, second in zip(before, after, strict=True):
        assert first.dtype == second.dtype
        assert first.levels == pytest.approx(second.levels, rel=1e-6)
        assert first.duration == second.duration
        a, b = (picture.numbers().astype(float) for picture in (first, second))
        limit = kind.near if lossy else 2e-7 * np.abs(a).max() if a.max() > 65535 else 0
        if name.startswith("associated") and kind.values.dtype.kind == "f":
            limit = 1e-6
        assert np.abs(a - b).max() <= max(limit, 1e-7)
        if first.alpha is not None:
            np.testing.assert_array_equal(first.alpha, second.alpha)
    assert before[0].encoding.loop == after[0].encoding.loop
    if name.endswith(".tif"):
        kept = ("compression", "predictor", "tile", "planar", "white_is_zero", "associated", "big",
                "byteorder")  # fmt: skip
        for fact in kept:
            assert getattr(before[0].encoding, fact) == getattr(after[0].encoding, fact), fact
