"""Pictures larger than memory come out as they would in memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tifffile

import deepam_tf
from deepam_tf import cli, image_io
from deepam_tf.files.picture import ImageFileError
from deepam_tf.restoration.borders import has_quiet_rim
from deepam_tf.restoration.out_of_core import restore_large
from tests.helpers import color_photograph


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Folders of small weights, for gray and for colour."""
    folder = tmp_path_factory.mktemp("weights")
    for name, channels in (("gray", 1), ("color", 3)):
        model = deepam_tf.DeepAM(
            1, filters=4, depth=3, noise_level=True, image_channels=channels, pixel_unshuffle=2
        )
        deepam_tf.save_pretrained(model, folder / name, {"noise_stddev": [0.0, 0.3]})
    return folder


@pytest.fixture
def noisy(rng):
    clean = color_photograph()[:150, :180]
    noise = 0.08 * rng.standard_normal(clean.shape)
    return np.rint(255 * np.clip(clean + noise, 0, 1)).astype(np.uint8)


def both(tmp_path, values, tile=48, **options):
    """A picture restored in memory and out of it, in gray levels."""
    source, target = tmp_path / "noisy.tif", tmp_path / "clean.tif"
    tifffile.imwrite(source, values, tile=(64, 32), compression="zlib", resolution=(99, 99))
    picture = image_io.read(source, white_level="auto")
    noise, name = restore_large(
        source, target, noise=0.08, tile=tile, white_level="auto", **options
    )
    expected = deepam_tf.restore_picture(picture, noise=0.08, tile=tile, **options)
    assert (name, noise.stddev()) == (expected.model_name, expected.noise.stddev())
    return image_io.read(target, white_level="auto"), expected.picture


@pytest.mark.parametrize("kind", ["gray", "color", "gray in colour", "12 bits"])
def test_results_are_those_in_memory(tmp_path, noisy, weights, kind):
    values = noisy if kind == "color" else noisy[..., 0]
    if kind == "gray in colour":
        values = np.repeat(values[..., np.newaxis], 3, axis=-1)
    if kind == "12 bits":
        values = (values.astype(np.uint16) << 4) + 15
    model = weights / ("color" if kind == "color" else "gray")
    found, expected = both(tmp_path, values, model=model)
    assert found.dtype == values.dtype
    assert found.white == expected.white
    numbers = [picture.numbers().astype(float) for picture in (found, expected)]
    if kind == "12 bits":  # steps of 1/16 of a gray level
        assert np.abs(numbers[0] - numbers[1]).max() <= 16 / 4
    else:  # a difference of next to nothing may round to one level
        assert np.abs(numbers[0] - numbers[1]).max() <= 1
        assert np.mean(numbers[0] != numbers[1]) < 1e-3
    assert found.encoding.tile == (64, 32)
    assert found.metadata.resolution.x == 99


@pytest.mark.parametrize("side", range(4))
def test_pictures_with_a_quiet_rim_get_their_frame(tmp_path, noisy, weights, side):
    values = noisy[:120, :130].copy()
    np.rot90(values, side)[:12, 40:90] = 200
    assert has_quiet_rim(values / 255, np.full([1, 1, 1], 0.08))
    found, expected = both(tmp_path, values, model=weights / "color", tile=40)
    assert np.abs(found.numbers().astype(float) - expected.numbers()).max() <= 1


@pytest.mark.parametrize(
    "options",
    [
        {"method": "l0"},
        {"self_ensemble": True},
        {"strength": deepam_tf.restoration.strength.Strength(0.5, 1.5, 0.2)},
    ],
    ids=str,
)
def test_options_act_as_in_memory(tmp_path, noisy, weights, options):
    if "method" not in options:
        options["model"] = weights / "gray"
    found, expected = both(tmp_path, noisy[:80, :90], **options)
    assert np.abs(found.numbers().astype(float) - expected.numbers()).max() <= 1


@pytest.mark.slow
def test_noise_is_measured_on_parts(tmp_path, noisy):
    source = tmp_path / "noisy.tif"
    tifffile.imwrite(source, noisy[..., 0])
    notes = []
    found, name = restore_large(source, tmp_path / "clean.tif", on_note=notes.append)
    assert name == "denoise_gray"
    assert found.stddev() == pytest.approx(0.08, rel=0.1)
    assert any("on parts" in str(note) for note in notes)


@pytest.mark.slow
def test_no_noise_comes_back_as_it_was(tmp_path):
    y, x = np.mgrid[:120, :150]
    values = (x + y).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", values)
    found, _ = restore_large(tmp_path / "a.tif", tmp_path / "b.tif")
    assert found.kind == "none"
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "b.tif"), values)


def test_what_was_stopped_is_gone_on_with_window_by_window(tmp_path, noisy, weights):
    source, target = tmp_path / "noisy.tif", tmp_path / "clean.tif"
    tifffile.imwrite(source, noisy[..., 0])
    options = {"noise": 0.08, "model": weights / "gray", "tile": 48}

    class StopError(Exception):
        pass

    def stop_at(number):
        def on_progress(done, total):
            seen.append((done, total))
            if done == number:
                raise StopError

        return on_progress

    seen = []
    with pytest.raises(StopError):
        restore_large(source, target, on_progress=stop_at(4), **options)
    assert not target.exists()
    with pytest.raises(ImageFileError, match="other options"):
        restore_large(source, target, **{**options, "noise": 0.2})
    notes, seen = [], []
    restore_large(source, target, on_progress=stop_at(-1), on_note=notes.append, **options)
    assert seen[0][0] == 4
    assert [done for done, _ in seen] == list(range(4, seen[0][1] + 1))
    assert any(note.kind == "resumed" for note in notes)
    restore_large(source, tmp_path / "at_once.tif", **options)
    np.testing.assert_array_equal(
        tifffile.imread(target), tifffile.imread(tmp_path / "at_once.tif")
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "at_once.tif", "clean.tif", "noisy.tif"
    ]  # fmt: skip


def test_the_command(tmp_path, noisy, capsys):
    source = tmp_path / "noisy.tif"
    noisy = noisy[:40, :50]
    tifffile.imwrite(source, noisy)
    order = ["--sigma", "20", "--out-of-core", "--method", "l0"]
    assert cli.main(["denoise", str(source), str(tmp_path / "a.tif"), *order]) == 0
    assert image_io.read(tmp_path / "a.tif").pixels.shape == noisy.shape
    assert cli.main(["denoise", str(source), str(tmp_path / "a.png"), *order]) == 2
    assert ".zarr" in capsys.readouterr().err
    order = [*order[:3], "--uncertainty", str(tmp_path / "std.tif")]
    assert cli.main(["denoise", str(source), str(tmp_path / "b.tif"), *order]) == 2


@pytest.mark.slow
def test_kill_9_costs_the_window_that_it_met(tmp_path, rng, weights):
    source, target = tmp_path / "noisy.tif", tmp_path / "clean.tif"
    tifffile.imwrite(source, rng.integers(0, 256, (1200, 1100), dtype=np.uint8), tile=(64, 64))
    command = [sys.executable, "-m", "deepam_tf", "denoise", source, target, "--sigma", "20",
               "--model", weights / "gray", "--tile", "64", "--out-of-core"]  # fmt: skip
    process = subprocess.Popen(command)
    marks = tmp_path / "clean.tif.partial" / "done"
    end = time.monotonic() + 200
    while not marks.exists() or sum(marks.read_bytes()) < 5:
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = sum(marks.read_bytes())
    assert not target.exists()
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    resumed = int(again.stderr.split(" windows are done")[0].split()[-3])
    assert resumed == done
    restore_large(source, tmp_path / "once.tif", noise=20 / 255, model=weights / "gray", tile=64)
    np.testing.assert_array_equal(tifffile.imread(target), tifffile.imread(tmp_path / "once.tif"))
