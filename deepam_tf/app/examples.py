"""Pictures to try the page on, made from what ships; the scene of the pairs is drawn."""

from __future__ import annotations

import pathlib

import numpy as np

from deepam_tf.data.degradations import benchmark_noise
from deepam_tf.files import pictures as image_io

__all__ = ["SCALE", "drawn_scene", "write_examples"]

_PORTRAIT = pathlib.Path(__file__).parent.parent / "assets" / "astronaut.png"
SCALE = 8
"""Pixels from one sample of the coarse depth map to the next."""


def drawn_scene(size: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """A wall, a table, two balls and a box, seen from the front.

    Args:
        size: side of the pictures in pixels.

    Returns:
        Colours `[size, size, 3]` in [0, 1], and depth `[size, size]` in millimetres.

    Example:
        >>> colors, depth = drawn_scene(64)
        >>> colors.shape, depth.shape
        ((64, 64, 3), (64, 64))
    """
    y, x = np.mgrid[0:size, 0:size] / size
    depth = np.full([size, size], 2400.0) + 200 * x
    stripes = 0.08 * np.sin(60 * x + 8 * np.sin(9 * y))
    colors = np.stack([0.72 + stripes, 0.66 + stripes, 0.52 + 0.5 * stripes], axis=-1)
    table = y > 0.7
    depth = np.where(table, 2400 - 3600 * (y - 0.7), depth)
    grain = 0.06 * np.sin(140 * y + 5 * np.sin(14 * x))
    wood = np.stack([0.42 + grain, 0.28 + grain, 0.17 + grain], axis=-1)
    colors = np.where(table[..., np.newaxis], wood, colors)
    box = (np.abs(x - 0.27) < 0.13) & (np.abs(y - 0.6) < 0.2)
    depth = np.where(box, 1700 + 300 * x, depth)
    checks = ((x * 24).astype(int) + (y * 24).astype(int)) % 2 * 0.25
    card = np.stack([0.2 + 0 * checks, 0.35 + checks, 0.6 + checks], axis=-1)
    colors = np.where(box[..., np.newaxis], card, colors)
    for center_y, center_x, radius, near, color in (
        (0.55, 0.68, 0.2, 1500.0, (0.85, 0.25, 0.2)),
        (0.77, 0.5, 0.12, 1150.0, (0.9, 0.75, 0.15)),
    ):
        squared = ((y - center_y) ** 2 + (x - center_x) ** 2) / radius**2
        ball = squared < 1
        bulge = np.sqrt(np.clip(1 - squared, 0, 1))
        depth = np.where(ball, near - 400 * radius * bulge, depth)
        shade = (0.35 + 0.65 * bulge)[..., np.newaxis] * np.array(color)
        colors = np.where(ball[..., np.newaxis], shade, colors)
    return np.clip(colors, 0, 1).astype(np.float32), depth.astype(np.float32)


def write_examples(folder: pathlib.Path) -> dict[str, list[list[str]]]:
    """Make the example files.

    Args:
        folder: where they go.

    Returns:
        For each of `denoise`, `fuse` and `upsample` a list of examples, each the files that
        go in.
    """
    folder.mkdir(parents=True, exist_ok=True)

    def save(name: str, pixels: np.ndarray, dtype: str = "uint8") -> str:
        picture = image_io.Picture(pixels.astype(np.float32), None, np.dtype(dtype))
        image_io.write(folder / name, picture, overwrite=True)
        return str(folder / name)

    portrait = image_io.read(_PORTRAIT).pixels
    colors, depth = drawn_scene()
    noisy = portrait + benchmark_noise(portrait.shape, 25 / 255, 0)
    grainy = colors + benchmark_noise(colors.shape, 30 / 255, 1)
    dark = 0.6 * colors + benchmark_noise(colors.shape, 40 / 255, 2)
    # What near infrared sees of a drawn scene: the pattern, not the colour.
    infrared = (0.55 * colors[..., :1] + 0.25 * colors[..., 1:2] + 0.2 * colors[..., 2:]) ** 0.7
    coarse = depth[SCALE // 2 :: SCALE, SCALE // 2 :: SCALE]
    return {
        "denoise": [
            [save("portrait-sigma25.png", noisy)],
            [save("scene-sigma30-16bit.png", grainy, "uint16")],
        ],
        "fuse": [[save("scene-dark.png", dark), save("scene-infrared.png", infrared)]],
        "upsample": [
            [
                save("scene-depth-mm.png", coarse[..., np.newaxis] / 65535, "uint16"),
                save("scene-color.png", colors),
            ]
        ],
    }
