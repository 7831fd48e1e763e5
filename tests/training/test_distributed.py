"""The number of devices and processes changes nothing but the speed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time

import cv2
import keras
import numpy as np
import pytest

from tests import helpers
from training import train
from training.configuration.config import TrainingConfig
from training.configuration.settings import replace
from training.fit import distributed

OPTIONS = {
    "model.num_iterations": 2,
    "model.filters": 16,
    "model.depth": 4,
    "data.crop_size": 24,
    "data.batch_size": 4,
    "run.dtype": "float64",  # what float32 rounds grows with each step
    "run.jit_compile_solves": "false",  # compiling takes longer than all steps
    "run.num_steps": 24,
    "run.steps_per_epoch": 3,
    "monitor.pictures_every": 4,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for i in range(12):
        image = np.kron(rng.integers(0, 256, (5, 6)), np.ones((8, 8))).astype(np.uint8)
        cv2.imwrite(str(folder / f"{i:02}.png"), image)
    return folder


def command(folder, out, strategy):
    values = [x for name, value in OPTIONS.items() for x in ("--set", f"{name}={value}")]
    return [
        sys.executable, "-m", "training.train", "--config", "denoise_s25_k3_fast",
        "--data", str(folder), "--out", str(out), "--strategy", strategy, *values,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def one(folder, tmp_path_factory):
    """The run of one device."""
    out = tmp_path_factory.mktemp("runs") / "one"
    subprocess.run(command(folder, out, "one"), check=True, capture_output=True)
    return out


def start_workers(folder, out):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    addresses = [f"127.0.0.1:{s.getsockname()[1]}" for s in sockets]
    for s in sockets:
        s.close()
    workers = []
    for index in range(2):
        task = {"type": "worker", "index": index}
        cluster = json.dumps({"cluster": {"worker": addresses}, "task": task})
        workers.append(
            subprocess.Popen(
                command(folder, out, "workers"),
                env={**os.environ, "TF_CONFIG": cluster},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return workers


def assert_same_model(a, b):
    models = [keras.saving.load_model(run / "model.keras", compile=False) for run in (a, b)]
    for x, y in zip(*(model.variables for model in models), strict=True):
        scale = np.abs(np.asarray(y)).max()
        np.testing.assert_allclose(x, y, rtol=0, atol=1e-6 * scale + 1e-9, err_msg=x.path)


@pytest.mark.slow
def test_two_workers_lose_one_go_on_and_end_like_one(tmp_path, folder, one):
    out = tmp_path / "two"
    workers = start_workers(folder, out)
    try:
        deadline = time.monotonic() + 300
        while not (out / "checkpoints" / "ckpt-2.index").exists():
            assert all(worker.poll() is None for worker in workers), workers[0].communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.1)
        workers[1].send_signal(signal.SIGKILL)
        _, errors = workers[0].communicate(timeout=200)
        assert workers[0].returncode == 2, errors
        last = errors.strip().splitlines()[-1]
        assert last.startswith("error: All workers must stay in reach. Received: ")
        assert str(out / "checkpoints" / "ckpt-") in last
        assert not (out / "model.keras").exists()
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()

    workers = start_workers(folder, out)
    try:
        for worker in workers:
            _, errors = worker.communicate(timeout=300)
            assert worker.returncode == 0, errors
    finally:
        for worker in workers:
            worker.kill()
    starts = json.loads((out / "run.json").read_text())
    assert [start["first_step"] == 0 for start in starts] == [True, False]
    assert_same_model(out, one)


@pytest.mark.slow
def test_two_devices_of_one_machine_end_like_one(tmp_path, folder, one):
    arguments = command(folder, tmp_path / "two", "mirrored")[3:]
    helpers.run_python(
        "import sys, tensorflow as tf\n"
        "cpu = tf.config.list_physical_devices('CPU')[0]\n"
        "halves = [tf.config.LogicalDeviceConfiguration()] * 2\n"
        "tf.config.set_logical_device_configuration(cpu, halves)\n"
        "strategy = tf.distribute.MirroredStrategy\n"
        "tf.distribute.MirroredStrategy = lambda: strategy(['CPU:0', 'CPU:1'])\n"
        "from training import train\n"
        "assert train.main(sys.argv[1:]) == 0\n",
        *arguments,
    )
    assert_same_model(tmp_path / "two", one)


def test_workers_need_their_addresses_and_an_even_batch(monkeypatch, capsys, tmp_path, folder):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    options = ["--data", str(folder), "--out", str(tmp_path), "--strategy", "workers"]
    assert train.main([*options, "--set", "data.crop_size=16"]) == 2
    assert "Received: TF_CONFIG=None. Set it as" in capsys.readouterr().err
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": ["a:1"]}, "task": {"index": 3}}')
    with pytest.raises(ValueError, match="addresses of all workers"):
        distributed.make_strategy("workers", TrainingConfig())
    monkeypatch.setattr(distributed.tf.distribute, "MirroredStrategy", lambda: _Three)
    with pytest.raises(ValueError, match=r"evenly. Received: data.batch_size=8 for 3 devices"):
        distributed.make_strategy("mirrored", TrainingConfig())
    _Three.num_replicas_in_sync = 2
    decayed = replace(TrainingConfig(), {"optimizer.weight_decay": 0.1})
    with pytest.raises(ValueError, match="does not decay weights"):
        distributed.make_strategy("mirrored", decayed)
    averaged = replace(TrainingConfig(), {"optimizer.average": 0.99})
    with pytest.raises(ValueError, match=r"one device only. Received: optimizer.average=0.99"):
        distributed.make_strategy("mirrored", averaged)


class _Three:
    num_replicas_in_sync = 3
