"""Means over images stay numbers, whatever one image is like, and hide no NaN."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from deepam_tf import metrics


@pytest.fixture
def images(rng):
    """Three true images and three that are 0.1 off."""
    true = rng.uniform(0.2, 0.7, (3, 8, 9, 1)).astype(np.float32)
    return true, true + np.float32(0.1)


@pytest.mark.parametrize("make", [metrics.PSNR, lambda: metrics.BadMatchingPercentage(0.05)])
def test_an_image_without_a_pixel_that_counts_is_left_out(images, make):
    true, restored = images
    weight = np.ones(true.shape[:3], np.float32)
    weight[1] = 0
    some, two = make(), make()
    some.update_state(true, restored, sample_weight=weight)
    two.update_state(true[::2], restored[::2])
    assert float(some.result()) == pytest.approx(float(two.result()), rel=1e-6)
    weight[:] = 0
    some.update_state(true, restored, sample_weight=weight)  # a batch of nothing
    assert float(some.result()) == pytest.approx(float(two.result()), rel=1e-6)


def test_an_exact_image_does_not_speak_for_all(images):
    true, restored = images
    restored[1] = true[1]
    metric = metrics.PSNR()
    metric.update_state(true, restored)
    assert float(metric.result()) == pytest.approx((20 + 100 + 20) / 3, abs=0.01)
    assert np.isinf(metrics.psnr(tf.constant(true), tf.constant(restored))[1])


@pytest.mark.parametrize("weighted", [False, True])
def test_nan_is_shown(images, weighted):
    true, restored = images
    restored[1, 2, 3] = np.nan
    weight = np.ones(true.shape[:3], np.float32) if weighted else None
    decibels, bad = metrics.PSNR(), metrics.BadMatchingPercentage(0.2)
    for metric in (decibels, bad):
        metric.update_state(true, restored, sample_weight=weight)
    assert np.isnan(float(decibels.result()))
    assert float(bad.result()) == pytest.approx(100 / (3 * 8 * 9))
