"""Measure denoisers on a folder of clean images.

    python -m training.evaluate --data FOLDER --sigma 25 [--color] [--peers] [--dncnn FOLDER]

Protocol: images in [0, 1], gray unless colour is asked for; image number i, sorted by name, gets
the noise sigma/255 * numpy.random.default_rng(i).standard_normal(shape), not clipped; every
output is clipped to [0, 1] before PSNR and SSIM, the noisy image is not; no border is cut off.
"""

from __future__ import annotations

import argparse
import functools
import pathlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import rich.console
import rich.progress
import tensorflow as tf

import deepam_tf
from deepam_tf import classical, data, image_io, metrics, pretrained
from deepam_tf.restoration.tiles import Restorer
from training.evaluation import peers
from training.evaluation.scores import evaluate, provenance, summary_table, write_csv

__all__ = ["denoiser", "main", "own_classical", "read_images", "restorers"]

MODELS = {1: ["denoise_gray", "denoise_gray_s25"], 3: ["denoise_color", "denoise_gray"]}
"""Measured where no other are named, by the channels of the images."""


def read_images(
    folder: pathlib.Path, channels: int = 1, *, only: pathlib.Path | None = None
) -> dict[str, np.ndarray]:
    """The images of a folder in [0, 1], by file name, sorted.

    Args:
        folder: of image files.
        channels: 1, `[H, W]` float32, colour becomes gray; or 3, `[H, W, 3]`.
        only: a text; images whose file names do not occur in it are left out.

    Returns:
        The images.

    Raises:
        image_io.ImageFileError: if it holds none, or one cannot be read.
        ValueError: if one is too small to measure SSIM.
    """
    paths = image_io.list_images(folder)
    if only is not None:
        try:
            named = {pathlib.PurePath(word).name for word in only.read_text().split()}
        except (OSError, UnicodeDecodeError) as error:
            raise image_io.ImageFileError(f"{only}: no text that can be read ({error}).") from error
        paths = [path for path in paths if path.name in named]
    if not paths:
        those = "" if only is None else f" that {only} names"
        raise image_io.ImageFileError(f"{folder}: the folder holds no image files{those}.")
    images = {path.name: data.to_channels(image_io.read(path).pixels, channels) for path in paths}
    if channels == 1:
        images = {name: image[..., 0] for name, image in images.items()}
    small = [name for name, image in images.items() if min(image.shape[:2]) < metrics.SSIM_WINDOW]
    if small:
        raise ValueError(
            f"Images must have at least {metrics.SSIM_WINDOW} pixels a side for SSIM. "
            f"Received: {small[0]} and {len(small) - 1} others smaller than that."
        )
    return images


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


def restorers(name: str, model: deepam_tf.DeepAM, *, ensemble: bool) -> dict[str, Restorer]:
    """A model as it is, and averaged over orientations where that was asked for.

    Args:
        name: of the model.
        model: what restores.
        ensemble: whether the mean over the eight orientations gets a row too.

    Returns:
        One or two restorers, by the name of their row in a table.
    """
    rows = {name: Restorer(model)}
    if ensemble:
        rows[f"{name}, 8 orientations"] = Restorer(model, self_ensemble=True)
    return rows


def denoiser(restorer: Restorer, noise_stddev: float) -> peers.Denoiser:
    """A function from one noisy image to the restored one.

    Args:
        restorer: of as many channels, or of one: then channel by channel.
        noise_stddev: told to models that take it.

    Returns:
        The function, of `[H, W]` or `[H, W, C]`.
    """
    level = noise_stddev if restorer.takes_noise_stddev else None
    return lambda image: restorer(np.atleast_3d(image), noise_stddev=level).reshape(image.shape)


def own_classical(
    noise_stddev: float, methods: Mapping[str, Callable[..., Any]] = classical.METHODS
) -> dict[str, peers.Denoiser]:
    """The classical regularisers of this library for `[H, W]` images in [0, 1].

    Args:
        noise_stddev: standard deviation of the noise in units of [0, 1].
        methods: which ones, some of `classical.METHODS`.

    Returns:
        Functions from a noisy to a restored image, by name.
    """
    compiled = {
        name: tf.function(
            functools.partial(method, noise_stddev=noise_stddev), reduce_retracing=True
        )
        for name, method in methods.items()
    }
    return {f"{name} (ours)": peers.gray(denoise) for name, denoise in compiled.items()}


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
            methods |= own_classical(noise_stddev)
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
