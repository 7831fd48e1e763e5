from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest
import scipy.stats

import deepam_tf
from deepam_tf.restoration import uncertainty
from deepam_tf.restoration.picture import restore_picture

NAME = "denoise_gray"


@pytest.fixture(scope="module")
def model():
    return deepam_tf.load_uncertain(NAME)


@pytest.fixture(scope="module")
def small():
    """A model of one's own with a head that has learnt nothing, and the same without."""
    arguments = {"filters": 4, "depth": 3, "noise_level": True, "pixel_unshuffle": 2}
    model = deepam_tf.DeepAM(1, uncertainty_filters=4, **arguments)
    head = model.get_layer("uncertainty")
    head.log_stddev.kernel.assign(50 * head.log_stddev.kernel)
    plain = deepam_tf.DeepAM(1, **arguments)
    values = {variable.path: variable for variable in model.variables}
    for variable in plain.variables:
        variable.assign(values[variable.path])
    return model, plain


@pytest.fixture
def noisy(rng):
    return (0.5 + 0.1 * rng.normal(size=(40, 50, 1))).astype(np.float32)


def test_heads_fit_the_weights_beside_them():
    assert NAME in deepam_tf.list_uncertainty()
    for name in deepam_tf.list_uncertainty():
        assert uncertainty.has_uncertainty(name), name


@pytest.mark.slow
def test_a_head_of_other_weights_is_refused(tmp_path, model):
    for path in uncertainty.HEADS.glob(f"{NAME}.*"):
        shutil.copy(path, tmp_path)
    card = json.loads((tmp_path / f"{NAME}.json").read_text())
    (tmp_path / f"{NAME}.json").write_text(json.dumps({**card, "weights_sha256": "0" * 64}))
    plain = deepam_tf.load_pretrained(NAME)
    with pytest.raises(ValueError, match="train_uncertainty denoise_gray") as error:
        uncertainty.attach_head(plain, NAME, tmp_path)
    assert "\n" not in str(error.value)
    (tmp_path / f"{NAME}.json").write_text(json.dumps(card))
    (tmp_path / f"{NAME}.npz").write_bytes(b"no arrays")
    with pytest.raises(ValueError, match="damaged"):
        uncertainty.attach_head(plain, NAME, tmp_path)
    with pytest.raises(ValueError, match="'denoise_gray_s15'"):
        deepam_tf.load_uncertain("denoise_gray_s15")


@pytest.mark.slow
def test_a_saved_head_is_read_back(tmp_path, model):
    uncertainty.save_head(model, NAME, {"training": {}}, tmp_path)
    again = uncertainty.attach_head(deepam_tf.load_pretrained(NAME), NAME, tmp_path)
    for a, b in zip(model.variables, again.variables, strict=True):
        np.testing.assert_array_equal(a, b)
    card = uncertainty.head_card(NAME, tmp_path)
    assert card["df"] == pytest.approx(model.get_layer("uncertainty").df, abs=1e-3)


@pytest.mark.slow
def test_restored_is_what_it_is_without_the_head(small, noisy):
    model, plain = (deepam_tf.Restorer(x) for x in small)
    restored, stddev = model.with_stddev(noisy, noise_stddev=0.1)
    np.testing.assert_array_equal(restored, plain(noisy, noise_stddev=0.1))
    np.testing.assert_array_equal(model(noisy, noise_stddev=0.1), restored)
    inputs = {"image": noisy[np.newaxis], "noise_stddev": np.full([1, 1, 1, 1], 0.1, np.float32)}
    np.testing.assert_allclose(stddev, small[0](inputs)["stddev"][0], rtol=1e-3)
    with pytest.raises(ValueError, match="uncertainty head"):
        plain.with_stddev(noisy, noise_stddev=0.1)


@pytest.mark.slow
def test_more_noise_is_more_uncertainty(model, rng):
    restorer = deepam_tf.Restorer(model)
    clean = np.kron(rng.uniform(0.2, 0.8, (5, 6)), np.ones((8, 8)))[..., np.newaxis]
    means = []
    for level in (0.02, 0.1, 0.25):
        noisy = (clean + level * rng.normal(size=clean.shape)).astype(np.float32)
        means.append(restorer.with_stddev(noisy, noise_stddev=level)[1].mean())
    assert means == sorted(means)


def test_tiles_channels_and_orientations_agree_with_one_piece(small, rng):
    model, _ = small
    image = rng.uniform(size=(60, 70, 3)).astype(np.float32)
    whole = deepam_tf.Restorer(model).with_stddev(image, noise_stddev=0.1)
    tiled = deepam_tf.Restorer(model, tile=32, overlap=40).with_stddev(image, noise_stddev=0.1)
    for a, b in zip(whole, tiled, strict=True):
        assert a.shape == image.shape
        np.testing.assert_allclose(a, b, atol=2e-3)
    one = deepam_tf.Restorer(model).with_stddev(image[..., 1:2], noise_stddev=0.1)
    np.testing.assert_allclose(whole[1][..., 1:2], one[1], atol=1e-5)
    turned = deepam_tf.Restorer(model, self_ensemble=True).with_stddev(
        np.rot90(image), noise_stddev=0.1
    )
    upright = deepam_tf.Restorer(model, self_ensemble=True).with_stddev(image, noise_stddev=0.1)
    for a, b in zip(turned, upright, strict=True):
        np.testing.assert_allclose(a, np.rot90(b), atol=1e-4)


def test_tiles_of_a_map_agree_with_one_piece_to_the_last_digits(rng):
    # Networks that see 4 pixels, a head that counts samples in 32x32.
    model = deepam_tf.DeepAM(
        1,
        filters=4,
        depth=3,
        mask=True,
        uncertainty_filters=4,
        uncertainty_calibrated_at=(1 / 256, 1 / 16),
    )
    head = model.get_layer("uncertainty")
    head.log_stddev.kernel.assign(50 * head.log_stddev.kernel)
    head.recalibrate([0.25, 4.0], head.df)
    image = rng.uniform(size=(150, 170, 1)).astype(np.float32)
    mask = np.zeros_like(image)
    mask[:70:4, ::4] = mask[70::16, ::16] = 1
    whole = deepam_tf.Restorer(model).with_stddev(image, mask=mask)
    tiled = deepam_tf.Restorer(model, tile=48).with_stddev(image, mask=mask)
    for a, b in zip(whole, tiled, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_pictures_come_with_their_deviations(small, noisy):
    picture = deepam_tf.image_io.Picture(noisy, None, np.dtype("uint8"))
    model, without = small
    result = restore_picture(picture, noise=0.1, model=model, uncertainty=True)
    assert result.stddev is not None
    assert result.stddev.shape == noisy.shape
    plain = restore_picture(picture, noise=0.1, model=without)
    assert plain.stddev is None
    np.testing.assert_array_equal(plain.picture.pixels, result.picture.pixels)
    gray_in_color = dataclasses.replace(picture, pixels=np.repeat(noisy, 3, axis=-1))
    result = restore_picture(gray_in_color, noise=0.1, model=model, uncertainty=True)
    assert result.stddev.shape[-1] == 3
    with pytest.raises(ValueError, match="uncertainty head"):
        restore_picture(picture, noise=0.1, model=without, uncertainty=True)
    with pytest.raises(ValueError, match="network"):
        restore_picture(picture, noise=0.1, method="tv", uncertainty=True)


@pytest.mark.parametrize("df", [2.1, 4.0, 60.0])
def test_confidence_is_that_of_the_distribution(df):
    stddev = np.array([0.01, 0.1, 1.0])
    scale = stddev * np.sqrt((df - 2) / df)
    expected = 1 - 2 * scipy.stats.t.sf(0.2 / scale, df)
    np.testing.assert_allclose(uncertainty.confidence(stddev, 0.2, df), expected, atol=1e-6)
