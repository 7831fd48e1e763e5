"""A run that starts from the weights of another model."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import deepam_tf
from training.fit import warm_start


@pytest.mark.parametrize(("k_source", "k"), [(1, 2), (3, 2)])
def test_the_iterations_that_both_have_give_the_same(rng, k_source, k):
    image = {"image": tf.constant(rng.uniform(size=(1, 12, 14, 1)), tf.float32)}
    source, model = (deepam_tf.DeepAM(n, filters=8, depth=3) for n in (k_source, k))
    warm_start.adopt_weights(model, source)
    shared = f"u_{min(k_source, k)}"
    expected = source.iterates()(image)[shared]
    np.testing.assert_array_equal(model.iterates()(image)[shared], expected)


def test_iterations_that_the_source_lacks_begin_as_its_last():
    source, model = (deepam_tf.DeepAM(k, filters=8, depth=3) for k in (1, 2))
    warm_start.adopt_weights(model, source)
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


@pytest.mark.slow
@pytest.mark.parametrize(
    "grown",
    [{"levels": 2}, {"edge_weights": True}, {"levels": 3, "edge_weights": True}],
)
@pytest.mark.parametrize("guide_channels", [0, 3])
def test_what_is_grown_changes_nothing_at_first(rng, grown, guide_channels):
    given = {
        "image": tf.constant(rng.uniform(size=(2, 13, 14, 1)), tf.float32),
        "guide": tf.constant(rng.uniform(size=(2, 13, 14, 3)), tf.float32),
    }
    options = {"filters": 8, "depth": 8, "pixel_unshuffle": 2, "guide_channels": guide_channels}
    image = {name: given[name] for name in (("image", "guide") if guide_channels else ("image",))}
    source, model = deepam_tf.DeepAM(2, **options), deepam_tf.DeepAM(3, **options, **grown)
    for variable in source.trainable_variables:
        variable.assign_add(0.05 * rng.standard_normal(variable.shape))
    warm_start.adopt_weights(model, source)
    expected = source(image)["restored"]
    assert np.abs(expected - given["image"]).max() > 0.01
    np.testing.assert_array_equal(model.iterates()(image)["u_2"], expected)


def test_nothing_that_the_source_has_is_dropped():
    model = deepam_tf.DeepAM(1, filters=8, depth=8)
    for more in ({"levels": 2}, {"edge_weights": True}):
        source = deepam_tf.DeepAM(1, filters=8, depth=8, **more)
        with pytest.raises(ValueError, match=r"no more levels.*Received"):
            warm_start.adopt_weights(model, source)
