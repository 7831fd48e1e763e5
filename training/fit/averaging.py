"""Means: of the weights of several runs, and of the batch statistics of one network.

Runs that end in the same valley average to a point deeper in it (Izmailov et al., "Averaging
weights leads to wider optima and better generalization", 2018). The moving statistics of batch
normalisation do not average; and even of one run they are the noisy memory of its last hundred
batches, of networks that computed in half precision.
"""

from __future__ import annotations

from collections.abc import Iterable

import keras
import numpy as np
import tensorflow as tf

from deepam_tf import DeepAM

__all__ = ["average_weights", "reestimate_statistics"]


def average_weights(models: list[keras.Model]) -> list[np.ndarray]:
    """Mean of each weight over models of one architecture.

    Args:
        models: at least one model.

    Returns:
        Weights for `set_weights`.

    Raises:
        ValueError: if the models differ in number or shape of their weights.
    """
    weights = [model.get_weights() for model in models]
    shapes = [[array.shape for array in one] for one in weights]
    if any(other != shapes[0] for other in shapes):
        raise ValueError("Models to average must have the same architecture.")
    return [np.mean(arrays, axis=0) for arrays in zip(*weights, strict=True)]


def reestimate_statistics(
    model: DeepAM, batches: Iterable[dict[str, tf.Tensor]], *, on_batch=None
) -> None:
    """Set the moving statistics of batch normalisation to means over batches.

    Args:
        model: its batch normalisations are changed, nothing else.
        batches: inputs of the model, noisy images and what else it takes.
        on_batch: called after each batch.
    """
    layers = model.normalizations
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0  # after a batch, the moving statistics are its own
    run = tf.function(lambda batch: model(batch, training=True), reduce_retracing=True)
    sums, count = [0.0] * (2 * len(layers)), 0
    for batch in batches:
        run(batch)
        values = [v.numpy() for x in layers for v in (x.moving_mean, x.moving_variance)]
        sums, count = [a + b for a, b in zip(sums, values, strict=True)], count + 1
        if on_batch is not None:
            on_batch()
    for i, (layer, momentum) in enumerate(zip(layers, momenta, strict=True)):
        layer.momentum = momentum
        layer.moving_mean.assign(sums[2 * i] / count)
        layer.moving_variance.assign(sums[2 * i + 1] / count)
