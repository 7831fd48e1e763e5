"""Train the uncertainty heads of weights that ship, and put them beside the weights.

    python -m training.train_uncertainty NAME --data FOLDER [FOLDER ...]
    python -m training.train_uncertainty NAME --only-recalibrate --data FOLDER [FOLDER ...]

The weights stay as they are. Run it again when they change: a head belongs to given weights, and
is refused beside others. The second command leaves what the head has learnt too, and sets its
factors and its tails alone.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import shlex
import sys
import time
import warnings

import keras
import numpy as np

from deepam_tf import DeepAM, image_io, load_pretrained
from deepam_tf.restoration.uncertainty import HEADS, attach_head, head_card, save_head
from training.configuration.recipes import find_recipe
from training.configuration.settings import read_values, replace
from training.data.inputs import hold_out, load_examples
from training.data.tasks import find_task
from training.fit.uncertainty import fit_head, recalibrate, remember, with_head

__all__ = ["main"]

_HELD_OUT_SHARE = 10


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m training.train_uncertainty", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("name", help="of the weights, which is also that of their recipe")
    parser.add_argument("--data", type=pathlib.Path, nargs="+", required=True, help="as training's")
    parser.add_argument(
        "--set", action="append", default=[], dest="settings", metavar="NAME=VALUE", help="as there"
    )
    parser.add_argument("--filters", type=int, default=24, help="feature maps of the head (24)")
    parser.add_argument("--crops", type=int, default=480, help="training crops (480)")
    parser.add_argument("--epochs", type=int, default=10, help="passes over them (10)")
    parser.add_argument(
        "--recalibrate-on",
        type=pathlib.Path,
        nargs="+",
        metavar="FOLDER",
        help="pictures that the weights have not learnt from; those held out of --data by default",
    )
    parser.add_argument(
        "--pictures", type=int, default=24, help="whole ones to recalibrate on (24)"
    )
    parser.add_argument(
        "--only-recalibrate", action="store_true", help="take the head that there is in --out"
    )
    parser.add_argument("--learning-rate", type=float, default=4e-3, help="of Adam (4e-3)")
    parser.add_argument(
        "--out", type=pathlib.Path, default=HEADS, help="folder of heads; the package's by default"
    )
    parser.add_argument(
        "--logs", type=pathlib.Path, help="TensorBoard's folder; runs/uncertainty_NAME by default"
    )
    args = parser.parse_args(argv)
    if args.only_recalibrate:
        for option in ("filters", "crops", "epochs", "learning_rate"):
            if getattr(args, option) != parser.get_default(option):
                name = "--" + option.replace("_", "-")
                parser.error(f"{name} is of training, which --only-recalibrate leaves out")
    warnings.filterwarnings("ignore", "The structure of `inputs`", UserWarning)
    try:
        start = time.monotonic()
        config = replace(find_recipe(args.name), {"data.batch_size": 8})
        config = replace(config, read_values(args.settings))
        levels = find_task(config.data.task).levels(config.data)
        filters, before = args.filters, None
        if args.only_recalibrate:
            before = head_card(args.name, args.out)
            filters = before["filters"]
        model = with_head(load_pretrained(args.name), filters, levels)
        if config.data.supervision != "clean":
            raise ValueError(
                "How sure a network is it can be taught by clean pictures alone. "
                f"Received: data.supervision={config.data.supervision!r}."
            )
        keras.utils.set_random_seed(config.run.seed)
        examples = load_examples(args.data, config.data, find_task(config.data.task))
        if len(examples) < _HELD_OUT_SHARE or args.pictures < 1:
            raise ValueError(
                f"At least {_HELD_OUT_SHARE} examples and one of `--pictures` are needed. "
                f"Received: {len(examples)} examples, --pictures {args.pictures}."
            )
        kept, held = hold_out(examples, len(examples) // _HELD_OUT_SHARE)
        unseen = held
        if args.recalibrate_on:
            unseen = load_examples(args.recalibrate_on, config.data, find_task(config.data.task))
        if before is None:
            commands, minutes = [], 0.0
            summary, reached = _trained(model, kept, held, config, args)
        else:
            commands, minutes = [before["training"]["command"]], before["training"]["minutes"]
            summary = before["training"]["summary"].split(";")[0]
            reached = {"val_loss": before["held_out"]["val_loss"]}
            _take_over(model, attach_head(load_pretrained(args.name), args.name, args.out))
        numbers = np.unique(np.linspace(0, len(unseen) - 1, args.pictures).astype(int)).tolist()
        found = recalibrate(model, unseen.pick(numbers), config, levels)
        reached |= found
        # Of the folders' names, not of where they lie on this machine.
        folders, others = (
            [f"{path.resolve().parent.name}/{path.name}" for path in paths or []]
            for paths in (args.data, args.recalibrate_on)
        )
        settings = [word for setting in args.settings for word in ("--set", setting)]
        if args.only_recalibrate:
            settings.append("--only-recalibrate")
        for option in ("filters", "crops", "epochs", "pictures", "learning_rate"):
            value = getattr(args, option)
            if value != parser.get_default(option):
                settings += ["--" + option.replace("_", "-"), f"{value:g}"]
        words = ["python", "-m", "training.train_uncertainty", args.name, *settings]
        words += ["--data", *folders, *(["--recalibrate-on", *others] if others else [])]
        card = {
            "training": {
                "command": "; ".join([*commands, shlex.join(words)]),
                "summary": f"{summary}; recalibrated on {len(numbers)} whole others",
                "minutes": round(minutes + (time.monotonic() - start) / 60, 1),
            },
            "held_out": reached,
        }
        save_head(model, args.name, card, args.out)
    except (image_io.ImageFileError, ImportError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(json.dumps(reached, indent=2))
    return 0


def _trained(model: DeepAM, kept, held, config, args) -> tuple[str, dict[str, float]]:
    """Train the head of a model; what was done in words, and what was reached."""
    start = time.monotonic()
    crops = remember(model, kept, config, args.crops)
    held_out = remember(model, held, config, max(args.crops // 3, 8))
    seconds = time.monotonic() - start
    print(f"{len(crops.errors)} + {len(held_out.errors)} crops in {seconds:.0f} s")
    val_loss = fit_head(
        model,
        crops,
        held_out,
        epochs=args.epochs,
        learning_rate=args.learning_rate,
        logs=args.logs or pathlib.Path("runs") / f"uncertainty_{args.name}",
    )
    summary = f"{len(crops.errors)} crops of {len(kept)} examples, {args.epochs} epochs"
    return summary, {"val_loss": round(val_loss, 4)}


def _take_over(model: DeepAM, known: DeepAM) -> None:
    """What a head has learnt, and its factors if they are for the same levels."""
    head, learnt = (x.get_layer("uncertainty") for x in (model, known))
    values = {variable.path: variable for variable in learnt.variables}
    for variable in head.variables:
        if variable.path in values and values[variable.path].shape == variable.shape:
            variable.assign(values[variable.path])


if __name__ == "__main__":
    sys.exit(main())
