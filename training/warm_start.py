"""Start a model from the weights of another that saw less."""

from __future__ import annotations

import numpy as np

from deepam_tf import DeepAM

__all__ = ["adopt_weights"]


def adopt_weights(model: DeepAM, source: DeepAM) -> None:
    """Give a model the weights of another of the same architecture, perhaps without hints.

    Convolutions that see more than those of the source start with zeros for what is new: at
    first the model does what the source did (Chen et al., "Net2Net", ICLR 2016).

    Args:
        model: gets the weights.
        source: gives them.

    Raises:
        ValueError: if the models differ in more than `hint_channels`; nothing has been changed.
    """
    blocks = model.pixel_unshuffle**2
    before, after = source.get_weights(), model.get_weights()
    fitting = len(before) == len(after) and source.pixel_unshuffle == model.pixel_unshuffle
    if fitting:
        widened = [_with_new_inputs(a, b.shape, blocks) for a, b in zip(before, after, strict=True)]
        fitting = all(a.shape == b.shape for a, b in zip(widened, after, strict=True))
    if not fitting:
        raise ValueError(
            "The model to start from must have the architecture of the run, or lack its hints. "
            f"Received: {_summary(source)}; the run has {_summary(model)}."
        )
    model.set_weights(widened)


def _with_new_inputs(kernel: np.ndarray, shape: tuple[int, ...], blocks: int) -> np.ndarray:
    """Zeros for the last channels of each pixel of a block, if that makes it fit."""
    missing, rest = divmod(shape[-2] - kernel.shape[-2], blocks) if len(shape) == 4 else (0, 0)
    if kernel.ndim != 4 or rest or missing <= 0:
        return kernel
    height, width, channels, filters = kernel.shape
    parts = kernel.reshape(height, width, blocks, channels // blocks, filters)
    parts = np.pad(parts, [(0, 0), (0, 0), (0, 0), (0, missing), (0, 0)])
    return parts.reshape(height, width, -1, filters)


def _summary(model: DeepAM) -> str:
    names = ("num_iterations", "image_channels", "filters", "depth", "pixel_unshuffle")
    return ", ".join(f"{name}={getattr(model, name)}" for name in (*names, "hint_channels"))
