"""Batch normalisation folded into the convolutions before it.

At inference the library folds as its graphs run, see `layers.normalized_features`; an export has
nothing to do for a served request that can be done once.
"""

from __future__ import annotations

import keras

import deepam_tf
from deepam_tf.networks.layers import folded_weights

__all__ = ["folded"]


def folded(model: deepam_tf.DeepAM) -> keras.Model:
    """An equivalent model for inference, with biases in the place of batch normalisation.

    Every layer is built anew by its own class, which remains the one definition of what is
    computed; only its convolutions and normalisations are exchanged. Networks keep them in
    the lists `convolutions` and `normalizations`, one of these after one of those.

    Args:
        model: trained model.

    Returns:
        A functional `keras.Model` with the inputs and outputs of `model`, and weights of its
        own.

    Raises:
        ValueError: if some batch normalisation is not the partner of a convolution.
    """

    def without(layer: keras.layers.Layer) -> keras.layers.Layer:
        _check_pairs(layer)
        twin = type(layer).from_config(layer.get_config())
        for network in _networks(twin):
            _exchange(network)
        return twin

    twin = keras.models.clone_model(model, clone_function=without)
    for layer in model.layers:
        _fold_weights(layer, twin.get_layer(layer.name))
    return twin


def _networks(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """The layer itself, and the guide's network and the coarse ones in it, if they hold pairs."""
    found = [layer] if getattr(layer, "normalizations", None) else []
    inside = (getattr(layer, name, None) for name in ("guidance", "coarse"))
    return found + [x for network in inside if network is not None for x in _networks(network)]


def _check_pairs(layer: keras.layers.Layer) -> None:
    """Every moving mean of a layer must be that of a normalisation with a partner."""
    norms = [norm for network in _networks(layer) for norm in network.normalizations]
    paired = {id(norm.moving_mean) for norm in norms}
    alone = [
        weight.path.rpartition("/")[0]
        for weight in layer.weights
        if weight.name == "moving_mean" and id(weight) not in paired
    ]
    if alone:
        raise ValueError(
            "Batch normalisation is folded where a network keeps it in `normalizations`, each "
            f"after one of its `convolutions`. Received: {alone} in layer {layer.name!r}."
        )


def _exchange(network: keras.layers.Layer) -> None:
    """Convolutions with bias and identities, in a network that is not built yet."""
    convolutions = [
        keras.layers.Conv2D.from_config({**convolution.get_config(), "use_bias": True})
        for convolution in network.convolutions
    ]
    identities = [
        keras.layers.Identity(dtype=norm.dtype_policy, name=norm.name)
        for norm in network.normalizations
    ]
    # Emptied and filled, the lists keep Keras's account of what a layer is made of.
    for layers, exchanged in (
        (network.convolutions, convolutions),
        (network.normalizations, identities),
    ):
        layers.clear()
        layers.extend(exchanged)


def _fold_weights(layer: keras.layers.Layer, twin: keras.layers.Layer) -> None:
    pairs = [
        (convolution, norm, target)
        for network, exchanged in zip(_networks(layer), _networks(twin), strict=True)
        for convolution, norm, target in zip(
            network.convolutions, network.normalizations, exchanged.convolutions, strict=True
        )
    ]
    exchanged_weights = {id(weight) for pair in pairs for x in pair for weight in x.weights}
    kept, same = (
        [weight for weight in x.weights if id(weight) not in exchanged_weights]
        for x in (twin, layer)
    )
    for weight, value in zip(kept, same, strict=True):
        weight.assign(value)
    for convolution, norm, target in pairs:
        kernel, bias = folded_weights(convolution, norm)
        target.kernel.assign(kernel)
        target.bias.assign(bias)
