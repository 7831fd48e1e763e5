"""The guide of a depth map from its file, turned as the map is."""

from __future__ import annotations

import os

import numpy as np

from deepam_tf.depth.observation import infer_scale
from deepam_tf.files import pictures as image_io
from deepam_tf.files.levels import Levels, mapped
from deepam_tf.files.orientation import as_stored, read_orientation
from deepam_tf.files.pairs import to_channels

__all__ = ["read_guide"]


def read_guide(
    path: str | os.PathLike,
    depth_path: str | os.PathLike,
    depth_shape: tuple[int, ...],
    *,
    scale: object | None = None,
    max_megapixels: float = image_io.MAX_MEGAPIXELS,
) -> tuple[np.ndarray | Levels, list[str]]:
    """A colour picture, upright only if the depth map was turned upright too.

    Args:
        path: the picture's file.
        depth_path: the map's file.
        depth_shape: the map's height and width.
        scale: pixels of the guide from sample to sample if that was said, else None: the
            sizes then say whether the picture fits as it is stored.
        max_megapixels: refuse larger pictures before decoding them.

    Returns:
        Pixels `[H, W, 3]` in [0, 1], `Levels` where the file has 8 or 16 bits, and what there is
        to say, a line each.

    Raises:
        ImageFileError: if the file is no picture that can be read.
    """
    pixels = image_io.read(path, max_megapixels=max_megapixels, as_levels=True).pixels
    pixels = mapped(lambda x: to_channels(x, 3), pixels)
    orientation = read_orientation(path)
    if orientation == read_orientation(depth_path):
        return pixels, []
    stored = mapped(lambda x: as_stored(x, orientation), pixels)
    if scale is None and infer_scale(depth_shape, stored.shape[:2]) is None:
        return pixels, []  # it fits, if at all, as it was turned
    note = f"{path} has an EXIF tag that turns it and the depth map has none: taken as stored"
    return stored, [note]
