"""How much memory `deepam denoise` takes beyond TensorFlow's own, by the size of the picture.

    python -m benchmarks.memory --data BSD68 --megapixels 12 50 --bfloat16

Each picture is one of the folder, mirrored to the size asked for, made noisy and written as a JPEG
file; the command restores it in a process of its own. What the same command takes for a picture of
64x64 pixels is taken off: the interpreter, TensorFlow, the weights.
"""

from __future__ import annotations

import argparse
import math
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import rich.console
import rich.table

from benchmarks.inference import fitted
from deepam_tf.data.degradations import benchmark_noise
from deepam_tf.files import pictures as image_io
from training.evaluation.scores import print_whole

__all__ = ["main", "peak_mebibytes"]

_SIGMA = 15


def peak_mebibytes(arguments: list[str]) -> float:
    """What a run of the `deepam` command held in memory at most.

    Args:
        arguments: of the command.

    Returns:
        MiB.

    Raises:
        ValueError: if the command fails.
    """
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "deepam_tf", *arguments], stdout=said, stderr=said
        )
        # Of this child alone: what the others took does not count.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        if process.returncode:
            raise ValueError(said.read().decode(errors="replace").strip())
    return usage.ru_maxrss / 1024


def _write_noisy(path: pathlib.Path, clean: np.ndarray, width: int, height: int) -> None:
    pixels = np.stack([fitted(channel, height, width) for channel in np.moveaxis(clean, -1, 0)], -1)
    for row in range(0, height, 512):  # of a large picture the noise alone is gigabytes
        part = pixels[row : row + 512]
        part += benchmark_noise(part.shape, _SIGMA / 255, row)
    image_io.write(path, image_io.Picture(pixels, None, np.dtype("uint8")), overwrite=True)


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.memory", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--data", type=pathlib.Path, required=True, help="folder of pictures")
    parser.add_argument("--megapixels", type=float, nargs="+", default=[12.0, 50.0])
    parser.add_argument("--bfloat16", action="store_true", help="the network in bfloat16")
    args = parser.parse_args(argv)
    options = ["--sigma", str(_SIGMA), "--max-megapixels", "1000"] + ["--bfloat16"] * args.bfloat16
    table = rich.table.Table("picture", "channels", "MiB beyond TensorFlow's own")
    try:
        clean = image_io.read(image_io.list_images(args.data)[0]).pixels
        with tempfile.TemporaryDirectory() as folder:
            noisy, out = pathlib.Path(folder, "noisy.jpg"), pathlib.Path(folder, "out.jpg")
            command = ["denoise", str(noisy), str(out), "--force", *options]
            _write_noisy(noisy, clean, 64, 64)
            base = peak_mebibytes(command)
            for megapixels in args.megapixels:
                width = 8 * round(math.sqrt(megapixels * 1e6 * 4 / 3) / 8)
                height = round(megapixels * 1e6 / width)
                _write_noisy(noisy, clean, width, height)
                peak = peak_mebibytes(command) - base
                table.add_row(f"{width}x{height}", str(clean.shape[-1]), f"{peak:.0f}")
    except (image_io.ImageFileError, IndexError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print_whole(rich.console.Console(), table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
