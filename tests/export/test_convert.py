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
    missing = tmp_path / "no" / "such" / "model.onnx"
    assert convert.main([str(served / "tiny"), str(missing)]) == 2
    assert "cannot be written" in capsys.readouterr().err
