"""Which weights are taken where nobody asked for others. Nothing here waits for TensorFlow."""

from __future__ import annotations

__all__ = [
    "ANY_SCALE_MODEL",
    "CAMERA_MODEL",
    "COLOR_MODEL",
    "DEPTH_MODEL",
    "DEPTH_TOLERANCE",
    "FUSION_MODEL",
    "GRAY_MODEL",
    "LEAST_SIDE",
    "SENSOR_MODEL",
]

GRAY_MODEL, COLOR_MODEL, CAMERA_MODEL = "denoise_gray", "denoise_color", "denoise_camera"
DEPTH_MODEL, ANY_SCALE_MODEL = "upsample_depth", "upsample_depth_scales"
FUSION_MODEL = "fuse_nir"
SENSOR_MODEL = "denoise_depth"
"""Takes the noise of a depth sensor out of its maps."""
DEPTH_TOLERANCE = 0.01
"""Of a depth map's range: how near the truth a confident value lies."""
LEAST_SIDE = 32
"""Pixels a side of the smallest picture whose noise is measured."""
