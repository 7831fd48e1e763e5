"""Draw scenes of slanted surfaces, as depth maps with their pictures.

    python -m training.make_scenes OUT --count 300 --seed 1

writes `OUT/depth/00000.png` (16 bit, no holes) and `OUT/rgb/00000.png`. Depth maps of cameras are
few and end in soft or wrong edges; of a drawn scene every edge is known to the pixel. Polygons and
ellipses of all sizes lie in front of one another (the dead leaves model: Matheron 1968; Lee,
Mumford and Huang, "Occlusion models for natural images", IJCV 2001). Some have the colour of what
is behind them, others a pattern that the depth knows nothing of.
"""

from __future__ import annotations

import argparse
import pathlib
import sys

import cv2
import numpy as np

from deepam_tf.files import pictures as image_io

__all__ = ["draw_scene", "main"]

_LEAST_SIZE = 6.0  # pixels: radius of the smallest surfaces
_SLOPE = 0.15  # levels a pixel: of a surface, along each axis
_NEAR, _FAR = 235.0, 30.0  # levels: of the middle of the nearest surface and of the ground
_LIKE_BEHIND, _PATTERNED = 0.1, 0.25  # shares of the surfaces


def draw_scene(rng: np.random.Generator, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Draw one scene.

    Args:
        rng: random numbers.
        size: height and width in pixels.

    Returns:
        `(depth, picture)`: `[H, W]` float32 from 1 to 255, larger is nearer; `[H, W, 3]` float32
        in [0, 1].

    Example:
        >>> from training.make_scenes import draw_scene
        >>> depth, picture = draw_scene(np.random.default_rng(0), (48, 64))
        >>> depth.shape, picture.shape
        ((48, 64), (48, 64, 3))
    """
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    levels = np.sort(rng.uniform(_FAR, _NEAR, rng.integers(6, 40)))
    depth = _plane(rng, y, x, levels[0], np.array(size) / 2)
    picture = np.broadcast_to(rng.uniform(0, 1, 3), (*size, 3)).astype(np.float32)
    picture = picture + _texture(rng, size)
    for level in levels[1:]:
        middle = rng.uniform(0, 1, 2) * size
        inside = _outline(rng, size, middle)
        depth = np.where(inside, _plane(rng, y, x, level, middle), depth)
        drawn = rng.uniform(size=2)
        if drawn[0] < _LIKE_BEHIND:
            continue
        color = rng.uniform(0, 1, 3) + _texture(rng, size)
        if drawn[1] < _PATTERNED:
            color = np.where(_outline(rng, size, middle)[..., np.newaxis], 1 - color, color)
        picture = np.where(inside[..., np.newaxis], color, picture)
    # A lens mixes the pixels beside an edge, and its camera adds some noise.
    picture = cv2.GaussianBlur(picture.astype(np.float32), (0, 0), rng.uniform(0.3, 0.8))
    picture += rng.uniform(0, 0.02) * rng.normal(size=picture.shape)
    return np.clip(depth, 1, 255).astype(np.float32), np.clip(picture, 0, 1).astype(np.float32)


def _plane(rng, y: np.ndarray, x: np.ndarray, level: float, middle) -> np.ndarray:
    down, right = rng.uniform(-_SLOPE, _SLOPE, 2) * (rng.uniform() < 0.8)
    return level + down * (y - middle[0]) + right * (x - middle[1])


def _outline(rng, size: tuple[int, int], middle: np.ndarray) -> np.ndarray:
    """A polygon or an ellipse around a point, small ones more often than large ones."""
    mask = np.zeros(size, np.uint8)
    radius = float(np.exp(rng.uniform(np.log(_LEAST_SIZE), np.log(max(size) / 2))))
    center = tuple(int(value) for value in middle[::-1])
    if rng.uniform() < 0.4:
        axes = np.maximum(radius * rng.uniform(0.3, 1, 2), 2).astype(int)
        cv2.ellipse(mask, center, tuple(int(a) for a in axes), rng.uniform(0, 180), 0, 360, 1, -1)
    else:
        corners = middle[::-1] + radius * rng.uniform(-1, 1, (rng.integers(3, 8), 2))
        cv2.fillPoly(mask, [corners.astype(np.int32)], 1)
    return mask == 1


def _texture(rng, size: tuple[int, int]) -> np.ndarray:
    """Gray grain of some size and strength, `[H, W, 1]`."""
    grain = rng.normal(size=size).astype(np.float32)
    grain = cv2.GaussianBlur(grain, (0, 0), float(np.exp(rng.uniform(np.log(0.4), np.log(8)))))
    return (rng.uniform(0, 0.15) * grain / grain.std())[..., np.newaxis]


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m training.make_scenes", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("out", type=pathlib.Path, help="folder to make")
    parser.add_argument("--count", type=int, default=300, help="scenes (300)")
    parser.add_argument("--size", type=int, nargs=2, default=(240, 320), metavar=("H", "W"))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    if min(args.count, *args.size) < 1:
        parser.error(f"--count and --size must be positive. Received: {args.count}, {args.size}.")
    try:
        for name in ("depth", "rgb"):
            (args.out / name).mkdir(parents=True)
        for number in range(args.count):
            # Scene i depends on the seed and i alone: more of them begin with the same.
            rng = np.random.default_rng([args.seed, number])
            depth, picture = draw_scene(rng, tuple(args.size))
            for name, pixels, dtype in (
                ("depth", depth[..., np.newaxis] / 255, "uint16"),
                ("rgb", picture, "uint8"),
            ):
                path = args.out / name / f"{number:05d}.png"
                image_io.write(path, image_io.Picture(pixels, None, np.dtype(dtype)))
    except (image_io.ImageFileError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{args.count} scenes of {args.size[0]}x{args.size[1]} pixels in {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
