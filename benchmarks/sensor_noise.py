"""Noise that grows with the light, estimated and told to the network pixel by pixel.

    python -m benchmarks.sensor_noise --data BSD68
    python -m benchmarks.sensor_noise --data PHOTOS --model denoise_color --picture photos.png

A simulated sensor: `deepam_tf.degradations.sensor_noise`, image number i with its own generator.
Rows: the network is told one level that is estimated, the root of the true mean variance, the
estimated map, and the true one. Images count as linear in the light. The picture shows the first
image under each sensor.
"""

from __future__ import annotations

import argparse
import io
import pathlib
import sys

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import rich.console
import rich.progress
import rich.table

import deepam_tf
from deepam_tf import data, degradations, image_io, metrics, noise
from deepam_tf.files import atomic
from deepam_tf.restoration.tiles import Restorer

__all__ = ["SENSORS", "draw", "main", "psnr", "restorations"]

SENSORS = {
    "100 electrons, 2 % read noise": (1 / 100, 0.02**2),
    "33 electrons, 3 % read noise": (1 / 33, 0.03**2),
}
"""Gain and variance of the read noise: electrons at white, and noise over white."""


def restorations(
    restorer: Restorer, clean: np.ndarray, gain: float, variance: float, index: int
) -> dict[str, np.ndarray]:
    """One noisy picture, and restored by what the network is told.

    Args:
        restorer: of a model that is told the noise.
        clean: `[H, W, C]` in [0, 1].
        gain: see `SENSORS`.
        variance: see `SENSORS`.
        index: number of the picture, which makes the noise.

    Returns:
        Pictures `[H, W, C]` by name of what is told, and the noisy one.
    """
    noisy = degradations.sensor_noise(clean, gain, variance, index)
    true = noise.PoissonGaussian(gain, variance)
    levels = {
        "one level, estimated": noise.estimate_noise_stddev(noisy),
        "one level, true": float(np.sqrt(np.mean(gain * clean + variance))),
        "map, estimated": noise.estimate_poisson_gaussian(noisy).stddev_map(noisy),
        "map, true parameters": true.stddev_map(noisy),
    }
    return {"noisy": noisy} | {
        name: np.clip(restorer(noisy, noise_stddev=level), 0, 1) for name, level in levels.items()
    }


def draw(clean: np.ndarray, rows: dict[str, dict[str, np.ndarray]]) -> bytes:
    """A PNG file with what `restorations` gave, a row a sensor, beside the clean picture."""
    shown = ["noisy", "one level, estimated", "map, estimated"]
    figure, axes = plt.subplots(
        len(rows), len(shown) + 1, figsize=(13, 3.4 * len(rows)), constrained_layout=True
    )
    for row, (sensor, pictures) in zip(axes, rows.items(), strict=True):
        titles = {name: f"{name}: {psnr(clean, pictures[name]):.2f} dB" for name in shown}
        panels = {titles[name]: pictures[name] for name in shown} | {f"clean; {sensor}": clean}
        for axis, (title, panel) in zip(row, panels.items(), strict=True):
            axis.set_title(title, fontsize=9)
            axis.axis("off")
            axis.imshow(np.clip(panel, 0, 1).squeeze(), "gray", vmin=0, vmax=1)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()


def psnr(clean: np.ndarray, image: np.ndarray) -> float:
    """In dB, of one picture `[H, W, C]`."""
    return float(metrics.psnr(clean[np.newaxis], image[np.newaxis].astype(np.float32))[0])


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.sensor_noise", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--data", type=pathlib.Path, required=True, help="folder of clean images")
    parser.add_argument("--model", default="denoise_gray", help="weights (denoise_gray)")
    parser.add_argument("--picture", type=pathlib.Path, help="PNG file to draw")
    args = parser.parse_args(argv)
    try:
        model = deepam_tf.load_pretrained(args.model)
        images = [
            data.to_channels(image_io.read(path).pixels, model.image_channels)
            for path in image_io.list_images(args.data)
        ]
        if not images:
            raise image_io.ImageFileError(f"{args.data}: the folder holds no image files.")
    except (image_io.ImageFileError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    restorer = Restorer(model)
    table = rich.table.Table("PSNR dB, the network is told", *SENSORS, title=args.data.name)
    columns, first = [], {}
    with rich.progress.Progress(transient=True) as progress:
        task = progress.add_task("images", total=len(SENSORS) * len(images))
        for name, sensor in SENSORS.items():
            rows = []
            for index, clean in enumerate(images):
                pictures = restorations(restorer, clean, *sensor, index)
                first.setdefault(name, pictures)
                rows.append({name: psnr(clean, x) for name, x in pictures.items()})
                progress.advance(task)
            columns.append({name: np.mean([row[name] for row in rows]) for name in rows[0]})
    for name in columns[0]:
        table.add_row(name, *(f"{column[name]:.2f}" for column in columns))
    rich.console.Console().print(table)
    if args.picture is not None:
        try:
            atomic.write_bytes(args.picture, draw(images[0], first))
        except (atomic.WriteError, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
