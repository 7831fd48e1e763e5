from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import deepam_tf
from tests import helpers

KINDS = {
    "gray": {},
    "colour, told the noise": {"image_channels": 3, "noise_level": True},
    "depth": {"guide_channels": 3, "mask": True, "shift_invariant": True, "depth": 6},
}


def model_of(kind: str) -> deepam_tf.DeepAM:
    arguments = {"filters": 4, "depth": 3, "pixel_unshuffle": 2, **KINDS[kind]}
    return deepam_tf.DeepAM(2, uncertainty_filters=4, **arguments)


def inputs_of(model, rng, size=(7, 5), batch=2) -> dict[str, tf.Tensor]:
    inputs = {
        name: tf.constant(rng.uniform(size=(batch, *size, x.shape[-1])), tf.float32)
        for name, x in model.input.items()
    }
    if "mask" in inputs:
        inputs["mask"] = tf.round(inputs["mask"])
    return inputs


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_value_has_a_positive_deviation_and_is_restored_as_without(kind, rng):
    model = model_of(kind)
    inputs = inputs_of(model, rng)
    outputs = model(inputs)
    assert outputs["stddev"].shape == outputs["restored"].shape
    assert float(tf.reduce_min(outputs["stddev"])) > 0
    config = {**model.get_config(), "uncertainty_filters": 0}
    plain = deepam_tf.DeepAM.from_config(config)
    plain.set_weights(model.get_weights()[: len(plain.get_weights())])
    values = {variable.path: variable for variable in model.variables}
    for variable in plain.variables:
        variable.assign(values[variable.path])
    np.testing.assert_array_equal(plain(inputs)["restored"], outputs["restored"])
    assert list(plain.output) == ["restored"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_images_of_a_batch_do_not_meet(kind, rng):
    model = model_of(kind)
    inputs = inputs_of(model, rng, batch=3)
    together = model(inputs)["stddev"]
    for i in range(3):
        alone = model({name: x[i : i + 1] for name, x in inputs.items()})["stddev"]
        np.testing.assert_allclose(alone[0], together[i], rtol=1e-4)


def test_one_level_is_the_same_as_a_map_of_it(rng):
    model = model_of("colour, told the noise")
    inputs = inputs_of(model, rng)
    one = {**inputs, "noise_stddev": tf.fill([2, 1, 1, 1], 0.1)}
    everywhere = {**inputs, "noise_stddev": tf.fill([2, 7, 5, 1], 0.1)}
    np.testing.assert_allclose(model(one)["stddev"], model(everywhere)["stddev"], rtol=1e-6)


@pytest.mark.slow
def test_depth_has_no_zero(rng):
    model = model_of("depth")
    inputs = inputs_of(model, rng)
    moved = {**inputs, "image": inputs["image"] + 0.25}
    np.testing.assert_allclose(model(moved)["stddev"], model(inputs)["stddev"], rtol=1e-3)


@pytest.mark.slow
def test_cost_is_a_twentieth_of_the_shipped_models():
    for name in deepam_tf.list_uncertainty():
        config = deepam_tf.pretrained.pretrained_card(name)["model"]
        head = deepam_tf.restoration.uncertainty.head_card(name)
        model = deepam_tf.DeepAM(**{**config, "uncertainty_filters": head["filters"]})
        sizes = {"uncertainty": 0, "rest": 0}
        for layer in model.layers:
            part = "uncertainty" if layer.name == "uncertainty" else "rest"
            # All convolutions run on the same grid: weights count products.
            sizes[part] += sum(v.shape.num_elements() for v in layer.variables if v.ndim == 4)
        assert sizes["uncertainty"] < 0.05 * sizes["rest"], (name, sizes)


def test_recalibration_multiplies_scales_and_sets_the_degrees_of_freedom(rng):
    model = model_of("gray")
    inputs = inputs_of(model, rng)
    head = model.get_layer("uncertainty")
    before, df = model(inputs)["stddev"], head.df
    head.recalibrate(1.5, 3.0)
    assert head.df == pytest.approx(3.0, abs=1e-5)
    scales = [
        x * np.sqrt((d - 2) / d) for x, d in ((before, df), (model(inputs)["stddev"], head.df))
    ]
    np.testing.assert_allclose(scales[1] / scales[0], 1.5, rtol=1e-4)
    for far in (2.06, 102.0, 1e4):
        head.recalibrate(1.0, far)
        assert head.df == pytest.approx(far, rel=1e-4)
    for wrong in ((0.0, 3.0), (1.0, 2.0)):
        with pytest.raises(ValueError, match="must be"):
            head.recalibrate(*wrong)


def test_a_factor_of_each_level_holds_there_and_between(rng):
    at = (0.05, 0.2)
    model = deepam_tf.DeepAM(
        1,
        filters=4,
        depth=3,
        noise_level=True,
        uncertainty_filters=4,
        uncertainty_calibrated_at=at,
    )
    head = model.get_layer("uncertainty")
    image = tf.constant(rng.uniform(size=(5, 6, 7, 1)), tf.float32)
    levels = tf.reshape(tf.constant([0.01, 0.05, 0.1, 0.2, 0.9]), [5, 1, 1, 1])
    inputs = {"image": image, "noise_stddev": levels}
    before = model(inputs)["stddev"]
    head.recalibrate([0.5, 2.0], head.df)
    factors = np.array(model(inputs)["stddev"]) / before
    # In the middle of 0.05 and 0.2, of logarithms, the geometric mean.
    for found, expected in zip(factors, [0.5, 0.5, 1.0, 2.0, 2.0], strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4)
    # A map of levels has a factor at each pixel.
    ramp = tf.concat([tf.fill([1, 6, 3, 1], 0.05), tf.fill([1, 6, 4, 1], 0.2)], axis=2)
    found = head._log_factor(ramp)
    np.testing.assert_allclose(np.exp(found[0, :, :, 0]), [[0.5] * 3 + [2.0] * 4] * 6, rtol=1e-4)
    head.recalibrate(3.0, head.df)
    np.testing.assert_allclose(np.array(model(inputs)["stddev"]) / before, 3 * factors, rtol=1e-4)
    with pytest.raises(ValueError, match="one for each"):
        head.recalibrate([1.0, 1.0, 1.0], 3.0)
    again = deepam_tf.DeepAM.from_config(model.get_config())
    assert again.get_layer("uncertainty").calibrated_at == at


def grid(down: int, right: int) -> np.ndarray:
    """A mask of one measured pixel in so many rows and columns."""
    mask = np.full([1, 64, 64, 1], 0.01, np.float32)
    mask[:, 1::down, 2::right] = 1
    return mask


def density_head(at=(1 / 256, 1 / 16)) -> deepam_tf.UncertaintyHead:
    head = deepam_tf.UncertaintyHead(filters=4, mask=True, calibrated_at=at)
    head.build([(None, None, None, channels) for channels in (1, 1, 2, 1, 1)])
    return head


def test_a_factor_of_each_share_of_measured_pixels_holds_there_and_between(rng):
    head = density_head()
    inputs = [tf.constant(rng.uniform(size=(1, 64, 64, n)), tf.float32) for n in (1, 1, 2, 1)]
    cases = {(4, 4): 2.0, (16, 16): 0.5, (8, 8): 1.0, (4, 16): 1.0, (32, 32): 0.5, (1, 2): 2.0}
    before = {case: head([*inputs, grid(*case)]) for case in cases}
    head.recalibrate([0.5, 2.0], head.df)
    for case, expected in cases.items():
        factors = np.array(head([*inputs, grid(*case)]) / before[case])
        # The square of 32x32 pixels lies in the picture.
        np.testing.assert_allclose(factors[:, 16:44, 16:44], expected, rtol=1e-4, err_msg=str(case))
    again = deepam_tf.UncertaintyHead.from_config(head.get_config())
    assert again.calibrated_at == head.calibrated_at
    assert (again.reach, deepam_tf.UncertaintyHead(mask=True).reach) == (17, 9)


def test_the_share_counts_no_pixels_outside_of_an_image(rng):
    head = density_head()
    head.recalibrate([0.5, 2.0], head.df)
    sizes = (1, 1, 2, 1)
    image = [tf.constant(rng.uniform(size=(1, 24, 30, n)), tf.float32) for n in sizes]
    image.append(tf.constant(grid(8, 8)[:, :24, :30]))
    padded = [tf.pad(x, [[0, 0], [0, 40], [0, 34], [0, 0]], constant_values=1.0) for x in image]
    inside = tf.pad(tf.ones([1, 12, 15, 1]), [[0, 0], [0, 20], [0, 17], [0, 0]])
    shared = head(padded, inside=inside)[:, :24, :30]
    np.testing.assert_allclose(shared, head(image), rtol=1e-4)


@pytest.mark.parametrize("at", [(0.2, 0.1), (0.0, 0.1), (-0.1,), (0.1, 0.1)])
def test_levels_of_the_calibration_must_rise_and_be_told(at):
    with pytest.raises(ValueError, match="must be positive and rise"):
        deepam_tf.UncertaintyHead(noise_level=True, calibrated_at=at)
    with pytest.raises(ValueError, match="must be told"):
        deepam_tf.UncertaintyHead(calibrated_at=(0.1,))


def test_half_precision_keeps_the_head_in_single(rng):
    model = deepam_tf.DeepAM(1, filters=4, depth=3, uncertainty_filters=4, dtype="mixed_bfloat16")
    assert model(inputs_of(model, rng))["stddev"].dtype == tf.float32
    with pytest.raises(TypeError, match="float32"):
        deepam_tf.UncertaintyHead(dtype="mixed_float16")
    with pytest.raises(ValueError, match="at least 1"):
        deepam_tf.UncertaintyHead(filters=0)


@pytest.mark.slow
def test_a_head_in_a_model_of_ones_own_learns(rng):
    u = keras.Input((None, None, 1))
    v = keras.Input((None, None, 2))
    head = deepam_tf.UncertaintyHead(filters=4)
    model = keras.Model([u, v], head([u, u, v, u]))
    model.compile("adam", deepam_tf.probability.NegativeLogLikelihood(head))
    x = [rng.uniform(size=(4, 6, 6, maps)) for maps in (1, 2)]
    losses = model.fit(x, np.zeros([4, 6, 6, 1]), epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


@pytest.mark.slow
def test_a_saved_model_gives_the_same_in_a_process_of_its_own(tmp_path, rng):
    model = model_of("colour, told the noise")
    inputs = inputs_of(model, rng)
    model.save(tmp_path / "model.keras")
    np.savez(tmp_path / "inputs.npz", **{name: x.numpy() for name, x in inputs.items()})
    helpers.run_python(
        "import sys, keras, numpy as np, tensorflow as tf, deepam_tf\n"
        "folder = sys.argv[1]\n"
        "model = keras.saving.load_model(folder + '/model.keras', compile=False)\n"
        "inputs = {k: tf.constant(x) for k, x in np.load(folder + '/inputs.npz').items()}\n"
        "np.savez(folder + '/outputs.npz', **model(inputs))\n"
        "assert 'tensorflow_probability' not in sys.modules",
        str(tmp_path),
    )
    with np.load(tmp_path / "outputs.npz") as found:
        for name, expected in model(inputs).items():
            np.testing.assert_array_equal(found[name], expected)
