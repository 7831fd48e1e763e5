"""What lies under full transparency, or has no value, is made up from what is seen around it."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from deepam_tf.files.picture import Picture
from deepam_tf.linear.reconstruction import reconstruct

__all__ = ["fill_hidden"]

_TILE, _REACH = 192, 32  # pixels; what is farther from a rim than a window reaches has no influence
_WINDOW = _TILE + 2 * _REACH


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
        visible_there = visible[window]
        if visible[tile].all() or not visible_there.any():
            continue
        solved = _harmonic(known[window], visible_there)
        inside = tuple(
            slice(part.start - whole.start, part.stop - whole.start)
            for part, whole in zip(tile, window, strict=True)
        )
        filled[tile] = np.where(visible[tile][..., np.newaxis], filled[tile], solved[inside])
    return dataclasses.replace(picture, pixels=filled.astype(np.float32))


def _harmonic(pixels: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """Pixels `[h, w, C]`, smooth where they are not seen."""
    height, width, channels = pixels.shape
    # Windows at the border are made as large as the others: one trace serves them all.
    beyond = ((0, _WINDOW - height), (0, _WINDOW - width))
    f = np.pad(pixels, (*beyond, (0, 0)), mode="edge")[np.newaxis]
    gamma = np.pad(visible, beyond)[np.newaxis, ..., np.newaxis]
    solved = _solver(channels)(tf.constant(f, tf.float32), tf.constant(gamma, tf.float32))
    return solved.numpy()[0, :height, :width]


@functools.cache
def _solver(channels: int) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    size = [1, _WINDOW, _WINDOW]
    v = tf.zeros([*size, 2 * channels])

    @tf.function(input_signature=[tf.TensorSpec([*size, channels]), tf.TensorSpec([*size, 1])])
    def solve(f: tf.Tensor, gamma: tf.Tensor) -> tf.Tensor:
        return reconstruct(f, v, gamma, preconditioner="multigrid", rtol=1e-2)

    return solve
