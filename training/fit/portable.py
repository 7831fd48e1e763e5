"""A step of training as one StableHLO program, for a machine that has JAX and no TensorFlow.

The program is what XLA makes of `Trainer.train_step` and of the crops it learns from: nothing is
written a second time. It goes there in a folder:

step.stablehlo   the program: arguments in, what it says of the step and new arguments out
step.json        what the arguments are, and which results take the place of which
state.npz        those that a step changes: weights, moments, moving statistics, its own count
constants.npz    the others, pictures above all
run_step.py      runs the program over and over (training/fit/run_step.py), with JAX and NumPy alone
"""

from __future__ import annotations

import json
import pathlib
import re
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from deepam_tf.files import atomic
from training.fit import run_step
from training.fit.trainer import Trainer

__all__ = ["adopt_state", "compiled_step", "export_step", "named_variables"]

_COUNT = "optimizer_0"  # Keras keeps the count of steps before all else


def compiled_step(
    trainer: Trainer, batch: Callable[[tf.Tensor], Any]
) -> tf.types.experimental.PolymorphicFunction:
    """A step of training with its crops as one function, compiled by XLA.

    Args:
        trainer: compiled, whose variables a call changes.
        batch: from the number of a batch to what the pipeline gives.

    Returns:
        Function without arguments; it gives what the metrics say of its one batch.
    """
    # Keras makes the variables of metrics when it first sees a batch.
    first = tf.data.Dataset.from_tensors(trainer.spread(*batch(tf.constant(0, tf.int64))))
    trainer.evaluate(first, verbose=0)

    def step():
        for metric in trainer.metrics:
            metric.reset_state()
        number = tf.cast(trainer.optimizer.iterations.value, tf.int64)
        return trainer.train_step(trainer.spread(*batch(number)))

    return tf.function(step, jit_compile=True)


def export_step(
    trainer: Trainer,
    batch: Callable[[tf.Tensor], Any],
    folder: pathlib.Path,
    *,
    num_steps: int,
) -> None:
    """Write a step of training as a program of its own.

    Crop and noise of sample number `i` depend on the seed and on `i`, as in a run with
    TensorFlow, but are other ones: XLA draws random numbers in its own way.

    Args:
        trainer: compiled; its variables are where the steps begin.
        batch: from the number of a batch to what the pipeline gives.
        folder: made; of another step it is not written over.
        num_steps: how far the program is to go, counted from the first step of the run.

    Raises:
        ValueError: if something in the step has no form that XLA compiles, or the folder holds
            a state already, which may have come back.
    """
    if (folder / run_step.STATE).exists():
        raise ValueError(
            f"A step must go into a folder of its own. Received: {folder}, which holds a state. "
            "Choose another, or go on from it with --adopt."
        )
    step = compiled_step(trainer, batch)
    program = step.get_concrete_function()
    compiled = step.experimental_get_compiler_ir()
    try:
        code = compiled(stage="stablehlo_serialized")
        header, _, body = compiled(stage="hlo").partition("\n")
    except (tf.errors.OpError, ValueError) as error:
        raise ValueError(
            "A step must be all of operations that XLA compiles. "
            f"Received: {str(error).splitlines()[0]}"
        ) from error
    figures = {name: x.dtype.name for name, x in sorted(program.structured_outputs.items())}
    aliases = re.findall(r"\{(\d+)\}: \((\d+), \{\}, may-alias\)", header)
    changed = {int(argument): int(result) for result, argument in aliases}
    if sorted(changed.values()) != list(range(len(figures), len(figures) + len(changed))):
        raise ValueError(
            "Every result of a step must be a figure or a variable's new value. Received: "
            f"{len(figures)} figures, new values at {sorted(changed.values())}."
        )
    names = {id(variable.value.handle): name for name, variable in named_variables(trainer).items()}
    values = {id(x.handle): x for x in program.variables}
    arguments, shapes, new_values, state, constants = [], [], {}, {}, {}
    for i, captured in enumerate(program.captured_inputs):
        held = values.get(id(captured))
        array = np.asarray(captured if held is None else held)
        name = names.get(id(captured), f"argument_{i}")
        arguments.append(name)
        if i in changed:
            new_values[name], state[name] = changed[i], array
        else:
            constants[name] = array
        shapes.append(list(array.shape))
    taken = header.partition("entry_computation_layout={(")[2].partition(")->")[0]
    taken = [[int(n) for n in x.split(",") if n] for x in re.findall(r"\w\[([\d,]*)\]", taken)]
    if taken != shapes:  # XLA leaves out what it has computed with already
        raise ValueError(
            "A program must take all that the step reads. Received: "
            f"{len(taken)} arguments for {len(shapes)} variables and arrays, or of other shapes."
        )
    # Where the number of a step decides on a shape or a slice, XLA puts today's into the program.
    uses = re.findall(rf"%arg{arguments.index(_COUNT)}\.\d+\b", body)
    if len(uses) < 3:  # where it is declared, twice
        raise ValueError(
            "A program must count its steps. Received: one that does the same step again and again."
        )
    folder.mkdir(parents=True, exist_ok=True)
    atomic.write_bytes(folder / run_step.PROGRAM, code)
    description = {
        "arguments": arguments,
        "new_values": new_values,  # by argument, the number of the result
        "figures": figures,
        "count": _COUNT,
        "num_steps": num_steps,
    }
    run_step.save_arrays(folder / run_step.CONSTANTS, constants, compressed=True)
    run_step.save_arrays(folder / run_step.STATE, state)
    shutil.copyfile(run_step.__file__, folder / "run_step.py")
    atomic.write_bytes(
        folder / run_step.DESCRIPTION, (json.dumps(description, indent=1) + "\n").encode()
    )


def adopt_state(trainer: Trainer, folder: pathlib.Path) -> None:
    """Take over what the program has reached: weights and the optimizer's state.

    Args:
        trainer: of the configuration that was exported.
        folder: of `export_step`, with the `state.npz` that came back.

    Raises:
        ValueError: if the state is damaged, or that of another model or optimizer.
        OSError: if there is no such file.
    """
    path = folder / run_step.STATE
    arrays = run_step.load_arrays(path)
    known = named_variables(trainer)
    given = {name: array.shape for name, array in arrays.items() if name in known}
    # What a step leaves as it was is not in the state: it is as it was here too.
    wrong = [name for name, shape in given.items() if shape != tuple(known[name].shape)]
    if wrong or _COUNT not in given or len(given) < len(trainer.trainable_variables):
        raise ValueError(
            "A state must be that of the step of this configuration. Received: "
            f"{path} with {len(given)} known variables, {len(wrong)} of another shape. "
            "Give the --config, --set and --init with which it was exported."
        )
    bad = [name for name in given if not np.isfinite(arrays[name]).all()]
    if bad:
        raise ValueError(f"A state must be finite. Received: {path}, {bad[0]} is not.")
    for name in given:
        known[name].assign(arrays[name])


def named_variables(trainer: Trainer) -> dict[str, Any]:
    """Weights and the optimizer's variables, by the names they have in the files.

    Args:
        trainer: compiled, its optimizer built.

    Returns:
        Variables by name.
    """
    return {
        **{f"weight_{i}": variable for i, variable in enumerate(trainer.variables)},
        **{f"optimizer_{i}": variable for i, variable in enumerate(trainer.optimizer.variables)},
    }
