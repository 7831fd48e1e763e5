"""The examples in the docstrings run and print what they say."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import numpy as np
import pytest
import tensorflow as tf

import deepam_tf

MODULES = [
    module.name
    for module in pkgutil.walk_packages(deepam_tf.__path__, "deepam_tf.")
    if not module.ispkg and not module.name.endswith("__main__")
]


@pytest.mark.slow
@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    if name == "deepam_tf.app.page":
        pytest.importorskip("gradio")
    result = doctest.testmod(
        importlib.import_module(name),
        extraglobs={"deepam_tf": deepam_tf, "tf": tf, "np": np},
        optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE,
    )
    assert result.failed == 0
