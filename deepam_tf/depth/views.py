"""Depth maps as people look at them: a coloured picture, a cloud of points."""

from __future__ import annotations

import os

import cv2
import numpy as np

from deepam_tf.files.atomic import write_bytes

__all__ = ["turbo", "write_point_cloud"]

_POINT = np.dtype(
    [
        *((axis, "<f4") for axis in ("x", "y", "z")),
        *((color, "u1") for color in ("red", "green", "blue")),
    ]
)


def turbo(depth: np.ndarray, limits: tuple[float, float] | None = None) -> np.ndarray:
    """Colour a depth map: blue is the least value, red the largest (OpenCV's turbo).

    Args:
        depth: `[H, W]`; NaN, a hole, becomes black.
        limits: the values of the two ends, by default the least and the largest.

    Returns:
        `[H, W, 3]` uint8, RGB.

    Example:
        >>> least, largest = deepam_tf.depth.views.turbo(np.array([[0.0, 1.0]]))[0]
        >>> bool(least[2] > least[0]), bool(largest[0] > largest[2])
        (True, True)
    """
    known = np.isfinite(depth)
    low, high = (depth[known].min(), depth[known].max()) if limits is None else limits
    unit = (np.where(known, depth, low).astype(np.float64) - low) / max(high - low, 1e-30)
    levels = np.rint(255 * np.clip(unit, 0, 1)).astype(np.uint8)
    colors = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB)
    return colors * known[..., np.newaxis].astype(np.uint8)


def write_point_cloud(
    path: str | os.PathLike, depth: np.ndarray, colors: np.ndarray, *, focal: float | None = None
) -> None:
    """Write a depth map as a coloured cloud of points, a binary PLY file.

    Pixel `(row, column)` of depth `z` becomes the point a pinhole camera sees there, its optical
    axis through the middle: `x = (column - cx) z / f` to the right, `y = (row - cy) z / f` down.
    A map with numbers below 0 holds heights: `x` and `y` are then the pixel itself.

    Args:
        path: file to write, whole or not at all.
        depth: `[H, W]`, in any unit, which is that of the points; NaN, a hole, has none.
        colors: `[H, W, 3]` floating, in [0, 1].
        focal: focal length in pixels; by default the longer side, an angle of 53 degrees.

    Raises:
        WriteError: if the file cannot be written.
    """
    height, width = depth.shape
    row, column = np.mgrid[:height, :width].astype(np.float32)
    factor = 1.0
    if np.nanmin(depth) >= 0:
        column, row = column - (width - 1) / 2, row - (height - 1) / 2
        factor = depth / (max(height, width) if focal is None else focal)
    points = np.empty(depth.size, _POINT)
    for name, values in {"x": column * factor, "y": row * factor, "z": depth}.items():
        points[name] = values.ravel()
    for channel, name in enumerate(("red", "green", "blue")):
        points[name] = np.rint(255 * np.clip(colors[..., channel], 0, 1)).ravel()
    points = points[np.isfinite(depth).ravel()]
    kinds = {"<f4": "float", "|u1": "uchar"}
    properties = [f"property {kinds[_POINT[name].str]} {name}" for name in _POINT.fields or {}]
    header = [
        *("ply", "format binary_little_endian 1.0", f"element vertex {points.size}"),
        *(*properties, "end_header", ""),
    ]
    write_bytes(path, "\n".join(header).encode("ascii") + points.tobytes())
