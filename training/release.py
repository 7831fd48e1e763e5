"""Turn a finished run into weights that ship with the package.

    python -m training.release RUN --name NAME --card CARD.json --evaluate FOLDER [FOLDER ...]

The card's file says in words what no program knows: the task, the data, the limits. What a
program can measure, it measures: the results are those of the weights as written.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys

import keras
import numpy as np

import deepam_tf
from deepam_tf import data, image_io, pretrained
from deepam_tf.inference import Restorer
from training.evaluate import evaluate, gray_denoiser
from training.run_folder import read_config
from training.tasks import noise_range

__all__ = ["main"]

SIGMAS = (15, 25, 50)
"""Levels at which a model for all levels is judged: those of the literature."""


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m training.release", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("run", type=pathlib.Path, help="folder of the run, with model.keras")
    parser.add_argument("--name", required=True, help="name of the weights")
    parser.add_argument("--card", type=pathlib.Path, required=True, help="JSON: task, training ...")
    parser.add_argument(
        "--evaluate", type=pathlib.Path, nargs="+", default=[], help="folders of clean images"
    )
    args = parser.parse_args(argv)
    folder = pathlib.Path(deepam_tf.__file__).parent / "weights"
    level = noise_range(read_config(args.run).data)
    card = {**json.loads(args.card.read_text()), "noise_stddev": level}
    model = keras.saving.load_model(args.run / "model.keras", compile=False)
    pretrained.save_pretrained(model, args.name, {**card, "results": {}}, folder)

    # Judged as users get them: read back from the rounded file.
    restorer = Restorer(deepam_tf.load_pretrained(args.name))
    if isinstance(level, tuple):
        named = {f", sigma {sigma}": sigma / 255 for sigma in SIGMAS}
    else:
        named = {"": level}
    card["results"] = {
        path.name + suffix: _figures(path, restorer, level)
        for path in args.evaluate
        for suffix, level in named.items()
    }
    pretrained.save_pretrained(model, args.name, card, folder)
    print(json.dumps(card["results"], indent=2))
    return 0


def _figures(folder: pathlib.Path, restorer: Restorer, noise_stddev: float) -> dict[str, float]:
    images = {
        path.name: data.to_channels(image_io.read(path).pixels, 1)[..., 0]
        for path in image_io.list_images(folder)
    }
    scores = evaluate(images, {"model": gray_denoiser(restorer, noise_stddev)}, noise_stddev)
    own = [score for score in scores if score.method == "model"]
    return {
        "psnr": round(float(np.mean([score.psnr for score in own])), 3),
        "ssim": round(float(np.mean([score.ssim for score in own])), 4),
    }


if __name__ == "__main__":
    sys.exit(main())
