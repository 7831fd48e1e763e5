"""A model that tells how sure it is, exported: with and without its standard deviations."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import deepam_tf
from export.graph import artefact, conversion, saving, sources
from export.graph.verification import verify as verified


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("uncertain")
    model = deepam_tf.DeepAM(
        1,
        filters=4,
        depth=3,
        noise_level=True,
        pixel_unshuffle=2,
        uncertainty_filters=4,
        uncertainty_calibrated_at=(0.05, 0.2),
    )
    head = model.get_layer("uncertainty")
    head.recalibrate([0.5, 2.0], head.df)
    model.save(folder / "sure.keras")
    saving.save(sources.load_model(str(folder / "sure.keras")), folder / "sure")
    return folder / "sure"


@pytest.mark.slow
def test_signatures_with_and_without_deviations(exported):
    card = json.loads((exported / "1" / artefact.EXTRA / artefact.CARD).read_text())
    outputs = {name: sorted(x["outputs"]) for name, x in card["signatures"].items()}
    assert outputs == {
        "serving_default": ["restored", "stddev"],
        "serving_restored": ["restored"],
        "serving_bytes": ["restored_bytes"],
        "serving_ragged": ["restored", "stddev"],
        "serving_ragged_restored": ["restored"],
    }
    loaded = tf.saved_model.load(str(exported / "1"))
    inputs = {
        "image": tf.random.stateless_uniform([1, 17, 22, 1], [0, 1]),
        "noise_stddev": tf.fill([1, 1, 1, 1], 0.1),
    }
    both = loaded.signatures["serving_default"](**inputs)
    alone = loaded.signatures["serving_restored"](**inputs)
    np.testing.assert_array_equal(both["restored"], alone["restored"])
    assert both["stddev"].shape == both["restored"].shape
    assert float(tf.reduce_min(both["stddev"])) > 0


@pytest.mark.slow
def test_it_verifies_without_the_library(exported):
    results = list(verified(exported))
    assert all(result.passed for result in results), results
    checks = [result.check for result in results]
    assert sum("stddev agrees" in check for check in checks) == 4, checks
    assert "serving_ragged_restored, restored agrees" in checks


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".tflite", ".onnx"])
def test_it_converts(exported, tmp_path, suffix):
    target = tmp_path / f"sure{suffix}"
    assert conversion.convert(exported, target) <= conversion.AGREEMENT
    if suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(target), providers=["CPUExecutionProvider"])
        assert sorted(x.name for x in session.get_outputs()) == ["restored", "stddev"]


def test_weights_with_a_head_are_exported_with_it():
    source = sources.load_model("denoise_gray")
    assert source.model.uncertainty_filters > 0
    assert source.card["uncertainty"]["df"] > 2
    assert sources.load_model("denoise_gray_s25_k1").model.uncertainty_filters == 0
