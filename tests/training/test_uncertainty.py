from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

import deepam_tf
from deepam_tf.restoration import pretrained, uncertainty
from training import evaluate_uncertainty, train_uncertainty
from training.configuration.recipes import find_recipe
from training.data.tasks import Examples
from training.evaluation import calibration
from training.evaluation.uncertainty import rank_correlation
from training.fit.uncertainty import recalibrate, with_head


def t_errors(rng, stddev, df):
    return stddev * np.sqrt((df - 2) / df) * rng.standard_t(df, size=stddev.shape)


def test_half_widths_are_quantiles():
    levels = np.array([0.5, 0.8, 0.95])
    expected = scipy.stats.t.ppf(0.5 + levels / 2, 4.0) * np.sqrt(0.5)
    np.testing.assert_allclose(calibration.half_widths(levels, 4.0), expected, rtol=1e-6)


def test_true_deviations_are_found_calibrated_and_recalibration_leaves_them(rng):
    stddev = np.exp(rng.normal(size=50000))
    errors = t_errors(rng, stddev, 5.0)
    ratios = np.sort(np.abs(errors) / stddev)
    shares = calibration.coverage(ratios, calibration.LEVELS, 5.0)
    np.testing.assert_allclose(shares, calibration.LEVELS, atol=0.01)
    (factor,), df = calibration.recalibration([ratios])
    assert factor == pytest.approx(1.0, abs=0.05)
    assert 3.5 < df < 8


def test_recalibration_mends_deviations_that_are_a_factor_off(rng):
    stddev = np.exp(rng.normal(size=50000))
    ratios = np.sort(np.abs(t_errors(rng, stddev, 3.0)) / (0.7 * stddev))
    (factor,), df = calibration.recalibration([ratios])
    shares = calibration.coverage(ratios / factor, calibration.LEVELS, df)
    np.testing.assert_allclose(shares, calibration.LEVELS, atol=0.01)


def test_recalibration_is_fair_to_groups_of_any_size(rng):
    df, groups = 4.0, []
    for size, factor in ((100_000, 0.9), (5000, 1.2)):
        errors = t_errors(rng, np.full(size, factor), df)
        groups.append(np.sort(np.abs(errors)))
    (factor, same), df = calibration.recalibration(groups)
    assert factor == same
    misses = [calibration.coverage(x / factor, calibration.LEVELS, df) for x in groups]
    narrow, wide = (np.max(miss - calibration.LEVELS) for miss in misses)
    # What one group has too much the other lacks.
    assert narrow == pytest.approx(np.max(calibration.LEVELS - misses[1]), abs=0.01)
    assert narrow > 0.02 > wide
    # With a factor for each group neither has to.
    factors, df = calibration.recalibration(groups, one_factor=False)
    assert factors == pytest.approx([0.9, 1.2], rel=0.05)
    for ratios, factor in zip(groups, factors, strict=True):
        shares = calibration.coverage(ratios / factor, calibration.LEVELS, df)
        np.testing.assert_allclose(shares, calibration.LEVELS, atol=0.015)


def test_the_truth_is_a_better_order_than_noise_and_the_oracle_the_best(rng):
    stddev = np.exp(rng.normal(size=20000))
    errors = t_errors(rng, stddev, 5.0)
    own = calibration.score([(errors, stddev, {"noise": rng.uniform(size=20000)})], 5.0)
    assert 0 < own.ause["stddev"] < 0.7 * own.ause["noise"]
    assert own.ause["stddev"] == pytest.approx(own.ause_of_chance, rel=0.1)
    assert own.nll < own.laplace_nll
    for curve in own.curves.values():
        assert curve[0] == pytest.approx(1)
        assert (own.curves["oracle"] <= curve + 1e-9).all()
    assert own.coverage(0.8) == pytest.approx(0.8, abs=0.01)


def test_the_likelihood_is_of_all_pictures_whatever_their_sizes_and_order(rng):
    images = []
    for size, factor in ((300, 0.1), (2000, 30.0)):
        stddev = factor * np.exp(rng.normal(size=size))
        images.append((t_errors(rng, stddev, 5.0), stddev, {}))
    scores = calibration.score(images, 5.0)
    densities = [
        scipy.stats.t.logpdf(errors, 5.0, scale=stddev * np.sqrt(3 / 5))
        for errors, stddev, _ in images
    ]
    assert scores.nll == pytest.approx(-np.concatenate(densities).mean(), rel=1e-5)
    turned = calibration.score(images[::-1], 5.0)
    assert (turned.nll, turned.laplace_nll) == pytest.approx((scores.nll, scores.laplace_nll))


def test_sparsification_of_a_constant_error_is_flat():
    curve = calibration.sparsification(np.ones(100), np.arange(100.0))
    np.testing.assert_allclose(curve, 1)
    assert calibration.area(curve) == pytest.approx(0.98)


def test_rank_correlation_is_spearmans(rng):
    a, b = rng.normal(size=(2, 50))
    assert rank_correlation(a, b) == pytest.approx(scipy.stats.spearmanr(a, b)[0])
    assert rank_correlation(a, np.exp(a)) == pytest.approx(1)


@pytest.mark.slow
def test_a_head_of_depth_maps_is_recalibrated_scale_by_scale(rng):
    # Hills of some ten pixels, which samples 16 apart know less of than samples 4 apart.
    maps = [
        30000 + 30000 * cv2.GaussianBlur(rng.normal(size=(96, 128)), None, 3)[..., np.newaxis]
        for _ in range(3)
    ]
    guide = np.zeros([96, 128, 3], np.uint8)
    examples = Examples(["a", "b", "c"], [(x.astype(np.uint16), guide) for x in maps])
    config = find_recipe("upsample_depth")
    model = deepam_tf.DeepAM(1, filters=4, depth=6, guide_channels=3, mask=True)
    model = with_head(model, 4, (4, 8, 16))
    head = model.get_layer("uncertainty")
    head.recalibrate(3.0, 4.0)  # factors are looked for between 1/2 and 2
    np.testing.assert_allclose(head.calibrated_at, [1 / 256, 1 / 64, 1 / 16])
    first = recalibrate(model, examples, config, (4, 8, 16))
    second = recalibrate(model, examples, config, (4, 8, 16))
    assert len(set(first["factors"])) == 3
    for scale, found in first["coverage"].items():
        for level, inside in found.items():
            # At the border the square of 32x32 pixels holds more or fewer samples.
            assert second["coverage_before"][scale][level] == pytest.approx(inside, abs=3), scale


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A small model in the place of `denoise_gray`, and no heads beside it."""
    model = deepam_tf.DeepAM(
        1, filters=4, depth=3, noise_level=True, pixel_unshuffle=2, name="denoise_gray"
    )
    for module in (train_uncertainty, uncertainty):
        monkeypatch.setattr(module, "load_pretrained", lambda name, **overrides: model)
    return model


@pytest.mark.slow
def test_a_head_is_trained_shipped_judged_and_shown(tmp_path, folder, shipped, monkeypatch, capsys):
    heads = tmp_path / "heads"
    (tmp_path / "images.txt").write_text(
        "\n".join(str(path) for path in sorted(folder.iterdir())) + "\n"
    )
    many = [str(tmp_path / "images.txt")] * 4  # one in ten is held out
    settings = ["--set", "data.crop_size=32", "--crops", "16", "--epochs", "3", "--filters", "4"]
    arguments = ["denoise_gray", "--data", *many, *settings, "--out", str(heads)]
    arguments += ["--recalibrate-on", str(folder)]
    assert train_uncertainty.main([*arguments, "--logs", str(tmp_path / "logs")]) == 0
    reached = json.loads("{" + capsys.readouterr().out.split("{", 1)[1])
    assert reached["coverage"].keys() == {"15", "25", "50"}
    assert reached["coverage"]["15"].keys() == {"50", "80", "95"}
    card = uncertainty.head_card("denoise_gray", heads)
    assert card["weights_sha256"] == pretrained.pretrained_card("denoise_gray")["sha256"]
    np.testing.assert_allclose(card["calibrated_at"], np.array([15, 25, 50]) / 255)
    assert len(reached["factors"]) == 3
    assert str(tmp_path.parent) not in card["training"]["command"]
    assert card["training"]["command"].endswith(f"--recalibrate-on {tmp_path.name}/images")
    assert card["training"]["summary"].endswith("on 3 whole others")

    # Once more on the same pictures, what it has learnt as it was.
    of_training = ["--crops", "16", "--epochs", "3", "--filters", "4"]
    alone = [word for word in arguments if word not in of_training] + ["--only-recalibrate"]
    with pytest.raises(SystemExit):
        train_uncertainty.main([*alone, "--epochs", "3"])
    assert "--epochs is of training" in capsys.readouterr().err
    assert train_uncertainty.main(alone) == 0
    again = json.loads("{" + capsys.readouterr().out.split("{", 1)[1])
    for level, found in reached["coverage"].items():
        assert again["coverage_before"][level] == pytest.approx(found, abs=0.2), level
    assert again["val_loss"] == reached["val_loss"]
    first, second = card["training"], uncertainty.head_card("denoise_gray", heads)["training"]
    assert second["command"].startswith(first["command"] + "; python -m")
    assert "--only-recalibrate" in second["command"]
    assert second["summary"] == first["summary"]

    tags = set()
    for path in (tmp_path / "logs").rglob("events*"):
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            tags |= {value.tag for value in event.summary.value}
    assert {"calibration/coverage_of_80", "calibration/error_over_stddev"} <= tags

    whole = uncertainty.attach_head(shipped, "denoise_gray", heads)
    monkeypatch.setattr(evaluate_uncertainty, "load_uncertain", lambda name: whole)
    monkeypatch.chdir(tmp_path)
    arguments = ["denoise_gray", "--data", str(folder), "--levels", "15", "50", "--gaussian"]
    assert evaluate_uncertainty.main([*arguments, "--figure", "figure.png"]) == 0
    assert (tmp_path / "figure.png").read_bytes()[:4] == b"\x89PNG"
    lines = (tmp_path / "results" / "images_denoise_gray_uncertainty.csv").read_text().splitlines()
    assert sum(not line.startswith("#") for line in lines) == 3
    # What the noise is said to be is what the head believes.
    arguments = [*arguments[:3], "--levels", "25", "--told", "75", "--out", "told.csv"]
    assert evaluate_uncertainty.main(arguments) == 0
    assert "told 75" in (tmp_path / "told.csv").read_text()


def test_too_few_pictures_to_hold_one_out_are_refused(tmp_path, folder, shipped, capsys):
    arguments = ["denoise_gray", "--data", str(folder), "--out", str(tmp_path / "heads")]
    assert train_uncertainty.main(arguments) == 2
    assert "Received: " in capsys.readouterr().err
    assert not (tmp_path / "heads").exists()


def test_a_folder_without_pairs_is_refused(tmp_path, monkeypatch, capsys):
    model = deepam_tf.DeepAM(1, filters=4, depth=3, noise_level=True, uncertainty_filters=4)
    monkeypatch.setattr(evaluate_uncertainty, "load_uncertain", lambda name: model)
    code = evaluate_uncertainty.main(["denoise_gray", "--data", str(tmp_path), "--real"])
    assert code == 2
    assert "NAME_real.png" in capsys.readouterr().err
