"""What the noise of the simulated camera looks like, beside that of real photographs.

    python -m benchmarks.camera_statistics --data FOLDER [--pairs FOLDER]

Of each photograph, what it differs from its target: the root mean square on the 0..255 scale,
the correlation of neighbouring pixels in each channel, that of the channels with one another,
and the level over the brightness in parts of the root mean square. Medians over the photographs,
in brackets the tenth and the ninetieth percentile.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections.abc import Iterable

import numpy as np
import rich.console
import rich.table
import tensorflow as tf

from deepam_tf import data, image_io
from deepam_tf.data.degradations import CameraSimulator
from training.evaluation.photographs import read_pairs

__all__ = ["main", "statistics"]

_SIZE = 512  # pixels a side, cut out of a clean picture
_STEPS = 5  # of brightness


def statistics(noisy: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Numbers that describe the noise of a picture.

    Args:
        noisy: `[H, W, 3]` in [0, 1].
        target: the same without noise.

    Returns:
        Root mean square in units of 1 / 255; lag-1 autocorrelation of R, G, B; correlation of
        R and G, G and B, R and B; level in five steps of brightness over the root mean square,
        NaN where the picture is never so bright.
    """
    noise = (noisy - target).astype(np.float64)
    noise -= noise.mean(axis=(0, 1))
    power = np.mean(noise**2, axis=(0, 1))
    lags = [np.mean(noise[1:] * noise[:-1], axis=(0, 1)) / power]
    lags += [np.mean(noise[:, 1:] * noise[:, :-1], axis=(0, 1)) / power]
    channels = np.corrcoef(noise.reshape(-1, 3).T)
    steps = np.minimum((_STEPS * target.mean(axis=-1)).astype(int), _STEPS - 1)
    curve = [
        np.sqrt(np.mean(noise[steps == i] ** 2) / power.mean())
        if np.mean(steps == i) > 0.01
        else np.nan
        for i in range(_STEPS)
    ]
    joint = [channels[0, 1], channels[1, 2], channels[0, 2]]
    return np.array([255 * np.sqrt(power.mean()), *np.mean(lags, axis=0), *joint, *curve])


def _simulated(folder: pathlib.Path, count: int) -> Iterable[np.ndarray]:
    camera = CameraSimulator(shares=(1, 0, 0, 0))
    photograph = tf.function(camera, reduce_retracing=True)
    paths = image_io.list_images(folder)
    if not paths:
        raise image_io.ImageFileError(f"{folder}: the folder holds no image files.")
    for number in range(count):
        pixels = data.load_image(paths[number % len(paths)], 3)
        top, left = (max(size - _SIZE, 0) // 2 for size in pixels.shape[:2])
        clean = pixels[top : top + _SIZE, left : left + _SIZE].astype(np.float32)
        clean /= np.iinfo(pixels.dtype).max
        yield statistics(*(x.numpy() for x in photograph(clean, tf.constant([number, 0]))))


def _real(folder: pathlib.Path) -> Iterable[np.ndarray]:
    for files in read_pairs(folder).values():
        yield statistics(*(image_io.read(path).pixels for path in files))


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.camera_statistics",
        description=(__doc__ or "").split("\n")[0],
    )
    parser.add_argument("--data", type=pathlib.Path, required=True, help="clean photographs")
    parser.add_argument("--count", type=int, default=100, help="photographs to simulate (100)")
    parser.add_argument("--pairs", type=pathlib.Path, nargs="*", default=[], help="real ones")
    args = parser.parse_args(argv)
    try:
        rows = {"simulated": np.array(list(_simulated(args.data, args.count)))}
        rows |= {folder.name: np.array(list(_real(folder))) for folder in args.pairs}
    except image_io.ImageFileError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    names = ["sigma", "lag 1, R", "G", "B", "R with G", "G with B", "R with B"]
    names += [f"{i / _STEPS:g} to {(i + 1) / _STEPS:g}" for i in range(_STEPS)]
    table = rich.table.Table("", *rows)
    for i, name in enumerate(names):
        cells = []
        for values in rows.values():
            low, middle, high = np.nanpercentile(values[:, i], [10, 50, 90])
            cells.append(f"{middle:.2f} ({low:.2f} to {high:.2f})")
        table.add_row(name, *cells)
    rich.console.Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
