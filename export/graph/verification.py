"""Whether an exported model is whole, and answers as the Keras model did.

The answers of the Keras model, batch normalisation not folded, were stored in the export.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from export.graph.artefact import (
    CARD,
    CHECKSUMS,
    EXTRA,
    VERIFICATION,
    checksums,
    version_folder,
)

__all__ = ["Check", "print_checks", "verify"]

_TIMEOUT_SECONDS = 600


class Check(NamedTuple):
    """One check of an export and its result.

    Attributes:
        check: what.
        passed: whether it is as it should be.
        found: what was found.
    """

    check: str
    passed: bool
    found: str


def verify(folder: str | os.PathLike) -> Iterator[Check]:
    """Check one version folder, or the newest version in the folder of a served model.

    Args:
        folder: either.

    Yields:
        Results, one by one as they come.

    Raises:
        ExportError: if there is no exported model.
    """
    folder = version_folder(pathlib.Path(folder))
    listed = (folder / EXTRA / CHECKSUMS).read_text().splitlines()
    differing = sorted({line[66:] for line in {*checksums(folder).splitlines()} ^ {*listed}})
    yield Check("checksums", not differing, f"differing: {differing or 'none'}")
    yield from _alone(folder)
    yield from _saved_model_cli(folder)


def _alone(folder: pathlib.Path) -> Iterator[Check]:
    script = pathlib.Path(__file__).with_name("alone.py")
    done = _run([sys.executable, str(script), str(folder)])
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            yield Check(**json.loads(line))
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    yield Check("a process of its own", done.returncode == 0, last if done.returncode else "ended")


def _saved_model_cli(folder: pathlib.Path) -> Iterator[Check]:
    command = [sys.executable, "-m", "tensorflow.python.tools.saved_model_cli"]
    done = _run([*command, "show", "--dir", str(folder), "--all"])
    found = [name for name in ("serving_default", "serving_bytes") if f"['{name}']" in done.stdout]
    yield Check("saved_model_cli show", len(found) == 2 and done.returncode == 0, f"{found}")

    with np.load(folder / EXTRA / VERIFICATION) as file, tempfile.TemporaryDirectory() as place:
        inputs = {
            key.removeprefix("0/input/"): file[key]
            for key in file.files
            if key.startswith("0/input/")
        }
        for name, x in inputs.items():
            np.save(f"{place}/{name}.npy", x)
        given = ";".join(f"{name}={place}/{name}.npy" for name in inputs)
        tags = ["--tag_set", "serve", "--signature_def", "serving_default"]
        done = _run(
            [*command, "run", "--dir", str(folder), *tags, "--inputs", given, "--outdir", place]
        )
        restored = pathlib.Path(place, "restored.npy")
        error = np.inf
        if restored.is_file():
            error = float(np.abs(np.load(restored) - file["0/restored"]).max())
        agreement = json.loads((folder / EXTRA / CARD).read_text())["export"].get("agreement", 1e-5)
        yield Check("saved_model_cli run", error <= agreement, f"largest difference {error:.1e}")


def _run(command: list[str]) -> subprocess.CompletedProcess:
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=_TIMEOUT_SECONDS
    )


def print_checks(folder: str | os.PathLike) -> bool:
    """Verify an export and print each result as it comes.

    Args:
        folder: of a served model, or one version of it.

    Returns:
        Whether everything is as it should be.

    Raises:
        ExportError: if there is no exported model.
    """
    good = True
    for result in verify(folder):
        good &= result.passed
        print(f"{'ok    ' if result.passed else 'FAILED'} {result.check}: {result.found}")
    return good
