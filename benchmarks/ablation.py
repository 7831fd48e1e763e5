"""Past the paper: edge weights and coarse levels, at equal steps and about equal cost.

    python -m benchmarks.ablation gray --data BSDS500/train --photos PHOTOS --bsd68 BSD68
    python -m benchmarks.ablation depth --data NYU_TRAIN --border 12

Small networks (K = 1, on 2x2 blocks) learn from the same crops, noise and rates, each variant from
several seeds. Networks of several levels have fewer maps, so that all cost about the same. They are
judged on pictures that are held out of the training: of gray ones at noise 25 on BSD68 and on the
part of each held-out photograph that has the most detail; of depth maps by the bad pixels that the
network alone leaves at x8 and x16. Every run has a folder of its own; an interrupted comparison
goes on where it stopped.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
from typing import Any

import keras
import numpy as np
import rich.console
import rich.table

import deepam_tf
from benchmarks import depth_scales
from benchmarks.denoising_cost import convolution_cost
from deepam_tf.files.levels import to_unit
from deepam_tf.files.pictures import ImageFileError
from training.configuration.config import TrainingConfig
from training.configuration.recipes import find_recipe
from training.configuration.settings import read_values, replace
from training.data.inputs import hold_out, load_examples
from training.data.tasks import Examples, find_task
from training.evaluation.denoising import denoiser, read_images
from training.evaluation.scores import evaluate, means, print_whole
from training.fit.run import train

__all__ = ["VARIANTS", "main", "most_detailed"]

SIGMA = 25
SCALES = (8, 16)
HELD_OUT = {"gray": 20, "depth": 15}
_SIDE = 256  # pixels, of the parts of photographs that are judged on
_CROP = (240, 320)  # of held-out depth maps
_MAPS, _FEWER_MAPS = 48, {"gray": 36, "depth": 38}


def _variants(task: str) -> dict[str, dict[str, Any]]:
    several = {"model.levels": 3, "model.filters": _FEWER_MAPS[task]}
    return {
        "one level, as in the paper": {},
        "edge weights": {"model.edge_weights": True},
        "3 levels": several,
        "3 levels, edge weights": {**several, "model.edge_weights": True},
    }


VARIANTS = {task: _variants(task) for task in HELD_OUT}
_SHORT = {
    "model.num_iterations": 1,
    "model.filters": _MAPS,
    "data.crop_size": 64,
    "data.batch_size": 8,
    "schedule.warmup_steps": 50,
    "run.dtype": "float32",
    "run.num_steps": 600,
    "run.steps_per_epoch": 600,
    "monitor.pictures_every": 0,
}
_OF_TASK: dict[str, dict[str, Any]] = {
    "gray": {"data.sigma": float(SIGMA), "data.validation_sigma": float(SIGMA)},
    "depth": {"data.scale": SCALES, "data.validation_scale": SCALES[0]},
}
_RECIPES = {"gray": "denoise_gray", "depth": "upsample_depth"}


def most_detailed(image: np.ndarray, side: int = _SIDE) -> np.ndarray:
    """The part of an image whose slopes are steepest in the mean.

    Args:
        image: `[H, W]`, floating.
        side: of the part, in pixels; at most that of the image.

    Returns:
        `[side, side]`, at a multiple of an eighth of `side`.

    Example:
        >>> image = np.zeros([8, 24]); image[:, 17::2] = 1.0
        >>> int(most_detailed(image, 8)[0].sum())
        4
    """
    side = min(side, *image.shape)
    slopes = sum(np.abs(slope) for slope in np.gradient(image))
    sums = np.pad(slopes, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    step = max(side // 8, 1)
    inside = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    tops, lefts = (range(0, length, step) for length in inside.shape)
    _, top, left = max((inside[top, left], top, left) for top in tops for left in lefts)
    return image[top : top + side, left : left + side]


def _gray_figures(model: deepam_tf.DeepAM, sets: dict[str, dict[str, np.ndarray]]) -> list[str]:
    methods = {"model": denoiser(deepam_tf.Restorer(model), SIGMA / 255)}
    return [
        f"{means(evaluate(images, methods, SIGMA / 255), 'model')['psnr']:.2f}"
        for images in sets.values()
    ]


def _depth_figures(model: deepam_tf.DeepAM, held_out: Examples) -> list[str]:
    restorers = {"model": deepam_tf.Restorer(model)}
    bad: dict[int, list[float]] = {scale: [] for scale in SCALES}
    for depth, guide in held_out.items:
        depth, guide = (depth_scales.middle(x, _CROP) for x in (depth, guide))
        truth = to_unit(depth[..., 0], white=np.iinfo(depth.dtype).max / 255)
        for scale, found in bad.items():
            ways = depth_scales.measure(truth, to_unit(guide), scale, "points", restorers, [])
            found.append(ways["model, network alone"][0])
    return [f"{np.mean(found):.2f}" for found in bad.values()]


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ablation", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("task", choices=VARIANTS)
    parser.add_argument("--data", type=pathlib.Path, nargs="+", required=True)
    parser.add_argument("--photos", type=pathlib.Path, help="of which twenty are held out (gray)")
    parser.add_argument("--bsd68", type=pathlib.Path, help="folder of test images (gray)")
    parser.add_argument("--border", type=int, default=0, help="pixels to cut off each side (depth)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--only", nargs="+", choices=VARIANTS["gray"], help="some variants")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/ablation"))
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="NAME=VALUE")
    args = parser.parse_args(argv)
    if args.task == "gray" and None in (args.photos, args.bsd68):
        parser.error("gray needs --photos and --bsd68.")
    try:
        base = replace(
            find_recipe(_RECIPES[args.task]),
            {
                **_SHORT,
                **_OF_TASK[args.task],
                "data.border": args.border,
                **read_values(args.settings),
            },
        )
        examples, held_out, sets = _read(args, base)
    except (ImageFileError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    columns = [f"{name}, PSNR dB" for name in sets] or [f"x{n}, bad pixels %" for n in SCALES]
    table = rich.table.Table(
        "variant", "multiply-adds a pixel", *columns,
        title=f"{args.task}, {base.run.num_steps} steps, seeds {', '.join(map(str, args.seeds))}",
    )  # fmt: skip
    for label in args.only or VARIANTS[args.task]:
        figures, cost = [], 0.0
        for seed in args.seeds:
            config = replace(base, {**VARIANTS[args.task][label], "run.seed": seed})
            model = _trained(config, examples, args.out / args.task / _folder(label, seed))
            cost = convolution_cost(model)
            figures.append(
                _gray_figures(model, sets)
                if args.task == "gray"
                else _depth_figures(model, held_out)
            )
            print(label, seed, *figures[-1], flush=True)
        table.add_row(label, f"{cost:,.0f}", *map(", ".join, zip(*figures, strict=True)))
    print_whole(rich.console.Console(), table)
    return 0


def _read(
    args: argparse.Namespace, base: TrainingConfig
) -> tuple[Examples, Examples, dict[str, dict[str, np.ndarray]]]:
    """What is learnt from, what is held out, and for gray the named pictures that are judged on."""
    task = find_task(base.data.task)
    examples = load_examples(args.data, base.data, task)
    if args.task == "depth":
        return *hold_out(examples, HELD_OUT["depth"]), {}
    photos = load_examples([args.photos], base.data, task)
    # More than the one in ten of `hold_out`: photographs are few and large.
    held = set(np.linspace(0, len(photos) - 1, HELD_OUT["gray"], dtype=int).tolist())
    textures = photos.pick(sorted(held))
    details = {
        name: most_detailed(to_unit(item)[..., 0])
        for name, item in zip(textures.names, textures.items, strict=True)
    }
    examples += photos.pick([i for i in range(len(photos)) if i not in held])
    return examples, textures, {"BSD68": read_images(args.bsd68), "photographs": details}


def _folder(label: str, seed: int) -> str:
    return f"{label.replace(', ', '_').replace(' ', '_')}_{seed}"


def _trained(config: TrainingConfig, examples: Examples, out: pathlib.Path) -> deepam_tf.DeepAM:
    if not (out / "model.keras").exists():
        keras.backend.clear_session()
        train(config, examples, Examples([], []), out, verbose=2)
    return keras.saving.load_model(out / "model.keras", compile=False)


if __name__ == "__main__":
    raise SystemExit(main())
