"""Learning from noisy pictures alone, beside learning from the clean ones of the same, equal steps.

    python -m benchmarks.noisy_only --data FOLDER

The pictures are brought to half their contrast, so that files of 16 bit hold them and their noise
whole, as those of a scientific camera with a black level do, and get white noise once and for all.
A small network (K = 1 on blocks of 2x2 pixels) learns from these files by
`data.supervision=noisy`; another, from the same initial weights and by the same number of steps of
the square error, from the clean pictures with fresh noise. Judged on pictures held out, noisy
once more: PSNR in dB to the clean ones, 1 being their full contrast, the mean over the pictures,
and that of the mean square error of all of them, beside what Stein's estimate says that it is
without looking at the clean ones.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
import tempfile
import time

import numpy as np
import rich.console
import rich.table

from deepam_tf import degradations, image_io
from deepam_tf.networks.sure import probe, unbiased_mse
from deepam_tf.restoration.tiles import Restorer
from training.configuration.config import TrainingConfig
from training.configuration.settings import read_values, replace
from training.data.inputs import hold_out, load_examples
from training.data.tasks import Examples, find_task
from training.fit.run import train

__all__ = ["main"]

_CONTRAST, _BLACK = 0.5, 0.25  # of what the files hold
_FULL = 2**16 - 1
_TRUTH_SEED, _PROBE_SEED = 10**6, 2 * 10**6  # of noise that no training has seen

TINY = {
    "model.num_iterations": 1,
    "model.pixel_unshuffle": 2,
    "model.filters": 32,
    "model.depth": 6,
    "data.batch_size": 8,
    "data.crop_size": 48,
    "run.loss": "l2",
    "run.dtype": "float32",
    "run.num_steps": 600,
    "run.steps_per_epoch": 200,
    "schedule.warmup_steps": 50,
    "optimizer.average": 0.98,
    "monitor.pictures_every": 0,
}


def _stored(clean: np.ndarray, noise: np.ndarray | float = 0.0) -> np.ndarray:
    """A file of 16 bit that holds a picture of 8 bit at half its contrast, and its noise."""
    values = _BLACK + _CONTRAST * (clean / np.float32(255) + noise)
    return np.uint16(np.round(_FULL * np.clip(values, 0, 1)))


def _judged(model, held: Examples, sigma: float) -> tuple[float, float, float]:
    """Mean PSNR of restored pictures; that of their mean error; the latter without their truth."""
    restorer = Restorer(model)
    variance = (_CONTRAST * sigma / 255) ** 2
    errors, claimed = [], []
    for number, item in enumerate(held.items):
        clean = _stored(item) / np.float32(_FULL)
        noise = degradations.benchmark_noise(clean.shape, sigma / 255, _TRUTH_SEED + number)
        images, reference = probe(
            (clean + _CONTRAST * noise)[np.newaxis], 0.0, variance, seed=_PROBE_SEED + number
        )
        restored = np.stack([restorer(image) for image in images])
        errors.append(float(np.mean((restored[0] - clean) ** 2)))
        claimed.append(float(unbiased_mse(reference, restored)))
    square = _CONTRAST**2
    return (
        float(np.mean(10 * np.log10(square / np.array(errors)))),
        *(float(10 * np.log10(square / np.mean(x))) for x in (errors, claimed)),
    )


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.noisy_only", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--data", type=pathlib.Path, required=True, help="clean gray pictures")
    parser.add_argument("--sigma", type=float, default=25.0, help="of the noise, 0..255 (25)")
    parser.add_argument("--held-out", type=int, default=20, help="pictures to judge by (20)")
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="NAME=VALUE")
    args = parser.parse_args(argv)
    config = replace(TrainingConfig(), {**TINY, "data.sigma": _CONTRAST * args.sigma})
    config = replace(config, read_values(args.settings))
    try:
        examples = load_examples([args.data], config.data, find_task("denoise"))
    except (image_io.ImageFileError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    kept, held = hold_out(examples, args.held_out)
    noisy = [
        _stored(item, degradations.benchmark_noise(item.shape, args.sigma / 255, number))
        for number, item in enumerate(kept.items)
    ]
    runs = {
        "clean pictures": (config, [_stored(item) for item in kept.items]),
        "noisy pictures alone": (replace(config, {"data.supervision": "noisy"}), noisy),
    }
    table = rich.table.Table("learnt from", "PSNR dB", "of the mean", "told", "s / step")
    with tempfile.TemporaryDirectory() as folder:
        for name, (recipe, pictures) in runs.items():
            start = time.perf_counter()
            model = train(
                recipe,
                Examples(kept.names, pictures),
                Examples([], []),
                pathlib.Path(folder) / name.replace(" ", "_"),
                verbose=0,
            )
            seconds = (time.perf_counter() - start) / config.run.num_steps
            figures = _judged(model, held, args.sigma)
            table.add_row(name, *(f"{figure:.2f}" for figure in figures), f"{seconds:.2f}")
    rich.console.Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
