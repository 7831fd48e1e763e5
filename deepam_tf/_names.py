"""The public names, gathered. Importing this waits for TensorFlow and Keras."""

from __future__ import annotations

from deepam_tf._startup import import_tensorflow as _import_tensorflow

_import_tensorflow()

from deepam_tf import classical, data, probability
from deepam_tf.classical import proximal
from deepam_tf.classical.alternating import (
    alternating_minimization,
    guide_weight,
    plug_and_play,
)
from deepam_tf.data import degradations, noise
from deepam_tf.depth import planes, sampling
from deepam_tf.files import depth_maps as depth_io
from deepam_tf.files import pictures as image_io
from deepam_tf.linear import chebyshev, preconditioners, reconstruction
from deepam_tf.linear.chebyshev import chebyshev_iteration
from deepam_tf.linear.conjugate_gradients import CGResult, conjugate_gradient
from deepam_tf.linear.operators import (
    ReconstructionOperator,
    image_gradient,
    image_gradient_adjoint,
)
from deepam_tf.linear.reconstruction import energy, reconstruct, reconstruct_with_info
from deepam_tf.linear.results import SolveResult, SolveStatus
from deepam_tf.networks import layers, metrics
from deepam_tf.networks.aggregation import AggregationNetwork, GuidanceNetwork
from deepam_tf.networks.deepam import DeepAM
from deepam_tf.networks.layers import FusedBatchNormalization, Reconstruction
from deepam_tf.networks.uncertainty import UncertaintyHead
from deepam_tf.restoration import pretrained
from deepam_tf.restoration.depth import upsample_depth
from deepam_tf.restoration.mosaic import restore_mosaic
from deepam_tf.restoration.picture import RestoredPicture, restore_picture
from deepam_tf.restoration.pretrained import list_pretrained, load_pretrained, save_pretrained
from deepam_tf.restoration.tiles import Restorer, restore
from deepam_tf.restoration.uncertainty import list_uncertainty, load_uncertain

__all__ = [
    "AggregationNetwork",
    "CGResult",
    "DeepAM",
    "FusedBatchNormalization",
    "GuidanceNetwork",
    "Reconstruction",
    "ReconstructionOperator",
    "RestoredPicture",
    "Restorer",
    "SolveResult",
    "SolveStatus",
    "UncertaintyHead",
    "alternating_minimization",
    "chebyshev",
    "chebyshev_iteration",
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
    "layers",
    "list_pretrained",
    "list_uncertainty",
    "load_pretrained",
    "load_uncertain",
    "metrics",
    "noise",
    "planes",
    "plug_and_play",
    "preconditioners",
    "pretrained",
    "probability",
    "proximal",
    "reconstruct",
    "reconstruct_with_info",
    "reconstruction",
    "restore",
    "restore_mosaic",
    "restore_picture",
    "sampling",
    "save_pretrained",
    "upsample_depth",
]
