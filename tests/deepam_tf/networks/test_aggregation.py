from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import deepam_tf

SMALL = {"filters": 8, "depth": 6}


def inputs(rng, size=(9, 11)):
    shape = (2, *size)
    return {
        "image": tf.constant(rng.uniform(size=(*shape, 1)), tf.float32),
        "guide": tf.constant(rng.uniform(size=(*shape, 3)), tf.float32),
        "mask": tf.constant(rng.integers(0, 2, size=(*shape, 1)), tf.float32),
    }


def test_the_guide_joins_after_the_third_convolution(rng):
    layer = deepam_tf.AggregationNetwork(guide_channels=3, **SMALL)
    image, guide = inputs(rng)["image"], inputs(rng)["guide"]
    layer([image, guide])
    kernels = [convolution.kernel.shape[2] for convolution in layer.convolutions]
    assert kernels == [1, 8, 8, 16, 8]
    assert len(layer.guidance.convolutions) == 3
    # A network whose fourth convolution does not look at the guide's features has no guide.
    kernel = np.array(layer.convolutions[3].kernel)
    kernel[:, :, 8:] = 0
    layer.convolutions[3].kernel.assign(kernel)
    blind = [layer([image, g]) for g in (guide, tf.zeros_like(guide))]
    np.testing.assert_array_equal(blind[0][0], blind[1][0])
    np.testing.assert_array_equal(blind[0][1], blind[1][1])


@pytest.mark.slow
@pytest.mark.parametrize("guidance", ["joined", "early"])
def test_the_guide_matters_and_its_network_learns(rng, guidance):
    x = inputs(rng)
    model = deepam_tf.DeepAM(2, guide_channels=3, guidance=guidance, mask=True, **SMALL)
    assert set(model.input) == {"image", "guide", "mask"}
    restored = model(x)["restored"]
    other = model({**x, "guide": 1.0 - x["guide"]})["restored"]
    assert np.abs(restored - other).max() > 1e-6
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.abs(model(x, training=True)["restored"] - 0.5))
    for variable, gradient in zip(
        model.trainable_variables, tape.gradient(loss, model.trainable_variables), strict=True
    ):
        assert np.any(gradient), variable.path
    joined = any("guidance" in variable.path for variable in model.variables)
    assert joined == (guidance == "joined")


def test_values_in_holes_reach_nothing_but_the_networks(rng):
    """With `v` and `gamma` fixed, what stands in a hole does not matter."""
    x = inputs(rng)
    model = deepam_tf.DeepAM(1, guide_channels=3, mask=True, **SMALL)
    iterates = model.iterates()(x)
    np.testing.assert_array_equal(iterates["gamma_1"].numpy()[x["mask"].numpy() == 0], 0)
    junk = tf.where(x["mask"] == 0, 2.0, x["image"])
    again = deepam_tf.reconstruct(junk, iterates["v_1"], iterates["gamma_1"])
    np.testing.assert_allclose(again, iterates["u_1"], atol=1e-3)


@pytest.mark.slow
def test_guided_model_round_trip(rng):
    model = deepam_tf.DeepAM(
        2, guide_channels=3, mask=True, noise_level=True, pixel_unshuffle=2,
        preconditioner="multigrid", **SMALL,
    )  # fmt: skip
    again = deepam_tf.DeepAM.from_config(model.get_config())
    again.set_weights(model.get_weights())
    assert again.get_config() == model.get_config()
    x = {**inputs(rng), "noise_stddev": tf.constant(0.1, shape=[2, 1, 1, 1])}
    np.testing.assert_array_equal(model(x)["restored"], again(x)["restored"])


@pytest.mark.parametrize("guidance", ["joined", pytest.param("early", marks=pytest.mark.slow)])
def test_shift_invariance(rng, guidance):
    """What is added to the observation comes out again; what is added to the guide does not."""
    options = {"guide_channels": 3, "guidance": guidance, "mask": True, "pixel_unshuffle": 2}
    x = inputs(rng)
    x["mask"] += 0.5
    shifted = {**x, "image": x["image"] + 2.0, "guide": x["guide"] - 0.5}
    changes = {}
    for invariant in (True, False):
        model = deepam_tf.DeepAM(2, shift_invariant=invariant, rtol=1e-6, **options, **SMALL)
        for variable in model.trainable_variables:  # nothing is left at zero
            variable.assign_add(0.05 * rng.standard_normal(variable.shape))
        restored, moved = (model(z)["restored"] for z in (x, shifted))
        assert np.abs(restored - x["image"]).max() > 1e-2
        changes[invariant] = np.abs(moved - restored - 2.0).max()
    assert changes[True] < 1e-4
    assert changes[False] > 1e-2


def test_small_steps_of_large_values_survive_half_precision(rng):
    """A step of one part in 2000 is nothing in bfloat16; its slope is."""
    level = 115 / 128
    step = np.full([1, 8, 8, 1], level, np.float32)
    step[:, :, 4:] += 0.0005
    seen = []
    for invariant in (True, False):
        layer = deepam_tf.AggregationNetwork(
            shift_invariant=invariant, dtype="mixed_bfloat16", **SMALL
        )
        layer(step)
        for variable in layer.trainable_variables:
            variable.assign_add(0.1 * rng.standard_normal(variable.shape))
        v, flat = (layer(image)[0] for image in (step, np.full_like(step, level)))
        seen.append(np.abs(v - flat).max())
    assert seen[0] > 0
    assert seen[1] == 0


def scattered(layer, rng):
    """The layer with nothing left at zero, as training leaves it."""
    for variable in layer.trainable_variables:
        variable.assign_add(0.05 * rng.standard_normal(variable.shape))
    return layer


LEVELS = {"filters": 8, "depth": 8, "levels": 3}


@pytest.mark.parametrize("size", [(1, 1), (9, 11), (16, 24)])
@pytest.mark.parametrize("arguments", [{}, {"pixel_unshuffle": 2, "guide_channels": 3}])
def test_levels_take_any_size_and_begin_as_nothing(rng, size, arguments):
    x = inputs(rng, size)
    given = [x["image"], x["guide"]] if "guide_channels" in arguments else x["image"]
    deep = deepam_tf.AggregationNetwork(edge_weights=True, **LEVELS, **arguments)
    flat = deepam_tf.AggregationNetwork(**{**LEVELS, "levels": 1}, **arguments)
    for layer in (deep, flat):
        layer(given)
    for network, other in ((flat, deep), (flat.guidance, deep.guidance)):
        if network is not None:
            for a, b in zip(network.convolutions, other.convolutions, strict=True):
                a.set_weights(b.get_weights())
    for name in ("v_head", "gamma_head"):
        getattr(flat, name).set_weights(getattr(deep, name).get_weights())
    v, gamma, edge_weight = deep(given)
    np.testing.assert_array_equal(v, flat(given)[0])
    np.testing.assert_array_equal(gamma, flat(given)[1])
    np.testing.assert_array_equal(edge_weight, tf.ones_like(v))
    other = scattered(deep, rng)(given)
    assert [y.shape for y in other] == [v.shape, gamma.shape, v.shape]
    assert np.abs(other[0] - v).max() > 0


def test_no_level_sees_further_than_the_network_says(rng):
    """A change of one pixel is felt up to `reach` away: by far more than without levels."""
    image = rng.uniform(size=(1, 1, 260, 1)).astype(np.float32)
    felt = {}
    for levels in (1, 2, 3):
        layer = deepam_tf.AggregationNetwork(
            pixel_unshuffle=2, residual=True, **{**LEVELS, "levels": levels}
        )
        layer(image)
        scattered(layer, rng)
        before = layer(image)[0]
        felt[levels] = 0
        for pixel in range(120, 120 + layer.block):  # any place inside a block of the last level
            changed = image.copy()
            changed[:, :, pixel] += 1.0
            where = np.flatnonzero(np.abs(layer(changed)[0] - before).max(axis=(0, 1, 3)))
            felt[levels] = max(felt[levels], *np.abs(where - pixel))
        assert felt[levels] <= layer.reach
    assert felt[1] < felt[2] < felt[3]


def test_every_weight_of_levels_and_edge_weights_learns(rng):
    layer = deepam_tf.AggregationNetwork(edge_weights=True, residual=True, **LEVELS)
    image = inputs(rng, (16, 16))["image"]
    layer(image)
    for first in (True, False):
        with tf.GradientTape() as tape:
            v, gamma, edge_weight = layer(image, training=True)
            loss = tf.reduce_mean(v**2) + tf.reduce_mean(gamma) + tf.reduce_mean(edge_weight)
        gradients = tape.gradient(loss, layer.trainable_variables)
        for variable, gradient in zip(layer.trainable_variables, gradients, strict=True):
            # What is behind a convolution of zeros follows once that has moved.
            behind_zeros = "coarse" in variable.path and not variable.path.endswith("up/kernel")
            nested = "coarse/coarse" in variable.path
            if first and (behind_zeros or nested):
                continue
            assert np.any(gradient), variable.path
        scattered(layer, rng)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_edge_weights_are_positive_and_at_most_one(rng, policy):
    layer = deepam_tf.AggregationNetwork(edge_weights=True, dtype=policy, **SMALL)
    image = inputs(rng)["image"]
    layer(image)
    for scale in (0.1, 10.0, 1e4):
        layer.edge_weight_head.kernel.assign(
            scale * rng.standard_normal(layer.edge_weight_head.kernel.shape)
        )
        edge_weight = layer(image)[2].numpy()
        assert edge_weight.dtype == np.float32
        assert edge_weight.min() > 0.01
        assert edge_weight.max() <= 1
        assert edge_weight.min() < 1


def test_impossible_networks_are_refused():
    with pytest.raises(ValueError, match=r"depth` of 8. Received: levels=2, depth=7"):
        deepam_tf.AggregationNetwork(levels=2, depth=7)
    with pytest.raises(ValueError, match=r"at least 1.*Received: levels=0"):
        deepam_tf.AggregationNetwork(levels=0)
    with pytest.raises(ValueError, match=r"with a guide 6.*Received"):
        deepam_tf.AggregationNetwork(depth=5, guide_channels=1)
    with pytest.raises(ValueError, match=r"guide_channels.*Received"):
        deepam_tf.AggregationNetwork(guide_channels=-1)
    with pytest.raises(ValueError, match=r"at least 1.*Received"):
        deepam_tf.GuidanceNetwork(0)
    with pytest.raises(ValueError, match=r"guidance.*Received: 'late'"):
        deepam_tf.DeepAM(1, guide_channels=1, guidance="late")
