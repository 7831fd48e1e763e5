"""Count the bad pixels of upsampled depth at every scale, beside nearest neighbour and bilinear.

    python -m benchmarks.depth_scales --data NYU_TRAIN --border 12 --every 24 --scales 2 3 5 7.5
    python -m benchmarks.depth_scales --data MIDDLEBURY_TRAIN --shares 0.1 0.2 0.4

Samples are single pixels (`--kind`: averages or bicubic resizing), whose first lies where
`deepam upsample` looks for it. Bad: more than 3 of 255 levels from the truth; pixels that are 0 in
the truth do not count. With `--shares` every scale is also measured with other values of
`planes.near_share` than its own: what that is for, and on training frames alone.
"""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
import sys

import keras
import numpy as np
import rich.console
import rich.progress
import rich.table
import tensorflow as tf

import deepam_tf
from deepam_tf.depth import grids, planes, sampling
from deepam_tf.depth.consistency import project_to_samples
from deepam_tf.depth.observation import Observation, observe
from deepam_tf.files.levels import to_unit
from deepam_tf.files.pictures import ImageFileError
from training.configuration.config import Data
from training.data.inputs import load_examples
from training.data.tasks import find_task
from training.evaluation.depth import score
from training.evaluation.scores import print_whole, provenance, write_csv

__all__ = ["Figure", "main", "measure", "middle"]


@dataclasses.dataclass(frozen=True)
class Figure:
    """What one way left wrong in one frame."""

    frame: str
    scale: float
    way: str
    bad_matching_percentage: float
    rmse: float


def measure(
    truth: np.ndarray,
    guide: np.ndarray,
    scale: float,
    kind: str,
    restorers: dict[str, deepam_tf.Restorer],
    shares: list[float],
) -> dict[str, tuple[float, float]]:
    """Bad pixels and RMSE of every way to bring one frame back.

    Args:
        truth: `[H, W]` float32, 0..255, 0 where unknown.
        guide: `[H, W, 3]` float32 in [0, 1].
        scale: pixels from sample to sample.
        kind: of the samples, a key of `sampling.KINDS`.
        restorers: models by name.
        shares: values of `planes.near_share` to try besides the scale's own.

    Returns:
        The two figures by the name of the way.
    """
    low, known = (
        part.numpy()[..., 0]
        for part in sampling.coarsen(
            tf.constant(truth[..., np.newaxis]), (truth > 0)[..., np.newaxis], scale, kind=kind
        )
    )
    observation = observe(low, truth.shape, scale=scale, kind=kind, valid=known > 0)
    maps = {
        "nearest": observation.to_units(_nearest(observation, truth.shape)),
        "bilinear": observation.to_units(_bilinear(observation, truth.shape)),
        "minmod planes": observation.to_units(observation.image),
    }
    grid = {"scale": observation.scale, "offset": observation.offset}
    samples, valid = tf.constant(observation.samples), tf.constant(observation.valid)
    for name, restorer in restorers.items():
        alone = restorer(observation.image, guide=guide, mask=observation.mask)
        restored = tf.constant(alone)
        if kind != "points":
            measured = (x[..., 0] for x in (alone, observation.samples, observation.valid))
            projected = project_to_samples(*measured, **grid, kind=kind)
            restored = tf.constant(projected[..., np.newaxis])
        steps = {f"{name}, network alone": tf.constant(alone)}
        for share in [planes.near_share(scale), *shares]:
            is_default = share == planes.near_share(scale)
            snapped = planes.snap_to_planes(restored, samples, valid, share=share, **grid)
            steps[name if is_default else f"{name}, share {share:g}"] = snapped
        if kind == "bicubic":
            steps |= _interpolations(name, restorer, observation, guide)
        for step, values in steps.items():
            kept = values
            if not step.endswith("alone"):
                kept = planes.clamp_to_samples(values, samples, valid, **grid)
                kept = tf.where(observation.mask == 1, observation.image, kept)
            maps[step] = observation.to_units(kept.numpy())
    return {name: score(truth, values[..., 0]) for name, values in maps.items()}


def _interpolations(name, restorer, observation: Observation, guide) -> dict[str, tf.Tensor]:
    """What becomes of averages if the network starts from either interpolation of them."""
    grid = {"scale": observation.scale, "offset": observation.offset}
    planes_alone, _ = sampling.interpolate_samples(
        tf.constant(observation.samples),
        tf.constant(observation.valid),
        observation.image.shape[:2],
        limited=True,
        points=False,
        **grid,
    )
    samples, valid = observation.samples[..., 0], observation.valid[..., 0]

    def projected(image: np.ndarray) -> np.ndarray:
        found = project_to_samples(image[..., 0], samples, valid, **grid, kind=observation.kind)
        return found[..., np.newaxis]

    starts = {"planes": planes_alone.numpy(), "projected planes": projected(planes_alone.numpy())}
    return {
        f"{name}, not snapped, from {start}": tf.constant(
            projected(restorer(image, guide=guide, mask=observation.mask))
        )
        for start, image in starts.items()
    }


def _bilinear(observation: Observation, size: tuple[int, int]) -> np.ndarray:
    dense, _ = sampling.interpolate_samples(
        tf.constant(observation.samples),
        tf.constant(observation.valid),
        size,
        observation.scale,
        offset=observation.offset,
    )
    return dense.numpy()


def _nearest(observation: Observation, size: tuple[int, int]) -> np.ndarray:
    filled = sampling.fill_holes(
        tf.constant(observation.samples), tf.constant(observation.valid)
    ).numpy()
    rows, columns = (
        # A hair up, for the tie half way.
        np.clip(np.floor(grids.positions(*axis).numpy() + 0.5 + 1e-6).astype(int), 0, count - 1)
        for *axis, count in zip(
            size, observation.scale, observation.offset, filled.shape[:2], strict=True
        )
    )
    return filled[rows][:, columns]


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.depth_scales", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "--data", type=pathlib.Path, nargs="+", required=True, help="folders or lists of pairs"
    )
    parser.add_argument("--border", type=int, default=0, help="pixels to cut off each side (0)")
    parser.add_argument("--every", type=int, default=1, help="use every n-th frame (1)")
    parser.add_argument(
        "--crop", type=int, nargs=2, metavar=("H", "W"), help="use the middle of each frame alone"
    )
    parser.add_argument("--scales", type=float, nargs="+", default=[float(s) for s in range(2, 21)])
    parser.add_argument("--kind", choices=list(sampling.KINDS), default="points")
    parser.add_argument("--shares", type=float, nargs="*", default=[])
    parser.add_argument(
        "--model", nargs="*", default=["upsample_depth"], help="shipped weights, or .keras files"
    )
    parser.add_argument(
        "--out", type=pathlib.Path, default=pathlib.Path("results/depth_scales.csv")
    )
    args = parser.parse_args(argv)
    console = rich.console.Console()
    figures = []
    try:
        values = Data(task="depth", border=args.border, crop_size=1)
        examples = load_examples(args.data, values, find_task("depth"))
        chosen = examples.pick(list(range(0, len(examples), args.every)))
        restorers = {name: deepam_tf.Restorer(_load(name)) for name in args.model}
        with rich.progress.Progress(transient=True) as progress:
            task = progress.add_task("frames", total=len(chosen) * len(args.scales))
            for frame, (depth, guide) in zip(chosen.names, chosen.items, strict=True):
                depth, guide = (middle(x, args.crop) for x in (depth, guide))
                truth = to_unit(depth[..., 0], white=np.iinfo(depth.dtype).max / 255)
                guide = to_unit(guide)
                for scale in args.scales:
                    found = measure(truth, guide, scale, args.kind, restorers, args.shares)
                    figures += [Figure(frame, scale, way, *pair) for way, pair in found.items()]
                    progress.advance(task)
        header = [f"{len(chosen)} frames, {args.kind}", *provenance(__doc__)]
        write_csv(args.out, figures, header)
    except (ImageFileError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print_whole(console, _table(figures, f"{len(chosen)} frames, {args.kind}: bad % / RMSE"))
    console.print(f"each frame: {args.out}", highlight=False)
    return 0


def _load(name: str) -> deepam_tf.DeepAM:
    if name.endswith(".keras"):
        return keras.saving.load_model(name, compile=False)
    return deepam_tf.load_pretrained(name)


def middle(image: np.ndarray, crop: list[int] | None) -> np.ndarray:
    """The middle of an image `[H, W, ...]`, of that height and width at most; None: all of it."""
    if crop is None:
        return image
    top, left = (
        (side - min(size, side)) // 2 for size, side in zip(crop, image.shape, strict=False)
    )
    return image[top : top + crop[0], left : left + crop[1]]


def _table(figures: list[Figure], title: str) -> rich.table.Table:
    """A row for each scale, a column for each way."""
    ways = list(dict.fromkeys(figure.way for figure in figures))
    table = rich.table.Table("scale", *ways, title=title)
    for scale in dict.fromkeys(figure.scale for figure in figures):
        of_scale = {way: [f for f in figures if (f.scale, f.way) == (scale, way)] for way in ways}
        table.add_row(
            f"{scale:g}",
            *(
                f"{np.mean([f.bad_matching_percentage for f in found]):.2f} / "
                f"{np.mean([f.rmse for f in found]):.2f}"
                for found in of_scale.values()
            ),
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
