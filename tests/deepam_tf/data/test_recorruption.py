"""Recorrupted-to-Recorrupted: what is wrong with both versions of an image is unrelated."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from deepam_tf import data, degradations
from deepam_tf.data.noise import PoissonGaussian

COUNT = 400_000


def errors(gain, variance, alpha, clean=0.5):
    """What differs from the clean value in both versions, `[COUNT]` each."""
    noisy = degradations.sensor_noise(np.full([COUNT], clean), gain, variance, 1) if gain else None
    if noisy is None:
        noisy = clean + np.sqrt(variance) * np.random.default_rng(1).standard_normal(COUNT)
    versions = degradations.recorrupt(
        tf.constant(noisy, tf.float64), gain, variance, [0, 1], alpha=alpha
    )
    return tuple(version.numpy() - clean for version in versions)


@pytest.mark.parametrize("alpha", [0.3, 0.5, 1.0])
@pytest.mark.parametrize(("gain", "variance"), [(0.0, 0.01), (0.01, 0.002)])
def test_both_errors_have_mean_zero_and_no_correlation(alpha, gain, variance):
    first, second = errors(gain, variance, alpha)
    level = gain * 0.5 + variance
    assert np.mean(first**2) == pytest.approx((1 + alpha**2) * level, rel=0.02)
    assert np.mean(second**2) == pytest.approx((1 + 1 / alpha**2) * level, rel=0.02)
    for error in (first, second):
        assert abs(error.mean()) < 5 * error.std() / np.sqrt(COUNT)
    scale = first.std() * second.std() / np.sqrt(COUNT)
    assert abs(np.mean(first * second)) < 5 * scale


def test_gaussian_errors_are_independent():
    """Uncorrelated and jointly normal; so no function of one says anything of the other."""
    first, second = errors(0.0, 0.01, 0.5)
    for f in (np.abs, np.square, np.sign, lambda x: np.maximum(x, 0)):
        for g in (np.abs, np.square, np.sign):
            a, b = f(first), g(second)
            assert abs(np.corrcoef(a, b)[0, 1]) < 5 / np.sqrt(COUNT)


@pytest.mark.parametrize("shrink", [0.0, 0.4, 0.8, 1.0])
def test_the_loss_is_that_of_the_truth_up_to_a_constant(shrink):
    """For any denoiser of the first version; here a threshold, which is not linear."""
    variance, alpha, clean = 0.01, 0.5, 0.1
    first, second = errors(0.0, variance, alpha, clean)
    given = clean + first
    restored = np.where(np.abs(given) > 0.1, shrink * given, 0.3 * given)
    loss = np.mean((restored - (clean + second)) ** 2)
    true = np.mean((restored - clean) ** 2)
    constant = (1 + 1 / alpha**2) * variance
    assert loss - constant == pytest.approx(true, abs=5 * 0.2 * second.std() / np.sqrt(COUNT))


def test_crops_come_from_one_noisy_picture_and_are_repeated_by_their_seed(rng):
    clean = np.full([64, 64, 1], 128)
    noisy = np.uint8(np.round(clean + 10 * rng.standard_normal(clean.shape)))
    noise = PoissonGaussian(0.0, (10 / 255) ** 2)
    make = lambda: data.recorrupted_crops(  # noqa: E731
        [noisy], noise=noise, crop_size=48, batch_size=8, alpha=0.5, seed=3
    )
    (x, y), (again, _) = next(iter(make())), next(iter(make()))
    np.testing.assert_array_equal(x["image"], again["image"])
    # (alpha^2 y + x) / (1 + alpha^2) is the noisy picture itself, without what was added.
    noisy_again = 255 * (0.25 * y["restored"] + x["image"]) / 1.25
    np.testing.assert_allclose(noisy_again, np.round(noisy_again), atol=1e-2)
    # Each crop comes with a noise and with its negative.
    for part in (x["image"], y["restored"]):
        means = (part[0::2] + part[1::2]) / 2
        np.testing.assert_allclose(means, noisy_again[0::2] / 255, atol=1e-4)


def test_both_signs_of_a_noise_make_the_gradient_of_a_filter_less_noisy(rng):
    """The derivative of the loss by the weight of a blur, over many noises of one crop."""
    noisy = np.uint8(np.round(128 + 20 * rng.standard_normal([24, 24, 1])))
    noise = PoissonGaussian(0.0, (20 / 255) ** 2)
    batches = data.recorrupted_crops(
        [noisy], noise=noise, crop_size=24, batch_size=2, alpha=0.25, seed=0
    )
    slopes = []
    for x, y in batches.take(60):
        blur = tf.nn.avg_pool2d(x["image"], 3, 1, "SAME")
        restored = 0.5 * x["image"] + 0.5 * blur
        error = (restored - y["restored"]) * (blur - x["image"])
        slopes.append(tf.reduce_mean(error, axis=[1, 2, 3]).numpy())
    slopes = np.array(slopes)
    assert slopes.mean(axis=1).std() < 0.5 * slopes[:, 0].std() / np.sqrt(2)


@pytest.mark.parametrize(
    ("variance", "batch_size", "message"),
    [(0.0, 2, r"`noise`.*Received"), (0.01, 3, r"even.*Received: 3")],
)
def test_no_noise_and_batches_that_cannot_be_halved_are_refused(variance, batch_size, message):
    with pytest.raises(ValueError, match=message):
        data.recorrupted_crops(
            [np.zeros([32, 32, 1], np.uint8)],
            noise=PoissonGaussian(0.0, variance),
            crop_size=16,
            batch_size=batch_size,
        )
