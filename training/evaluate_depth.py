"""Measure guided depth upsampling: the paper's Table 3.

    python -m training.evaluate_depth --data NYU_TEST --tune NYU_TRAIN --border 10

Protocol: depth maps in 0..255, those of 16 bit divided by 257; a border is cut off first, where
asked for; every `scale`-th pixel is kept, the first at `scale // 2`; results are not rounded.
Bad: more than 3 levels from the truth. Pixels that are 0 in the truth do not count.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import pathlib
import sys
import time

import numpy as np
import rich.console
import rich.progress
import rich.table

import deepam_tf
from deepam_tf import image_io
from deepam_tf.restoration.tiles import Restorer
from training.evaluation import depth, depth_peers
from training.evaluation.scores import provenance, write_csv

__all__ = ["main"]


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate_depth", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "--data", type=pathlib.Path, required=True, help="folder with rgb/ and depth/"
    )
    parser.add_argument(
        "--tune",
        type=pathlib.Path,
        help="training folder: also measure the classical filters, tuned on frames of it",
    )
    parser.add_argument("--tune-frames", type=int, default=8, help="frames to tune on (8)")
    parser.add_argument("--border", type=int, default=0, help="pixels to cut off each side (0)")
    parser.add_argument("--every", type=int, default=1, help="use every n-th frame (1)")
    parser.add_argument("--scales", type=int, nargs="+", default=[4, 8, 16])
    parser.add_argument("--model", nargs="*", default=["upsample_depth"], help="shipped weights")
    parser.add_argument(
        "--no-snap",
        action="store_true",
        help="measure what the networks give, not yet decided for one surface",
    )
    parser.add_argument(
        "--protocol",
        choices=("paper", "field"),
        default="paper",
        help="the paper's Table 3, or that of the papers on guided super-resolution (paper)",
    )
    parser.add_argument(
        "--bfloat16", action="store_true", help="networks in bfloat16, faster where there is AMX"
    )
    parser.add_argument("--out", type=pathlib.Path, help="CSV; results/DATA_depth.csv by default")
    args = parser.parse_args(argv)
    console = rich.console.Console()
    try:
        frames = depth.read_frames(args.data, args.border)[:: args.every]
        dtype = "mixed_bfloat16" if args.bfloat16 else "float32"
        restorers = {
            name: Restorer(deepam_tf.load_pretrained(name, dtype=dtype)) for name in args.model
        }
        if args.protocol == "field":
            return _field(args, console, frames, restorers)
        scores = []
        with rich.progress.Progress(transient=True) as progress:
            for scale in args.scales:
                methods = depth_peers.interpolators()
                if args.tune is not None:
                    methods |= _tuned(args, scale, progress)
                methods |= {
                    name: functools.partial(depth.upsample, restorer, snap=not args.no_snap)
                    for name, restorer in restorers.items()
                }
                task = progress.add_task(f"x{scale}", total=len(frames) * len(methods))
                for name, truth, guide in frames:
                    sample = depth.observe(truth, guide, scale)
                    for method, upsample in methods.items():
                        start = time.perf_counter()
                        restored = upsample(sample)
                        seconds = time.perf_counter() - start
                        figures = depth.score(truth, restored)
                        scores.append(depth.Score(name, scale, method, *figures, seconds))
                        progress.advance(task)
        out = args.out or pathlib.Path("results") / f"{args.data.name}_depth.csv"
        write_csv(out, scores, _header(args, len(frames)))
    except (image_io.ImageFileError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    console.print(depth.table(scores, args.scales, args.data.name))
    console.print(f"each frame: {out}", highlight=False)
    return 0


def _field(args, console, frames, restorers) -> int:
    """The table of the papers on guided super-resolution."""
    methods = {"bicubic": None, **restorers}
    scores = []
    with rich.progress.Progress(transient=True) as progress:
        task = progress.add_task("frames", total=len(frames) * len(args.scales) * len(methods))
        for name, truth, guide in frames:
            for scale, (method, restorer) in itertools.product(args.scales, methods.items()):
                start = time.perf_counter()
                error = depth.field_error(restorer, truth, guide, scale)
                seconds = time.perf_counter() - start
                scores.append(depth.FieldScore(name, scale, method, error, seconds))
                progress.advance(task)
    out = args.out or pathlib.Path("results") / f"{args.data.name}_field.csv"
    write_csv(out, scores, [f"{args.data.name}: {len(frames)} frames", *provenance(__doc__)])
    table = rich.table.Table("RMSE", *(f"x{scale}" for scale in args.scales), title=args.data.name)
    for method in methods:
        means = [
            np.mean([s.rmse for s in scores if (s.method, s.scale) == (method, scale)])
            for scale in args.scales
        ]
        table.add_row(method, *(f"{mean:.2f}" for mean in means))
    console.print(table)
    console.print(f"each frame: {out}", highlight=False)
    return 0


def _tuned(args, scale, progress) -> dict[str, depth_peers.Upsampler]:
    frames = depth.read_frames(args.tune, args.border)
    chosen = frames[:: max(len(frames) // args.tune_frames, 1)][: args.tune_frames]
    bar = progress.add_task(f"x{scale}: tuning", total=depth.count_trials())
    return depth.tuned_filters(chosen, scale, on_run=lambda: progress.advance(bar))


def _header(args: argparse.Namespace, count: int) -> list[str]:
    return [
        f"{args.data.name}: {count} frames, {args.border} pixels cut off each side",
        *provenance(__doc__),
    ]


if __name__ == "__main__":
    sys.exit(main())
