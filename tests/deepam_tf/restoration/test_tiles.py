from __future__ import annotations

import gc
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf

import deepam_tf
from deepam_tf.cli.demo import PICTURE
from deepam_tf.data.degradations import benchmark_noise
from deepam_tf.files.levels import Levels, from_unit, to_unit
from deepam_tf.restoration import engine, tiles, windows

NAME = "denoise_gray_s25"


@pytest.fixture(scope="module")
def model():
    return deepam_tf.load_pretrained(NAME)


@pytest.fixture(scope="module")
def noisy():
    rng = np.random.default_rng(0)
    scene = np.add.outer(np.linspace(0, 1, 150), np.linspace(0, 0.5, 170)) / 1.5
    scene[40:90, 30:120] = 0.2
    return (scene + 25 / 255 * rng.normal(size=scene.shape)).astype(np.float32)[..., np.newaxis]


def test_tiles_agree_with_the_image_in_one_piece(model, noisy):
    whole = deepam_tf.restore(model, noisy)
    direct = model({"image": noisy[np.newaxis]}, training=False)["restored"][0]
    np.testing.assert_allclose(whole, direct, atol=1e-5)
    tiled = deepam_tf.restore(model, noisy, tile=32)
    assert deepam_tf.Restorer(model, tile=32).count_tiles(150, 170) > 1
    assert np.abs(tiled - whole).max() < 0.25 / 255
    assert np.abs(tiled - whole).mean() < 0.02 / 255


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 1), (5, 13)])
def test_any_size(model, size):
    image = np.full((*size, 1), 0.5, np.float32)
    restored = deepam_tf.restore(model, image)
    assert restored.shape == image.shape
    assert np.all(np.isfinite(restored))


@pytest.mark.slow
def test_colour_is_restored_channel_by_channel(model, noisy):
    color = np.concatenate([noisy, noisy[::-1], noisy[:, ::-1]], axis=-1)[:40, :50]
    together = deepam_tf.restore(model, color)
    for c in range(3):
        alone = deepam_tf.restore(model, color[..., c : c + 1])
        np.testing.assert_allclose(together[..., c : c + 1], alone, atol=1e-4)


def test_float64_input_gives_float32(model, noisy):
    restored = deepam_tf.restore(model, noisy[:20, :20].astype(np.float64))
    assert restored.dtype == np.float32


def test_progress_is_told_of_every_tile(model, noisy):
    restorer = deepam_tf.Restorer(model, tile=64, overlap=0)
    calls = []
    restorer(noisy[:100, :130], on_tile=lambda: calls.append(1))
    assert len(calls) == restorer.count_tiles(100, 130) == 6


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (np.zeros((4, 4, 1), np.uint8), TypeError, "floating"),
        (np.zeros((4, 4)), ValueError, "shape"),
        (np.zeros((0, 4, 1)), ValueError, "zero"),
        (np.full((4, 4, 1), np.nan), ValueError, "finite"),
    ],
)
def test_wrong_images_are_refused(model, image, error, message):
    with pytest.raises(error, match=rf"{message}.*Received"):
        deepam_tf.restore(model, image)


@pytest.mark.parametrize(
    ("image", "stddev", "message"),
    [
        (np.zeros((40, 40, 1)), 25.0, "Divide sigma"),
        (np.full((40, 40, 1), 120.0), 0.1, "Divide pictures"),
        (np.eye(40)[..., np.newaxis] * 255, 0.1, "Divide pictures"),
        (np.full((40, 40, 1), 2.5), 0.1, "Divide pictures"),
        (np.full((40, 40, 1), -120.0), 0.1, "Divide pictures"),
    ],
)
def test_other_units_are_refused(told, image, stddev, message):
    with pytest.raises(ValueError, match=rf"Received.*{message}"):
        deepam_tf.restore(told, image, noise_stddev=stddev)


def test_strong_noise_is_no_other_unit(told, rng):
    for size in ((1, 1, 1), (40, 40, 1)):
        image = (rng.integers(0, 2, size) + rng.normal(size=size)).astype(np.float32)
        assert np.isfinite(deepam_tf.restore(told, image, noise_stddev=1.0)).all()


@pytest.mark.parametrize("tile", [8, 20, 500])
def test_a_picture_may_be_overwritten_by_its_result(rng, tile):
    """What windows below see of the picture is what it was."""
    mean = tf.ones([15, 15, 1, 1]) / 225
    restorer = deepam_tf.Restorer(lambda x: tf.nn.conv2d(x, mean, 1, "SAME"), tile=tile, overlap=16)
    image = rng.uniform(size=(75, 61, 3)).astype(np.float32)
    expected = restorer(image)
    result = restorer(image, out=image)
    assert result is image
    np.testing.assert_array_equal(image, expected)
    with pytest.raises(ValueError, match=r"`out`.*Received"):
        restorer(image, out=np.zeros((75, 61, 3)))


@pytest.mark.slow
def test_solves_compiled_for_large_pictures_agree(model, noisy, monkeypatch):
    plain = deepam_tf.restore(model, noisy[:96, :96])
    compiled = deepam_tf.Restorer(model, jit_compile=True)(noisy[:96, :96])
    monkeypatch.setattr(tiles, "_COMPILED_FROM", 96 * 96)
    np.testing.assert_array_equal(deepam_tf.restore(model, noisy[:96, :96]), compiled)
    exact = deepam_tf.restore(model, noisy[:96, :96], rtol=1e-6)
    errors = [np.abs(x - exact).max() for x in (compiled, plain)]
    assert 0 < errors[0] < errors[1] < 0.5 / 255


def test_solves_are_compiled_where_their_steps_are_few():
    few = deepam_tf.DeepAM(1, filters=4, depth=3)
    many = deepam_tf.DeepAM(1, filters=4, depth=3, gamma_min=1e-6)
    loose = deepam_tf.DeepAM(1, filters=4, depth=3, rtol=0.1)
    engines = [engine.engine_of(model) for model in (few, many, loose)]
    assert [x.run_often is x.run for x in engines] == [False, True, True]


def test_several_pictures_are_what_each_is_alone(told, rng):
    """Also colour through a model of one channel, maps of noise, and sizes that differ."""
    sizes = [(20, 24, 1), (20, 24, 3), (9, 30, 1), (20, 24, 1), (20, 24, 3)]
    images = [rng.uniform(size=size).astype(np.float32) for size in sizes]
    levels = [0.1, 0.2, rng.uniform(size=(9, 30, 1)), 0.05, 0.01]
    restorer = deepam_tf.Restorer(told)
    runs = []
    whole = restorer._engine.run

    def counted(inputs):
        runs.append(len(inputs["image"]))
        return whole(inputs)

    restorer._engine.run = counted
    try:
        together = restorer.restore_all(images, noise_stddev=levels)
    finally:
        restorer._engine.run = whole
    assert sorted(runs) == [1, 2, 6]
    for image, level, result in zip(images, levels, together, strict=True):
        np.testing.assert_allclose(result, restorer(image, noise_stddev=level), atol=1e-5)
    assert restorer.restore_all([]) == []
    with pytest.raises(ValueError, match=r"one noise level.*Received: 2, 1, 1"):
        restorer.restore_all(images[:1], noise_stddev=[0.1, 0.2])


def test_weights_count_that_changed_since_the_last_call(rng):
    """What is kept of a model is its graph, not its weights."""
    model = deepam_tf.DeepAM(1, filters=4, depth=3)
    image = rng.uniform(size=(9, 8, 1)).astype(np.float32)
    before = deepam_tf.restore(model, image)
    for variable in model.variables:
        variable.assign(np.abs(rng.normal(size=variable.shape)))
    after = deepam_tf.restore(model, image)
    direct = model({"image": image[np.newaxis]}, training=False)["restored"][0]
    np.testing.assert_allclose(after, direct, atol=1e-5)
    assert np.abs(after - before).max() > 1e-2


@pytest.mark.slow
def test_restore_keeps_what_it_made_as_long_as_the_model():
    model = deepam_tf.DeepAM(1, filters=4, depth=3)
    image = np.zeros((9, 8, 1), np.float32)
    deepam_tf.restore(model, image)
    traced = engine.engine_of(model).run
    deepam_tf.restore(model, image[:5])
    assert engine.engine_of(model).run is traced
    assert traced.experimental_get_tracing_count() == 1
    last = weakref.ref(model)
    del model, traced
    gc.collect()
    assert last() is None


def test_other_keras_models_and_functions(rng):
    image = rng.uniform(size=(9, 8, 1)).astype(np.float32)
    pixels = keras.Input((None, None, 1))
    double = keras.Model(pixels, keras.layers.Rescaling(2.0)(pixels))
    np.testing.assert_allclose(deepam_tf.restore(double, image), 2 * image)
    np.testing.assert_allclose(deepam_tf.restore(lambda x: 3 * x, image), 3 * image)
    model = deepam_tf.DeepAM(1, filters=4, depth=3)
    np.testing.assert_allclose(
        deepam_tf.restore(model.iterates(), image), deepam_tf.restore(model, image), atol=1e-6
    )
    photo = keras.Input((None, None, 1), name="photo")
    named = keras.Model({"photo": photo}, {"restored": 2 * photo})
    flat = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    for wrong in (named, flat, keras.Sequential([]), "denoise_gray", None):
        with pytest.raises(TypeError, match=r"Received"):
            deepam_tf.Restorer(wrong)


@pytest.fixture(scope="module")
def filling():
    """A model for pictures with holes whose networks answer to all they see."""
    model = deepam_tf.DeepAM(
        2, filters=6, depth=6, guide_channels=1, mask=True, pixel_unshuffle=2, residual=True,
        shift_invariant=True, preconditioner="multigrid", rtol=1e-6,
    )  # fmt: skip
    rng = np.random.default_rng(1)
    for k in (1, 2):
        head = model.get_layer(f"iteration_{k}_aggregation").v_head
        head.kernel.assign(0.02 * rng.normal(size=head.kernel.shape))
    return model


@pytest.mark.slow
@pytest.mark.parametrize("width", [40, 200])
def test_holes_of_any_width_have_no_seams(filling, width):
    """A hole over tile borders, up to more than half of the picture."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:40, :301] / 301
    image = (0.3 + 0.4 * x + 0.3 * y + 0.2 * (x > 0.4)).astype(np.float32)[..., np.newaxis]
    guide = rng.uniform(size=image.shape).astype(np.float32)
    mask = np.ones_like(image)
    mask[:, 150 - width // 2 : 150 + width // 2] = 0
    given = {"image": image, "guide": guide, "mask": mask}
    whole = filling({name: x[np.newaxis] for name, x in given.items()})["restored"][0]
    restorer = deepam_tf.Restorer(filling, tile=32)
    calls = []
    tiled = restorer(image, guide=guide, mask=mask, on_tile=lambda: calls.append(1))
    assert np.abs(tiled - whole).max() < 0.5 / 255
    assert len(calls) == restorer.count_tiles(40, 301) > 12
    assert np.abs(tiled - image).max() > 2 / 255  # the networks have a say in it


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "self_ensemble"), [(np.uint8, False), (np.uint16, True)])
def test_a_guide_may_stay_integers(filling, rng, dtype, self_ensemble):
    image = rng.uniform(size=(20, 30, 1)).astype(np.float32)
    mask = np.float32(rng.uniform(size=image.shape) > 0.5)
    guide = rng.integers(0, np.iinfo(dtype).max, image.shape).astype(dtype)
    restorer = deepam_tf.Restorer(filling, tile=16, self_ensemble=self_ensemble)
    expected = restorer(image, guide=to_unit(guide), mask=mask)
    np.testing.assert_array_equal(restorer(image, guide=Levels(guide), mask=mask), expected)
    with pytest.raises(ValueError, match=r"`guide` must have shape \[20, 30, 1\]"):
        restorer(image, guide=Levels(guide[1:]), mask=mask)


@pytest.mark.slow
@pytest.mark.parametrize("mask", [False, True])
def test_tiles_of_a_model_with_levels_and_edge_weights_agree(rng, mask):
    model = deepam_tf.DeepAM(
        2, filters=4, depth=8, levels=2, edge_weights=True, pixel_unshuffle=2, residual=True,
        mask=mask, rtol=1e-6,
    )  # fmt: skip
    for variable in model.trainable_variables:
        variable.assign_add(0.05 * rng.standard_normal(variable.shape))
    image = rng.uniform(size=(40, 251, 1)).astype(np.float32)
    given = {"mask": np.ones_like(image)} if mask else {}
    companions = {name: x[np.newaxis] for name, x in given.items()}
    whole = model({"image": image[np.newaxis], **companions}, training=False)["restored"][0]
    restorer = deepam_tf.Restorer(model, tile=32)
    assert len(restorer.windows(40, 251)) > 1
    tiled = restorer(image, **given)
    np.testing.assert_allclose(tiled, whole, atol=2e-3 if not mask else 1e-4)
    assert np.abs(tiled - image).max() > 0.01


def test_solves_of_large_pictures_see_across_holes():
    mask = np.ones((4000, 9000, 1), np.float32)
    mask[1000:1200, 100:8000] = 0
    found = windows.cut_across_holes(mask, 1)
    assert 1 < len(found) <= 12
    for window in found:
        overlap = window.rows.keep_start - window.rows.start
        assert overlap == 0 or overlap >= 200 + 64
    mask[:3000] = 0  # no window sees across it
    assert len(windows.cut_across_holes(mask, 1)) == 1
    mask[:] = 0
    assert len(windows.cut_across_holes(mask, 1)) == 1
    assert len(windows.cut_across_holes(np.ones((1000, 2000, 1)), 1)) == 1


@pytest.mark.parametrize("spacing", [1, 8, 32])
def test_solves_of_depth_maps_are_bounded_and_rarely_done_twice(spacing):
    mask = np.zeros((3000, 4000, 1), np.float32)
    mask[spacing // 2 :: spacing, spacing // 2 :: spacing] = 1
    found = windows.cut_across_holes(mask, 1)
    seen = [np.prod([s.stop - s.start for s in (w.rows, w.columns)]) for w in found]
    assert max(seen) <= 2.5e6
    assert sum(seen) < 1.6 * mask.size


@pytest.mark.slow
def test_solves_in_windows_agree(filling, rng, monkeypatch):
    image, guide = rng.uniform(size=(2, 40, 501, 1)).astype(np.float32)
    mask = np.ones_like(image)
    mask[:, 240:250] = 0
    given = {"guide": guide, "mask": mask}
    whole = deepam_tf.restore(filling, image, **given)
    monkeypatch.setattr(windows, "_SOLVED_AT_ONCE", (9999, 19999))
    monkeypatch.setattr(windows, "_BEYOND_HOLES", 30)
    assert len(windows.cut_across_holes(mask, 1)) > 3
    assert np.abs(deepam_tf.restore(filling, image, **given) - whole).max() < 0.25 / 255


def test_wrong_channels_and_tiles_are_refused(model):
    rgb = deepam_tf.DeepAM(1, image_channels=3, filters=4, depth=3)
    with pytest.raises(ValueError, match=r"3 channels.*Received"):
        deepam_tf.restore(rgb, np.zeros((4, 4, 1)))
    with pytest.raises(ValueError, match=r"positive.*Received"):
        deepam_tf.Restorer(model, tile=0)


@pytest.mark.slow
def test_solves_of_the_shipped_weights_are_converged(model, noisy):
    # Not co-adapted to a truncated solve: a tolerance 100 times tighter changes nothing.
    tight = deepam_tf.load_pretrained(NAME, rtol=model.rtol / 100)
    clean = deepam_tf.image_io.read(PICTURE).pixels
    portrait = clean + benchmark_noise(clean.shape, 25 / 255, 0)
    decibels = [
        deepam_tf.metrics.psnr(clean[np.newaxis], deepam_tf.restore(m, portrait)[np.newaxis])[0]
        for m in (model, tight)
    ]
    assert abs(decibels[0] - decibels[1]) < 0.02
    iterates = model.iterates()({"image": noisy[np.newaxis]})
    for k in (1, 2, 3):
        _, info = deepam_tf.reconstruct_with_info(
            noisy[np.newaxis], iterates[f"v_{k}"], iterates[f"gamma_{k}"], rtol=model.rtol
        )
        assert bool(info.converged[0])
        assert int(info.num_steps[0]) < model.max_steps


@pytest.mark.slow
def test_every_iterate_of_the_shipped_weights_is_an_image(model, noisy):
    clean = deepam_tf.restore(model, noisy)
    iterates = model.iterates()({"image": noisy[np.newaxis]})
    for k in (1, 2):
        u = iterates[f"u_{k}"][0].numpy()
        assert np.sqrt(np.mean((u - clean) ** 2)) < 0.5 * np.sqrt(np.mean((noisy - clean) ** 2))
    assert tf.reduce_min(iterates["gamma_1"]) >= model.gamma_min


@pytest.mark.slow
@pytest.mark.parametrize("size", [(12, 18), (7, 9)])
@pytest.mark.parametrize(("turns", "direction"), [(1, 1), (2, 1), (0, -1), (3, -1)])
def test_mean_over_orientations_turns_as_the_picture_does(size, turns, direction):
    # Any function of pictures becomes equivariant, here one that is far from it: networks on
    # blocks of pixels, told a map and a guide.
    model = deepam_tf.DeepAM(
        1, filters=4, depth=6, pixel_unshuffle=2, residual=True, noise_level=True, guide_channels=1
    )
    head = model.get_layer("iteration_1_aggregation").v_head
    rng = np.random.default_rng(0)
    head.kernel.assign(rng.normal(size=head.kernel.shape))
    restorer = deepam_tf.Restorer(model, self_ensemble=True)
    image, level, guide = rng.uniform(size=(3, *size, 1)).astype(np.float32)

    def moved(x):
        return np.rot90(x[:, ::direction], turns)

    straight = restorer(image, noise_stddev=level, guide=guide)
    turned = restorer(moved(image), noise_stddev=moved(level), guide=moved(guide))
    np.testing.assert_allclose(turned, moved(straight), atol=1e-5)
    alone = deepam_tf.Restorer(model)
    once = alone(image, noise_stddev=level, guide=guide)
    other = alone(moved(image), noise_stddev=moved(level), guide=moved(guide))
    assert np.abs(other - moved(once)).max() > 1e-2


@pytest.mark.slow
def test_mean_over_orientations_is_closer_to_the_truth(model):
    clean = deepam_tf.image_io.read(PICTURE).pixels[100:260, 100:260]
    noisy = clean + benchmark_noise(clean.shape, 25 / 255, 0)
    errors = [
        np.mean((deepam_tf.restore(model, noisy, self_ensemble=chosen) - clean) ** 2)
        for chosen in (False, True)
    ]
    assert errors[1] < errors[0]


@pytest.fixture(scope="module")
def told():
    """A model that takes the noise level, with random weights."""
    return deepam_tf.DeepAM(
        2, filters=8, depth=3, pixel_unshuffle=2, residual=True, noise_level=True
    )


def test_noise_level_as_a_number_or_a_map(told, noisy):
    restorer = deepam_tf.Restorer(told, tile=64, overlap=32)
    assert restorer.count_tiles(150, 170) == 4
    same = np.full((150, 170, 1), 0.1)
    by_number = restorer(noisy, noise_stddev=0.1)
    np.testing.assert_allclose(restorer(noisy, noise_stddev=same), by_number, atol=1e-6)
    # Its tiles cut the map as they cut the image.
    ramp = np.linspace(0, 0.3, 150 * 170).reshape(150, 170, 1)
    whole = deepam_tf.restore(told, noisy, noise_stddev=ramp, tile=1000)
    assert np.abs(restorer(noisy, noise_stddev=ramp) - whole).max() < 0.5 / 255
    assert np.abs(whole - by_number).max() > 1e-4
    color = np.repeat(noisy[:20, :30], 3, axis=-1)
    for level in (0.1, same[:20, :30]):
        restored = restorer(color, noise_stddev=level)
        np.testing.assert_allclose(restored[..., :1], restored[..., 2:], atol=1e-6)


@pytest.mark.parametrize("level", [-0.1, np.nan, np.zeros((3, 4, 1)), np.zeros((9, 9))])
def test_impossible_noise_levels_are_refused(told, level):
    with pytest.raises(ValueError, match=r"noise_stddev.*Received"):
        deepam_tf.restore(told, np.zeros((9, 9, 1)), noise_stddev=level)


def test_noise_level_goes_where_it_is_wanted(told, model):
    with pytest.raises(ValueError, match=r"must be given to.*Received"):
        deepam_tf.restore(told, np.zeros((9, 9, 1)))
    with pytest.raises(ValueError, match=r"is not taken by.*Received"):
        deepam_tf.restore(model, np.zeros((9, 9, 1)), noise_stddev=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("flat", [False, True], ids=["noisy rim", "quiet rim"])
@pytest.mark.parametrize(("dtype", "white"), [("u1", None), ("u2", 4095)])
def test_integers_are_restored_in_their_place(model, rng, flat, dtype, white):
    """The same as of their floats, rounded: in windows, and with a frame around a quiet rim."""
    scene = np.full([70, 90, 3], 0.6)
    scene[20:50, 30:60] = 0.2
    noise = 25 / 255 * rng.normal(size=scene.shape)
    if flat:
        noise[:9] = 0
    numbers = from_unit(scene + noise, dtype, white)
    restorer = deepam_tf.Restorer(model, tile=24, overlap=8)
    assert restorer.count_tiles(70, 90) > 1
    restored = from_unit(restorer(to_unit(numbers, white)), dtype, white)
    calls = []
    restorer.in_place(Levels(numbers, white), on_tile=lambda: calls.append(1))
    assert len(calls) == restorer.count_tiles(70, 90, 3)
    np.testing.assert_array_equal(numbers, restored)
