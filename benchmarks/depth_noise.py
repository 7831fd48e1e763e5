"""What is left of the noise of a depth camera, beside OpenCV's filters.

    python -m benchmarks.depth_noise --data MIDDLEBURY_TEST NYU_TEST --every 4 [--picture FILE]

A simulated camera (`degradations.DepthCameraSimulator`) measures each map at several strengths, 1
being a Kinect of 2010, from 0.8 to 3.8 metres. The level that the bilateral filter needs is the
true one; ours is estimated. Errors at what was measured, in levels of 255: root mean square and
median, of which the first is mostly of pixels that have seen the wrong side of an edge; then of the
map upsampled from every fourth sample. The picture is of a drawn scene.
"""

from __future__ import annotations

import argparse
import pathlib
import sys

import cv2
import numpy as np
import rich.console
import rich.progress
import rich.table
import tensorflow as tf

import deepam_tf
from benchmarks.depth_scales import middle
from deepam_tf.cli.console import output
from deepam_tf.data.degradations import DepthCameraSimulator
from deepam_tf.depth.holes import value_range
from deepam_tf.depth.views import turbo
from deepam_tf.files.levels import to_unit
from deepam_tf.files.pictures import ImageFileError
from deepam_tf.restoration.defaults import DEPTH_MODEL, SENSOR_MODEL
from deepam_tf.restoration.depth import denoise_depth, upsample_depth
from training.configuration.config import Data
from training.data.inputs import load_examples
from training.data.tasks import find_task
from training.evaluation.scores import print_whole
from training.make_scenes import draw_scene

__all__ = ["denoised_by_all", "main", "sense"]

STRENGTHS = (1.0, 3.0, 10.0)
_NEAREST, _SPAN = 0.8, 3.0  # metres
_SCALE = 4


def sense(
    unit: np.ndarray, known: np.ndarray, strength: float, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the camera measures of a map in [0, 1].

    Args:
        unit: `[H, W]`.
        known: `[H, W]`, where it is.
        strength: of the noise.
        seed: of it.

    Returns:
        The measured map, where there is a measurement, and the standard deviation of its noise.
    """
    camera = DepthCameraSimulator((strength, strength), (_NEAREST, _NEAREST), (_SPAN, _SPAN))
    given = (tf.constant(x[..., np.newaxis], tf.float32) for x in (unit, known))
    noisy, valid, stddev = (x.numpy()[..., 0] for x in camera(*given, [seed, 1]))
    return noisy, valid > 0, stddev


def denoised_by_all(
    restorer: deepam_tf.Restorer,
    noisy: np.ndarray,
    valid: np.ndarray,
    stddev: np.ndarray,
    guide: np.ndarray,
) -> dict[str, np.ndarray]:
    """The map by every way, by its name.

    Args:
        restorer: of the weights.
        noisy: `[H, W]` in [0, 1].
        valid: `[H, W]`, False in holes.
        stddev: `[H, W]`, of the noise, for the filter that is told.
        guide: `[H, W, 3]` in [0, 1].

    Returns:
        Maps `[H, W]`.
    """
    filled = cv2.inpaint(  # filters know no holes
        np.clip(65535 * noisy, 0, 65535).astype(np.uint16),
        (~valid).astype(np.uint8),
        3,
        cv2.INPAINT_NS,
    )
    whole = np.where(valid, noisy, filled.astype(np.float32) / 65535).astype(np.float32)
    level = float(np.median(stddev[valid]))
    return {
        "measured": noisy,
        "median 3x3": cv2.medianBlur(whole, 3),
        "median 5x5": cv2.medianBlur(whole, 5),
        "bilateral, 3 sigma": cv2.bilateralFilter(whole, -1, max(3 * level, 1e-4), 2.0),
        "denoise_depth": denoise_depth(restorer, noisy, guide, valid=valid)[0],
    }


def _picture(restorer: deepam_tf.Restorer, path: pathlib.Path) -> None:
    """A drawn scene: colour, measured, by the filters, ours, and true."""
    depth, guide = draw_scene(np.random.default_rng(4), (200, 240))
    low, high = value_range(depth, depth > 0)
    unit = 1 - (depth - low) / (high - low)
    noisy, valid, stddev = sense(unit, depth > 0, 5.0, 0)
    maps = denoised_by_all(restorer, noisy, valid, stddev, guide.astype(np.float32))
    shown = [np.where(valid, noisy, np.nan), maps["median 5x5"], maps["bilateral, 3 sigma"]]
    shown += [maps["denoise_depth"], unit]
    parts = [np.rint(255 * guide).astype(np.uint8)]
    for x in shown:
        colored = turbo(np.nan_to_num(x, nan=0.0), (0.0, 1.0))
        parts.append(np.where(np.isnan(x)[..., np.newaxis], 0, colored).astype(np.uint8))
    rows = [np.concatenate(parts[:3], axis=1), np.concatenate(parts[3:], axis=1)]
    picture = deepam_tf.image_io.Picture(to_unit(np.concatenate(rows)), None, np.dtype(np.uint8))
    deepam_tf.image_io.write(path, picture, overwrite=True)


def _table(args: argparse.Namespace, restorer: deepam_tf.Restorer) -> rich.table.Table:
    values = Data(task="depth", border=args.border, crop_size=1)
    examples = load_examples(args.data, values, find_task("depth"))
    chosen = examples.pick(list(range(0, len(examples), args.every)))
    upsampler = deepam_tf.Restorer(deepam_tf.load_pretrained(DEPTH_MODEL))
    errors: dict[str, dict[float, list[tuple[float, float]]]] = {}

    def count(way: str, strength: float, x: np.ndarray, unit: np.ndarray, where) -> None:
        error = 255 * np.abs(x - unit)[where]
        pair = float(np.sqrt(np.mean(np.square(error)))), float(np.median(error))
        errors.setdefault(way, {}).setdefault(strength, []).append(pair)

    with rich.progress.Progress(transient=True) as progress:
        task = progress.add_task("frames", total=len(chosen) * len(args.strengths))
        for number, pair in enumerate(chosen.items):
            depth, guide = (middle(x, args.crop) for x in pair)
            truth, known = depth[..., 0].astype(np.float32), depth[..., 0] > 0
            low, high = value_range(truth, known)
            unit = np.where(known, (truth - low) / (high - low), 0.0).astype(np.float32)
            guide = to_unit(guide)
            for strength in args.strengths:
                noisy, valid, stddev = sense(unit, known, strength, number)
                for way, x in denoised_by_all(restorer, noisy, valid, stddev, guide).items():
                    count(way, strength, x, unit, valid & known)
                # A coarse sensor: each of its pixels is one of those, and noisy.
                places = (slice(_SCALE // 2, None, _SCALE),) * 2
                coarse, there, _ = sense(unit[places], known[places], strength, number)
                small = cv2.resize(guide, coarse.shape[::-1], interpolation=cv2.INTER_AREA)
                clean, _ = denoise_depth(restorer, coarse, small, valid=there)
                for way, samples in (("measured", coarse), ("denoise_depth", clean)):
                    fine = upsample_depth(upsampler, samples, guide, scale=_SCALE, valid=there)
                    count(f"{way}, then x{_SCALE}", strength, fine, unit, known)
                progress.advance(task)
    table = rich.table.Table(
        "RMSE / median error",
        *(f"strength {x:g}" for x in args.strengths),
        title=f"{len(chosen)} maps, levels of 255",
    )
    for way, found in errors.items():
        means = (np.mean(found[strength], axis=0) for strength in args.strengths)
        table.add_row(way, *(" / ".join(f"{x:.2f}" for x in pair) for pair in means))
    return table


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.depth_noise", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--data", type=pathlib.Path, nargs="+", default=[], help="folders of pairs")
    parser.add_argument("--border", type=int, default=0, help="pixels to cut off each side (0)")
    parser.add_argument("--every", type=int, default=1, help="use every n-th map (1)")
    parser.add_argument(
        "--crop", type=int, nargs=2, metavar=("H", "W"), help="use the middle of each map alone"
    )
    parser.add_argument("--strengths", type=float, nargs="+", default=list(STRENGTHS))
    parser.add_argument("--model", default=SENSOR_MODEL, help="shipped weights, or a folder")
    parser.add_argument("--picture", type=pathlib.Path, help="draw a scene into this file")
    args = parser.parse_args(argv)
    if not args.data and args.picture is None:
        parser.error("give --data or --picture")
    restorer = deepam_tf.Restorer(deepam_tf.load_pretrained(args.model))
    try:
        if args.picture is not None:
            _picture(restorer, args.picture)
            output.print(f"drawn: {args.picture}")
        if args.data:
            print_whole(rich.console.Console(), _table(args, restorer))
    except (ImageFileError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
