"""Muon for convolutions, and the optimizer and learning rates of a configuration."""

from __future__ import annotations

import math
import re

import keras
import tensorflow as tf
from keras import ops

from training.configuration.config import TrainingConfig

__all__ = ["ConvMuon", "WarmUp", "make_optimizer"]


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
        rate = ops.cast(lr, variable.dtype)
        update = self.lr_adjust(rate * self.zeropower_via_newtonschulz5(matrix, self.ns_steps))
        self.assign_sub(variable, ops.reshape(update, variable.shape))

    def lr_adjust(self, x):
        # Keras's factor is a tensor of float32, whatever the weights are.
        return x if self.rms_rate is None else x * (self.rms_rate * math.sqrt(max(x.shape)))

    def get_config(self):
        return {**super().get_config(), "min_maps": self.min_maps}


@keras.saving.register_keras_serializable(package="deepam_tf")
class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule that begins after a linear rise from zero.

    Args:
        schedule: the schedule after the warm-up.
        warmup_steps: steps of the rise.
    """

    def __init__(self, schedule, warmup_steps: int) -> None:
        super().__init__()
        self.schedule = schedule
        self.warmup_steps = warmup_steps

    def __call__(self, step):
        step = tf.cast(step, tf.float32)
        rise = tf.minimum(step / self.warmup_steps, 1.0)
        return rise * self.schedule(tf.maximum(step - self.warmup_steps, 0.0))

    def get_config(self):
        return {
            "schedule": keras.optimizers.schedules.serialize(self.schedule),
            "warmup_steps": self.warmup_steps,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        schedule = keras.optimizers.schedules.deserialize(
            config["schedule"], custom_objects=custom_objects
        )
        return cls(schedule, config["warmup_steps"])


def make_optimizer(config: TrainingConfig) -> keras.optimizers.Optimizer:
    """The optimizer of a configuration; the gradients it gets are clipped already.

    Args:
        config: the recipe.

    Returns:
        The optimizer, its learning rate a schedule of its own count of steps.

    Raises:
        ValueError: if the schedule ends nowhere.
    """
    values, rate = config.optimizer, learning_rate(config)
    decay = values.weight_decay
    mean = {"use_ema": values.average > 0, "ema_momentum": values.average}
    if values.name == "muon":
        return ConvMuon(
            rate,
            momentum=values.momentum,
            weight_decay=decay or None,
            adam_weight_decay=decay or None,
            **mean,
        )
    if values.name == "adam":
        return keras.optimizers.Adam(rate, weight_decay=decay or None, **mean)
    # Keras takes the decay out of the weights beside the step. Added to the gradient, as in
    # the paper's toolbox, it goes through the momentum, which multiplies it.
    decay /= 1.0 - values.momentum
    return keras.optimizers.SGD(rate, momentum=values.momentum, weight_decay=decay or None, **mean)


def learning_rate(config: TrainingConfig):
    """The learning rate as a Keras schedule."""
    peak, values = config.optimizer.learning_rate, config.schedule
    warmup_steps = min(values.warmup_steps, config.run.num_steps // 5)
    steps = config.run.num_steps - warmup_steps
    schedules = keras.optimizers.schedules
    if values.name == "exponential":
        if not values.final_fraction:
            raise ValueError(
                "An exponential schedule must end above zero. "
                "Received: schedule.final_fraction=0. Take 0.01, or schedule.name=cosine."
            )
        schedule = schedules.ExponentialDecay(peak, steps, values.final_fraction)
    elif values.name == "cosine":
        schedule = schedules.CosineDecay(peak, steps, alpha=values.final_fraction)
    else:
        schedule = schedules.PiecewiseConstantDecay([steps], [peak, peak])
    return WarmUp(schedule, warmup_steps) if warmup_steps else schedule
