"""Optimizers side by side: the same network, crops, noise and number of steps.

    python -m benchmarks.optimizers --data FOLDER --out runs/optimizers

trains the rows of one table one after another, each in a run folder of its own, and draws the
curves. An interrupted comparison goes on where it stopped. `tensorboard --logdir
runs/optimizers` shows the runs, and their settings among the hyperparameters.
"""

from __future__ import annotations

import argparse
import json
import pathlib
from typing import Any

import keras
import numpy as np
import rich.console
import rich.table
from tensorboard.backend.event_processing import event_accumulator

from training.configuration.recipes import find_recipe
from training.configuration.settings import replace
from training.data.inputs import hold_out, load_examples
from training.data.tasks import find_task
from training.fit.run import train

__all__ = ["COMPARISONS", "curve", "main"]

# Two iterations on the grid of 2x2 blocks, 8 crops 64x64 a step.
SHORT = {
    "model.num_iterations": 2,
    "model.pixel_unshuffle": 2,
    "data.validation_images": 20,
    "schedule.warmup_steps": 50,
    "run.num_steps": 500,
    "run.steps_per_epoch": 50,
    "monitor.pictures_every": 5,
}
PAPER_TRIAL = {
    "run.dtype": "mixed_bfloat16",
    "data.validation_images": 20,
    "run.num_steps": 200,
    "run.steps_per_epoch": 50,
    "monitor.pictures_every": 0,
}


def _rates(name: str, *rates: float, **others: Any) -> dict[str, dict[str, Any]]:
    return {
        f"{name} {rate:g}": {
            "optimizer.name": name,
            "optimizer.learning_rate": rate,
            **{f"optimizer.{key}": value for key, value in others.items()},
        }
        for rate in rates
    }


COMPARISONS: dict[str, tuple[str, dict[str, Any], dict[str, dict[str, Any]]]] = {
    # Which optimizer the fast recipes take.
    "optimizers": (
        "denoise_s25_k3_fast",
        SHORT,
        _rates("muon", 1e-3, 2.5e-3, 6e-3, 1.5e-2)
        | _rates("adam", 3e-4, 1e-3, 3e-3)
        | _rates("sgd", 0.03, 0.1, 0.3, 1.0, momentum=0.9),
    ),
    # Which rate the paper's recipe takes, which the paper does not say.
    "paper_rate": (
        "denoise_s25_k1_paper",
        PAPER_TRIAL,
        _rates("sgd", 0.01, 0.03, 0.1, 0.3, momentum=0.9),
    ),
}


def curve(run: pathlib.Path, tag: str = "epoch_restored_psnr") -> list[tuple[int, float]]:
    """Validation figures of a run: `(epoch, value)`, from its TensorBoard events."""
    events = event_accumulator.EventAccumulator(str(run / "logs" / "validation"))
    events.Reload()
    return [
        (event.step + 1, float(np.frombuffer(event.tensor_proto.tensor_content, np.float32)[0]))
        for event in events.Tensors(tag)
    ]


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.optimizers", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--data", type=pathlib.Path, nargs="+", required=True)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/optimizers"))
    parser.add_argument("--part", choices=COMPARISONS, default="optimizers")
    parser.add_argument("--picture", type=pathlib.Path, help="file for the curves")
    args = parser.parse_args(argv)
    recipe, common, rows = COMPARISONS[args.part]
    base = replace(find_recipe(recipe), common)
    task = find_task(base.data.task)
    examples, validation = hold_out(
        load_examples(args.data, base.data, task), base.data.validation_images
    )
    curves = {}
    for label, values in rows.items():
        out = args.out / label.replace(" ", "_")
        if not (out / "model.keras").exists():
            keras.backend.clear_session()
            try:
                train(replace(base, values), examples, validation, out, verbose=2)
            except FloatingPointError as error:
                print(f"{label}: {error}", flush=True)
        if (out / "logs" / "validation").exists():
            curves[label] = curve(out)
    table = rich.table.Table("optimizer, rate", "PSNR dB", "best epoch", title=recipe)
    for label, points in curves.items():
        best = max(points, key=lambda point: point[1])
        table.add_row(label, f"{points[-1][1]:.2f}", f"{best[1]:.2f} ({best[0]})")
    rich.console.Console().print(table)
    (args.out / f"{args.part}.json").write_text(json.dumps(curves, indent=2) + "\n")
    if args.picture:
        _draw(curves, base.run.steps_per_epoch, args.picture)
    return 0


def _draw(curves: dict[str, list], steps_per_epoch: int, path: pathlib.Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    colors = {"muon": "tab:blue", "adam": "tab:orange", "sgd": "tab:green"}
    styles = ["-", "--", ":", "-."]
    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for i, (label, points) in enumerate(curves.items()):
        name = label.split()[0]
        rank = [other for other in curves if other.split()[0] == name].index(label)
        steps, values = zip(*points, strict=True)
        axes.plot(
            [steps_per_epoch * step for step in steps],
            values,
            styles[rank % 4],
            color=colors.get(name, f"C{i}"),
            label=label,
        )
    axes.set(xlabel="step", ylabel="validation PSNR, dB")
    values = np.concatenate([[value for _, value in points] for points in curves.values()])
    axes.set_ylim(bottom=np.quantile(values, 0.1) - 0.5)  # where rates too high began is no matter
    axes.grid(alpha=0.3)
    axes.legend(ncols=3, loc="upper left", fontsize="small")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    raise SystemExit(main())
