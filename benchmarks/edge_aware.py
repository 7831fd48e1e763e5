"""Edge weights: the pictures of docs/solver.md, and what such solves cost beside other ways.

    python -m benchmarks.edge_aware --part pictures --size 192 --out docs/images
    python -m benchmarks.edge_aware --part depth --size 160 --data MIDDLEBURY --out docs/images
    python -m benchmarks.edge_aware --part cost --size 256

The pictures are made by the page's own code. OpenCV's fast global smoother stands beside them where
opencv-contrib is installed. They are of scikit-image's astronaut (NASA, public domain), and of
`MIDDLEBURY`, a folder with `rgb/NAME.*` and `depth/NAME.*`, 0 in holes.

The cost is steps and seconds to the same error: a root mean square of 1e-3 of the solution's
range, judged by a direct solver. One system smooths a photograph (`gamma = 1`, weights up to 1e4),
the other spreads every eighth sample of it along the edges (`gamma = 0` elsewhere), as guided
super-resolution does. Seconds are the process's CPU time, all threads together.
"""

from __future__ import annotations

import argparse
import ast
import functools
import io
import pathlib
import re
import sys
import time
import types
from collections.abc import Callable

import cv2
import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pyamg
import scipy.sparse
import scipy.sparse.linalg
import skimage.data
import tensorflow as tf

import deepam_tf
from deepam_tf import image_io, preconditioners
from deepam_tf.files import atomic
from deepam_tf.files.levels import to_unit

ROOT = pathlib.Path(__file__).parent.parent
PHOTOGRAPH = ROOT / "deepam_tf" / "assets" / "astronaut.png"
ERROR = 1e-3
TOLERANCES = tuple(10.0 ** -(0.5 * k) for k in range(1, 15))
CAPPED_STEPS = 1500
DIFFUSION_STEPS = 20_000

# Where to paint, as shares of the height and width of scikit-image's astronaut: from, to.
SCRIBBLES = (
    ((0.65, 0.12), (0.92, 0.22)),  # the suit
    ((0.56, 0.15), (0.62, 0.28)),
    ((0.60, 0.35), (0.88, 0.42)),
    ((0.55, 0.62), (0.63, 0.66)),
    ((0.76, 0.53), (0.84, 0.54)),
    ((0.47, 0.18), (0.49, 0.22)),
    ((0.20, 0.40), (0.32, 0.44)),  # skin
    ((0.22, 0.50), (0.26, 0.51)),
    ((0.06, 0.42), (0.12, 0.55)),  # hair
    ((0.13, 0.32), (0.20, 0.33)),
    ((0.15, 0.56), (0.20, 0.56)),
    ((0.10, 0.20), (0.30, 0.22)),  # the wall
    ((0.05, 0.64), (0.45, 0.66)),
    ((0.20, 0.93), (0.48, 0.95)),
    ((0.16, 0.03), (0.20, 0.09)),  # the flag
    ((0.30, 0.07), (0.36, 0.12)),
    ((0.47, 0.02), (0.60, 0.06)),
    ((0.34, 0.03), (0.42, 0.08)),
    ((0.40, 0.14), (0.43, 0.17)),
    ((0.10, 0.79), (0.30, 0.84)),  # the tank and the shuttle
    ((0.20, 0.76), (0.40, 0.77)),
    ((0.12, 0.87), (0.38, 0.88)),
    ((0.40, 0.42), (0.44, 0.48)),  # black: collar, helmet, table
    ((0.80, 0.60), (0.92, 0.72)),
    ((0.58, 0.80), (0.63, 0.95)),
    ((0.70, 0.88), (0.80, 0.93)),  # white and blue: the helmet's rim, straps, patches
    ((0.70, 0.52), (0.85, 0.52)),
    ((0.70, 0.31), (0.80, 0.38)),
    ((0.69, 0.57), (0.72, 0.62)),
)


def page_functions() -> dict[str, Callable]:
    """The functions that docs/solver.md defines, by name, each a graph."""
    names: dict = {"tf": tf, "deepam_tf": deepam_tf}
    page = (ROOT / "docs" / "solver.md").read_text()
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        definitions = [x for x in ast.parse(block).body if isinstance(x, ast.FunctionDef)]
        exec(compile(ast.Module(definitions, []), "docs/solver.md", "exec"), names)
    functions = {name: x for name, x in names.items() if isinstance(x, types.FunctionType)}
    # Without autograph, which wants the source to lie in a file of Python.
    return {name: tf.function(x, autograph=False) for name, x in functions.items()}


def smoothing_picture(image: np.ndarray, smoothed: Callable):
    """A photograph, OpenCV's smoother where it is there, ours, and the detail that went."""
    smooth = smoothed(tf.constant(image[np.newaxis])).numpy()[0]
    panels = {"photograph": image}
    if hasattr(cv2, "ximgproc"):
        eight = np.round(255 * image).astype(np.uint8)
        other = cv2.ximgproc.fastGlobalSmootherFilter(eight, eight, 900.0, 8.0)
        panels["OpenCV's fast global smoother"] = other / 255.0
    panels["weighted least squares"] = smooth
    panels["detail, 2.5 times"] = 0.5 + 2.5 * (image - smooth)
    return _panels(panels)


def colour_picture(image: np.ndarray, colourised: Callable):
    """A gray photograph with scribbles, what becomes of it, and the truth."""
    height, width, _ = image.shape
    painted = np.zeros((height, width), np.uint8)
    for start, end in SCRIBBLES:
        a, b = ((int(x * width), int(y * height)) for y, x in (start, end))
        cv2.line(painted, a, b, 1, max(1, height // 80))
    painted = painted[..., np.newaxis].astype(np.float32)
    gray = tf.image.rgb_to_grayscale(image).numpy()
    coloured = colourised(*(tf.constant(x[np.newaxis]) for x in (gray, image, painted)))
    scribbled = np.where(painted > 0, image, np.repeat(gray, 3, axis=-1))
    return _panels(
        {
            f"gray, {100 * painted.mean():.1f} % painted": scribbled,
            "colourised": coloured.numpy()[0],
            "photograph": image,
        }
    )


def depth_picture(guide: np.ndarray, depth: np.ndarray, filled: Callable):
    """A colour picture, its depth with holes, filled without edge weights and with them."""
    height, width, _ = guide.shape
    # Nearest: between a surface and a hole there is nothing.
    depth = cv2.resize(depth.astype(np.float32), (width, height), interpolation=cv2.INTER_NEAREST)
    depth = depth[..., np.newaxis] / depth.max()
    confidence = (depth > 0).astype(np.float32)
    arguments = [tf.constant(x[np.newaxis], tf.float32) for x in (depth, confidence, guide)]
    plain = deepam_tf.reconstruct(
        arguments[0], tf.zeros_like(tf.concat([arguments[0]] * 2, -1)), arguments[1]
    )
    return _panels(
        {
            "guide": guide,
            f"depth, {100 * (1 - confidence.mean()):.0f} % holes": np.where(
                confidence > 0, depth, np.nan
            ),
            "filled, all edges alike": plain.numpy()[0],
            "filled along the guide's edges": filled(*arguments).numpy()[0],
        }
    )


def _read(folder: pathlib.Path, kind: str, name: str) -> np.ndarray:
    path = next(path for path in sorted((folder / kind).iterdir()) if path.stem == name)
    return image_io.read(path).pixels


def _reduced(image: np.ndarray, size: int) -> np.ndarray:
    """A picture whose shorter side has no more than `size` pixels."""
    scale = min(1.0, size / min(image.shape[:2]))
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def _save(figure, path: pathlib.Path) -> None:
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=90)
    atomic.write_bytes(path, buffer.getvalue())
    print(path, flush=True)


def _panels(pictures: dict[str, np.ndarray]):
    height, width, _ = next(iter(pictures.values())).shape
    side = 3.4
    figure, axes = plt.subplots(
        1,
        len(pictures),
        figsize=(side * len(pictures), side * height / width + 0.25),
        constrained_layout=True,
    )
    for axis, (title, picture) in zip(axes, pictures.items(), strict=True):
        if picture.shape[-1] == 1:
            axis.imshow(picture[..., 0], cmap="viridis", vmin=0, vmax=1, interpolation="nearest")
        else:
            axis.imshow(np.clip(picture, 0, 1), interpolation="nearest")
        axis.set_title(title, fontsize=9)
        axis.axis("off")
    return figure


def systems(size: int) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """`(f, gamma, edge_weight)` of the two systems, float32, batch of one."""
    pixels = image_io.read(PHOTOGRAPH).pixels[..., :3].mean(axis=-1)
    f = cv2.resize(pixels.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA)
    f = f[np.newaxis, :, :, np.newaxis]
    contrast = np.abs(deepam_tf.image_gradient(np.log(f + 1e-2)).numpy())
    sampled = np.zeros_like(f)
    sampled[:, 4::8, 4::8] = 1.0
    along = np.exp(-np.square(deepam_tf.image_gradient(f).numpy() / 0.03) / 2) + 1e-3
    return {
        "smoothing": (f, np.ones_like(f), 1 / (contrast**1.2 + 1e-4)),
        "every eighth sample": (f, sampled, along.astype(np.float32)),
    }


def matrix_of(gamma: np.ndarray, edge_weight: np.ndarray) -> scipy.sparse.csr_matrix:
    """`A` of one image as a sparse matrix, in float64."""
    _, height, width, _ = gamma.shape
    count = height * width
    index = np.arange(count).reshape(height, width)
    down, right = edge_weight[0, :-1, :, 0].ravel(), edge_weight[0, :, :-1, 1].ravel()
    ends = [(index[:-1], index[1:], down), (index[:, :-1], index[:, 1:], right)]
    matrix = scipy.sparse.diags_array(gamma.ravel().astype(float))
    for a, b, weight in ends:
        links = np.arange(weight.size)
        ones = np.ones(weight.size)
        difference = scipy.sparse.coo_array(
            (np.concatenate([-ones, ones]), (np.tile(links, 2), np.concatenate([a, b], None))),
            shape=(weight.size, count),
        ).tocsr()
        matrix = matrix + difference.T @ scipy.sparse.diags_array(weight.astype(float)) @ difference
    return scipy.sparse.csr_matrix(matrix)


def measure(size: int, out: Callable[[str], None] = print) -> None:
    """Print a row for each method and system: steps and CPU seconds to the same error."""
    for name, (f, gamma, edge_weight) in systems(size).items():
        matrix = matrix_of(gamma, edge_weight)
        b = (gamma * f).ravel().astype(float)
        exact = scipy.sparse.linalg.spsolve(matrix.tocsc(), b)
        target = ERROR * (exact.max() - exact.min())

        def error(x, exact=exact) -> float:
            return float(np.sqrt(np.mean(np.square(np.ravel(x) - exact))))

        out(f"{name}, {size}x{size}")
        for method, solve in _methods(matrix, b, f, gamma, edge_weight).items():
            steps, seconds, reached = _to_the_error(solve, error, target)
            note = "" if reached <= target else f"  (error {reached / target * ERROR:.1e} only)"
            out(f"  {method:<42}{steps:>7} steps {1e3 * seconds:>10.1f} ms{note}")


def _to_the_error(solve, error, target) -> tuple[int, float, float]:
    """Steps, CPU seconds and error of a solve with the loosest tolerance that will do."""
    first, last = 0, len(TOLERANCES) - 1
    while first < last:
        middle = (first + last) // 2
        if error(solve(TOLERANCES[middle])[0]) <= target:
            last = middle
        else:
            first = middle + 1
    tolerance = TOLERANCES[first]
    seconds = []
    for _ in range(3):
        start = time.process_time()
        x, steps = solve(tolerance)
        seconds.append(time.process_time() - start)
        if seconds[-1] > 2:
            break
    return steps, min(seconds), error(x)


def _methods(matrix, b, f, gamma, edge_weight) -> dict[str, Callable]:
    """Functions from a tolerance to a solution and its steps."""
    arguments = [tf.constant(x) for x in (f, np.zeros_like(edge_weight), gamma, edge_weight)]

    def cg(preconditioner: str, max_steps: int, jit_compile: bool):
        @tf.function(jit_compile=jit_compile)
        def run(tolerance):
            operator = deepam_tf.ReconstructionOperator(arguments[2], edge_weight=arguments[3])
            return deepam_tf.conjugate_gradient(
                operator,
                tf.constant(b[np.newaxis], tf.float32),
                preconditioner=preconditioners.make_preconditioner(preconditioner, operator),
                rtol=tolerance,
                max_steps=max_steps,
            )

        def solve(tolerance):
            result = run(tf.constant([tolerance], tf.float32))
            return result.x.numpy(), int(result.num_steps[0])

        return solve

    @functools.cache
    def compiled(tolerance):
        def run():
            operator = deepam_tf.ReconstructionOperator(arguments[2], edge_weight=arguments[3])
            return deepam_tf.chebyshev_iteration(
                operator,
                tf.constant(b[np.newaxis], tf.float32),
                rtol=tolerance,
                max_steps=DIFFUSION_STEPS,
            )

        return tf.function(run, jit_compile=True)

    def chebyshev(tolerance):
        result = compiled(tolerance)()
        return result.x.numpy(), int(result.num_steps[0])

    @tf.function(jit_compile=True)
    def diffused(num_steps):
        operator = deepam_tf.ReconstructionOperator(arguments[2], edge_weight=arguments[3])
        right = tf.constant(b[np.newaxis], tf.float32)
        # Twice this is where explicit steps explode.
        size = 1 / tf.reduce_max(operator.diag_part())
        x = tf.zeros_like(right)
        return tf.while_loop(
            lambda k, _: k < num_steps,
            lambda k, x: (k + 1, x + size * (right - operator.matvec(x))),
            (0, x),
        )[1]

    def diffusion(tolerance):
        num_steps = int(min(DIFFUSION_STEPS, 30 * tolerance**-0.5))
        return diffused(tf.constant(num_steps)).numpy(), num_steps

    def scipy_cg(tolerance):
        steps = []
        inverse = scipy.sparse.diags_array(1 / matrix.diagonal())
        x, _ = scipy.sparse.linalg.cg(
            matrix, b, rtol=tolerance, atol=0, maxiter=CAPPED_STEPS * 10, M=inverse,
            callback=steps.append,
        )  # fmt: skip
        return x, len(steps)

    def amg(tolerance):
        residuals = []
        hierarchy = pyamg.ruge_stuben_solver(matrix)
        x = hierarchy.solve(b, tol=tolerance, accel="cg", residuals=residuals, maxiter=500)
        return x, len(residuals) - 1

    return {
        "CG, multigrid": cg("multigrid", 500, False),
        "CG, multigrid, XLA": cg("multigrid", 500, True),
        "CG, jacobi": cg("jacobi", CAPPED_STEPS * 10, False),
        "Chebyshev, XLA": chebyshev,
        f"plain CG, at most {CAPPED_STEPS} steps": cg("none", CAPPED_STEPS, False),
        f"explicit diffusion, at most {DIFFUSION_STEPS}, XLA": diffusion,
        "SciPy cg, jacobi, float64": scipy_cg,
        "PyAMG Ruge-Stueben + CG, set-up included": amg,
        "SciPy spsolve": lambda _: (scipy.sparse.linalg.spsolve(matrix.tocsc(), b), 1),
    }


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.edge_aware", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--part", choices=["pictures", "depth", "cost"], required=True)
    parser.add_argument("--data", type=pathlib.Path, help="folder with rgb/ and depth/")
    parser.add_argument("--name", default="motorcycle", help="which of its pictures")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("results/edge_aware"))
    parser.add_argument("--size", type=int, default=256, help="shorter side, in pixels")
    args = parser.parse_args(argv)
    if args.part == "cost":
        measure(args.size)
        return 0
    if args.part == "depth" and args.data is None:
        parser.error("--part depth needs --data, a folder with rgb/ and depth/")
    functions = page_functions()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.part == "depth":
        image, depth = (_read(args.data, kind, args.name) for kind in ("rgb", "depth"))
        image = _reduced(image[..., :3].astype(np.float32), args.size)
        figure = depth_picture(image, depth[..., 0], functions["filled"])
        _save(figure, args.out / "edges_depth.png")
        return 0
    image = _reduced(to_unit(skimage.data.astronaut()), args.size)
    _save(colour_picture(image, functions["colourised"]), args.out / "edges_colour.png")
    _save(smoothing_picture(image, functions["smoothed"]), args.out / "edges_smoothing.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
