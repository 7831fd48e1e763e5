from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image

from deepam_tf.files import stddev_maps
from deepam_tf.files.atomic import WriteError
from deepam_tf.files.pictures import ImageFileError


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("suffix", stddev_maps.SUFFIXES)
@pytest.mark.parametrize("size", [1e-6, 0.02, 3.0, 4e5])
def test_deviations_of_any_size_come_back(tmp_path, rng, suffix, channels, size):
    stddev = (size * 10 ** rng.uniform(-2, 0, (9, 7, channels))).astype(np.float32)
    path = tmp_path / f"std{suffix}"
    preview = stddev_maps.write_stddev(path, stddev, "metres")
    found = stddev_maps.read_stddev(path)
    expected = stddev[..., 0] if channels == 1 else stddev
    assert found.shape == expected.shape
    # A step of 16 bits is at most a 32768th of the largest.
    tolerance = 0 if suffix != ".png" else stddev.max() / 65534
    np.testing.assert_allclose(found, expected, atol=tolerance)
    assert (found > 0).all()
    with Image.open(preview) as image:
        assert image.mode == "RGB"
        assert image.size == (7, 9)


def test_a_png_says_its_unit_to_other_programs(tmp_path):
    stddev = np.array([[0.5, 0.25, 1e-9]], np.float32)
    stddev_maps.write_stddev(tmp_path / "std.png", stddev, "metres")
    with Image.open(tmp_path / "std.png") as image:
        assert image.text["deepam:unit"] == "metres"
        step = float(image.text["deepam:step"])
    values = cv2.imread(str(tmp_path / "std.png"), cv2.IMREAD_UNCHANGED)
    assert values.dtype == np.uint16
    np.testing.assert_allclose(values[0, :2] * step, [0.5, 0.25])
    assert values[0, 2] == 1  # nothing is certain


def test_the_preview_is_brighter_where_it_is_less_sure(tmp_path):
    stddev = np.tile(np.linspace(0.01, 1, 50, dtype=np.float32), (5, 1))
    preview = stddev_maps.write_stddev(tmp_path / "std.npy", stddev, "white")
    brightness = cv2.imread(str(preview)).sum(axis=-1)[0].astype(int)
    assert brightness[-2] > 3 * brightness[2]


def test_refusals_leave_nothing(tmp_path):
    stddev = np.ones([2, 2], np.float32)
    with pytest.raises(ImageFileError, match=r"\.npy, \.png"):
        stddev_maps.write_stddev(tmp_path / "std.jpg", stddev, "white")
    stddev_maps.preview_path(tmp_path / "std.npy").write_bytes(b"somebody's")
    with pytest.raises(WriteError, match="exists"):
        stddev_maps.write_stddev(tmp_path / "std.npy", stddev, "white")
    assert not (tmp_path / "std.npy").exists()
    cv2.imwrite(str(tmp_path / "other.png"), np.ones([3, 3], np.uint16))
    with pytest.raises(ImageFileError, match="step"):
        stddev_maps.read_stddev(tmp_path / "other.png")
    with pytest.raises(ImageFileError, match="cannot be read"):
        stddev_maps.read_stddev(tmp_path / "none.npy")
