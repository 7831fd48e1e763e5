"""What streaming costs: memory against the size of the data, pixels against what a step eats.

    python -m benchmarks.streaming [--gigabytes 2] [--buffer 512] [--config NAME]

makes shards of that size, copies of one with 48 noisy pictures (or takes those of `--data`),
streams them through a buffer of so many megabytes, and prints by how much the memory of the process
grew, how many pixels of crops came out in a second, and how many the training step of the recipe
takes on the same machine (`--no-step` leaves that out).
"""

from __future__ import annotations

import argparse
import json
import pathlib
import tempfile
import time

import cv2
import keras
import numpy as np
import tensorflow as tf

from benchmarks import peak_memory
from training.configuration.config import TrainingConfig
from training.configuration.recipes import find_recipe
from training.configuration.settings import read_values, replace
from training.data.batches import make_batches
from training.data.inputs import open_examples
from training.data.shards import write_shards
from training.data.tasks import find_task
from training.fit.trainer import make_model, make_trainer

__all__ = ["main", "make_data", "stream"]

SIDE = 512
PICTURES = 48  # different ones; the rest are the same under other names


def make_data(folder: pathlib.Path, gigabytes: float, config: TrainingConfig) -> list[pathlib.Path]:
    """Shards of that many bytes on the disk, in all.

    Args:
        folder: to make them in.
        gigabytes: 10^9 bytes.
        config: whose channels are stored.

    Returns:
        The shards.
    """
    rng = np.random.default_rng(0)
    photos = folder / "photos"
    photos.mkdir()
    for i in range(PICTURES):
        smooth = cv2.GaussianBlur(rng.uniform(0, 255, (SIDE, SIDE, 3)), (0, 0), 4)
        noisy = np.clip(smooth + 10 * rng.standard_normal(smooth.shape), 0, 255)
        cv2.imwrite(str(photos / f"{i}.png"), noisy.astype(np.uint8))
    files = sorted(photos.iterdir())
    [(_, index)] = write_shards([(path,) for path in files], config.data, folder / "first", 1)
    repeats = max(round(gigabytes * 1e9 / index.lengths.sum()), 1)
    # Whole shards are copied: nothing has to be compressed again.
    shards = []
    for i in range(repeats):
        for suffix in (".tfrecord", ".index.npz"):
            source = folder / "first" / f"part-00000-of-00001{suffix}"
            target = folder / f"part-{i:05}-of-{repeats:05}{suffix}"
            target.write_bytes(source.read_bytes())
        shards.append(folder / f"part-{i:05}-of-{repeats:05}.tfrecord")
    return shards


def stream(
    shards: list[pathlib.Path], config: TrainingConfig, megapixels: float
) -> dict[str, float]:
    """Draw crops from a stream, and see what it takes.

    Args:
        shards: the data.
        config: the recipe, whose `data.stream_megabytes` is the buffer.
        megapixels: how many to draw.

    Returns:
        `data_megabytes` of the shards, `decoded_megabytes` of their pictures,
        `memory_megabytes` by which the process grew, `megapixels_per_second`, and
        `megapixels_per_cpu_second`, which does not depend on what else the machine does.
    """
    task = find_task(config.data.task)
    pixels = config.data.batch_size * config.data.crop_size**2
    # What TensorFlow takes for any pipeline, and its kernels, is there before.
    first = open_examples(shards[:1], config.data, task)
    warm = replace(config, {"data.stream_megabytes": 1})
    for _ in make_batches(open_examples(shards[:1], warm.data, task), config, task, 0).take(8):
        pass
    before = peak_memory.of_this_process()
    examples = open_examples(shards, config.data, task)
    batches = iter(make_batches(examples, config, task, 0))
    next(batches)
    count = max(round(1e6 * megapixels / pixels), 1)
    start, cpu_start = time.perf_counter(), time.process_time()
    for _ in range(count):
        next(batches)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    channels = first.index.channels[0].sum() * first.index.bits[0, 0] / 8
    return {
        "data_megabytes": sum(path.stat().st_size for path in shards) / 1e6,
        "decoded_megabytes": float(examples.index.sizes.prod(axis=1).sum() * channels / 1e6),
        "memory_megabytes": (peak_memory.of_this_process() - before) / 1e6,
        "megapixels_per_second": count * pixels / seconds / 1e6,
        "megapixels_per_cpu_second": count * pixels / cpu_seconds / 1e6,
    }


def step_speed(config: TrainingConfig, *, steps: int = 5) -> float:
    """Megapixels that the training step of a recipe takes in a second, input not counted."""
    task = find_task(config.data.task)
    keras.utils.set_random_seed(0)
    trainer = make_trainer(make_model(config, task), config, task)
    shape = [config.data.batch_size, *2 * [config.data.crop_size], config.data.image_channels]
    image = tf.random.uniform(shape)
    inputs = {"image": image}
    if isinstance(config.data.sigma, tuple):
        inputs["noise_stddev"] = tf.fill([shape[0], 1, 1, 1], 0.1)
    batch = trainer.spread(inputs, {"restored": image})
    trainer.train_on_batch(*batch)
    taken = []
    for _ in range(steps):
        start = time.perf_counter()
        trainer.train_on_batch(*batch)
        taken.append(time.perf_counter() - start)
    return float(np.prod(shape[:3]) / min(taken) / 1e6)


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.streaming", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--data", type=pathlib.Path, nargs="+", help="shards, instead of made ones")
    parser.add_argument("--gigabytes", type=float, default=2.0, help="of shards to make (2)")
    parser.add_argument("--buffer", type=int, default=512, help="megabytes for pictures (512)")
    parser.add_argument("--megapixels", type=float, default=200.0, help="of crops to draw (200)")
    parser.add_argument("--config", default="denoise_gray", help="recipe of denoising")
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("--no-step", action="store_true", help="leave the training step out")
    args = parser.parse_args(argv)
    config = replace(
        find_recipe(args.config),
        {"data.stream_megabytes": args.buffer, **read_values(args.settings)},
    )
    with tempfile.TemporaryDirectory() as place:
        shards = args.data or make_data(pathlib.Path(place), args.gigabytes, config)
        found = stream(shards, config, args.megapixels)
    if not args.no_step:
        found["step_megapixels_per_second"] = step_speed(config)
        found["times_the_step"] = (
            found["megapixels_per_second"] / found["step_megapixels_per_second"]
        )
    print(json.dumps({name: round(value, 3) for name, value in found.items()}, indent=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
