"""Turn a finished run into weights that ship with the package.

    python -m training.release RUN --name NAME --card CARD.json --evaluate FOLDER [FOLDER ...]

The card's file says in words what no program knows: the task, the data, the limits. What a
program can measure, it measures: the results are those of the weights as written.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
import tempfile

import keras

import deepam_tf
from deepam_tf import pretrained
from deepam_tf.files.pictures import ImageFileError
from deepam_tf.restoration.tiles import Restorer
from training.configuration.run_folder import read_config
from training.data.tasks import task_of

__all__ = ["main"]


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


def _release(args: argparse.Namespace) -> dict[str, dict[str, float]]:
    values = read_config(args.run).data
    task = task_of(values)
    card = {**json.loads(args.card.read_text()), **task.limits(values), "results": {}}
    model = keras.saving.load_model(args.run / "model.keras", compile=False)
    if args.rtol is not None:
        model = model.with_solver(rtol=args.rtol)
    # Judged as users get them, read back from the rounded file, before they are in the package.
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        written = pretrained.write_pretrained(model, args.name, card, folder)
        restorer = Restorer(pretrained.read_pretrained(folder / f"{args.name}.npz", written))
    card["results"] = {
        path.name + suffix: figures
        for path in args.evaluate
        for suffix, figures in task.figures(path, restorer, values).items()
    }
    package = pathlib.Path(deepam_tf.__file__).parent
    pretrained.write_pretrained(model, args.name, card, package / "restoration" / "weights")
    return card["results"]


if __name__ == "__main__":
    sys.exit(main())
