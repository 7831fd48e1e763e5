"""From a decoded picture to a restored one, as the command, a server and a page do it."""

from __future__ import annotations

import concurrent.futures

import cv2
import numpy as np
import pytest

import deepam_tf
from deepam_tf.data.noise import PoissonGaussian
from deepam_tf.files.levels import Levels, from_unit, to_unit
from deepam_tf.files.pictures import Picture
from deepam_tf.restoration import picture as module


@pytest.fixture
def gray(rng) -> Picture:
    return Picture(noisy(rng, 0.1, 1), None, np.dtype("uint8"))


def noisy(rng, stddev: float, channels: int) -> np.ndarray:
    scene = np.full((48, 64, channels), 0.3, np.float32)
    scene[12:36, 16:50] = 0.7
    return (scene + stddev * rng.normal(size=scene.shape)).astype(np.float32)


def test_all_but_the_pixels_stays(rng):
    alpha = rng.integers(0, 65536, (48, 64), dtype=np.uint16)
    given = Picture(noisy(rng, 0.05, 3), alpha, np.dtype("uint16"))
    result = deepam_tf.restore_picture(given, noise=0.05)
    assert result.model_name == "denoise_color"
    assert result.picture.alpha is alpha
    assert result.picture.dtype == np.uint16
    assert result.picture.pixels.shape == given.pixels.shape
    assert result.notes == ()
    assert not result.noise.estimated
    assert result.noise.stddev() == pytest.approx(0.05)


@pytest.mark.slow
def test_the_path_is_restore_with_what_was_found(gray):
    """The one function gives what its parts give one by one."""
    result = deepam_tf.restore_picture(gray)
    stddev = deepam_tf.noise.estimate_noise_stddev(gray.pixels)
    model = deepam_tf.load_pretrained("denoise_gray")
    parts = deepam_tf.restore(model, gray.pixels, noise_stddev=stddev)
    np.testing.assert_allclose(result.picture.pixels, parts, atol=1e-5)
    assert [note.kind for note in result.notes] == ["noise"]
    assert f"sigma {255 * stddev:.1f}" in str(result.notes[0])


def test_three_equal_channels_are_gray(gray):
    threefold = Picture(np.repeat(gray.pixels, 3, axis=-1), None, gray.dtype)
    result = deepam_tf.restore_picture(threefold, noise=0.1)
    assert result.model_name == "denoise_gray"
    alone = deepam_tf.restore_picture(gray, noise=0.1).picture.pixels
    np.testing.assert_array_equal(result.picture.pixels, np.repeat(alone, 3, axis=-1))


@pytest.mark.slow
def test_noise_that_depends_on_the_signal_is_told_as_a_map(gray):
    levels = PoissonGaussian(0.02, 1e-4)
    result = deepam_tf.restore_picture(gray, noise=levels)
    model = deepam_tf.load_pretrained("denoise_gray")
    parts = deepam_tf.restore(model, gray.pixels, noise_stddev=levels.stddev_map(gray.pixels))
    np.testing.assert_allclose(result.picture.pixels, parts, atol=1e-5)
    assert result.noise == module.Noise("signal-dependent", levels, estimated=False)
    measured = deepam_tf.restore_picture(gray, noise="signal-dependent")
    assert measured.noise.estimated
    assert "in white" in str(measured.notes[0]) or measured.noise.levels.gain == 0


@pytest.mark.slow
def test_notes_are_told_at_once_and_returned(gray):
    told = []
    result = deepam_tf.restore_picture(
        gray,
        model="denoise_gray_s15",
        on_note=told.append,
        on_progress=lambda done, total: told.append(done),
    )
    assert tuple(told[:2]) == result.notes
    assert [note.kind for note in result.notes] == ["noise", "range"]
    assert "trained for sigma 15 alone" in result.notes[1].text
    assert told[2:] == [0, 1]


def test_a_guide_goes_to_a_model_of_ones_own(gray, rng):
    model = deepam_tf.DeepAM(
        1, image_channels=3, guide_channels=1, filters=4, depth=6, noise_level=True
    )
    guide = Picture(noisy(rng, 0.0, 3), None, np.dtype("uint8"))
    result = deepam_tf.restore_picture(gray, guide, noise=0.1, model=model)
    assert result.picture.pixels.shape == gray.pixels.shape
    assert result.model_name == model.name


@pytest.mark.slow
def test_a_guide_that_shows_something_else_is_left_out_with_a_word(rng):
    given = Picture(noisy(rng, 0.1, 3), None, np.dtype("uint8"))
    black = Picture(np.zeros((48, 64, 1), np.float32), None, np.dtype("uint8"))
    result = deepam_tf.restore_picture(given, black, noise=0.1)
    alone = deepam_tf.restore_picture(given, noise=0.1)
    assert result.model_name == alone.model_name == "denoise_color"
    np.testing.assert_array_equal(result.picture.pixels, alone.picture.pixels)
    assert [(note.kind, note.text) for note in result.notes] == [
        ("guide", "the guide shows nothing: restored without it")
    ]
    # Whoever names the weights has looked.
    assert deepam_tf.restore_picture(given, black, noise=0.1, model="fuse_nir").notes == ()


def test_the_result_may_take_the_place_of_the_picture(gray):
    given = gray.pixels.copy()
    expected = deepam_tf.restore_picture(gray, noise=0.1).picture.pixels
    np.testing.assert_array_equal(gray.pixels, given)
    kept = deepam_tf.restore_picture(gray, noise=0.1, strength=0.5, overwrite=True)
    np.testing.assert_array_equal(gray.pixels, given)  # of a mixture both parts are needed
    assert np.abs(kept.picture.pixels - expected).max() > 1e-3
    result = deepam_tf.restore_picture(gray, noise=0.1, overwrite=True)
    assert result.picture.pixels is gray.pixels
    np.testing.assert_array_equal(gray.pixels, expected)


@pytest.mark.slow
def test_cancelling_goes_through_and_leaves_nothing_broken(gray):
    class CancelledError(Exception):
        pass

    wide = Picture(np.tile(gray.pixels, (1, 4, 1))[:, :200], None, gray.dtype)

    def cancel(done: int, total: int) -> None:
        assert total == 4
        if done == 2:
            raise CancelledError

    with pytest.raises(CancelledError):
        deepam_tf.restore_picture(wide, noise=0.1, tile=32, on_progress=cancel)
    deepam_tf.restore_picture(wide, noise=0.1, tile=32)


@pytest.mark.slow
def test_threads_share_one_model(gray, monkeypatch):
    loaded = []

    def load(name, **overrides):
        loaded.append(name)
        return deepam_tf.load_pretrained(name, **overrides)

    monkeypatch.setattr(module, "load_pretrained", load)
    module._cached_restorer.cache_clear()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(deepam_tf.restore_picture, gray, noise=0.1) for _ in range(8)]
        results = [job.result().picture.pixels for job in jobs]
    assert loaded == ["denoise_gray"]
    for result in results[1:]:
        np.testing.assert_allclose(result, results[0], atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"noise": 25}, "Divide sigma"),
        ({"noise": -0.1}, "standard deviation"),
        ({"noise": "pink"}, "one of"),
        ({"method": "median"}, "`method` must be one of"),
        ({"method": "tv", "noise": "signal-dependent"}, "takes white noise"),
        ({"method": "tv", "model": "denoise_gray"}, "takes white noise"),
        ({"model": "denoise_grey"}, "Did you mean"),
        ({"model": "denoise_gray_s25", "noise": "signal-dependent"}, "needs weights"),
        ({"guide": Picture(np.zeros((2, 3, 1), np.float32), None, np.dtype("uint8"))}, "size of"),
        (
            {
                "guide": Picture(np.zeros((48, 64, 1), np.float32), None, np.dtype("uint8")),
                "model": "denoise_gray",
                "noise": 0.1,
            },
            "must take a guide",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(gray, arguments, message):
    with pytest.raises(ValueError, match=rf"{message}.*"):
        deepam_tf.restore_picture(gray, **arguments)


def camera_noisy(rng, channels: int) -> Picture:
    noise = rng.normal(size=(50, 66, channels))
    noise = sum(noise[y : y + 48, x : x + 64] for y in range(3) for x in range(3)) / 3
    pixels = noisy(rng, 0.0, channels) + np.float32(0.04) * noise
    return Picture(pixels.astype(np.float32), None, np.dtype("uint8"))


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
def test_camera_noise_goes_through_its_own_weights(rng, channels):
    given = camera_noisy(rng, channels)
    result = deepam_tf.restore_picture(given)
    assert result.model_name == "denoise_camera"
    assert result.noise.kind == "camera"
    assert result.picture.pixels.shape == given.pixels.shape
    assert "camera noise" in str(result.notes[0])
    # A model that was asked for is taken, and told one level.
    assert deepam_tf.restore_picture(given, model="denoise_gray").model_name == "denoise_gray"


def test_a_picture_without_noise_comes_back_as_it_is():
    clean = np.tile(np.linspace(0.2, 0.7, 64, dtype=np.float32)[:, None, None], [1, 64, 3])
    given = Picture(clean, None, np.dtype("uint8"))
    result = deepam_tf.restore_picture(given)
    assert result.picture is given
    assert result.noise.kind == "none"
    assert [str(note) for note in result.notes] == ["no noise found"]


@pytest.mark.slow
def test_strength_scales_the_level_that_is_told(gray):
    model = deepam_tf.load_pretrained("denoise_gray")
    for strength in (0.5, 2.0):
        result = deepam_tf.restore_picture(gray, noise=0.1, strength=strength)
        parts = deepam_tf.restore(model, gray.pixels, noise_stddev=0.1 * strength)
        np.testing.assert_allclose(result.picture.pixels, parts, atol=1e-5)
    unchanged = deepam_tf.restore_picture(gray, noise=0.1, strength=0.0).picture
    np.testing.assert_array_equal(unchanged.pixels, gray.pixels)
    with pytest.raises(ValueError, match=r"`strength`.*Received"):
        deepam_tf.restore_picture(gray, noise=0.1, strength=0.5, model="denoise_gray_s25")


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("gray", {}),
        ("color", {}),
        ("three equal channels", {}),
        ("camera", {}),
        ("gray camera", {}),
        ("color", {"strength": 0.5}),
        ("color", {"noise": PoissonGaussian(0.01, 1e-4)}),
        ("color", {"method": "tv", "noise": 0.1}),
    ],
)
def test_integers_give_what_floats_give(rng, kind, options):
    channels = 1 if kind.startswith("gray") else 3
    pixels = noisy(rng, 0.1, 1 if kind == "three equal channels" else channels)
    if "camera" in kind:  # of several pixels
        pixels += 3 * (cv2.blur(pixels, (3, 3)).reshape(pixels.shape) - pixels)
    numbers = from_unit(np.repeat(pixels, channels // pixels.shape[-1], axis=-1), np.uint8)
    floats = deepam_tf.restore_picture(Picture(to_unit(numbers), None, numbers.dtype), **options)
    for writeable in (False, True):
        given = numbers.copy()
        given.flags.writeable = writeable
        result = deepam_tf.restore_picture(
            Picture(Levels(given), None, numbers.dtype), overwrite=True, **options
        )
        assert (result.model_name, result.noise) == (floats.model_name, floats.noise)
        np.testing.assert_array_equal(result.picture.numbers(), floats.picture.numbers())


def test_integers_stay_without_leave_to_overwrite(rng):
    numbers = from_unit(noisy(rng, 0.1, 3), np.uint8)
    given = Picture(Levels(numbers.copy()), None, numbers.dtype)
    result = deepam_tf.restore_picture(given, noise=0.1)
    np.testing.assert_array_equal(given.numbers(), numbers)
    assert isinstance(result.picture.pixels, np.ndarray)
