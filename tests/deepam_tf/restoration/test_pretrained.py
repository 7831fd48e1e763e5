from __future__ import annotations

import json

import keras
import numpy as np
import pytest

import deepam_tf
from deepam_tf import pretrained
from deepam_tf.cli.demo import PICTURE
from deepam_tf.data.degradations import benchmark_noise
from deepam_tf.restoration import cards
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
    assert card["license"]
    assert card["intended_use"]
    assert card["training"]["license"]
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
    assert sum(path.stat().st_size for path in cards.FOLDER.glob("*.npz")) <= 40e6


@pytest.mark.parametrize(
    ("name", "sigma", "gain"),
    [
        ("denoise_gray", 25, 8),
        pytest.param("denoise_gray_s25", 25, 8, marks=pytest.mark.slow),
        pytest.param("denoise_gray", 5, 2, marks=pytest.mark.slow),
        pytest.param("denoise_gray", 75, 12, marks=pytest.mark.slow),
    ],
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
    pretrained.write_pretrained(model, "tiny", {"task": "test"}, tmp_path)
    image = rng.uniform(size=(1, 9, 8, 1)).astype(np.float32)
    np.save(tmp_path / "image.npy", image)
    for variable in model.variables:
        if len(variable.shape) == 4:
            variable.assign(np.asarray(variable).astype(np.float16).astype(np.float32))
    np.save(tmp_path / "restored.npy", model({"image": image})["restored"])
    printed = helpers.run_python(
        "import sys, pathlib, numpy as np, deepam_tf\n"
        "folder = deepam_tf.restoration.cards.FOLDER = pathlib.Path(sys.argv[1])\n"
        "model = deepam_tf.load_pretrained('tiny')\n"
        "image, restored = (np.load(folder / f'{n}.npy') for n in ('image', 'restored'))\n"
        "print(model.name, np.array_equal(model({'image': image})['restored'], restored))",
        str(tmp_path),
    )
    assert printed.split() == ["tiny", "True"]


def test_damaged_weights_are_refused(tmp_path, monkeypatch):
    model = deepam_tf.DeepAM(1, filters=4, depth=3)
    pretrained.write_pretrained(model, "tiny", {}, tmp_path)
    monkeypatch.setattr(cards, "FOLDER", tmp_path)
    deepam_tf.load_pretrained("tiny")
    data = (tmp_path / "tiny.npz").read_bytes()
    (tmp_path / "tiny.npz").write_bytes(data[:-10])
    with pytest.raises(ValueError, match="checksum"):
        deepam_tf.load_pretrained("tiny")


@pytest.mark.slow
def test_overrides_reach_the_model():
    model = deepam_tf.load_pretrained(
        "denoise_gray_s25", rtol=1e-7, dtype="mixed_bfloat16", name="mine"
    )
    assert model.rtol == 1e-7
    assert model.name == "mine"
    assert model.get_layer("iteration_1_aggregation").compute_dtype == "bfloat16"


@pytest.mark.parametrize("wrong", [{"num_iterations": 4}, {"filters": 8, "rtol": 1e-3}])
def test_weights_are_of_one_model(wrong):
    with pytest.raises(ValueError, match=r"may be others\. Received: (num_iterations|filters)\."):
        deepam_tf.load_pretrained("denoise_gray", **wrong)


def test_a_name_like_no_other_suggests_none():
    with pytest.raises(ValueError, match=r"Received: 'zzz'\.$"):
        deepam_tf.load_pretrained("zzz")


def test_wrong_name_suggests_the_nearest():
    with pytest.raises(ValueError, match=r"Received: 'denoise_grey_s25'.*'denoise_gray_s25'"):
        deepam_tf.load_pretrained("denoise_grey_s25")


def tiny_model(rng, **arguments):
    model = deepam_tf.DeepAM(1, filters=4, depth=3, name="tiny", **arguments)
    for variable in model.variables:
        variable.assign(np.abs(rng.normal(size=variable.shape)))
    return model


@pytest.mark.parametrize(
    "arguments",
    [{}, {"noise_level": True, "image_channels": 3, "pixel_unshuffle": 2, "rtol": 1e-3}],
)
def test_a_folder_brings_back_every_digit(arguments, tmp_path, rng):
    model = tiny_model(rng, **arguments)
    card = {"task": "test", "noise_stddev": 10 / 255, "training": {"data": "mine"}}
    written = deepam_tf.save_pretrained(model, tmp_path / "mine", card)
    again = deepam_tf.load_pretrained(tmp_path / "mine")
    assert again.get_config() == {**model.get_config(), "name": "mine"}
    for own, other in zip(model.variables, again.variables, strict=True):
        np.testing.assert_array_equal(own, other)
    assert pretrained.pretrained_card(str(tmp_path / "mine")) == written
    assert {key: written[key] for key in card} == card
    assert pretrained.noise_range(tmp_path / "mine") == (10 / 255, 10 / 255)


@pytest.mark.slow
def test_a_folder_is_read_in_another_process(tmp_path, rng):
    model = tiny_model(rng)
    deepam_tf.save_pretrained(model, tmp_path)
    image = rng.uniform(size=(1, 9, 8, 1)).astype(np.float32)
    np.save(tmp_path / "image.npy", image)
    np.save(tmp_path / "restored.npy", model({"image": image})["restored"])
    printed = helpers.run_python(
        "import sys, pathlib, numpy as np, deepam_tf\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "model = deepam_tf.load_pretrained(folder)\n"
        "image, restored = (np.load(folder / f'{n}.npy') for n in ('image', 'restored'))\n"
        "print(np.array_equal(model({'image': image})['restored'], restored))",
        str(tmp_path),
    )
    assert printed.strip() == "True"


def test_the_card_is_there_in_words_for_people_and_for_hubs(tmp_path, rng):
    card = {"task": "my: task", "license": "CC-BY-4.0", "limits": "none known", "scale": [4, 8]}
    deepam_tf.save_pretrained(tiny_model(rng), tmp_path / "mine", card)
    page = (tmp_path / "mine" / "README.md").read_text()
    yaml = pytest.importorskip("yaml")
    metadata = yaml.safe_load(page.split("---")[1])
    assert metadata["license"] == "cc-by-4.0"
    assert metadata["library_name"] == "keras"
    for text in ("My: task.", "None known.", "Scales: 4, 8", 'load_pretrained("mine")'):
        assert text in page


def test_saving_again_leaves_other_files_alone(tmp_path, rng):
    (tmp_path / "notes.txt").write_text("mine")
    for _ in range(2):
        model = tiny_model(rng)
        deepam_tf.save_pretrained(model, tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    np.testing.assert_array_equal(
        deepam_tf.load_pretrained(tmp_path).variables[0], model.variables[0]
    )


def test_a_card_that_json_does_not_hold_writes_nothing(tmp_path, rng):
    with pytest.raises(TypeError):
        deepam_tf.save_pretrained(tiny_model(rng), tmp_path / "mine", {"task": object()})
    assert not (tmp_path / "mine").exists()


def damage_model(folder):
    card = json.loads((folder / "card.json").read_text())
    card["model"]["invented"] = 1
    (folder / "card.json").write_text(json.dumps(card))


def exchange_weights(folder):
    other = folder.parent / "other"
    deepam_tf.save_pretrained(deepam_tf.DeepAM(2, filters=4, depth=3), other)
    card = json.loads((folder / "card.json").read_text())
    card["model"] = json.loads((other / "card.json").read_text())["model"]
    (folder / "card.json").write_text(json.dumps(card))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "weights.npz").unlink(), "cannot be read"),
        (lambda folder: (folder / "weights.npz").write_bytes(b"PK"), "checksum"),
        (lambda folder: (folder / "card.json").write_text("{"), "a card is JSON"),
        (lambda folder: (folder / "card.json").write_text("[]"), "a card is JSON"),
        (damage_model, "this version cannot build"),
        (exchange_weights, "not those of their card"),
        (lambda folder: (folder / "card.json").unlink(), "a folder that `save_pretrained` wrote"),
    ],
)
def test_damaged_folders_are_refused_by_name(damage, message, tmp_path, rng):
    folder = tmp_path / "mine"
    deepam_tf.save_pretrained(tiny_model(rng), folder)
    damage(folder)
    with pytest.raises(ValueError, match=message) as caught:
        deepam_tf.load_pretrained(folder)
    assert "mine" in str(caught.value)


def test_only_our_models_are_saved(tmp_path):
    with pytest.raises(TypeError, match="Received: a Sequential"):
        deepam_tf.save_pretrained(keras.Sequential(), tmp_path / "mine")
    assert not (tmp_path / "mine").exists()
