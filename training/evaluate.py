"""Measure denoisers on a folder of clean images.

    python -m training.evaluate --data FOLDER --sigma 25 [--color] [--peers] [--dncnn FOLDER]

Protocol: images in [0, 1], gray unless colour is asked for; image number i, sorted by name, gets
the noise sigma/255 * numpy.random.default_rng(i).standard_normal(shape), not clipped; every
output is clipped to [0, 1] before PSNR and SSIM, the noisy image is not; no border is cut off.
"""

from __future__ import annotations

import argparse
import pathlib
import sys

import rich.console
import rich.progress

import deepam_tf
from deepam_tf import image_io, pretrained
from training.evaluation import peers
from training.evaluation.denoising import classical_methods, denoiser, read_images, restorers
from training.evaluation.scores import evaluate, provenance, summary_table, write_csv

__all__ = ["main"]

MODELS = {1: ["denoise_gray", "denoise_gray_s25"], 3: ["denoise_color", "denoise_gray"]}
"""Measured where no other are named, by the channels of the images."""


def _models(args: argparse.Namespace) -> dict[str, peers.Denoiser]:
    overrides = {} if args.rtol is None else {"rtol": args.rtol}
    methods = {}
    for name in args.model or MODELS[args.channels]:
        low, high = pretrained.noise_range(name)
        if not low - 0.002 <= args.sigma / 255 <= high + 0.002:
            print(
                f"note: {name} was trained for sigma {255 * low:g} to {255 * high:g}.",
                file=sys.stderr,
            )
        model = deepam_tf.load_pretrained(name, **overrides)
        for row, restorer in restorers(name, model, ensemble=args.ensemble).items():
            methods[row] = denoiser(restorer, args.sigma / 255)
    return methods


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--data", type=pathlib.Path, required=True, help="folder of clean images")
    parser.add_argument("--sigma", type=float, default=25.0, help="noise level, 0..255")
    parser.add_argument(
        "--color",
        dest="channels",
        action="store_const",
        const=3,
        default=1,
        help="restore colour; models of one channel do it channel by channel",
    )
    parser.add_argument(
        "--only", type=pathlib.Path, help="text with the names of the files to use; others are not"
    )
    parser.add_argument("--model", nargs="*", help="names of shipped weights")
    parser.add_argument("--rtol", type=float, help="tolerance of the solves instead of the model's")
    parser.add_argument(
        "--ensemble", action="store_true", help="also the mean over the eight orientations"
    )
    parser.add_argument("--peers", action="store_true", help="BM3D, NLM and TV in the same run")
    parser.add_argument("--dncnn", type=pathlib.Path, help="folder with DnCNN's sigma*.npz")
    parser.add_argument(
        "--out", type=pathlib.Path, help="CSV of all scores; results/DATA_sSIGMA.csv by default"
    )
    args = parser.parse_args(argv)
    console = rich.console.Console()
    try:
        images = read_images(args.data, args.channels, only=args.only)
        noise_stddev = args.sigma / 255
        methods = _models(args)
        if args.channels == 3:
            if args.dncnn is not None:
                raise ValueError("`--dncnn` is for gray images. Received: --color beside it.")
            if args.peers:
                methods["BM3D, colour"] = peers.color_bm3d(noise_stddev)
        elif args.peers:
            methods |= peers.classical_denoisers(noise_stddev)
            methods |= classical_methods(noise_stddev)
            if args.dncnn is None:
                console.print("DnCNN is left out: --dncnn names the folder of its weights.")
        if args.dncnn is not None:
            methods["DnCNN"] = peers.dncnn(args.dncnn / f"sigma{args.sigma:g}.npz")
        with rich.progress.Progress(transient=True) as progress:
            task = progress.add_task("images", total=len(images) * len(methods))
            scores = evaluate(
                images, methods, noise_stddev, on_image=lambda: progress.advance(task)
            )
        kind = "colour" if args.channels == 3 else "gray"
        header = [
            f"{args.data.name}: {len(images)} images, {kind}, sigma {args.sigma:g}",
            *provenance(__doc__),
            f"tolerance of the solves: {'that of the model' if args.rtol is None else args.rtol}",
        ]
        suffix = "_color" if args.channels == 3 else ""
        suffix += "" if args.rtol is None else f"_rtol{args.rtol:g}"
        out = args.out or pathlib.Path("results") / f"{args.data.name}_s{args.sigma:g}{suffix}.csv"
        write_csv(out, scores, header)
    except (image_io.ImageFileError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    console.print(summary_table(scores, f"{args.data.name}, sigma {args.sigma:g}"))
    console.print(f"each image: {out}", highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
