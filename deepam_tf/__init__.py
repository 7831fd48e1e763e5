"""Image restoration by deeply aggregated alternating minimization, for TensorFlow."""

from __future__ import annotations

from deepam_tf._startup import quiet_command as _quiet_command

with _quiet_command():
    import keras as _keras
    import tensorflow as _tf

    _tf.config.list_physical_devices()  # looks for a GPU, and has something to say of it

if _keras.backend.backend() != "tensorflow":
    raise ImportError(
        "deepam_tf needs the TensorFlow backend of Keras. "
        f"Received: backend={_keras.backend.backend()!r}. Set KERAS_BACKEND=tensorflow."
    )

from deepam_tf import (
    classical,
    data,
    degradations,
    depth_io,
    image_io,
    metrics,
    noise,
    planes,
    preconditioners,
    proximal,
    sampling,
)
from deepam_tf.alternating import alternating_minimization, guide_weight, plug_and_play
from deepam_tf.depth import upsample_depth
from deepam_tf.inference import Restorer, restore
from deepam_tf.layers import FusedBatchNormalization, Reconstruction
from deepam_tf.models import DeepAM
from deepam_tf.networks import AggregationNetwork, GuidanceNetwork
from deepam_tf.operators import ReconstructionOperator, image_gradient, image_gradient_adjoint
from deepam_tf.pretrained import list_pretrained, load_pretrained
from deepam_tf.reconstruction import energy, reconstruct, reconstruct_with_info
from deepam_tf.solvers import CGResult, conjugate_gradient

__version__ = "0.1.0"

__all__ = [
    "AggregationNetwork",
    "CGResult",
    "DeepAM",
    "FusedBatchNormalization",
    "GuidanceNetwork",
    "Reconstruction",
    "ReconstructionOperator",
    "Restorer",
    "alternating_minimization",
    "classical",
    "conjugate_gradient",
    "data",
    "degradations",
    "depth_io",
    "energy",
    "guide_weight",
    "image_gradient",
    "image_gradient_adjoint",
    "image_io",
    "list_pretrained",
    "load_pretrained",
    "metrics",
    "noise",
    "planes",
    "plug_and_play",
    "preconditioners",
    "proximal",
    "reconstruct",
    "reconstruct_with_info",
    "restore",
    "sampling",
    "upsample_depth",
]
