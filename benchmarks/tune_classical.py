"""Find how strongly each classical regulariser should smooth, on training images.

    python -m benchmarks.tune_classical --data BSDS500/train [--sigma 25] [--beta-growth 2]

Only training images may decide it: the factors go into `deepam_tf.classical` and
`training.peers`, and from there into tables of test images.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import pathlib
import sys

import numpy as np
import rich.console
import rich.progress
import tensorflow as tf

from deepam_tf import classical, data
from deepam_tf.files.levels import to_unit
from training.evaluation import peers
from training.evaluation.scores import evaluate, summary_table

STEPS = (0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5)


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tune_classical")
    parser.add_argument("--data", type=pathlib.Path, required=True, help="training images")
    parser.add_argument("--sigma", type=float, default=25.0, help="noise level, 0..255")
    parser.add_argument("--count", type=int, default=40, help="images to use")
    parser.add_argument("--beta-growth", type=float, help="another path for all methods")
    args = parser.parse_args(argv)
    stddev = args.sigma / 255
    every = data.load_images(args.data)
    chosen = np.linspace(0, len(every) - 1, args.count, dtype=int)
    images = {str(i): to_unit(every[i][..., 0]) for i in chosen}

    methods = {}
    for step in STEPS:
        weight = step * peers.TV_WEIGHT_PER_STDDEV
        methods[f"scikit-image TV {weight:.3g}"] = peers.total_variation(weight * stddev)
        for name, method in classical.METHODS.items():
            changed = dataclasses.replace(
                method,
                factor=step * method.factor,
                beta_growth=args.beta_growth or method.beta_growth,
            )
            methods[f"{name} {changed.factor:.3g}"] = peers.gray(
                tf.function(functools.partial(changed, noise_stddev=stddev), reduce_retracing=True)
            )
    with rich.progress.Progress(transient=True) as progress:
        task = progress.add_task("images", total=len(images) * len(methods))
        scores = evaluate(images, methods, stddev, on_image=lambda: progress.advance(task))
    rich.console.Console().print(summary_table(scores, f"sigma {args.sigma:g}"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
