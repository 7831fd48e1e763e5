"""Stein's estimate of an error agrees with the error, in expectation."""

from __future__ import annotations

import cv2
import keras
import numpy as np
import pytest

from deepam_tf import degradations
from deepam_tf.networks.sure import UnbiasedPSNR, probe, unbiased_mse
from tests import helpers


def blurred(image):
    return cv2.GaussianBlur(image, (0, 0), 1.0)[..., np.newaxis]


def thresholded(image):
    smooth = cv2.GaussianBlur(image, (0, 0), 2.0)[..., np.newaxis]
    detail = image - smooth
    return smooth + np.sign(detail) * np.maximum(np.abs(detail) - 0.08, 0)


DENOISERS = {
    "nothing": lambda image: image,
    "blur": blurred,
    "threshold": thresholded,
    "constant": lambda image: np.full_like(image, 0.5),
}


@pytest.mark.parametrize("name", DENOISERS)
@pytest.mark.parametrize(("gain", "variance"), [(0.0, 0.01), (0.01, 0.002)])
def test_the_estimate_is_unbiased(name, gain, variance):
    clean = helpers.color_photograph()[:160, :160, 1:2].astype(np.float32)
    differences = []
    for number in range(12):
        noisy = degradations.sensor_noise(clean, gain, variance, number) if gain else clean
        if not gain:
            noisy = noisy + degradations.benchmark_noise(clean.shape, variance**0.5, number)
        images, reference = probe(noisy[np.newaxis], gain, variance, seed=100 + number)
        restored = np.stack([DENOISERS[name](image) for image in images])
        true = np.mean((restored[0] - clean) ** 2)
        differences.append(float(unbiased_mse(reference, restored)) - true)
    uncertain = np.std(differences, ddof=1) / np.sqrt(len(differences))
    assert abs(np.mean(differences)) < 4 * uncertain + 1e-6
    assert uncertain < 0.05 * (variance + gain)


def test_the_metric_averages_errors_over_images_and_survives_saving(rng):
    metric = UnbiasedPSNR()
    errors = []
    for number, level in enumerate((0.1, 0.2)):
        images, reference = probe(rng.normal(0.5, level, [1, 32, 40, 1]), 0.0, level**2, number)
        metric.update_state(reference, 0.5 * images + 0.25)
        errors.append(float(unbiased_mse(reference, 0.5 * images + 0.25)))
    assert float(metric.result()) == pytest.approx(-10 * np.log10(np.mean(errors)), abs=1e-3)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
    assert again.get_config() == metric.get_config()
