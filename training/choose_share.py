"""Choose how large a part of fine-tuned weights goes into their mean with those they came from.

    python -m training.choose_share RUN --with denoise_color --data FOLDER [FOLDER ...]

Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022. Judged on crops out of files
that a simulated camera made of clean pictures, whose seeds training has not seen: mean PSNR in dB
for each share, of photographs with camera noise and of everything that the simulator makes. Real
photographs have no say. `--mean NAME --part 0.6` takes shipped weights that are such a mean
already in the place of a run: what was trained is found again from it.
"""

from __future__ import annotations

import argparse
import pathlib
import sys

import keras
import numpy as np
import rich.console
import rich.table
import tensorflow as tf

import deepam_tf
from deepam_tf import data, metrics
from deepam_tf.data.degradations import CameraSimulator
from deepam_tf.files.pictures import ImageFileError
from training.configuration.config import Data
from training.data.inputs import load_examples
from training.data.tasks import find_task

__all__ = ["main", "mean_weights", "trained_weights"]

_SEED = 715_517  # of no recipe
_CROP, _BATCH = 96, 8
_KINDS = {
    "camera noise": CameraSimulator(shares=(1, 0, 0, 0)),
    "all": CameraSimulator(),
}


def mean_weights(start: list, trained: list, share: float) -> list[np.ndarray]:
    """The mean of two networks.

    Args:
        start: weights that training began with.
        trained: weights that it ended with.
        share: of the latter, from 0 to 1.

    Returns:
        Arrays as `keras.Model.get_weights` gives them.
    """
    return [(1 - share) * a + share * b for a, b in zip(start, trained, strict=True)]


def trained_weights(start: list, mean: list, share: float) -> list[np.ndarray]:
    """What training ended with, of a mean in which it has a share: undoes `mean_weights`."""
    return [a + (b - a) / share for a, b in zip(start, mean, strict=True)]


def _psnr(model: keras.Model, batches: list) -> float:
    run = tf.function(lambda inputs: model(inputs, training=False)["restored"])
    values = [
        metrics.psnr(target["restored"], tf.clip_by_value(run(inputs), 0.0, 1.0))
        for inputs, target in batches
    ]
    return float(tf.reduce_mean(tf.minimum(tf.concat(values, 0), metrics.MOST_DECIBELS)))


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m training.choose_share", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("run", type=pathlib.Path, nargs="?", help="folder with model.keras")
    parser.add_argument("--mean", metavar="NAME", help="shipped weights in the place of a run")
    parser.add_argument("--part", type=float, default=0.6, help="what was trained in them (0.6)")
    parser.add_argument("--with", dest="start", default="denoise_color", metavar="NAME")
    parser.add_argument("--data", type=pathlib.Path, nargs="+", required=True)
    parser.add_argument("--crops", type=int, default=64, help="of each kind (64)")
    parser.add_argument(
        "--shares", type=float, nargs="+", default=[0, 0.2, 0.4, 0.6, 0.8, 1], help="to try"
    )
    args = parser.parse_args(argv)
    try:
        if (args.run is None) == (args.mean is None):
            raise ValueError(
                "One of a run and --mean says what was trained. "
                f"Received: {args.run}, --mean {args.mean}."
            )
        model = deepam_tf.load_pretrained(args.start)
        start = model.get_weights()
        if args.mean:
            trained = trained_weights(
                start, deepam_tf.load_pretrained(args.mean).get_weights(), args.part
            )
        else:
            path = args.run / "model.keras"
            trained = keras.saving.load_model(path, compile=False).get_weights()
        values = Data(task="camera", image_channels=3, crop_size=_CROP)
        pictures = load_examples(args.data, values, find_task("camera")).items
        batches = {
            name: list(
                data.camera_crops(
                    pictures, crop_size=_CROP, batch_size=_BATCH, camera=camera, seed=_SEED
                ).take(-(-args.crops // _BATCH))
            )
            for name, camera in _KINDS.items()
        }
    except (ImageFileError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    figures = {}
    for share in args.shares:
        model.set_weights(mean_weights(start, trained, share))
        figures[share] = [_psnr(model, found) for found in batches.values()]
    table = rich.table.Table("share of what was trained", *(f"{name}, dB" for name in batches))
    for share, row in figures.items():
        table.add_row(f"{share:g}", *(f"{value:.2f}" for value in row))
    console = rich.console.Console()
    console.print(table)
    best = max(figures, key=lambda share: figures[share][0])
    console.print(f"best on camera noise: {best:g}", highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
