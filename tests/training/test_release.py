"""What follows a run: averages of weights, statistics, and what ships."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import deepam_tf
from tests.training.test_train import NONE, TINY
from training import average, release
from training.configuration.settings import replace
from training.fit import averaging, run


@pytest.mark.slow
def test_average_of_runs_with_statistics_of_its_own(tmp_path, folder, images):
    models = []
    for name, seed in (("a", 0), ("b", 1)):
        config = replace(TINY, {"run.num_steps": 2, "run.seed": seed})
        models.append(run.train(config, images, NONE, tmp_path / name, verbose=0))
    code = average.main(
        [str(tmp_path / "a"), str(tmp_path / "b"), "--data", str(folder), "--out"]
        + [str(tmp_path / "c"), "--batches", "2"]
    )
    assert code == 0
    result = keras.saving.load_model(tmp_path / "c" / "model.keras", compile=False)
    assert result.get_layer("iteration_1_aggregation").compute_dtype == "float32"
    for own, a, b in zip(*(m.trainable_variables for m in (result, *models)), strict=True):
        np.testing.assert_allclose(own, (np.asarray(a) + np.asarray(b)) / 2, atol=1e-6)


def test_statistics_are_means_over_the_batches(rng):
    model = deepam_tf.DeepAM(1, filters=4, depth=3)
    batches = [tf.constant(rng.normal(size=(2, 8, 8, 1)), tf.float32) for _ in range(3)]
    averaging.reestimate_statistics(model, batches)
    layer = model.get_layer("iteration_1_aggregation")
    outputs = [layer.convolutions[0](batch).numpy() for batch in batches]
    expected = np.mean([x.mean(axis=(0, 1, 2)) for x in outputs], axis=0)
    np.testing.assert_allclose(layer.normalizations[0].moving_mean, expected, atol=1e-5)
    expected = np.mean([x.var(axis=(0, 1, 2)) for x in outputs], axis=0)
    np.testing.assert_allclose(layer.normalizations[0].moving_variance, expected, rtol=1e-4)
    assert layer.normalizations[0].momentum == 0.99


@pytest.mark.slow
def test_release_of_what_cannot_be_judged_writes_nothing(
    tmp_path, folder, images, monkeypatch, capsys
):
    run.train(replace(TINY, {"run.num_steps": 2}), images, NONE, tmp_path / "run", verbose=0)
    weights = tmp_path / "package" / "restoration" / "weights"
    weights.mkdir(parents=True)
    monkeypatch.setattr(deepam_tf, "__file__", str(tmp_path / "package" / "__init__.py"))
    (tmp_path / "card.json").write_text('{"task": "test"}')
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "cut.png").write_bytes(next(folder.iterdir()).read_bytes()[:60])
    code = release.main(
        [str(tmp_path / "run"), "--name", "tiny", "--card", str(tmp_path / "card.json"),
         "--evaluate", str(folder), str(tmp_path / "bad")]
    )  # fmt: skip
    assert code == 2
    assert "cut.png" in capsys.readouterr().err
    assert not list(weights.iterdir())


def test_release_measures_the_rounded_weights(tmp_path, folder, images, monkeypatch, capsys):
    config = replace(TINY, {"run.num_steps": 2})
    run.train(config, images, NONE, tmp_path / "run", verbose=0)
    weights = tmp_path / "package" / "restoration" / "weights"
    weights.mkdir(parents=True)
    monkeypatch.setattr(deepam_tf, "__file__", str(tmp_path / "package" / "__init__.py"))
    monkeypatch.setattr(deepam_tf.restoration.cards, "FOLDER", weights)
    (tmp_path / "card.json").write_text('{"task": "test"}')
    code = release.main(
        [str(tmp_path / "run"), "--name", "tiny", "--card", str(tmp_path / "card.json"),
         "--evaluate", str(folder), "--rtol", "1e-6"]
    )  # fmt: skip
    assert code == 0
    assert deepam_tf.load_pretrained("tiny").rtol == 1e-6
    card = deepam_tf.pretrained.pretrained_card("tiny")
    assert card["task"] == "test"
    assert card["noise_stddev"] == pytest.approx(25 / 255)
    assert 0 < card["results"]["images"]["psnr"] < 60
