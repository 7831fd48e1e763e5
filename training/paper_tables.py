"""Print the paper's tables of denoising with what is measured here beside its figures.

    python -m training.paper_tables --set12 SET12 --bsd68 BSD68 [--peers] [--dncnn FOLDER]

Table 1: Set12 at sigma 25, image by image. Table 2: BSD68 at sigma 15, 25 and 50, PSNR and SSIM.
Every shipped gray model that knows the level takes part; the protocol is that of
`training.evaluate`. Rows in parentheses are the paper's own, whose noise is not public.
"""

from __future__ import annotations

import argparse
import pathlib
import sys

import rich.console
import rich.progress

import deepam_tf
from deepam_tf import classical, image_io
from training.evaluation import peers
from training.evaluation.denoising import (
    classical_methods,
    denoiser,
    models_for,
    read_images,
    restorers,
)
from training.evaluation.paper import table_1, table_2
from training.evaluation.scores import Score, evaluate, print_whole, provenance, write_csv

__all__ = ["main"]

SIGMAS = (15, 25, 50)


def _methods(sigma: int, args: argparse.Namespace) -> dict[str, peers.Denoiser]:
    stddev = sigma / 255
    methods: dict[str, peers.Denoiser] = {}
    if args.peers:
        theirs = peers.classical_denoisers(stddev)
        methods |= {name: theirs[name] for name in ("BM3D", "TV (scikit-image)")}
        methods |= classical_methods(stddev, {"tv": classical.METHODS["tv"]})
    if args.dncnn is not None:
        methods["DnCNN"] = peers.dncnn(args.dncnn / f"sigma{sigma}.npz")
    for name in models_for(stddev, args.model):
        model = deepam_tf.load_pretrained(name)
        for row, restorer in restorers(name, model, ensemble=args.ensemble).items():
            methods[row] = denoiser(restorer, stddev)
    return methods


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m training.paper_tables", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--set12", type=pathlib.Path, help="folder of Table 1")
    parser.add_argument("--bsd68", type=pathlib.Path, help="folder of Table 2")
    parser.add_argument("--model", nargs="*", help="shipped weights; all gray ones by default")
    parser.add_argument(
        "--ensemble", action="store_true", help="also the mean over the eight orientations"
    )
    parser.add_argument("--peers", action="store_true", help="BM3D and TV in the same run")
    parser.add_argument("--dncnn", type=pathlib.Path, help="folder with DnCNN's sigma*.npz")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("results"))
    args = parser.parse_args(argv)
    if args.set12 is None and args.bsd68 is None:
        parser.error("--set12, --bsd68 or both must name a folder.")
    console = rich.console.Console()
    try:
        if args.set12 is not None:
            print_whole(console, table_1(_run(25, args.set12, args)))
        if args.bsd68 is not None:
            print_whole(
                console, table_2({sigma: _run(sigma, args.bsd68, args) for sigma in SIGMAS})
            )
    except (image_io.ImageFileError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    console.print(f"each image: {args.out}", highlight=False)
    return 0


def _run(sigma: int, folder: pathlib.Path, args: argparse.Namespace) -> list[Score]:
    images = read_images(folder)
    methods = _methods(sigma, args)
    with rich.progress.Progress(transient=True) as progress:
        task = progress.add_task(f"{folder.name}, sigma {sigma}", total=len(images) * len(methods))
        scores = evaluate(images, methods, sigma / 255, on_image=lambda: progress.advance(task))
    header = [f"{folder.name}: {len(images)} images, gray, sigma {sigma}", *provenance(__doc__)]
    write_csv(args.out / f"table_{folder.name}_s{sigma}.csv", scores, header)
    return scores


if __name__ == "__main__":
    sys.exit(main())
