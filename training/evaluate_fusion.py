"""Measure noisy RGB restored with near infrared: the paper's Table 4.

    python -m training.evaluate_fusion --data FOLDER --sigma 50

Protocol: colour images in [0, 1]; image number i of the folder, sorted by name, gets the noise
sigma/255 * numpy.random.default_rng(i).standard_normal(shape), not clipped; every output is
clipped to [0, 1] before PSNR (over all pixels and channels), the noisy image is not.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import platform
import sys
from collections.abc import Callable

import numpy as np
import rich.console
import rich.progress
import tensorflow as tf

import deepam_tf
from deepam_tf import data, image_io
from deepam_tf.inference import Restorer
from training import peers
from training.evaluate import evaluate, summary_table, write_csv

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
        "--denoiser", nargs="*", default=["denoise_gray"], help="shipped weights without a guide"
    )
    parser.add_argument("--peers", action="store_true", help="BM3D and the guided filter too")
    parser.add_argument(
        "--out", type=pathlib.Path, help="CSV; results/DATA_nir_sSIGMA.csv by default"
    )
    args = parser.parse_args(argv)
    console = rich.console.Console()
    try:
        pairs = data.load_pairs(
            args.data, target="rgb", guide="nir", target_channels=3, guide_channels=1
        )
        names = [path.stem for path in image_io.list_images(args.data / "rgb")]
        images, guides = {}, {}
        for name, (target, guide) in zip(names, pairs, strict=True):
            images[name], guides[name] = (x.astype(np.float32) / 255 for x in (target, guide))
        stddev = args.sigma / 255
        methods: dict[str, Callable] = {}
        if args.peers:
            methods |= peers.color_denoisers(stddev)
        for name in args.denoiser:
            methods[f"{name}, without NIR"] = _denoiser(name, stddev)
        for name in args.model:
            methods[name] = _fusion(name, stddev)
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
            *(line for line in (__doc__ or "").splitlines() if line and not line[0].isspace()),
            f"deepam_tf {deepam_tf.__version__}, tensorflow {tf.__version__}, "
            f"{os.cpu_count()} cores, {platform.machine()}",
        ]
        write_csv(out, scores, header)
    except (image_io.ImageFileError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    console.print(summary_table(scores, f"{args.data.name}, sigma {args.sigma:g}"))
    console.print(f"each image: {out}", highlight=False)
    return 0


def _denoiser(name: str, stddev: float) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    restorer = Restorer(deepam_tf.load_pretrained(name))
    level = stddev if restorer.takes_noise_stddev else None
    return lambda noisy, guide: restorer(noisy, noise_stddev=level)


def _fusion(name: str, stddev: float) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    restorer = Restorer(deepam_tf.load_pretrained(name))
    level = stddev if restorer.takes_noise_stddev else None
    return lambda noisy, guide: restorer(noisy, guide=guide, noise_stddev=level)


if __name__ == "__main__":
    sys.exit(main())
