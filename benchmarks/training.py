"""What a training step costs beside its own convolutions, the limit that the machine sets.

    python -m benchmarks.training [--config NAME] [--set NAME=VALUE] [--xla]

measures, in one run: the step of a recipe in float32 and bfloat16, with `--xla` also compiled; the
same with solves that XLA does not compile, and with adjoint solves to the tolerance of the forward
ones, and what the looser ones change in the gradient; the same convolutions alone, forward and
backward; the solves alone; the input pipeline alone, and the step fed by it. Ratios hold whatever
else the machine does, as long as it does it throughout: everything is measured in turns.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import keras
import numpy as np
import rich.console
import rich.table
import tensorflow as tf

import deepam_tf
from benchmarks import linear_solvers
from training.configuration.config import TrainingConfig
from training.configuration.recipes import find_recipe
from training.configuration.settings import read_values, replace
from training.data.tasks import Examples, find_task
from training.fit.trainer import make_model, make_trainer

__all__ = ["Step", "main"]

TURNS = 8


class Step:
    """One training step of a denoising recipe, and its parts.

    Args:
        config: the recipe.
    """

    def __init__(self, config: TrainingConfig) -> None:
        keras.utils.set_random_seed(0)
        self.config = config
        self.task = find_task(config.data.task)
        self.model = make_model(config, self.task)
        self._load_weights()
        self.trainer = make_trainer(self.model, config, self.task)
        rng = np.random.default_rng(0)
        # Gray rectangles: pictures as far as a solve can tell.
        blocks = rng.integers(40, 216, (8, 32, 32, 1), dtype=np.uint8)
        images = list(blocks.repeat(16, 1).repeat(16, 2).repeat(config.data.image_channels, 3))
        self.examples = Examples([str(i) for i in range(len(images))], images)
        self.batches = self.task.crops(self.examples, config, 0).map(self.trainer.spread)
        self.batch = next(iter(self.batches))

    def _load_weights(self) -> None:
        """Trained weights where they fit: solves take the steps that they take in training."""
        try:
            channels, levels = self.config.data.image_channels, self.config.data.sigma
            varied = "denoise_gray" if channels == 1 else "denoise_color"
            name = varied if isinstance(levels, tuple) else "denoise_gray_s25"
            self.model.set_weights(deepam_tf.load_pretrained(name).get_weights())
        except ValueError:
            return

    @property
    def pixels(self) -> int:
        """Pixels in a batch."""
        return self.config.data.batch_size * self.config.data.crop_size**2

    def run(self) -> None:
        """One step on the same batch every time: no input to wait for."""
        self.trainer.train_on_batch(*self.batch)

    def seconds(self) -> float:
        """Best time of a step."""
        self.run()
        return linear_solvers.best_time(self.run, TURNS)[0]

    def gradient(self, batch) -> np.ndarray:
        """Of the loss on a batch, all weights in one vector; nothing is trained."""

        @tf.function
        def run(inputs, targets):
            with tf.GradientTape() as tape:
                outputs = self.trainer(inputs, training=True)
                loss = self.trainer.compute_loss(inputs, targets, outputs, training=True)
            return tape.gradient(loss, self.trainer.trainable_variables)

        return np.concatenate([np.ravel(x) for x in run(*batch)])

    def kernels(self) -> list[tuple[list[tf.Tensor], list[tf.Tensor]]]:
        """Kernels of the convolutions: for each network those in a row, and the heads."""
        networks = []
        for k in range(1, self.model.num_iterations + 1):
            variables = [
                variable
                for variable in self.model.trainable_variables
                if len(variable.shape) == 4 and f"iteration_{k}_" in variable.path
            ]
            heads = [variable.value for variable in variables if "_head" in variable.path]
            networks.append(([v.value for v in variables if "_head" not in v.path], heads))
        return networks

    def floating_operations(self) -> float:
        """Of the convolutions of a step: forward, and backward to kernels and inputs."""
        places = self.pixels / self.config.model.pixel_unshuffle**2
        sizes = [np.prod(k.shape) for row, heads in self.kernels() for k in (*row, *heads)]
        return 3 * 2 * places * float(sum(sizes))

    def convolutions(self) -> Callable[[], object]:
        """A function that computes the same convolutions and their gradients, nothing else."""
        dtype = keras.dtype_policies.get(self.config.run.dtype).compute_dtype
        side = self.config.data.crop_size // self.config.model.pixel_unshuffle
        networks = self.kernels()
        inputs = [
            tf.random.normal(
                [self.config.data.batch_size, side, side, int(row[0].shape[2])], dtype=dtype
            )
            for row, _ in networks
        ]

        @tf.function
        def run(inputs):
            kernels = [tuple([tf.cast(k, dtype) for k in part] for part in n) for n in networks]
            with tf.GradientTape() as tape:
                tape.watch([kernels, inputs])
                sums = []
                for (row, heads), x in zip(kernels, inputs, strict=True):
                    for kernel in row:
                        x = tf.nn.conv2d(x, kernel, 1, "SAME")
                    sums += [tf.reduce_sum(tf.nn.conv2d(x, head, 1, "SAME")) for head in heads]
                loss = tf.add_n(sums)
            return tape.gradient(loss, tf.nest.flatten(kernels) + inputs)

        run(inputs)
        return lambda: run(inputs)

    def seconds_of_solves(self) -> float:
        """Best time of the solves of a step alone, forward and adjoint."""
        outputs = self.model.iterates()(self.batch[0])
        image, clean = self.batch[0]["image"], self.batch[1]["restored"]
        numbers = range(1, self.model.num_iterations + 1)
        layers = [self.model.get_layer(f"iteration_{k}_reconstruction") for k in numbers]
        fields = [
            tuple(tf.cast(outputs[f"{x}_{k}"], tf.float32) for x in ("v", "gamma")) for k in numbers
        ]

        @tf.function
        def run(image, fields):
            # K solves and, for each loss on its way back, one adjoint solve.
            gradients = []
            for layer, (v, gamma) in zip(layers, fields, strict=True):
                with tf.GradientTape() as tape:
                    tape.watch([v, gamma])
                    u = layer([image, v, gamma])
                    loss = tf.reduce_mean(tf.abs(u - clean))
                gradients.append(tape.gradient(loss, [v, gamma]))
            return gradients

        run(image, fields)
        return linear_solvers.best_time(lambda: run(image, fields), TURNS)[0]


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--config", default="denoise_s25_k3_fast", metavar="NAME")
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("--xla", action="store_true", help="also with run.jit_compile")
    args = parser.parse_args(argv)
    console = rich.console.Console()
    base = replace(find_recipe(args.config), read_values(args.settings))
    ways = {
        f"{dtype.removeprefix('mixed_')}{', XLA' if xla else ''}": replace(
            base, {"run.dtype": dtype, "run.jit_compile": xla}
        )
        for dtype in ("float32", "mixed_bfloat16")
        for xla in ([False, True] if args.xla else [False])
    }
    as_forward = {"run.adjoint_rtol": base.model.rtol}
    not_compiled = {"run.jit_compile_solves": False}
    ways |= {
        "bfloat16, adjoint as forward": replace(ways["bfloat16"], as_forward),
        "bfloat16, solves not compiled": replace(ways["bfloat16"], not_compiled),
        "bfloat16, both": replace(ways["bfloat16"], {**as_forward, **not_compiled}),
    }
    steps = {name: Step(config) for name, config in ways.items()}
    stacks = {name: steps[name].convolutions() for name in ("float32", "bfloat16")}
    exact, loose = (steps[n] for n in ("bfloat16, adjoint as forward", "bfloat16"))
    batches = [*exact.batches.take(2)]
    first, second = (exact.gradient(batch) for batch in batches)
    inexact, unlike = (
        np.linalg.norm(x - first) / np.linalg.norm(first)
        for x in (loose.gradient(batches[0]), second)
    )
    for step in steps.values():
        step.run()
    iterator = iter(steps["bfloat16"].batches)
    feed = steps["bfloat16"].trainer.train_on_batch
    feed(*next(iterator))
    times: dict[str, list[float]] = {}
    for _ in range(TURNS):
        for name, step in steps.items():
            times.setdefault(name, []).append(linear_solvers.best_time(step.run, 1)[0])
        for name, stack in stacks.items():
            key = f"{name}, convolutions alone"
            times.setdefault(key, []).append(linear_solvers.best_time(stack, 1)[0])
        fed = linear_solvers.best_time(lambda: feed(*next(iterator)), 1)[0]
        times.setdefault("bfloat16, fed by the pipeline", []).append(fed)
    best = {name: min(values) for name, values in times.items()}
    any_step = next(iter(steps.values()))
    operations, pixels = any_step.floating_operations(), any_step.pixels
    table = rich.table.Table(
        "step", "ms", "kilopixels / s", "GFLOP / s", "of the convolutions alone", title=args.config
    )
    for name, seconds in best.items():
        alone = best[f"{name.split(',')[0]}, convolutions alone"]
        table.add_row(
            name,
            f"{1e3 * seconds:.0f}",
            f"{pixels / seconds / 1e3:.0f}",
            f"{operations / seconds / 1e9:.0f}",
            f"{100 * alone / seconds:.0f} %",
        )
    console.print(table)
    gain = best["float32"] / best["bfloat16"]
    console.print(f"bfloat16 over float32: {gain:.2f} x the speed")
    console.print(
        f"gradient with adjoint solves to {base.run.adjoint_rtol:g} instead of "
        f"{base.model.rtol:g}: differs by {100 * inexact:.2f} %; that of another batch by "
        f"{100 * unlike:.0f} %"
    )
    for name in stacks:
        share = steps[name].seconds_of_solves() / best[name]
        console.print(f"solves, forward and adjoint, {name}: {100 * share:.0f} % of the step")
    alone = linear_solvers.best_time(lambda: [next(iterator) for _ in range(16)], 4)[0] / 16
    console.print(
        f"input of a batch alone: {1e3 * alone:.1f} ms, {100 * alone / best['bfloat16']:.1f} % of "
        "a step in bfloat16"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
