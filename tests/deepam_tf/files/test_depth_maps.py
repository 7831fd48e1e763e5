from __future__ import annotations

import numpy as np
import pytest
import tifffile
from PIL import Image

from deepam_tf.files import depth_maps as depth_io
from deepam_tf.files.pictures import ImageFileError


@pytest.mark.parametrize(
    ("dtype", "suffix"),
    [
        ("uint8", ".png"),
        ("uint16", ".png"),
        ("uint16", ".tiff"),
        ("uint8", ".bmp"),
        ("uint16", ".npy"),
        ("float32", ".tiff"),
        ("float32", ".npy"),
        ("float64", ".npy"),
        ("float64", ".tiff"),
        ("float16", ".tif"),
        ("float16", ".npy"),
        ("int16", ".tiff"),
        ("int32", ".npy"),
        ("int32", ".tiff"),
        ("uint32", ".tiff"),
        ("int64", ".npy"),
        ("float32", ".npz"),
        ("uint8", ".npz"),
    ],
)
def test_round_trip_keeps_every_number(tmp_path, rng, dtype, suffix):
    values = rng.integers(1, 200, (7, 9)).astype(dtype)
    if values.dtype.kind == "f":
        values += 0.25
    path = tmp_path / f"depth{suffix}"
    depth_io.write_depth(path, values, np.dtype(dtype))
    back = depth_io.read_depth(path)
    np.testing.assert_array_equal(back.values, values)
    assert back.dtype == np.dtype(dtype)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_holes_are_read_as_they_stand(tmp_path):
    values = np.array([[1.0, 0, np.nan], [np.inf, -1, 2]])
    np.save(tmp_path / "d.npy", values)
    np.testing.assert_array_equal(depth_io.read_depth(tmp_path / "d.npy").values, values)


def test_what_is_written_has_no_holes(tmp_path):
    depth_io.write_depth(tmp_path / "d.png", np.array([[-3.0, 0.2, 70000.0]]), np.dtype("uint16"))
    np.testing.assert_array_equal(depth_io.read_depth(tmp_path / "d.png").values, [[1, 1, 65535]])
    depth_io.write_depth(
        tmp_path / "d.npy", np.array([[-3.0, 0.2, 9.6]]), np.dtype("uint8"), zero_is_hole=False
    )
    np.testing.assert_array_equal(depth_io.read_depth(tmp_path / "d.npy").values, [[0, 0, 10]])


def test_equal_channels_and_palettes_are_one_channel(tmp_path, rng):
    values = rng.integers(1, 200, (7, 9), dtype=np.uint8)
    Image.fromarray(np.repeat(values[..., np.newaxis], 3, -1)).save(tmp_path / "three.png")
    palette = Image.fromarray(values).convert("P")
    palette.putpalette([x for level in range(256) for x in (level, level, level)])
    palette.save(tmp_path / "palette.png")
    np.save(tmp_path / "three.npy", np.repeat(values[..., np.newaxis], 3, -1).astype(np.int32))
    np.savez(tmp_path / "one.npz", anything=values)
    for name in ("three.png", "palette.png", "three.npy", "one.npz"):
        np.testing.assert_array_equal(depth_io.read_depth(tmp_path / name).values, values)
    assert depth_io.read_depth(tmp_path / "three.npy").dtype == np.int32


def test_the_largest_integers_do_not_turn_over(tmp_path):
    for dtype in ("uint8", "int16", "int32", "uint32", "int64"):
        path = tmp_path / f"{dtype}.npy"
        depth_io.write_depth(path, np.array([[1e30, 5.0]]), np.dtype(dtype))
        high, low = depth_io.read_depth(path).values[0]
        assert low == 5
        assert high >= 0.999 * np.iinfo(dtype).max


def test_what_gdal_calls_no_data_is_none(tmp_path):
    values = np.array([[1.5, -9999, 2.5]], np.float32)
    tifffile.imwrite(
        tmp_path / "a.tif", values, metadata=None, extratags=[(42113, 2, 0, "-9999", True)]
    )
    np.testing.assert_array_equal(
        depth_io.read_depth(tmp_path / "a.tif").values, [[1.5, np.nan, 2.5]]
    )


def test_several_arrays_or_pages_are_refused(tmp_path):
    np.savez(tmp_path / "two.npz", a=np.ones((3, 4)), b=np.ones((3, 4)))
    np.savez(tmp_path / "none.npz")
    tifffile.imwrite(
        tmp_path / "pages.tif", np.ones((3, 16, 17), np.uint16), photometric="minisblack"
    )
    for name, message in {
        "two.npz": r"2 \(a, b\)",
        "none.npz": "0",
        "pages.tif": "3 pages",
    }.items():
        with pytest.raises(ImageFileError, match=rf"{name}: one .* is needed.*{message}"):
            depth_io.read_depth(tmp_path / name)


def test_bad_files_end_in_one_line(tmp_path, rng):
    bad = {
        "missing.png": None,
        "missing.npy": None,
        "empty.npy": b"",
        "noise.npy": rng.bytes(300),
        "noise.tiff": rng.bytes(300),
    }
    for name, content in bad.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(ImageFileError, match=name):
            depth_io.read_depth(tmp_path / name)
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    np.save(tmp_path / "cube.npy", np.zeros((3, 4, 5)))
    Image.new("RGB", (4, 4), (1, 2, 3)).save(tmp_path / "color.png")
    Image.fromarray(np.ones((40, 50), np.float32)).save(tmp_path / "whole.tiff")
    (tmp_path / "cut.tiff").write_bytes((tmp_path / "whole.tiff").read_bytes()[:4000])
    for name, message in {
        "objects.npy": "damaged",
        "cube.npy": "height, width",
        "color.png": "one channel",
        "cut.tiff": "damaged",
    }.items():
        with pytest.raises(ImageFileError, match=message):
            depth_io.read_depth(tmp_path / name)
    for name in ("whole.tiff", "cube.npy"):
        with pytest.raises(ImageFileError, match=r"limit|height, width"):
            depth_io.read_depth(tmp_path / name, max_megapixels=1e-4)


def test_formats_that_lose_numbers_are_refused(tmp_path):
    ones = np.ones((2, 3))
    for name, dtype in (("d.jpg", "uint8"), ("d.bmp", "uint16"), ("d.png", "float32"), ("d", "u1")):
        with pytest.raises(ImageFileError, match="suffix must name"):
            depth_io.write_depth(tmp_path / name, ones, np.dtype(dtype))
    (tmp_path / "there.npy").write_bytes(b"")
    with pytest.raises(ImageFileError, match="exists already"):
        depth_io.write_depth(tmp_path / "there.npy", ones, np.dtype("float32"))
    with pytest.raises(ImageFileError, match="folder"):
        depth_io.write_depth(tmp_path / "no" / "d.npy", ones, np.dtype("float32"))
    assert [p.name for p in tmp_path.iterdir()] == ["there.npy"]
