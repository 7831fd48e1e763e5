"""Measure denoisers on a folder of clean images.

    python -m training.evaluate --data FOLDER --sigma 25 [--peers] [--dncnn FOLDER]

Protocol: gray images in [0, 1]; image number i of the folder, sorted by name, gets the noise
sigma/255 * numpy.random.default_rng(i).standard_normal(shape), not clipped; every output is
clipped to [0, 1] before PSNR and SSIM, the noisy image is not; no border is cut off.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import functools
import io
import os
import pathlib
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import rich.console
import rich.progress
import rich.table
import tensorflow as tf

import deepam_tf
from deepam_tf import classical, data, degradations, image_io, metrics, pretrained
from deepam_tf.inference import Restorer
from training import peers

__all__ = [
    "Score",
    "evaluate",
    "gray_denoiser",
    "gray_images",
    "main",
    "means",
    "own_classical",
    "provenance",
    "summary_table",
    "write_csv",
]

NOISY = "noisy"


@dataclasses.dataclass(frozen=True)
class Score:
    """How one method did on one image; PSNR in dB, time in seconds."""

    image: str
    method: str
    psnr: float
    ssim: float
    seconds: float
    megapixels: float


def evaluate(
    images: dict[str, np.ndarray],
    methods: dict[str, Callable[..., np.ndarray]],
    noise_stddev: float,
    *,
    guides: dict[str, np.ndarray] | None = None,
    on_image=lambda: None,
) -> list[Score]:
    """Run every method on every image, with the noise of the protocol.

    Args:
        images: clean images `[H, W]` or `[H, W, C]`, float32 in [0, 1], by file name, in order.
        methods: functions from a noisy to a restored image, by name; of a noisy image and its
            guide where there are guides.
        noise_stddev: standard deviation of the noise in units of [0, 1].
        guides: a guide for each image.
        on_image: called after each image and method, for a progress bar.

    Returns:
        One score for each pair, the noisy image first.
    """
    scores = []
    for index, (name, clean) in enumerate(images.items()):
        noisy = clean + degradations.benchmark_noise(clean.shape, noise_stddev, index)
        given = (noisy,) if guides is None else (noisy, guides[name])
        scores.append(_score(name, NOISY, clean, noisy, 0.0))
        for method, denoise in methods.items():
            if index == 0:
                denoise(*given)  # not timed: tracing, allocation, first imports
            start = time.perf_counter()
            restored = denoise(*given)
            seconds = time.perf_counter() - start
            restored = np.clip(restored, 0.0, 1.0).astype(np.float32)
            scores.append(_score(name, method, clean, restored, seconds))
            on_image()
    return scores


def _score(name, method, clean, image, seconds) -> Score:
    pixels = clean.shape[0] * clean.shape[1]
    clean, image = (np.atleast_3d(x)[np.newaxis] for x in (clean, image))
    return Score(
        name,
        method,
        float(metrics.psnr(clean, image)[0]),
        float(metrics.ssim(clean, image)[0]),
        seconds,
        pixels / 1e6,
    )


def write_csv(path: pathlib.Path, rows: Sequence[Any], header: list[str]) -> None:
    """Write dataclass instances, one a line, below comments that say how they came about."""
    buffer = io.StringIO()
    buffer.writelines(f"# {line}\n" for line in header)
    writer = csv.DictWriter(buffer, [field.name for field in dataclasses.fields(rows[0])])
    writer.writeheader()
    writer.writerows(dataclasses.asdict(row) for row in rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    image_io.write_bytes(path, buffer.getvalue().encode())


def provenance(protocol: str | None) -> list[str]:
    """Lines for the head of a table: how it was measured, and with what.

    Args:
        protocol: text that says how; its indented lines are left out.

    Returns:
        The lines.
    """
    return [
        *(line for line in (protocol or "").splitlines() if line and not line[0].isspace()),
        f"deepam_tf {deepam_tf.__version__}, tensorflow {tf.__version__}, OpenCV "
        f"{cv2.__version__}, {os.cpu_count()} cores, {platform.machine()}",
    ]


def means(scores: list[Score], method: str) -> dict[str, float]:
    """Mean PSNR in dB and SSIM of one method, rounded as cards have them."""
    own = [score for score in scores if score.method == method]
    return {
        "psnr": round(float(np.mean([score.psnr for score in own])), 3),
        "ssim": round(float(np.mean([score.ssim for score in own])), 4),
    }


def summary_table(scores: list[Score], title: str) -> rich.table.Table:
    """Mean over images for each method."""
    table = rich.table.Table("method", "PSNR dB", "SSIM", "s / megapixel", title=title)
    for method in dict.fromkeys(score.method for score in scores):
        own = [score for score in scores if score.method == method]
        seconds = sum(s.seconds for s in own) / sum(s.megapixels for s in own)
        table.add_row(
            method,
            f"{np.mean([s.psnr for s in own]):.2f}",
            f"{np.mean([s.ssim for s in own]):.4f}",
            "" if method == NOISY else f"{seconds:.2f}",
        )
    return table


def gray_images(folder: pathlib.Path) -> dict[str, np.ndarray]:
    """The images of a folder as `[H, W]` float32 in [0, 1], by file name, sorted.

    Args:
        folder: of image files; colour becomes gray.

    Returns:
        The images.

    Raises:
        image_io.ImageFileError: if it holds none, or one cannot be read.
        ValueError: if one is too small to measure SSIM.
    """
    paths = image_io.list_images(folder)
    if not paths:
        raise image_io.ImageFileError(f"{folder}: the folder holds no image files.")
    images = {path.name: data.to_channels(image_io.read(path).pixels, 1)[..., 0] for path in paths}
    small = [name for name, image in images.items() if min(image.shape) < metrics.SSIM_WINDOW]
    if small:
        raise ValueError(
            f"Images must have at least {metrics.SSIM_WINDOW} pixels a side for SSIM. "
            f"Received: {small[0]} and {len(small) - 1} others smaller than that."
        )
    return images


def _models(args: argparse.Namespace) -> dict[str, peers.Denoiser]:
    overrides = {} if args.rtol is None else {"rtol": args.rtol}
    methods = {}
    for name in args.model:
        low, high = pretrained.noise_range(name)
        if not low - 0.002 <= args.sigma / 255 <= high + 0.002:
            print(
                f"note: {name} was trained for sigma {255 * low:g} to {255 * high:g}.",
                file=sys.stderr,
            )
        restorer = Restorer(deepam_tf.load_pretrained(name, **overrides))
        methods[name] = gray_denoiser(restorer, args.sigma / 255)
    return methods


def gray_denoiser(restorer: Restorer, noise_stddev: float) -> peers.Denoiser:
    """A function from one noisy image `[H, W]` to the restored one.

    Args:
        restorer: of gray images, or of any, channel by channel.
        noise_stddev: told to models that take it.

    Returns:
        The function.
    """
    level = noise_stddev if restorer.takes_noise_stddev else None
    return lambda image: restorer(image[..., np.newaxis], noise_stddev=level)[..., 0]


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
        "--model",
        nargs="*",
        default=["denoise_gray", "denoise_gray_s25"],
        help="names of shipped weights",
    )
    parser.add_argument("--rtol", type=float, help="tolerance of the solves instead of the model's")
    parser.add_argument("--peers", action="store_true", help="BM3D, NLM and TV in the same run")
    parser.add_argument("--dncnn", type=pathlib.Path, help="folder with DnCNN's sigma*.npz")
    parser.add_argument(
        "--out", type=pathlib.Path, help="CSV of all scores; results/DATA_sSIGMA.csv by default"
    )
    args = parser.parse_args(argv)
    console = rich.console.Console()
    try:
        images = gray_images(args.data)
        noise_stddev = args.sigma / 255
        methods = _models(args)
        if args.peers:
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
        header = [
            f"{args.data.name}: {len(images)} images, gray, sigma {args.sigma:g}",
            *provenance(__doc__),
            f"tolerance of the solves: {'that of the model' if args.rtol is None else args.rtol}",
        ]
        suffix = "" if args.rtol is None else f"_rtol{args.rtol:g}"
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
