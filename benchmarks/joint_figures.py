"""Draw figures 7 and 8 of the paper from this code: restoration guided by another picture.

    python -m benchmarks.joint_figures 7 --data MIDDLEBURY --names art teddy --out docs/images
    python -m benchmarks.joint_figures 8 --data DARKFLASH --sigma 45 --out docs/images

7: depth upsampled by 8, with maps of the error. 8: noisy colour pictures and flash pictures in
near infrared of the same scenes; there is no truth to compare with. Camera files have grain of
several pixels, whose level an estimate for white noise misses: `--sigma` says it.
"""

from __future__ import annotations

import argparse
import io
import pathlib
import sys

import cv2
import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

import deepam_tf
from deepam_tf import data, image_io
from deepam_tf.data.noise import estimate_noise_stddev
from deepam_tf.files import atomic
from deepam_tf.files.levels import to_unit
from deepam_tf.restoration.depth import upsample_depth
from deepam_tf.restoration.tiles import Restorer
from training.evaluation import depth_peers, peers
from training.evaluation.depth import observe, score

SCALE = 8
WORST = 20.0  # gray levels, white in the maps of the error
_CROP = 260  # side of what figure 8 shows, in pixels


def figure_7(folder: pathlib.Path, names: list[str], sigma: float | None):
    """RGB, truth, bilinear, the guided filter, ours; below each its error."""
    del sigma  # depth maps have no noise here
    restorer = Restorer(deepam_tf.load_pretrained("upsample_depth"))
    figure, axes = plt.subplots(
        2 * len(names), 5, figsize=(16, 5.8 * len(names)), constrained_layout=True
    )
    for row, name in zip(range(0, 2 * len(names), 2), names, strict=True):
        depth = _integers(folder / "depth", name, 1)[..., 0].astype(np.float32)
        guide = _integers(folder / "rgb", name, 3)
        sample = observe(depth, guide, SCALE)
        results = {"bilinear": depth_peers.interpolators()["bilinear"](sample)}
        if hasattr(cv2, "ximgproc"):
            guided, _ = depth_peers.GRIDS["guided filter"]
            results["guided filter"] = guided(sample, radius=0.5, eps=1e-3)
        results["DeepAM(2)"] = upsample_depth(restorer, sample.low, to_unit(guide), scale=SCALE)
        _show(axes[row, 0], guide, name)
        _show(axes[row, 1], depth, "truth", 0, 255)
        axes[row + 1, 0].axis("off")
        axes[row + 1, 1].axis("off")
        for column in range(2, 5):
            axes[row, column].axis("off")
            axes[row + 1, column].axis("off")
        for column, (method, result) in enumerate(results.items(), start=2):
            bad, error = score(depth, result)
            _show(axes[row, column], result, f"{method}\nbad {bad:.2f} %, RMSE {error:.2f}", 0, 255)
            _show(axes[row + 1, column], np.abs(result - depth), "error", 0, WORST, "magma")
    return figure


def figure_8(folder: pathlib.Path, names: list[str], sigma: float | None):
    """Noisy, near infrared, BM3D, ours without and with near infrared; whole and in detail."""
    fusion = Restorer(deepam_tf.load_pretrained("fuse_nir"))
    alone = Restorer(deepam_tf.load_pretrained("denoise_color"))
    figure, axes = plt.subplots(
        2 * len(names), 5, figsize=(20, 7 * len(names)), constrained_layout=True
    )
    for row, name in zip(range(0, 2 * len(names), 2), names, strict=True):
        noisy = image_io.read(_file(folder / "rgb", name)).pixels
        guide = data.to_channels(image_io.read(_file(folder / "nir", name)).pixels, 1)
        stddev = estimate_noise_stddev(noisy) if sigma is None else sigma / 255
        panels = {
            f"{name}, sigma {255 * stddev:.0f}": noisy,
            "near infrared": guide[..., 0],
            "BM3D": peers.color_bm3d(stddev)(noisy),
            "DeepAM(2) without a guide": alone(noisy, noise_stddev=stddev),
            "DeepAM(2) with near infrared": fusion(noisy, guide=guide, noise_stddev=stddev),
        }
        top, left = ((side - _CROP) // 2 for side in noisy.shape[:2])
        for column, (title, panel) in enumerate(panels.items()):
            shown = np.clip(panel, 0, 1)
            _show(axes[row, column], shown, title, 0, 1)
            detail = shown[top : top + _CROP, left : left + _CROP]
            _show(axes[row + 1, column], detail, "detail", 0, 1)
    return figure


def _file(folder: pathlib.Path, name: str) -> pathlib.Path:
    found = [path for path in image_io.list_images(folder) if path.stem == name]
    if not found:
        raise image_io.ImageFileError(f"{folder}: no picture is called {name!r}.")
    return found[0]


def _integers(folder: pathlib.Path, name: str, channels: int) -> np.ndarray:
    pixels = data.to_channels(image_io.read(_file(folder, name)).pixels, channels)
    return np.rint(255 * pixels).astype(np.uint8)


def _show(axis, image, title, low=None, high=None, colors="gray") -> None:
    axis.set_title(title)
    axis.axis("off")
    axis.imshow(image, cmap=colors, vmin=low, vmax=high, interpolation="nearest")


FIGURES = {7: figure_7, 8: figure_8}


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.joint_figures")
    parser.add_argument("figure", type=int, choices=FIGURES)
    parser.add_argument("--data", type=pathlib.Path, required=True, help="folder of pairs")
    parser.add_argument("--names", nargs="+", help="pictures, without suffix; all by default")
    parser.add_argument("--sigma", type=float, help="noise level, 0..255; estimated by default")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("results"))
    args = parser.parse_args(argv)
    try:
        names = args.names or [path.stem for path in image_io.list_images(args.data / "rgb")]
        args.out.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        FIGURES[args.figure](args.data, names, args.sigma).savefig(buffer, format="png", dpi=70)
        path = args.out / f"figure_{args.figure}.png"
        atomic.write_bytes(path, buffer.getvalue())
        print(path)
    except (image_io.ImageFileError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
