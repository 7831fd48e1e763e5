"""The pictures of the gallery, all of them, from what ships and from scikit-image's collection.

    python -m benchmarks.gallery --out docs/images/gallery

No weights were trained on any of it, and no crop was chosen by what became of it.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections.abc import Callable

import cv2
import numpy as np
import skimage.data
import tensorflow as tf

import deepam_tf
from deepam_tf import degradations, image_io, metrics
from deepam_tf.app.examples import SCALE, drawn_scene
from deepam_tf.classical import METHODS
from deepam_tf.restoration.picture import restore_picture

__all__ = ["PICTURES", "main"]

_CAPTION_HEIGHT = 26
Panels = dict[str, np.ndarray]


def _photograph(name: str, top: int, left: int, size: int = 256) -> np.ndarray:
    """A square of a picture of scikit-image, `[size, size, C]` in [0, 1]."""
    pixels = np.atleast_3d(getattr(skimage.data, name)())
    return (pixels[top : top + size, left : left + size] / np.float32(255)).astype(np.float32)


def _restored(
    noisy: np.ndarray, guide: np.ndarray | None = None, *, noise: float | str = "white"
) -> np.ndarray:
    picture, guiding = (
        None if x is None else image_io.Picture(x, None, np.dtype("uint16")) for x in (noisy, guide)
    )
    assert picture is not None  # noqa: S101
    return np.clip(restore_picture(picture, guiding, noise=noise).picture.pixels, 0, 1)


def _with_psnr(clean: np.ndarray, panels: Panels) -> Panels:
    """The panels, how near each is to the clean one, and that one."""
    figures = {
        name: float(metrics.psnr(clean[np.newaxis], np.clip(x, 0, 1)[np.newaxis])[0])
        for name, x in panels.items()
    }
    return {f"{name}: {figures[name]:.2f} dB": x for name, x in panels.items()} | {"clean": clean}


def _noise(sigma: int, name: str, top: int, left: int) -> Callable[[], Panels]:
    def panels() -> Panels:
        clean = _photograph(name, top, left)
        noisy = clean + degradations.benchmark_noise(clean.shape, sigma / 255, 0)
        classical = METHODS["tv"](tf.constant(_by_channel(noisy)), noise_stddev=sigma / 255)
        flat = np.moveaxis(np.asarray(classical)[..., 0], 0, -1)
        return _with_psnr(
            clean,
            {f"sigma {sigma}": noisy, "total variation": flat, "deepam": _restored(noisy)},
        )

    return panels


def _by_channel(image: np.ndarray) -> np.ndarray:
    return np.moveaxis(image, -1, 0)[..., np.newaxis]


def _sensor() -> Panels:
    clean = _photograph("chelsea", 20, 90) ** 1.5  # darker, as light that is not developed
    noisy = degradations.sensor_noise(clean, 1 / 60, 0.02**2, 0).astype(np.float32)
    kinds = {"one level": "white", "a level a pixel": "signal-dependent"}
    panels = {name: _restored(noisy, noise=kind) for name, kind in kinds.items()}
    return _with_psnr(clean, {"a sensor's noise": noisy} | panels)


def _fused() -> Panels:
    colors, _ = drawn_scene()
    dark = 0.6 * colors
    noisy = (dark + degradations.benchmark_noise(dark.shape, 50 / 255, 2)).astype(np.float32)
    infrared = colors.mean(axis=-1, keepdims=True) ** np.float32(0.7)
    alone, guided = (_restored(noisy, guide, noise=50 / 255) for guide in (None, infrared))
    panels = {"sigma 50": noisy, "without guide": alone, "with it": guided}
    return {"guide": infrared} | _with_psnr(dark, panels)


def _depth() -> Panels:
    colors, depth = drawn_scene()
    coarse = depth[SCALE // 2 :: SCALE, SCALE // 2 :: SCALE]
    restorer = deepam_tf.Restorer(deepam_tf.load_pretrained("upsample_depth"))
    fine = deepam_tf.upsample_depth(restorer, coarse, colors)
    size = depth.shape[::-1]
    maps = {
        "every 8th sample": np.kron(coarse, np.ones([SCALE, SCALE])),
        "bicubic": cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC),
        "deepam": fine,
    }
    low, high = depth.min(), depth.max()

    def shown(x: np.ndarray) -> np.ndarray:
        return ((x - low) / (high - low))[..., np.newaxis]

    errors = {name: np.sqrt(np.mean((x - depth) ** 2)) for name, x in maps.items()}
    panels = {f"{name}: RMSE {errors[name]:.0f} mm": shown(x) for name, x in maps.items()}
    return {"guide": colors} | panels | {"truth": shown(depth)}


def _cloned() -> Panels:
    target = _photograph("coffee", 60, 130)
    whole = tf.image.resize(skimage.data.chelsea()[:, 85:385] / 255, [256, 256], antialias=True)
    source = tf.cast(whole, tf.float32)
    y, x = np.mgrid[0:256, 0:256]
    inside = (((y - 128) / 78) ** 2 + ((x - 128) / 84) ** 2 < 1)[..., np.newaxis]
    gradients = [deepam_tf.image_gradient(image[np.newaxis]) for image in (source, target)]
    v = tf.where(inside, *gradients)
    gamma = np.where(inside, 0.0, 100.0).astype(np.float32)[np.newaxis]
    cloned = np.asarray(deepam_tf.reconstruct(target[np.newaxis], v, gamma))[0]
    return {"target": target, "pasted": np.where(inside, source, target), "cloned": cloned}


def _filled() -> Panels:
    clean = _photograph("astronaut", 0, 96)
    known = (np.random.default_rng(0).uniform(size=(256, 256, 1)) < 0.1).astype(np.float32)
    v = np.zeros([1, 256, 256, 6], np.float32)
    filled = deepam_tf.reconstruct(clean[np.newaxis], v, 100 * known[np.newaxis])
    return _with_psnr(clean, {"a tenth of the pixels": clean * known, "solved": filled[0].numpy()})


def _inside() -> Panels:
    clean = _photograph("camera", 60, 150)
    noisy = clean + degradations.benchmark_noise(clean.shape, 25 / 255, 0)
    model = deepam_tf.load_pretrained("denoise_gray_s25")
    found = {k: x[0].numpy() for k, x in model.iterates()({"image": noisy[np.newaxis]}).items()}
    return {
        "noisy": noisy,
        "length of v": np.linalg.norm(found["v_3"], axis=-1, keepdims=True) / 0.3,
        "log gamma": (np.log10(found["gamma_3"]) + 2) / 3,
        "u": found["u_3"],
    }


PICTURES: dict[str, Callable[[], Panels]] = {
    "gray_25": _noise(25, "camera", 60, 150),
    "gray_50": _noise(50, "camera", 60, 150),
    "color_25": _noise(25, "coffee", 60, 130),
    "color_50": _noise(50, "astronaut", 0, 96),
    "sensor": _sensor,
    "near_infrared": _fused,
    "depth": _depth,
    "inside": _inside,
    "cloning": _cloned,
    "filling": _filled,
}
"""What is drawn: the panels of each picture by the name of its file."""


def _sheet(panels: Panels) -> np.ndarray:
    """The panels beside each other, each under its caption, `[H, W, 3]` in [0, 1]."""
    columns = []
    for caption, panel in panels.items():
        strip = np.full([_CAPTION_HEIGHT, panel.shape[1], 3], 255, np.uint8)
        place, color = (4, 17), (0, 0, 0)
        cv2.putText(strip, caption, place, cv2.FONT_HERSHEY_SIMPLEX, 0.46, color, 1, cv2.LINE_AA)
        shown = np.clip(np.broadcast_to(panel, [*panel.shape[:2], 3]), 0, 1)
        columns.append(np.concatenate([strip / np.float32(255), shown], axis=0))
    return np.concatenate(columns, axis=1).astype(np.float32)


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gallery", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("docs/images/gallery"))
    parser.add_argument("--only", nargs="+", choices=PICTURES, default=list(PICTURES))
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.only:
        path = args.out / f"{name}.jpg"
        sheet = image_io.Picture(_sheet(PICTURES[name]()), None, np.dtype("uint8"))
        image_io.write(path, sheet, overwrite=True)
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
