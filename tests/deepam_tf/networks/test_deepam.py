from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import deepam_tf
from tests import helpers

SMALL = {"filters": 8, "depth": 3}


@pytest.mark.parametrize(("num_iterations", "image_channels"), [(1, 1), (3, 3)])
def test_names_and_shapes(num_iterations, image_channels):
    model = deepam_tf.DeepAM(num_iterations, image_channels=image_channels, **SMALL)
    image = tf.random.uniform([2, 9, 12, image_channels])
    outputs = model({"image": image})
    assert list(outputs) == ["restored"]
    assert outputs["restored"].shape == image.shape
    assert list(model.input) == ["image"]

    iterates = model.iterates()({"image": image})
    names = {"restored"} | {
        f"{x}_{k}" for x in ("u", "v", "gamma") for k in range(1, num_iterations + 1)
    }
    assert set(iterates) == names
    np.testing.assert_array_equal(iterates["restored"], outputs["restored"])
    np.testing.assert_array_equal(iterates[f"u_{num_iterations}"], outputs["restored"])
    for k in range(1, num_iterations + 1):
        solved = deepam_tf.reconstruct(image, iterates[f"v_{k}"], iterates[f"gamma_{k}"])
        np.testing.assert_allclose(iterates[f"u_{k}"], solved, atol=1e-5)
        assert model.get_layer(f"iteration_{k}_reconstruction").count_params() == 0


BEYOND = {"filters": 8, "depth": 8, "levels": 2, "edge_weights": True}


def _moved(model, rng):
    """The model with nothing left at zero, as training leaves it."""
    for variable in model.trainable_variables:
        variable.assign_add(0.05 * rng.standard_normal(variable.shape))
    return model


@pytest.mark.slow
def test_solves_take_the_weights_of_the_edges(rng):
    model = _moved(deepam_tf.DeepAM(2, image_channels=3, rtol=1e-6, **BEYOND), rng)
    image = tf.constant(rng.uniform(size=(2, 9, 13, 3)), tf.float32)
    iterates = model.iterates()({"image": image})
    for k in (1, 2):
        f, v, gamma = image, iterates[f"v_{k}"], iterates[f"gamma_{k}"]
        assert iterates[f"w_{k}"].shape == (2, 9, 13, 2)
        solved = deepam_tf.reconstruct(f, v, gamma, edge_weight=iterates[f"w_{k}"])
        np.testing.assert_allclose(iterates[f"u_{k}"], solved, atol=1e-4)
        unweighted = deepam_tf.reconstruct(f, v, gamma)
        assert np.abs(iterates[f"u_{k}"] - unweighted).max() > 1e-3


@pytest.mark.slow
def test_models_past_the_paper_make_the_round_trip(tmp_path, rng):
    model = _moved(deepam_tf.DeepAM(2, noise_level=True, pixel_unshuffle=2, **BEYOND), rng)
    x = {
        "image": rng.uniform(size=(1, 12, 10, 1)).astype(np.float32),
        "noise_stddev": np.full([1, 1, 1, 1], 0.1, np.float32),
    }
    model.save(tmp_path / "model.keras")
    deepam_tf.save_pretrained(model, tmp_path / "weights")
    for again in (
        keras.saving.load_model(tmp_path / "model.keras"),
        deepam_tf.load_pretrained(tmp_path / "weights"),
    ):
        assert (again.levels, again.edge_weights) == (2, True)
        np.testing.assert_array_equal(again(x)["restored"], model(x)["restored"])


def test_each_iteration_has_weights_of_its_own():
    model = deepam_tf.DeepAM(2, **SMALL)
    first, second = (model.get_layer(f"iteration_{k}_aggregation") for k in (1, 2))
    assert not {id(v) for v in first.variables} & {id(v) for v in second.variables}
    assert not np.array_equal(first.convolutions[1].kernel, second.convolutions[1].kernel)


@pytest.mark.slow
def test_file_round_trip_in_a_new_process_is_bit_equal(tmp_path, rng):
    model = deepam_tf.DeepAM(2, rtol=1e-4, gamma_min=0.05, **SMALL)
    image = rng.uniform(size=(1, 12, 10, 1)).astype(np.float32)
    for variable in model.variables:  # not only what a fresh model would have anyway
        variable.assign(variable + 0.01 * tf.abs(tf.random.normal(variable.shape)))
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "image.npy", image)
    np.save(tmp_path / "restored.npy", model({"image": image})["restored"])
    printed = helpers.run_python(
        "import sys, keras, numpy as np, deepam_tf\n"
        "model = keras.saving.load_model(sys.argv[1] + '/model.keras')\n"
        "image, restored = (np.load(f'{sys.argv[1]}/{n}.npy') for n in ('image', 'restored'))\n"
        "print(type(model).__name__, model.rtol, model.gamma_min)\n"
        "print(np.array_equal(model({'image': image})['restored'], restored))",
        str(tmp_path),
    )
    assert printed.split() == ["DeepAM", "0.0001", "0.05", "True"]


def test_config_round_trip():
    model = deepam_tf.DeepAM(1, image_channels=3, max_steps=77, dtype="mixed_bfloat16", **SMALL)
    assert deepam_tf.DeepAM.from_config(model.get_config()).get_config() == model.get_config()


def test_settings_of_the_solver_cannot_part_from_what_is_solved(rng):
    model = deepam_tf.DeepAM(2, rtol=1e-6, **SMALL)
    for weight in model.trainable_variables:  # v nearly D u would leave nothing to solve
        weight.assign_add(0.1 * tf.random.stateless_normal(weight.shape, [0, 1]))
    for name, value in {"rtol": 1e-2, "max_steps": 3, "preconditioner": "none"}.items():
        with pytest.raises(AttributeError, match=rf"{name}=.*with_solver\({name}="):
            setattr(model, name, value)
    quick = model.with_solver(rtol=1e-2, max_steps=3, preconditioner="none")
    assert (quick.rtol, quick.max_steps, quick.preconditioner) == (1e-2, 3, "none")
    assert (model.rtol, model.max_steps, model.preconditioner) == (1e-6, 500, "jacobi")
    changed = {"rtol": 1e-2, "max_steps": 3, "preconditioner": "none"}
    assert quick.get_config() == {**model.get_config(), **changed}
    assert model.with_solver().get_config() == model.get_config()
    for layer in quick.layers:
        if isinstance(layer, deepam_tf.Reconstruction):
            assert (layer.rtol, layer.max_steps, layer.preconditioner) == (1e-2, 3, "none")
    for a, b in zip(quick.variables, model.variables, strict=True):
        np.testing.assert_array_equal(a, b)
        assert a is not b
    image = {"image": rng.uniform(size=(1, 12, 12, 1)).astype(np.float32)}
    error = np.abs(quick(image)["restored"] - model(image)["restored"]).max()
    assert 1e-5 < error < 0.3


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_solves_in_float32(rng, policy):
    exact = deepam_tf.DeepAM(2, **SMALL)
    mixed = deepam_tf.DeepAM(2, dtype=policy, **SMALL)
    mixed.set_weights(exact.get_weights())
    image = rng.uniform(size=(1, 16, 16, 1)).astype(np.float32)
    iterates = mixed.iterates()({"image": image})
    network = mixed.get_layer("iteration_1_aggregation")
    assert network.v_head.compute_dtype == policy.removeprefix("mixed_")
    assert iterates["v_1"].dtype == tf.float32
    assert iterates["u_1"].dtype == iterates["restored"].dtype == tf.float32
    np.testing.assert_allclose(iterates["restored"], exact({"image": image})["restored"], atol=5e-3)
    for layer in mixed.layers:
        if isinstance(layer, deepam_tf.Reconstruction):
            assert layer.compute_dtype == "float32"


def test_float64_model_agrees_with_float32(rng):
    single, double = deepam_tf.DeepAM(1, **SMALL), deepam_tf.DeepAM(1, dtype="float64", **SMALL)
    double.set_weights(single.get_weights())
    image = rng.uniform(size=(1, 8, 8, 1))
    restored = double({"image": image})["restored"]
    assert restored.dtype == tf.float64
    np.testing.assert_allclose(single({"image": image})["restored"], restored, atol=1e-4)


@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_three_iterations_train_through_fit(rng, jit_compile):
    model = deepam_tf.DeepAM(3, **SMALL)
    model.compile("sgd", loss="mean_absolute_error", jit_compile=jit_compile)
    x = rng.uniform(size=(4, 8, 8, 1)).astype(np.float32)
    history = model.fit({"image": x}, {"restored": x}, batch_size=2, epochs=1, verbose=0)
    assert np.isfinite(history.history["loss"][0])


@pytest.mark.slow
@pytest.mark.parametrize("edge_weights", [False, True])
def test_solves_compiled_with_a_tolerance_of_their_own_train_alike(rng, tmp_path, edge_weights):
    model = deepam_tf.DeepAM(2, rtol=1e-6, edge_weights=edge_weights, **SMALL)
    for weight in model.trainable_variables:  # v nearly D u would leave nothing to solve
        weight.assign_add(0.1 * tf.random.stateless_normal(weight.shape, [0, 1]))
    x = tf.constant(rng.uniform(size=(2, 12, 12, 1)), tf.float32)

    @tf.function
    def gradient():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.abs(model({"image": x}, training=True)["restored"] - 0.5))
        gradients = tape.gradient(loss, model.trainable_variables)
        return tf.concat([tf.reshape(g, [-1]) for g in gradients], axis=0)

    exact = gradient.python_function()
    model.configure_solves(adjoint_rtol=1e-3, jit_compile=True)
    loose = gradient()
    functions = gradient.get_concrete_function().graph.as_graph_def().library.function
    assert any(f.attr["_XlaMustCompile"].b for f in functions)
    error = float(tf.norm(loose - exact) / tf.norm(exact))
    assert 1e-6 < error < 1e-2

    model.save(tmp_path / "model.keras")
    revived = keras.saving.load_model(tmp_path / "model.keras")
    for layer in revived.layers:
        if isinstance(layer, deepam_tf.Reconstruction):
            assert layer.adjoint_rtol is None
            assert not layer.jit_compile


def test_new_sizes_do_not_trace_again(rng):
    model = deepam_tf.DeepAM(1, **SMALL)
    shapes = [(4, 5, 1), (7, 3, 3), (1, 1, 1), (33, 2, 1), (9, 9, 3)]
    for height, width, _ in shapes:
        image = np.zeros((2, height, width, 1), np.float32)
        assert model.predict_on_batch({"image": image})["restored"].shape == image.shape
    assert model.predict_function.experimental_get_tracing_count() <= 3


def test_gradient_reaches_every_weight(rng):
    model = deepam_tf.DeepAM(2, **SMALL)
    x = tf.constant(rng.uniform(size=(2, 12, 12, 1)), tf.float32)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.abs(model({"image": x}, training=True)["restored"] - 0.5))
    for variable, gradient in zip(
        model.trainable_variables,
        tape.gradient(loss, model.trainable_variables),
        strict=True,
    ):
        assert gradient is not None, variable.path
        assert np.all(np.isfinite(gradient)), variable.path
        assert np.any(gradient), variable.path


@pytest.mark.slow
def test_learns_two_images_by_heart(rng):
    clean = np.repeat(np.repeat(rng.uniform(size=(2, 4, 4, 1)), 4, 1), 4, 2).astype(np.float32)
    noisy = clean + 0.1 * rng.normal(size=clean.shape).astype(np.float32)
    model = deepam_tf.DeepAM(1, filters=16, depth=4)
    model.compile(keras.optimizers.Adam(3e-3), loss="mean_absolute_error")
    history = model.fit({"image": noisy}, {"restored": clean}, epochs=300, verbose=0)
    assert history.history["loss"][-1] < 0.1 * np.abs(noisy - clean).mean()


@pytest.mark.slow
def test_same_seed_gives_the_same_training(rng):
    x = rng.uniform(size=(4, 8, 8, 1)).astype(np.float32)

    def trained():
        keras.utils.set_random_seed(1)
        model = deepam_tf.DeepAM(1, **SMALL)
        model.compile("sgd", loss="mean_absolute_error")
        model.fit({"image": x}, {"restored": x}, batch_size=2, epochs=2, verbose=0, shuffle=False)
        return model.get_weights()

    for a, b in zip(trained(), trained(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_no_iteration_is_refused():
    with pytest.raises(ValueError, match=r"at least 1.*Received"):
        deepam_tf.DeepAM(0)


@pytest.mark.slow
def test_model_that_is_told_the_noise_level(rng):
    options = {"pixel_unshuffle": 2, "residual": True, "noise_level": True, **SMALL}
    model = deepam_tf.DeepAM(2, **options)
    assert set(model.input) == {"image", "noise_stddev"}
    image = tf.constant(rng.uniform(size=(2, 7, 9, 1)), tf.float32)
    level = tf.constant([0.0, 0.3], shape=[2, 1, 1, 1])
    both = model({"image": image, "noise_stddev": level})["restored"]
    assert both.shape == image.shape
    alone = model({"image": image[1:], "noise_stddev": level[1:]})["restored"]
    np.testing.assert_allclose(both[1:], alone, atol=1e-5)
    # It matters, already with random weights.
    other = model({"image": image, "noise_stddev": level[::-1]})["restored"]
    assert np.abs(both - other).max() > 1e-6
    iterates = model.iterates()({"image": image, "noise_stddev": level})
    np.testing.assert_array_equal(iterates["u_2"], both)
    again = deepam_tf.DeepAM.from_config(model.get_config())
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(again({"image": image, "noise_stddev": level})["restored"], both)


def test_a_slip_in_an_argument_is_not_swallowed():
    with pytest.raises(TypeError, match=r"Received: \{'filtres'\}"):
        deepam_tf.DeepAM(1, filters=4, depth=3, filtres=8)


def test_images_are_gray_or_colour():
    with pytest.raises(ValueError, match=r"1 \(gray\) or 3 \(colour\). Received: image_channels=2"):
        deepam_tf.DeepAM(image_channels=2)
