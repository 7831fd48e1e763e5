"""Verify an exported model: is it whole, and does it answer as the Keras model did?

    python -m export.verify OUT

checks the newest version in `OUT`, or the version folder given. The answers of the Keras
model, batch normalisation not folded, were stored in the export.
"""

from __future__ import annotations

import argparse
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
    CHECKSUMS,
    EXTRA,
    VERIFICATION,
    ExportError,
    checksums,
    version_folder,
)

__all__ = ["Check", "main", "verify"]

_TIMEOUT_SECONDS = 600


class Check(NamedTuple):
    """One thing that was looked at.

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
        yield Check("saved_model_cli run", error <= 1e-5, f"largest difference {error:.1e}")


def _run(command: list[str]) -> subprocess.CompletedProcess:
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=_TIMEOUT_SECONDS
    )


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code: 0 all is right, 1 something is not, 2 bad input."""
    parser = argparse.ArgumentParser(
        prog="python -m export.verify", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("out", type=pathlib.Path, help="folder of the served model, or a version")
    args = parser.parse_args(argv)
    failed = False
    try:
        for result in verify(args.out):
            failed |= not result.passed
            print(f"{'ok    ' if result.passed else 'FAILED'} {result.check}: {result.found}")
    except ExportError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
