"""Image restoration by deeply aggregated alternating minimization, for TensorFlow."""

from __future__ import annotations

import importlib
from typing import Any

from deepam_tf import _startup

__version__ = "0.1.0"

if not _startup.is_command():
    # At once, not when first used: Keras loads saved models by classes that it has met.
    from deepam_tf._names import *
    from deepam_tf._names import __all__ as __all__


def __getattr__(name: str) -> Any:
    """The public names in the process of the command, which answers before they are there."""
    if name.startswith("_") and name != "__all__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("deepam_tf._names"), name)
