"""TensorFlow Probability, or one line that says how to get it."""

from __future__ import annotations

import importlib
import types

__all__ = ["import_tfp"]


def import_tfp() -> types.ModuleType:
    """Import TensorFlow Probability.

    Returns:
        The module `tensorflow_probability`.

    Raises:
        ImportError: if it is missing, or the `tf_keras` without which it does not import.

    Example:
        >>> from deepam_tf.probability.tfp import import_tfp
        >>> float(import_tfp().distributions.Laplace(0.0, 1.0).mean())
        0.0
    """
    try:
        tfp = importlib.import_module("tensorflow_probability")
        tfp.distributions.Normal  # noqa: B018  # loads the rest, which needs tf_keras
    except ImportError as error:
        raise ImportError(
            "`deepam_tf.probability` needs TensorFlow Probability and tf_keras. Received: "
            f"{error}. Install them: pip install 'deepam-tf[probability]' (beside tensorflow-cpu: "
            "pip install --no-deps tensorflow-probability tf-keras, then pip install decorator "
            "cloudpickle dm-tree)."
        ) from error
    return tfp
