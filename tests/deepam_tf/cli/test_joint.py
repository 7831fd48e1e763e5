"""`deepam upsample` and `deepam fuse`, with untrained models in the place of the weights."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import tensorflow as tf
from PIL import ExifTags, Image

import deepam_tf
from deepam_tf import cli
from deepam_tf.cli import upsample
from deepam_tf.depth.noise import DepthNoise
from deepam_tf.restoration import picture


@pytest.fixture(scope="module")
def models():
    small = {"filters": 8, "depth": 6, "residual": True}
    depth = deepam_tf.DeepAM(1, guide_channels=3, mask=True, **small)
    return {
        "upsample_depth": depth,
        "upsample_depth_scales": depth,
        "denoise_depth": deepam_tf.DeepAM(
            1, guide_channels=3, mask=True, noise_level=True, **small
        ),
        "fuse_nir": deepam_tf.DeepAM(
            1, image_channels=3, guide_channels=1, noise_level=True, **small
        ),
    }


@pytest.fixture
def run(models, monkeypatch, capsys):
    for module in (picture, upsample):
        monkeypatch.setattr(module, "load_pretrained", lambda name, dtype: models[name])
    monkeypatch.setattr(picture, "noise_range", lambda name: (0.0, 0.3))
    picture._cached_restorer.cache_clear()

    def call(*arguments) -> tuple[int, str, str]:
        code = cli.main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    yield call
    picture._cached_restorer.cache_clear()  # of models that are none


@pytest.fixture
def files(tmp_path, rng):
    y, x = np.mgrid[:32, :48].astype(np.float32)
    depth = 800 + 10 * y + 15 * x
    guide = rng.integers(0, 256, (32, 48, 3), dtype=np.uint8)
    low = depth[4::8, 4::8].astype(np.uint16)
    low[1, 2] = 0
    cv2.imwrite(str(tmp_path / "low.png"), low)
    cv2.imwrite(str(tmp_path / "guide.png"), guide)
    cv2.imwrite(str(tmp_path / "nir.png"), guide[..., 1])
    return depth, tmp_path


def test_upsample_keeps_the_unit_and_reports_holes(run, files):
    depth, folder = files
    code, out, err = run("upsample", folder / "low.png", folder / "guide.png", folder / "out.png")
    assert code == 0, err
    assert "6x4 to 48x32 pixels, scale 8, holes filled: 4.17 % of the map" in out
    restored = cv2.imread(str(folder / "out.png"), cv2.IMREAD_UNCHANGED)
    assert restored.dtype == np.uint16
    assert np.abs(restored[4:-8, 4:-8] - depth[4:-8, 4:-8]).max() < 0.05 * np.ptp(depth)


@pytest.mark.slow
def test_upsample_takes_floats_masks_and_maps_on_the_guides_grid(run, files):
    depth, folder = files
    full = depth / 1000
    full[10:14, 20:30] = np.nan
    np.save(folder / "full.npy", full)
    mask = np.full((32, 48), 255, np.uint8)
    mask[:3] = 0
    cv2.imwrite(str(folder / "mask.png"), mask)
    code, out, err = run(
        "upsample", folder / "full.npy", folder / "guide.png", folder / "out.tiff",
        "--mask", folder / "mask.png",
    )  # fmt: skip
    assert code == 0, err
    assert f"{100 * (3 * 48 + 40) / (32 * 48):.3g} %" in out
    restored = cv2.imread(str(folder / "out.tiff"), cv2.IMREAD_UNCHANGED)
    assert restored.dtype == np.float32
    assert np.abs(restored - depth / 1000).max() < 0.1 * np.ptp(depth) / 1000


@pytest.mark.slow
def test_a_guide_of_another_size_is_resized_only_where_allowed(run, files):
    _, folder = files
    cv2.imwrite(str(folder / "large.png"), np.zeros((100, 120, 3), np.uint8))
    arguments = ["upsample", folder / "low.png", folder / "large.png", folder / "out.png"]
    code, _, err = run(*arguments, "--scale", 8)
    assert code == 2
    assert "Received: 120x100 for 6x4" in err
    assert "--resize-guide" in err
    assert err.count("\n") == 1
    code, _, _ = run(*arguments, "--scale", 8, "--resize-guide")
    assert code == 0
    assert cv2.imread(str(folder / "out.png"), cv2.IMREAD_UNCHANGED).shape == (32, 48)


@pytest.mark.slow
def test_fractions_and_scales_of_their_own_along_each_side(run, files):
    depth, folder = files
    for low, arguments, said in (
        (depth[2::4, 4::8], ["--scale", "4,8"], "scale 4 down, 8 across"),
        (cv2.resize(depth, (20, 13), interpolation=cv2.INTER_AREA), ["--samples", "means"], "2.4"),
        (depth[1::3, 1::3], [], "scale 3"),
    ):
        np.save(folder / "low.npy", low)
        code, out, err = run(
            "upsample", folder / "low.npy", folder / "guide.png", folder / "out.npy", "--force",
            *arguments,
        )  # fmt: skip
        assert code == 0, err
        assert said in out
        restored = np.load(folder / "out.npy")
        assert restored.shape == depth.shape
        assert np.abs(restored - depth)[4:-8, 4:-8].max() < 0.05 * np.ptp(depth)
        if not arguments:
            np.testing.assert_array_equal(restored[1::3, 1::3], low)  # kept to the last digit


@pytest.mark.slow
def test_what_a_sensor_calls_nothing_is_no_depth_and_is_said(run, files):
    depth, folder = files
    low = depth[4::8, 4::8].astype(np.uint16)
    low[2, 3] = 65535
    cv2.imwrite(str(folder / "low.png"), low)
    arguments = ["upsample", folder / "low.png", folder / "guide.png", folder / "out.png"]
    code, _, err = run(*arguments)
    assert code == 0
    assert "65535 is the largest number of uint16: 1 of them taken for holes" in err
    restored = cv2.imread(str(folder / "out.png"), cv2.IMREAD_UNCHANGED)
    assert np.abs(restored - depth)[4:-8, 4:-8].max() < 0.1 * np.ptp(depth)
    code, out, _ = run(*arguments, "--force", "--hole-value", low[0, 0], "--hole-value", 65535)
    assert code == 0
    assert f"holes filled: {100 * 2 / 24:.3g} %" in out


@pytest.mark.slow
def test_heights_stay_heights(run, files):
    depth, folder = files
    heights = (depth - 1000).astype(np.float32)
    heights[20, 20] = 0
    np.save(folder / "heights.npy", heights)
    code, out, err = run(
        "upsample", folder / "heights.npy", folder / "guide.png", folder / "out.npy",
        "--preview", folder / "seen.png", "--ply", folder / "cloud.ply",
    )  # fmt: skip
    assert code == 0, err
    assert "holes filled: 0 %" in out
    np.testing.assert_array_equal(np.load(folder / "out.npy"), heights)
    assert cv2.imread(str(folder / "seen.png")).shape == (32, 48, 3)
    assert b"element vertex 1536" in (folder / "cloud.ply").read_bytes()


@pytest.mark.slow
def test_a_confidence_counts(run, files):
    depth, folder = files
    low = depth[4::8, 4::8].copy()
    low[2, 3] += 100
    np.save(folder / "low.npy", low)
    trusted = np.full(low.shape, 2, np.uint8)
    trusted[2, 3] = 0
    cv2.imwrite(str(folder / "trusted.png"), trusted)
    arguments = ["upsample", folder / "low.npy", folder / "guide.png", folder / "out.npy"]
    errors = []
    for more in ([], ["--confidence", folder / "trusted.png"]):
        code, _, err = run(*arguments, "--force", *more)
        assert code == 0, err
        errors.append(np.abs(np.load(folder / "out.npy") - depth)[20, 28])
    assert errors[1] < 0.3 * errors[0]
    assert "confidence counted from 0 to 2" in err


@pytest.mark.slow
def test_the_noise_of_a_sensor_is_estimated_said_and_removed_first(run, files, rng, monkeypatch):
    _, folder = files
    y, x = np.mgrid[:32, :48]
    low = 800 + 10.0 * y + 15 * x + 12 * rng.normal(size=y.shape)
    low[5:8, 20:24] = 0
    np.save(folder / "noisy.npy", low)
    guide = np.repeat(np.repeat(cv2.imread(str(folder / "guide.png")), 4, 0), 4, 1)
    cv2.imwrite(str(folder / "large.png"), guide)
    given = {}

    def denoise(restorer, depth, guide, *, valid):
        given.update(depth=depth, guide=guide, valid=valid)
        assert restorer.noise_level
        return np.full(depth.shape, 1000.0), DepthNoise(12.0, 0.0)

    monkeypatch.setattr(upsample, "denoise_depth", denoise)
    order = ["upsample", folder / "noisy.npy", folder / "large.png", folder / "out.npy"]
    code, _, err = run(*order, "--denoise-depth", "--force")
    assert code == 0, err
    assert "noise of the sensor estimated, 12 at 8" in err
    np.testing.assert_array_equal(given["depth"], low)
    np.testing.assert_array_equal(given["valid"], low > 0)
    assert given["guide"].shape == (32, 48, 3)
    # The samples as they are kept are the restored ones.
    np.testing.assert_allclose(np.load(folder / "out.npy")[2::4, 2::4], 1000, atol=1e-3)
    order[2] = folder / "guide.png"
    code, _, err = run(*order, "--denoise-depth", "--scale", 4, "--force")
    assert code == 2
    assert "noisy.npy: `--denoise-depth` is for samples as a sensor gave them" in err
    assert err.count("\n") == 1


@pytest.mark.slow
def test_exif_turns_both_halves_of_a_pair_or_neither(run, files):
    _, folder = files
    guide = Image.open(folder / "guide.png")
    results = []
    for orientation in (1, 3):
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        guide.save(folder / "turned.png", exif=exif)
        code, _, err = run(
            "upsample", folder / "low.png", folder / "turned.png", folder / "o.npy.tiff", "--force"
        )
        assert code == 0, err
        results.append(cv2.imread(str(folder / "o.npy.tiff"), cv2.IMREAD_UNCHANGED))
        assert ("taken as stored" in err) == (orientation == 3)
    np.testing.assert_array_equal(*results)


def test_upsample_ends_in_one_line_and_writes_nothing(run, files):
    _, folder = files
    cv2.imwrite(str(folder / "tiny.png"), np.full((2, 2), 255, np.uint8))
    cv2.imwrite(str(folder / "black.png"), np.zeros((4, 6), np.uint8))
    np.save(folder / "holes.npy", np.zeros((4, 6)))
    depth, guide, out = folder / "low.png", folder / "guide.png", folder / "out.png"
    for arguments, message in (
        ([folder / "no.png", guide, out], "no such file"),
        ([guide, guide, out], "one channel"),
        ([folder / "holes.npy", guide, folder / "out.npy"], "nothing but holes"),
        ([depth, guide, folder / "out.jpg"], "suffix"),
        ([depth, guide, folder / "no" / "out.png"], "folder"),
        ([depth, guide, out, "--mask", folder / "tiny.png"], "size of the depth map"),
        ([depth, guide, out, "--mask", folder / "black.png"], "leaves nothing"),
        ([depth, guide, out, "--offset", "9"], "offset"),
        ([depth, guide, out, "--scale", "8,4"], "SCALE times"),
        ([depth, guide, out, "--confidence", folder / "tiny.png"], "size of the depth map"),
        ([depth, guide, out, "--preview", folder / "no" / "p.png"], "folder"),
        (
            [depth, guide, out, "--hole-value", "0", "--mask", folder / "black.png"],
            "leaves nothing",
        ),
        ([depth, guide, guide], "exists already"),
    ):
        code, _, err = run("upsample", *arguments)
        assert code == 2, message
        assert message in err
        assert err.count("\n") == 1
        assert not out.exists()


def test_fuse_restores_colour_and_keeps_bit_depth(run, files, rng):
    _, folder = files
    rgb = (257 * np.clip(100 + 30 * rng.normal(size=(32, 48, 3)), 0, 255)).astype(np.uint16)
    cv2.imwrite(str(folder / "rgb.png"), rgb)
    arguments = ["fuse", folder / "rgb.png", folder / "nir.png", folder / "out.png"]
    code, _, err = run(*arguments, "--sigma", 30)
    assert code == 0, err
    restored = cv2.imread(str(folder / "out.png"), cv2.IMREAD_UNCHANGED)
    assert restored.dtype == np.uint16
    assert restored.shape == rgb.shape
    # Untrained, the model hands on what it gets, every channel in its place.
    assert np.abs(restored.astype(float) - rgb).mean() < 0.05 * 65535
    code, _, err = run(*arguments, "--force")
    assert code == 0
    assert "noise estimated, sigma" in err
    code, _, err = run(*arguments, "--force", "--sigma", 30, "--ensemble")
    assert code == 0
    again = cv2.imread(str(folder / "out.png"), cv2.IMREAD_UNCHANGED)
    assert 0 < np.abs(again.astype(float) - restored).max() < 0.05 * 65535


def test_fuse_ends_in_one_line(run, files):
    _, folder = files
    cv2.imwrite(str(folder / "small.png"), np.zeros((8, 8), np.uint8))
    code, _, err = run("fuse", folder / "guide.png", folder / "small.png", folder / "out.png")
    assert code == 2
    assert "Received: 8x8 and 48x32" in err
    assert err.count("\n") == 1


@pytest.fixture
def told(files, monkeypatch, run):
    """`run`, with a model that tells, unsure of everything in the same measure."""
    model = deepam_tf.DeepAM(
        1, guide_channels=3, mask=True, filters=8, depth=6, residual=True, uncertainty_filters=4
    )
    head = model.get_layer("uncertainty")
    head.log_stddev.kernel.assign(tf.zeros_like(head.log_stddev.kernel))
    head.log_stddev.bias.assign(tf.fill([4], np.log(0.01).astype(np.float32)))
    monkeypatch.setattr(upsample, "load_uncertain", lambda name, dtype: model)
    return run


@pytest.mark.slow
def test_deviations_of_depth_have_its_unit(told, files):
    depth, folder = files
    arguments = [folder / "low.png", folder / "guide.png", folder / "out.png"]
    code, _, err = told("upsample", *arguments, "--uncertainty", folder / "std.npy")
    assert code == 0, err
    low = cv2.imread(str(folder / "low.png"), cv2.IMREAD_UNCHANGED)
    extent = float(low.max()) - float(low[low > 0].min())
    np.testing.assert_allclose(np.load(folder / "std.npy"), 0.01 * extent, rtol=1e-4)
    assert np.load(folder / "std.npy").shape == depth.shape


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".png", ".npy"])
def test_values_below_a_confidence_are_left_out(told, files, suffix):
    depth, folder = files
    low = cv2.imread(str(folder / "low.png"), cv2.IMREAD_UNCHANGED)
    if suffix == ".npy":
        np.save(folder / "low.npy", low.astype(np.float32))
    arguments = ["upsample", folder / f"low{suffix}", folder / "guide.png"]

    def holes(confidence: float, name: str) -> np.ndarray:
        target = folder / f"{name}{suffix}"
        options = ["--preview", folder / f"{name}_view.png", "--ply", folder / f"{name}.ply"]
        code, _, err = told(*arguments, target, "--min-confidence", confidence, *options)
        assert code == 0, err
        if suffix == ".npy":
            return np.isnan(np.load(target))
        return cv2.imread(str(target), cv2.IMREAD_UNCHANGED) == 0

    # The tolerance is one deviation: with df = 4.05 that is a probability of 0.77.
    assert not holes(0.7, "all").any()
    # What was measured stays; the sample that is a hole does not.
    found = holes(0.9, "measured")
    kept = np.zeros(depth.shape, bool)
    kept[4::8, 4::8] = low > 0
    np.testing.assert_array_equal(found, ~kept)
    vertices = (folder / "measured.ply").read_bytes().split(b"element vertex ")[1].split()[0]
    assert int(vertices) == kept.sum()


def test_a_confidence_is_a_probability(told, files):
    _, folder = files
    arguments = [folder / "low.png", folder / "guide.png", folder / "out.png"]
    for wrong in ("0", "1", "80"):
        with pytest.raises(SystemExit):
            told("upsample", *arguments, "--min-confidence", wrong)
