"""Measuring denoisers and guided restoration, ours and others."""

from __future__ import annotations

import csv

import cv2
import numpy as np
import pytest
from PIL import Image

import deepam_tf
from training import evaluate, evaluate_depth, evaluate_fusion, paper_tables
from training.evaluation import (
    bilateral_solver,
    denoising,
    depth,
    depth_peers,
    fusion,
    paper,
    peers,
    scores,
)


@pytest.fixture
def folder(tmp_path, rng):
    path = tmp_path / "images"
    path.mkdir()
    for i in range(3):
        image = cv2.GaussianBlur(rng.uniform(0, 255, (40, 36)), (0, 0), 3)
        cv2.imwrite(str(path / f"{i}.png"), image.astype(np.uint8))
    return path


def test_evaluation_by_hand(rng):
    images = {f"{i}.png": rng.uniform(size=(16, 18)).astype(np.float32) for i in range(2)}
    found = scores.evaluate(images, {"half": lambda noisy: 0.5 * noisy + 2 * (noisy > 1)}, 0.1)
    by_name = {(score.image, score.method): score for score in found}
    for index, (name, clean) in enumerate(images.items()):
        noisy = clean + 0.1 * np.random.default_rng(index).standard_normal(clean.shape)
        mse = np.mean((noisy - clean) ** 2)
        assert by_name[name, "noisy"].psnr == pytest.approx(-10 * np.log10(mse), abs=1e-3)
        restored = np.clip(0.5 * noisy + 2 * (noisy > 1), 0, 1)
        mse = np.mean((restored - clean) ** 2)
        assert by_name[name, "half"].psnr == pytest.approx(-10 * np.log10(mse), abs=1e-3)


@pytest.mark.slow
def test_evaluation_command_writes_protocol_and_scores(tmp_path, folder, capsys):
    out = tmp_path / "new" / "scores.csv"
    command = ["--data", str(folder), "--sigma", "25", "--ensemble", "--out", str(out)]
    assert evaluate.main(command) == 0
    printed = capsys.readouterr().out
    assert "noisy" in printed
    assert "denoise_gray_s25" in printed
    lines = out.read_text().splitlines()
    header = [line for line in lines if line.startswith("#")]
    assert any("default_rng(i)" in line for line in header)
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    assert len(rows) == 3 * 5
    ours = [float(row["psnr"]) for row in rows if row["method"] == "denoise_gray_s25"]
    noisy = [float(row["psnr"]) for row in rows if row["method"] == "noisy"]
    assert np.mean(ours) > np.mean(noisy) + 3
    mean = [float(row["psnr"]) for row in rows if row["method"].endswith("s25, 8 orientations")]
    assert 0 < abs(np.mean(mean) - np.mean(ours)) < 0.5


@pytest.mark.slow
def test_colour_is_restored_channel_by_channel_where_a_model_has_one(tmp_path, folder, rng):
    for i in range(2):
        image = cv2.GaussianBlur(rng.uniform(0, 255, (32, 36, 3)), (0, 0), 3)
        cv2.imwrite(str(folder / f"color{i}.png"), image.astype(np.uint8))
    names = tmp_path / "names.txt"
    names.write_text("first val/color1.png 0.5\n2 elsewhere/color0.png\n")
    images = denoising.read_images(folder, 3, only=names)
    assert {name: image.shape for name, image in images.items()} == {
        "color0.png": (32, 36, 3),
        "color1.png": (32, 36, 3),
    }
    restore = denoising.denoiser(deepam_tf.Restorer(deepam_tf.load_pretrained("denoise_gray")), 0.1)
    image = images["color0.png"]
    np.testing.assert_allclose(restore(image)[..., 1], restore(image[..., 1]), atol=1e-5)
    out = tmp_path / "scores.csv"
    command = ["--data", str(folder), "--only", str(names), "--color", "--model", "denoise_gray"]
    assert evaluate.main([*command, "--out", str(out)]) == 0
    text = out.read_text()
    assert "2 images, colour" in text
    assert text.count("denoise_gray,") == 2
    assert evaluate.main([*command, "--dncnn", str(tmp_path)]) == 2
    names.write_text("none.png")
    assert evaluate.main(command) == 2


@pytest.mark.slow
def test_paper_tables_measure_what_ships_beside_the_papers_figures(
    tmp_path, folder, capsys, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "40")  # narrower than the tables: no number may be cut
    out = tmp_path / "tables"
    arguments = ["--set12", str(folder), "--bsd68", str(folder), "--out", str(out)]
    assert paper_tables.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "28.61 / 0.801" in printed  # of the paper's own Table 2
    assert "(WNNM)" not in printed  # its Table 1 has twelve images
    with (out / "table_images_s50.csv").open() as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    own = [row for row in rows if row["method"] == "denoise_gray"]
    assert len(own) == 3
    mean = [np.mean([float(row[key]) for row in own]) for key in ("psnr", "ssim")]
    assert f"{mean[0]:.2f} / {mean[1]:.3f}" in printed
    assert paper_tables.main([*arguments[:1], str(tmp_path / "none")]) == 2


def test_models_take_part_at_the_levels_they_know():
    alone = [f"denoise_gray_s25{k}" for k in ("", "_k1", "_k2")]
    assert denoising.models_for(25 / 255) == ["denoise_gray", *alone]
    assert denoising.models_for(15 / 255) == ["denoise_gray", "denoise_gray_s15"]
    assert denoising.models_for(15 / 255, ["denoise_gray_s25", "fuse_nir"]) == []
    for row in paper.PAPER_1.values():
        assert len(row) == 12
    # The means that the README quotes.
    assert np.mean(paper.PAPER_1["DeepAM(3)"]) == pytest.approx(30.40, abs=0.005)
    assert np.mean(paper.PAPER_1["BM3D"]) == pytest.approx(30.00, abs=0.005)


def test_classical_peers_denoise(rng):
    pytest.importorskip("bm3d")
    pytest.importorskip("skimage")
    clean = cv2.GaussianBlur(rng.uniform(size=(48, 48)), (0, 0), 4).astype(np.float32)
    noisy = clean + 0.1 * rng.normal(size=clean.shape).astype(np.float32)
    for name, denoise in peers.classical_denoisers(0.1).items():
        error = np.mean((denoise(noisy) - clean) ** 2)
        assert error < 0.3 * np.mean((noisy - clean) ** 2), name


def test_bm3d_for_colour_takes_gray_photographs(rng):
    pytest.importorskip("bm3d")
    clean = cv2.GaussianBlur(rng.uniform(size=(48, 48)), (0, 0), 4)[..., np.newaxis]
    noisy = np.repeat(clean + 0.1 * rng.normal(size=clean.shape), 3, axis=-1).astype(np.float32)
    restored = peers.color_bm3d(0.1)(noisy)
    assert restored.shape == noisy.shape
    assert np.mean((restored - clean) ** 2) < 0.3 * np.mean((noisy - clean) ** 2)


def test_dncnn_is_the_input_minus_the_network(tmp_path, rng):
    w0, w1 = rng.normal(size=(3, 3, 1, 4)), rng.normal(size=(3, 3, 4, 1))
    b0, b1 = rng.normal(size=4), rng.normal(size=1)
    arrays = {"w0": w0, "b0": b0, "w1": w1, "b1": b1}
    np.savez(tmp_path / "w.npz", **{k: v.astype(np.float32) for k, v in arrays.items()})
    image = rng.uniform(size=(6, 7)).astype(np.float32)

    def convolve(x, w):
        kernels = np.moveaxis(w, (0, 1), (2, 3))
        return np.stack(
            [
                sum(
                    cv2.filter2D(x[..., i], -1, kernels[i, o], borderType=cv2.BORDER_CONSTANT)
                    for i in range(w.shape[2])
                )
                for o in range(w.shape[3])
            ],
            -1,
        )

    hidden = np.maximum(convolve(image[..., np.newaxis].astype(float), w0) + b0, 0)
    expected = image - (convolve(hidden, w1) + b1)[..., 0]
    np.testing.assert_allclose(peers.dncnn(tmp_path / "w.npz")(image), expected, atol=1e-4)
    half = peers.dncnn(tmp_path / "w.npz", "bfloat16")(image)
    assert half.dtype == np.float32
    assert 0 < np.abs(half - expected).max() < 0.05 * np.abs(expected - image).max() + 0.01
    with pytest.raises(ValueError, match="Received: no file"):
        peers.dncnn(tmp_path / "missing.npz")


def pairs(folder, target, guide, channels):
    """Two pairs: a target with an edge, and a guide that shows it."""
    for i in range(2):
        for name, count in ((target, channels[0]), (guide, channels[1])):
            image = np.full((48, 64, count), 60, np.uint8)
            image[:, 30 + i :] = 180
            (folder / name).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / name / f"{i}.png"), image)
    return folder


def test_interpolators_keep_a_ramp_and_blocks():
    truth = np.add.outer(np.arange(40.0), 2 * np.arange(56.0)).astype(np.float32) + 1
    sample = depth.observe(truth, np.zeros((40, 56, 3), np.uint8), 8)
    methods = depth_peers.interpolators()
    inside = slice(12, 28), slice(12, 44)
    # OpenCV's cubic kernel bends a ramp by a tenth of a sample; a wrong grid costs half of one.
    for name, error in (("bilinear", 0.05), ("bicubic", 1.5)):
        np.testing.assert_allclose(methods[name](sample)[inside], truth[inside], atol=error)
    np.testing.assert_array_equal(methods["nearest"](sample), np.kron(sample.low, np.ones((8, 8))))


def test_bilateral_solver_respects_the_edges_of_the_guide(rng):
    guide = np.zeros((32, 32, 3), np.uint8)
    guide[:, 16:] = 200
    truth = np.where(guide[..., 0] > 0, 150.0, 50.0)
    noisy = truth + 10 * rng.normal(size=truth.shape)
    smooth = bilateral_solver.fast_bilateral_solver(
        guide,
        noisy,
        np.ones_like(noisy),
        sigma_spatial=4,
        sigma_luma=8,
        sigma_chroma=8,
        smoothness=10.0,
    )
    assert np.abs(smooth - truth).mean() < 0.3 * np.abs(noisy - truth).mean()
    constant = bilateral_solver.fast_bilateral_solver(
        guide,
        np.full_like(noisy, 7.0),
        np.ones_like(noisy),
        sigma_spatial=4,
        sigma_luma=8,
        sigma_chroma=8,
        smoothness=10.0,
    )
    np.testing.assert_allclose(constant, 7.0, atol=1e-6)


def test_depth_command_measures_what_its_figures_are_by_hand(tmp_path, capsys):
    data = pairs(tmp_path / "scenes", "depth", "rgb", (1, 3))
    out = tmp_path / "depth.csv"
    arguments = ["--data", str(data), "--scales", "4", "--model", "--out", str(out)]
    assert evaluate_depth.main(arguments) == 0
    assert "bilinear" in capsys.readouterr().out
    rows = list(csv.DictReader(line for line in out.read_text().splitlines() if line[0] != "#"))
    row = next(row for row in rows if row["method"] == "bilinear" and row["frame"] == "0")
    # The samples at 26 and 30 lie on the two sides of the edge at 30: three columns of a ramp.
    assert float(row["bad_matching_percentage"]) == pytest.approx(100 * 3 / 64)
    errors = np.array([0.25, 0.5, 0.75]) * 120
    assert float(row["rmse"]) == pytest.approx(np.sqrt(np.sum(errors**2) / 64), rel=1e-4)


def test_the_fields_protocol_is_that_of_pillow(tmp_path, capsys):
    data = pairs(tmp_path / "scenes", "depth", "rgb", (1, 3))
    out = tmp_path / "field.csv"
    arguments = ["--data", str(data), "--protocol", "field", "--model", "--out", str(out)]
    assert evaluate_depth.main([*arguments, "--scales", "4", "8"]) == 0
    assert "bicubic" in capsys.readouterr().out
    rows = list(csv.DictReader(line for line in out.read_text().splitlines() if line[0] != "#"))
    for row in rows:
        name, truth, _ = next(x for x in depth.read_frames(data) if x[0] == row["frame"])
        scale = int(row["scale"])
        height, width = (side // scale * scale for side in truth.shape)
        truth = truth[:height, :width]
        coarse = Image.fromarray(truth).resize(
            (width // scale, height // scale), Image.Resampling.BICUBIC
        )
        back = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
        error = np.sqrt(np.mean((np.clip(back, 0, 255) - truth) ** 2))
        assert float(row["rmse"]) == pytest.approx(error, rel=1e-4), name


def test_fusion_command_measures_the_noise(tmp_path, capsys):
    data = pairs(tmp_path / "scenes", "rgb", "nir", (3, 1))
    out = tmp_path / "nir.csv"
    arguments = ["--data", str(data), "--sigma", "50", "--model", "--denoiser", "--out", str(out)]
    assert evaluate_fusion.main(arguments) == 0
    assert "noisy" in capsys.readouterr().out
    rows = list(csv.DictReader(line for line in out.read_text().splitlines() if line[0] != "#"))
    for row in rows:
        assert float(row["psnr"]) == pytest.approx(20 * np.log10(255 / 50), abs=0.2)
    assert evaluate_fusion.main(["--data", str(tmp_path / "no")]) == 2


def test_pairs_of_sixteen_bits_have_the_figures_of_eight(tmp_path):
    for target, guide, channels, read in (
        ("rgb", "nir", (3, 1), fusion.read_pairs),
        ("depth", "rgb", (1, 3), depth.read_frames),
    ):
        eight = pairs(tmp_path / f"{target}_8", target, guide, channels)
        sixteen = tmp_path / f"{target}_16"
        for path in eight.rglob("*.png"):
            (sixteen / path.parent.name).mkdir(parents=True, exist_ok=True)
            image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED).astype(np.uint16) * 257
            cv2.imwrite(str(sixteen / path.parent.name / path.name), image)
        for a, b in zip(flat(read(eight)), flat(read(sixteen)), strict=True):
            np.testing.assert_array_equal(a, b)
            assert np.asarray(a).dtype == np.asarray(b).dtype


def flat(found):
    """Names and arrays of what either reader gives."""
    if isinstance(found, dict):
        found = [(name, *arrays) for name, arrays in found.items()]
    return [value for one in found for value in one]


def test_names_go_with_their_own_pictures(tmp_path):
    """Sorted by path, "img (1).png" comes before "img.png"; by name behind it."""
    for name, level in (("img", 50), ("img (1)", 200)):
        for part, channels in (("depth", 1), ("rgb", 3), ("nir", 1)):
            (tmp_path / part).mkdir(exist_ok=True)
            image = np.full((16, 16, channels), level, np.uint8)
            cv2.imwrite(str(tmp_path / part / f"{name}.png"), image)
    assert {name: map_[0, 0] for name, map_, _ in depth.read_frames(tmp_path)} == {
        "img": 50.0,
        "img (1)": 200.0,
    }
    found = {name: round(255 * float(target[0, 0, 0])) for name, (target, _) in
             fusion.read_pairs(tmp_path).items()}  # fmt: skip
    assert found == {"img": 50, "img (1)": 200}
    cv2.imwrite(str(tmp_path / "depth" / "img.bmp"), np.zeros((16, 16), np.uint8))
    with pytest.raises(deepam_tf.image_io.ImageFileError, match=r"Received: img.(bmp|png) and"):
        depth.read_frames(tmp_path)
