"""Draw figures 1, 2, 4 and 6 of the paper from this code.

    python -m benchmarks.figures --figure 1 2 4 6 --out docs/images [--image FILE] [--dncnn FOLDER]

1: regularisers and their proximal maps. 2: one image restored by total variation, by DeepAM, and
by one step with the gradients of the clean image. 4: what a trained DeepAM(3) does in each
iteration. 6: a detail restored by every denoiser, at sigma 25 and 50.
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
import tensorflow as tf

import deepam_tf
from deepam_tf import classical, data, degradations, image_io, metrics, proximal
from deepam_tf.cli import demo
from deepam_tf.files import atomic
from deepam_tf.restoration.pretrained import pretrained_card
from training.evaluation import peers
from training.evaluation.denoising import classical_methods, denoiser, models_for

MODEL = "denoise_gray_s25"
_DETAIL = 112  # pixels


def figure_1(image: np.ndarray):
    """Regularisers, and the proximal maps that belong to them."""
    del image
    regularizers = {
        "L1 (total variation)": (proximal.TotalVariation(isotropic=False), np.abs),
        "L2/3 (hyper-Laplacian)": (proximal.Lp(2 / 3), lambda v: np.abs(v) ** (2 / 3)),
        "L1/2": (proximal.Lp(1 / 2), lambda v: np.abs(v) ** 0.5),
        "L0": (proximal.L0(isotropic=False), lambda v: (v != 0).astype(float)),
    }
    d = np.linspace(-3, 3, 1202)
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), constrained_layout=True)
    for name, (regularizer, phi) in regularizers.items():
        left.plot(d, phi(d), label=name)
        v = regularizer.prox(tf.reshape(tf.constant(d), [1, 1, -1, 2]), 0.8).numpy().ravel()
        # A jump is not part of the map: leave it open.
        v[1:][np.abs(np.diff(v)) > 0.1] = np.nan
        right.plot(d, v, label=name)
    right.plot(d, d, "k:", linewidth=0.8, label="identity")
    left.set(xlabel="v", ylabel="phi(v)", title="regulariser")
    right.set(xlabel="d", ylabel="prox(d)", title="proximal map, t = 0.8")
    left.legend()
    return figure


def figure_2(image: np.ndarray):
    """Noisy, total variation, DeepAM, one step with the true gradients, reference."""
    stddev = pretrained_card(MODEL)["noise_stddev"]
    noisy = (image + degradations.benchmark_noise(image.shape, stddev, 0))[np.newaxis]
    truth = deepam_tf.image_gradient(image[np.newaxis])
    panels = {
        "noisy": noisy,
        "total variation": classical.METHODS["tv"](noisy, stddev),
        "DeepAM(3)": deepam_tf.load_pretrained(MODEL)({"image": noisy})["restored"],
        "one step, true gradients": deepam_tf.reconstruct(noisy, truth, np.full_like(noisy, 5.0)),
        "reference": image[np.newaxis],
    }
    figure, axes = plt.subplots(1, 5, figsize=(15, 4), constrained_layout=True)
    for axis, (name, panel) in zip(axes, panels.items(), strict=True):
        decibels = float(metrics.psnr(image[np.newaxis], panel)[0])
        title = name if name == "reference" else f"{name}\n{decibels:.2f} dB"
        _show(axis, np.asarray(panel)[0, ..., 0], title, 0, 1)
    return figure


def figure_4(image: np.ndarray):
    """`u_k`, the length of `v_k` and `gamma_k` of every iteration."""
    stddev = pretrained_card(MODEL)["noise_stddev"]
    noisy = (image + degradations.benchmark_noise(image.shape, stddev, 0))[np.newaxis]
    model = deepam_tf.load_pretrained(MODEL)
    iterates = model.iterates()({"image": noisy})
    count = model.num_iterations
    figure, axes = plt.subplots(3, count, figsize=(4 * count, 12), constrained_layout=True)
    for k in range(1, count + 1):
        u, v, gamma = (np.asarray(iterates[f"{name}_{k}"])[0] for name in ("u", "v", "gamma"))
        decibels = float(metrics.psnr(image[np.newaxis], u[np.newaxis])[0])
        _show(axes[0, k - 1], u[..., 0], f"u_{k}: {decibels:.2f} dB", 0, 1)
        _show(axes[1, k - 1], np.hypot(v[..., 0], v[..., 1]), f"|v_{k}|", 0, 0.3)
        shown = _show(
            axes[2, k - 1], np.log10(gamma[..., 0]), f"log10 gamma_{k}", -1.7, 1, "viridis"
        )
        figure.colorbar(shown, ax=axes[2, k - 1], shrink=0.8)
    return figure


def figure_6(image: np.ndarray, dncnn: pathlib.Path | None = None):
    """The busiest detail, restored by the peers and by every shipped gray denoiser."""
    window = _busiest(image, _DETAIL)
    rows = []
    for number, sigma in enumerate((25, 50)):
        stddev = sigma / 255
        noisy = image + degradations.benchmark_noise(image.shape, stddev, number)
        methods = {
            "noisy": np.asarray,
            **classical_methods(stddev, {"tv": classical.METHODS["tv"]}),
        }
        methods["BM3D"] = peers.classical_denoisers(stddev)["BM3D"]
        if dncnn is not None:
            methods["DnCNN-S"] = peers.dncnn(dncnn / f"sigma{sigma}.npz")
        for name in models_for(stddev):
            restorer = deepam_tf.Restorer(deepam_tf.load_pretrained(name))
            methods[name] = denoiser(restorer, stddev)
        panels = {name: method(noisy[..., 0]) for name, method in methods.items()}
        rows.append((sigma, {**panels, "clean": image[..., 0]}))
    columns = max(len(panels) for _, panels in rows)
    figure, axes = plt.subplots(
        2, columns, figsize=(2.6 * columns, 6), squeeze=False, constrained_layout=True
    )
    for row, (sigma, panels) in zip(axes, rows, strict=True):
        for axis in row[len(panels) :]:
            axis.axis("off")
        for axis, (name, panel) in zip(row, panels.items(), strict=False):
            restored = np.clip(panel, 0, 1)[np.newaxis, ..., np.newaxis].astype(np.float32)
            decibels = float(metrics.psnr(image[np.newaxis], restored)[0])
            said = f"sigma {sigma}" if name == "clean" else f"{decibels:.2f} dB"
            _show(axis, panel[window], f"{name}\n{said}", 0, 1)
    return figure


def _busiest(image: np.ndarray, size: int) -> tuple[slice, slice]:
    """The window with the longest gradients, smaller where the image is."""
    size = min(size, *image.shape[:2])
    gradient = np.asarray(deepam_tf.image_gradient(image[np.newaxis]))[0]
    busy = cv2.blur(np.abs(gradient).sum(axis=-1), (size, size), borderType=cv2.BORDER_CONSTANT)
    half = size // 2
    rows, columns = (slice(half, length - size + half + 1) for length in busy.shape)
    y, x = np.unravel_index(busy[rows, columns].argmax(), busy[rows, columns].shape)
    return slice(int(y), int(y) + size), slice(int(x), int(x) + size)


def _show(axis, image: np.ndarray, title: str, low: float, high: float, colors: str = "gray"):
    axis.set_title(title)
    axis.axis("off")
    return axis.imshow(image, cmap=colors, vmin=low, vmax=high, interpolation="nearest")


FIGURES = {1: figure_1, 2: figure_2, 4: figure_4, 6: figure_6}


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.figures")
    parser.add_argument("--figure", type=int, nargs="+", choices=FIGURES, default=list(FIGURES))
    parser.add_argument("--image", type=pathlib.Path, default=demo.PICTURE, help="clean image")
    parser.add_argument(
        "--dncnn", type=pathlib.Path, help="figure 6: folder with DnCNN's sigmaNN.npz"
    )
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("results"))
    args = parser.parse_args(argv)
    try:
        image = data.to_channels(image_io.read(args.image).pixels, 1)
        args.out.mkdir(parents=True, exist_ok=True)
        for number in args.figure:
            buffer = io.BytesIO()
            options = {"dncnn": args.dncnn} if number == 6 else {}
            FIGURES[number](image, **options).savefig(buffer, format="png", dpi=80)
            path = args.out / f"figure_{number}.png"
            atomic.write_bytes(path, buffer.getvalue())
            print(path)
    except (image_io.ImageFileError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
