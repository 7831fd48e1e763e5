"""How pictures are restored: what overlaps and solves cost and change, and the speed of it all.

    python -m benchmarks.inference --data PHOTOS

prints the tables of docs/inference.md: windows of several overlaps against one piece, and the
solves of a model by several methods against one to 1e-6, on one photograph, at sigma 25; and how
far flat colours without noise move that are said to have some (`--part` for one of the three).

`benchmarks.denoising_cost --sizes` measures speed against DnCNN's by the function here. Everything
is measured in one process, in turns, and the least time of all rounds counts: what else the machine
does falls on all alike. The time of all cores is taken beside the clock's, since on a machine that
others use too only that says something.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import pathlib
import sys
import time
from collections.abc import Callable

import numpy as np
import rich.console
import rich.table
import tensorflow as tf

import deepam_tf
from deepam_tf import image_io
from deepam_tf.data import to_channels
from deepam_tf.data.degradations import benchmark_noise
from deepam_tf.restoration.engine import engine_of
from deepam_tf.restoration.tiles import Restorer
from deepam_tf.restoration.windows import Window
from training.evaluation import peers
from training.evaluation.scores import print_whole

__all__ = ["STDDEV", "Speed", "fitted", "main", "measure_speed", "noisy_crop"]

_DNCNN_REACH = 17  # its convolutions
STDDEV = 25 / 255
_OVERLAPS = (16, 24, 32, 45)
_TILE = 96
_PARTS = ("overlaps", "solves", "flat")
_SOLVES = {
    "conjugate gradients to 1e-4, as trained": {"rtol": 1e-4},
    "conjugate gradients to 1e-3": {"rtol": 1e-3},
    "Chebyshev to 3e-3": {"method": "chebyshev", "rtol": 3e-3},
    "Chebyshev to 1e-3": {"method": "chebyshev", "rtol": 1e-3},
}


@dataclasses.dataclass(frozen=True)
class Speed:
    """One size and precision; every time is a pair of seconds, of the clock and of all cores.

    Attributes:
        size: `WIDTHxHEIGHT`.
        precision: of the networks.
        computed: pixels computed over pixels of the picture.
        ours: our `Restorer`.
        dncnn: DnCNN in a `Restorer` with windows of the same size.
        networks: our networks alone, in the same windows.
        convolutions: nothing but convolution, bias and ReLU of the same shapes.
    """

    size: str
    precision: str
    computed: float
    ours: tuple[float, float]
    dncnn: tuple[float, float]
    networks: tuple[float, float]
    convolutions: tuple[float, float]


def fitted(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """A picture of another size: cut, or mirrored at its borders.

    Args:
        image: `[h, w]`.
        height: asked for.
        width: asked for.

    Returns:
        `[height, width]`.
    """
    missing = [(0, max(n - have, 0)) for n, have in zip((height, width), image.shape, strict=True)]
    return np.pad(image, missing, mode="symmetric")[:height, :width]


def noisy_crop(folder: pathlib.Path, side: int) -> np.ndarray:
    """A square of the first picture of a folder, gray, with white noise of `STDDEV`.

    Args:
        folder: of pictures.
        side: in pixels.

    Returns:
        `[side, side, 1]`, float32.

    Raises:
        ImageFileError: if no picture is there, or it cannot be read.
    """
    files = image_io.list_images(folder)
    if not files:
        raise image_io.ImageFileError(f"{folder}: no picture there.")
    pixels = to_channels(image_io.read(files[0]).pixels, 1)[..., 0]
    clean = fitted(pixels, side, side)[..., np.newaxis]
    return (clean + benchmark_noise(clean.shape, STDDEV, 0)).astype(np.float32)


def measure_speed(
    name: str, precision: str, image: np.ndarray, stddev: float, dncnn: pathlib.Path, rounds: int
) -> Speed:
    """Times of one model on one noisy picture.

    Args:
        name: shipped weights of a gray model.
        precision: `float32` or `bfloat16`.
        image: `[H, W]`, noisy.
        stddev: of its noise.
        dncnn: file of DnCNN's weights.
        rounds: how often everything is measured, after one window that is not.

    Returns:
        The least times.

    Raises:
        ValueError: if there is no such file.
    """
    policy = "float32" if precision == "float32" else "mixed_bfloat16"
    model = deepam_tf.load_pretrained(name, dtype=policy)
    restorer = Restorer(model, jit_compile=True)  # as in a folder of pictures of one size
    image = image[..., np.newaxis].astype(np.float32)
    height, width, _ = image.shape
    windows = restorer.windows(height, width)
    rows, columns = windows[0].shape
    peer = Restorer(
        peers.dncnn_graph(dncnn, precision),
        tile=max(rows, columns) - 2 * _DNCNN_REACH,
        overlap=_DNCNN_REACH,
    )
    level = stddev if restorer.noise_level else None
    best = dict.fromkeys(("ours", "dncnn", "networks", "convolutions"), (np.inf, np.inf))
    convolve = _convolutions(model, rows, columns)
    # One window first, that is not timed: graphs are traced, solves compiled for its size.
    for i, part in enumerate([image[:rows, :columns], *[image] * rounds]):
        cut = restorer.windows(*part.shape[:2])
        runs: dict[str, Callable[[], object]] = {
            "ours": lambda part=part: restorer(part, noise_stddev=level),
            "dncnn": lambda part=part: peer(part),
            "networks": _networks(model, part, stddev, cut),
            "convolutions": lambda cut=cut: [convolve() for _ in cut],
        }
        for key, run in runs.items():
            clock, cores = time.perf_counter(), time.process_time()
            run()
            spent = time.perf_counter() - clock, time.process_time() - cores
            if i:
                best[key] = tuple(map(min, best[key], spent))
    computed = len(windows) * rows * columns / (height * width)
    return Speed(f"{width}x{height}", precision, computed, **best)


def _networks(model, image: np.ndarray, stddev: float, windows: list[Window]):
    """The model's networks on what they would see, `u` being the picture itself."""
    iterations = engine_of(model).iterations
    inputs = {"image": image[np.newaxis], "u": image[np.newaxis]}
    if model.noise_level:
        inputs["noise_stddev"] = np.full([1, 1, 1, 1], stddev, np.float32)

    def run() -> None:
        for window in windows:
            arrays = {
                key: x if x.shape[1] == 1 else x[:, window.read[0], window.read[1]]
                for key, x in inputs.items()
            }
            for iteration in iterations:
                given = {key: x for key, x in arrays.items() if key != "u" or not iteration.first}
                for x in iteration.run_network(given):
                    x.numpy()

    return run


def _convolutions(model, rows: int, columns: int) -> Callable[[], object]:
    """Convolutions of the model's shapes on one window, one after the other."""
    block = model.pixel_unshuffle
    dtype = model.get_layer("iteration_1_aggregation").compute_dtype
    kernels = [tf.cast(w, dtype) for w in model.trainable_weights if len(w.shape) == 4]
    shape = [1, -(-rows // block), -(-columns // block)]
    inputs = {c: tf.ones([*shape, c], dtype) for c in {kernel.shape[2] for kernel in kernels}}

    @tf.function
    def run(inputs, kernels):
        total = tf.zeros([], dtype)
        for kernel in kernels:
            x = tf.nn.conv2d(inputs[kernel.shape[2]], kernel, 1, "SAME")
            x = tf.nn.relu(tf.nn.bias_add(x, tf.zeros([kernel.shape[3]], dtype)))
            total += x[0, 0, 0, 0]  # or nothing would be computed
        return total

    return lambda: run(inputs, kernels).numpy()


def _overlaps(model: deepam_tf.DeepAM, noisy: np.ndarray) -> rich.table.Table:
    """Differences from one piece, in gray levels."""
    whole = Restorer(model)(noisy, noise_stddev=STDDEV)
    table = rich.table.Table("overlap", "largest", "mean")
    for overlap in _OVERLAPS:
        tiled = Restorer(model, tile=_TILE, overlap=overlap)(noisy, noise_stddev=STDDEV)
        difference = 255 * np.abs(tiled - whole)
        table.add_row(str(overlap), f"{difference.max():.2f}", f"{difference.mean():.3f}")
    return table


def _solves(model: deepam_tf.DeepAM, noisy: np.ndarray, rounds: int) -> rich.table.Table:
    """Errors in gray levels and milliseconds of all cores, plain and compiled."""
    f = tf.constant(noisy[np.newaxis])
    inputs = {"image": f, "noise_stddev": tf.fill([1, 1, 1, 1], STDDEV)}
    iterates = model.iterates()(inputs, training=False)
    systems = [(f, iterates[f"v_{k}"], iterates[f"gamma_{k}"]) for k in (1, 2)]
    exact = [deepam_tf.reconstruct(*x, preconditioner="jacobi", rtol=1e-6) for x in systems]
    table = rich.table.Table("solve", "mean error", "largest", "ms", "ms, compiled")
    for name, settings in _SOLVES.items():
        times = []
        for jit_compile in (False, True):

            @tf.function(jit_compile=jit_compile)
            def solve(f, v, gamma, settings=settings):
                return deepam_tf.reconstruct(f, v, gamma, preconditioner="jacobi", **settings)

            found = [solve(*x) for x in systems]
            times.append([_least_core_time(solve, x, rounds) for x in systems])
        errors = [255 * np.abs(u - true) for u, true in zip(found, exact, strict=True)]
        table.add_row(
            name,
            ", ".join(f"{error.mean():.3f}" for error in errors),
            ", ".join(f"{error.max():.2f}" for error in errors),
            *(", ".join(f"{1000 * seconds:.0f}" for seconds in row) for row in times),
        )
    return table


def _flat_colors() -> rich.table.Table:
    """The largest change of 27 flat colours, by the network alone and by `Restorer`."""
    model = deepam_tf.load_pretrained("denoise_color")
    restorer = Restorer(model)
    colors = np.array(list(itertools.product((0.0, 0.5, 1.0), repeat=3)), np.float32)
    flat = np.broadcast_to(colors[:, np.newaxis, np.newaxis], (len(colors), 64, 64, 3))
    table = rich.table.Table("sigma told", "network alone", "Restorer")
    for sigma in (5, 15, 25, 50):
        level = tf.fill([len(colors), 1, 1, 1], sigma / 255)
        alone = model({"image": tf.constant(flat), "noise_stddev": level})["restored"].numpy()
        framed = np.stack([restorer(x, noise_stddev=sigma / 255) for x in flat])
        table.add_row(str(sigma), *(f"{255 * np.abs(x - flat).max():.1f}" for x in (alone, framed)))
    return table


def _least_core_time(solve: Callable, system: tuple, rounds: int) -> float:
    spent = []
    for _ in range(rounds):
        start = time.process_time()
        solve(*system).numpy()
        spent.append(time.process_time() - start)
    return min(spent)


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.inference", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--data", type=pathlib.Path, required=True, help="folder of pictures")
    parser.add_argument("--part", choices=_PARTS, nargs="+", default=list(_PARTS))
    parser.add_argument("--side", type=int, default=640, help="of the crop, in pixels (640)")
    parser.add_argument("--rounds", type=int, default=3, help="the least time of them counts (3)")
    args = parser.parse_args(argv)
    try:
        noisy = noisy_crop(args.data, args.side)
    except image_io.ImageFileError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    model = deepam_tf.load_pretrained("denoise_gray")
    console = rich.console.Console()
    parts = {
        "overlaps": lambda: _overlaps(model, noisy[:256, :256]),
        "solves": lambda: _solves(model, noisy, args.rounds),
        "flat": _flat_colors,
    }
    for part in args.part:
        print_whole(console, parts[part]())
    return 0


if __name__ == "__main__":
    sys.exit(main())
