"""Train DeepAM with `keras.Model.fit`.

    python -m training.train --config denoise_s25_k3_fast --data FOLDER [FOLDER ...] --out RUN

The same command goes on where a run that was interrupted stopped.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
import warnings

import keras

from deepam_tf.files.pictures import ImageFileError
from training.configuration import run_folder
from training.configuration.recipes import RECIPES, find_recipe
from training.configuration.settings import read_values, replace, to_toml
from training.data.inputs import hold_out, load_examples, open_examples
from training.data.tasks import task_of
from training.fit import distributed
from training.fit.run import train

__all__ = ["main"]


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m training.train", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "--config",
        default="denoise_s25_k3_fast",
        metavar="NAME",
        help="a shipped recipe or a .toml file (denoise_s25_k3_fast)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="settings",
        metavar="NAME=VALUE",
        help="change a value of the recipe, as optimizer.learning_rate=3e-4; again for more",
    )
    parser.add_argument("--data", type=pathlib.Path, nargs="+", help="folders of training data")
    parser.add_argument(
        "--validation", type=pathlib.Path, nargs="+", help="folders instead of held-out images"
    )
    parser.add_argument(
        "--out", type=pathlib.Path, help="folder of the run; runs/CONFIG by default"
    )
    parser.add_argument("--init", type=pathlib.Path, help="model.keras to start from")
    parser.add_argument(
        "--strategy",
        choices=distributed.STRATEGIES,
        default="one",
        help="one device, all of this machine (mirrored), or several machines (workers)",
    )
    parser.add_argument(
        "--export",
        type=pathlib.Path,
        metavar="FOLDER",
        help="do not train, write the step as StableHLO, for a machine with JAX: run_step.py there",
    )
    parser.add_argument(
        "--adopt",
        type=pathlib.Path,
        metavar="FOLDER",
        help="take over what such a program has reached, and go on from there",
    )
    parser.add_argument("--list", action="store_true", help="print the shipped recipes and end")
    parser.add_argument("--show", action="store_true", help="print the configuration and end")
    args = parser.parse_args(argv)
    # Keras 3.15 compares a dict of tensors with its own dict of names and warns each time.
    warnings.filterwarnings("ignore", "The structure of `inputs`", UserWarning)
    if args.list:
        print("\n".join(RECIPES))
        return 0
    try:
        config = replace(find_recipe(args.config), read_values(args.settings))
        if args.show:
            print(to_toml(config), end="")
            return 0
        if not args.data:
            raise ValueError("A run needs training data. Received: no --data.")
        task = task_of(config.data)
        examples = open_examples(args.data, config.data, task)
        if args.validation:
            validation = load_examples(args.validation, config.data, task)
        else:
            examples, validation = hold_out(examples, config.data.validation_images)
        arguments = sys.argv[1:] if argv is None else argv
        train(
            config,
            examples,
            validation,
            args.out or pathlib.Path("runs") / pathlib.Path(args.config).stem,
            initial_model=None
            if args.init is None
            else keras.saving.load_model(args.init, compile=False),
            strategy=args.strategy,
            export=args.export,
            adopt=args.adopt,
            command=run_folder.command_line("training.train", arguments),
        )
    except (ImageFileError, ValueError, FloatingPointError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted: the same command goes on from the last epoch.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
