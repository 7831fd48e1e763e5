"""Raw photographs are restored where their noise arose."""

from __future__ import annotations

import contextlib
import pathlib

import cv2
import numpy as np
import pytest

import deepam_tf
from deepam_tf.files import pictures as image_io
from deepam_tf.files.raw import RawFile

pytest.importorskip("rawpy")
BLACK, WHITE = 256, 4095
GAIN, VARIANCE = 1 / 500, 0.004**2  # of the sensor, white being 1


def write_dng(path: pathlib.Path, mosaic: np.ndarray, orientation: int = 1) -> None:
    """A raw file of a sensor with red, green, green, blue."""
    core, defs = pytest.importorskip("pidng.core"), pytest.importorskip("pidng.defs")
    tags, tag = core.DNGTags(), core.Tag
    height, width = mosaic.shape
    matrix = [1.9549, -0.7877, -0.2582, -0.5724, 1.0121, 0.1917, -0.1267, -0.011, 0.6621]
    for name, value in {
        tag.ImageWidth: width,
        tag.ImageLength: height,
        tag.TileWidth: width,
        tag.TileLength: height,
        tag.Orientation: orientation,
        tag.PhotometricInterpretation: defs.PhotometricInterpretation.Color_Filter_Array,
        tag.SamplesPerPixel: 1,
        tag.BitsPerSample: 16,
        tag.CFARepeatPatternDim: [2, 2],
        tag.CFAPattern: defs.CFAPattern.RGGB,
        tag.BlackLevel: BLACK,
        tag.WhiteLevel: WHITE,
        tag.ColorMatrix1: [[round(10000 * x), 10000] for x in matrix],
        tag.CalibrationIlluminant1: defs.CalibrationIlluminant.D65,
        tag.AsShotNeutral: [[1, 2], [1, 1], [1, 2]],
        tag.Make: "Camera",
        tag.Model: "One",
    }.items():
        tags.set(name, value)
    writer = core.RAW2DNG()
    writer.options(tags, path="", compress=False)
    writer.convert(mosaic.astype(np.uint16), filename=str(path))


def scene() -> np.ndarray:
    """The light on a sensor, `[128, 160]` in [0, 1], a photograph's."""
    with np.errstate(all="ignore"):
        photo = image_io.read(
            pathlib.Path(deepam_tf.__file__).parent / "assets" / "astronaut.png"
        ).pixels
    photo = cv2.resize(photo[..., 0], (160, 128), interpolation=cv2.INTER_AREA)
    return 0.4 * photo**2.2  # light, and not much of it


def noisy(light: np.ndarray, seed: int = 0) -> np.ndarray:
    """What the sensor counts."""
    rng = np.random.default_rng(seed)
    counts = light + np.sqrt(GAIN * light + VARIANCE) * rng.standard_normal(light.shape)
    return np.clip(np.rint(BLACK + counts * (WHITE - BLACK)), 0, WHITE)


def developed(path: pathlib.Path) -> np.ndarray:
    return image_io.read(path).pixels


def test_planes_are_the_mosaics_and_go_back(tmp_path):
    mosaic = noisy(scene())
    write_dng(tmp_path / "a.dng", mosaic)
    with contextlib.closing(RawFile(tmp_path / "a.dng")) as raw:
        planes = raw.read_planes()
        for number, (row, column) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
            expected = (mosaic[row::2, column::2] - BLACK) / (WHITE - BLACK)
            np.testing.assert_allclose(planes[number][..., 0], expected, atol=1e-6)
        before = raw.develop().pixels
        raw.write_planes(planes)
        np.testing.assert_array_equal(raw.develop().pixels, before)


@pytest.mark.slow
def test_the_noise_of_the_sensor_is_measured_and_removed():
    light = scene()
    places = [(i, j) for i in range(2) for j in range(2)]
    clean = [light[i::2, j::2, np.newaxis] for i, j in places]
    counts = (noisy(light) - BLACK) / (WHITE - BLACK)
    planes = [counts[i::2, j::2, np.newaxis] for i, j in places]
    done = []
    restored, found = deepam_tf.restore_mosaic(planes, on_progress=lambda a, b: done.append((a, b)))
    assert found.gain == pytest.approx(GAIN, rel=0.5)
    assert done[-1][0] == done[-1][1]
    errors = [
        np.sqrt(np.mean([np.mean((x - y) ** 2) for x, y in zip(some, clean, strict=True)]))
        for some in (planes, restored)
    ]
    assert errors[1] < 0.6 * errors[0]


def test_the_developed_picture_is_nearer_to_the_truth(tmp_path, capsys):
    light = scene()
    write_dng(tmp_path / "truth.dng", np.rint(BLACK + light * (WHITE - BLACK)))
    write_dng(tmp_path / "noisy.dng", noisy(light))
    truth, before = (developed(tmp_path / f"{name}.dng") for name in ("truth", "noisy"))
    for suffix in (".tif", ".png", ".jpg"):
        out = tmp_path / f"out{suffix}"
        code = deepam_tf.cli.main(["denoise", str(tmp_path / "noisy.dng"), str(out)])
        assert code == 0
        said = capsys.readouterr().err
        assert "noise of the sensor estimated" in said
        assert "developed by LibRaw" in said
        after = image_io.read(out)
        assert after.dtype == (np.uint8 if suffix == ".jpg" else np.uint16)
        assert after.metadata.icc
        errors = [np.sqrt(np.mean((x - truth) ** 2)) for x in (before, after.pixels)]
        assert errors[1] < 0.8 * errors[0]


@pytest.mark.parametrize("options", [["--strength", "0.5"], ["--method", "tv"]])
def test_options_of_developed_pictures_are_refused(tmp_path, capsys, options):
    write_dng(tmp_path / "a.dng", noisy(scene()))
    arguments = ["denoise", tmp_path / "a.dng", tmp_path / "b.tif", *options]
    assert deepam_tf.cli.main([str(x) for x in arguments]) == 2
    said = capsys.readouterr().err
    assert "a.dng: " in said
    assert "Received: " in said
    assert not (tmp_path / "b.tif").exists()


def test_raw_files_are_developed_upright(tmp_path):
    mosaic = noisy(scene())
    write_dng(tmp_path / "a.dng", mosaic)
    write_dng(tmp_path / "b.dng", mosaic, orientation=6)
    straight, turned = (developed(tmp_path / name) for name in ("a.dng", "b.dng"))
    np.testing.assert_array_equal(np.rot90(straight, -1), turned)


def test_raw_files_that_are_none_end_in_one_line(tmp_path, capfd):
    write_dng(tmp_path / "a.dng", noisy(scene()))
    data = (tmp_path / "a.dng").read_bytes()
    for name, content in {"cut.dng": data[:3000], "text.nef": b"II*\x00 no raw file" * 9}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(image_io.ImageFileError, match=name):
            image_io.read(tmp_path / name)
    assert capfd.readouterr().err == ""
