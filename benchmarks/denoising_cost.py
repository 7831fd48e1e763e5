"""What denoising costs and what it reaches: ours, DnCNN and BM3D, one after the other.

    python -m benchmarks.denoising_cost --data BSD68 --dncnn FOLDER --bfloat16 --out docs/images

Gray images, sigma 25, the noise of `training.evaluate`. Every method runs in a process of its own,
on the same cores, after one image that is not timed; with `--bfloat16` networks run in that
precision too, as processors with AMX or AVX512-BF16 can. Multiply-adds count convolutions and, for
ours, ten for each conjugate gradient step and pixel, with as many steps as the images took. Peak
memory is what the process held at most above what it held before its first image.

    python -m benchmarks.denoising_cost --data BSD68 --dncnn FOLDER --sizes 640x640 4000x3000

measures speed instead, ours against DnCNN's in turns, both through `Restorer`, and where the time
goes, see `benchmarks.inference`.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import functools
import io
import multiprocessing
import pathlib
import sys
import warnings

import keras
import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import matplotlib.ticker
import numpy as np
import rich.console
import rich.progress
import rich.table

import deepam_tf
from benchmarks import peak_memory
from benchmarks.inference import Speed, fitted, measure_speed
from deepam_tf import degradations, image_io
from deepam_tf.files import atomic
from deepam_tf.restoration.tiles import Restorer
from training.evaluation import peers
from training.evaluation.denoising import denoiser, models_for, read_images
from training.evaluation.scores import evaluate, means, print_whole

__all__ = ["Cost", "convolution_cost", "main", "measure"]

SIGMA = 25
_STEP_COST = 10  # multiply-adds a pixel: the matrix, two inner products, three updates


@dataclasses.dataclass(frozen=True)
class Cost:
    """One row: weights, multiply-adds a pixel, seconds a megapixel, MiB, dB."""

    method: str
    num_weights: int
    multiply_adds: float
    seconds_per_megapixel: float
    peak_mebibytes: float
    psnr: float


def convolution_cost(model: keras.Model) -> float:
    """Multiply-adds of the convolutions for each pixel of the image.

    Args:
        model: a `DeepAM`.

    Returns:
        Their number.
    """
    kernels = [w for w in model.trainable_weights if len(w.shape) == 4]
    # Each coarse level, inside the one before, has a quarter of the places.
    costs = [float(np.prod(w.shape)) / 4 ** w.path.split("/").count("coarse") for w in kernels]
    return sum(costs) / model.pixel_unshuffle**2


def _solver_cost(model: keras.Model, noisy: np.ndarray) -> float:
    inputs = {"image": noisy[np.newaxis, :, :, np.newaxis]}
    if model.noise_level:
        inputs["noise_stddev"] = np.full([1, 1, 1, 1], SIGMA / 255, np.float32)
    iterates = model.iterates()(inputs)
    steps = 0
    for k in range(1, model.num_iterations + 1):
        _, info = deepam_tf.reconstruct_with_info(
            inputs["image"],
            iterates[f"v_{k}"],
            iterates[f"gamma_{k}"],
            edge_weight=iterates.get(f"w_{k}"),
            method=model.method,
            preconditioner=model.preconditioner,
            rtol=model.rtol,
        )
        steps += int(info.num_steps[0])
    return float(_STEP_COST * steps)


def measure(
    method: tuple[str, str], folder: pathlib.Path, dncnn: pathlib.Path | None, every: int
) -> Cost:
    """One method on a folder of gray images.

    Args:
        method: `BM3D`, `DnCNN` or the name of shipped weights, and the precision of a network,
            `float32` or `bfloat16`.
        folder: of clean images.
        dncnn: folder with DnCNN's weights.
        every: use every n-th image.

    Returns:
        Its row.

    Raises:
        ValueError: if the method's package or weights are missing.
    """
    # Keras 3.15 compares a dict of tensors with its own dict of names and warns each time.
    warnings.filterwarnings("ignore", "The structure of `inputs`", UserWarning)
    name, precision = method
    images = dict(list(read_images(folder).items())[::every])
    stddev = SIGMA / 255
    weights, operations = 0, 0.0
    if name == "BM3D":
        denoise = peers.classical_denoisers(stddev)["BM3D"]
        operations = float("nan")  # it compares and sorts more than it multiplies
    elif name == "DnCNN":
        path = (dncnn or pathlib.Path()) / f"sigma{SIGMA}.npz"
        denoise = peers.dncnn(path, precision)
        with np.load(path) as arrays:
            weights = sum(int(array.size) for array in arrays.values())
            operations = float(sum(a.size for a in arrays.values() if a.ndim == 4))
    else:
        policy = "float32" if precision == "float32" else "mixed_bfloat16"
        model = deepam_tf.load_pretrained(name, dtype=policy)
        first = next(iter(images.values()))
        noisy = (first + degradations.benchmark_noise(first.shape, stddev, 0)).astype(np.float32)
        weights = model.count_params()
        operations = convolution_cost(model) + _solver_cost(model, noisy)
        denoise = denoiser(Restorer(model), stddev)
    before = peak_memory.of_this_process()
    scores = evaluate(images, {name: denoise}, stddev)
    of_method = [score for score in scores if score.method == name]
    return Cost(
        name if precision == "float32" else f"{name}, {precision}",
        weights,
        operations,
        sum(s.seconds for s in of_method) / sum(s.megapixels for s in of_method),
        (peak_memory.of_this_process() - before) / 2**20,
        means(scores, name)["psnr"],
    )


def plot(costs: list[Cost], title: str):
    """PSNR against time, a logarithmic axis; hollow where a network ran in bfloat16."""
    figure, axis = plt.subplots(figsize=(7, 4.5), constrained_layout=True)
    names = list(dict.fromkeys(cost.method.partition(",")[0] for cost in costs))
    for cost in costs:
        name, _, precision = cost.method.partition(",")
        # Names beside the points would cover each other.
        axis.plot(
            cost.seconds_per_megapixel,
            cost.psnr,
            "o" if name.startswith("denoise") else "s",
            color=f"C{names.index(name)}",
            fillstyle="none" if precision else "full",
            ms=8,
            label=cost.method,
        )
    axis.set(xscale="log", xlabel="seconds per megapixel", ylabel="PSNR dB", title=title)
    axis.xaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter(matplotlib.ticker.ScalarFormatter())
    axis.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
    axis.margins(x=0.1, y=0.2)
    axis.legend(loc="lower left", fontsize="small")
    axis.grid(visible=True, alpha=0.3)
    return figure


def _speeds(args: argparse.Namespace, names: list[str], precisions: list[str]) -> list:
    """`(name, Speed)` of every model, size and precision."""
    if args.dncnn is None:
        raise ValueError("--sizes compares with DnCNN. Received: no --dncnn.")
    clean = next(iter(read_images(args.data).values()))
    found = []
    for size in args.sizes:
        width, height = (int(x) for x in size.split("x"))
        noisy = fitted(clean, height, width)
        noisy = noisy + degradations.benchmark_noise(noisy.shape, SIGMA / 255, 0)
        for name in names:
            for precision in precisions:
                weights = args.dncnn / f"sigma{SIGMA}.npz"
                speed = measure_speed(name, precision, noisy, SIGMA / 255, weights, args.rounds)
                found.append((name, speed))
    return found


def _speed_table(found: list[tuple[str, Speed]]) -> rich.table.Table:
    table = rich.table.Table(
        "model", "size", "computed", "s", "DnCNN s", "times as fast", "in core time", "solves",
        "of bare convolutions' speed",
    )  # fmt: skip
    for name, speed in found:
        ours = speed.ours
        table.add_row(
            name if speed.precision == "float32" else f"{name}, {speed.precision}",
            speed.size,
            f"{speed.computed:.2f}",
            f"{ours[0]:.2f}",
            f"{speed.dncnn[0]:.2f}",
            *(f"{peer / seconds:.2f}" for peer, seconds in zip(speed.dncnn, ours, strict=True)),
            f"{100 * (1 - speed.networks[1] / ours[1]):.0f} %",
            f"{100 * speed.convolutions[1] / ours[1]:.0f} %",
        )
    return table


def _size(text: str) -> str:
    """`WIDTHxHEIGHT`."""
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise argparse.ArgumentTypeError(f"a size is WIDTHxHEIGHT. Received: {text}")
    return text


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.denoising_cost", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--data", type=pathlib.Path, required=True, help="folder of clean images")
    parser.add_argument("--model", nargs="*", help="shipped weights; all that know sigma 25")
    parser.add_argument("--dncnn", type=pathlib.Path, help="folder with DnCNN's sigma*.npz")
    parser.add_argument("--bm3d", action="store_true", help="BM3D too; it takes minutes")
    parser.add_argument("--bfloat16", action="store_true", help="networks in bfloat16 too")
    parser.add_argument("--every", type=int, default=1, help="use every n-th image (1)")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("results"))
    parser.add_argument(
        "--sizes", type=_size, nargs="*", help="WIDTHxHEIGHT: speed against DnCNN, and nothing else"
    )
    parser.add_argument("--rounds", type=int, default=3, help="of --sizes (3)")
    args = parser.parse_args(argv)
    names = models_for(SIGMA / 255, args.model)
    precisions = ["float32"] + ["bfloat16"] * args.bfloat16
    if args.sizes:
        try:
            print_whole(rich.console.Console(), _speed_table(_speeds(args, names, precisions)))
        except (image_io.ImageFileError, OSError, ValueError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        return 0
    names += ["DnCNN"] * (args.dncnn is not None)
    methods = [(name, precision) for name in names for precision in precisions]
    methods += [("BM3D", "float32")] * args.bm3d
    run = functools.partial(measure, folder=args.data, dncnn=args.dncnn, every=args.every)
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        costs = []
        with rich.progress.Progress(transient=True) as progress:
            for method in progress.track(methods, description="methods"):
                # A process of its own each, or one's memory would be another's.
                with concurrent.futures.ProcessPoolExecutor(
                    1, mp_context=multiprocessing.get_context("spawn")
                ) as pool:
                    costs.append(pool.submit(run, method).result())
        buffer = io.BytesIO()
        count = len(image_io.list_images(args.data)[:: args.every])
        title = f"{args.data.name}, {count} images, sigma {SIGMA}"
        plot(costs, title).savefig(buffer, format="png", dpi=100)
        atomic.write_bytes(args.out / "denoising_cost.png", buffer.getvalue())
    except (image_io.ImageFileError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    table = rich.table.Table(
        "method", "weights", "multiply-adds a pixel", "s / megapixel", "MiB", "PSNR dB", title=title
    )
    for cost in costs:
        table.add_row(
            cost.method,
            f"{cost.num_weights:,}" if cost.num_weights else "",
            "" if np.isnan(cost.multiply_adds) else f"{cost.multiply_adds:,.0f}",
            f"{cost.seconds_per_megapixel:.2f}",
            f"{cost.peak_mebibytes:.0f}",
            f"{cost.psnr:.2f}",
        )
    print_whole(rich.console.Console(), table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
