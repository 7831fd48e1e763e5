from __future__ import annotations

import cv2
import numpy as np
import pytest
import tensorflow as tf

import deepam_tf
from deepam_tf import data, degradations, image_io
from deepam_tf.data.crops import _turned


def coordinates(height, width, number=0):
    """Images whose pixels say where they are: (image number, row, column)."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([np.full_like(rows, number), rows, columns], -1).astype(np.uint8)


def crops(images, batches=1, **options):
    options = {"noise_stddev": 0.0, "crop_size": 8, "batch_size": 4, **options}
    dataset = data.denoising_crops(images, **options)
    return [(x["image"].numpy(), y["restored"].numpy()) for x, y in dataset.take(batches)]


def test_crops_are_contiguous_windows_of_one_image():
    for noisy, clean in crops([coordinates(20, 30, 0), coordinates(25, 9, 1)], batches=8):
        np.testing.assert_array_equal(noisy, clean)
        for crop in np.rint(255 * clean).astype(int):
            number, rows, columns = np.moveaxis(crop, -1, 0)
            assert len(np.unique(number)) == 1
            assert np.ptp(rows) == np.ptp(columns) == 7
            # Turned or not, one of the two changes along each axis, by one a pixel.
            steps = np.abs(np.diff(rows, axis=0)), np.abs(np.diff(columns, axis=0))
            assert {int(s.max()) for s in steps} == {0, 1}


def test_every_image_turn_and_place_occurs():
    clean = np.concatenate(
        [y for _, y in crops([coordinates(12, 12, 0), coordinates(12, 12, 1)], batches=100)]
    )
    corners = np.rint(255 * clean[:, [0, 0, -1], [0, -1, 0]]).astype(int)
    assert set(corners[:, 0, 0]) == {0, 1}
    turns = {tuple((c[1:] - c[0])[:, 1:].ravel() // 7) for c in corners}
    assert len(turns) == 8
    places = {(crop[..., 1].min(), crop[..., 2].min()) for crop in clean}
    assert len(places) == 25


def test_noise_has_the_level_asked_for_and_is_new_for_every_sample():
    image = np.full((64, 64, 1), 128, np.uint8)
    batches = crops([image], batches=4, noise_stddev=0.1, crop_size=64)
    noise = np.concatenate([x - y for x, y in batches])
    assert noise.std() == pytest.approx(0.1, rel=0.02)
    assert abs(noise.mean()) < 2e-3
    correlation = np.corrcoef(noise.reshape(len(noise), -1)) - np.eye(len(noise))
    assert np.abs(correlation).max() < 0.08


@pytest.mark.slow
def test_same_seed_same_samples_and_another_seed_others():
    images = [coordinates(20, 30)]
    first, again, other = (
        np.concatenate([x for x, _ in crops(images, 3, noise_stddev=0.1, seed=seed)])
        for seed in (5, 5, 6)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_pipeline_that_starts_later_goes_on_where_the_other_was():
    images = [coordinates(20, 30)]
    whole = crops(images, 5, noise_stddev=0.1)
    late = crops(images, 2, noise_stddev=0.1, first_batch=3)
    for (a, b), (c, d) in zip(whole[3:], late, strict=True):
        np.testing.assert_array_equal(a, c)
        np.testing.assert_array_equal(b, d)


def test_augmentations_are_the_eight_symmetries_and_move_channels_alike(rng):
    image = rng.normal(size=(5, 5, 3)).astype(np.float32)
    turned = [data.augment(image, choice).numpy() for choice in range(8)]
    assert len({x.tobytes() for x in turned}) == 8
    for choice, x in enumerate(turned):
        alone = data.augment(image[..., 1:2], choice).numpy()
        np.testing.assert_array_equal(x[..., 1:2], alone)
        np.testing.assert_array_equal(np.sort(x.ravel()), np.sort(image.ravel()))


def test_crops_are_looked_up_in_the_order_in_which_they_are_turned(rng):
    image = tf.constant(rng.integers(0, 256, (6, 6, 2)))
    for choice in range(8):
        rows, columns = _turned(6, tf.constant(choice, tf.int64))
        found = tf.gather_nd(image, tf.stack([rows, columns], axis=-1))
        np.testing.assert_array_equal(found, data.augment(image, choice))


def test_images_smaller_than_the_crop_are_refused():
    with pytest.raises(ValueError, match=r"at least as large.*Received"):
        crops([coordinates(7, 30)])
    with pytest.raises(ValueError, match=r"Received: 0 images"):
        crops([])


def test_folder_of_mixed_images_becomes_gray(tmp_path, rng):
    color = rng.integers(0, 256, (6, 7, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), color[..., ::-1])
    cv2.imwrite(str(tmp_path / "b.png"), color[..., 0])
    (tmp_path / "notes.txt").write_text("not an image")
    first, second = data.load_images(tmp_path)
    expected = color @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(first[..., 0], expected, atol=0.51)
    np.testing.assert_array_equal(second[..., 0], color[..., 0])
    assert data.load_images(tmp_path, channels=3)[1].shape == (6, 7, 3)


def test_folder_without_images_is_refused(tmp_path):
    with pytest.raises(image_io.ImageFileError, match="no image"):
        data.load_images(tmp_path)
    with pytest.raises(image_io.ImageFileError, match="existing folder"):
        data.load_images(tmp_path / "missing")


def test_benchmark_noise_is_numpy_and_nothing_else():
    expected = 0.1 * np.random.default_rng(3).standard_normal((4, 5))
    np.testing.assert_allclose(degradations.benchmark_noise((4, 5), 0.1, 3), expected, rtol=1e-6)


def test_noise_is_repeatable_and_not_clipped():
    image = tf.ones([100, 100])
    noisy = degradations.add_gaussian_noise(image, 0.2, [1, 2])
    np.testing.assert_array_equal(noisy, degradations.add_gaussian_noise(image, 0.2, [1, 2]))
    assert float(tf.reduce_max(noisy)) > 1.2


def test_psnr_by_hand_for_each_image_of_a_batch(rng):
    clean, restored = rng.uniform(size=(2, 3, 12, 12, 1)).astype(np.float32)
    mse = np.mean((clean - restored) ** 2, axis=(1, 2, 3))
    values = deepam_tf.metrics.psnr(clean, restored)
    np.testing.assert_allclose(values, -10 * np.log10(mse), rtol=1e-4)
    np.testing.assert_allclose(
        deepam_tf.metrics.psnr(255 * clean, 255 * restored, max_value=255.0), values, rtol=1e-4
    )


def test_streamed_psnr_is_the_mean_over_images(rng):
    clean = rng.uniform(size=(5, 12, 12, 1)).astype(np.float32)
    restored = clean + 0.5 * rng.normal(size=clean.shape).astype(np.float32)
    metric = deepam_tf.metrics.PSNR()
    metric.update_state(clean[:2], restored[:2])
    metric.update_state(clean[2:], restored[2:])
    values = deepam_tf.metrics.psnr(clean, np.clip(restored, 0, 1))
    np.testing.assert_allclose(metric.result(), np.mean(values), rtol=1e-5)
    assert deepam_tf.metrics.PSNR.from_config(metric.get_config()).clip


def test_ssim_is_that_of_the_original_code_as_scikit_image_has_it(rng):
    structural_similarity = pytest.importorskip("skimage.metrics").structural_similarity
    clean = cv2.GaussianBlur(rng.uniform(size=(40, 40)), (0, 0), 2).astype(np.float32)
    noisy = clean + 0.05 * rng.normal(size=clean.shape).astype(np.float32)
    _, everywhere = structural_similarity(
        clean, noisy, data_range=1.0, gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False, full=True,
    )  # fmt: skip
    ours = deepam_tf.metrics.ssim(clean[None, ..., None], noisy[None, ..., None])
    np.testing.assert_allclose(ours[0], everywhere[5:-5, 5:-5].mean(), rtol=1e-3)


def test_weights_of_levels_fall_with_the_noise_as_errors_grow():
    images = [np.full([8, 8, 1], 128, np.uint8)]
    batches = data.denoising_crops(
        images, noise_stddev=(0.0, 0.3), crop_size=8, batch_size=64, weigh_levels=True
    )
    inputs, _, weight = next(iter(batches))
    level, weight = inputs["noise_stddev"].numpy().ravel(), weight["restored"].numpy()
    assert weight.shape == (64, 8, 8)
    assert np.ptp(weight, axis=(1, 2)).max() == 0
    order = np.argsort(level)
    assert np.all(np.diff(weight[order, 0, 0]) < 0)
    np.testing.assert_allclose(weight[:, 0, 0] ** 2 * (level + 3 / 255) * 255 / 35, 1, rtol=1e-4)


def test_each_crop_has_a_level_of_its_own_and_the_model_is_told():
    image = np.full((64, 64, 1), 128, np.uint8)
    crops = data.denoising_crops(
        [image], noise_stddev=(0.1, 0.3), crop_size=64, batch_size=8, seed=1
    )
    (x, y), (again, _) = next(iter(crops)), next(iter(crops))
    level = x["noise_stddev"].numpy()
    assert level.shape == (8, 1, 1, 1)
    assert np.all((level >= 0.1) & (level <= 0.3))
    assert len(np.unique(level)) == 8
    measured = np.std(x["image"] - y["restored"], axis=(1, 2, 3))
    np.testing.assert_allclose(measured, level.ravel(), rtol=0.05)
    np.testing.assert_array_equal(x["image"], again["image"])
