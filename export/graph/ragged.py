"""Images of several sizes in one batch, each restored as if it were alone.

A server that gets small images of all sizes runs each by itself, or those of one size together.
Here they share a batch, padded at the bottom and the right, and the padding has no part in
anything: networks see zeros beyond each border, as convolutions do at the border of a batch, and
the solve has no difference that crosses one (edge weights of 0) and gives it no weight in sums over
the picture. What is returned is what each image gives alone, to the rounding of sums.
"""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

__all__ = ["restore_ragged"]

# Enough for a system that is not singular, and nothing beside what images have.
_GAMMA_OUTSIDE = 1e-20
Tensors = dict[str, tf.Tensor]


def restore_ragged(model: keras.Model) -> Callable[[Tensors, tf.Tensor], Tensors] | None:
    """A function that restores images of several sizes by a model.

    Args:
        model: a `DeepAM`, or what `folding.folded` makes of one.

    Returns:
        The function, from the model's inputs, padded to one size with anything finite, and the
        sizes `[B, 2]` int32, height and width of each, to the model's outputs, which mean nothing
        outside. None for models of which it does not hold: with holes, coarse levels, layers
        between the inputs and the networks, or solves that are not conjugate gradients with
        Jacobi's preconditioner, which `gamma` that is nearly 0 would slow down.
    """
    images = {id(x): name for name, x in model.input.items()}
    steps = []
    while any(layer.name == f"iteration_{len(steps) + 1}_aggregation" for layer in model.layers):
        k = len(steps) + 1
        network, solve = (
            model.get_layer(f"iteration_{k}_{name}") for name in ("aggregation", "reconstruction")
        )
        given = network.input if isinstance(network.input, list) else [network.input]
        names = [images.get(id(x)) for x in given]
        solved_alone = (solve.method, solve.preconditioner) == ("cg", "jacobi")
        if None in names or network.levels > 1 or not solved_alone:
            return None
        steps.append((network, names, solve))
        images[id(solve.output)] = "u"
    if "mask" in model.input or not steps:
        return None
    head = model.get_layer("uncertainty") if "stddev" in model.output else None

    def run(inputs: Tensors, size: tf.Tensor) -> Tensors:
        height, width = tf.unstack(tf.shape(inputs["image"])[1:3])
        rows, columns = (
            tf.cast(tf.range(count) < size[:, axis : axis + 1], tf.float32)
            for axis, count in ((0, height), (1, width))
        )
        inside = (rows[:, :, None] * columns[:, None, :])[..., None]
        blocks = inside[:, :: steps[0][0].pixel_unshuffle, :: steps[0][0].pixel_unshuffle]
        edges = _edges(inside)
        values = {name: _continued(x, size) for name, x in inputs.items()}
        image = u = inputs["image"] * inside
        v = gamma = image
        for network, names, solve in steps:
            u = _continued(u, size)
            given = [u if name == "u" else values[name] for name in names]
            v, gamma, *weights = network(
                given if len(given) > 1 else given[0], training=False, inside=blocks
            )
            weight = edges * weights[0] if weights else edges
            u = solve([image, v, tf.where(inside > 0, gamma, _GAMMA_OUTSIDE), weight])
        if head is None:
            return {"restored": u}
        left = [_continued(x, size) for x in (u, image, v, gamma)]
        left += [values[images[id(x)]] for x in head.input[len(left) :]]
        blocks = inside[:, :: head.block, :: head.block]
        return {"restored": u, "stddev": head(left, inside=blocks)}

    return run


def _continued(x: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """The last row and column of each image repeated beyond it; `[B, 1, 1, c]` as it is."""

    def repeated(x: tf.Tensor) -> tf.Tensor:
        for axis in (1, 2):
            number = tf.minimum(tf.range(tf.shape(x)[axis]), size[:, axis - 1 : axis] - 1)
            x = tf.gather(x, number, axis=axis, batch_dims=1) if axis == 1 else _columns(x, number)
        return x

    whole = tf.shape(x)[1] * tf.shape(x)[2] > 1
    continued = tf.cond(whole, lambda: repeated(x), lambda: x)
    return tf.ensure_shape(continued, x.shape)


def _columns(x: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
    """Columns of each image by their numbers, `[B, W]`."""
    turned = tf.transpose(x, [0, 2, 1, 3])
    return tf.transpose(tf.gather(turned, number, axis=1, batch_dims=1), [0, 2, 1, 3])


def _edges(inside: tf.Tensor) -> tf.Tensor:
    """`[B, H, W, 2]`: 1 where the difference down, to the right, is of two pixels inside."""
    down = inside * tf.pad(inside[:, 1:], [[0, 0], [0, 1], [0, 0], [0, 0]])
    right = inside * tf.pad(inside[:, :, 1:], [[0, 0], [0, 0], [0, 1], [0, 0]])
    return tf.concat([down, right], axis=-1)
