from __future__ import annotations

import os
import stat

import cv2
import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from deepam_tf.files import pictures as image_io


def picture(rng, channels, dtype, alpha=False, shape=(11, 13)):
    peak = np.iinfo(dtype).max
    pixels = rng.integers(0, peak, (*shape, channels), endpoint=True) / peak
    mask = rng.integers(0, peak, shape, endpoint=True).astype(dtype) if alpha else None
    return image_io.Picture(pixels.astype(np.float32), mask, np.dtype(dtype))


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".tif"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize(("channels", "alpha"), [(1, False), (1, True), (3, False), (3, True)])
def test_lossless_round_trip(tmp_path, rng, suffix, dtype, channels, alpha):
    original = picture(rng, channels, dtype, alpha)
    image_io.write(tmp_path / f"a{suffix}", original)
    back = image_io.read(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(back.pixels, original.pixels)
    assert back.dtype == original.dtype
    if alpha:
        np.testing.assert_array_equal(back.alpha, original.alpha)
    else:
        assert back.alpha is None


def test_colors_are_red_green_blue(tmp_path):
    Image.new("RGB", (3, 2), (255, 128, 0)).save(tmp_path / "orange.png")
    np.testing.assert_allclose(
        image_io.read(tmp_path / "orange.png").pixels[0, 0], [1.0, 128 / 255, 0.0]
    )


def test_gray_with_alpha_stays_gray(tmp_path):
    Image.new("LA", (3, 2), (100, 50)).save(tmp_path / "a.png")
    back = image_io.read(tmp_path / "a.png")
    assert back.pixels.shape == (2, 3, 1)
    assert np.all(back.alpha == 50)
    image_io.write(tmp_path / "b.png", back)
    with Image.open(tmp_path / "b.png") as image:
        assert image.convert("LA").getpixel((0, 0)) == (100, 50)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tiff"])
@pytest.mark.parametrize("channels", [1, 3])
def test_exif_orientation_is_applied(tmp_path, orientation, suffix, channels):
    # Flat blocks survive JPEG.
    stored = np.kron([[10, 90, 90], [170, 250, 250]], np.ones((16, 16))).astype(np.uint8)
    stored = np.stack([stored, stored // 2, 255 - stored], -1)[..., :channels].squeeze()
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a{suffix}"
    Image.fromarray(stored).save(path, exif=exif)
    turn = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: np.fliplr(np.rot90(a, -1)),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: np.fliplr(np.rot90(a, 1)),
        8: lambda a: np.rot90(a, 1),
    }
    expected = turn[orientation](stored).astype(np.float32) / 255
    assert image_io.read(path).pixels.squeeze().shape == expected.shape
    blocks = [x[8::16, 8::16] for x in (image_io.read(path).pixels.squeeze(), expected)]
    np.testing.assert_allclose(*blocks, atol=0.02)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tiff", ".webp", ".bmp"])
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.95])
def test_truncated_files_are_refused(tmp_path, rng, suffix, kept):
    smooth = cv2.GaussianBlur(rng.uniform(size=(200, 300, 3)) * 255, (0, 0), 3)
    data = cv2.imencode(suffix, smooth.astype(np.uint8))[1].tobytes()
    path = tmp_path / f"a{suffix}"
    path.write_bytes(data[: int(kept * len(data))])
    with pytest.raises(image_io.ImageFileError, match=str(path)):
        image_io.read(path)


def test_unreadable_files_are_refused_in_one_line(tmp_path):
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "random.jpg").write_bytes(np.random.default_rng(0).bytes(1000))
    for name, message in (
        ("missing.png", "no such file"),
        ("empty.png", "empty"),
        ("text.png", "not an image"),
        ("random.jpg", "not an image"),
    ):
        with pytest.raises(image_io.ImageFileError, match=message) as error:
            image_io.read(tmp_path / name)
        assert "\n" not in str(error.value)


@pytest.mark.slow
def test_large_images_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    path = tmp_path / "large.png"
    Image.new("1", (20000, 15000)).save(path)
    with monkeypatch.context() as patch:
        patch.setattr(PngImagePlugin.PngImageFile, "load", lambda *_: pytest.fail("decoded"))
        with pytest.raises(image_io.ImageFileError, match="300 megapixels, the limit is 200"):
            image_io.read(path)
    Image.new("1", (2000, 1500)).save(path)
    assert image_io.read(path, max_megapixels=3.0).pixels.shape == (1500, 2000, 1)
    with pytest.raises(image_io.ImageFileError, match=r"limit is 2\.9"):
        image_io.read(path, max_megapixels=2.9)


def test_colours_of_transparent_tiff_files_are_not_multiplied_by_alpha(tmp_path, rng):
    rgba = rng.integers(0, 256, (5, 6, 4), dtype=np.uint8)
    Image.fromarray(rgba).save(tmp_path / "a.tiff")
    back = image_io.read(tmp_path / "a.tiff")
    np.testing.assert_allclose(255 * back.pixels, rgba[..., :3], atol=1e-3)
    np.testing.assert_array_equal(back.alpha, rgba[..., 3])


def test_big_endian_16_bit_gray(tmp_path, rng):
    values = rng.integers(0, 65536, (5, 6), dtype=np.uint16)
    Image.frombytes("I;16B", (6, 5), values.astype(">u2").tobytes()).save(tmp_path / "a.tiff")
    back = image_io.read(tmp_path / "a.tiff")
    np.testing.assert_allclose(65535 * back.pixels[..., 0], values, atol=0.01)


def test_16_bit_gray_png_with_alpha_keeps_both(tmp_path, rng):
    original = picture(rng, 1, "uint16", alpha=True)
    image_io.write(tmp_path / "a.png", original)
    back = image_io.read(tmp_path / "a.png")
    np.testing.assert_array_equal(back.pixels, original.pixels)
    np.testing.assert_array_equal(back.alpha, original.alpha)


def test_palette_with_a_transparent_colour(tmp_path):
    palette = Image.new("RGB", (3, 2), (10, 20, 30)).convert("P", palette=Image.Palette.ADAPTIVE)
    palette.save(tmp_path / "a.png", transparency=palette.getpixel((0, 0)))
    assert np.all(image_io.read(tmp_path / "a.png").alpha == 0)


def test_a_file_that_pillow_chokes_on_is_named(tmp_path):
    # Text that decompresses to more than Pillow takes, in an otherwise valid file.
    text = PngImagePlugin.PngInfo()
    text.add_text("comment", "x" * 3_000_000, zip=True)
    Image.new("L", (4, 4)).save(tmp_path / "a.png", pnginfo=text)
    with pytest.raises(image_io.ImageFileError, match=r"a\.png"):
        image_io.read(tmp_path / "a.png")


def test_impossible_names_and_folders_are_errors_of_one_kind(tmp_path, rng):
    with pytest.raises(image_io.ImageFileError, match="cannot be read"):
        image_io.read(tmp_path / ("x" * 300))
    with pytest.raises(image_io.ImageFileError, match="cannot be read"):
        image_io.read(tmp_path)
    with pytest.raises(image_io.ImageFileError):
        image_io.write(tmp_path / ("x" * 300 + ".png"), picture(rng, 1, "uint8"))


def test_nothing_is_overwritten_unasked(tmp_path, rng):
    path = tmp_path / "a.png"
    path.write_text("precious")
    with pytest.raises(image_io.ImageFileError, match="exists already"):
        image_io.write(path, picture(rng, 1, "uint8"))
    assert path.read_text() == "precious"
    image_io.write(path, picture(rng, 1, "uint8"), overwrite=True)
    assert image_io.read(path).pixels.shape == (11, 13, 1)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a.jpg", {"dtype": "uint16"}, "16 bits"),
        ("a.jpg", {"dtype": "uint8", "alpha": True}, "transparency"),
        ("a.bmp", {"dtype": "uint16"}, "16 bits"),
        ("a.webp", {"dtype": "uint8", "shape": (1, 16384)}, "at most 16383"),
        ("a.xyz", {"dtype": "uint8"}, "suffix"),
        ("missing/a.png", {"dtype": "uint8"}, "folder"),
    ],
)
def test_formats_and_folders_that_cannot_take_it_are_refused(tmp_path, rng, name, options, message):
    with pytest.raises(image_io.ImageFileError, match=message):
        image_io.write(tmp_path / name, picture(rng, 3, **options))
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_nothing_behind(tmp_path, rng, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(image_io.ImageFileError, match="No space left"):
        image_io.write(tmp_path / "a.png", picture(rng, 1, "uint8"))
    assert not list(tmp_path.iterdir())


def test_written_files_have_ordinary_permissions(tmp_path, rng):
    (tmp_path / "plain").write_text("")
    image_io.write(tmp_path / "a.png", picture(rng, 1, "uint8"))
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "a.png")}
    assert len(modes) == 1


def test_folder_listing_is_sorted_and_ignores_other_files(tmp_path):
    for name in ("b.PNG", "a.jpg", "c.txt", "d.tiff"):
        (tmp_path / name).write_text("")
    assert [path.name for path in image_io.list_images(tmp_path)] == ["a.jpg", "b.PNG", "d.tiff"]
