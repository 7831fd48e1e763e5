"""Images of several sizes in one batch: each comes out as it does alone."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import deepam_tf
from export.graph.folding import folded
from export.graph.ragged import restore_ragged
from export.graph.signatures import ServedModel

SIZES = [(7, 9), (16, 3), (1, 1), (13, 16), (1, 14)]
MODELS = {
    "gray": {},
    "blocks": {"noise_level": True, "pixel_unshuffle": 2, "residual": True},
    "guided": {"image_channels": 3, "guide_channels": 1, "depth": 6, "pixel_unshuffle": 2},
    "early": {"guide_channels": 3, "guidance": "early"},
    "edge weights": {"edge_weights": True, "noise_level": True},
    "head": {"uncertainty_filters": 4, "noise_level": True, "pixel_unshuffle": 2},
}


def model_of(name: str) -> deepam_tf.DeepAM:
    """Weights that are far from those before training, whose `v` is nearly nothing."""
    keras.utils.set_random_seed(0)
    model = deepam_tf.DeepAM(2, **{"filters": 6, "depth": 4, "rtol": 1e-4, **MODELS[name]})
    rng = np.random.default_rng(0)
    model.set_weights([x + 0.1 * np.abs(rng.normal(size=x.shape)) for x in model.get_weights()])
    return model


def padded_inputs(model: deepam_tf.DeepAM) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    sides = np.max(SIZES, axis=0)
    inputs = {}
    for name, x in model.input.items():
        shape = [len(SIZES), *((1, 1) if name == "noise_stddev" else sides), x.shape[-1]]
        inputs[name] = rng.uniform(0, 0.2 if name == "noise_stddev" else 1, shape)
    return {name: x.astype(np.float32) for name, x in inputs.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_each_is_as_alone(name):
    model = model_of(name)
    inputs = padded_inputs(model)
    run = restore_ragged(folded(model))
    assert run is not None
    tensors = {key: tf.constant(x) for key, x in inputs.items()}
    outputs = run(tensors, tf.constant(SIZES, tf.int32))
    for i, (height, width) in enumerate(SIZES):
        alone = {key: x[i : i + 1, :height, :width] for key, x in inputs.items()}
        expected = model({key: tf.constant(x) for key, x in alone.items()})
        assert outputs.keys() == dict(expected).keys()
        for key, x in expected.items():
            np.testing.assert_allclose(
                outputs[key][i, :height, :width], x[0], atol=1e-5 * np.abs(x).max()
            )


@pytest.mark.slow
def test_what_the_padding_holds_does_not_matter():
    model = model_of("blocks")
    served = ServedModel(folded(model), max_megapixels=1)
    inputs = padded_inputs(model)
    outside = np.ones(inputs["image"].shape[:3], bool)
    for i, (height, width) in enumerate(SIZES):
        outside[i, :height, :width] = False
    answers = []
    for filling in (0.0, 7.0, np.nan):
        given = {**inputs, "image": np.where(outside[..., None], filling, inputs["image"])}
        tensors = {key: tf.constant(x, tf.float32) for key, x in given.items()}
        size = tf.constant(SIZES, tf.int32)
        restored = served.functions["serving_ragged"](**tensors, size=size)["restored"].numpy()
        answers.append(np.where(outside[..., None], 0, restored))
    np.testing.assert_array_equal(answers[0], answers[1])
    np.testing.assert_array_equal(answers[0], answers[2])


@pytest.mark.slow
def test_bad_values_and_sizes_are_refused_whatever_the_padding():
    model = model_of("blocks")
    serve = ServedModel(folded(model), max_megapixels=1).functions["serving_ragged"]
    inputs = {key: tf.constant(x) for key, x in padded_inputs(model).items()}
    sizes = np.array(SIZES, np.int32)
    for wrong in (sizes - 1, sizes + 16, sizes[:2]):
        with pytest.raises(tf.errors.InvalidArgumentError, match="`size` must be"):
            serve(**inputs, size=tf.constant(wrong))
    far = inputs["image"].numpy()
    far[2, 0, 0] = 3.5  # the only pixel of that image: alone it would be refused
    with pytest.raises(tf.errors.InvalidArgumentError, match="in image 2"):
        serve(**{**inputs, "image": tf.constant(far)}, size=tf.constant(sizes))


@pytest.mark.parametrize(
    "arguments",
    [{"mask": True}, {"levels": 2, "depth": 8}, {"method": "chebyshev"}],
    ids=["holes", "levels", "chebyshev"],
)
def test_models_that_cannot_keep_images_apart_have_no_such_signature(arguments):
    model = deepam_tf.DeepAM(1, **{"filters": 4, "depth": 4, **arguments})
    assert restore_ragged(model) is None
