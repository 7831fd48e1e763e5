"""Measure noisy RGB restored with near infrared: the paper's Table 4.

    python -m training.evaluate_fusion --data FOLDER --sigma 50

Protocol: colour images in [0, 1]; image number i of the folder, sorted by name, gets the noise
sigma/255 * numpy.random.default_rng(i).standard_normal(shape), not clipped; every output is
clipped to [0, 1] before PSNR (over all pixels and channels), the noisy image is not.
"""

from __future__ import annotations

import argparse
import itertools
import pathlib
import sys
from collections.abc import Callable

import numpy as np
import rich.console
import rich.progress

import deepam_tf
from deepam_tf import data, degradations, image_io, metrics
from deepam_tf.restoration.tiles import Restorer
from training.evaluate import denoiser, restorers
from training.evaluation import peers
from training.evaluation.scores import evaluate, means, provenance, summary_table, write_csv

__all__ = ["figures", "main"]

RADII, EPS, TUNING_PAIRS = (1, 2, 4, 8, 16), (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3), 8


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate_fusion", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "--data", type=pathlib.Path, required=True, help="folder with rgb/ and nir/"
    )
    parser.add_argument("--sigma", type=float, default=50.0, help="noise level, 0..255")
    parser.add_argument("--model", nargs="*", default=["fuse_nir"], help="shipped weights")
    parser.add_argument(
        "--denoiser",
        nargs="*",
        default=["denoise_color", "denoise_gray"],
        help="shipped weights without a guide",
    )
    parser.add_argument(
        "--ensemble", action="store_true", help="also the mean over the eight orientations"
    )
    parser.add_argument("--peers", action="store_true", help="BM3D too")
    parser.add_argument(
        "--tune", type=pathlib.Path, help="training pairs: the guided filter too, tuned on them"
    )
    parser.add_argument(
        "--out", type=pathlib.Path, help="CSV; results/DATA_nir_sSIGMA.csv by default"
    )
    args = parser.parse_args(argv)
    console = rich.console.Console()
    try:
        pairs = _pairs(args.data)
        images = {name: target for name, (target, _) in pairs.items()}
        guides = {name: guide for name, (_, guide) in pairs.items()}
        stddev = args.sigma / 255
        methods: dict[str, Callable] = {}
        if args.peers:
            bm3d = peers.color_bm3d(stddev)
            methods["BM3D"] = lambda noisy, guide: bm3d(noisy)
        if args.tune is not None:
            methods |= _tuned_guided_filter(_pairs(args.tune), stddev)
        for name in args.denoiser:
            restore = denoiser(Restorer(deepam_tf.load_pretrained(name)), stddev)
            methods[f"{name}, without NIR"] = lambda noisy, guide, restore=restore: restore(noisy)
        for name in args.model:
            model = deepam_tf.load_pretrained(name)
            for row, restorer in restorers(name, model, ensemble=args.ensemble).items():
                methods[row] = _fusion(restorer, stddev)
        with rich.progress.Progress(transient=True) as progress:
            task = progress.add_task("images", total=len(images) * len(methods))
            scores = evaluate(
                images,
                methods,
                stddev,
                guides=guides,
                on_image=lambda: progress.advance(task),
            )
        out = args.out or (pathlib.Path("results") / f"{args.data.name}_nir_s{args.sigma:g}.csv")
        header = [
            f"{args.data.name}: {len(images)} pairs, colour, sigma {args.sigma:g}",
            *provenance(__doc__),
        ]
        write_csv(out, scores, header)
    except (image_io.ImageFileError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    console.print(summary_table(scores, f"{args.data.name}, sigma {args.sigma:g}"))
    console.print(f"each image: {out}", highlight=False)
    return 0


def _pairs(folder: pathlib.Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Colour and near infrared in [0, 1] by name."""
    pairs = data.load_pairs(folder, target="rgb", guide="nir", target_channels=3, guide_channels=1)
    names = [path.stem for path in image_io.list_images(folder / "rgb")]
    return {
        name: (target.astype(np.float32) / 255, guide.astype(np.float32) / 255)
        for name, (target, guide) in zip(names, pairs, strict=True)
    }


def _tuned_guided_filter(pairs, stddev: float) -> dict[str, Callable]:
    """The guided filter with the radius and eps of the best mean PSNR on training pairs."""
    chosen = list(pairs.values())[:: max(len(pairs) // TUNING_PAIRS, 1)][:TUNING_PAIRS]
    noisy = [
        clean + degradations.benchmark_noise(clean.shape, stddev, i)
        for i, (clean, _) in enumerate(chosen)
    ]
    trials = {
        f"guided filter (radius {radius}, eps {eps:g})": peers.guided_filter(radius, eps)
        for radius, eps in itertools.product(RADII, EPS)
    }
    decibels = {
        name: np.mean(
            [
                metrics.psnr(clean[np.newaxis], np.clip(trial(x, guide), 0, 1)[np.newaxis])
                for x, (clean, guide) in zip(noisy, chosen, strict=True)
            ]
        )
        for name, trial in trials.items()
    }
    best = max(decibels, key=lambda name: decibels[name])
    return {best: trials[best]}


def figures(folder: pathlib.Path, restorer: Restorer, noise_stddev: float) -> dict[str, float]:
    """What a model reaches on a folder of pairs.

    Args:
        folder: holds rgb/ and nir/.
        restorer: of a model guided by near infrared.
        noise_stddev: standard deviation of the noise in units of [0, 1].

    Returns:
        Means over the images, `psnr` in dB and `ssim`.
    """
    pairs = _pairs(folder)
    scores = evaluate(
        {name: target for name, (target, _) in pairs.items()},
        {"model": _fusion(restorer, noise_stddev)},
        noise_stddev,
        guides={name: guide for name, (_, guide) in pairs.items()},
    )
    return means(scores, "model")


def _fusion(restorer: Restorer, stddev: float) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    level = stddev if restorer.takes_noise_stddev else None
    return lambda noisy, guide: restorer(noisy, guide=guide, noise_stddev=level)


if __name__ == "__main__":
    sys.exit(main())
