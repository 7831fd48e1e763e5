"""A model without batch normalisation computes what the model with it does."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import deepam_tf
from export.graph import samples
from export.graph.folding import folded


def trained_like(rng, **arguments):
    """A model whose statistics and factors are as far from their start as training takes them."""
    model = deepam_tf.DeepAM(2, **{"filters": 16, "depth": 6, **arguments})
    for variable in model.variables:
        if variable.path.endswith(("up/kernel", "edge_weight_head/kernel")):  # begin at zero
            variable.assign(0.02 * rng.standard_normal(variable.shape))
        if len(variable.shape) == 1:
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    return model


def answers(model, size=(2, 13, 18)):
    specs = {name: tf.TensorSpec(x.shape, x.dtype) for name, x in model.input.items()}
    inputs = {k: tf.constant(x) for k, x in samples.sample_inputs(specs, size).items()}
    return model(inputs, training=False)["restored"].numpy()


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param({}, marks=pytest.mark.slow),
        {"pixel_unshuffle": 2, "residual": True, "noise_level": True},
        pytest.param(
            {"image_channels": 3, "guide_channels": 3, "mask": True}, marks=pytest.mark.slow
        ),
        pytest.param({"guide_channels": 1, "guidance": "early"}, marks=pytest.mark.slow),
        {"levels": 3, "edge_weights": True, "depth": 8, "guide_channels": 1, "pixel_unshuffle": 2},
    ],
)
def test_folding_changes_nothing_but_the_batch_normalisation(rng, arguments):
    model = trained_like(rng, **arguments)
    twin = folded(model)
    assert any(weight.name == "moving_mean" for weight in model.weights)
    assert not any(weight.name == "moving_mean" for weight in twin.weights)
    np.testing.assert_allclose(answers(twin), answers(model), atol=1e-5)
    assert {k: v.shape for k, v in twin.input.items()} == {
        k: v.shape for k, v in model.input.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", deepam_tf.list_pretrained())
def test_shipped_weights_agree(name):
    model = deepam_tf.load_pretrained(name)
    np.testing.assert_allclose(answers(folded(model)), answers(model), atol=1e-5)


def test_the_model_itself_stays_as_it_was(rng):
    model = trained_like(rng)
    before = [np.array(weight) for weight in model.get_weights()]
    twin = folded(model)
    for variable in twin.variables:
        variable.assign(tf.zeros_like(variable))
    for weight, value in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, value)


def test_solves_are_those_asked_for(rng):
    twin = folded(trained_like(rng).with_solver(rtol=1e-3, max_steps=7))
    solve = twin.get_layer("iteration_2_reconstruction")
    assert (solve.rtol, solve.max_steps) == (1e-3, 7)


def test_batch_normalisation_that_follows_no_convolution_is_refused():
    inputs = {"image": keras.Input((None, None, 1), name="image")}
    norm = keras.layers.BatchNormalization(name="lonely")(inputs["image"])
    model = keras.Model(inputs, {"restored": norm})
    with pytest.raises(ValueError, match=r"Received: \['lonely'\]"):
        folded(model)
