"""Image restoration by deeply aggregated alternating minimization, for TensorFlow."""

from __future__ import annotations

import keras as _keras

if _keras.backend.backend() != "tensorflow":
    raise ImportError(
        "deepam_tf needs the TensorFlow backend of Keras. "
        f"Received: backend={_keras.backend.backend()!r}. Set KERAS_BACKEND=tensorflow."
    )

from deepam_tf import data, degradations, image_io, metrics, preconditioners
from deepam_tf.layers import AggregationNetwork, FusedBatchNormalization, Reconstruction
from deepam_tf.models import DeepAM
from deepam_tf.operators import ReconstructionOperator, image_gradient, image_gradient_adjoint
from deepam_tf.reconstruction import energy, reconstruct, reconstruct_with_info
from deepam_tf.solvers import CGResult, conjugate_gradient

__version__ = "0.1.0"

__all__ = [
    "AggregationNetwork",
    "CGResult",
    "DeepAM",
    "FusedBatchNormalization",
    "Reconstruction",
    "ReconstructionOperator",
    "conjugate_gradient",
    "energy",
    "image_gradient",
    "image_gradient_adjoint",
    "data",
    "degradations",
    "image_io",
    "metrics",
    "preconditioners",
    "reconstruct",
    "reconstruct_with_info",
]
