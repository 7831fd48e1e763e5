"""Train DeepAM with `keras.Model.fit`.

    python -m training.train --config denoise_gray_s25 --data FOLDER [FOLDER ...] --out RUN

The same command goes on where a run that was interrupted stopped.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import pathlib
import sys

import keras
import numpy as np
import tensorflow as tf

from deepam_tf import DeepAM, data, degradations, metrics
from deepam_tf.image_io import ImageFileError
from training.callbacks import LearningRateLogger, ResumableCheckpoint
from training.config import CONFIGS, TrainingConfig
from training.optimizers import ConvMuon

__all__ = ["main", "train"]


def train(
    config: TrainingConfig,
    train_images: list[np.ndarray],
    validation_images: list[np.ndarray],
    out: pathlib.Path,
    *,
    initial_model: keras.Model | None = None,
    verbose: str | int = "auto",
) -> DeepAM:
    """Train a model, or go on training it, and save it.

    Args:
        config: the recipe.
        train_images: uint8 arrays `[H, W, C]`.
        validation_images: uint8 arrays `[H, W, C]`, restored whole after each epoch.
        out: folder of the run: `checkpoints/`, `logs/` for TensorBoard, `model.keras`.
        initial_model: whose weights to start from, of the same architecture.
        verbose: of `keras.Model.fit`; 1 is a progress bar.

    Returns:
        The trained model.
    """
    keras.utils.set_random_seed(config.seed)
    model = DeepAM(
        config.num_iterations,
        image_channels=config.image_channels,
        filters=config.filters,
        depth=config.depth,
        pixel_unshuffle=config.pixel_unshuffle,
        residual=config.residual,
        noise_level=isinstance(config.noise_stddev, tuple),
        rtol=config.rtol,
        dtype=config.dtype,
    )
    if initial_model is not None:
        model.set_weights(initial_model.get_weights())
    # What carries a loss: the result, and the iterates before it.
    names = ["restored", *(f"u_{k}" for k in range(1, config.num_iterations))]
    trainer = _compiled(model, names, config)
    out.mkdir(parents=True, exist_ok=True)
    checkpoint = ResumableCheckpoint(out / "checkpoints", trainer)
    _check_same_recipe(config, out / "config.json")
    checkpoint.restore()
    step = int(trainer.optimizer.iterations)
    (out / "config.json").write_text(json.dumps(dataclasses.asdict(config), indent=2) + "\n")

    batches = data.denoising_crops(
        train_images,
        noise_stddev=config.noise_stddev,
        crop_size=config.crop_size,
        batch_size=config.batch_size,
        seed=config.seed,
        first_batch=step,
    )
    history = trainer.fit(
        batches.map(lambda x, y: (x, dict.fromkeys(names, y["restored"]))),
        initial_epoch=step // config.steps_per_epoch,
        epochs=config.num_steps // config.steps_per_epoch,
        steps_per_epoch=config.steps_per_epoch,
        shuffle=False,  # the pipeline is in random order already
        validation_data=_validation(validation_images, names, config),
        callbacks=[
            LearningRateLogger(),
            checkpoint,
            keras.callbacks.TensorBoard(out / "logs", profile_batch=0),
            keras.callbacks.TerminateOnNaN(),
        ],
        verbose=verbose,
    )
    if not np.all(np.isfinite(history.history.get("loss", []))):
        raise FloatingPointError(
            "The loss must stay finite. "
            f"Received: NaN or infinity after step {int(trainer.optimizer.iterations)}; the last "
            f"good epoch is in {out / 'checkpoints'}. Lower the learning rate or look at the data."
        )
    model.save(out / "model.keras")
    return model


def _check_same_recipe(config: TrainingConfig, stored: pathlib.Path) -> None:
    """A run goes on with its own recipe; only its length may change."""
    if not stored.exists():
        return
    before, now = json.loads(stored.read_text()), dataclasses.asdict(config)
    now = json.loads(json.dumps(now))  # tuples become lists, as in the file
    changed = sorted(key for key in now if key != "num_steps" and before.get(key) != now[key])
    if changed:
        raise ValueError(
            "A run must go on with the configuration it began with. Received: other values of "
            f"{', '.join(changed)} than {stored} holds. Choose another folder."
        )


def _compiled(model: DeepAM, names: list[str], config: TrainingConfig) -> keras.Model:
    """The model with its losses: L1 on the result (paper, eq. 10), a little on the others."""
    iterates = model.iterates()
    trainer = keras.Model(
        iterates.input, {name: iterates.output[name] for name in names}, name="trainer"
    )
    warmup_steps = min(config.warmup_steps, config.num_steps // 5)
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0,
        warmup_target=config.learning_rate,
        warmup_steps=warmup_steps,
        decay_steps=config.num_steps - warmup_steps,
    )
    trainer.compile(
        optimizer=ConvMuon(schedule, weight_decay=0.0, adam_weight_decay=0.0, clipnorm=1.0),
        loss=dict.fromkeys(names, "mean_absolute_error"),
        loss_weights={**dict.fromkeys(names, config.iterate_loss_weight), "restored": 1.0},
        metrics={"restored": metrics.PSNR()},
    )
    trainer.optimizer.build(trainer.trainable_variables)
    return trainer


def _validation(
    images: list[np.ndarray], names: list[str], config: TrainingConfig
) -> tf.data.Dataset | None:
    """Whole images with the noise of the evaluation protocol, one a batch."""
    if not images:
        return None

    def pairs():
        for index, image in enumerate(images):
            clean = image.astype(np.float32)[np.newaxis] / 255.0
            level = config.validation_noise_stddev
            noise = degradations.benchmark_noise(clean.shape, level, index)
            inputs = {"image": clean + noise}
            if conditioned:
                inputs["noise_stddev"] = np.full([1, 1, 1, 1], level, np.float32)
            yield inputs, dict.fromkeys(names, clean)

    conditioned = isinstance(config.noise_stddev, tuple)
    image = tf.TensorSpec([1, None, None, config.image_channels])
    inputs = {"image": image}
    if conditioned:
        inputs["noise_stddev"] = tf.TensorSpec([1, 1, 1, 1])
    dataset = tf.data.Dataset.from_generator(
        pairs, output_signature=(inputs, dict.fromkeys(names, image))
    )
    # Keras 3.15 counts one batch too many where it is not told how many there are.
    return dataset.apply(tf.data.experimental.assert_cardinality(len(images)))


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m training.train", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--config", choices=CONFIGS, default="denoise_gray_s25")
    parser.add_argument(
        "--data", type=pathlib.Path, nargs="+", required=True, help="folders of clean images"
    )
    parser.add_argument(
        "--out", type=pathlib.Path, help="folder of the run; runs/CONFIG by default"
    )
    parser.add_argument("--init", type=pathlib.Path, help="model.keras to start from")
    parser.add_argument(
        "--validation", type=int, default=4, help="images held out, at most one in ten (4)"
    )
    for field in ("num_steps", "batch_size", "crop_size", "steps_per_epoch"):
        parser.add_argument(f"--{field.replace('_', '-')}", type=int)
    args = parser.parse_args(argv)

    config = CONFIGS[args.config]
    try:
        changed = {
            field.name: getattr(args, field.name)
            for field in dataclasses.fields(config)
            if getattr(args, field.name, None) is not None
        }
        config = dataclasses.replace(config, **changed)
        images = list(
            itertools.chain.from_iterable(
                data.load_images(folder, config.image_channels) for folder in args.data
            )
        )
        large = [image for image in images if min(image.shape[:2]) >= config.crop_size]
        if len(large) < len(images):
            left_out = len(images) - len(large)
            print(f"note: {left_out} images are smaller than the crops and left out.")
        # At most one in ten, spread over the whole list, which is often sorted by scene.
        count = min(args.validation, len(large) // 10)
        held_out = set(np.linspace(0, len(large) - 1, count, dtype=int).tolist())
        train(
            config,
            [image for i, image in enumerate(large) if i not in held_out],
            [large[i] for i in sorted(held_out)],
            args.out or pathlib.Path("runs") / args.config,
            initial_model=None
            if args.init is None
            else keras.saving.load_model(args.init, compile=False),
        )
    except (ImageFileError, ValueError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted: the same command goes on from the last epoch.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
