"""A run that starts from the weights of another model."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import deepam_tf
from training import warm_start


def test_a_model_can_start_from_one_of_fewer_iterations(rng):
    image = tf.constant(rng.uniform(size=(1, 12, 14, 1)), tf.float32)
    source, model = (deepam_tf.DeepAM(k, filters=8, depth=3) for k in (1, 2))
    warm_start.adopt_weights(model, source)
    first = model.iterates()({"image": image})["u_1"]
    np.testing.assert_array_equal(first, source({"image": image})["restored"])
    for number in (0, 1):
        network = model.get_layer(f"iteration_{number + 1}_aggregation")
        other = source.get_layer("iteration_1_aggregation")
        for a, b in zip(network.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
    # With a noise level the second network sees more than the first: it stays as it is.
    source, model = (deepam_tf.DeepAM(k, filters=8, depth=3, noise_level=True) for k in (1, 2))
    before = model.get_layer("iteration_2_aggregation").get_weights()
    warm_start.adopt_weights(model, source)
    after = model.get_layer("iteration_2_aggregation").get_weights()
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def test_a_model_of_fewer_iterations_is_the_beginning_of_its_source(rng):
    image = tf.constant(rng.uniform(size=(1, 12, 14, 1)), tf.float32)
    source, model = (deepam_tf.DeepAM(k, filters=8, depth=3) for k in (3, 2))
    warm_start.adopt_weights(model, source)
    second = source.iterates()({"image": image})["u_2"]
    np.testing.assert_array_equal(second, model({"image": image})["restored"])


def test_weights_of_another_architecture_are_refused():
    model = deepam_tf.DeepAM(1, filters=8, depth=3)
    before = [x.copy() for x in model.get_weights()]
    others = ({"filters": 16}, {"depth": 4}, {"image_channels": 3}, {"residual": True})
    for other in others:
        source = deepam_tf.DeepAM(**{"num_iterations": 1, "filters": 8, "depth": 3, **other})
        with pytest.raises(ValueError, match=r"architecture.*Received"):
            warm_start.adopt_weights(model, source)
    with pytest.raises(ValueError, match=r"DeepAM.*Received: Sequential"):
        warm_start.adopt_weights(model, keras.Sequential([keras.layers.Dense(1)]))
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
