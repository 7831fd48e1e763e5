"""Inputs to try an exported model with: warm-up, verification, benchmarks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

__all__ = ["as_files", "sample_inputs"]

NOISE_STDDEV = 25 / 255


def sample_inputs(
    specs: Mapping[str, tf.TensorSpec], size: tuple[int, int, int], *, seed: int = 0
) -> dict[str, np.ndarray]:
    """Something for every input of a model, whatever inputs it has.

    Images and guides are blocks of constant value with noise, masks have holes.

    Args:
        specs: the model's inputs by name, `[B, H, W, c]`.
        size: batch, height and width.
        seed: of the random numbers.

    Returns:
        Arrays by name, of the inputs' dtypes.
    """
    rng = np.random.default_rng(seed)
    batch, height, width = size
    arrays = {}
    for name, spec in specs.items():
        channels = spec.shape[-1]
        if name == "noise_stddev":
            values = np.full([batch, 1, 1, channels], NOISE_STDDEV)
        else:
            coarse = rng.uniform(0.1, 0.9, [batch, -(-height // 8), -(-width // 8), channels])
            values = coarse.repeat(8, axis=1).repeat(8, axis=2)[:, :height, :width]
            if name == "mask":
                values = values > 0.4
            else:
                values = values + NOISE_STDDEV * rng.standard_normal(values.shape)
        arrays[name] = values.astype(spec.dtype.as_numpy_dtype)
    return arrays


def as_files(inputs: Mapping[str, np.ndarray]) -> dict[str, tf.Tensor]:
    """The same as arguments of `serving_bytes`: 8-bit PNG files and one level an image.

    Args:
        inputs: what `sample_inputs` returned.

    Returns:
        Tensors by name.
    """
    files = {}
    for name, values in inputs.items():
        if name == "noise_stddev":
            files[name] = tf.constant(values[:, 0, 0, 0], tf.float32)
        else:
            pixels = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
            files[f"{name}_bytes"] = tf.stack([tf.io.encode_png(image) for image in pixels])
    return files
