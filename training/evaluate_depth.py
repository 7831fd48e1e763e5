"""Measure guided depth upsampling: the paper's Table 3.

    python -m training.evaluate_depth --data NYU_TEST --tune NYU_TRAIN --border 10

Protocol: depth maps of 8 bit as they are, 0..255; a border is cut off first, where asked for;
every `scale`-th pixel is kept, the first at `scale // 2`; results are not rounded. Bad: more
than 3 levels from the truth. Pixels that are 0 in the truth do not count.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import pathlib
import sys
import time

import numpy as np
import rich.console
import rich.progress
import rich.table
import tensorflow as tf

import deepam_tf
from deepam_tf import data, image_io, metrics, sampling
from deepam_tf.restoration.depth import upsample_depth
from deepam_tf.restoration.tiles import Restorer
from training.evaluation import depth_peers
from training.evaluation.scores import provenance, write_csv

__all__ = ["Score", "figures", "main", "observe", "score"]

TOLERANCE = 3.0
"""Levels from the truth that are still right (paper, section 5.2)."""

PAPER = {
    "nyu": {4: 0.57, 8: 1.58, 16: 4.63},
    "middlebury": {4: 3.14, 8: 5.78, 16: 10.45},
}
"""Bad matching percentage of DeepAM(2) in the paper's Table 3."""


@dataclasses.dataclass(frozen=True)
class Score:
    """How one method did on one frame; error in 0..255, time in seconds."""

    frame: str
    scale: int
    method: str
    bad_matching_percentage: float
    rmse: float
    seconds: float


def observe(depth: np.ndarray, guide: np.ndarray, scale: int) -> depth_peers.Sample:
    """The low-resolution observation of a frame.

    Args:
        depth: `[H, W]` float32.
        guide: `[H, W, 3]` uint8.
        scale: pixels from sample to sample.

    Returns:
        What the methods are given.
    """
    low = np.asarray(sampling.take_samples(tf.constant(depth[..., np.newaxis]), scale))
    known = tf.cast(low > 0, tf.float32)
    dense, mask = sampling.interpolate_samples(low, known, depth.shape, scale)
    return depth_peers.Sample(
        low[..., 0],
        scale,
        dense.numpy()[..., 0],
        (mask.numpy()[..., 0] == 1).astype(np.float32),
        guide,
    )


def score(truth: np.ndarray, restored: np.ndarray) -> tuple[float, float]:
    """Bad matching percentage and root mean square error of one map.

    Args:
        truth: `[H, W]`, 0 where unknown.
        restored: `[H, W]`.

    Returns:
        The two figures.
    """
    a, b = (x[np.newaxis, ..., np.newaxis].astype(np.float32) for x in (truth, restored))
    weight = (a > 0).astype(np.float32)
    bad = metrics.bad_matching_percentage(a, b, tolerance=TOLERANCE, weight=weight)
    return float(bad[0]), float(metrics.rmse(a, b, weight=weight)[0])


def figures(
    folder: pathlib.Path, restorer: Restorer, scale: int, *, border: int = 0
) -> dict[str, float]:
    """What a model reaches on a folder of pairs.

    Args:
        folder: holds depth/ and rgb/.
        restorer: of a model guided by colour.
        scale: pixels from sample to sample.
        border: pixels to cut off each side first.

    Returns:
        Means over the frames, `bad_matching_percentage` and `rmse`.
    """
    scores = []
    for _, depth, guide in _frames(folder, border):
        sample = observe(depth, guide, scale)
        scores.append(score(depth, _restored(restorer, sample)))
    bad, error = np.mean(scores, axis=0)
    return {"bad_matching_percentage": round(float(bad), 3), "rmse": round(float(error), 3)}


def _restored(restorer: Restorer, sample: depth_peers.Sample, *, snap: bool = True) -> np.ndarray:
    return upsample_depth(
        restorer,
        sample.low,
        sample.guide.astype(np.float32) / 255,
        scale=sample.scale,
        valid=sample.low > 0,
        snap=snap,
    )


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
    parser.add_argument("--out", type=pathlib.Path, help="CSV; results/DATA_depth.csv by default")
    args = parser.parse_args(argv)
    console = rich.console.Console()
    try:
        frames = _frames(args.data, args.border)[:: args.every]
        restorers = {
            name: Restorer(deepam_tf.load_pretrained(name), tile=1024) for name in args.model
        }
        scores = []
        with rich.progress.Progress(transient=True) as progress:
            for scale in args.scales:
                methods = depth_peers.interpolators()
                if args.tune is not None:
                    methods |= _tuned(args, scale, progress)
                methods |= {
                    name: functools.partial(_restored, restorer, snap=not args.no_snap)
                    for name, restorer in restorers.items()
                }
                task = progress.add_task(f"x{scale}", total=len(frames) * len(methods))
                for name, depth, guide in frames:
                    sample = observe(depth, guide, scale)
                    for method, upsample in methods.items():
                        start = time.perf_counter()
                        restored = upsample(sample)
                        seconds = time.perf_counter() - start
                        scores.append(Score(name, scale, method, *score(depth, restored), seconds))
                        progress.advance(task)
        out = args.out or pathlib.Path("results") / f"{args.data.name}_depth.csv"
        write_csv(out, scores, _header(args, len(frames)))
    except (image_io.ImageFileError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    console.print(table(scores, args.scales, args.data.name))
    console.print(f"each frame: {out}", highlight=False)
    return 0


def _frames(folder: pathlib.Path, border: int) -> list[tuple[str, np.ndarray, np.ndarray]]:
    pairs = data.load_pairs(
        folder, target="depth", guide="rgb", target_channels=1, guide_channels=3, border=border
    )
    names = [path.stem for path in image_io.list_images(folder / "depth")]
    return [
        (name, depth[..., 0].astype(np.float32), guide)
        for name, (depth, guide) in zip(names, pairs, strict=True)
    ]


def _tuned(args, scale, progress) -> dict[str, depth_peers.Upsampler]:
    frames = _frames(args.tune, args.border)
    chosen = frames[:: max(len(frames) // args.tune_frames, 1)][: args.tune_frames]
    samples = [(observe(depth, guide, scale), depth) for _, depth, guide in chosen]
    trials = sum(
        int(np.prod([len(values) for values in grid.values()]))
        for _, grid in depth_peers.GRIDS.values()
    )
    task = progress.add_task(f"x{scale}: tuning", total=trials)
    return depth_peers.tuned(
        samples,
        lambda truth, restored: score(truth, restored)[0],
        on_run=lambda: progress.advance(task),
    )


def table(scores: list[Score], scales: list[int], title: str) -> rich.table.Table:
    """Mean over frames: bad matching percentage / RMSE for each method and scale.

    Args:
        scores: of every frame.
        scales: columns.
        title: name of the data, by which the paper's row is found.

    Returns:
        The table.
    """
    shown = rich.table.Table("bad % / RMSE", *(f"x{scale}" for scale in scales), title=title)
    # The parameters of a tuned method differ from scale to scale: one row for its name.
    for method in dict.fromkeys(score.method.split(" (")[0] for score in scores):
        cells = []
        for scale in scales:
            own = [s for s in scores if s.method.split(" (")[0] == method and s.scale == scale]
            bad = np.mean([s.bad_matching_percentage for s in own])
            cells.append(f"{bad:.2f} / {np.mean([s.rmse for s in own]):.2f}")
        shown.add_row(method, *cells)
    paper = next((row for name, row in PAPER.items() if name in title.lower()), None)
    if paper is not None:
        shown.add_row("DeepAM(2), paper", *(f"{paper.get(scale, '')}" for scale in scales))
    return shown


def _header(args: argparse.Namespace, count: int) -> list[str]:
    return [
        f"{args.data.name}: {count} frames, {args.border} pixels cut off each side",
        *provenance(__doc__),
    ]


if __name__ == "__main__":
    sys.exit(main())
