"""Workers that are processes: no picture is lost, whatever ends them."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from deepam_tf.batch.jobs import find_jobs
from deepam_tf.batch.processes import restore_in_processes
from deepam_tf.batch.resources import Workers, choose_workers
from deepam_tf.batch.worker import Setup
from tests.deepam_tf.batch.copying import RESTORE

ROOT = pathlib.Path(__file__).parents[3]


@pytest.fixture
def pictures(tmp_path):
    """A folder of files, and where they go."""
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    out.mkdir()
    for i in range(30):
        (folder / f"{i:02}.png").write_bytes(b"picture %d" % i)
    return folder, out


def run(folder, out, count=2, **options):
    jobs, _ = find_jobs([str(folder)], out)
    return list(restore_in_processes(jobs, Setup(RESTORE, options), Workers(count, 1)))


def test_every_picture_is_answered_for_once(pictures):
    folder, out = pictures
    answers = run(folder, out)
    assert sorted(x["input"] for x in answers) == sorted(str(x) for x in folder.iterdir())
    assert all(x["error"] is None for x in answers)
    for path in folder.iterdir():
        assert (out / path.name).read_bytes() == path.read_bytes()


def test_hostile_files_are_errors_of_their_own(pictures):
    folder, out = pictures
    hostile = {"03": b"bad", "07": b"worse", "11": b"deadly", "12": b"deadly"}
    for name, content in hostile.items():
        (folder / f"{name}.png").write_bytes(content)
    (out / "20.png").write_bytes(b"of somebody else")
    answers = {pathlib.Path(x["input"]).stem: x for x in run(folder, out)}
    assert len(answers) == 30
    errors = {name: x["error"] for name, x in answers.items() if x["error"] is not None}
    assert errors.keys() == {*hostile, "20"}
    assert "not an image" in errors["03"]
    assert "KeyError" in errors["07"]
    assert "SIGKILL" in errors["11"]
    assert "exists already" in errors["20"]
    assert all(str(folder / name) in text for name, text in errors.items() if name != "20")
    assert (out / "20.png").read_bytes() == b"of somebody else"
    assert len(list(out.iterdir())) == 26


def test_a_worker_that_cannot_start_ends_the_run(pictures):
    with pytest.raises(RuntimeError, match="no such weights"):
        run(*pictures, cannot_start=True)


def test_threads_are_those_that_each_worker_has():
    environment = choose_workers(8, 100 * 2**30, count=4).environment()
    assert environment["OMP_NUM_THREADS"] == environment["TF_NUM_INTRAOP_THREADS"] == "2"


@pytest.mark.parametrize(
    ("cores", "gibibytes", "expected"),
    [(2, 64, (2, 1)), (16, 5, (2, 8)), (64, 1, (1, 64)), (1, 0, (1, 1))],
)
def test_workers_fit_into_cores_and_memory(cores, gibibytes, expected):
    workers = choose_workers(cores, gibibytes * 2**30)
    assert (workers.count, workers.threads) == expected
    assert workers.count * workers.threads <= cores


PROGRAM = """
import sys
from deepam_tf.batch.jobs import find_jobs
from deepam_tf.batch.processes import restore_in_processes
from deepam_tf.batch.records import Manifest
from deepam_tf.batch.resources import Workers
from deepam_tf.batch.worker import Setup
folder, out, manifest, marks = sys.argv[1:]
with Manifest.open(manifest, {}) as known:
    jobs = [job for job in find_jobs([folder], out)[0] if job.source not in known]
    options = {"seconds": 0.05, "marks": marks}
    setup = Setup("tests.deepam_tf.batch.copying:make_restore", options, began=known.began)
    for answer in restore_in_processes(jobs, setup, Workers(2, 1)):
        known.add(answer)
"""


def test_kill_9_loses_nothing_and_repeats_nothing(pictures, tmp_path):
    folder, out = pictures
    manifest, marks = tmp_path / "manifest.jsonl", tmp_path / "marks"
    marks.mkdir()
    program = tmp_path / "deepam_tf" / "__main__.py"  # as the command, without TensorFlow
    program.parent.mkdir()
    program.write_text(PROGRAM)
    command = [sys.executable, program, folder, out, manifest, marks]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    lengths = [0]
    for least in (5, 15):
        process = subprocess.Popen(command, env=environment)
        end = time.monotonic() + 60
        while not manifest.exists() or len(manifest.read_text().splitlines()) < least:
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        lengths.append(len(manifest.read_text().splitlines()))
        assert lengths[-1] < 30
    assert subprocess.run(command, env=environment, check=False).returncode == 0
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    assert sorted(line["input"] for line in lines) == sorted(str(x) for x in folder.iterdir())
    assert all(line["error"] is None for line in lines)
    assert {x.name: x.read_bytes() for x in out.iterdir()} == {
        x.name: x.read_bytes() for x in folder.iterdir()
    }
    # Two workers were stopped twice: no more than these four were at a picture.
    assert len(list(marks.iterdir())) <= 30 + 4


def test_workers_end_with_the_run(pictures):
    folder, out = pictures
    jobs, _ = find_jobs([str(folder)], out)
    answers = restore_in_processes(jobs, Setup(RESTORE, {"seconds": 0.2}), Workers(2, 1))
    next(answers)
    with contextlib.closing(answers):
        pass
    before = len(list(out.iterdir()))
    time.sleep(0.5)
    assert len(list(out.iterdir())) == before < 30
