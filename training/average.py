"""Average the weights of runs that share a beginning, and re-estimate the batch statistics.

    python -m training.average RUN [RUN ...] --data FOLDER [FOLDER ...] --out RUN

Runs that end in the same valley average to a point deeper in it (Izmailov et al., "Averaging
weights leads to wider optima and better generalization", 2018). The moving statistics of batch
normalisation do not average; and even of one run they are the noisy memory of its last hundred
batches, of networks that computed in half precision. They are replaced by means over many batches
in float32, the precision that ships. The crops stay as large as those of the run: the zeros around
a crop are part of what its maps were normalised by.
"""

from __future__ import annotations

import argparse
import pathlib
import sys

import keras
import rich.progress

import deepam_tf
from deepam_tf.files.atomic import whole_file, write_bytes
from deepam_tf.files.pictures import ImageFileError
from training.configuration.config import TrainingConfig
from training.configuration.run_folder import read_config
from training.configuration.settings import replace, to_toml
from training.data.batches import make_batches
from training.data.inputs import open_examples
from training.data.tasks import task_of
from training.fit.averaging import average_weights, reestimate_statistics
from training.fit.trainer import make_model

__all__ = ["main"]


def _reestimate(model, config: TrainingConfig, args: argparse.Namespace) -> None:
    if not args.data:
        raise ValueError("Batch statistics need data. Received: no --data, and not --batches 0.")
    task = task_of(config.data)
    crops = make_batches(open_examples(args.data, config.data, task), config, task, 0)
    with rich.progress.Progress(transient=True) as progress:
        bar = progress.add_task("batches", total=args.batches)
        reestimate_statistics(
            model,
            ({name: batch[0][name] for name in model.input} for batch in crops.take(args.batches)),
            on_batch=lambda: progress.advance(bar),
        )


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m training.average", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "runs", type=pathlib.Path, nargs="+", help="folders with model.keras, the first a run's"
    )
    parser.add_argument(
        "--with", dest="shipped", nargs="*", default=[], metavar="NAME", help="shipped weights too"
    )
    parser.add_argument("--data", type=pathlib.Path, nargs="+", help="what the runs learnt from")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder to make")
    parser.add_argument(
        "--batches",
        type=int,
        default=200,
        help="for the batch statistics; 0: the mean of theirs, as of runs that kept them (200)",
    )
    args = parser.parse_args(argv)
    try:
        config = read_config(args.runs[0])
        models = [keras.saving.load_model(run / "model.keras", compile=False) for run in args.runs]
        models += [deepam_tf.load_pretrained(name) for name in args.shipped]
        model = make_model(replace(config, {"run.dtype": "float32"}), task_of(config.data))
        model.set_weights(average_weights(models))
        if args.batches:
            _reestimate(model, config, args)
        args.out.mkdir(parents=True, exist_ok=True)
        with whole_file(args.out / "model.keras") as temporary:
            model.save(temporary)
        write_bytes(args.out / "config.toml", to_toml(config).encode())
    except (ImageFileError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
