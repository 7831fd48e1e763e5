"""How sure a restored value is: distributions of TensorFlow Probability.

Of the whole package this room alone imports TensorFlow Probability, and only where one of its
names is used. Models that give a standard deviation, and what is exported of them, do without.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deepam_tf.probability.gaussian_field import Estimate, GaussianField
    from deepam_tf.probability.restored import (
        NegativeLogLikelihood,
        distribution_of,
        restored_distribution,
    )

__all__ = [
    "Estimate",
    "GaussianField",
    "NegativeLogLikelihood",
    "distribution_of",
    "restored_distribution",
]

_HOMES = {
    "Estimate": "gaussian_field",
    "GaussianField": "gaussian_field",
    "NegativeLogLikelihood": "restored",
    "distribution_of": "restored",
    "restored_distribution": "restored",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
