"""Run an exported step of training with JAX and NumPy alone.

    python run_step.py FOLDER

The folder is what `python -m training.train ... --export FOLDER` wrote. Its `state.npz` is replaced
as the steps go on; the same command goes on from there, and `training.train ... --adopt FOLDER`
takes it back. TensorFlow is not needed, nor anything else of this project.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import os
import pathlib
import sys
import time
import types
import zipfile

import numpy as np

__all__ = ["load_arrays", "main", "run", "save_arrays"]

PROGRAM, DESCRIPTION = "step.stablehlo", "step.json"
STATE, CONSTANTS = "state.npz", "constants.npz"


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=pathlib.Path, help="with the exported step")
    parser.add_argument("--steps", type=int, help="end after so many; by default that of the run")
    parser.add_argument("--every", type=int, default=100, help="steps from line to line (100)")
    parser.add_argument("--save-seconds", type=float, default=60, help="between two states (60)")
    args = parser.parse_args(argv)
    try:
        run(args.folder, steps=args.steps, every=args.every, save_seconds=args.save_seconds)
    except (ImportError, OSError, ValueError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted: the same command goes on from the last state.", file=sys.stderr)
        return 130
    return 0


def run(
    folder: pathlib.Path, *, steps: int | None = None, every: int = 100, save_seconds: float = 60.0
) -> None:
    """Do the steps that are left.

    Args:
        folder: with the exported step.
        steps: most steps to do now; None: all that are left.
        every: steps from one line on the terminal to the next.
        save_seconds: from one state written to the next; the last one is always written.

    Raises:
        ImportError: if there is no JAX.
        OSError: if a file is missing or cannot be written.
        ValueError: if a file is not that of an exported step.
        FloatingPointError: if the loss became NaN or infinite; the state before it stays.
    """
    description = json.loads((folder / DESCRIPTION).read_text())
    state, constants = (load_arrays(folder / file) for file in (STATE, CONSTANTS))

    # By name: who has no JAX checks the types of this file too.
    jax = importlib.import_module("jax")
    jax.config.update("jax_enable_x64", True)  # seeds and counts are int64
    call = _program(jax, folder, description, state | constants)

    def step(state: dict, constants: dict):
        arrays = state | constants
        results = call(*(arrays[name] for name in description["arguments"]))
        new = {name: results[i] for name, i in description["new_values"].items()}
        return results[: len(description["figures"])], new

    compiled = jax.jit(step, donate_argnums=0)
    first = done = int(state[description["count"]])
    end = description["num_steps"]
    if steps is not None:
        end = min(end, done + steps)
    device = jax.devices()[0]
    print(f"{device.device_kind}: step {done} of {end}", flush=True)
    # Put there by name, or what comes out would be compiled for once more.
    state, constants = jax.device_put((state, constants), device)
    written = begun = time.monotonic()
    while done < end:
        figures, state = compiled(state, constants)
        done += 1
        if done == first + 1:  # compiled and done; the rate is of the others
            jax.block_until_ready(state)
            begun = time.monotonic()
        if done % every and done != end:
            continue
        figures = [float(figure) for figure in figures]  # waits for the step
        shown = dict(zip(description["figures"], figures, strict=True))
        if not np.isfinite(shown["loss"]):
            raise FloatingPointError(
                f"The loss must stay finite. Received: {shown['loss']} at step {done}. "
                f"The last state that was written stays in {folder / STATE}: export the step again "
                "with a lower learning rate."
            )
        now = time.monotonic()
        rate = (done - first - 1) / max(now - begun, 1e-9)
        text = "  ".join(f"{name} {value:.4g}" for name, value in shown.items())
        left = f"{(end - done) / rate:.0f} s left" if rate else "compiled"
        print(f"step {done}: {text}  {rate:.3g} steps a second, {left}", flush=True)
        if now - written > save_seconds or done == end:
            save_arrays(folder / STATE, {name: np.asarray(x) for name, x in state.items()})
            written = time.monotonic()


def load_arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Read an NPZ file whole.

    Args:
        path: of the file.

    Returns:
        Arrays by name.

    Raises:
        OSError: if there is no such file.
        ValueError: if it is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: damaged ({error}). Copy it again.") from error


def save_arrays(
    path: pathlib.Path, arrays: dict[str, np.ndarray], *, compressed: bool = False
) -> None:
    """Write an NPZ file whole or not at all.

    Args:
        path: of the file, which is replaced.
        arrays: by name.
        compressed: worth its time for pictures.
    """
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        (np.savez_compressed if compressed else np.savez)(temporary, **arrays)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _program(
    jax: types.ModuleType,
    folder: pathlib.Path,
    description: dict,
    arrays: dict[str, np.ndarray],
):
    """The program as a function that `jax.jit` takes."""
    jnp, export = (importlib.import_module(f"jax.{part}") for part in ("numpy", "export"))
    given = [
        jax.ShapeDtypeStruct(arrays[name].shape, arrays[name].dtype)
        for name in description["arguments"]
    ]
    results = [jax.ShapeDtypeStruct((), dtype) for dtype in description["figures"].values()]
    of_variables = sorted(description["new_values"], key=description["new_values"].__getitem__)
    results += [given[description["arguments"].index(name)] for name in of_variables]

    def same_signature(*arguments):
        # Uses every argument, or JAX would leave it out.
        total = sum(jnp.sum(x).astype(jnp.float32) for x in arguments)
        return [total.astype(x.dtype) + jnp.zeros(x.shape, x.dtype) for x in results]

    # Of a function of these arguments and results JAX takes all but the program itself.
    exported = export.export(jax.jit(same_signature))(*given)
    code = (folder / PROGRAM).read_bytes()
    return dataclasses.replace(exported, mlir_module_serialized=code).call


if __name__ == "__main__":
    sys.exit(main())
