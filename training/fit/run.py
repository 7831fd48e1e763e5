"""One run of training: begun, or gone on with, and saved."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from deepam_tf import DeepAM
from deepam_tf.data.crops import numbered
from deepam_tf.files.atomic import whole_file
from training.configuration import run_folder
from training.configuration.config import TrainingConfig
from training.data.batches import batch_sources, make_batches, make_replica_batches
from training.data.streams import StreamedExamples, read_errors
from training.data.tasks import TASKS, Examples, Task, task_of
from training.fit import distributed
from training.fit.callbacks import ResumableCheckpoint, StopOnNaN
from training.fit.monitoring import make_monitors
from training.fit.portable import adopt_state, export_step
from training.fit.trainer import Trainer, make_model, make_trainer
from training.fit.warm_start import adopt_weights

__all__ = ["train"]


def train(
    config: TrainingConfig,
    examples: Examples | StreamedExamples,
    validation: Examples,
    out: pathlib.Path,
    *,
    initial_model: keras.Model | None = None,
    command: str | None = None,
    strategy: str = "one",
    export: pathlib.Path | None = None,
    adopt: pathlib.Path | None = None,
    verbose: str | int = "auto",
) -> DeepAM:
    """Train a model, or go on training it, and save it.

    Args:
        config: the recipe.
        examples: what to cut the training crops from.
        validation: restored whole after each epoch.
        out: folder of the run, see `training.configuration.run_folder`.
        initial_model: whose weights to start from, see `training.fit.warm_start`.
        command: what to note in the run's record.
        strategy: one of `training.fit.distributed.STRATEGIES`.
        export: folder to write the next step to as a program of its own, see
            `training.fit.portable`, instead of training.
        adopt: such a folder, whose state is taken over before the run goes on.
        verbose: of `keras.Model.fit`; 1 is a progress bar.

    Returns:
        The trained model.

    Raises:
        ValueError: if something does not fit together.
        ImageFileError: if a record of streamed data cannot be read.
        OSError: if the folder cannot be written to, or has no room.
        FloatingPointError: if the loss became NaN or infinite.
    """
    task = task_of(config.data)
    if strategy != "one" and not (export is None and adopt is None):
        raise ValueError(
            "A step is exported from one device, and adopted by one. "
            f"Received: strategy={strategy!r}. Leave --strategy out."
        )
    devices = distributed.make_strategy(strategy, config)
    keras.utils.set_random_seed(config.run.seed)
    with devices.scope():
        model = make_model(config, task)
        adopted = [] if initial_model is None else adopt_weights(model, initial_model)
        if config.run.learns == "new":
            _hold(model, adopted)
        trainer = make_trainer(model, config, task)
        if config.run.learns == "new":
            # What is new has no statistics to keep; without any, its maps die at such a rate.
            kept = {id(variable) for variable in adopted}
            for layer in model.normalizations:
                layer.fixed_statistics = id(layer.moving_mean) in kept
    checkpoint = ResumableCheckpoint(out / "checkpoints", trainer)
    writes = distributed.is_chief(devices)
    if writes:
        run_folder.check_room(out, run_folder.bytes_of_run(trainer, config))
    run_folder.check_same_recipe(config, out)
    start = {
        "data": examples.fingerprint(),
        "initial_weights": None
        if initial_model is None
        else run_folder.fingerprint(initial_model.get_weights()),
    }
    run_folder.check_same_start(out, **start)
    checkpoint.restore()
    if adopt is not None:
        _adopt(trainer, adopt, checkpoint, config)
    step = trainer.steps_done
    if export is not None:
        _export(trainer, examples, config, task, export)
        print(f"exported: {export}, from step {step} to {config.run.num_steps}")
        return model
    if step >= config.run.num_steps and (out / "model.keras").exists():
        print(
            f"note: {out} is finished, all {step} steps are done. "
            "Ask for more with --set run.num_steps, or choose another folder with --out."
        )
        model.set_weights(keras.saving.load_model(out / "model.keras", compile=False).get_weights())
        return model
    callbacks: list[keras.callbacks.Callback] = [
        StopOnNaN(lambda batch: batch_sources(examples, config, task, batch), checkpoint)
    ]
    if writes:
        run_folder.write_record(out, config, step=step, command=command, **start)
        shown = validation if validation.items else examples.pick([0]).in_memory()
        inputs, target, *_ = task.observe(shown.items[0], config.data, 0)
        inputs, target = {name: array[:1] for name, array in inputs.items()}, target[:1]
        metrics = [metric.name for metric in task.metrics()]
        if config.optimizer.average:
            callbacks.append(keras.callbacks.SwapEMAWeights())
        callbacks += [checkpoint, *make_monitors(out, config, model, inputs, target, metrics)]
    batches = make_batches(examples, config, task, step).map(trainer.spread)
    held_out = _validation(validation, examples, trainer, config, task) if writes else None
    length = {
        "epochs": config.run.num_steps // config.run.steps_per_epoch,
        "initial_epoch": step // config.run.steps_per_epoch,
        "steps_per_epoch": config.run.steps_per_epoch,
    }
    with checkpoint.report_full_disk(), read_errors():
        if strategy == "one":
            trainer.fit(
                batches,
                shuffle=False,  # the pipeline is in random order already
                validation_data=held_out,
                callbacks=callbacks,
                verbose=verbose,
                **length,
            )
        else:
            with distributed.synchronized(model), distributed.worker_errors(checkpoint):
                distributed.fit_replicas(
                    trainer,
                    batches,
                    devices,
                    parts=_parts(examples, config, task, step, trainer),
                    callbacks=callbacks,
                    validate=lambda: (
                        distributed.validate(trainer, held_out, task.metrics) if held_out else {}
                    ),
                    verbose=verbose if writes else 0,
                    **length,
                )
    if writes:
        with whole_file(out / "model.keras") as temporary:
            model.save(temporary)
    return model


def _export(
    trainer: Trainer,
    examples: Examples | StreamedExamples,
    config: TrainingConfig,
    task: Task,
    folder: pathlib.Path,
) -> None:
    """Write the step of a run as a program of its own."""
    if task.batcher is None or not isinstance(examples, Examples):
        able = [name for name, other in TASKS.items() if other.batcher is not None]
        raise ValueError(
            f"A step that is exported learns {' or '.join(able)}, from clean pictures in memory. "
            f"Received: data.task={config.data.task!r}, data.supervision="
            f"{config.data.supervision!r}, {type(examples).__name__}."
        )
    export_step(
        trainer,
        task.batcher(examples, config),
        folder,
        num_steps=config.run.num_steps,
    )


def _adopt(
    trainer: Trainer, folder: pathlib.Path, checkpoint: ResumableCheckpoint, config: TrainingConfig
) -> None:
    """Take over what an exported step has reached, if it is further than the run."""
    before = trainer.steps_done
    adopt_state(trainer, folder)
    step = trainer.steps_done
    if step <= before or step % config.run.steps_per_epoch:
        raise ValueError(
            "A state to adopt must be further than the run, at the end of an epoch of "
            f"{config.run.steps_per_epoch} steps. Received: step {step}, the run is at {before}. "
            "Run more steps of the exported program."
        )
    checkpoint.save(step // config.run.steps_per_epoch)


def _hold(model: DeepAM, adopted: list[keras.Variable]) -> None:
    """Let those weights alone learn that the model to start from does not have."""
    for variable in adopted:
        variable.trainable = False
    if not adopted or not model.trainable_variables:
        raise ValueError(
            "Weights are new beside those of a model to start from that has fewer. Received: "
            f"run.learns=new, {len(adopted)} weights of such a model and "
            f"{len(model.trainable_variables)} new ones. Set run.learns=all."
        )


def _parts(
    examples: Examples | StreamedExamples,
    config: TrainingConfig,
    task: Task,
    step: int,
    trainer: Trainer,
) -> Callable[[range, int], tf.data.Dataset] | None:
    """The parts of batches that some replicas read, where each process reads data of its own."""
    if isinstance(examples, Examples):
        return None

    def parts(replicas: range, count: int) -> tf.data.Dataset:
        batches = make_replica_batches(
            examples, config, task, step, replicas=replicas, num_replicas=count
        )
        return batches.map(trainer.spread)

    return parts


def _validation(
    validation: Examples,
    examples: Examples | StreamedExamples,
    trainer: Trainer,
    config: TrainingConfig,
    task: Task,
) -> tf.data.Dataset | None:
    """Whole images, observed by the evaluation protocol, one a batch."""
    if not validation.items:
        return None

    def observed(number: int):
        item = validation.items[number]
        inputs, *rest = task.observe(item, config.data, number)
        if task.contrast is not None:
            inputs["contrast"] = np.full([1, 1, 1, 1], task.contrast(item, examples), np.float32)
        return trainer.spread(inputs, *({"restored": array} for array in rest))

    def specification(array):
        size = [1, 1] if array.shape[1:3] == (1, 1) else [None, None]
        return tf.TensorSpec([array.shape[0], *size, *array.shape[3:]], tf.float32)

    signature = tf.nest.map_structure(specification, observed(0))
    return numbered(observed, signature, count=len(validation))
