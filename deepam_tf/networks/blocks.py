"""The grid of pixel blocks: each block of `r x r` pixels is one place, its pixels channels.

Convolutions there cost `1 / r^2` (Shi et al., CVPR 2016; for denoising Zhang et al., "FFDNet",
2018).
"""

from __future__ import annotations

import tensorflow as tf

__all__ = ["to_blocks", "to_pixels", "zero_outside"]


def to_blocks(x: tf.Tensor, side: int) -> tf.Tensor:
    """Pixels to blocks; the last row and column are repeated where blocks are not whole.

    Args:
        x: `[B, H, W, C]`.
        side: `r`, pixels along a side of a block.

    Returns:
        `[B, ceil(H / r), ceil(W / r), r^2 C]`.
    """
    if side == 1:
        return x
    for axis in (1, 2):
        # Written for ONNX too: no remainder of a negative number, no tf.repeat of nothing.
        missing = (side - tf.shape(x)[axis] % side) % side
        last = tf.gather(x, tf.fill([missing], tf.shape(x)[axis] - 1), axis=axis)
        x = tf.concat([x, last], axis=axis)
    return tf.nn.space_to_depth(x, side)


def to_pixels(x: tf.Tensor, like: tf.Tensor, side: int) -> tf.Tensor:
    """The way back from `to_blocks`.

    Args:
        x: `[B, ceil(H / r), ceil(W / r), r^2 C]`.
        like: `[B, H, W, ...]`, whose height, width and dtype the result gets.
        side: `r`.

    Returns:
        `[B, H, W, C]`.
    """
    x = tf.cast(x, like.dtype)
    if side == 1:
        return x
    x = tf.nn.depth_to_space(x, side)
    return x[:, : tf.shape(like)[1], : tf.shape(like)[2]]


def zero_outside(x: tf.Tensor, inside: tf.Tensor | None) -> tf.Tensor:
    """Zeros where an image ends that shares its batch with larger ones.

    Args:
        x: `[B, h, w, C]`.
        inside: `[B, h, w, 1]`, 1 at places of the image, 0 elsewhere; None: all are.

    Returns:
        `[B, h, w, C]`.
    """
    return x if inside is None else x * tf.cast(inside, x.dtype)
