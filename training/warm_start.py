"""Start a model from the weights of another that saw less."""

from __future__ import annotations

import numpy as np

from deepam_tf import AggregationNetwork, DeepAM

__all__ = ["adopt_weights"]


def adopt_weights(model: DeepAM, source: DeepAM) -> None:
    """Give a model the weights of another: every network those of the same iteration.

    The source may have fewer iterations, and may lack hints: convolutions that see more than
    those of the source start with zeros for what is new, so that at first they do what they did
    (Chen et al., "Net2Net", ICLR 2016). Iterations that have no like stay as they are.

    Args:
        model: gets the weights.
        source: gives them.

    Raises:
        ValueError: if the first networks differ in more than that; nothing has been changed.
    """
    for number, (own, other) in enumerate(zip(model.networks, source.networks, strict=False)):
        weights = _widened(own, other)
        if weights is not None:
            own.set_weights(weights)
        elif number == 0:
            raise ValueError(
                "The model to start from must have the architecture of the run, or lack its "
                "hints or last iterations. "
                f"Received: {_summary(source)}; the run has {_summary(model)}."
            )


def _widened(own: AggregationNetwork, other: AggregationNetwork) -> list[np.ndarray] | None:
    """Weights of `other` as `own` takes them, None if they do not fit."""
    before, after = other.get_weights(), own.get_weights()
    if len(before) != len(after) or own.pixel_unshuffle != other.pixel_unshuffle:
        return None
    blocks = own.pixel_unshuffle**2
    weights = [_with_new_inputs(a, b.shape, blocks) for a, b in zip(before, after, strict=True)]
    fitting = all(a.shape == b.shape for a, b in zip(weights, after, strict=True))
    return weights if fitting else None


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
