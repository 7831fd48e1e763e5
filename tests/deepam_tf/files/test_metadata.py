"""What a file says of its picture goes with it, and nothing of it goes where it must not."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import io
import struct
import sys
import warnings

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from deepam_tf.files import pictures as image_io
from deepam_tf.files.formats import WRITTEN, identify
from deepam_tf.files.metadata import iptc_of, upright_exif
from deepam_tf.files.picture import Encoding
from tests import helpers
from tests.deepam_tf.files import kinds, table


def test_the_table_in_the_docs_is_what_is_kept():
    page = table.PAGE.read_text()
    assert table.with_table(page) == page, "python -m tests.deepam_tf.files.table"


@pytest.mark.parametrize("written", WRITTEN, ids=lambda written: written.name)
def test_what_is_announced_is_what_is_kept(written):
    found = table.kept(written)
    names = {row: row for row in table.ROWS[7:] if row not in ("texts", "comment")}
    names["text"] = "texts"
    for name, row in names.items():
        assert found[row] == (name in written.keeps), name
    lost = image_io.lost(
        table.picture(metadata=table.metadata()), table.pathlib.Path(f"a{written.suffixes[0]}")
    )
    for name, row in names.items():
        assert found[row] != any(name in line for line in lost), name


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_strip_leaves_the_colour_profile_alone(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    image_io.write(path, table.picture(metadata=table.metadata()).stripped())
    found = image_io.read(path).metadata
    assert found.icc == kinds.display_p3()
    assert not any((found.xmp, found.iptc, found.photoshop, found.resolution, found.text))
    data = path.read_bytes()
    for private in (b"TestCam", b"2020:01:02", b"caption", b"made by hand"):
        assert private not in data


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_picture_is_not_turned_again(tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[0x0112], exif[0x0110] = orientation, "TestCam"
    exif.get_ifd(0x8769).update({0xA002: 32, 0xA003: 24, 0x829A: 0.5})
    xmp = table.XMP.replace(b'Orientation="6"', b'Orientation="%d"' % orientation)
    first, second = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    options = {"xmp": xmp} if suffix in (".jpg", ".webp") else {}
    Image.fromarray(table.picture().numbers()).save(first, exif=exif, **options)
    upright = image_io.read(first)
    image_io.write(second, upright)
    again = image_io.read(second)
    assert upright.pixels.shape == again.pixels.shape
    assert upright.pixels.shape[:2] == ((32, 24) if orientation > 4 else (24, 32))
    np.testing.assert_allclose(upright.pixels, again.pixels, atol=0.04)
    with Image.open(second) as image:
        found = image.getexif()
        assert found.get(0x0112, 1) == 1
        assert found[0x0110] == "TestCam"
        if suffix != ".tif":  # Pillow writes no directories into TIFF
            assert found.get_ifd(0x8769)[0x829A] == 0.5
            sides = found.get_ifd(0x8769)
            assert (sides[0xA003], sides[0xA002]) == upright.pixels.shape[:2]
    if options:
        assert b'Orientation="1"' in again.metadata.xmp


def test_exif_stays_byte_by_byte_but_for_what_turns():
    # A maker's note holds places in the file: moved, it would be lost.
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 8, "Maker"
    exif.get_ifd(0x8769)[0x927C] = b"note of the maker, any bytes \x00\xff"
    before = exif.tobytes().removeprefix(b"Exif\x00\x00")
    after = upright_exif(before)
    different = [i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
    assert len(different) == 1
    assert before[different[0]] == 8
    for damaged in (b"", b"Exif\x00\x00", b"II*\x00\xff\xff\xff\xff", before[:20], b"random"):
        assert upright_exif(damaged) in (None, damaged)


def test_exif_in_a_text_turns_once(tmp_path):
    # As ImageMagick has written it into PNG.
    turns = Image.Exif()
    turns[0x0112] = 6
    exif = turns.tobytes()
    text = f"\nexif\n{len(exif):8}\n{exif.hex()}\n"
    info = kinds.text_chunk("Raw profile type exif", text)
    Image.fromarray(table.picture().numbers()).save(tmp_path / "a.png", pnginfo=info)
    upright = image_io.read(tmp_path / "a.png")
    assert upright.pixels.shape[:2] == (32, 24)
    image_io.write(tmp_path / "b.png", upright)
    assert b"Raw profile" not in (tmp_path / "b.png").read_bytes()
    np.testing.assert_array_equal(image_io.read(tmp_path / "b.png").pixels, upright.pixels)


@pytest.mark.parametrize(("unit", "code"), [("none", 1), ("inch", 2), ("cm", 3)])
def test_resolutions_keep_their_units(tmp_path, unit, code):
    values = np.zeros([8, 9], np.uint8)
    tifffile.imwrite(
        tmp_path / "a.tif", values, resolution=(120, 60), resolutionunit=code, metadata=None
    )
    picture = image_io.read(tmp_path / "a.tif")
    for suffix in (".tif", ".png", ".jpg"):
        image_io.write(tmp_path / f"b{suffix}", picture)
        found = image_io.read(tmp_path / f"b{suffix}").metadata.resolution
        assert (found.unit == "none") == (unit == "none")
        expected, got = picture.metadata.resolution, found
        if unit == "none":
            assert got.x / got.y == pytest.approx(2)
        else:
            np.testing.assert_allclose(got.per("cm"), expected.per("cm"), rtol=1e-4)


def test_tags_of_maps_and_microscopes_stay(tmp_path):
    scale, text = (2.0, 2.0, 0.0), "ImageJ=1.54\nunit=um"
    tifffile.imwrite(
        tmp_path / "a.tif",
        np.zeros([8, 9], np.float32),
        metadata=None,
        description=text,
        extratags=[
            (269, 2, 0, "a slide", True),
            (33550, 12, 3, scale, True),
            (42113, 2, 0, "-9999", True),
        ],
    )
    image_io.write(tmp_path / "b.tif", image_io.read(tmp_path / "a.tif"))
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        tags = file.pages[0].tags
        assert tags[33550].value == scale
        assert tags[269].value == "a slide"
        assert tags[270].value == text
        assert tags[42113].value == "-9999"


def test_no_value_is_told_apart_and_written_again(tmp_path):
    values = np.linspace(0, 1, 72, dtype=np.float32).reshape(8, 9)
    values[0, 0], values[1, 1], values[2, 2] = np.nan, np.inf, -9999
    tifffile.imwrite(
        tmp_path / "a.tif", values, metadata=None, extratags=[(42113, 2, 0, "-9999", True)]
    )
    picture = image_io.read(tmp_path / "a.tif")
    assert picture.levels == (0.0, 1.0)
    assert picture.unknown.sum() == 3
    assert np.isfinite(picture.pixels).all()
    changed = dataclasses.replace(picture, pixels=picture.pixels + 0.25)
    image_io.write(tmp_path / "b.tif", changed)
    back = tifffile.imread(tmp_path / "b.tif")
    np.testing.assert_array_equal(back[picture.unknown], values[picture.unknown])
    known = ~picture.unknown
    np.testing.assert_allclose(back[known], values[known] + 0.25, atol=1e-6)
    tifffile.imwrite(tmp_path / "c.tif", np.full([8, 9], np.nan, np.float32))
    with pytest.raises(image_io.ImageFileError, match=r"no pixel holds a number"):
        image_io.read(tmp_path / "c.tif")


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_the_white_level_is_found_and_stays(tmp_path, bits, suffix):
    white = 2**bits - 1
    values = np.linspace(0, white, 320).reshape(16, 20).astype(np.uint16)
    cv2.imwrite(str(tmp_path / f"a{suffix}"), values)
    auto = image_io.read(tmp_path / f"a{suffix}", white_level="auto")
    assert auto.levels == (0, white)
    assert auto.pixels.max() == 1.0
    assert any("white level" in note for note in auto.notes) == (bits < 16)
    image_io.write(tmp_path / f"b{suffix}", dataclasses.replace(auto, pixels=auto.pixels + 0.1))
    assert cv2.imread(str(tmp_path / f"b{suffix}"), -1).max() == white
    plain = image_io.read(tmp_path / f"a{suffix}")
    assert plain.levels == (0, 65535)
    told = image_io.read(tmp_path / f"a{suffix}", white_level=float(2 * white))
    np.testing.assert_allclose(2 * told.pixels, auto.pixels, atol=1e-6)
    with pytest.raises(image_io.ImageFileError, match=r"must not lie below"):
        image_io.read(tmp_path / f"a{suffix}", white_level=white / 2)


def test_a_stack_goes_through_memory_page_by_page(tmp_path):
    import tracemalloc

    pages, side = 120, 256
    values = np.random.default_rng(0).integers(0, 4096, (side, side), dtype=np.uint16)
    with tifffile.TiffWriter(tmp_path / "a.tif", bigtiff=True) as file:
        for number in range(pages):
            file.write(values + number, contiguous=False, metadata=None, compression="zlib")
    tracemalloc.start()
    with image_io.open_pictures(tmp_path / "a.tif", white_level="auto") as pictures:
        image_io.write_all(tmp_path / "b.tif", pictures, count=pictures.count)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * values.nbytes  # of 120
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert file.is_bigtiff
        assert len(file.pages) == pages
        np.testing.assert_array_equal(file.pages[107].asarray(), values + 107)


def test_a_stack_with_one_directory_is_a_stack(tmp_path):
    stack = np.arange(5 * 8 * 9, dtype=np.uint16).reshape(5, 8, 9)
    tifffile.imwrite(tmp_path / "a.tif", stack, imagej=True, truncate=True)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert len(file.pages) == 1
    with image_io.open_pictures(tmp_path / "a.tif") as pictures:
        found = [picture.numbers()[..., 0] for picture in pictures]
    np.testing.assert_array_equal(found, stack)
    with pytest.raises(image_io.ImageFileError, match=r"Received: 5.*--first-frame"):
        image_io.read(tmp_path / "a.tif")


def test_previews_are_no_pictures(tmp_path):
    full, small = np.full([64, 64, 3], 200, np.uint8), np.full([16, 16, 3], 10, np.uint8)
    with tifffile.TiffWriter(tmp_path / "first.tif") as file:
        file.write(small, subfiletype=1, subifds=1, photometric="rgb", metadata=None)
        file.write(full, photometric="rgb", metadata=None)
    with tifffile.TiffWriter(tmp_path / "pyramid.tif") as file:
        file.write(full, subifds=1, photometric="rgb", metadata=None)
        file.write(small, subfiletype=1, photometric="rgb", metadata=None)
    with tifffile.TiffWriter(tmp_path / "overview.tif") as file:
        file.write(full, photometric="rgb", metadata=None)
        file.write(small, subfiletype=1, photometric="rgb", metadata=None)
    for name in ("first.tif", "pyramid.tif", "overview.tif"):
        picture = image_io.read(tmp_path / name)
        np.testing.assert_array_equal(picture.numbers(), full)
        assert any("previews" in note for note in picture.notes)


def test_inks_become_colours_by_their_profile_or_not_at_all(tmp_path):
    inks = Image.new("CMYK", (8, 9), (0, 255, 255, 0))
    for suffix in (".jpg", ".tif"):
        inks.save(tmp_path / f"a{suffix}")
        with pytest.raises(image_io.UnsupportedImageError, match=r"CMYK.*Convert it to RGB"):
            image_io.read(tmp_path / f"a{suffix}")
        wrong = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        inks.save(tmp_path / f"b{suffix}", icc_profile=wrong)
        with pytest.raises(image_io.UnsupportedImageError, match=r"CMYK profile"):
            image_io.read(tmp_path / f"b{suffix}")


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_inks_are_converted_by_their_profile(tmp_path, suffix):
    paper = Image.new("CMYK", (48, 32), (0, 0, 0, 0))
    paper.paste((0, 255, 255, 0), (0, 0, 24, 32))  # magenta and yellow: red
    options = {"quality": 100, "subsampling": 0} if suffix == ".jpg" else {}
    paper.save(tmp_path / f"a{suffix}", icc_profile=kinds.inks(), **options)
    picture = image_io.read(tmp_path / f"a{suffix}")
    assert any("CMYK was converted to sRGB" in note for note in picture.notes)
    np.testing.assert_allclose(picture.pixels[8, 8], [1, 0, 0], atol=0.03)
    np.testing.assert_allclose(picture.pixels[8, 40], [1, 1, 1], atol=0.03)
    image_io.write(tmp_path / f"b{suffix}", picture)
    again = image_io.read(tmp_path / f"b{suffix}")
    np.testing.assert_allclose(again.pixels, picture.pixels, atol=0.05)
    profile = ImageCms.ImageCmsProfile(io.BytesIO(again.metadata.icc))
    assert "sRGB" in ImageCms.getProfileName(profile)


def test_of_jpeg_the_finer_tables_stay(tmp_path):
    source = Image.fromarray(table.picture().numbers())
    steps = {}
    for quality in (60, 99):
        source.save(tmp_path / "a.jpg", quality=quality, progressive=True)
        image_io.write(tmp_path / "b.jpg", image_io.read(tmp_path / "a.jpg"), overwrite=True)
        with Image.open(tmp_path / "a.jpg") as before, Image.open(tmp_path / "b.jpg") as after:
            steps[quality] = [np.mean(image.quantization[0]) for image in (before, after)]
            assert after.info.get("progressive")
            assert {layer[1:3] for layer in after.layer} == {(1, 1)}
    assert steps[60][1] < steps[60][0]
    assert steps[99][1] == steps[99][0]
    image_io.write(tmp_path / "c.jpg", image_io.read(tmp_path / "a.jpg"), quality=30)
    assert (tmp_path / "c.jpg").stat().st_size < (tmp_path / "b.jpg").stat().st_size


def test_what_is_not_read_is_called_by_its_name(tmp_path):
    heads = {
        "OpenEXR": b"\x76\x2f\x31\x01\x02\x00\x00\x00",
        "JPEG XL": b"\xff\x0a\xfa\x1f",
        "JPEG 2000": b"\x00\x00\x00\x0cjP  \r\n\x87\n",
        "Radiance HDR": b"#?RADIANCE\n",
        "Photoshop PSD": b"8BPS\x00\x01",
        "Windows icon": b"\x00\x00\x01\x00\x02\x00",
    }
    for name, head in heads.items():
        assert identify(head + bytes(40)) == name
        path = tmp_path / "a.png"  # whatever it is called
        path.write_bytes(head + bytes(40))
        with pytest.raises(image_io.UnsupportedImageError, match=f"{name} is not supported"):
            image_io.read(path)
    Image.new("RGB", (64, 64)).save(tmp_path / "b.ico", sizes=[(16, 16), (32, 32)])
    with pytest.raises(image_io.UnsupportedImageError, match="icon"):
        image_io.read(tmp_path / "b.ico")


def error_of(path):
    """What is said of a file, None if it is read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with image_io.open_pictures(path, max_megapixels=1) as pictures:
                list(pictures)
    except image_io.ImageFileError as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    "name",
    [
        "color_u2.tif",
        "color16.png",
        "animated.png",
        "deflate.tif",
        "lossless.webp",
        "animated.gif",
        "color_alpha16.png",
    ],
)
def test_damaged_files_are_errors_of_one_line(tmp_path, capfd, name):
    kind = next(kind for kind in kinds.kinds() if kind.name == name)
    kind.write(tmp_path / name)
    data = (tmp_path / name).read_bytes()
    rng = np.random.default_rng(0)
    broken = [data[: int(share * len(data))] for share in (0.1, 0.3, 0.6, 0.9)]
    for _ in range(20):
        spoiled = bytearray(data)
        for place in rng.integers(8, len(data), 6):
            spoiled[place] = rng.integers(256)
        broken.append(bytes(spoiled))
    for content in broken:
        (tmp_path / name).write_bytes(content)
        error = error_of(tmp_path / name)
        assert error is None or (name in error and "\n" not in error)
    assert "OpenCV" not in capfd.readouterr().err


def test_truncated_tiff_is_not_filled_with_zeros(tmp_path):
    values = np.full([64, 64], 9, np.uint16)
    for options in ({}, {"compression": "zlib"}, {"tile": (16, 16)}):
        tifffile.imwrite(tmp_path / "a.tif", values, metadata=None, **options)
        data = (tmp_path / "a.tif").read_bytes()
        (tmp_path / "b.tif").write_bytes(data[:-20])
        with pytest.raises(image_io.ImageFileError, match="damaged or truncated"):
            image_io.read(tmp_path / "b.tif")


def test_iptc_is_found_among_photoshops_resources():
    thumbnail = struct.pack(">4sHHI", b"8BIM", 0x040C, 0, 3) + b"abc\x00"
    captions = struct.pack(">4sHHI", b"8BIM", 0x0404, 0, len(table.IPTC)) + table.IPTC
    assert iptc_of(thumbnail + captions) == table.IPTC
    assert iptc_of(thumbnail) is None
    assert iptc_of(captions[:9]) is None


def test_many_threads_and_nothing_of_the_process_changes(tmp_path):
    before = (
        Image.MAX_IMAGE_PIXELS,
        list(warnings.filters),
        cv2.utils.logging.getLogLevel(),
    )
    some = [kind for kind in kinds.kinds() if not kind.name.endswith(".heic")][::2]
    for kind in some:
        kind.write(tmp_path / kind.name)

    def work(kind):
        with image_io.open_pictures(tmp_path / kind.name, white_level="auto") as pictures:
            found = list(pictures)
        image_io.write_all(tmp_path / f"out_{kind.name}", found, count=len(found), overwrite=True)
        return found[0].numbers()

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        first = list(pool.map(work, some))
        for again in (list(pool.map(work, some)) for _ in range(3)):
            for one, other in zip(first, again, strict=True):
                np.testing.assert_array_equal(one, other)
    assert before == (
        Image.MAX_IMAGE_PIXELS,
        list(warnings.filters),
        cv2.utils.logging.getLogLevel(),
    )


def test_what_goes_into_no_format_is_refused_before_the_work(tmp_path):
    frames = dataclasses.replace(table.picture(), duration=10.0)
    for name, picture, count, message in (
        ("a.jpg", frames, 2, "holds one picture"),
        ("a.png", table.picture(), 2, "no pages"),
        ("a.png", dataclasses.replace(frames, dtype=np.dtype("uint16")), 2, "8 bits"),
        ("a.png", table.picture("float32"), 1, "cannot hold float32"),
        ("a.webp", table.picture("int16"), 1, "cannot hold int16"),
    ):
        with pytest.raises(image_io.ImageFileError, match=message):
            image_io.check_writable(tmp_path / name, picture, count=count)
    assert Encoding().format == ""


def test_avif_is_turned_upright_and_not_cut_to_eight_bits(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    values = np.full([48, 60, 3], (200, 100, 50), np.uint8)
    Image.fromarray(values).save(tmp_path / "a.avif", quality=100, exif=exif)
    picture = image_io.read(tmp_path / "a.avif")
    assert picture.pixels.shape == (60, 48, 3)
    np.testing.assert_allclose(255 * picture.pixels[5, 5], values[0, 0], atol=3)
    data = bytearray((tmp_path / "a.avif").read_bytes())
    place = data.index(b"pixi") + 9
    assert data[place] == 8
    data[place] = 10
    (tmp_path / "b.avif").write_bytes(data)
    with pytest.raises(image_io.UnsupportedImageError, match="more than 8 bits"):
        image_io.read(tmp_path / "b.avif")


def test_missing_packages_are_named(tmp_path, monkeypatch):
    kind = next(kind for kind in kinds.kinds() if kind.name == "photo.heic")
    kind.write(tmp_path / "photo.heic")
    tifffile.imwrite(tmp_path / "a.dng", np.zeros([8, 8], np.uint16), photometric="minisblack")
    for name, package, extra in (
        ("photo.heic", "pillow_heif", "heif"),
        ("a.dng", "rawpy", "raw"),
    ):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(
            image_io.UnsupportedImageError, match=rf"{name}: .*pip install 'deepam-tf\[{extra}\]'"
        ):
            image_io.read(tmp_path / name)


def test_most_tiff_is_read_without_imagecodecs(tmp_path):
    values = table.picture().numbers()
    options = {"compression": "tiff_lzw"}
    Image.fromarray(values).save(tmp_path / "color.tif", **options)
    Image.fromarray(values[..., 0]).save(tmp_path / "gray.tif", **options)
    Image.fromarray(values).save(tmp_path / "turned.tif", tiffinfo={274: 6}, **options)
    deep = values.astype(np.uint16) * 257
    cv2.imwrite(str(tmp_path / "deep.tif"), deep[..., ::-1], [cv2.IMWRITE_TIFF_COMPRESSION, 5])
    pages = [Image.fromarray(values), Image.fromarray(values[::-1])]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:], **options)
    tifffile.imwrite(tmp_path / "float.tif", np.zeros([8, 9], np.float64), compression="lzw")
    printed = helpers.run_python(
        "import sys\n"
        "sys.modules['imagecodecs'] = None\n"
        "sys.argv = ['deepam', *sys.argv[1:]]\n"  # the command, which does without TensorFlow
        "import pathlib\n"
        "from deepam_tf.files import pictures as image_io\n"
        "for path in sorted(pathlib.Path(sys.argv[1]).glob('*.tif')):\n"
        "    try:\n"
        "        with image_io.open_pictures(path) as pictures:\n"
        "            print(path.name, [int(x.numbers().sum()) for x in pictures])\n"
        "            print(*image_io.lost(pictures.first, path))\n"
        "    except image_io.UnsupportedImageError as error:\n"
        "        print(error)\n",
        str(tmp_path),
    )
    total = int(values.sum())
    for line in (
        f"color.tif [{total}]",
        f"deep.tif [{257 * total}]",
        f"gray.tif [{int(values[..., 0].sum())}]",
        f"turned.tif [{total}]",
        f"pages.tif [{total}, {total}]",
        "its lzw compression becomes deflate; with the package imagecodecs it stays.",
        "pip install 'deepam-tf[tiff]'",
    ):
        assert line in printed
