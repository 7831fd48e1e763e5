"""Measure the linear solver against others, on the systems that DeepAM poses.

    python -m benchmarks.solver --data FOLDER [--part NAME ...] [--out results/solver]

systems   time and steps to a relative residual of 1e-5, sizes 128 to 4096, five kinds of gamma
figure5   the paper's Fig. 5: residual of the adjoint system against steps, mean over 20 images
memory    peak memory: value and gradient, implicit and through the loop; each solver
training  share of a training step that its solves take

Times are the best of several runs in one process, with one BLAS thread for SciPy (more make its
cg slower). Run it on an idle machine. With `--methods` some are measured anew; what `systems.csv`
knows of the others stays. CHOLMOD takes part where scikit-sparse is installed, which needs
SuiteSparse (Debian's libsuitesparse-dev; version 0.4.16 builds against that of Debian 12).
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import functools
import os
import pathlib
import subprocess
import sys

import matplotlib
import numpy as np
import rich.console
import rich.progress
import rich.table
import tensorflow as tf

import deepam_tf
from benchmarks import linear_solvers, solver_cost
from deepam_tf import data, degradations, image_io, preconditioners
from training.evaluation import scores

matplotlib.use("Agg")

import matplotlib.pyplot as plt

PARTS = ("systems", "figure5", "memory", "training")
SIZES = (128, 256, 512, 1024, 2048, 4096)
ADJOINT_STEPS = 60
# A method leaves the table at the sizes where it would take longer than this.
PATIENCE_SECONDS = 15.0
_one_blas_thread = {"OPENBLAS_NUM_THREADS": "1"}


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.solver")
    parser.add_argument("--data", type=pathlib.Path, help="folder of clean images, for figure5")
    parser.add_argument("--part", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument(
        "--methods", nargs="+", metavar="NAME", help="rows of the tables of systems to measure anew"
    )
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("results/solver"))
    args = parser.parse_args(argv)
    if os.environ.get("OPENBLAS_NUM_THREADS") != "1":  # it is read when NumPy is imported
        command = [sys.executable, "-m", "benchmarks.solver", *(argv or sys.argv[1:])]
        return subprocess.call(command, env=os.environ | _one_blas_thread)
    if "figure5" in args.part and args.data is None:
        parser.error("figure5 needs --data, a folder of images of 256x256 pixels or more")
    args.out.mkdir(parents=True, exist_ok=True)
    console = rich.console.Console(width=110)
    if "systems" in args.part:
        try:
            systems(args.sizes, args.out, console, args.methods)
        except (OSError, ValueError) as error:
            parser.error(str(error))
    if "figure5" in args.part:
        figure_5(args.data, args.out)
    if "memory" in args.part:
        solver_cost.memory(console)
    if "training" in args.part:
        solver_cost.training_share(console)
    return 0


def systems(
    sizes: list[int],
    out: pathlib.Path,
    console: rich.console.Console,
    methods: list[str] | None = None,
) -> None:
    """Every method on every system, as a table, a CSV and a plot.

    Args:
        sizes: sides of the images.
        out: folder of `systems.csv` and `systems.png`.
        console: for the tables.
        methods: to measure; of the others what is in `out` already is kept. None: all.
    """
    ours = {
        **{f"CG, {n}": functools.partial(linear_solvers.measure_ours, name=n) for n in
           ("none", "jacobi", "cosine", "multigrid")},
        "CG, jacobi, XLA": functools.partial(
            linear_solvers.measure_ours, name="jacobi", xla=True
        ),
        "CG, jacobi, float64": functools.partial(
            linear_solvers.measure_ours, name="jacobi", dtype="float64"
        ),
        "Chebyshev": functools.partial(linear_solvers.measure_ours, name="chebyshev"),
        "Chebyshev, XLA": functools.partial(
            linear_solvers.measure_ours, name="chebyshev", xla=True
        ),
    }  # fmt: skip
    peers = {
        name: functools.partial(linear_solvers.measure_peer, name=name)
        for name in linear_solvers.PEERS
    }
    known = {**ours, **peers}
    unknown = [name for name in methods or [] if name not in known]
    if unknown:
        raise ValueError(f"--methods must be of {', '.join(known)}. Received: {unknown[0]!r}.")
    kept = []
    if methods is not None:
        before = _read(out / "systems.csv")
        kept = [r for r in before if r.method not in methods or r.size not in sizes]
    results: list[linear_solvers.Result] = []
    header = [f"tensorflow {tf.__version__}, {os.cpu_count()} cores"]
    jobs = [
        (kind, method, run)
        for kind in linear_solvers.GAMMAS
        for method, run in known.items()
        if method in (methods or known)
    ]
    with rich.progress.Progress(transient=True, console=console) as progress:
        task = progress.add_task("systems", total=len(jobs) * len(sizes))
        for kind, method, run in jobs:
            if kind == "half zero" and method.startswith("Chebyshev"):
                continue  # a hole has no bound that would tell the steps
            seconds = 0.0
            for size in sizes:
                progress.update(task, advance=1, description=f"{method}, gamma {kind}, {size}")
                # Twice the side: 4 times the pixels, and for plain methods twice the steps.
                if method in linear_solvers.DIRECT:
                    # A factorisation takes as long for any gamma: large ones are timed once.
                    if size > (1024 if kind == "uniform 0.05..1" else 256):
                        continue
                elif 8 * seconds > PATIENCE_SECONDS or (method in peers and size > 1024):
                    continue
                results.append(dataclasses.replace(run(size, kind), method=method))
                seconds = results[-1].seconds
                scores.write_csv(out / "systems.csv", results + kept, header)
    results = sorted(results + kept, key=lambda r: (list(known).index(r.method), r.size))
    for size in sorted({r.size for r in results}):
        console.print(_table([r for r in results if r.size == size], size))
    bandwidth = solver_cost.copy_bandwidth()
    console.print(f"copy bandwidth of this machine, {os.cpu_count()} threads: {bandwidth:.1f} GB/s")
    for r in results:
        if r.method.startswith("CG, jacobi") and r.gamma == "uniform 0.05..1":
            # Reads and writes of a perfectly fused step: p, gamma -> A p; x, p, r, A p -> x, r;
            # r, diagonal, p -> p.
            moved = 13 * r.size**2 * (8 if r.precision == "float64" else 4) * r.steps
            rate = moved / r.seconds / 1e9
            console.print(
                f"{r.method}, {r.size}x{r.size}: at least {moved / 1e9:.3f} GB moved, "
                f"{rate:.1f} GB/s, {100 * rate / bandwidth:.0f} % of a copy's"
            )
    _plot(results, set(ours), out / "systems.png")
    console.print(f"written: {out}/systems.csv, {out}/systems.png")


def _read(path: pathlib.Path) -> list[linear_solvers.Result]:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    return [
        linear_solvers.Result(
            size=int(row["size"]),
            gamma=row["gamma"],
            method=row["method"],
            precision=row["precision"],
            seconds=float(row["seconds"]),
            steps=int(row["steps"]),
            residual=float(row["residual"]),
        )
        for row in rows
    ]


def _table(results: list[linear_solvers.Result], size: int) -> rich.table.Table:
    table = rich.table.Table(
        "method", *linear_solvers.GAMMAS, title=f"{size}x{size}: ms (steps) by gamma"
    )
    for method in dict.fromkeys(r.method for r in results):
        of_method = {r.gamma: r for r in results if r.method == method}
        cells = []
        for kind in linear_solvers.GAMMAS:
            r = of_method.get(kind)
            # In float32 the true residual may stall above the tolerance: say so.
            missed = "" if r is None or r.residual <= 2e-5 else f" res {r.residual:.0e}"
            cells.append("" if r is None else f"{1e3 * r.seconds:.1f} ({r.steps}){missed}")
        table.add_row(method, *cells)
    return table


def _plot(results: list[linear_solvers.Result], ours: set[str], path: pathlib.Path) -> None:
    figure, axes = plt.subplots(2, 3, figsize=(14, 8), sharey=True, constrained_layout=True)
    *axes, corner = axes.flat
    methods = list(dict.fromkeys(r.method for r in results))
    colors = plt.get_cmap("tab20")
    for axis, kind in zip(axes, linear_solvers.GAMMAS, strict=True):
        for i, method in enumerate(methods):
            of_method = [r for r in results if r.method == method and r.gamma == kind]
            times = [1e9 * r.seconds / r.size**2 for r in of_method]
            style = "-o" if method in ours else "--s"
            axis.loglog([r.size for r in of_method], times, style, color=colors(i), label=method)
        axis.set(title=f"gamma {kind}", xlabel="side of the image, pixels")
        axis.set_xticks(sizes := sorted({r.size for r in results}), [str(size) for size in sizes])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    for axis in (axes[0], axes[3]):
        axis.set_ylabel("ns a pixel, to a relative residual of 1e-5")
    corner.axis("off")
    corner.legend(*axes[0].get_legend_handles_labels(), loc="center", frameon=False)
    figure.savefig(path, dpi=70)


def figure_5(folder: pathlib.Path, out: pathlib.Path) -> None:
    """Residual against steps of the adjoint system of a trained DeepAM(3)."""
    model = deepam_tf.load_pretrained("denoise_gray_s25")
    iterates = model.iterates()
    images = [
        data.to_channels(image_io.read(path).pixels, 1)[np.newaxis, :256, :256]
        for path in image_io.list_images(folder)
    ]
    images = [image for image in images if image.shape == (1, 256, 256, 1)][:20]

    @tf.function
    def residuals(gamma, cotangent):
        operator = deepam_tf.ReconstructionOperator(gamma)
        solve = functools.partial(
            deepam_tf.conjugate_gradient,
            operator,
            cotangent,
            rtol=0.0,
            max_steps=ADJOINT_STEPS,
            return_history=True,
        )
        return {
            name: tf.squeeze(
                solve(
                    preconditioner=preconditioners.make_preconditioner(name, operator)
                ).residual_history,
                axis=1,
            )
            for name in ("none", "jacobi", "cosine", "multigrid")
        }

    curves: dict[str, list[np.ndarray]] = {}
    times: dict[str, list[float]] = {}
    for index, clean in enumerate(images):
        noisy = clean + degradations.benchmark_noise(clean.shape, 25 / 255, index)
        outputs = iterates({"image": noisy})
        cotangent = np.sign(outputs["u_3"] - clean).reshape(1, -1)
        gamma = outputs["gamma_3"].numpy()
        for name, kept in residuals(gamma, tf.constant(cotangent)).items():
            history = kept.numpy()
            # A system that has reached its dtype's limit stays there.
            last = history[np.isfinite(history)][-1]
            curves.setdefault(name, []).append(np.nan_to_num(history, nan=last) / history[0])
        matrix, b = linear_solvers.system_matrix(gamma), cotangent[0].astype(float)
        curves.setdefault("IC(0), SciPy", []).append(
            linear_solvers.ic0_history(matrix, b, ADJOINT_STEPS)
        )
        for name, run in {
            "reconstruct's solve, jacobi": lambda g=gamma, c=cotangent: linear_solvers.solve_jacobi(
                g, c
            ),
            "direct, SciPy spsolve": lambda m=matrix, b=b: linear_solvers.direct(m, b),
        }.items():
            times.setdefault(name, []).append(linear_solvers.best_time(run, 2)[0])
    figure, axis = plt.subplots(figsize=(7, 4.5), constrained_layout=True)
    for name, histories in curves.items():
        axis.semilogy(np.mean(histories, axis=0), label=name)
    axis.set(
        xlabel="steps", ylabel="residual of A w = u_bar, relative", ylim=(1e-7, 2),
        title=f"adjoint systems of DeepAM(3), {len(images)} images 256x256",
    )  # fmt: skip
    axis.legend()
    figure.savefig(out / "figure_5.png", dpi=80)
    seconds = {name: np.mean(values) for name, values in times.items()}
    for name, value in seconds.items():
        print(f"adjoint solve 256x256, {name}: {1e3 * value:.1f} ms")
    print(f"written: {out}/figure_5.png")


if __name__ == "__main__":
    sys.exit(main())
