"""The way of a model: trained by a shipped recipe, exported, verified, converted."""

from __future__ import annotations

import cv2
import keras
import numpy as np
import pytest

import deepam_tf
from export import convert, saved_model, verify
from export.graph import artefact
from training import train


@pytest.fixture
def trained(tmp_path, rng):
    """Two steps of `denoise_gray`, in its own precision, on small crops."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(2):
        cv2.imwrite(str(photos / f"{i}.png"), rng.integers(0, 256, (40, 40), dtype=np.uint8))
    options = ["--config", "denoise_gray", "--data", str(photos), "--out", str(tmp_path / "run")]
    small = ("run.num_steps=2", "run.steps_per_epoch=2", "data.crop_size=32", "data.batch_size=1")
    for setting in (*small, "run.jit_compile_solves=false", "monitor.pictures_every=0"):
        options += ["--set", setting]
    assert train.main(options) == 0
    return tmp_path / "run" / "model.keras"


@pytest.mark.slow
def test_train_export_verify_convert(trained, tmp_path, capsys):
    model = keras.saving.load_model(trained, compile=False)
    assert model.get_layer("iteration_1_aggregation").dtype_policy.name == "mixed_bfloat16"
    served = tmp_path / "served" / "mine"
    assert saved_model.main([str(trained), str(served)]) == 0
    assert "networks in float32" in capsys.readouterr().out
    assert verify.main([str(served)]) == 0, capsys.readouterr().out
    for suffix in (".onnx", ".tflite"):
        assert convert.main([str(served), str(tmp_path / f"mine{suffix}")]) == 0


@pytest.mark.slow
def test_another_precision_is_asked_for_by_name(trained, tmp_path, capsys):
    served = tmp_path / "served" / "half"
    assert saved_model.main([str(trained), str(served), "--dtype", "mixed_bfloat16"]) == 0
    assert "networks in mixed_bfloat16" in capsys.readouterr().out
    assert verify.main([str(served)]) == 0, capsys.readouterr().out
    assert convert.main([str(served), str(tmp_path / "half.onnx")]) == 2
    assert "in mixed_bfloat16. Export it with --dtype float32" in capsys.readouterr().err


@pytest.mark.slow
def test_a_model_fitted_under_mixed_float16_exports_and_verifies(tmp_path):
    """Keras's loss scaling and half precision are how it was trained, not what it is."""
    model = deepam_tf.DeepAM(1, filters=8, depth=3, dtype="mixed_float16")
    model.compile("sgd", "mean_absolute_error")
    x = np.linspace(0, 1, 512, dtype=np.float32).reshape(2, 16, 16, 1)
    model.fit({"image": x}, {"restored": x}, epochs=1, verbose=0)
    model.save(tmp_path / "half.keras")
    assert saved_model.main([str(tmp_path / "half.keras"), str(tmp_path / "served")]) == 0
    assert verify.main([str(tmp_path / "served")]) == 0
    folder = artefact.version_folder(tmp_path / "served")
    assert "networks in float32" in artefact.describe(folder)
