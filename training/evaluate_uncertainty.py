"""Measure uncertainty heads on test data: are the intervals right, do they find the errors?

    python -m training.evaluate_uncertainty denoise_gray --data BSD68 --levels 15 25 50
    python -m training.evaluate_uncertainty upsample_depth --data NYU_TEST --levels 4 8 16

Degradations are those of the benchmarks (image number i of those used gets noise of the seed i);
restored images are not clipped, and of depth maps not moved to planes. A level is sigma, or pixels
from sample to sample. `--told` tells the model another sigma than the true one; `--real` takes
pairs of photographs NAME_real.png and NAME_mean.png.
"""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
import sys

import numpy as np
import rich.console
import rich.progress
import rich.table

from deepam_tf import image_io, load_uncertain
from deepam_tf.files import atomic
from training.configuration.recipes import find_recipe
from training.configuration.settings import read_values, replace
from training.data.degraded import observations
from training.data.inputs import load_examples
from training.data.tasks import find_task
from training.evaluation import uncertainty
from training.evaluation.calibration import LEVELS, Scores, score
from training.evaluation.scores import provenance, write_csv

__all__ = ["main"]


@dataclasses.dataclass(frozen=True)
class Row:
    """One level; coverage in %, likelihood in nats a value."""

    level: str
    images: int
    coverage_50: float
    coverage_80: float
    coverage_95: float
    nll: float
    laplace_nll: float
    ause_stddev: float
    ause_gradient: float
    ause_gamma: float
    ause_of_chance: float
    block_ause_stddev: float
    block_ause_gradient: float
    block_ause_gamma: float
    rank_stddev: float
    rank_gradient: float
    rank_gamma: float
    rank_gaussian: float


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate_uncertainty", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("name", help="of shipped weights with a head")
    parser.add_argument("--data", type=pathlib.Path, required=True, help="folder or list of a task")
    parser.add_argument(
        "--levels", type=float, nargs="+", help="sigma, or scale; by default those of the task"
    )
    parser.add_argument("--told", type=float, help="sigma that the model is told, 0..255")
    parser.add_argument("--real", action="store_true", help="pairs with the noise of a camera")
    parser.add_argument("--every", type=int, default=1, help="use every n-th example (1)")
    parser.add_argument(
        "--set", action="append", default=[], dest="settings", metavar="NAME=VALUE", help="of data"
    )
    parser.add_argument(
        "--gaussian",
        action="store_true",
        help="also the standard deviation of the energy read as a normal distribution",
    )
    parser.add_argument("--figure", type=pathlib.Path, help="picture of reliability to write")
    parser.add_argument(
        "--out", type=pathlib.Path, help="CSV; results/DATA_NAME_uncertainty.csv by default"
    )
    args = parser.parse_args(argv)
    console = rich.console.Console()
    try:
        rows, scores = _measured(args)
        out = args.out or pathlib.Path("results") / f"{args.data.stem}_{args.name}_uncertainty.csv"
        write_csv(out, rows, [f"{args.name}, {args.data.name}", *provenance(__doc__)])
        if args.figure is not None:
            atomic.write_bytes(
                args.figure, uncertainty.figure(scores, f"{args.name}, {args.data.name}")
            )
    except (image_io.ImageFileError, ImportError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    console.print(_table(rows, f"{args.name}, {args.data.name}"))
    console.print(f"each level: {out}", highlight=False)
    return 0


def _measured(args: argparse.Namespace) -> tuple[list[Row], dict[str, Scores]]:
    model = load_uncertain(args.name)
    config = replace(find_recipe(args.name), read_values(args.settings))
    task = find_task(config.data.task)
    run = uncertainty.watch(model)
    df = model.get_layer("uncertainty").df
    examples = None
    if not args.real:
        values = dataclasses.replace(config.data, crop_size=1)
        examples = load_examples([args.data], values, task)
        examples = examples.pick(list(range(0, len(examples), args.every)))
    rows, scores = [], {}
    with rich.progress.Progress(transient=True) as progress:
        for level in [0.0] if args.real else args.levels or task.levels(config.data):
            if examples is None:
                observed = list(uncertainty.real_observations(args.data, model.image_channels))
                observed = observed[:: args.every]
                count = len(observed)
            else:
                observed = observations(examples, task, config.data, level, args.told)
                count = len(examples)
            name = "camera" if args.real else f"{level:g}"
            if args.told is not None:
                name += f", told {args.told:g}"
            bar = progress.add_task(name, total=count)
            judged = []
            for one in observed:
                judged.append(uncertainty.judge(run, one, gaussian=args.gaussian))
                progress.advance(bar)
            result = score([(one.errors, one.stddev, one.rivals) for one in judged], df)
            scores[name] = result
            ranks, blocks = (
                {key: float(np.mean([one[key] for one in found])) for key in found[0]}
                for found in (
                    [one.correlations for one in judged],
                    [one.block_ause for one in judged],
                )
            )
            rows.append(
                Row(
                    name,
                    len(judged),
                    *(round(100 * result.coverage(x), 2) for x in LEVELS),
                    round(result.nll, 3),
                    round(result.laplace_nll, 3),
                    *(round(result.ause[x], 4) for x in ("stddev", "|gradient u|", "gamma")),
                    round(result.ause_of_chance, 4),
                    *(round(blocks[x], 4) for x in ("stddev", "|gradient u|", "gamma")),
                    *(round(ranks[x], 3) for x in ("stddev", "|gradient u|", "gamma")),
                    round(ranks.get("Gaussian stddev", float("nan")), 3),
                )
            )
    return rows, scores


def _table(rows: list[Row], title: str) -> rich.table.Table:
    """One line a level."""
    table = rich.table.Table(
        "level",
        "inside 50 / 80 / 95 %",
        "nats (Laplace)",
        "AUSE head / |gradient u| / gamma (chance)",
        "AUSE of blocks 8x8 head / |gradient u| / gamma",
        "rank correlation head / |gradient u| / gamma / Gaussian",
        title=title,
    )
    for row in rows:
        table.add_row(
            row.level,
            f"{row.coverage_50:.1f} / {row.coverage_80:.1f} / {row.coverage_95:.1f}",
            f"{row.nll:.2f} ({row.laplace_nll:.2f})",
            f"{row.ause_stddev:.3f} / {row.ause_gradient:.3f} / {row.ause_gamma:.3f} "
            f"({row.ause_of_chance:.3f})",
            f"{row.block_ause_stddev:.3f} / {row.block_ause_gradient:.3f} / "
            f"{row.block_ause_gamma:.3f}",
            f"{row.rank_stddev:.2f} / {row.rank_gradient:.2f} / {row.rank_gamma:.2f} / "
            f"{row.rank_gaussian:.2f}",
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
