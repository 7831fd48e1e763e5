"""What a step of training is: the model with its losses, its metrics and its optimizer."""

from __future__ import annotations

import keras
import tensorflow as tf

from deepam_tf import DeepAM
from training.configuration.config import TrainingConfig
from training.data.tasks import Task
from training.fit.optimizers import make_optimizer

__all__ = ["Trainer", "make_model", "make_trainer"]


def _huber(scale: float):
    def loss(true, restored):
        # Divided by the scale, it grows as L1 does.
        return keras.ops.divide(keras.losses.huber(true, restored, delta=scale), scale)

    return loss


def _cauchy(scale: float):
    def loss(true, restored):
        return scale * tf.reduce_mean(tf.math.log1p(tf.square((restored - true) / scale)), axis=-1)

    return loss


LOSSES = {
    "l1": lambda scale: "mean_absolute_error",
    "l2": lambda scale: "mean_squared_error",
    "huber": _huber,
    "cauchy": _cauchy,
}
"""By `run.loss`: of the scale, what Keras takes."""


@keras.saving.register_keras_serializable(package="deepam_tf")
class Trainer(keras.Model):
    """A functional model whose steps clip the gradient of the whole batch and report its norm.

    Keras clips in the optimizer, each replica its own part of the gradient: how far a step
    goes would depend on the number of replicas. Here it does not.

    Args:
        clipnorm: longest gradient of one variable; 0: any.
        **kwargs: `inputs`, `outputs` and other arguments of `keras.Model`.
    """

    def __init__(self, *, clipnorm: float = 0.0, **kwargs) -> None:
        super().__init__(**kwargs)
        self.clipnorm = clipnorm
        self.gradient_norm = keras.metrics.Mean(name="gradient_norm")

    @property
    def steps_done(self) -> int:
        """Optimizer steps so far."""
        return int(self.optimizer.iterations.numpy())

    def train_step(self, data):
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            outputs = self(x, training=True)
            # A mean over the replica's part of the batch, divided by the number of replicas.
            loss = self.compute_loss(x, y, outputs, weight, training=True)
        gradients = tape.gradient(loss, self.trainable_variables)
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        if replicas > 1:
            context = tf.distribute.get_replica_context()
            gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        self.gradient_norm.update_state(tf.linalg.global_norm(gradients))
        if self.clipnorm:
            gradients = [tf.clip_by_norm(gradient, self.clipnorm) for gradient in gradients]
        # The optimizer sums over replicas once more.
        gradients = [gradient / replicas for gradient in gradients]
        self.optimizer.apply(gradients, self.trainable_variables)
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss * replicas)
        return self.compute_metrics(x, y, outputs, weight)

    def get_metrics_result(self):
        results = super().get_metrics_result()
        if len(self.output) > 1:
            return results
        # Keras leaves out the name of an only output: curves of K = 1 would be called otherwise.
        plain = ("loss", self.gradient_norm.name)
        return {k if k in plain else f"restored_{k}": value for k, value in results.items()}

    def spread(self, inputs, target, weight=None):
        """What `fit` takes, every output compared with one target.

        Args:
            inputs: of the model, with `"contrast"` where the trainer takes it.
            target: `{"restored": clean}`.
            weight: of the pixels, likewise.

        Returns:
            `(inputs, targets)`, with weights if there are any.
        """
        if "contrast" in inputs:
            target = {"restored": inputs["contrast"] * target["restored"]}
        groups = [target] if weight is None else [target, weight]
        return inputs, *(dict.fromkeys(self.output, group["restored"]) for group in groups)

    def test_step(self, data):
        logs = super().test_step(data)
        del logs[self.gradient_norm.name]  # there is none
        return logs

    def get_config(self):
        return {**super().get_config(), "clipnorm": self.clipnorm}


def make_model(config: TrainingConfig, task: Task) -> DeepAM:
    """The untrained network of a configuration.

    Args:
        config: the recipe.
        task: what it is for, which decides on the inputs.

    Returns:
        The model, its weights drawn from the global seed.
    """
    return DeepAM(
        config.model.num_iterations,
        image_channels=config.data.image_channels,
        filters=config.model.filters,
        depth=config.model.depth,
        gamma_min=config.model.gamma_min,
        pixel_unshuffle=config.model.pixel_unshuffle,
        residual=config.model.residual,
        shift_invariant=config.model.shift_invariant,
        guidance=config.model.guidance,
        edge_weights=config.model.edge_weights,
        levels=config.model.levels,
        preconditioner=config.model.preconditioner,
        rtol=config.model.rtol,
        dtype=config.run.dtype,
        **task.model_inputs(config.data),
    )


def make_trainer(model: DeepAM, config: TrainingConfig, task: Task) -> Trainer:
    """The model with what carries a loss: the result (paper, eq. 10), the others a little.

    Args:
        model: whose weights are trained.
        config: the recipe.
        task: what it is for, which decides on the metrics.

    Returns:
        A compiled model from the inputs to `restored` and, where they carry a loss,
        `u_1 .. u_{K-1}`; its optimizer is built. Of a task with a contrast there is one more
        input, `"contrast"`, by which the outputs are multiplied.
    """
    for layer in model.normalizations:
        layer.fixed_statistics = config.run.statistics == "moving"
    model.configure_solves(
        adjoint_rtol=config.run.adjoint_rtol, jit_compile=config.run.jit_compile_solves
    )
    iterates = model.iterates()
    names = ["restored"]
    if config.run.iterate_loss_weight:
        names += [f"u_{k}" for k in range(1, model.num_iterations)]
    inputs = {name: iterates.input[name] for name in iterates.input}
    outputs = {name: iterates.output[name] for name in names}
    if task.contrast is not None:
        contrast = keras.Input((1, 1, 1), name="contrast")
        inputs["contrast"] = contrast
        outputs = {
            name: keras.layers.Multiply(dtype=u.dtype, name=f"{name}_in_full_scale")([contrast, u])
            for name, u in outputs.items()
        }
    trainer = Trainer(
        inputs=inputs,
        outputs=outputs,
        clipnorm=config.optimizer.clipnorm,
        name="trainer",
    )
    loss = LOSSES[config.run.loss](config.run.loss_scale)
    weights = {**dict.fromkeys(names, config.run.iterate_loss_weight), "restored": 1.0}
    trainer.compile(
        optimizer=make_optimizer(config),
        loss=dict.fromkeys(names, loss),
        loss_weights=weights,
        weighted_metrics={"restored": task.metrics()},
        jit_compile=config.run.jit_compile,
    )
    trainer.optimizer.build(trainer.trainable_variables)
    return trainer
