"""An exported model is whole, says what it is, and answers without the library."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import deepam_tf
from export import pretrained, saved_model, verify
from export.graph import artefact, saving, sources
from export.graph.verification import verify as verified

EXTRA = artefact.EXTRA


@pytest.mark.slow
def test_an_export_verifies(served):
    results = list(verified(served / "tiny"))
    assert all(result.passed for result in results), results
    names = " ".join(result.check for result in results)
    for needed in ("checksums", "serving_default", "ragged", "gradient", "saved_model_cli run"):
        assert needed in names


@pytest.mark.slow
def test_card_has_signatures_and_what_is_fixed(served):
    card = json.loads((served / "tiny" / "1" / EXTRA / artefact.CARD).read_text())
    assert card["export"]["rtol"] == 1e-5
    assert card["export"]["max_steps"] == 500
    image = {"dtype": "float32", "shape": [None, None, None, 1]}
    assert card["signatures"]["serving_default"]["outputs"] == {"restored": image}
    assert card["signatures"]["serving_default"]["inputs"] == {
        "image": image,
        "noise_stddev": image,
    }
    several = {"dtype": "string", "shape": [None]}
    assert card["signatures"]["serving_bytes"] == {
        "inputs": {
            "image_bytes": several,
            "noise_stddev": {"dtype": "float32", "shape": [None]},
        },
        "outputs": {"restored_bytes": several},
    }
    assert "rtol 1e-05, at most 500 steps" in artefact.describe(served / "tiny" / "1")


def test_checksums_are_those_of_sha256sum(served):
    done = subprocess.run(
        ["sha256sum", "--check", "--quiet", f"{EXTRA}/{artefact.CHECKSUMS}"],
        cwd=served / "tiny" / "1",
        check=False,
    )
    assert done.returncode == 0


@pytest.mark.slow
def test_warm_up_requests_are_answered(served):
    prediction_log_pb2 = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    folder = served / "tiny" / "1"
    loaded = tf.saved_model.load(str(folder))
    names = []
    for record in tf.data.TFRecordDataset(str(folder / EXTRA / artefact.WARMUP)):
        request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
        assert request.model_spec.name == "tiny"
        inputs = {k: tf.constant(tf.make_ndarray(x)) for k, x in request.inputs.items()}
        (answer,) = loaded.signatures[request.model_spec.signature_name](**inputs).values()
        assert answer.shape[0] == 1
        names.append(request.model_spec.signature_name)
    assert names == ["serving_default", "serving_bytes"]


@pytest.mark.slow
def test_images_of_any_size_depth_and_colour_in_one_request(served):
    loaded = tf.saved_model.load(str(served / "tiny" / "1"))
    serve, serve_bytes = (loaded.signatures[f"serving_{x}"] for x in ("default", "bytes"))
    rng = np.random.default_rng(0)
    images = [
        rng.integers(0, peak, shape).astype(dtype)
        for peak, dtype, shape in (
            (256, np.uint8, (9, 16, 1)),
            (65536, np.uint16, (12, 5, 3)),
            (256, np.uint8, (1, 1, 4)),
        )
    ]
    levels = tf.constant([0.05, 0.1, 0.2])
    answers = serve_bytes(
        image_bytes=tf.stack([tf.io.encode_png(x) for x in images]), noise_stddev=levels
    )["restored_bytes"]
    for image, level, answer in zip(images, levels, answers, strict=True):
        peak = np.iinfo(image.dtype).max
        restored = tf.io.decode_png(answer, dtype=tf.as_dtype(image.dtype)).numpy()
        colors = 3 if image.shape[-1] >= 3 else 1
        channels = np.moveaxis(image[..., :colors], -1, 0)[..., np.newaxis] / np.float32(peak)
        expected = serve(
            image=tf.constant(channels, tf.float32), noise_stddev=tf.fill([1, 1, 1, 1], level)
        )["restored"]
        expected = np.moveaxis(np.clip(expected[..., 0], 0, 1), 0, -1)
        np.testing.assert_allclose(restored[..., :colors] / peak, expected, atol=0.6 / peak)
        np.testing.assert_array_equal(restored[..., colors:], image[..., colors:])


@pytest.mark.slow
def test_bad_values_name_the_image(served):
    loaded = tf.saved_model.load(str(served / "tiny" / "1"))
    image = np.zeros([3, 8, 8, 1], np.float32)
    image[1, 2, 3] = np.inf
    level = np.full([1, 1, 1, 1], 0.1, np.float32)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"`image` must be finite.*image 1"):
        loaded.signatures["serving_default"](
            image=tf.constant(image), noise_stddev=tf.constant(level)
        )
    levels = np.full([3, 8, 8, 1], 0.5, np.float32)
    levels[2] *= 255  # as an 8-bit file has them
    noisy = levels[:2] + 0.3 * np.random.default_rng(0).standard_normal([2, 8, 8, 1], np.float32)
    serve = loaded.signatures["serving_default"]
    serve(image=tf.constant(noisy), noise_stddev=tf.constant(level))
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=r"`image` must be .*\[0, 1\].*image 2"
    ):
        serve(image=tf.constant(levels), noise_stddev=tf.constant(level))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"`noise_stddev` must be in \[0, 1\]"):
        serve(image=tf.constant(noisy), noise_stddev=tf.constant(25 * np.ones_like(level)))
    large = tf.zeros([5, 1000, 1000, 1])
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"at most 4 megapixels.*\[5, 1000"):
        loaded.signatures["serving_default"](image=large, noise_stddev=tf.constant(level))
    files = tf.constant([tf.io.encode_png(np.zeros([4, 4, 1], np.uint8)).numpy()] * 2)
    serve_bytes = loaded.signatures["serving_bytes"]
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"`noise_stddev\[1\]` must be"):
        serve_bytes(image_bytes=files, noise_stddev=tf.constant([0.1, -1.0]))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"`noise_stddev\[0\]` must be"):
        serve_bytes(image_bytes=files, noise_stddev=tf.constant([25.0, 0.1]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="at least one image"):
        serve_bytes(image_bytes=files[:0], noise_stddev=tf.constant([0.1])[:0])
    with pytest.raises(tf.errors.InvalidArgumentError, match="one of noise_stddev an image"):
        serve_bytes(image_bytes=files, noise_stddev=tf.constant([0.1]))


@pytest.mark.slow
def test_every_version_is_new_and_nothing_is_left_of_a_failure(served, tmp_path, monkeypatch):
    source = sources.load_model(str(served / "tiny.keras"))
    with pytest.raises(artefact.ExportError, match="exists already"):
        saving.save(source, served / "tiny", version=1)

    def fails(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saving.tf.saved_model, "save", fails)
    with pytest.raises(artefact.ExportError, match="No space left"):
        saving.save(source, tmp_path / "full")
    assert list((tmp_path / "full").iterdir()) == []


def test_a_damaged_export_is_found_out(served, tmp_path, capsys):
    assert verify.main([str(tmp_path)]) == 2
    assert "Received" in capsys.readouterr().err
    folder = shutil.copytree(served / "tiny" / "1", tmp_path / "1")
    path = folder / "variables" / "variables.data-00000-of-00001"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    first = next(verified(folder))
    assert not first.passed
    assert "variables.data" in first.found


@pytest.mark.parametrize("what", ["no_such_weights", "missing.keras"])
def test_what_is_no_model_is_an_error_of_one_line(what, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert saved_model.main([what, "out"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: MODEL must be")
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_files_of_another_kind_are_refused(tmp_path):
    (tmp_path / "text.keras").write_text("not a model")
    with pytest.raises(artefact.ExportError, match="Keras cannot load it"):
        sources.load_model(str(tmp_path / "text.keras"))
    other = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    other.save(tmp_path / "other.keras")
    with pytest.raises(artefact.ExportError, match="must hold a DeepAM"):
        sources.load_model(str(tmp_path / "other.keras"))


@pytest.mark.slow
def test_a_guided_model_with_a_mask_verifies(tmp_path):
    model = deepam_tf.DeepAM(
        2, filters=8, depth=6, image_channels=1, guide_channels=3, mask=True, noise_level=True
    )
    source = sources.Source(model, {"name": "guided"})
    folder = saving.save(source, tmp_path / "guided", rtol=1e-6)
    assert all(result.passed for result in verified(folder))


@pytest.mark.slow
def test_one_command_exports_and_verifies_the_weights_of_each_job(tmp_path):
    names = ["denoise_gray", "fuse_nir", "upsample_depth"]
    done = subprocess.run(
        [sys.executable, "-m", "export.pretrained", str(tmp_path), *names],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAILED" not in done.stdout
    made = sorted(path.parent.parent.name for path in tmp_path.glob("*/1/saved_model.pb"))
    assert made == names


def test_exports_of_all_weights_are_the_default_and_of_none_unknown(tmp_path, monkeypatch, capsys):
    made = []
    monkeypatch.setattr(pretrained, "load_model", lambda name: name)
    monkeypatch.setattr(pretrained, "save", lambda name, folder: made.append((name, folder)))
    monkeypatch.setattr(pretrained, "describe", lambda folder: "")
    monkeypatch.setattr(pretrained, "print_checks", lambda folder: True)
    assert pretrained.main([str(tmp_path)]) == 0
    assert made == [(name, tmp_path / name) for name in deepam_tf.list_pretrained()]
    with pytest.raises(SystemExit):
        pretrained.main([str(tmp_path), "denoise_grey"])
    assert "Received: 'denoise_grey'" in capsys.readouterr().err
