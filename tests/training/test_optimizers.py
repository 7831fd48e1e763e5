from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import deepam_tf
from training.fit.optimizers import ConvMuon


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_muon_orthogonalises_hidden_kernels_and_leaves_the_rest_to_adam(rng, dtype):
    layer = deepam_tf.AggregationNetwork(filters=16, depth=3, dtype=dtype)
    layer.build((None, None, None, 1))
    optimizer = ConvMuon(0.1, weight_decay=0.0, adam_weight_decay=0.0, momentum=0.0)
    optimizer.build(layer.trainable_variables)
    before = {v.path: np.asarray(v).copy() for v in layer.trainable_variables}
    gradients = [tf.constant(rng.normal(size=v.shape), dtype) for v in layer.trainable_variables]
    optimizer.apply(gradients, layer.trainable_variables)
    for variable in layer.trainable_variables:
        step = np.asarray(variable) - before[variable.path]
        if variable.path.endswith("conv_2/kernel"):
            # Singular values all near 1 before the scaling of 0.1 * 0.2 * sqrt(9 * 16).
            values = np.linalg.svd(step.reshape(-1, 16), compute_uv=False) / (0.1 * 0.2 * 12)
            assert np.all((values > 0.6) & (values < 1.4))
        else:
            np.testing.assert_allclose(np.abs(step), 0.1, rtol=1e-2)


def test_muon_config_round_trip():
    optimizer = ConvMuon(1e-3, min_maps=8, clipnorm=1.0)
    revived = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert isinstance(revived, ConvMuon)
    assert revived.get_config() == optimizer.get_config()
