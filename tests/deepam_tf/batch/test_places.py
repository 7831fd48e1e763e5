"""Files at URLs: brought, and taken there whole or not at all."""

from __future__ import annotations

import pathlib
import time

import pytest

from deepam_tf.batch import jobs, places
from deepam_tf.batch.attempts import attempt
from deepam_tf.files.pictures import ImageFileError
from tests.deepam_tf.batch.copying import make_restore

fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def memory():
    """An empty file system in memory."""
    system = fsspec.filesystem("memory")
    system.store.clear()
    yield system
    system.store.clear()


def test_a_folder_at_a_url_is_read_and_written(memory):
    names = ["a.png", "x/b.jpg", "x/notes.txt", ".hidden/c.png", "out/d.png"]
    for name in names:
        memory.pipe_file(f"/photos/{name}", name.encode())
    found, several = jobs.find_jobs(["memory://photos"], "memory://photos/out", recursive=True)
    assert several
    assert [job.name for job in found] == ["a.png", "x/b.jpg"]
    flat, _ = jobs.find_jobs(["memory://photos"], "memory://photos/out")
    assert [job.name for job in flat] == ["a.png"]
    (match,), _ = jobs.find_jobs(["memory://photos/x/*"], "out")
    assert (match.source, match.target) == ("memory://photos/x/b.jpg", "out/b.jpg")
    for job in found:
        assert attempt(job, make_restore({}))["error"] is None
    assert memory.cat_file("/photos/out/x/b.jpg") == b"x/b.jpg"
    below = [name for _, name in places.files_below("memory://photos/out", recursive=True)]
    assert below == ["a.png", "d.png", "x/b.jpg"]


def test_what_is_there_is_replaced_only_if_it_is_of_this_run(memory):
    memory.pipe_file("/in/a.png", b"new")
    memory.pipe_file("/out/a.png", b"old")
    job = jobs.Job("memory://in/a.png", "memory://out/a.png", "a.png")
    restore = make_restore({})
    after = time.time() + 60
    for began in (None, after):
        assert "exists already" in attempt(job, restore, began=began)["error"]
        assert memory.cat_file("/out/a.png") == b"old"
    assert attempt(job, restore, began=after - 120)["error"] is None
    assert memory.cat_file("/out/a.png") == b"new"


@pytest.mark.parametrize("began_later", [False, True])
def test_the_same_of_files_of_this_machine(tmp_path, began_later):
    source, target = tmp_path / "a.png", tmp_path / "b.png"
    source.write_bytes(b"new")
    target.write_bytes(b"old")
    began = target.stat().st_mtime + (1 if began_later else 0)
    job = jobs.Job(str(source), str(target), "a.png")
    failed = attempt(job, make_restore({}), began=began)["error"] is not None
    assert failed == began_later
    assert target.read_bytes() == (b"old" if began_later else b"new")


def test_a_file_that_cannot_be_taken_there_leaves_nothing(memory, monkeypatch):
    memory.pipe_file("/in/a.png", b"new")

    def refuse(*_, **__):
        raise OSError("no space")

    monkeypatch.setattr(memory, "mv", refuse)
    job = jobs.Job("memory://in/a.png", "memory://out/a.png", "a.png")
    assert "no space" in attempt(job, make_restore({}), unexpected=(Exception,))["error"]
    assert not memory.isdir("/out") or not memory.ls("/out")


def test_errors_name_urls_not_copies_of_them(memory):
    memory.pipe_file("/in/a.png", b"bad")
    job = jobs.Job("memory://in/a.png", "memory://out/a.png", "a.png")
    error = attempt(job, make_restore({}))["error"]
    assert error == "memory://in/a.png: not an image"
    gone = jobs.Job("memory://in/b.png", "memory://out/b.png", "b.png")
    assert attempt(gone, make_restore({}))["error"] == "memory://in/b.png: no such file."


def test_what_no_package_opens_is_told(tmp_path):
    with pytest.raises(ImageFileError, match="nonsense://"):
        places.file_system("nonsense://a")
    with pytest.raises(ImageFileError, match="no such file"):
        places.is_folder("memory://nowhere")
    assert not places.is_url(tmp_path)
    assert places.join(str(pathlib.Path("a")), "b/c.png") == str(pathlib.Path("a", "b", "c.png"))
