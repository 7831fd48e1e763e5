"""Converted models answer as TensorFlow does, in the runtimes of their formats."""

from __future__ import annotations

import pytest

import deepam_tf
from export import convert
from export.graph import conversion, saving, sources

SUFFIXES = sorted(conversion.RUNTIMES)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_conversions_agree(served, tmp_path, suffix, capsys):
    assert convert.main([str(served / "tiny"), str(tmp_path / f"tiny{suffix}")]) == 0
    assert "largest difference" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == [f"tiny{suffix}"]


def shapes(path) -> list[list]:
    if path.suffix == ".onnx":
        onnxruntime = pytest.importorskip("onnxruntime")
        return [x.shape for x in onnxruntime.InferenceSession(str(path)).get_inputs()]
    interpreter = pytest.importorskip("ai_edge_litert.interpreter")
    found = interpreter.Interpreter(model_path=str(path)).get_input_details()
    return [x["shape_signature"].tolist() for x in found]


@pytest.mark.slow
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_window_fixes_the_size(served, tmp_path, suffix, capsys):
    out = tmp_path / f"tiny{suffix}"
    assert convert.main([str(served / "tiny"), str(out), "--window", "24", "40"]) == 0
    assert "largest difference" in capsys.readouterr().out
    assert sorted(shapes(out)) == [[1, 1, 1, 1], [1, 24, 40, 1]]
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.slow
@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("arguments", [{}, {"levels": 2, "edge_weights": True}])
def test_guided_models_convert(tmp_path, suffix, arguments):
    model = deepam_tf.DeepAM(1, filters=4, depth=8, guide_channels=3, mask=True, **arguments)
    folder = saving.save(sources.Source(model, {"name": "guided"}), tmp_path / "guided")
    assert conversion.convert(folder, tmp_path / f"guided{suffix}") <= conversion.AGREEMENT


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_answers_otherwise_is_not_written(served, tmp_path, suffix, monkeypatch, capsys):
    def writes(folder, path):
        path.write_bytes(b"a model")

    for answer, message in (
        (lambda inputs: {"restored": inputs["image"]}, "its answers differ"),
        (lambda inputs: {"restored": inputs["image"] * float("nan")}, "its answers differ by nan"),
    ):
        monkeypatch.setitem(conversion.RUNTIMES, suffix, (writes, lambda path, a=answer: a))
        assert convert.main([str(served / "tiny"), str(tmp_path / f"tiny{suffix}")]) == 2
        assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_bad_arguments_are_errors_of_one_line(served, tmp_path, capsys):
    for out, file in ((served / "tiny", "model.pb"), (tmp_path, "model.onnx")):
        assert convert.main([str(out), str(tmp_path / file)]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert "Received" in error
    out = [str(served / "tiny"), str(tmp_path / "model.onnx")]
    assert convert.main([*out, "--window", "0", "8"]) == 2
    assert "Received: 0x8" in capsys.readouterr().err
    missing = tmp_path / "no" / "such" / "model.onnx"
    assert convert.main([str(served / "tiny"), str(missing)]) == 2
    assert "cannot be written" in capsys.readouterr().err
