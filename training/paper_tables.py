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
from collections.abc import Sequence

import numpy as np
import rich.console
import rich.progress
import rich.table

import deepam_tf
from deepam_tf import classical, image_io, pretrained
from training.evaluate import denoiser, own_classical, read_images, restorers
from training.evaluation import peers
from training.evaluation.scores import Score, evaluate, provenance, write_csv

__all__ = ["PAPER_1", "PAPER_2", "main", "models_for", "print_whole", "table_1", "table_2"]

SIGMAS = (15, 25, 50)

# C. Man, House, Peppers, Starfish, Fly, Airplane, Parrot, Lena, Barbara, Boat, Man, Couple
PAPER_1 = {
    "BM3D": (29.47, 32.99, 30.29, 28.57, 29.32, 28.49, 28.97, 32.03, 30.73, 29.88, 29.59, 29.70),
    "TRD": (29.71, 32.62, 30.57, 29.05, 29.97, 28.95, 29.22, 32.02, 29.39, 29.91, 29.83, 29.71),
    "WNNM": (29.63, 33.39, 30.55, 29.09, 29.98, 28.81, 29.13, 32.24, 31.28, 29.98, 29.74, 29.80),
    "DeepAM(3)": (
        *(29.97, 33.35, 30.89, 29.43, 30.27, 29.03),
        *(29.41, 32.52, 29.52, 30.23, 30.07, 30.15),
    ),
}
"""PSNR in dB of the paper's Table 1."""

PAPER_2 = {
    "BM3D": {15: (31.12, 0.872), 25: (28.61, 0.801), 50: (25.65, 0.686)},
    "TRD": {15: (31.42, 0.882), 25: (28.91, 0.815), 50: (25.96, 0.701)},
    "DeepAM(1)": {15: (31.40, 0.882), 25: (28.95, 0.816), 50: (25.94, 0.701)},
    "DeepAM(2)": {15: (31.65, 0.885), 25: (29.18, 0.824), 50: (26.20, 0.714)},
    "DeepAM(3)": {15: (31.68, 0.886), 25: (29.21, 0.825), 50: (26.24, 0.716)},
}
"""PSNR in dB and SSIM of the paper's Table 2."""


def models_for(noise_stddev: float, names: Sequence[str] | None = None) -> list[str]:
    """The shipped gray denoisers that know a noise level.

    Args:
        noise_stddev: standard deviation of the noise in units of [0, 1].
        names: those to choose from; all that ship by default.

    Returns:
        Their names.
    """
    chosen = []
    for name in pretrained.list_pretrained() if names is None else names:
        card = pretrained.pretrained_card(name)
        model = card["model"]
        # Cards say only what differs from the defaults of their time.
        gray = model.get("image_channels", 1) == 1 and not model.get("guide_channels", 0)
        if "noise_stddev" not in card or not gray:
            continue
        low, high = pretrained.noise_range(name)
        if low - 1e-6 <= noise_stddev <= high + 1e-6:
            chosen.append(name)
    return chosen


def _methods(sigma: int, args: argparse.Namespace) -> dict[str, peers.Denoiser]:
    stddev = sigma / 255
    methods: dict[str, peers.Denoiser] = {}
    if args.peers:
        theirs = peers.classical_denoisers(stddev)
        methods |= {name: theirs[name] for name in ("BM3D", "TV (scikit-image)")}
        methods |= own_classical(stddev, {"tv": classical.METHODS["tv"]})
    if args.dncnn is not None:
        methods["DnCNN"] = peers.dncnn(args.dncnn / f"sigma{sigma}.npz")
    for name in models_for(stddev, args.model):
        model = deepam_tf.load_pretrained(name)
        for row, restorer in restorers(name, model, ensemble=args.ensemble).items():
            methods[row] = denoiser(restorer, stddev)
    return methods


def table_1(scores: list[Score]) -> rich.table.Table:
    """PSNR of every image and method, and the mean.

    Args:
        scores: of Set12 at sigma 25.

    Returns:
        The table; the paper's rows only if there are twelve images.
    """
    images = list(dict.fromkeys(score.image for score in scores))
    shown = rich.table.Table(
        "PSNR dB", *(pathlib.Path(name).stem for name in images), "mean", title="Table 1, sigma 25"
    )
    rows: dict[str, Sequence[float]] = {
        f"({name})": row for name, row in PAPER_1.items() if len(row) == len(images)
    }
    for method in dict.fromkeys(score.method for score in scores):
        rows[method] = [score.psnr for score in scores if score.method == method]
    for name, row in rows.items():
        shown.add_row(name, *(f"{value:.2f}" for value in row), f"{np.mean(row):.2f}")
    return shown


def table_2(scores: dict[int, list[Score]]) -> rich.table.Table:
    """Mean PSNR and SSIM of every method and noise level.

    Args:
        scores: of BSD68, by sigma.

    Returns:
        The table.
    """
    shown = rich.table.Table(
        "PSNR dB / SSIM", *(f"sigma {sigma}" for sigma in scores), title="Table 2"
    )
    for name, row in PAPER_2.items():
        shown.add_row(f"({name})", *(_pair(row.get(sigma)) for sigma in scores))
    for method in dict.fromkeys(s.method for column in scores.values() for s in column):
        cells = []
        for column in scores.values():
            own = [(s.psnr, s.ssim) for s in column if s.method == method]
            cells.append(_pair(np.mean(own, axis=0) if own else None))
        shown.add_row(method, *cells)
    return shown


def _pair(values) -> str:
    return "" if values is None else f"{values[0]:.2f} / {values[1]:.3f}"


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


def print_whole(console: rich.console.Console, table: rich.table.Table) -> None:
    """Print every digit, however narrow the terminal: wrapped lines can be read, cut ones not.

    Args:
        console: is made as wide as the table.
        table: what to print.
    """
    wide = console.options.update(max_width=1000)
    console.width = max(console.width, console.measure(table, options=wide).maximum)
    console.print(table)


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
