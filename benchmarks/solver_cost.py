"""What solves cost where they are used: memory of the gradient, share of a training step.

`python -m benchmarks.solver --part memory training` runs it.
"""

from __future__ import annotations

import functools
import pathlib
import subprocess
import sys
import time

import numpy as np
import rich.console
import tensorflow as tf

import deepam_tf
from benchmarks import linear_solvers
from benchmarks.training import Step
from training.configuration.recipes import find_recipe
from training.configuration.settings import replace

__all__ = ["copy_bandwidth", "memory", "training_share"]


def memory(console: rich.console.Console) -> None:
    """Peaks of value and gradient on 4 images 256x256, and of one solve of 1024x1024.

    Each in a process of its own, so that the peak is that of one way alone.
    """
    for differentiation in ("implicit", "loop"):
        for steps in (20, 200):
            measured = _in_a_process("gradient", differentiation, str(steps))
            console.print(f"value and gradient, {differentiation}, {steps} steps: {measured}")
    for method in ("jacobi", "multigrid", *linear_solvers.PEERS):
        console.print(f"one solve, 1024x1024, {method}: {_in_a_process('solve', method)}")


def _in_a_process(*arguments: str) -> str:
    command = [sys.executable, "-m", "benchmarks.solver_cost", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.strip().splitlines()[-1]


def _peak_of_solve(method: str) -> str:
    kind = "uniform 0.05..1"
    if method in linear_solvers.PEERS:
        solve, dtype = linear_solvers.PEERS[method]
        matrix = linear_solvers.system_matrix(linear_solvers.gamma_of(kind, 1024)).astype(dtype)
        run = functools.partial(solve, matrix, linear_solvers.rhs_of(1024).astype(dtype))
    else:
        run = functools.partial(linear_solvers.measure_ours, 1024, kind, method, repeats=1)
        linear_solvers.measure_ours(64, kind, method, repeats=1)  # TensorFlow has started
    before = _reset_peak()
    run()
    return f"{(_peak_kilobytes() - before) / 1024:.0f} MB above its start"


def _peak_of_gradient(differentiation: str, steps: int) -> str:
    rng = np.random.default_rng(0)
    f = tf.constant(rng.uniform(size=(4, 256, 256, 1)), tf.float32)
    v = tf.constant(0.1 * rng.normal(size=(4, 256, 256, 2)), tf.float32)
    gamma = tf.constant(rng.uniform(0.05, 1, size=(4, 256, 256, 1)), tf.float32)
    options = {"rtol": 0.0, "max_steps": steps}

    def through_the_loop(f, v, gamma):
        operator = deepam_tf.ReconstructionOperator(gamma)
        rhs = deepam_tf.image_gradient_adjoint(v - deepam_tf.image_gradient(f))
        x = deepam_tf.conjugate_gradient(operator, tf.reshape(rhs, [4, -1]), **options).x
        return f + tf.reshape(x, f.shape)

    solve = through_the_loop
    if differentiation == "implicit":
        solve = functools.partial(deepam_tf.reconstruct, preconditioner="jacobi", **options)

    @tf.function
    def gradient(f, v, gamma):
        with tf.GradientTape() as tape:
            tape.watch([f, v, gamma])
            loss = tf.reduce_sum(tf.abs(solve(f, v, gamma)))
        return tape.gradient(loss, [f, v, gamma])

    gradient.get_concrete_function(f, v, gamma)
    before = _reset_peak()
    gradient(f, v, gamma)
    peak = _peak_kilobytes() - before
    seconds, _ = linear_solvers.best_time(lambda: gradient(f, v, gamma), 4)
    return f"{peak / 1024:.0f} MB above the start, {1e3 * seconds:.0f} ms"


def _reset_peak() -> int:
    """Forget the peak so far (Linux); the memory in use now, in kilobytes."""
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    return _peak_kilobytes()


def _peak_kilobytes() -> int:
    # Not getrusage: its peak is inherited from the process that started this one.
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


def training_share(console: rich.console.Console) -> None:
    """Time of the solves of a training step over that of the whole step."""
    config = replace(find_recipe("denoise_gray_s25"), {"data.batch_size": 16})
    step = Step(config)
    whole, alone = step.seconds(), step.seconds_of_solves()
    console.print(
        f"training step, K = 3, 16 crops 64x64, bfloat16: {1e3 * whole:.0f} ms, of which solves "
        f"(forward and adjoint, rtol {config.model.rtol:g}) {1e3 * alone:.0f} ms: "
        f"{100 * alone / whole:.0f} %"
    )


def copy_bandwidth() -> float:
    """Bytes a second, read and written, of copying 256 MB with every core, in GB/s."""
    source = tf.random.uniform([64 * 2**20])
    copy = tf.function(lambda x: x + 1.0)
    copy(source)
    start = time.perf_counter()
    for _ in range(5):
        copy(source)
    return 5 * 2 * 256 * 2**20 / (time.perf_counter() - start) / 1e9


if __name__ == "__main__":
    if sys.argv[1] == "gradient":
        print(_peak_of_gradient(sys.argv[2], int(sys.argv[3])))
    else:
        print(_peak_of_solve(sys.argv[2]))
