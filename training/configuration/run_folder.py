"""The folder of a run: enough room for it, and all that it takes to repeat it.

config.toml      the resolved configuration, every value
run.json         for each start: command, versions, git revision, seed, first step
checkpoints/     the two latest, each written whole or not at all
logs/            for TensorBoard
model.keras      the trained model, once the run has ended
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import shlex
import shutil
import subprocess
import sys
import zlib

import keras
import numpy as np
import tensorflow as tf

import deepam_tf
from deepam_tf.files import atomic
from training.configuration.config import TrainingConfig, flat
from training.configuration.settings import read_toml, replace, to_toml

__all__ = [
    "bytes_of_run",
    "check_room",
    "check_same_recipe",
    "check_same_start",
    "command_line",
    "fingerprint",
    "read_config",
    "write_record",
]

CHANGEABLE = ("run.num_steps", "monitor.pictures_every", "monitor.picture_size")
"""What a run may change when it goes on."""


def read_config(run: pathlib.Path) -> TrainingConfig:
    """Read the configuration of a run from its folder.

    Args:
        run: its folder.

    Returns:
        The configuration.

    Raises:
        ValueError: if there is none.
    """
    _, values = read_toml(run / "config.toml")
    return replace(TrainingConfig(), values)


def check_same_recipe(config: TrainingConfig, out: pathlib.Path) -> None:
    """A run goes on with its own recipe; only its length and its pictures may change.

    Raises:
        ValueError: if something else changed.
    """
    if not (out / "config.toml").exists():
        return
    before, now = flat(read_config(out)), flat(config)
    changed = [name for name in now if name not in CHANGEABLE and before[name] != now[name]]
    if changed:
        raise ValueError(
            "A run must go on with the configuration it began with. Received: other values of "
            f"{', '.join(changed)} than {out / 'config.toml'} holds. Choose another folder."
        )


def check_same_start(out: pathlib.Path, *, data: str, initial_weights: str | None) -> None:
    """A run goes on with the data and the weights it began with.

    Args:
        out: folder of the run.
        data: fingerprint of the training examples.
        initial_weights: fingerprint of the weights to start from, None: drawn at random.

    Raises:
        ValueError: if either is another than at the first start.
    """
    path = out / "run.json"
    first = json.loads(path.read_text())[0] if path.exists() else {}
    given = {"data": data, "initial_weights": initial_weights}
    for name, option in (("data", "--data"), ("initial_weights", "--init")):
        if name in first and first[name] != given[name]:
            raise ValueError(
                f"A run must go on with the {option} it began with. Received: "
                f"{given[name] or 'none'}, where {path} has {first[name] or 'none'}. "
                "Choose another folder."
            )


def fingerprint(weights: list[np.ndarray]) -> str:
    """A text that tells a model's weights from others, by their number and checksum."""
    checksum = 0
    for array in weights:
        checksum = zlib.crc32(array.tobytes(), checksum)
    return f"{len(weights)} weights, crc32 {checksum:08x}"


def bytes_of_run(trainer: keras.Model, config: TrainingConfig) -> int:
    """Estimate how many bytes a run writes.

    Args:
        trainer: compiled model, its optimizer built.
        config: the recipe.

    Returns:
        Bytes: three checkpoints (two are kept while the next is written), the model, events
        and pictures.
    """
    weights = sum(variable.value.dtype.size * _count(variable) for variable in trainer.variables)
    state = sum(v.value.dtype.size * _count(v) for v in trainer.optimizer.variables)
    epochs = config.run.num_steps // config.run.steps_per_epoch
    views = epochs // config.monitor.pictures_every if config.monitor.pictures_every else 0
    pictures = views * (3 * config.model.num_iterations + 3) * config.monitor.picture_size**2
    return 3 * (weights + state) + 2 * weights + pictures + 2**20


def _count(variable: keras.Variable) -> int:
    return int(tf.size(variable.value))


def check_room(out: pathlib.Path, needed: int) -> None:
    """Make the folder of a run and see that it can be written to, before hours are spent.

    Args:
        out: the folder.
        needed: bytes that the run will write.

    Raises:
        OSError: if the folder cannot be made or written to, or the disk has less room.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        trial = out / f".trial.{os.getpid()}"
        trial.write_bytes(b"x" * 4096)
        trial.unlink()
    except OSError as error:
        raise OSError(
            "The folder of a run must be writable. "
            f"Received: {str(out)!r} ({error.strerror}). Choose another with --out."
        ) from error
    free = shutil.disk_usage(out).free
    if free < needed:
        raise OSError(
            "The disk must have room for the whole run. Received: "
            f"{str(out)!r} with {free / 2**20:.0f} MiB free, {needed / 2**20:.0f} MiB needed. "
            "Make room or choose another folder with --out."
        )


def write_record(
    out: pathlib.Path,
    config: TrainingConfig,
    *,
    step: int,
    command: str | None,
    data: str,
    initial_weights: str | None,
) -> None:
    """Write `config.toml`, and add this start to `run.json`.

    Args:
        out: folder of the run, which exists.
        config: the resolved configuration.
        step: steps done before.
        command: the command that was given, None for a call from Python.
        data: fingerprint of the training examples.
        initial_weights: fingerprint of the weights the run began with, None: random ones.
    """
    path = out / "run.json"
    starts = json.loads(path.read_text()) if path.exists() else []
    starts.append(
        {
            "started": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "first_step": step,
            "command": command,
            "seed": config.run.seed,
            "data": data,
            "initial_weights": initial_weights,
            "git": git_state(),
            "versions": versions(),
            "machine": {
                "processor": platform.machine(),
                "cores": os.cpu_count(),
                "devices": [device.name for device in tf.config.list_logical_devices()],
            },
        }
    )
    atomic.write_bytes(out / "config.toml", to_toml(config).encode())
    atomic.write_bytes(path, (json.dumps(starts, indent=2) + "\n").encode())


def versions() -> dict[str, str]:
    """Versions of Python, this package and what it computes with."""
    names = ("tensorflow", "tensorflow-cpu", "keras", "numpy", "opencv-python", "tensorboard")
    found = {"python": platform.python_version(), "deepam_tf": deepam_tf.__version__}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def git_state() -> dict[str, object] | None:
    """Revision of the checkout and whether files differ from it; None outside of one."""
    root = pathlib.Path(__file__).parent
    try:
        revision, status = (
            subprocess.run(
                ["git", *arguments], cwd=root, capture_output=True, text=True, check=True
            ).stdout.strip()
            for arguments in (["rev-parse", "HEAD"], ["status", "--porcelain"])
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"revision": revision, "dirty": bool(status)}


def command_line(module: str, arguments: list[str]) -> str:
    """The command that starts this program again."""
    return shlex.join([pathlib.Path(sys.executable).name, "-m", module, *arguments])
