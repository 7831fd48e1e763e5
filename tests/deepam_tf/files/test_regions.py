"""Pictures in parts: whatever way a file stores them, the parts are those of the whole."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from PIL import Image

from deepam_tf.files import pictures, regions
from deepam_tf.files.picture import Encoding, ImageFileError, Metadata, UnsupportedImageError

PARTS = [(0, 300, 0, 70), (0, 1, 0, 1), (299, 300, 69, 70), (10, 131, 3, 68), (128, 256, 16, 32)]


@pytest.fixture
def values(rng):
    """Numbers of a picture, `[300, 70, 3]`, uint16."""
    return rng.integers(0, 65536, (300, 70, 3), dtype=np.uint16)


def check(path, expected):
    with regions.open_regions(path) as found:
        assert found.shape == expected.shape
        assert found.dtype == expected.dtype
        for top, bottom, left, right in PARTS:
            part = found.read(slice(top, bottom), slice(left, right))
            np.testing.assert_array_equal(part, expected[top:bottom, left:right])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"rowsperstrip": 1},
        {"rowsperstrip": 7},
        {"tile": (32, 48)},
        {"tile": (128, 16), "compression": "zlib", "predictor": True},
        {"rowsperstrip": 50, "compression": "zlib"},
        {"tile": (16, 16), "planarconfig": "separate"},
        {"rowsperstrip": 9, "planarconfig": "separate", "compression": "zlib"},
        {"bigtiff": True, "tile": (64, 64)},
        {"byteorder": ">", "tile": (64, 64)},
        {"byteorder": ">"},
        {"tile": (32, 32), "compression": "lzw"},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["gray8", "gray16", "rgb16", "white"])
def test_tiff(tmp_path, values, options, kind):
    path, options = tmp_path / "a.tif", dict(options)
    opened = {name: options.pop(name) for name in ("bigtiff", "byteorder") if name in options}
    if kind == "rgb16":
        stored = expected = values
        photometric = "rgb"
        if options.get("planarconfig") == "separate":
            stored = np.moveaxis(values, -1, 0)
    else:
        options.pop("planarconfig", None)
        stored = values[..., 0] if kind == "gray16" else (values[..., 0] >> 8).astype(np.uint8)
        photometric = "miniswhite" if kind == "white" else "minisblack"
        expected = (255 - stored if kind == "white" else stored)[..., np.newaxis]
    with tifffile.TiffWriter(path, **opened) as writer:
        writer.write(stored, photometric=photometric, metadata=None, **options)
    check(path, expected)
    np.testing.assert_array_equal(pictures.read_numbers(path)[0], expected)


def test_zarr(tmp_path, values):
    zarr = pytest.importorskip("zarr")
    for name, stored in (("rgb", values), ("gray", values[..., 0]), ("one", values[..., :1])):
        path = tmp_path / f"{name}.zarr"
        array = zarr.create_array(str(path), shape=stored.shape, chunks=(64, 32, 2)[: stored.ndim],
                                  dtype=stored.dtype)  # fmt: skip
        array[...] = stored
        check(path, stored.reshape(300, 70, -1))
    zarr.create_array(str(tmp_path / "floats.zarr"), shape=(9, 9), dtype="f4")
    (tmp_path / "empty.zarr").mkdir()
    for name in ("floats", "empty"):
        with pytest.raises(ImageFileError, match=name):
            with regions.open_regions(tmp_path / f"{name}.zarr"):
                pass


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_what_is_decoded_as_a_whole(tmp_path, values, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray((values >> 8).astype(np.uint8)).save(path)
    check(path, pictures.read_numbers(path)[0])
    with pytest.raises(ImageFileError, match="limit"):
        with regions.open_regions(path, max_megapixels=0.001):
            pass


def test_what_is_not_read_in_parts_is_called_by_its_name(tmp_path, values):
    gray = values[..., 0]
    kinds = {
        "floats": (gray.astype(np.float32), {}, "unsigned integers"),
        "alpha": (values[..., :2], {"extrasamples": ["unassalpha"]}, "transparency"),
        "turned": (gray, {"extratags": [(274, 3, 1, 6, True)]}, "turns"),
        "pages": (np.stack([gray, gray]), {}, "2 pages"),
        "unknown": (gray, {"extratags": [(42113, 2, 2, "0", True)]}, "without a value"),
    }
    for name, (stored, options, message) in kinds.items():
        path = tmp_path / f"{name}.tif"
        tifffile.imwrite(path, stored, photometric="minisblack", metadata=None, **options)
        with pytest.raises(ImageFileError, match=message) as error:
            with regions.open_regions(path):
                pass
        assert str(error.value).startswith(str(path))
    with regions.open_regions(tmp_path / "pages.tif", first_frame=True) as found:
        assert found.shape == (300, 70, 1)


def test_strips_that_are_too_large_are_told(tmp_path, values, monkeypatch):
    from deepam_tf.files import tiff_regions

    monkeypatch.setattr(tiff_regions, "_MOST_KEPT", 10_000)
    tifffile.imwrite(tmp_path / "a.tif", values, compression="zlib", rowsperstrip=300)
    with pytest.raises(UnsupportedImageError, match="in tiles"):
        with regions.open_regions(tmp_path / "a.tif"):
            pass
    tifffile.imwrite(tmp_path / "b.tif", values, rowsperstrip=300)  # needs no decoder
    check(tmp_path / "b.tif", values)
    tifffile.imwrite(tmp_path / "c.tif", values, compression="zlib", rowsperstrip=20)
    check(tmp_path / "c.tif", values)  # of which fewer are kept than are needed at a time


@pytest.mark.parametrize("cut", [0.3, 0.9])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_cut_off_file_is_an_error_not_zeros(tmp_path, values, cut, compression):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, values, tile=(64, 64), compression=compression)
    data = path.read_bytes()
    path.write_bytes(data[: int(cut * len(data))])
    with pytest.raises(ImageFileError, match="damaged or truncated"):
        with regions.open_regions(path) as found:
            found.read(slice(0, 300), slice(0, 70))


def test_damage_in_one_tile_is_an_error_of_the_file(tmp_path, values):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, values, tile=(64, 64), compression="zlib")
    with tifffile.TiffFile(path) as file:
        offset = file.pages.first.dataoffsets[3]
    data = bytearray(path.read_bytes())
    data[offset : offset + 40] = bytes(40)
    path.write_bytes(bytes(data))
    with regions.open_regions(path) as found:
        found.read(slice(0, 64), slice(0, 64))
        with pytest.raises(ImageFileError, match="damaged"):
            found.read(slice(0, 300), slice(0, 70))


def draft_of(target, values, settings=None, parts=3):
    draft = regions.Draft(target, settings or {}, values.shape, values.dtype, parts)
    for number, rows in enumerate((slice(0, 100), slice(100, 101), slice(101, 300))[:parts]):
        if number not in draft:
            draft.write(number, rows, slice(0, 70), values[rows])
    return draft


@pytest.mark.parametrize("suffix", [".tif", ".tiff", ".zarr"])
@pytest.mark.parametrize("kind", ["gray8", "rgb16"])
def test_what_is_written_in_bands_is_read_again(tmp_path, values, suffix, kind):
    if suffix == ".zarr":
        pytest.importorskip("zarr")
    values = values if kind == "rgb16" else (values[..., :1] >> 8).astype(np.uint8)
    path = tmp_path / f"a{suffix}"
    for number, encoding in enumerate(
        [
            Encoding(),
            Encoding("TIFF", compression=8, predictor=2, tile=(32, 64)),
            Encoding("TIFF", white_is_zero=kind == "gray8", byteorder=">", big=True),
        ]
    ):
        path = tmp_path / f"{number}{suffix}"
        draft = draft_of(path, values)
        regions.write_regions(path, draft, encoding=encoding, metadata=Metadata())
        draft.remove()
        check(path, values)
        if suffix != ".zarr":
            np.testing.assert_array_equal(pictures.read_numbers(path)[0], values)
    assert not list(tmp_path.glob("*.partial"))


def test_a_draft_is_gone_on_with(tmp_path, values):
    target = tmp_path / "a.tif"
    draft = draft_of(target, values, parts=2)
    with pytest.raises(ImageFileError, match="another run"):
        draft_of(target, values)
    draft.close()
    draft = regions.Draft(target, {}, values.shape, values.dtype, 2)
    assert draft.resumed == 2
    np.testing.assert_array_equal(draft.read(slice(0, 101)), values[:101])
    draft.close()
    with pytest.raises(ImageFileError, match="other options"):
        regions.Draft(target, {"sigma": 5}, values.shape, values.dtype, 2)


def test_places_that_cannot_be_written_to_are_told_before(tmp_path):
    (tmp_path / "there.tif").write_bytes(b"")
    for name, message in (("a.png", ".zarr"), ("there.tif", "exists"), ("no/a.tif", "folder")):
        with pytest.raises(ImageFileError, match=message):
            regions.check_writable_regions(tmp_path / name)
