"""Noise, and data to train on: levels, degradations, crops, `tf.data` pipelines."""

from deepam_tf.data.pipelines import (
    MISSED,
    Pair,
    augment,
    camera_crops,
    crop_sources,
    denoising_crops,
    depth_crops,
    full_scale,
    list_pairs,
    load_image,
    load_images,
    load_pair,
    load_pairs,
    read_pairs,
    recorrupted_crops,
    to_channels,
)

__all__ = [
    "MISSED",
    "Pair",
    "augment",
    "camera_crops",
    "crop_sources",
    "denoising_crops",
    "depth_crops",
    "full_scale",
    "list_pairs",
    "load_image",
    "load_images",
    "load_pair",
    "load_pairs",
    "read_pairs",
    "recorrupted_crops",
    "to_channels",
]
