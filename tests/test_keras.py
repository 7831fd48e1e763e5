"""What of Keras is used that it does not promise: when it goes, this says where to look."""

from __future__ import annotations

import inspect
import pathlib
import re

import keras
import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parent.parent
OVERRIDDEN = {
    "_should_use_adamw": ["self", "variable"],
    "_muon_update_step": ["self", "gradient", "variable", "lr", "m"],
}
HELPERS = {"lr_adjust": 1, "zeropower_via_newtonschulz5": 2}
"""Methods of Keras's Muon that `ConvMuon` calls, and how many arguments they take."""


def test_muon_still_asks_the_methods_that_convmuon_overrides():
    source = inspect.getsource(keras.optimizers.Muon)
    for name, parameters in OVERRIDDEN.items():
        method = getattr(keras.optimizers.Muon, name, None)
        assert method is not None, f"Keras's Muon has no {name}: see training/fit/optimizers.py"
        found = list(inspect.signature(method).parameters)
        assert found == parameters, f"{name} takes {found}: see training/fit/optimizers.py"
        assert f"self.{name}(" in source, f"{name} is not called: see training/fit/optimizers.py"
    for name, count in HELPERS.items():
        method = getattr(keras.optimizers.Muon, name, None)
        assert method is not None, f"Keras's Muon has no {name}: see training/fit/optimizers.py"
        assert len(inspect.signature(method).parameters) == count + 1, name


def test_a_compiled_model_still_calls_its_loss_by_that_name():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", metrics=["mae"])
    model.train_on_batch(np.ones([2, 1]), np.ones([2, 1]))
    names = [metric.name for metric in model.metrics]
    assert "loss" in names, (
        f"metrics are {names}: see Trainer.train_step in training/fit/trainer.py"
    )


@pytest.mark.parametrize("package", ["deepam_tf", "training", "export"])
def test_nothing_else_of_keras_is_private(package):
    """Names of one underscore of other objects than the file's own."""
    allowed = {*OVERRIDDEN, "_replace"}  # of named tuples, and documented
    for path in (ROOT / package).rglob("*.py"):
        text = path.read_text()
        used = set(re.findall(r"(?<!self)(?<!cls)\.(_[a-z]\w*)\(", text))
        own = set(re.findall(r"(?:def|class) (_\w+)|(?:self|cls)\.(_\w+) ?=", text))
        own = {name for pair in own for name in pair}
        assert used <= own | allowed, f"{path}: {used - own - allowed}"
