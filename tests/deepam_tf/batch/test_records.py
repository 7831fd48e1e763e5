"""A manifest has every picture once, and an interruption costs the picture that it met."""

from __future__ import annotations

import json

import pytest

from deepam_tf.batch.records import Manifest, record
from deepam_tf.files.pictures import ImageFileError

SETTINGS = {"task": "denoise", "options": {"sigma": 25.0}}


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "manifest.jsonl"


def test_a_picture_is_written_down_once(path):
    for _ in range(2):
        with Manifest.open(path, SETTINGS) as manifest:
            for name in ("a", "b", "a"):
                manifest.add(record(name, "out", error="bad" if name == "b" else None))
            assert (manifest.done, manifest.failed) == ({"a"}, {"b"})
            assert "a" in manifest
            assert "b" in manifest
            assert "c" not in manifest
    assert [line["input"] for line in lines(path)] == ["a", "b"]


@pytest.mark.parametrize("cut", range(1, 40, 7))
def test_half_a_last_line_is_dropped(path, cut):
    with Manifest.open(path, SETTINGS) as manifest:
        manifest.add(record("a", "out"))
        whole = path.read_bytes()
        manifest.add(record("b", "out"))
    path.write_bytes(path.read_bytes()[: len(whole) + cut])
    with Manifest.open(path, SETTINGS) as manifest:
        assert manifest.done == {"a"}
        manifest.add(record("b", "out"))
    assert [line["input"] for line in lines(path)] == ["a", "b"]


def test_a_run_that_was_asked_for_something_else_is_not_gone_on_with(path):
    with Manifest.open(path, SETTINGS) as manifest:
        manifest.add(record("a", "out"))
    other = {"task": "denoise", "options": {"sigma": 50.0}}
    with pytest.raises(ImageFileError, match=r"Received: sigma 50\.0, not 25\.0"):
        with Manifest.open(path, other):
            pass
    assert len(lines(path)) == 1
    with Manifest.open(path, other, restart=True) as manifest:
        assert not manifest.done
    assert not lines(path)


def test_failures_are_tried_again_when_asked(path):
    with Manifest.open(path, SETTINGS) as manifest:
        manifest.add(record("a", "out"))
        manifest.add(record("b", "out", error="bad"))
    with Manifest.open(path, SETTINGS, retry_failed=True) as manifest:
        assert "b" not in manifest
        manifest.add(record("b", "out"))
    assert [(line["input"], line["error"]) for line in lines(path)] == [("a", None), ("b", None)]


def test_two_runs_do_not_write_one_manifest(path):
    with Manifest.open(path, SETTINGS):
        with pytest.raises(ImageFileError, match="another run"):
            with Manifest.open(path, SETTINGS):
                pass
    with Manifest.open(path, SETTINGS):
        pass


@pytest.mark.parametrize("text", ["nonsense\n", "[1]\n", '{"input": "a"}\n', "\n"])
def test_what_is_no_manifest_is_left_alone(path, text):
    with Manifest.open(path, SETTINGS):
        pass
    path.write_text(text)
    with pytest.raises(ImageFileError, match="line 1"):
        with Manifest.open(path, SETTINGS):
            pass
    assert path.read_text() == text


def test_a_file_of_that_name_that_no_run_made_is_left_alone(path):
    path.write_text("of mine\n")
    with pytest.raises(ImageFileError, match="is missing"):
        with Manifest.open(path, SETTINGS):
            pass
    assert path.read_text() == "of mine\n"
