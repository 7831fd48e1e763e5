from __future__ import annotations

import gc

import cv2
import keras
import numpy as np
import pytest

# Graphs are built of many small objects that stay: looking for garbage among them again and again
# takes time.
gc.set_threshold(100_000, 20, 5)


@pytest.fixture(autouse=True)
def _same_random_numbers_in_every_test():
    keras.utils.set_random_seed(0)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def images(rng):
    """Three small pictures to train on."""
    from training.data.tasks import Examples

    items = [
        np.kron(rng.integers(0, 256, (5, 6)), np.ones((8, 8))).astype(np.uint8)[..., np.newaxis]
        for _ in range(3)
    ]
    return Examples([f"{i}.png" for i in range(3)], items)


@pytest.fixture
def folder(tmp_path, images):
    """The folder of their files."""
    folder = tmp_path / "images"
    folder.mkdir()
    for name, image in zip(images.names, images.items, strict=True):
        cv2.imwrite(str(folder / name), image)
    return folder


@pytest.fixture(scope="session")
def served(tmp_path_factory):
    """A folder of served models with one small one, `tiny`, that takes a noise level."""
    import deepam_tf
    from export.graph.saving import save
    from export.graph.sources import load_model

    keras.utils.set_random_seed(0)
    root = tmp_path_factory.mktemp("served")
    model = deepam_tf.DeepAM(1, filters=4, depth=3, noise_level=True, pixel_unshuffle=2)
    model.save(root / "tiny.keras")
    save(load_model(str(root / "tiny.keras")), root / "tiny")
    return root
