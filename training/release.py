"""Turn a finished run into weights that ship with the package.

    python -m training.release RUN --name NAME --card CARD.json --evaluate FOLDER [FOLDER ...]

The card's file says in words what no program knows: the task, the data, the limits. What a
program can measure, it measures: the results are those of the weights as written.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import keras

import deepam_tf
from deepam_tf import pretrained
from deepam_tf.files.pictures import ImageFileError
from deepam_tf.restoration.tiles import Restorer
from training.configuration.config import Data
from training.configuration.run_folder import read_config
from training.data.tasks import noise_range
from training.evaluation import denoising, depth, fusion

__all__ = ["main"]

SIGMAS = (15, 25, 50)
"""Levels at which a model for all levels is judged: those of the literature."""

Figures = dict[str, dict[str, float]]


def _noise_levels(values: Data) -> dict[str, float]:
    """What to add to the name of a dataset, and the level it stands for."""
    level = noise_range(values)
    if isinstance(level, tuple):
        return {f", sigma {sigma}": sigma / 255 for sigma in SIGMAS}
    return {"": level}


def _denoising(folder: pathlib.Path, restorer: Restorer, values: Data) -> Figures:
    return {
        suffix: denoising.figures(folder, restorer, level, channels=values.image_channels)
        for suffix, level in _noise_levels(values).items()
    }


def _fusion(folder: pathlib.Path, restorer: Restorer, values: Data) -> Figures:
    return {
        suffix: fusion.figures(folder, restorer, level)
        for suffix, level in _noise_levels(values).items()
    }


def _depth(folder: pathlib.Path, restorer: Restorer, values: Data) -> Figures:
    return {
        f", x{scale}": depth.figures(folder, restorer, scale, border=values.border)
        for scale in _scales(values)
        if scale > 1
    }


def _scales(values: Data) -> list[int]:
    return sorted(set(values.scale if isinstance(values.scale, tuple) else (values.scale,)))


@dataclasses.dataclass(frozen=True)
class Row:
    """How the weights of one task are described.

    Attributes:
        figures: what they reach on a folder of test data; the names go behind the folder's.
        limits: what the card says of the data they were trained for.
    """

    figures: Callable[[pathlib.Path, Restorer, Data], Figures]
    limits: Callable[[Data], dict[str, Any]]


ROWS = {
    "denoise": Row(_denoising, lambda values: {"noise_stddev": noise_range(values)}),
    "depth": Row(_depth, lambda values: {"scale": _scales(values)}),
    "nir": Row(_fusion, lambda values: {"noise_stddev": noise_range(values)}),
}


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m training.release", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("run", type=pathlib.Path, help="folder of the run, with model.keras")
    parser.add_argument("--name", required=True, help="name of the weights")
    parser.add_argument("--card", type=pathlib.Path, required=True, help="JSON: task, training ...")
    parser.add_argument(
        "--evaluate", type=pathlib.Path, nargs="+", default=[], help="folders of test data"
    )
    parser.add_argument(
        "--rtol", type=float, help="tolerance of the shipped model's solves instead of the run's"
    )
    args = parser.parse_args(argv)
    try:
        results = _release(args)
    except (ImageFileError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(json.dumps(results, indent=2))
    return 0


def _release(args: argparse.Namespace) -> Figures:
    values = read_config(args.run).data
    row = ROWS[values.task]
    card = {**json.loads(args.card.read_text()), **row.limits(values), "results": {}}
    model = keras.saving.load_model(args.run / "model.keras", compile=False)
    if args.rtol is not None:
        model.rtol = args.rtol  # no weight depends on it: the card's model is built with it
    # Judged as users get them, read back from the rounded file, before they are in the package.
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        written = pretrained.write_pretrained(model, args.name, card, folder)
        restorer = Restorer(pretrained.read_pretrained(folder / f"{args.name}.npz", written))
    card["results"] = {
        path.name + suffix: figures
        for path in args.evaluate
        for suffix, figures in row.figures(path, restorer, values).items()
    }
    package = pathlib.Path(deepam_tf.__file__).parent
    pretrained.write_pretrained(model, args.name, card, package / "restoration" / "weights")
    return card["results"]


if __name__ == "__main__":
    sys.exit(main())
