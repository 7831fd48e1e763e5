from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from deepam_tf.data.jpeg import quantisation_stddev, quantisation_steps
from deepam_tf.data.noise import estimate_noise
from tests import helpers

LUMA = np.array([0.299, 0.587, 0.114])


def compressed(picture, quality):
    """A picture after JPEG, and the steps of its luma, `[8, 8]`."""
    buffer = io.BytesIO()
    pixels = np.uint8(np.round(255 * np.clip(picture, 0, 1)))
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    decoded = Image.open(buffer)
    steps = np.array(decoded.quantization[0]).reshape(8, 8)
    return np.asarray(decoded, np.float32) / 255, steps


@pytest.mark.parametrize("quality", [20, 40, 70, 90])
def test_steps_are_those_of_the_file(quality):
    decoded, steps = compressed(helpers.color_photograph(), quality)
    found = quantisation_steps(decoded)
    told = found > 0
    assert told.sum() >= 5
    np.testing.assert_array_equal(found[told], steps[told])


@pytest.mark.parametrize("quality", [20, 40, 70, 90])
def test_the_error_is_that_of_the_luma_or_less(quality):
    clean = helpers.color_photograph()
    decoded, _ = compressed(clean, quality)
    error = np.sqrt(np.mean(((decoded - clean) @ LUMA) ** 2))
    assert 0.5 * error < quantisation_stddev(decoded) < 1.3 * error


def test_what_was_never_compressed_has_no_steps(rng):
    clean = helpers.color_photograph()
    ramp = np.add.outer(np.linspace(0, 0.5, 96), np.linspace(0, 0.4, 96))[..., np.newaxis]
    for picture in (clean, clean + 0.05 * rng.normal(size=clean.shape), ramp):
        assert quantisation_steps(np.round(255 * np.clip(picture, 0, 1)) / 255).max() == 0


def test_jpeg_artefacts_are_a_level_and_have_a_name():
    found = estimate_noise(compressed(helpers.color_photograph(), 40)[0])
    assert found.quantised > 2 / 255
    assert found.stddev >= found.quantised
    assert found.kind == "jpeg" or found.stddev > found.quantised
