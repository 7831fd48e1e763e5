from __future__ import annotations

import importlib

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

import deepam_tf
from deepam_tf import probability
from deepam_tf.probability import tfp as tfp_module
from tests import helpers


@pytest.fixture
def model():
    return deepam_tf.DeepAM(1, filters=4, depth=3, image_channels=3, uncertainty_filters=4)


def test_the_distribution_has_the_models_mean_and_deviation(model, rng):
    inputs = {"image": tf.constant(rng.uniform(size=(2, 6, 5, 3)), tf.float32)}
    distribution = probability.restored_distribution(model, inputs)
    outputs = model(inputs)
    assert distribution.batch_shape == [2, 6, 5, 3]
    assert distribution.event_shape == []
    np.testing.assert_allclose(distribution.mean(), outputs["restored"], rtol=1e-6)
    np.testing.assert_allclose(distribution.stddev(), outputs["stddev"], rtol=1e-5)
    df = model.get_layer("uncertainty").df
    scale = outputs["stddev"] * np.sqrt((df - 2) / df)
    reference = scipy.stats.t(df, outputs["restored"], scale)
    np.testing.assert_allclose(distribution.quantile(0.9), reference.ppf(0.9), atol=1e-4)
    x = rng.uniform(size=(2, 6, 5, 3)).astype(np.float32)
    np.testing.assert_allclose(distribution.log_prob(x), reference.logpdf(x), atol=1e-3)
    assert distribution.sample(3, seed=1).shape == [3, 2, 6, 5, 3]


def test_a_model_that_cannot_tell_is_refused():
    with pytest.raises(ValueError, match="load_uncertain"):
        probability.restored_distribution(deepam_tf.DeepAM(1, filters=4, depth=3), {})


def test_the_likelihood_is_highest_at_the_true_deviation(rng):
    head = deepam_tf.UncertaintyHead(filters=4)
    head([tf.zeros([1, 2, 2, n]) for n in (1, 1, 2, 1)])
    loss = probability.NegativeLogLikelihood(head)
    scale = 0.1 * np.sqrt((head.df - 2) / head.df)
    errors = tf.constant(scale * rng.standard_t(head.df, size=(4, 50, 50, 1)), tf.float32)
    values = {s: float(loss(errors, tf.fill(errors.shape, s))) for s in (0.05, 0.1, 0.2)}
    assert min(values, key=values.get) == 0.1


def test_one_line_says_how_to_get_what_is_missing(monkeypatch):
    def missing(name, *args, **kwargs):
        if name.startswith("tensorflow_probability"):
            raise ImportError("No module named 'tf_keras'")
        return original(name, *args, **kwargs)

    original = importlib.import_module
    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ImportError, match=r"deepam-tf\[probability\]") as error:
        tfp_module.import_tfp()
    assert "tf_keras" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_nothing_else_imports_it():
    printed = helpers.run_python(
        "import sys, deepam_tf\n"
        "deepam_tf.load_uncertain('denoise_gray')\n"
        "before = 'tensorflow_probability' in sys.modules or 'tf_keras' in sys.modules\n"
        "deepam_tf.probability.GaussianField\n"
        "print(before, 'tensorflow_probability' in sys.modules)"
    )
    assert printed.split() == ["False", "True"]
    with pytest.raises(AttributeError, match="nothing_of_that_name"):
        _ = probability.nothing_of_that_name
