from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import deepam_tf


@pytest.fixture(autouse=True)
def _same_random_numbers_in_every_test():
    keras.utils.set_random_seed(0)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _names_that_docstring_examples_use(doctest_namespace):
    doctest_namespace.update(deepam_tf=deepam_tf, tf=tf, np=np)
