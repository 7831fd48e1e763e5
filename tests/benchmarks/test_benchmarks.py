"""The benchmarks measure what they say and draw what they measured."""

from __future__ import annotations

import functools
import importlib

import numpy as np
import pytest

import deepam_tf
from deepam_tf import data, image_io
from deepam_tf.cli.demo import PICTURE


def test_ways_to_be_compared_are_asked_in_turns():
    pytest.importorskip("tensorflow_serving")
    from benchmarks import serving

    calls: list[str] = []
    ways = {name: functools.partial(calls.append, name) for name in "abc"}
    taken = serving.measure_in_turns(ways, seconds=0.0)
    assert calls == list("abc") * (2 + serving.LEAST_ROUNDS)
    assert {name: len(seconds) for name, seconds in taken.items()} == dict.fromkeys(
        "abc", serving.LEAST_ROUNDS
    )


@pytest.mark.slow
@pytest.mark.parametrize(("number", "target"), [(7, "depth"), (8, "nir")])
def test_figures_of_joint_restoration_are_drawn(tmp_path, monkeypatch, number, target):
    from benchmarks import joint_figures

    rng = np.random.default_rng(0)
    for folder, channels in (("rgb", 3), (target, 1)):
        pixels = rng.uniform(0.2, 1, size=(64, 64, channels)).astype(np.float32)
        picture = image_io.Picture(pixels, None, np.dtype("uint8"))
        (tmp_path / folder).mkdir()
        image_io.write(tmp_path / folder / "a.png", picture)
    small = {"filters": 4, "depth": 6}
    models = {
        "upsample_depth": deepam_tf.DeepAM(1, guide_channels=3, mask=True, **small),
        "fuse_nir": deepam_tf.DeepAM(
            1, image_channels=3, guide_channels=1, noise_level=True, **small
        ),
        "denoise_color": deepam_tf.DeepAM(1, image_channels=3, noise_level=True, **small),
    }
    monkeypatch.setattr(deepam_tf, "load_pretrained", models.__getitem__)
    out = tmp_path / "out"
    arguments = [str(number), "--data", str(tmp_path), "--out", str(out)]
    assert joint_figures.main(arguments) == 0
    assert image_io.read(out / f"figure_{number}.png").pixels.std() > 0.1
    assert joint_figures.main([*arguments, "--names", "b"]) == 2


@pytest.mark.slow
def test_a_network_told_the_map_does_better_than_one_told_a_level(tmp_path, capsys):
    from benchmarks import sensor_noise

    picture = image_io.read(PICTURE)
    gray = data.to_channels(picture.pixels, 1)[:128, :128]
    image_io.write(tmp_path / "a.png", image_io.Picture(gray, None, picture.dtype))
    restorer = deepam_tf.Restorer(deepam_tf.load_pretrained("denoise_gray"))
    sensor = list(sensor_noise.SENSORS.values())[1]
    pictures = sensor_noise.restorations(restorer, gray, *sensor, 0)
    figures = {name: sensor_noise.psnr(gray, x) for name, x in pictures.items()}
    assert figures["noisy"] < figures["one level, true"] < figures["map, estimated"]
    assert figures["map, estimated"] == pytest.approx(figures["map, true parameters"], abs=0.5)
    drawn = tmp_path / "drawn" / "a.png"
    drawn.parent.mkdir()
    assert sensor_noise.main(["--data", str(tmp_path), "--picture", str(drawn)]) == 0
    assert min(image_io.read(drawn).pixels.shape[:2]) > 400
    assert f"{figures['map, estimated']:.1f}"[:2] in capsys.readouterr().out
    assert sensor_noise.main(["--data", str(tmp_path / "none")]) == 2


def test_cost_counts_the_kernels_that_a_pixel_meets():
    from benchmarks import denoising_cost

    model = deepam_tf.DeepAM(2, filters=4, depth=3, pixel_unshuffle=2)
    # On 2x2 blocks: 4 maps in, two hidden convolutions, v with 8 maps and gamma with 4.
    blocks = 9 * (4 * 4 + 4 * 4 + 4 * 8 + 4 * 4)
    assert denoising_cost.convolution_cost(model) == 2 * blocks / 4


@pytest.mark.slow
def test_cost_table_is_measured_and_drawn(tmp_path, capsys):
    from benchmarks import denoising_cost

    picture = image_io.read(PICTURE)
    gray = data.to_channels(picture.pixels, 1)[:96, :96]
    image_io.write(tmp_path / "a.png", image_io.Picture(gray, None, picture.dtype))
    arguments = ["--data", str(tmp_path), "--out", str(tmp_path / "out")]
    assert denoising_cost.main([*arguments, "--bfloat16", "--model", "denoise_gray"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("denoise_gray") == 2
    assert "denoise_gray, bfloat16" in shown
    assert image_io.read(tmp_path / "out" / "denoising_cost.png").pixels.std() > 0
    assert denoising_cost.main([*arguments, "--dncnn", str(tmp_path), "--model"]) == 2
    assert "published weights" in capsys.readouterr().err


def test_the_busiest_detail_is_found(rng):
    from benchmarks import figures

    image = np.full([60, 80, 1], 0.5, np.float32)
    image[30:50, 10:30] = rng.uniform(size=(20, 20, 1))
    rows, columns = figures._busiest(image, 16)
    assert 28 <= rows.start <= rows.stop <= 52
    assert 8 <= columns.start <= columns.stop <= 32
    assert image[rows, columns].shape == (16, 16, 1)
    assert image[figures._busiest(image, 100)].shape == (60, 60, 1)


@pytest.mark.slow
def test_figure_6_shows_every_denoiser(tmp_path, monkeypatch):
    from benchmarks import figures

    gray = data.to_channels(image_io.read(PICTURE).pixels, 1)[:64, :80]
    image_io.write(tmp_path / "a.png", image_io.Picture(gray, None, np.dtype(np.uint8)))
    peers = {"BM3D": lambda image: image}  # whose package the tests do without
    monkeypatch.setattr(figures.peers, "classical_denoisers", lambda stddev: peers)
    monkeypatch.setattr(figures, "models_for", lambda stddev: ["denoise_gray"])
    arguments = ["--figure", "6", "--image", str(tmp_path / "a.png"), "--out", str(tmp_path)]
    assert figures.main(arguments) == 0
    assert min(image_io.read(tmp_path / "figure_6.png").pixels.shape[:2]) > 400
    assert figures.main([*arguments, "--dncnn", str(tmp_path)]) == 2


@pytest.mark.slow
def test_the_gallery_draws_what_the_solver_fills(tmp_path):
    pytest.importorskip("skimage")
    from benchmarks import gallery

    assert gallery.main(["--out", str(tmp_path), "--only", "cloning", "filling"]) == 0
    height, width, _ = image_io.read(tmp_path / "filling.jpg").pixels.shape
    assert (height, width) == (256 + 26, 3 * 256)
    panels = gallery.PICTURES["cloning"]()
    outside = np.abs(panels["cloned"] - panels["target"])[:40]
    assert outside.max() < 0.01


@pytest.mark.slow
@pytest.mark.parametrize("command", ["denoise", "upsample"])
def test_memory_of_the_command_grows_with_the_picture(tmp_path, capsys, command):
    from benchmarks import memory

    image_io.write(tmp_path / "a.png", image_io.read(PICTURE))
    sizes = ["0.05", "0.2"] if command == "upsample" else ["0.1", "1"]
    arguments = ["--data", str(tmp_path), "--megapixels", *sizes]
    assert memory.main([*arguments, *["--upsample"] * (command == "upsample")]) == 0
    small, large = (
        int(line.split("│")[3]) for line in capsys.readouterr().out.splitlines() if "x" in line
    )
    assert 0 <= small < large < 2000  # a small one may fit into what was there before
    with pytest.raises(ValueError, match="no such file"):
        memory.peak_mebibytes(["denoise", str(tmp_path / "none.png"), str(tmp_path / "b.png")])


def test_pictures_of_other_sizes_are_cut_or_mirrored(rng):
    from benchmarks.inference import fitted

    image = rng.uniform(size=(5, 7))
    larger = fitted(image, 12, 3)
    assert larger.shape == (12, 3)
    np.testing.assert_array_equal(larger[:5], image[:, :3])
    np.testing.assert_array_equal(larger[5:10], image[::-1, :3])


@pytest.mark.slow
def test_speed_is_compared_in_one_run(tmp_path, capsys):
    from benchmarks import denoising_cost

    picture = image_io.read(PICTURE)
    gray = data.to_channels(picture.pixels, 1)[:96, :96]
    image_io.write(tmp_path / "a.png", image_io.Picture(gray, None, picture.dtype))
    shapes = [(3, 3, 1, 4), (3, 3, 4, 1)]
    np.savez(
        tmp_path / "sigma25.npz",
        **{f"w{i}": np.zeros(shape, np.float32) for i, shape in enumerate(shapes)},
        **{f"b{i}": np.zeros(shape[-1], np.float32) for i, shape in enumerate(shapes)},
    )
    arguments = ["--data", str(tmp_path), "--sizes", "80x64", "--model", "denoise_gray"]
    assert denoising_cost.main([*arguments, "--dncnn", str(tmp_path), "--rounds", "1"]) == 0
    assert "80x64" in capsys.readouterr().out
    assert denoising_cost.main(arguments) == 2
    assert "--dncnn" in capsys.readouterr().err


@pytest.mark.slow
def test_overlaps_and_solves_are_measured(tmp_path, capsys):
    from benchmarks import inference

    image_io.write(tmp_path / "a.png", image_io.read(PICTURE))
    assert inference.main(["--data", str(tmp_path), "--side", "120", "--rounds", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    largest = [float(line.split("│")[2]) for line in lines if line.startswith(("│ 16", "│ 45"))]
    assert largest[0] >= largest[1] >= 0
    assert sum("Chebyshev" in line for line in lines) == 2
    assert inference.main(["--data", str(tmp_path / "none")]) == 2
    assert "An existing folder is needed" in capsys.readouterr().err


@pytest.mark.slow
def test_the_profiler_finds_what_the_time_goes_into(tmp_path, capsys):
    from benchmarks import profiler

    kinds = {
        "iteration_1_aggregation/Relu:_FusedConv2D": "convolutions",
        "iteration_1_aggregation/Relu:_MklNativeFusedConv2D": "convolutions",
        "iteration_1_aggregation/norm/FusedBatchNormV3:FusedBatchNormV3": "normalisation",
        "iteration_2_reconstruction/reconstruct/while/mul:Mul": "solves",
        "iteration_2_aggregation/space:SpaceToDepth": "rearranging and copies",
        "iteration_2_aggregation/sub:Sub": "the rest",
        "KernelAndDeviceFunc::Run": None,
        "EagerLocalExecute: __inference_run_3655": None,
    }
    assert {name: profiler.kind_of(name) for name in kinds} == kinds
    out = tmp_path / "profile.png"
    arguments = ["--data", str(PICTURE.parent), "--side", "64", "--log-dir", str(tmp_path / "logs")]
    assert profiler.main([*arguments, "--out", str(out)]) == 0
    assert image_io.read(out).pixels.std() > 0.05
    assert len(list((tmp_path / "logs").rglob("*.xplane.pb"))) == 2
    rows = [x.split("│") for x in capsys.readouterr().out.splitlines() if "before" in x]
    convolutions, solves = (float(rows[0][column]) for column in (2, 5))
    assert convolutions > 1
    assert solves > 1
    nowhere = ["--data", str(tmp_path / "none"), "--out", str(out)]
    assert profiler.main(nowhere) == 2


@pytest.mark.parametrize("name", ["blind", "camera_statistics"])
def test_a_folder_that_holds_nothing_is_an_error_of_the_command(tmp_path, capsys, name):
    command = importlib.import_module(f"benchmarks.{name}").main
    for folder in (tmp_path, tmp_path / "none"):
        assert command(["--data", str(folder)]) == 2
        assert str(folder) in capsys.readouterr().err
