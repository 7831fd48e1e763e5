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

from deepam_tf.files.atomic import whole_file, write_bytes
from deepam_tf.files.pictures import ImageFileError
from training.configuration.run_folder import read_config
from training.configuration.settings import replace, to_toml
from training.data.batches import make_batches
from training.data.inputs import open_examples
from training.data.tasks import find_task
from training.fit.averaging import average_weights, reestimate_statistics
from training.fit.trainer import make_model

__all__ = ["main"]


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m training.average", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("runs", type=pathlib.Path, nargs="+", help="folders with model.keras")
    parser.add_argument("--data", type=pathlib.Path, nargs="+", required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder to make")
    parser.add_argument("--batches", type=int, default=200)
    args = parser.parse_args(argv)
    try:
        config = read_config(args.runs[0])
        models = [keras.saving.load_model(run / "model.keras", compile=False) for run in args.runs]
        task = find_task(config.data.task)
        examples = open_examples(args.data, config.data, task)
        model = make_model(replace(config, {"run.dtype": "float32"}), task)
        model.set_weights(average_weights(models))
        crops = make_batches(examples, config, task, 0)
        with rich.progress.Progress(transient=True) as progress:
            task = progress.add_task("batches", total=args.batches)
            reestimate_statistics(
                model,
                (
                    {name: batch[0][name] for name in model.input}
                    for batch in crops.take(args.batches)
                ),
                on_batch=lambda: progress.advance(task),
            )
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
