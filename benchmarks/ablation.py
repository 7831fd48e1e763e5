"""Past the paper: edge weights and coarse levels, each grown on shipped weights at equal steps.

    python -m benchmarks.ablation --data FOLDER [FOLDER ...] --out runs/ablation

Every variant starts from the same weights and computes at first what they compute, since what is
new begins at zero; then all see the same crops, noise and rates. They are judged on the middles of
pictures that are held out of the training, with the noise of the evaluation protocol. Each has a
run folder of its own; an interrupted comparison goes on where it stopped.
"""

from __future__ import annotations

import argparse
import pathlib
from typing import Any

import keras
import rich.console
import rich.table

import deepam_tf
from benchmarks.denoising_cost import convolution_cost
from deepam_tf.files.levels import to_unit
from deepam_tf.restoration.tiles import Restorer
from training.configuration.recipes import find_recipe
from training.configuration.settings import read_values, replace
from training.data.inputs import hold_out, load_examples
from training.data.tasks import Examples, find_task
from training.evaluation.denoising import denoiser
from training.evaluation.scores import evaluate, means, print_whole
from training.fit.run import train

__all__ = ["VARIANTS", "main", "middles"]

VARIANTS: dict[str, dict[str, Any]] = {
    "all trained on": {"optimizer.learning_rate": 5e-4},
    "3 levels, all trained on": {"model.levels": 3, "optimizer.learning_rate": 5e-4},
    "edge weights": {"model.edge_weights": True, "run.learns": "new"},
    "3 levels": {"model.levels": 3, "run.learns": "new"},
    "3 levels, edge weights": {
        "model.levels": 3,
        "model.edge_weights": True,
        "run.learns": "new",
    },
}
SIGMAS = (15, 25, 50)
_SHORT = {
    "data.weigh_levels": True,
    "data.validation_images": 24,
    "optimizer.learning_rate": 2e-3,
    "optimizer.average": 0.98,
    "schedule.warmup_steps": 20,
    "run.statistics": "moving",
    "run.dtype": "float32",
    "run.num_steps": 250,
    "run.steps_per_epoch": 250,
    "monitor.pictures_every": 0,
}
_MOST_SIDE = 320  # pixels, of the middle of larger pictures


def middles(examples: Examples) -> dict[str, Any]:
    """The middles of pictures to judge on.

    Args:
        examples: of one part each, the picture, held out of the training.

    Returns:
        Gray images `[H, W]` in [0, 1], by file.
    """
    images = {}
    for source, item in zip(examples.names, examples.items, strict=True):
        top, left = (max(side - _MOST_SIDE, 0) // 2 for side in item.shape[:2])
        middle = item[top : top + _MOST_SIDE, left : left + _MOST_SIDE]
        images[source] = to_unit(middle)[..., 0]
    return images


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ablation", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--data", type=pathlib.Path, nargs="+", required=True)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/ablation"))
    parser.add_argument("--init", default="denoise_gray", help="shipped weights to start from")
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--models", type=pathlib.Path, nargs="*", default=[], help="runs to judge")
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="NAME=VALUE")
    args = parser.parse_args(argv)
    base = replace(find_recipe("denoise_gray"), {**_SHORT, **read_values(args.settings)})
    examples, held = hold_out(
        load_examples(args.data, base.data, find_task(base.data.task)),
        base.data.validation_images,
    )
    source = deepam_tf.load_pretrained(args.init)
    models: dict[str, deepam_tf.DeepAM] = {args.init: source}
    for label in args.only:
        out = args.out / label.replace(", ", "_").replace(" ", "_")
        config = replace(base, VARIANTS[label])
        if not (out / "model.keras").exists():
            train(config, examples, Examples([], []), out, initial_model=source, verbose=2)
        models[label] = keras.saving.load_model(out / "model.keras", compile=False)
    for run in args.models:
        models[run.name] = keras.saving.load_model(run / "model.keras", compile=False)
    images = middles(held)
    table = rich.table.Table(
        "variant", "multiply-adds a pixel", "weights", *(f"sigma {sigma}" for sigma in SIGMAS),
        title=f"PSNR dB, {len(images)} held-out pictures, {base.run.num_steps} steps",
    )  # fmt: skip
    for label, model in models.items():
        restorer = Restorer(model)
        figures = [
            means(evaluate(images, {"model": denoiser(restorer, s / 255)}, s / 255), "model")
            for s in SIGMAS
        ]
        table.add_row(
            label,
            f"{convolution_cost(model):,.0f}",
            f"{model.count_params():,}",
            *(f"{figure['psnr']:.3f}" for figure in figures),
        )
    print_whole(rich.console.Console(), table)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
