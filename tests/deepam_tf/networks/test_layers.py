from __future__ import annotations

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import deepam_tf
from deepam_tf.networks.blocks import to_blocks, to_pixels
from tests import helpers

POLICIES = ["float32", "float64", "mixed_bfloat16", "mixed_float16", "bfloat16", "float16"]

LAYERS = {
    "AggregationNetwork": (
        lambda **k: deepam_tf.AggregationNetwork(2, filters=4, depth=3, **k),
        lambda: tf.random.normal([2, 5, 6, 2]),
        # three convolutions and two heads less one: 2 norms of 4 variables, 2 kernels,
        # 2 heads with kernel and bias
        (10, 4),
    ),
    "AggregationNetwork on blocks, told a level": (
        lambda **k: deepam_tf.AggregationNetwork(
            1, filters=4, depth=3, pixel_unshuffle=2, residual=True, **k
        ),
        lambda: [tf.random.normal([2, 5, 7, 1]), tf.ones([2, 5, 7, 1])],
        (10, 4),
    ),
    "AggregationNetwork with a guide": (
        lambda **k: deepam_tf.AggregationNetwork(
            1, filters=4, depth=6, guide_channels=3, shift_invariant=True, **k
        ),
        lambda: [tf.random.normal([2, 5, 6, 1]), tf.random.normal([2, 5, 6, 3])],
        # five convolutions and two heads; three convolutions of the guide's own
        (28, 16),
    ),
    "GuidanceNetwork": (
        lambda **k: deepam_tf.GuidanceNetwork(4, depth=2, **k),
        lambda: tf.random.normal([2, 5, 6, 3]),
        (6, 4),
    ),
    "FusedBatchNormalization": (
        lambda **k: deepam_tf.FusedBatchNormalization(**k),
        lambda: tf.random.normal([2, 5, 6, 3]),
        (2, 2),
    ),
    "ImageGradient": (
        lambda **k: deepam_tf.layers.ImageGradient(**k),
        lambda: tf.random.normal([2, 5, 6, 3]),
        (0, 0),
    ),
    "Reconstruction": (
        lambda **k: deepam_tf.Reconstruction(rtol=1e-4, max_steps=50, **k),
        lambda: [tf.ones([2, 5, 6, 1]), tf.random.normal([2, 5, 6, 2]), tf.ones([2, 5, 6, 1])],
        (0, 0),
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layer_keeps_the_promises_of_keras(name):
    make, make_input, (trainable, frozen) = LAYERS[name]
    layer, inputs = make(), make_input()
    outputs = layer(inputs)
    assert len(layer.trainable_variables) == trainable
    assert len(layer.non_trainable_variables) == frozen

    revived = keras.layers.deserialize(keras.layers.serialize(layer))
    assert type(revived) is type(layer)
    assert revived.get_config() == layer.get_config()
    revived(inputs)
    assert set(dir(revived)) == set(dir(layer))

    symbolic = keras.tree.map_structure(lambda x: keras.Input((None, None, x.shape[-1])), inputs)
    for s, e in zip(tf.nest.flatten(layer(symbolic)), tf.nest.flatten(outputs), strict=True):
        assert s.shape[-1] == e.shape[-1]
        assert s.dtype == e.dtype.name


def policies_of(name):
    """The solves need the digits of float32."""
    return POLICIES[:2] if name == "Reconstruction" else POLICIES


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("policy", POLICIES)
def test_layers_learn_under_every_dtype_policy(name, policy):
    make, make_input, _ = LAYERS[name]
    if policy not in policies_of(name):
        with pytest.raises(TypeError, match=r"float32 or float64.*Received"):
            make(dtype=policy)
        return
    layer, inputs = make(dtype=policy), make_input()
    reference = make()
    reference(inputs)
    layer(inputs)
    layer.set_weights(reference.get_weights())
    flat = tf.nest.flatten(inputs)
    with tf.GradientTape() as tape:
        tape.watch(flat)
        outputs = tf.nest.flatten(layer(inputs, training=True) if layer.weights else layer(inputs))
        loss = tf.add_n([tf.reduce_sum(tf.sin(tf.cast(x, "float32"))) for x in outputs])
    gradients = tape.gradient(loss, [*layer.trainable_variables, *flat])
    assert all(bool(tf.reduce_all(tf.math.is_finite(g))) for g in gradients)
    # bfloat16 has eight bits; variables of its own size, and their moving means, have no more.
    atol = 1e-4 if policy in ("float32", "float64") else 0.15
    exact = tf.nest.flatten(
        reference(inputs, training=True) if reference.weights else reference(inputs)
    )
    for got, expected in zip(outputs, exact, strict=True):
        np.testing.assert_allclose(
            tf.cast(got, "float32"), expected, atol=atol * max(1.0, float(tf.reduce_max(expected)))
        )
    for got, expected in zip(
        layer.non_trainable_variables, reference.non_trainable_variables, strict=True
    ):
        np.testing.assert_allclose(tf.cast(got, "float32"), expected, atol=atol)


def users_models():
    """Every layer under every policy, and parts of the network, in models of a user's own."""
    for name, (make, make_input, _) in LAYERS.items():
        for policy in policies_of(name):
            symbolic = [
                keras.Input((None, None, x.shape[-1])) for x in tf.nest.flatten(make_input())
            ]
            for kind in (list, tuple) if len(symbolic) > 1 else (lambda x: x[0],):
                outputs = make(dtype=policy)(kind(symbolic))
                yield keras.Model(symbolic, outputs), tf.nest.flatten(make_input())
    network = deepam_tf.DeepAM(2, filters=4, depth=3, noise_level=True)
    inputs = {"image": tf.random.uniform([1, 6, 5, 1]), "noise_stddev": tf.fill([1, 1, 1, 1], 0.1)}
    part = keras.Model(network.input, network.get_layer("iteration_1_aggregation").output)
    for model in (network, network.iterates(), part, keras.models.clone_model(network)):
        yield model, inputs


LOAD = """
import json, pathlib, sys
import keras, numpy as np, tensorflow as tf
import deepam_tf

for path in sorted(pathlib.Path(sys.argv[1]).glob("*.keras")):
    model = keras.saving.load_model(path)
    with np.load(path.with_suffix(".npz")) as file:
        inputs = {k[3:]: tf.constant(x) for k, x in file.items() if k.startswith("in ")}
        if "0" in inputs:
            inputs = [inputs[str(i)] for i in range(len(inputs))]
        outputs = tf.nest.flatten(model(inputs))
        differences = [
            float(np.abs(tf.cast(x, "float64") - file[f"out {i}"]).max())
            for i, x in enumerate(outputs)
        ]
    print(json.dumps([path.name, differences]))
"""


@pytest.mark.slow
def test_models_that_contain_the_layers_are_the_same_in_a_new_process(tmp_path):
    count = 0
    for count, (model, inputs) in enumerate(users_models(), start=1):
        outputs = tf.nest.flatten(model(inputs))
        named = inputs if isinstance(inputs, dict) else dict(enumerate(inputs))
        arrays = {f"in {name}": x.numpy() for name, x in named.items()}
        arrays |= {f"out {i}": tf.cast(x, "float64").numpy() for i, x in enumerate(outputs)}
        np.savez(tmp_path / f"{count:03}.npz", **arrays)
        model.save(tmp_path / f"{count:03}.keras")
    lines = [json.loads(line) for line in helpers.run_python(LOAD, str(tmp_path)).splitlines()]
    assert len(lines) == count
    assert all(differences and max(differences) == 0.0 for _, differences in lines), lines


def test_keras_json_may_say_channels_first():
    image = tf.random.uniform([1, 6, 5, 1])
    model = deepam_tf.DeepAM(1, filters=4, depth=6, guide_channels=3, uncertainty_filters=4)
    inputs = {"image": image, "guide": tf.repeat(image, 3, axis=-1)}
    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_first")
    try:
        other = deepam_tf.DeepAM.from_config(model.get_config())
        other.set_weights(model.get_weights())
        outputs = other(inputs)
    finally:
        keras.config.set_image_data_format(before)
    for name, x in model(inputs).items():
        np.testing.assert_array_equal(outputs[name], x)


@pytest.mark.parametrize("training", [True, False])
def test_fused_normalization_is_batch_normalization(rng, training):
    x = tf.constant(rng.normal(3.0, 2.0, (4, 5, 6, 3)), tf.float32)
    fused, plain = deepam_tf.FusedBatchNormalization(), keras.layers.BatchNormalization()
    for layer in (fused, plain):
        layer.build(x.shape)
        layer.set_weights(np.array([[1.0, 2, 3], [0, 1, 2], [1, 2, 3], [1, 4, 9]]))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        outputs = [tf.sin(layer(x, training=training)) for layer in (fused, plain)]
    np.testing.assert_allclose(*outputs, atol=1e-5)
    np.testing.assert_allclose(*(tape.gradient(y, x) for y in outputs), atol=1e-4)
    for a, b in zip(fused.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])  # fused, and Keras's own
def test_fixed_statistics_stay_while_scale_and_offset_learn(rng, dtype):
    layer = deepam_tf.FusedBatchNormalization(dtype=dtype)
    x = tf.constant(rng.normal(2, 3, [2, 5, 6, 4]), dtype)
    layer(x, training=True)
    layer.fixed_statistics = True
    before = layer.get_weights()
    with tf.GradientTape() as tape:
        y = layer(x, training=True)
        loss = tf.reduce_sum(y**2)
    np.testing.assert_array_equal(y, layer(x, training=False))
    for old, new in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert all(tf.norm(g) > 0 for g in tape.gradient(loss, layer.trainable_variables))


def test_fused_normalization_falls_back_where_the_operation_has_no_kernel(rng):
    x = rng.normal(size=(4, 3, 3, 2))
    fused = deepam_tf.FusedBatchNormalization(dtype="float64")
    plain = keras.layers.BatchNormalization(dtype="float64")
    np.testing.assert_allclose(fused(x, training=True), plain(x, training=True), rtol=1e-12)


def test_aggregation_starts_with_no_gradient_and_gamma_one():
    v, gamma = deepam_tf.AggregationNetwork(filters=16)(tf.random.uniform([1, 32, 32, 1]))
    assert float(tf.reduce_max(tf.abs(v))) < 0.1
    np.testing.assert_allclose(gamma, 1.0, atol=0.1)


def test_gamma_never_falls_below_its_floor():
    layer = deepam_tf.AggregationNetwork(filters=4, depth=3, gamma_min=0.03)
    layer.build((None, None, None, 1))
    layer.gamma_head.bias.assign([-100.0])
    _, gamma = layer(tf.random.normal([1, 8, 8, 1]))
    np.testing.assert_allclose(gamma, 0.03)


def test_receptive_field_is_21_pixels():
    layer = deepam_tf.AggregationNetwork(filters=8)
    impulse = np.zeros((1, 41, 41, 1), np.float32)
    base = layer(impulse)[0].numpy()
    impulse[0, 20, 20] = 1.0
    changed = np.abs(layer(impulse)[0].numpy() - base).max(axis=(0, 3)) > 0
    assert not changed[:10].any()
    assert not changed[31:].any()
    assert changed[10].any()
    assert changed[30].any()


def test_paper_network_has_0_3_million_weights():
    layer = deepam_tf.AggregationNetwork()
    layer.build((None, None, None, 1))
    assert sum(int(np.prod(w.shape)) for w in layer.trainable_variables) == pytest.approx(
        300_000, rel=0.02
    )


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match=r"at least.*Received"):
        deepam_tf.AggregationNetwork(depth=2)
    with pytest.raises(ValueError, match=r"positive.*Received"):
        deepam_tf.AggregationNetwork(gamma_min=0.0)
    with pytest.raises(TypeError, match=r"float32 or float64.*Received"):
        deepam_tf.Reconstruction(dtype="mixed_bfloat16")


def test_residual_network_that_says_nothing_leaves_the_image_alone(rng):
    layer = deepam_tf.AggregationNetwork(filters=4, depth=3, pixel_unshuffle=2, residual=True)
    u = tf.constant(rng.uniform(size=(2, 7, 5, 1)), tf.float32)
    layer(u)
    layer.v_head.kernel.assign(tf.zeros_like(layer.v_head.kernel))
    v, gamma = layer(u)
    np.testing.assert_array_equal(v, deepam_tf.image_gradient(u))
    np.testing.assert_allclose(deepam_tf.reconstruct(u, v, gamma), u, atol=1e-6)


@pytest.mark.parametrize("size", [(8, 6), (7, 5), (1, 1), (2, 9)])
def test_blocks_of_pixels_are_taken_apart_and_put_together(rng, size):
    x = tf.constant(rng.uniform(size=(2, *size, 2)))
    blocks = to_blocks(x, 3)
    assert blocks.shape.as_list() == [2, -(-size[0] // 3), -(-size[1] // 3), 18]
    np.testing.assert_array_equal(to_pixels(blocks, x, 3), x)


def test_one_level_is_the_same_as_a_constant_map(rng):
    layer = deepam_tf.AggregationNetwork(filters=4, depth=3)
    u = tf.constant(rng.uniform(size=(2, 6, 5, 1)), tf.float32)
    level = tf.constant([0.1, 0.3], shape=[2, 1, 1, 1])
    by_map = layer([u, level * tf.ones_like(u)])
    for a, b in zip(layer([u, level]), by_map, strict=True):
        np.testing.assert_array_equal(a, b)
