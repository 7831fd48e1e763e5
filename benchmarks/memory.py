"""How much memory `deepam` takes beyond TensorFlow's own, by the size of the picture.

    python -m benchmarks.memory --data BSD68 --megapixels 12 50 --bfloat16

Each picture is one of the folder, mirrored to the size asked for, made noisy and written as a JPEG
file; the command measures its noise and restores it, in a process of its own. What the same
command takes for a picture of 64x64 pixels is taken off: the interpreter, TensorFlow, the weights.

    python -m benchmarks.memory --upsample --data PHOTOS --megapixels 12

upsamples a depth map by 8 to the grid of such a picture, its guide.

    python -m benchmarks.memory --out-of-core --megapixels 100 2000 [--model NAME]

restores gray pictures of noise in tiles of a BigTIFF file by `deepam denoise --out-of-core`, and
tells the most memory that the command took in all. Without `--model` by a network of 4 maps with
random weights: the way through the program is that of any other, and it is done in minutes.
"""

from __future__ import annotations

import argparse
import math
import pathlib
import sys
import tempfile
import time
from collections.abc import Iterator

import numpy as np
import rich.console
import rich.table
import tifffile

import deepam_tf
from benchmarks import peak_memory
from benchmarks.inference import fitted
from deepam_tf.data.degradations import benchmark_noise
from deepam_tf.files import pictures as image_io
from training.evaluation.scores import print_whole

__all__ = ["main", "peak_mebibytes"]

_SIGMA = 15
_SCALE = 8  # of depth maps


def peak_mebibytes(arguments: list[str]) -> float:
    """What a run of the `deepam` command held in memory at most.

    Args:
        arguments: of the command.

    Returns:
        MiB.

    Raises:
        ValueError: if the command fails.
    """
    return peak_memory.of_command([sys.executable, "-m", "deepam_tf", *arguments]) / 2**20


def _write_noisy(path: pathlib.Path, clean: np.ndarray, width: int, height: int) -> None:
    pixels = np.stack([fitted(channel, height, width) for channel in np.moveaxis(clean, -1, 0)], -1)
    for row in range(0, height, 512):  # of a large picture the noise alone is gigabytes
        part = pixels[row : row + 512]
        part += benchmark_noise(part.shape, _SIGMA / 255, row)
    image_io.write(path, image_io.Picture(pixels, None, np.dtype("uint8")), overwrite=True)


def _write_pair(depth: pathlib.Path, guide: pathlib.Path, clean: np.ndarray, *size: int) -> None:
    """A guide, and a coarse map in millimetres whose edges are the guide's."""
    _write_noisy(guide, clean, *size)
    coarse = image_io.read(guide).pixels[_SCALE // 2 :: _SCALE, _SCALE // 2 :: _SCALE].mean(-1)
    tifffile.imwrite(depth, (500 + 1000 * coarse).astype(np.uint16))


def write_large(path: pathlib.Path, width: int, height: int) -> None:
    """Write a gray picture with noise in tiles, of which a row is in memory."""
    tile = 512
    rng = np.random.default_rng(0)
    noise = rng.normal(128, _SIGMA, (4 * tile, 4 * tile)).clip(0, 255).astype(np.uint8)

    def tiles() -> Iterator[np.ndarray]:
        for i in range(-(-height // tile)):
            for j in range(-(-width // tile)):
                top, left = (int(x) for x in rng.integers(0, 3 * tile, 2))
                yield noise[top : top + tile, left : left + tile] ^ np.uint8((i + j) % 2)

    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        writer.write(
            tiles(),
            shape=(height, width),
            dtype=np.uint8,
            tile=(tile, tile),
            photometric="minisblack",
            metadata=None,
        )


def out_of_core(megapixels: list[float], model: str | None) -> rich.table.Table:
    """The most memory of `deepam denoise --out-of-core`, by the size of the picture."""
    table = rich.table.Table("picture", "file, MiB", "windows", "MiB in all", "minutes")
    with tempfile.TemporaryDirectory() as folder:
        if model is None:
            model = str(pathlib.Path(folder, "small"))
            small = deepam_tf.DeepAM(1, filters=4, depth=3, noise_level=True, pixel_unshuffle=2)
            deepam_tf.save_pretrained(small, model, {"noise_stddev": [0.0, 0.3]})
        for size in megapixels:
            width = 512 * round(math.sqrt(size * 1e6) / 512)
            height = round(size * 1e6 / width)
            noisy, out = pathlib.Path(folder, "noisy.tif"), pathlib.Path(folder, "out.tif")
            write_large(noisy, width, height)
            start = time.perf_counter()
            order = ["denoise", str(noisy), str(out), "--out-of-core", "--force"]
            peak = peak_mebibytes([*order, "--sigma", str(_SIGMA), "--model", model])
            minutes = (time.perf_counter() - start) / 60
            restorer = deepam_tf.Restorer(deepam_tf.load_pretrained(model))
            table.add_row(
                f"{width}x{height}",
                f"{noisy.stat().st_size / 2**20:.0f}",
                str(len(restorer.windows(height, width))),
                f"{peak:.0f}",
                f"{minutes:.1f}",
            )
    return table


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.memory", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--data", type=pathlib.Path, help="folder of pictures")
    parser.add_argument("--out-of-core", action="store_true", help="pictures larger than memory")
    parser.add_argument("--model", help="of --out-of-core: weights")
    parser.add_argument("--megapixels", type=float, nargs="+", default=[12.0, 50.0])
    parser.add_argument("--bfloat16", action="store_true", help="the network in bfloat16")
    parser.add_argument(
        "--upsample", action="store_true", help="depth maps, guided by the pictures"
    )
    args = parser.parse_args(argv)
    if args.out_of_core == (args.data is not None):
        parser.error("give --data, or --out-of-core")
    if args.out_of_core:
        print_whole(rich.console.Console(), out_of_core(args.megapixels, args.model))
        return 0
    options = ["--force", "--max-megapixels", "1000"] + ["--bfloat16"] * args.bfloat16
    table = rich.table.Table("picture", "channels", "MiB beyond TensorFlow's own")
    try:
        clean = image_io.read(image_io.list_images(args.data)[0]).pixels
        with tempfile.TemporaryDirectory() as folder:
            noisy, depth, fine, clear = (
                pathlib.Path(folder, name)
                for name in ("noisy.jpg", "depth.tif", "fine.tif", "clear.jpg")
            )

            def peak_of(width: int, height: int) -> float:
                if args.upsample:
                    _write_pair(depth, noisy, clean, width, height)
                    return peak_mebibytes(["upsample", *map(str, (depth, noisy, fine)), *options])
                _write_noisy(noisy, clean, width, height)
                return peak_mebibytes(["denoise", str(noisy), str(clear), *options])

            base = peak_of(64, 64)
            for megapixels in args.megapixels:
                width = 8 * round(math.sqrt(megapixels * 1e6 * 4 / 3) / 8)
                height = round(megapixels * 1e6 / width)
                peak = peak_of(width, height) - base
                table.add_row(f"{width}x{height}", str(clean.shape[-1]), f"{peak:.0f}")
    except (image_io.ImageFileError, IndexError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print_whole(rich.console.Console(), table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
