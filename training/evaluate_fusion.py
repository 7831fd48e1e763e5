"""Measure noisy RGB restored with near infrared: the paper's Table 4.

    python -m training.evaluate_fusion --data FOLDER --sigma 50

Protocol: colour images in [0, 1]; image number i of the folder, sorted by name, gets the noise
sigma/255 * numpy.random.default_rng(i).standard_normal(shape), not clipped; every output is
clipped to [0, 1] before PSNR (over all pixels and channels), the noisy image is not.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections.abc import Callable

import rich.console
import rich.progress

import deepam_tf
from deepam_tf import image_io
from deepam_tf.restoration.tiles import Restorer
from training.evaluation import fusion, peers
from training.evaluation.denoising import denoiser, restorers
from training.evaluation.scores import evaluate, provenance, summary_table, write_csv

__all__ = ["main"]


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
        pairs = fusion.read_pairs(args.data)
        images = {name: target for name, (target, _) in pairs.items()}
        guides = {name: guide for name, (_, guide) in pairs.items()}
        stddev = args.sigma / 255
        methods: dict[str, Callable] = {}
        if args.peers:
            bm3d = peers.color_bm3d(stddev)
            methods["BM3D"] = lambda noisy, guide: bm3d(noisy)
        if args.tune is not None:
            methods |= fusion.tuned_guided_filter(fusion.read_pairs(args.tune), stddev)
        for name in args.denoiser:
            restore = denoiser(Restorer(deepam_tf.load_pretrained(name)), stddev)
            methods[f"{name}, without NIR"] = lambda noisy, guide, restore=restore: restore(noisy)
        for name in args.model:
            model = deepam_tf.load_pretrained(name)
            for row, restorer in restorers(name, model, ensemble=args.ensemble).items():
                methods[row] = fusion.fuser(restorer, stddev)
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


if __name__ == "__main__":
    sys.exit(main())
