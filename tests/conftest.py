from __future__ import annotations

import keras
import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _same_random_numbers_in_every_test():
    keras.utils.set_random_seed(0)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def served(tmp_path_factory):
    """A folder of served models with one small one, `tiny`, that takes a noise level."""
    import deepam_tf
    from export import saved_model

    keras.utils.set_random_seed(0)
    root = tmp_path_factory.mktemp("served")
    model = deepam_tf.DeepAM(1, filters=4, depth=3, noise_level=True, pixel_unshuffle=2)
    model.save(root / "tiny.keras")
    saved_model.save(saved_model.load_model(str(root / "tiny.keras")), root / "tiny")
    return root
