"""Files of every kind through the command."""

from __future__ import annotations

import io
import itertools
import json
import os
import stat
import subprocess
import sys

import numpy as np
import pytest
import tifffile
from PIL import Image

from deepam_tf import cli, image_io
from tests.deepam_tf.files import kinds, table

SIDES = (36, 44)


def run(capsys, *arguments) -> tuple[int, str, str]:
    code = cli.main([str(argument) for argument in arguments])
    return code, *capsys.readouterr()


def flat_files():
    """Names and writers of flat pictures of every kind, and what they show."""
    top = {"u1": 255, "u2": 65535, "u4": 2**32 - 1, "i2": 32767, "f2": 1.0, "f4": 1.0, "f8": 1.0}
    colors = {1: (0.4,), 3: (0.7, 0.3, 0.5)}
    profile = kinds.display_p3()

    def values(dtype, channels, alpha):
        share = (*colors[channels], *((0.5,) if alpha else ()))
        flat = np.broadcast_to(np.array(share) * top[dtype], (*SIDES, len(share)))
        return flat.astype(dtype)

    for dtype, channels, alpha in itertools.product(top, (1, 3), (False, True)):
        for number, (compression, orientation, planar) in enumerate(
            ((None, 1, False), ("zlib", 6, False), ("lzw", 3, channels == 3), ("zlib", 8, False))
        ):
            array = values(dtype, channels, alpha)
            stored = np.moveaxis(array, -1, 0) if planar else array.squeeze()
            data = io.BytesIO()
            tifffile.imwrite(
                data,
                stored,
                photometric="rgb" if channels == 3 else "minisblack",
                planarconfig="separate" if planar else "contig" if stored.ndim == 3 else None,
                extrasamples=["unassalpha"] if alpha else None,
                compression=compression,
                iccprofile=profile if number % 2 else None,
                metadata=None,
                extratags=[(274, 3, 1, orientation, True)],
            )
            yield f"{dtype}_{channels}_{alpha:d}_{number}.tif", data.getvalue(), array, orientation
    for dtype, channels, alpha in itertools.product(("u1", "u2"), (1, 3), (False, True)):
        for orientation in (1, 5):
            array = values(dtype, channels, alpha)
            name = f"{dtype}_{channels}_{alpha:d}_{orientation}"
            exif = Image.Exif()
            exif[0x0112] = orientation
            if dtype == "u2":
                if orientation == 1:
                    color_type = {1: 0, 2: 4, 3: 2, 4: 6}[array.shape[-1]]
                    yield f"{name}.png", kinds.png(array, color_type), array, 1
                continue
            options = {"icc_profile": profile, "exif": exif}
            formats = {".png": {}, ".webp": {"lossless": True, "exact": True}}
            formats |= {} if alpha else {".jpg": {"quality": 99, "subsampling": 0}}
            for suffix, settings in formats.items():
                data = io.BytesIO()
                kind = Image.registered_extensions()[suffix]
                Image.fromarray(array.squeeze()).save(data, kind, **options, **settings)
                yield f"{name}{suffix}", data.getvalue(), array, orientation


@pytest.mark.slow
def test_flat_pictures_of_every_kind_come_back(tmp_path, capsys):
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    files = list(flat_files())
    for name, data, _, _ in files:
        (source / name).write_bytes(data)
    code, out, err = run(capsys, "denoise", source, target, "--sigma", 5)
    assert code == 0, err
    assert f"{len(files)} of {len(files)} restored" in out
    for name, _, array, orientation in files:
        before = image_io.read(source / name)
        after = image_io.read(target / name)
        assert after.dtype == before.dtype == array.dtype, name
        height, width = SIDES if orientation < 5 else SIDES[::-1]
        channels = array.shape[-1] - (before.alpha is not None)
        expected = 3 if name.endswith(".webp") else channels
        assert after.pixels.shape == (height, width, expected), name
        low, high = before.levels
        level = max((high - low) / 255, 1)  # of what one sees, or of the file's numbers
        difference = after.numbers().astype(float) - array[0, 0, :channels].astype(float)
        assert np.abs(difference).max() <= level, name
        if before.alpha is not None:
            np.testing.assert_array_equal(after.alpha, before.alpha)
        assert after.metadata.icc == before.metadata.icc, name


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_what_a_file_says_of_its_picture_is_kept_or_stripped(tmp_path, capsys, suffix):
    path = tmp_path / f"a{suffix}"
    image_io.write(path, table.picture(metadata=table.metadata()))
    before = image_io.read(path).metadata
    assert run(capsys, "denoise", path, tmp_path / f"b{suffix}", "--sigma", 5)[0] == 0
    assert image_io.read(tmp_path / f"b{suffix}").metadata == before
    options = ["--sigma", 5, "--strip"]
    assert run(capsys, "denoise", path, tmp_path / f"c{suffix}", *options)[0] == 0
    assert image_io.read(tmp_path / f"c{suffix}").metadata.icc == before.icc
    assert b"TestCam" not in (tmp_path / f"c{suffix}").read_bytes()
    code, _, err = run(capsys, "denoise", path, tmp_path / "d.bmp", "--sigma", 5)
    assert code == 0
    assert "have no place in .bmp files" in err


@pytest.mark.parametrize("name", ["animated.png", "animated.webp", "animated.gif", "pages.tif"])
def test_all_frames_or_the_first_by_name(tmp_path, capsys, name):
    kind = next(kind for kind in kinds.kinds() if kind.name == name)
    kind.write(tmp_path / name)
    assert run(capsys, "denoise", tmp_path / name, tmp_path / f"b_{name}", "--sigma", 5)[0] == 0
    with (
        image_io.open_pictures(tmp_path / name) as before,
        image_io.open_pictures(tmp_path / f"b_{name}") as after,
    ):
        pairs = list(zip(before, after, strict=True))
    assert len(pairs) == len(kind.values)
    for one, other in pairs:
        assert one.duration == other.duration
        assert np.abs(one.pixels - other.pixels).mean() < 0.1
    code, _, err = run(capsys, "denoise", tmp_path / name, tmp_path / "c.bmp", "--sigma", 5)
    assert code == 2
    assert "--first-frame" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "c.bmp").exists()
    options = ["--sigma", 5, "--first-frame"]
    target = tmp_path / f"d{'.tif' if name.endswith('.tif') else '.png'}"
    code, _, err = run(capsys, "denoise", tmp_path / name, target, *options)
    assert code == 0
    assert f"the first of {len(kind.values)}" in err
    assert image_io.read(target).pixels.shape == pairs[0][0].pixels.shape


@pytest.mark.slow
def test_twelve_bits_are_as_good_as_sixteen(tmp_path, capsys, rng):
    clean = np.full((64, 64), 0.3)
    clean[16:48, 16:48] = 0.7
    noise = np.clip(clean + 0.1 * rng.standard_normal(clean.shape), 0, 1)
    errors = {}
    for white in (4095, 65535):
        path = tmp_path / f"{white}.png"
        Image.fromarray(np.rint(white * noise).astype(np.uint16)).save(path)
        out = tmp_path / f"out_{white}.png"
        code, _, err = run(capsys, "denoise", path, out, "--sigma", 25)
        assert code == 0
        assert ("white level 4095" in err) == (white == 4095)
        errors[white] = np.sqrt(np.mean((np.asarray(Image.open(out)) / white - clean) ** 2))
    assert errors[4095] == pytest.approx(errors[65535], rel=0.01)
    guide = np.rint(4095 * (1 - clean)).astype(np.uint16)
    Image.fromarray(guide).save(tmp_path / "guide.png")
    color = np.rint(4095 * np.repeat(noise[..., np.newaxis], 3, -1)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "rgb.tif", color, photometric="rgb")
    code, _, err = run(
        capsys, "fuse", tmp_path / "rgb.tif", tmp_path / "guide.png", tmp_path / "f.tif",
        "--sigma", 25, "--white-level", 4095,
    )  # fmt: skip
    assert code == 0, err
    fused = tifffile.imread(tmp_path / "f.tif") / 4095
    assert fused.max() <= 1
    assert np.sqrt(np.mean((fused[..., 0] - clean) ** 2)) < 0.065
    code, _, err = run(
        capsys, "denoise", tmp_path / "4095.png", tmp_path / "g.png", "--white-level", 1000
    )
    assert code == 2
    assert "white level" in err


def test_folders_below_folders(tmp_path, capsys, rng):
    source, target = tmp_path / "in", tmp_path / "out"
    picture = Image.fromarray(rng.integers(0, 255, (36, 40), dtype=np.uint8))
    for name in ("a.png", "x/b.png", "x/y/c.png"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        picture.save(source / name)
    picture.save(source / "x" / ".hidden.png")
    (source / "x" / "._b.png").write_bytes(b"of macOS")
    (source / ".git").mkdir()
    picture.save(source / ".git" / "d.png")
    (source / "x" / "notes.txt").write_text("no picture")
    (source / "gone.png").symlink_to(source / "nothing.png")
    (source / "e.exr").write_bytes(b"\x76\x2f\x31\x01" + bytes(60))
    report = tmp_path / "report.jsonl"
    options = ["--sigma", 5, "--recursive", "--report", report]
    code, out, err = run(capsys, "denoise", source, target, *options)
    assert code == 1
    assert "3 of 4 restored" in out
    assert "OpenEXR is not supported" in err
    found = sorted(str(p.relative_to(target)) for p in target.rglob("*") if p.is_file())
    assert found == ["a.png", "x/b.png", "x/y/c.png"]
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    assert {line["input"] for line in lines} == {
        str(source / name) for name in ("a.png", "x/b.png", "x/y/c.png", "e.exr")
    }
    for line in lines:
        if line["error"] is None:
            assert line["model"] == "denoise_gray"
            assert line["sigma"] == 5
            assert line["seconds"] > 0
            assert os.path.exists(line["output"])
        else:
            assert "OpenEXR" in line["error"]
    # Goes on where it stopped; what is there is left as it is.
    (target / "x" / "b.png").unlink()
    (source / "e.exr").unlink()
    before = (target / "a.png").stat().st_mtime_ns
    code, out, _ = run(capsys, "denoise", source, target, *options, "--skip-existing")
    assert code == 0
    assert "1 of 3 restored, 2 there already" in out
    assert (target / "a.png").stat().st_mtime_ns == before
    assert len(report.read_text().splitlines()) == len(lines) + 1
    # A folder in the tree it reads is not read again.
    code, out, _ = run(capsys, "denoise", source, source / "out", "--sigma", 5, "--recursive")
    assert (code, "3 of 3 restored" in out) == (0, True)
    code, out, _ = run(
        capsys, "denoise", source, source / "out", "--sigma", 5, "--recursive", "--force"
    )
    assert "3 of 3 restored" in out
    code, _, err = run(capsys, "denoise", source, tmp_path / "new", *options)
    assert code == 2
    assert "report.jsonl: the file exists already" in err


def test_brackets_in_the_folder_of_a_pattern(tmp_path, capsys, rng):
    folder = tmp_path / "photos [1]"
    folder.mkdir()
    picture = Image.fromarray(rng.integers(0, 255, (36, 40), dtype=np.uint8))
    for name in ("a.png", "b.png", "a.txt"):
        picture.save(folder / name, format="PNG")
    code, out, _ = run(capsys, "denoise", folder / "*", tmp_path / "out", "--sigma", 5)
    assert (code, "2 of 2 restored" in out) == (0, True)
    code, out, _ = run(capsys, "denoise", folder / "[a].png", tmp_path / "one", "--sigma", 5)
    assert "1 of 1 restored" in out


def test_force_keeps_links_and_modes(tmp_path, capsys, rng):
    picture = Image.fromarray(rng.integers(0, 255, (36, 40), dtype=np.uint8))
    picture.save(tmp_path / "a.png")
    target, link = tmp_path / "target.png", tmp_path / "link.png"
    target.write_bytes(b"old")
    target.chmod(0o600)
    link.symlink_to(target)
    assert run(capsys, "denoise", tmp_path / "a.png", link, "--sigma", 5, "--force")[0] == 0
    assert link.is_symlink()
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert image_io.read(target).pixels.shape == (36, 40, 1)
    name = tmp_path / ("n" * 246 + ".png")
    assert run(capsys, "denoise", tmp_path / "a.png", name, "--sigma", 5)[0] == 0
    assert name.exists()


@pytest.mark.slow
def test_a_name_that_the_terminal_cannot_show_is_no_error(tmp_path):
    source, target = tmp_path / "Bäume 木.png", tmp_path / "öfter.png"
    Image.new("L", (40, 40), 99).save(source)
    command = [sys.executable, "-m", "deepam_tf", "denoise", str(source), str(target)]
    done = subprocess.run(
        [*command, "--sigma", "5"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "1 of 1 restored" in done.stdout
    assert target.exists()


@pytest.mark.parametrize("command", ["denoise", "fuse"])
def test_tiny_pictures_without_a_level_are_told_what_to_do(tmp_path, capsys, command):
    Image.new("RGB", (20, 12), (9, 99, 200)).save(tmp_path / "tiny.png")
    inputs = [tmp_path / "tiny.png"] * (2 if command == "fuse" else 1)
    code, _, err = run(capsys, command, *inputs, tmp_path / "out.png")
    assert code == 2
    assert err.count("\n") == 1
    assert "tiny.png" in err
    assert "--sigma" in err
    assert run(capsys, command, *inputs, tmp_path / "out.png", "--sigma", 15)[0] == 0


@pytest.mark.parametrize(
    "arguments",
    [["--quality", "0"], ["--quality", "101"], ["--white-level", "0"], ["--white-level", "much"]],
)
def test_impossible_options_are_refused(capsys, arguments):
    with pytest.raises(SystemExit) as stop:
        cli.main(["denoise", "a.png", "b.png", *arguments])
    assert stop.value.code == 2
