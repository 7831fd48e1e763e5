"""The installed command, on good and bad files, in processes of its own."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import sysconfig
import threading
import time

import cv2
import numpy as np
import pytest
from PIL import Image

import deepam_tf
from deepam_tf import cli, image_io
from deepam_tf.cli import console, denoise, parser
from deepam_tf.files.stddev_maps import read_stddev
from deepam_tf.restoration import picture
from deepam_tf.restoration.pretrained import load_pretrained
from tests import helpers

COMMAND = pathlib.Path(sysconfig.get_path("scripts")) / "deepam"


def run(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run(
        [COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False
    )


def in_process(capsys, *arguments) -> tuple[int, str, str]:
    code = cli.main([str(argument) for argument in arguments])
    return code, *capsys.readouterr()


@pytest.fixture
def scene(rng) -> np.ndarray:
    """A noisy picture with edges, `[40, 50]`, uint8."""
    clean = np.full((40, 50), 60.0)
    clean[10:30, 15:40] = 180
    return np.clip(clean + 25 * rng.normal(size=clean.shape), 0, 255).astype(np.uint8)


def test_installed_command_restores_a_photograph_and_is_quiet(tmp_path, scene):
    cv2.imwrite(str(tmp_path / "noisy.png"), scene)
    done = run("denoise", tmp_path / "noisy.png", tmp_path / "clean.png", "--sigma", 25)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "1 of 1 restored" in done.stdout
    restored = cv2.imread(str(tmp_path / "clean.png"), cv2.IMREAD_UNCHANGED)
    assert restored.shape == scene.shape
    assert restored[14:26, 20:35].std() < 0.4 * scene[14:26, 20:35].std()


@pytest.mark.slow
def test_installed_command_reports_a_bad_file_in_one_line(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    done = run("denoise", tmp_path / "bad.png", tmp_path / "out.png")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "bad.png" in done.stderr
    assert not (tmp_path / "out.png").exists()


def test_version_and_python_m():
    assert run("--version").stdout == f"deepam {deepam_tf.__version__}\n"
    done = subprocess.run(
        [sys.executable, "-m", "deepam_tf.cli", "--version"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == f"deepam {deepam_tf.__version__}\n"


@pytest.mark.slow
def test_depth_colour_and_alpha_are_kept(tmp_path, capsys, scene):
    color16 = np.stack([scene, scene[::-1], scene[:, ::-1]], -1).astype(np.uint16) * 257
    alpha = np.arange(color16[..., 0].size, dtype=np.uint16).reshape(color16.shape[:2])
    cv2.imwrite(str(tmp_path / "a.png"), np.dstack([color16, alpha]))
    code, _, _ = in_process(capsys, "denoise", tmp_path / "a.png", tmp_path / "b.png")
    assert code == 0
    before, after = image_io.read(tmp_path / "a.png"), image_io.read(tmp_path / "b.png")
    assert after.dtype == np.uint16
    np.testing.assert_array_equal(after.alpha, before.alpha)
    assert np.abs(after.pixels - before.pixels).mean() < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("method", ["deepam", "tv"])
def test_ensemble_is_the_mean_over_orientations(tmp_path, capsys, scene, method):
    cv2.imwrite(str(tmp_path / "a.png"), scene)
    cv2.imwrite(str(tmp_path / "turned.png"), np.rot90(scene))
    options = ["--sigma", 25, "--method", method, "--ensemble"]
    for name in ("a", "turned"):
        arguments = [tmp_path / f"{name}.png", tmp_path / f"{name}_out.png", *options]
        assert in_process(capsys, "denoise", *arguments)[0] == 0
    straight, turned = (
        image_io.read(tmp_path / f"{name}_out.png").pixels for name in ("a", "turned")
    )
    np.testing.assert_allclose(turned, np.rot90(straight), atol=1.01 / 255)
    if method == "deepam":
        model = load_pretrained("denoise_gray")
        once, mean = (
            deepam_tf.restore(
                model,
                image_io.read(tmp_path / "a.png").pixels,
                noise_stddev=25 / 255,
                self_ensemble=chosen,
            )
            for chosen in (False, True)
        )
        np.testing.assert_allclose(straight, np.clip(mean, 0, 1), atol=0.51 / 255)
        assert np.abs(once - mean).max() > 1 / 255


@pytest.mark.slow
def test_bfloat16_changes_less_than_the_noise_leaves(tmp_path, capsys, scene):
    cv2.imwrite(str(tmp_path / "a.png"), scene)
    arguments = ["denoise", tmp_path / "a.png", tmp_path / "b.png", "--sigma", 25]
    assert in_process(capsys, *arguments, "--bfloat16")[0] == 0
    half = image_io.read(tmp_path / "b.png").pixels
    noisy = image_io.read(tmp_path / "a.png").pixels
    models = (load_pretrained("denoise_gray", dtype=x) for x in ("mixed_bfloat16", "float32"))
    expected, full = (deepam_tf.restore(model, noisy, noise_stddev=25 / 255) for model in models)
    np.testing.assert_allclose(half, np.clip(expected, 0, 1), atol=0.51 / 255)
    assert 0 < np.sqrt(np.mean((expected - full) ** 2)) < 1 / 255
    code, _, err = in_process(capsys, *arguments, "--force", "--bfloat16", "--method", "tv")
    assert code == 2
    assert "--bfloat16" in err


def test_orientation_is_applied_once(tmp_path, capsys, scene):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(scene).save(tmp_path / "a.jpg", exif=exif, quality=98)
    assert in_process(capsys, "denoise", tmp_path / "a.jpg", tmp_path / "b.jpg")[0] == 0
    with Image.open(tmp_path / "b.jpg") as image:
        assert image.size == (40, 50)
        assert image.getexif().get(0x0112, 1) == 1


def test_folder_goes_on_after_bad_files_and_names_them(tmp_path, capsys, scene):
    source, target = tmp_path / "in", tmp_path / "out" / "deep"
    source.mkdir()
    for name in ("a.png", "d.png"):
        cv2.imwrite(str(source / name), scene)
    (source / "b.png").write_bytes(b"")
    (source / "c.jpg").write_text("not an image")
    (source / "e.png").mkdir()
    (source / "notes.txt").write_text("ignored")
    code, out, err = in_process(capsys, "denoise", source, target)
    assert code == 1
    assert "2 of 4 restored" in out
    assert "e.png" not in err
    assert "b.png" in err
    assert "c.jpg" in err
    assert sorted(path.name for path in target.iterdir()) == ["a.png", "d.png"]


def test_glob_and_several_inputs(tmp_path, capsys, scene):
    for name in ("a1.png", "a2.png", "b.png"):
        cv2.imwrite(str(tmp_path / name), scene)
    code, out, _ = in_process(capsys, "denoise", tmp_path / "a*.png", tmp_path / "out")
    assert (code, sorted(p.name for p in (tmp_path / "out").iterdir())) == (0, ["a1.png", "a2.png"])
    code, out, err = in_process(
        capsys, "denoise", tmp_path / "b.png", tmp_path / "out" / "a1.png", tmp_path / "out"
    )
    assert code == 1  # a1.png exists there already
    assert "1 of 2 restored" in out
    assert "exists already" in err


def test_inputs_of_one_name_do_not_replace_each_other(tmp_path, capsys, scene):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / "a.png"), scene)
    code, out, err = in_process(
        capsys, "denoise", tmp_path / "x", tmp_path / "y", tmp_path / "out", "--force"
    )
    assert code == 1
    assert "1 of 2 restored" in out
    assert "another input" in err


def test_a_picture_is_read_and_written_while_another_is_computed(
    tmp_path, capsys, scene, monkeypatch
):
    """The first waits, as it is computed, for the second to be read: alone it would not be."""
    for name in ("a.png", "b.png", "c.png"):
        cv2.imwrite(str(tmp_path / name), scene)
    read, at_once = threading.Event(), []
    open_pictures, restore_picture = image_io.open_pictures, picture.restore_picture

    def opened(path, **options):
        if path.name == "b.png":
            read.set()
        return open_pictures(path, **options)

    def restored(*args, **options):
        at_once.append(1)
        assert sum(at_once) == 1
        assert read.wait(30)
        result = restore_picture(*args, **options)
        at_once.append(-1)
        return result

    monkeypatch.setattr(image_io, "open_pictures", opened)
    monkeypatch.setattr(denoise, "restore_picture", restored)
    code, out, err = in_process(capsys, "denoise", tmp_path, tmp_path / "out", "--sigma", 25)
    assert code == 0, err
    assert "3 of 3 restored" in out


@pytest.mark.slow
def test_the_seconds_of_a_picture_leave_out_what_it_waited_for_its_turn(
    tmp_path, capsys, scene, monkeypatch
):
    """The other is ready long before the first is done, whose time is not its own."""
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(tmp_path / name), scene)
    ready, seconds = [threading.Event(), threading.Event()], 2.0
    check_measurable, restore_picture = console.check_measurable, picture.restore_picture

    def read(source, *rest):
        check_measurable(source, *rest)
        ready[source.name == "b.png"].set()

    def restored(*args, **options):
        if not first:
            first.append(all(event.wait(30) for event in ready))
            time.sleep(seconds)
        return restore_picture(*args, **options)

    first = [True]  # until all is warm
    monkeypatch.setattr(console, "check_measurable", read)
    monkeypatch.setattr(denoise, "restore_picture", restored)
    report = tmp_path / "report.jsonl"
    level = "--sigma", 25
    in_process(capsys, "denoise", tmp_path / "a.png", tmp_path / "warm.png", *level)
    first.clear()
    ready[0].clear()
    order = "denoise", tmp_path / "a.png", tmp_path / "b.png", tmp_path / "out", *level
    code, _, err = in_process(capsys, *order, "--report", report)
    assert code == 0, err
    taken = sorted(json.loads(line)["seconds"] for line in report.read_text().splitlines())
    assert taken[0] < seconds <= taken[1]


@pytest.mark.slow
def test_an_interrupted_folder_ends_at_once_and_leaves_nothing_half_written(tmp_path, rng):
    for number in range(60):
        noisy = rng.integers(0, 256, (160, 160), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / f"{number}.png"), noisy)
    order = ["denoise", tmp_path, tmp_path / "out", "--sigma", "25", "--tile", "64"]
    command = subprocess.Popen(
        [COMMAND, *map(str, order)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Of a parent in the background a child would inherit that interrupts are ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "out" / "0.png").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    command.send_signal(signal.SIGINT)
    _, err = command.communicate(timeout=60)
    assert command.returncode == 130
    assert "Traceback" not in err
    left = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert "0.png" in left
    assert len(left) < 60
    for name in left:
        assert image_io.read(tmp_path / "out" / name).pixels.shape == (160, 160, 1)


@pytest.mark.slow
def test_deviations_of_two_pictures_do_not_replace_each_other(tmp_path, capsys, scene):
    """In the tree of the results; where two have one name, the second is refused."""
    folder, stds = tmp_path / "in", tmp_path / "stds"
    for name in ("a.png", "a.tiff", "x/a.png"):
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        cv2.imwrite(str(folder / name), scene)
    order = ["denoise", folder, tmp_path / "out", "--recursive", "--sigma", 25, "--force"]
    code, out, err = in_process(capsys, *order, "--uncertainty", stds)
    assert code == 1
    assert "2 of 3 restored" in out
    assert f"{folder / 'a.tiff'}: another input of this name went to {stds / 'a.png'}" in err
    assert (stds / "a.png").exists()
    assert (stds / "x" / "a.png").exists()


def test_nothing_is_overwritten_without_force(tmp_path, capsys, scene):
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), scene)
    before = path.read_bytes()
    code, _, err = in_process(capsys, "denoise", path, path)
    assert (code, path.read_bytes()) == (2, before)
    assert "--force" in err
    assert in_process(capsys, "denoise", path, path, "--force")[0] == 0
    assert path.read_bytes() != before


@pytest.mark.slow
def test_colour_and_gray_take_weights_of_their_own(tmp_path, capsys, monkeypatch, scene, rng):
    """A gray picture in a colour file counts as gray: its noise is the same in all channels."""
    loaded = []

    def load(name, **overrides):
        loaded.append(name)
        return load_pretrained(name, **overrides)

    monkeypatch.setattr(picture, "load_pretrained", load)
    picture._cached_restorer.cache_clear()
    folder = tmp_path / "in"
    folder.mkdir()
    gray = cv2.cvtColor(scene, cv2.COLOR_BGR2GRAY) if scene.ndim == 3 else scene
    cv2.imwrite(str(folder / "a_gray.png"), gray)
    cv2.imwrite(str(folder / "b_threefold.png"), np.repeat(gray[..., None], 3, axis=-1))
    assert in_process(capsys, "denoise", folder, tmp_path / "out")[0] == 0
    assert loaded == ["denoise_gray"]
    threefold = cv2.imread(str(tmp_path / "out" / "b_threefold.png"))
    np.testing.assert_array_equal(threefold[..., 0], threefold[..., 2])
    color = rng.normal([90, 120, 150], 10, (*gray.shape, 3)).astype(np.uint8)
    cv2.imwrite(str(folder / "c_color.png"), color)
    assert in_process(capsys, "denoise", folder, tmp_path / "more")[0] == 0
    assert loaded[1:] == ["denoise_color"]  # the others are there already


@pytest.mark.slow
def test_a_level_the_weights_do_not_cover_is_said(tmp_path, capsys, scene):
    cv2.imwrite(str(tmp_path / "a.png"), scene)
    files = tmp_path / "a.png", tmp_path / "b.png"
    _, _, err = in_process(capsys, "denoise", *files, "--sigma", "100")
    assert "trained for sigma 0 to 75" in err
    assert (tmp_path / "b.png").exists()
    options = ["--force", "--sigma", "50", "--model", "denoise_gray_s25"]
    _, _, err = in_process(capsys, "denoise", *files, *options)
    assert "trained for sigma 25 alone" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.png", "out.png"], "no such file"),
        (["a.png", "missing/out.png"], "folder"),
        (["a.png", "out.xyz"], "suffix"),
        (["empty", "out"], "no image files"),
        (["*.none", "out"], "no image files"),
        (["a.png", "a.png", "a.png"], "need a folder"),
        (["a.png", "out.png", "--model", "denoise_gray_s2"], "Did you mean"),
        (["a.png", "out.png", "--max-megapixels", "0.001"], "the limit is 0.001"),
    ],
)
def test_bad_input_ends_with_one_line_and_code_2(
    tmp_path, capsys, monkeypatch, scene, arguments, message
):
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("a.png", scene)
    pathlib.Path("empty").mkdir()
    code, _, err = in_process(capsys, "denoise", *arguments)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "empty"]


@pytest.mark.parametrize("method", ["tv", "l0", "lp"])
def test_classical_methods(tmp_path, capsys, scene, method):
    cv2.imwrite(str(tmp_path / "a.png"), scene)
    code, _, err = in_process(
        capsys, "denoise", tmp_path / "a.png", tmp_path / "b.png", "--method", method, "--sigma=30"
    )
    assert (code, err) == (0, "")
    restored = cv2.imread(str(tmp_path / "b.png"), cv2.IMREAD_UNCHANGED)
    assert restored[14:26, 20:35].std() < 0.8 * scene[14:26, 20:35].std()


@pytest.mark.parametrize("sigma", ["0", "-3", "256", "nan", "much", "Auto"])
def test_impossible_noise_levels_are_refused(capsys, sigma):
    with pytest.raises(SystemExit) as stop:
        cli.main(["denoise", "a.png", "b.png", f"--sigma={sigma}"])
    assert stop.value.code == 2


def test_info_lists_versions_and_weights(capsys):
    code, out, _ = in_process(capsys, "info")
    assert code == 0
    for text in ("tensorflow", "keras", "devices", "denoise_gray_s25", "BSD68", "dB"):
        assert text in out
    lines = out.splitlines()
    assert len(lines) <= 24
    assert max(len(line.rstrip()) for line in lines) <= 80


def test_info_shows_one_card(capsys):
    code, out, _ = in_process(capsys, "info", "--card", "denoise_gray")
    assert code == 0
    for text in ("## Intended use", "## Limits", "Licence of the data", "SSIM"):
        assert text in out
    assert "---" not in out.splitlines()  # the metadata are for hubs
    code, _, error = in_process(capsys, "info", "--card", "denoise_grey")
    assert code == 2
    assert "Did you mean 'denoise_gray'?" in error


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("deepam d", {"denoise", "demo"}),
        ("deepam denoise --sig", {"--sigma", "--signal-dependent"}),
        ("deepam info --card up", {"upsample_depth", "upsample_depth_scales"}),
        ("deepam denoise --method t", {"tv"}),
    ],
)
def test_bash_completes(words, expected, capsys, tmp_path):
    pytest.importorskip("shtab")
    code, script, _ = in_process(capsys, "completion", "bash")
    assert code == 0
    (tmp_path / "script").write_text(script)
    asked = (
        f"source ./script; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); "
        '_shtab_deepam; echo "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-c", asked], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert set(done.stdout.split()) == expected


def test_completions_do_not_wait_for_tensorflow(tmp_path):
    pytest.importorskip("shtab")
    printed = helpers.run_python(
        "import sys, io, contextlib\n"
        "sys.argv = ['deepam']\n"
        "from deepam_tf.cli.main import main\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n"
        "    code = main(['completion', 'zsh']), main(['info', '--card', 'fuse_nir'])\n"
        "print(*code, 'tensorflow' in sys.modules)"
    )
    assert printed.split() == ["0", "0", "False"]


@pytest.mark.slow
def test_demo_does_not_overwrite_photographs(tmp_path, capsys, scene):
    cv2.imwrite(str(tmp_path / "photo.png"), scene)
    assert in_process(capsys, "demo", tmp_path / "photo.png")[0] == 2
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "photo.png"), -1), scene)


def test_paths_are_printed_as_they_are(tmp_path, capsys, scene):
    cv2.imwrite(str(tmp_path / "a.png"), scene)
    target = tmp_path / f"res[final]{'x' * 100}.png"
    _, out, _ = in_process(capsys, "denoise", tmp_path / "a.png", target)
    assert out.strip().endswith(str(target))


@pytest.mark.slow
def test_demo_restores_and_draws(tmp_path, capsys):
    code, out, _ = in_process(capsys, "demo", tmp_path / "demo.png")
    assert code == 0
    before, after = (float(line.split()[1]) for line in out.splitlines()[:2])
    assert before < 21
    assert after > before + 9
    assert image_io.read(tmp_path / "demo.png").pixels.shape[1] == 3 * 256


def test_unknown_noise_is_estimated_and_shown(tmp_path, capsys, rng):
    noisy = np.clip(120 + 20 * rng.normal(size=(64, 64)), 0, 255).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), noisy)
    code, _, err = in_process(
        capsys, "denoise", tmp_path / "a.png", tmp_path / "b.png", "--method", "tv"
    )
    assert code == 0
    sigma = float(err.split("noise estimated, sigma ")[1].split()[0])
    assert sigma == pytest.approx(20, abs=1.5)


def test_noise_that_grows_with_the_light_is_estimated_and_shown(tmp_path, capsys, rng):
    clean = np.tile(np.linspace(20, 230, 96), (96, 1))
    deviation = np.sqrt(0.02 * 255 * clean)
    noisy = np.clip(clean + deviation * rng.normal(size=clean.shape), 0, 255).astype(np.uint8)
    source = tmp_path / "noisy.png"
    cv2.imwrite(str(source), noisy)
    errors = {}
    for name, option in (("map", ["--signal-dependent"]), ("level", [])):
        target = tmp_path / f"{name}.png"
        code, _, said = in_process(capsys, "denoise", source, target, *option)
        assert code == 0
        assert "noise estimated" in said
        restored = cv2.imread(str(target), cv2.IMREAD_UNCHANGED).astype(float)
        errors[name] = np.abs(restored - clean)[:, 48:].mean()
    assert errors["map"] < errors["level"]


@pytest.mark.parametrize(
    "options", [["--sigma", "25"], ["--method", "tv"], ["--model", "denoise_gray_s25"]]
)
def test_signal_dependent_noise_stands_alone(tmp_path, capsys, scene, options):
    cv2.imwrite(str(tmp_path / "a.png"), scene)
    code, _, said = in_process(
        capsys, "denoise", tmp_path / "a.png", tmp_path / "b.png", "--signal-dependent", *options
    )
    assert code == 2
    assert "Received: --" in said
    assert not (tmp_path / "b.png").exists()


@pytest.mark.slow
def test_help_and_wrong_arguments_do_not_wait_for_tensorflow():
    for arguments in (["--help"], ["denoise", "--help"], ["--version"], ["denoise", "--nonsense"]):
        printed = helpers.run_python(
            "import sys\n"
            f"sys.argv = ['deepam', *{arguments}]\n"
            "from deepam_tf.cli.main import main\n"
            "try:\n    main()\nexcept SystemExit:\n    pass\n"
            "print(sorted({'tensorflow', 'keras', 'matplotlib'} & set(sys.modules)))"
        )
        assert printed.strip().endswith("[]"), arguments


def test_without_a_command_the_commands_are_listed(capsys):
    code, out, _ = in_process(capsys)
    assert code == 2
    assert "denoise" in out


def test_the_parser_knows_the_classical_methods():
    assert tuple(deepam_tf.classical.METHODS) == parser.CLASSICAL_METHODS


def test_another_backend_of_keras_is_one_line():
    for backend in ("jax", "none_such"):
        done = subprocess.run(
            [sys.executable, "-m", "deepam_tf", "info"],
            capture_output=True,
            text=True,
            env={**os.environ, "KERAS_BACKEND": backend},
        )
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1, done.stderr
        assert f"backend={backend!r}" in done.stderr


@pytest.mark.slow
def test_deviations_are_written_beside_the_picture(tmp_path, scene, capsys):
    cv2.imwrite(str(tmp_path / "noisy.png"), scene)
    arguments = ["denoise", tmp_path / "noisy.png", tmp_path / "clean.png", "--sigma", 25]
    code, _, err = in_process(capsys, *arguments, "--uncertainty", tmp_path / "std.png")
    assert code == 0, err
    stddev = read_stddev(tmp_path / "std.png")
    assert stddev.shape == scene.shape
    assert 0.001 < np.median(stddev) < 25 / 255
    assert (tmp_path / "std_preview.png").exists()
    # The picture is the one that is written without.
    assert in_process(capsys, *arguments[:2], tmp_path / "plain.png", *arguments[3:])[0] == 0
    assert (tmp_path / "plain.png").read_bytes() == (tmp_path / "clean.png").read_bytes()

    folder = tmp_path / "several"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(folder / name), scene)
    arguments = ["denoise", folder, tmp_path / "out", "--sigma", 25]
    assert in_process(capsys, *arguments, "--uncertainty", tmp_path / "stds")[0] == 0
    assert {path.name for path in (tmp_path / "stds").iterdir()} >= {"a.png", "b_preview.png"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--method", "tv"], "--method tv"),
        (["--model", "denoise_gray_s25_k1"], "denoise_gray_s25_k1"),
        (["--uncertainty", "std.jpg"], ".npy"),
    ],
)
def test_deviations_that_cannot_be_had_are_refused_before_any_work(
    tmp_path, scene, capsys, options, message
):
    cv2.imwrite(str(tmp_path / "noisy.png"), scene)
    arguments = [tmp_path / "noisy.png", tmp_path / "clean.png", "--sigma", 25]
    code, _, err = in_process(
        capsys, "denoise", *arguments, "--uncertainty", tmp_path / "std.npy", *options
    )
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["noisy.png"]
