"""Batch normalisation folded into the convolutions before it.

After training, batch normalisation is one factor and one shift a map,

    norm(W * x) = s (W * x) + t,    s = gamma / sqrt(variance + epsilon),    t = beta - s mean

which a convolution with kernel `s W` and bias `t` does on its own.
"""

from __future__ import annotations

import keras
import numpy as np

import deepam_tf

__all__ = ["folded"]


def folded(
    model: deepam_tf.DeepAM, *, rtol: float | None = None, max_steps: int | None = None
) -> keras.Model:
    """An equivalent model for inference, with biases in the place of batch normalisation.

    Every layer is built anew by its own class, which remains the one definition of what is
    computed; only its convolutions and normalisations are exchanged. Networks keep them in
    the lists `convolutions` and `normalizations`, one of these after one of those.

    Args:
        model: trained model.
        rtol: relative tolerance of the solves, by default the model's.
        max_steps: most conjugate gradient steps in each solve, by default the model's.

    Returns:
        A functional `keras.Model` with the inputs and outputs of `model`, and weights of its
        own.

    Raises:
        ValueError: if some batch normalisation is not the partner of a convolution.
    """
    solve = {"rtol": rtol, "max_steps": max_steps}
    changes = {key: value for key, value in solve.items() if value is not None}

    def rebuilt(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        if isinstance(layer, deepam_tf.Reconstruction):
            config |= changes
        twin = type(layer).from_config(config)
        if normalizations := _normalizations(layer):
            convolutions = [_biased(convolution) for convolution in layer.convolutions]
            identities = [
                keras.layers.Identity(dtype=norm.dtype_policy, name=norm.name)
                for norm in normalizations
            ]
            # Emptied and filled, the lists keep Keras's account of what a layer is made of.
            for mine, exchanged in (
                (twin.convolutions, convolutions),
                (twin.normalizations, identities),
            ):
                mine.clear()
                mine.extend(exchanged)
        return twin

    twin = keras.models.clone_model(model, clone_function=rebuilt)
    for layer in model.layers:
        _fold_weights(layer, twin.get_layer(layer.name))
    return twin


def _normalizations(layer: keras.layers.Layer) -> list[keras.layers.BatchNormalization]:
    inside = [x for x in layer._flatten_layers() if isinstance(x, keras.layers.BatchNormalization)]
    if inside and not (
        list(getattr(layer, "normalizations", [])) == inside
        and len(getattr(layer, "convolutions", [])) == len(inside)
    ):
        raise ValueError(
            "Batch normalisation can be folded where a layer keeps it in `normalizations`, each "
            f"after one of its `convolutions`. Received: layer {layer.name!r} with {len(inside)} "
            "normalisations that are not."
        )
    return inside


def _biased(convolution: keras.layers.Conv2D) -> keras.layers.Conv2D:
    return keras.layers.Conv2D.from_config({**convolution.get_config(), "use_bias": True})


def _fold_weights(layer: keras.layers.Layer, twin: keras.layers.Layer) -> None:
    normalizations = _normalizations(layer)
    convolutions = list(layer.convolutions) if normalizations else []
    exchanged = [*convolutions, *normalizations, *(twin.convolutions if convolutions else [])]
    theirs = {id(weight) for x in exchanged for weight in x.weights}
    kept, new = (
        [weight for weight in x.weights if id(weight) not in theirs] for x in (layer, twin)
    )
    for mine, weight in zip(new, kept, strict=True):
        mine.assign(weight)
    for i, (convolution, norm) in enumerate(zip(convolutions, normalizations, strict=True)):
        kernel, factor, shift, mean, variance = (
            np.asarray(x, np.float64)
            for x in (
                convolution.kernel,
                norm.gamma,
                norm.beta,
                norm.moving_mean,
                norm.moving_variance,
            )
        )
        scale = factor / np.sqrt(variance + norm.epsilon)
        bias = np.asarray(convolution.bias, np.float64) if convolution.use_bias else 0.0
        twin.convolutions[i].kernel.assign(kernel * scale)
        twin.convolutions[i].bias.assign(shift + scale * (bias - mean))
