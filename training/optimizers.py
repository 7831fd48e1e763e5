"""Muon for convolutions."""

from __future__ import annotations

import re

import keras
from keras import ops

__all__ = ["ConvMuon"]


@keras.saving.register_keras_serializable(package="deepam_tf")
class ConvMuon(keras.optimizers.Muon):
    """`keras.optimizers.Muon`, applied to convolution kernels.

    Keras's class orthogonalises the updates of matrices and leaves everything else to Adam,
    that is every variable of a convolutional network. Here a kernel `[h, w, in, out]` of a
    hidden convolution takes the Muon step as the matrix `[h w in, out]`, scaled by
    `rms_rate * sqrt(max(h w in, out))`; kernels with fewer than `min_maps` maps on either
    side (first and last layers), biases and normalisations stay with Adam.

    Args:
        learning_rate: step size or schedule, for both parts.
        min_maps: fewest input and output maps of a kernel that takes the Muon step.
        exclude_layers: expressions found in the paths of kernels that do not take it. Output
            layers by default: steps of unit spectral norm make noise of what they give, and
            the confidence learns to shut it out.
        **kwargs: arguments of `keras.optimizers.Muon`.

    References:
        Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024; the
        scaling is that of Liu et al., "Muon is scalable for LLM training", 2025.
    """

    def __init__(
        self, learning_rate=3e-3, *, min_maps: int = 16, exclude_layers=("_head",), **kwargs
    ) -> None:
        super().__init__(learning_rate=learning_rate, exclude_layers=list(exclude_layers), **kwargs)
        self.min_maps = min_maps

    def _should_use_adamw(self, variable) -> bool:
        if len(variable.shape) != 4 or min(variable.shape[2:]) < self.min_maps:
            return True
        return any(re.search(keyword, variable.path) for keyword in self.exclude_layers)

    def _muon_update_step(self, gradient, variable, lr, m) -> None:
        self.assign_add(m, ops.add(gradient, m * (self.momentum - 1)))
        direction = ops.add(gradient, self.momentum * m) if self.nesterov else m
        matrix = ops.reshape(direction, (-1, variable.shape[-1]))
        update = self.lr_adjust(lr * self.zeropower_via_newtonschulz5(matrix, self.ns_steps))
        self.assign_sub(variable, ops.reshape(update, variable.shape))

    def get_config(self):
        return {**super().get_config(), "min_maps": self.min_maps}
