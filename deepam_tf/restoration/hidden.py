"""What lies under full transparency, or has no value, is made up from what is seen around it."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import tensorflow as tf

from deepam_tf.files.picture import Picture
from deepam_tf.linear.reconstruction import reconstruct

__all__ = ["fill_hidden"]

_TILE, _REACH = 256, 64  # pixels; what is farther from a rim than a window reaches has no influence


def fill_hidden(picture: Picture) -> Picture:
    """A picture whose hidden pixels go on smoothly from its visible ones.

    Files may hold anything where alpha is 0, and NaN where nothing was measured; a network would
    carry it over the rim. There `D^T D u = 0` is solved instead, with the visible pixels around.

    Args:
        picture: any.

    Returns:
        The picture with other `pixels` where it is not `visible`. What is written there is what
        the file had, see `Picture.numbers`.

    Example:
        >>> pixels = np.ones([8, 8, 1], np.float32)
        >>> pixels[:4] = 0.0
        >>> alpha = np.where(pixels[..., 0] > 0, 255, 0).astype(np.uint8)
        >>> picture = deepam_tf.image_io.Picture(pixels, alpha, np.dtype("uint8"))
        >>> bool((abs(fill_hidden(picture).pixels - 1) < 1e-3).all())
        True
    """
    visible = picture.visible
    if visible is None or not visible.any():
        return picture
    filled = np.where(
        visible[..., np.newaxis], picture.pixels, picture.pixels[visible].mean(axis=0)
    )
    height, width = visible.shape
    known = filled.copy()
    for top, left in itertools.product(range(0, height, _TILE), range(0, width, _TILE)):
        tile = slice(top, top + _TILE), slice(left, left + _TILE)
        window = tuple(slice(max(part.start - _REACH, 0), part.stop + _REACH) for part in tile)
        seen = visible[window]
        if visible[tile].all() or not seen.any():
            continue
        solved = _harmonic(known[window], seen)
        inside = tuple(
            slice(part.start - whole.start, part.stop - whole.start)
            for part, whole in zip(tile, window, strict=True)
        )
        filled[tile] = np.where(visible[tile][..., np.newaxis], filled[tile], solved[inside])
    return dataclasses.replace(picture, pixels=filled.astype(np.float32))


def _harmonic(pixels: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Pixels `[h, w, C]`, smooth where they are not seen."""
    f = tf.constant(pixels[np.newaxis], tf.float32)
    v = tf.zeros([1, *seen.shape, 2 * pixels.shape[-1]])
    gamma = tf.constant(seen[np.newaxis, ..., np.newaxis], tf.float32)
    return reconstruct(f, v, gamma, preconditioner="multigrid", rtol=1e-3).numpy()[0]
