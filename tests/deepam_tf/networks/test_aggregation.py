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


@pytest.mark.parametrize("guidance", ["joined", "early"])
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


def test_impossible_networks_are_refused():
    with pytest.raises(ValueError, match=r"with a guide 6.*Received"):
        deepam_tf.AggregationNetwork(depth=5, guide_channels=1)
    with pytest.raises(ValueError, match=r"guide_channels.*Received"):
        deepam_tf.AggregationNetwork(guide_channels=-1)
    with pytest.raises(ValueError, match=r"at least 1.*Received"):
        deepam_tf.GuidanceNetwork(0)
    with pytest.raises(ValueError, match=r"guidance.*Received: 'late'"):
        deepam_tf.DeepAM(1, guide_channels=1, guidance="late")
