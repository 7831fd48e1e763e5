"""Train DeepAM with `keras.Model.fit`.

    python -m training.train --config denoise_s25_k3_fast --data FOLDER [FOLDER ...] --out RUN

The same command goes on where a run that was interrupted stopped.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
import warnings

import keras
import numpy as np
import tensorflow as tf

from deepam_tf import DeepAM
from deepam_tf.files.atomic import whole_file
from deepam_tf.files.pictures import ImageFileError
from training.configuration import run_folder
from training.configuration.config import TrainingConfig
from training.configuration.recipes import RECIPES, find_recipe
from training.configuration.settings import read_values, replace, to_toml
from training.data.inputs import hold_out, load_examples
from training.data.tasks import Examples, Task, find_task
from training.fit import distributed
from training.fit.callbacks import ResumableCheckpoint, StopOnNaN
from training.fit.monitoring import make_monitors
from training.fit.trainer import Trainer, make_model, make_trainer
from training.fit.warm_start import adopt_weights

__all__ = ["main", "train"]


def train(
    config: TrainingConfig,
    examples: Examples,
    validation: Examples,
    out: pathlib.Path,
    *,
    initial_model: keras.Model | None = None,
    command: str | None = None,
    strategy: str = "one",
    verbose: str | int = "auto",
) -> DeepAM:
    """Train a model, or go on training it, and save it.

    Args:
        config: the recipe.
        examples: what to cut the training crops from.
        validation: restored whole after each epoch.
        out: folder of the run, see `training.run_folder`.
        initial_model: whose weights to start from, see `training.warm_start`.
        command: what to note in the run's record.
        strategy: one of `training.distributed.STRATEGIES`.
        verbose: of `keras.Model.fit`; 1 is a progress bar.

    Returns:
        The trained model.

    Raises:
        ValueError: if something does not fit together.
        OSError: if the folder cannot be written to, or has no room.
        FloatingPointError: if the loss became NaN or infinite.
    """
    task = find_task(config.data.task)
    devices = distributed.make_strategy(strategy, config)
    keras.utils.set_random_seed(config.run.seed)
    with devices.scope():
        model = make_model(config, task)
        if initial_model is not None:
            adopt_weights(model, initial_model)
        trainer = make_trainer(model, config, task)
    checkpoint = ResumableCheckpoint(out / "checkpoints", trainer)
    writes = distributed.is_chief(devices)
    if writes:
        run_folder.check_room(out, run_folder.bytes_of_run(trainer, config))
    run_folder.check_same_recipe(config, out)
    checkpoint.restore()
    step = trainer.steps_done
    callbacks: list[keras.callbacks.Callback] = [
        StopOnNaN(lambda batch: task.sources(examples, config, batch), checkpoint)
    ]
    if writes:
        run_folder.write_record(out, config, step=step, command=command)
        shown = validation if validation.items else examples
        inputs, target, *_ = task.observe(shown.items[0], config.data, 0)
        metrics = [metric.name for metric in task.metrics()]
        if config.optimizer.average:
            callbacks.append(keras.callbacks.SwapEMAWeights())
        callbacks += [checkpoint, *make_monitors(out, config, model, inputs, target, metrics)]
    batches = task.crops(examples, config, step).map(trainer.spread)
    held_out = _validation(validation, examples, trainer, config, task) if writes else None
    length = {
        "epochs": config.run.num_steps // config.run.steps_per_epoch,
        "initial_epoch": step // config.run.steps_per_epoch,
        "steps_per_epoch": config.run.steps_per_epoch,
    }
    with checkpoint.report_full_disk():
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


def _validation(
    validation: Examples,
    examples: Examples,
    trainer: Trainer,
    config: TrainingConfig,
    task: Task,
) -> tf.data.Dataset | None:
    """Whole images, observed by the evaluation protocol, one a batch."""
    if not validation.items:
        return None

    def pairs():
        for number, item in enumerate(validation.items):
            inputs, *rest = task.observe(item, config.data, number)
            if task.contrast is not None:
                inputs["contrast"] = np.full(
                    [1, 1, 1, 1], task.contrast(item, examples), np.float32
                )
            yield trainer.spread(inputs, *({"restored": array} for array in rest))

    def specification(array):
        size = [1, 1] if array.shape[1:3] == (1, 1) else [None, None]
        return tf.TensorSpec([1, *size, *array.shape[3:]], tf.float32)

    signature = tf.nest.map_structure(specification, next(pairs()))
    dataset = tf.data.Dataset.from_generator(pairs, output_signature=signature)
    # Keras 3.15 counts one batch too many where it is not told how many there are.
    return dataset.apply(tf.data.experimental.assert_cardinality(len(validation)))


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m training.train", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "--config",
        default="denoise_s25_k3_fast",
        metavar="NAME",
        help="a shipped recipe or a .toml file (denoise_s25_k3_fast)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="settings",
        metavar="NAME=VALUE",
        help="change a value of the recipe, as optimizer.learning_rate=3e-4; again for more",
    )
    parser.add_argument("--data", type=pathlib.Path, nargs="+", help="folders of training data")
    parser.add_argument(
        "--validation", type=pathlib.Path, nargs="+", help="folders instead of held-out images"
    )
    parser.add_argument(
        "--out", type=pathlib.Path, help="folder of the run; runs/CONFIG by default"
    )
    parser.add_argument("--init", type=pathlib.Path, help="model.keras to start from")
    parser.add_argument(
        "--strategy",
        choices=distributed.STRATEGIES,
        default="one",
        help="one device, all of this machine (mirrored), or several machines (workers)",
    )
    parser.add_argument("--list", action="store_true", help="print the shipped recipes and end")
    parser.add_argument("--show", action="store_true", help="print the configuration and end")
    args = parser.parse_args(argv)
    # Keras 3.15 compares a dict of tensors with its own dict of names and warns each time.
    warnings.filterwarnings("ignore", "The structure of `inputs`", UserWarning)
    if args.list:
        print("\n".join(RECIPES))
        return 0
    try:
        config = replace(find_recipe(args.config), read_values(args.settings))
        if args.show:
            print(to_toml(config), end="")
            return 0
        if not args.data:
            raise ValueError("A run needs training data. Received: no --data.")
        task = find_task(config.data.task)
        examples = load_examples(args.data, config.data, task)
        if args.validation:
            validation = load_examples(args.validation, config.data, task)
        else:
            examples, validation = hold_out(examples, config.data.validation_images)
        arguments = sys.argv[1:] if argv is None else argv
        train(
            config,
            examples,
            validation,
            args.out or pathlib.Path("runs") / pathlib.Path(args.config).stem,
            initial_model=None
            if args.init is None
            else keras.saving.load_model(args.init, compile=False),
            strategy=args.strategy,
            command=run_folder.command_line("training.train", arguments),
        )
    except (ImageFileError, ValueError, FloatingPointError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted: the same command goes on from the last epoch.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
