"""A batch on a real Ray cluster of two nodes, of which one is lost midway."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import warnings

import cv2
import numpy as np
import pytest

from deepam_tf import image_io

pytestmark = pytest.mark.slow
NUM_PICTURES = 500
START_SECONDS = 240


@pytest.fixture
def cluster(monkeypatch):
    """Two nodes of one core each on this machine; without Ray there is none."""
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from ray.cluster_utils import Cluster

        options = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "memory": 4 * 2**30}
        cluster = Cluster(initialize_head=True, head_node_args=options)
        cluster.second = cluster.add_node(**options)
        yield cluster
        cluster.shutdown()


@pytest.fixture
def photographs(tmp_path, rng):
    folder = tmp_path / "in"
    folder.mkdir()
    for i in range(NUM_PICTURES):
        size = (16 + i % 7, 17 + i % 5)
        cv2.imwrite(str(folder / f"{i:03}.png"), rng.integers(0, 256, size, dtype=np.uint8))
    for i in (33, 333):
        (folder / f"{i:03}.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    return folder


def below(pid):
    """Processes of a process, by Linux's own account of them: pid and command line."""
    children = {}
    for place in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            stat = (place / "stat").read_text()
            command = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        parent = int(stat.rpartition(")")[2].split()[1])
        children.setdefault(parent, []).append((int(place.name), command))
    found, todo = [], [pid]
    while todo:
        for child, command in children.get(todo.pop(), []):
            found.append((child, command))
            todo.append(child)
    return found


def test_no_picture_is_lost_or_done_by_halves_with_an_actor_and_a_node(
    cluster, photographs, tmp_path
):
    out, manifest = tmp_path / "out", tmp_path / "out" / "manifest.jsonl"
    command = ["batch", photographs, out, "--method", "l0", "--sigma", "25"]
    process = subprocess.Popen(
        [sys.executable, "-m", "deepam_tf", *command, "--address", cluster.address],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )

    def wait_for(count):
        end = time.monotonic() + START_SECONDS
        while not manifest.exists() or manifest.read_text().count("\n") < count:
            assert process.poll() is None, process.stdout.read()
            assert time.monotonic() < end
            time.sleep(0.05)

    wait_for(50)
    raylet = next(iter(cluster.second.all_processes["raylet"])).process.pid
    actors = [pid for pid, command in below(raylet) if command.startswith("ray::MapWorker")]
    assert actors
    os.kill(actors[0], signal.SIGKILL)
    wait_for(150)
    cluster.remove_node(cluster.second, allow_graceful=False)
    said, _ = process.communicate(timeout=START_SECONDS)
    assert process.returncode == 1, said  # two files were bad
    assert "2 workers" in said
    assert "1 node lost" in said
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    assert sorted(line["input"] for line in lines) == sorted(map(str, photographs.iterdir()))
    failed = {pathlib.Path(line["input"]).stem for line in lines if line["error"] is not None}
    assert failed == {"033", "333"}
    # Who is killed as it writes leaves a hidden file behind, which is no picture of the folder.
    there = [path for path in out.iterdir() if not path.name.startswith(".")]
    written = {path.stem: path for path in there if path.suffix == ".png"}
    assert len(written) == NUM_PICTURES - len(failed)
    for path in written.values():
        assert (
            image_io.read(path).pixels.shape == image_io.read(photographs / path.name).pixels.shape
        )
    assert {path.name for path in there} - {path.name for path in written.values()} == {
        "manifest.jsonl", "manifest.run.json"
    }  # fmt: skip
