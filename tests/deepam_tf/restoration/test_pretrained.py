from __future__ import annotations

import numpy as np
import pytest

import deepam_tf
from deepam_tf import pretrained
from deepam_tf.cli.demo import PICTURE
from deepam_tf.data.degradations import benchmark_noise
from tests import helpers


@pytest.mark.parametrize("name", deepam_tf.list_pretrained())
def test_card_says_what_a_user_must_know(name):
    card = pretrained.pretrained_card(name)
    assert card["task"]
    assert card["limits"]
    if "noise_stddev" in card:
        low, high = pretrained.noise_range(name)
        assert 0 <= low <= high < 1
        assert high > 0
    else:
        assert {4, 8, 16} <= set(card["scale"])
    assert {"data", "command", "seed", "summary", "hours"} <= set(card["training"])
    datasets = {dataset.split(",")[0] for dataset in card["results"]}
    assert datasets
    model = card["model"]
    joint = model["image_channels"] == 3 or model.get("guide_channels", 0)
    assert joint or {"Set12", "BSD68"} <= datasets


@pytest.mark.parametrize(("sigma", "least", "below"), [(15, 31.48, 0.17), (50, 26.15, 0.05)])
def test_one_model_for_all_levels_is_near_those_of_one(sigma, least, below):
    one = pretrained.pretrained_card("denoise_gray")["results"][f"BSD68, sigma {sigma}"]["psnr"]
    alone = pretrained.pretrained_card(f"denoise_gray_s{sigma}")["results"]["BSD68"]["psnr"]
    assert one >= max(least, alone - below)


def test_channels_together_are_better_than_one_by_one():
    results = pretrained.pretrained_card("denoise_color")["results"]
    # denoise_gray, channel by channel: 28.97 (`training.evaluate --color`).
    assert results["BSD68_color, sigma 25"]["psnr"] >= 28.97 + 0.8


@pytest.mark.parametrize(
    ("name", "least"),
    [("s15", 31.62), ("s25", 29.18), ("s25_k1", 28.95), ("s25_k2", 29.1), ("s50", 26.15)],
)
def test_weights_of_one_level_reach_what_is_said_of_them(name, least):
    assert pretrained.pretrained_card(f"denoise_gray_{name}")["results"]["BSD68"]["psnr"] >= least


def test_more_iterations_are_better():
    names = ("denoise_gray_s25_k1", "denoise_gray_s25_k2", "denoise_gray_s25")
    for dataset in ("BSD68", "Set12"):
        psnr = [pretrained.pretrained_card(name)["results"][dataset]["psnr"] for name in names]
        assert psnr == sorted(psnr)


def test_all_weights_together_are_small():
    assert sum(path.stat().st_size for path in pretrained._FOLDER.glob("*.npz")) <= 40e6


@pytest.mark.parametrize(
    ("name", "sigma", "gain"),
    [("denoise_gray_s25", 25, 8), ("denoise_gray", 5, 2), ("denoise_gray", 25, 8)]
    + [("denoise_gray", 75, 12)],
)
def test_weights_denoise(name, sigma, gain):
    clean = deepam_tf.image_io.read(PICTURE).pixels[64:192, 64:192]
    noisy = clean + benchmark_noise(clean.shape, sigma / 255, 0)
    model = deepam_tf.load_pretrained(name)
    level = sigma / 255 if model.noise_level else None
    restored = deepam_tf.restore(model, noisy, noise_stddev=level)
    before, after = (
        float(deepam_tf.metrics.psnr(clean[np.newaxis], x[np.newaxis])[0])
        for x in (noisy, restored)
    )
    assert after > before + gain


def test_weights_leave_a_clean_image_nearly_alone():
    clean = deepam_tf.image_io.read(PICTURE).pixels[64:192, 64:192]
    restored = deepam_tf.restore(deepam_tf.load_pretrained("denoise_gray"), clean, noise_stddev=0.0)
    assert float(deepam_tf.metrics.psnr(clean[np.newaxis], restored[np.newaxis])[0]) > 40


@pytest.mark.slow
def test_what_is_saved_is_what_is_loaded_in_another_process(tmp_path, rng):
    model = deepam_tf.DeepAM(2, filters=16, depth=3, rtol=1e-4)
    for variable in model.variables:
        variable.assign(np.abs(rng.normal(size=variable.shape)))
    pretrained.save_pretrained(model, "tiny", {"task": "test"}, tmp_path)
    image = rng.uniform(size=(1, 9, 8, 1)).astype(np.float32)
    np.save(tmp_path / "image.npy", image)
    for variable in model.variables:
        if len(variable.shape) == 4:
            variable.assign(np.asarray(variable).astype(np.float16).astype(np.float32))
    np.save(tmp_path / "restored.npy", model({"image": image})["restored"])
    printed = helpers.run_python(
        "import sys, pathlib, numpy as np, deepam_tf\n"
        "folder = deepam_tf.pretrained._FOLDER = pathlib.Path(sys.argv[1])\n"
        "model = deepam_tf.load_pretrained('tiny')\n"
        "image, restored = (np.load(folder / f'{n}.npy') for n in ('image', 'restored'))\n"
        "print(model.name, np.array_equal(model({'image': image})['restored'], restored))",
        str(tmp_path),
    )
    assert printed.split() == ["tiny", "True"]


def test_damaged_weights_are_refused(tmp_path, monkeypatch):
    model = deepam_tf.DeepAM(1, filters=4, depth=3)
    pretrained.save_pretrained(model, "tiny", {}, tmp_path)
    monkeypatch.setattr(pretrained, "_FOLDER", tmp_path)
    deepam_tf.load_pretrained("tiny")
    data = (tmp_path / "tiny.npz").read_bytes()
    (tmp_path / "tiny.npz").write_bytes(data[:-10])
    with pytest.raises(ValueError, match="checksum"):
        deepam_tf.load_pretrained("tiny")


def test_overrides_reach_the_model():
    model = deepam_tf.load_pretrained(
        "denoise_gray_s25", rtol=1e-7, dtype="mixed_bfloat16", name="mine"
    )
    assert model.rtol == 1e-7
    assert model.name == "mine"
    assert model.get_layer("iteration_1_aggregation").compute_dtype == "bfloat16"


def test_wrong_name_suggests_the_nearest():
    with pytest.raises(ValueError, match=r"Received: 'denoise_grey_s25'.*'denoise_gray_s25'"):
        deepam_tf.load_pretrained("denoise_grey_s25")
