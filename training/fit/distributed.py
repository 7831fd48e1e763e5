"""Training on several devices and several machines.

`--strategy mirrored` trains on all devices of one machine. `--strategy workers` trains on the
machines that `TF_CONFIG` names: every one runs the same command, with the folder of the run on a
disk that all of them see. Keras 3.15's `fit` fails among several machines (docs/training.md), so
the steps, the same `Trainer.train_step`, are taken by the loop below.

Batch statistics and gradients are those of the whole batch, whatever its parts: the number of
devices changes how fast a run goes, and nothing else.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from deepam_tf import DeepAM
from training.configuration.config import TrainingConfig
from training.fit.callbacks import ResumableCheckpoint
from training.fit.trainer import Trainer

__all__ = [
    "STRATEGIES",
    "fit_replicas",
    "is_chief",
    "make_strategy",
    "synchronized",
    "worker_errors",
]

STRATEGIES = ("one", "mirrored", "workers")


def make_strategy(name: str, config: TrainingConfig) -> tf.distribute.Strategy:
    """The strategy of a name; for `workers` the process joins the others here.

    Args:
        name: one of `STRATEGIES`.
        config: the recipe, whose batches the devices share.

    Returns:
        The strategy.

    Raises:
        ValueError: if `TF_CONFIG` is missing or wrong, the batch cannot be shared evenly, or
            the optimizer cannot be shared.
    """
    if name == "one":
        return tf.distribute.get_strategy()
    if name == "mirrored":
        strategy = tf.distribute.MirroredStrategy()
    else:
        try:
            task = json.loads(os.environ["TF_CONFIG"])
            workers, index = task["cluster"]["worker"], task["task"]["index"]
            if task["task"]["type"] != "worker" or not 0 <= index < len(workers):
                raise ValueError(f"task {task['task']} among {len(workers)} workers")
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                "--strategy workers needs the addresses of all workers. Received: TF_CONFIG="
                f"{os.environ.get('TF_CONFIG')!r}. Set it as docs/training.md shows."
            ) from error
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    if config.data.batch_size % strategy.num_replicas_in_sync:
        raise ValueError(
            "The devices must share a batch evenly. Received: "
            f"data.batch_size={config.data.batch_size} for {strategy.num_replicas_in_sync} devices."
        )
    if config.optimizer.name == "muon" and config.optimizer.weight_decay:
        raise ValueError(
            "Keras's Muon does not decay weights on several devices. Received: "
            f"optimizer.weight_decay={config.optimizer.weight_decay}. Set it to 0."
        )
    if config.optimizer.average:
        raise ValueError(
            "The mean of the weights is taken on one device only. Received: "
            f"optimizer.average={config.optimizer.average}. Set it to 0."
        )
    return strategy


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes the run's files: the first worker, or the only process."""
    resolver = strategy.cluster_resolver
    return resolver is None or not resolver.task_type or resolver.task_id == 0


@contextlib.contextmanager
def synchronized(model: DeepAM):
    """Batch normalisation takes its statistics from the batches of all devices, for a while."""
    layers = model.normalizations
    for layer in layers:
        layer.synchronized = True
    try:
        yield
    finally:
        for layer in layers:
            layer.synchronized = False


def fit_replicas(
    trainer: Trainer,
    batches: tf.data.Dataset,
    strategy: tf.distribute.Strategy,
    *,
    epochs: int,
    initial_epoch: int,
    steps_per_epoch: int,
    callbacks: list[keras.callbacks.Callback],
    parts: Callable[[range, int], tf.data.Dataset] | None = None,
    validate: Callable[[], dict[str, float]] = dict,
    verbose: str | int = "auto",
) -> None:
    """`trainer.fit` under a strategy of several devices or processes.

    Args:
        trainer: built under the strategy's scope.
        batches: whole batches, the same in every process; each takes its part.
        strategy: of all processes.
        epochs: epochs in all.
        initial_epoch: epochs done before.
        steps_per_epoch: steps in an epoch.
        callbacks: of this process, as for `fit`.
        parts: of the numbers of some replicas and of how many there are, the parts of batches
            they take: where each process reads data of its own. By default each makes whole
            batches and takes its part.
        validate: gives what to add to the logs of an epoch.
        verbose: 0 is silent.
    """
    with strategy.scope():
        _build_metrics(trainer, batches)
    if parts is None:
        options = tf.data.Options()
        policy = tf.data.experimental.AutoShardPolicy.DATA
        options.experimental_distribute.auto_shard_policy = policy
        distributed = strategy.experimental_distribute_dataset(batches.with_options(options))
    else:

        def of_this_process(context: tf.distribute.InputContext) -> tf.data.Dataset:
            count = context.num_replicas_in_sync
            here = count // context.num_input_pipelines
            first = context.input_pipeline_id * here
            return parts(range(first, first + here), count)

        distributed = strategy.distribute_datasets_from_function(of_this_process)
    iterator = iter(distributed)

    @tf.function
    def step(data):
        # Metrics are sums over all devices; each returns the same results.
        strategy.run(trainer.train_step, args=(data,))

    called = keras.callbacks.CallbackList(
        callbacks,
        add_progbar=verbose != 0,
        model=trainer,
        verbose=1 if verbose == "auto" else verbose,
        epochs=epochs,
        steps=steps_per_epoch,
    )
    called.on_train_begin()
    logs: dict[str, Any] = {}
    for epoch in range(initial_epoch, epochs):
        trainer.reset_metrics()
        called.on_epoch_begin(epoch)
        for batch in range(steps_per_epoch):
            called.on_train_batch_begin(batch)
            step(next(iterator))
            logs = trainer.get_metrics_result()
            called.on_train_batch_end(batch, logs)
        called.on_epoch_end(epoch, {**logs, **validate()})
    called.on_train_end(logs)


def _build_metrics(trainer: Trainer, batches: tf.data.Dataset) -> None:
    """Let losses and metrics make their variables, which a step on several devices cannot."""
    spec = batches.element_spec
    inputs, *others = tf.nest.map_structure(lambda x: tf.zeros(x.shape, x.dtype), spec)
    weight = others[1] if len(others) > 1 else None
    trainer.compute_loss(inputs, others[0], others[0], weight, training=False)
    trainer.compute_metrics(inputs, others[0], others[0], weight)
    trainer.reset_metrics()


def validate(
    model: keras.Model,
    dataset: tf.data.Dataset,
    metrics: Callable[[], list[keras.metrics.Metric]],
) -> dict[str, float]:
    """What `fit` reports of validation images, computed by this process alone.

    Args:
        model: `{"image", ...}` to `{"restored", ...}`.
        dataset: of whole images, one a batch, as for `fit`.
        metrics: makes metrics of the restored image.

    Returns:
        Figures by the names of `fit`.
    """
    reported = [keras.metrics.MeanAbsoluteError(name="loss"), *metrics()]
    run = tf.function(lambda x: model(x, training=False)["restored"], reduce_retracing=True)
    for inputs, target, *weight in dataset:
        restored = run(inputs)
        for metric in reported:
            metric.update_state(
                target["restored"],
                restored,
                sample_weight=weight[0]["restored"] if weight else None,
            )
    return {f"val_restored_{metric.name}": float(metric.result()) for metric in reported}


@contextlib.contextmanager
def worker_errors(checkpoint: ResumableCheckpoint):
    """What TensorFlow says when a worker is lost, as one line that says how to go on.

    Raises:
        ConnectionError: if another worker cannot be reached any more.
    """
    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError) as error:
        raise ConnectionError(
            "All workers must stay in reach. Received: "
            f"{str(error.message).strip().splitlines()[0]}. The last good checkpoint is "
            f"{checkpoint.latest}: start the same command on every worker to go on."
        ) from error
