"""What `deepam denoise` does with files when nobody says what is wrong with them.

    python -m benchmarks.blind --data FOLDER [FOLDER ...] --every 10

Clean pictures are stored as they are, as JPEG of several qualities (chroma subsampled), with
white noise (number i of the folder with that of the evaluation protocol), and with noise and
JPEG. PSNR in dB to the clean picture, mean over the pictures: before, told the noise where it is
white, and restored blind; and the picture that loses most. Before PNG of clean pictures there is
nothing to lose: there the second column is the PSNR of what comes back.
"""

from __future__ import annotations

import argparse
import io
import pathlib
import sys

import numpy as np
import rich.console
import rich.table
from PIL import Image

import deepam_tf
from deepam_tf import data, degradations, image_io
from deepam_tf.files.levels import to_unit
from deepam_tf.restoration.tiles import Restorer
from training.evaluation import photographs
from training.evaluation.denoising import denoiser

__all__ = ["CASES", "main", "spoiled"]

CASES = {
    "PNG": (0, None),
    "JPEG 90": (0, 90),
    "JPEG 70": (0, 70),
    "JPEG 40": (0, 40),
    "JPEG 20": (0, 20),
    "sigma 10, JPEG 40": (10, 40),
    "sigma 15": (15, None),
    "sigma 25": (25, None),
    "sigma 50": (50, None),
}
"""Standard deviation of white noise on the 0..255 scale, and quality of JPEG."""

_MOST_SIDE = 512  # pixels, of the middle of larger pictures
_IDENTICAL = 99.0  # dB, where nothing differs


def spoiled(clean: np.ndarray, sigma: float, quality: int | None, index: int) -> np.ndarray:
    """A picture with white noise, and as JPEG.

    Args:
        clean: `[H, W, 3]` in [0, 1].
        sigma: of the noise, 0..255.
        quality: of JPEG; None: it is not compressed, nor rounded or clipped.
        index: number of the picture, which makes the noise.

    Returns:
        The picture, float32.
    """
    noisy = clean + degradations.benchmark_noise(clean.shape, sigma / 255, index)
    if quality is None:
        return noisy
    buffer = io.BytesIO()
    pixels = np.uint8(np.round(255 * np.clip(noisy, 0, 1)))
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, subsampling="4:2:0")
    return to_unit(np.asarray(Image.open(buffer)))


def _psnr(clean: np.ndarray, image: np.ndarray, *, rounded: bool) -> float:
    image = np.clip(image, 0, 1) if rounded else image
    image = np.round(255 * image) / 255 if rounded else image
    error = float(np.mean((image - clean) ** 2))
    return min(-10 * np.log10(max(error, 1e-12)), _IDENTICAL)


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.blind", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--data", type=pathlib.Path, nargs="+", required=True)
    parser.add_argument("--every", type=int, default=1, help="every so many pictures alone (1)")
    parser.add_argument("--case", nargs="*", choices=list(CASES), default=list(CASES))
    parser.add_argument("--bfloat16", action="store_true", help="networks in half precision")
    args = parser.parse_args(argv)
    try:
        table = _measured(args)
    except image_io.ImageFileError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    rich.console.Console().print(table)
    return 0


def _measured(args: argparse.Namespace) -> rich.table.Table:
    paths = [path for folder in args.data for path in image_io.list_images(folder)[:: args.every]]
    if not paths:
        folders = ", ".join(map(str, args.data))
        raise image_io.ImageFileError(f"{folders}: the folders hold no image files.")
    dtype = "mixed_bfloat16" if args.bfloat16 else "float32"
    default = photographs.default(dtype)
    white = Restorer(deepam_tf.load_pretrained("denoise_color", dtype=dtype))
    table = rich.table.Table("", "before", "told", "blind", "worst change", "of")
    for case in args.case:
        sigma, quality = CASES[case]
        rows = []
        for index, path in enumerate(paths):
            pixels = data.load_image(path, 3)
            top, left = (max(size - _MOST_SIDE, 0) // 2 for size in pixels.shape[:2])
            pixels = pixels[top : top + _MOST_SIDE, left : left + _MOST_SIDE]
            clean = to_unit(pixels)
            image = spoiled(clean, sigma, quality, index)
            with_level = denoiser(white, sigma / 255)(image) if sigma else image
            rows.append(
                [
                    _psnr(clean, image, rounded=False),
                    _psnr(clean, with_level, rounded=True),
                    _psnr(clean, default(image), rounded=True),
                ]
            )
        before, with_level, after = np.mean(rows, axis=0)
        change = [row[2] - max(row[0] if sigma == 0 else row[1], 0) for row in rows]
        worst = int(np.argmin(change))
        table.add_row(
            case,
            f"{before:.2f}",
            f"{with_level:.2f}" if sigma else "",
            f"{after:.2f}",
            f"{change[worst]:+.2f}",
            paths[worst].name,
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
