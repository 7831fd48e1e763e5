"""Find the weight of scikit-image's total variation that suits training images best.

    python -m benchmarks.tune_tv --data BSDS500/train [--sigma 25]

Only training images may decide it: the figure goes into `training.peers` and from there into
tables of test images.
"""

from __future__ import annotations

import argparse
import pathlib
import sys

import numpy as np
import rich.console
import rich.progress

from deepam_tf import data
from training import peers
from training.evaluate import evaluate, summary_table

FACTORS = (0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 1.0)


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tune_tv")
    parser.add_argument("--data", type=pathlib.Path, required=True, help="training images")
    parser.add_argument("--sigma", type=float, default=25.0, help="noise level, 0..255")
    parser.add_argument("--count", type=int, default=40, help="images to use")
    args = parser.parse_args(argv)
    stddev = args.sigma / 255
    every = data.load_images(args.data)
    chosen = np.linspace(0, len(every) - 1, args.count, dtype=int)
    images = {str(i): every[i][..., 0].astype(np.float32) / 255 for i in chosen}
    methods = {
        f"weight {factor:g} sigma": peers.total_variation(factor * stddev) for factor in FACTORS
    }
    with rich.progress.Progress(transient=True) as progress:
        task = progress.add_task("images", total=len(images) * len(methods))
        scores = evaluate(images, methods, stddev, on_image=lambda: progress.advance(task))
    rich.console.Console().print(summary_table(scores, f"TV, sigma {args.sigma:g}"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
