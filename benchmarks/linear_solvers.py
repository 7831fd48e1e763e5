"""The systems of the solver benchmark, and everything that solves them.

A method is made for one system outside of the clock's sight only as far as its users would
prepare it once for all: tracing, compilation, the sparse matrix. Factorisations and
hierarchies depend on `gamma`, which changes with every solve, and are timed.
"""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections.abc import Callable

import ilupp
import numpy as np
import pyamg
import scipy.sparse
import scipy.sparse.linalg
import tensorflow as tf

import deepam_tf
from deepam_tf import preconditioners

try:
    from sksparse import cholmod
except ImportError:  # it needs SuiteSparse from the system
    cholmod = None

__all__ = [
    "DIRECT",
    "GAMMAS",
    "PEERS",
    "Result",
    "best_time",
    "direct",
    "gamma_of",
    "ic0_history",
    "measure_ours",
    "measure_peer",
    "rhs_of",
    "solve_jacobi",
    "system_matrix",
]

RTOL = 1e-5
MAX_STEPS = 20_000

DIRECT = ("SciPy spsolve (SuperLU)", "CHOLMOD, factor + solve")
GAMMAS = ("0.1", "uniform 0.05..1", "log-uniform 1e-3..1e2", "half zero", "1e-4")


@dataclasses.dataclass(frozen=True)
class Result:
    """One solve: seconds (the best of several), steps, and `||b - A x|| / ||b||` in float64."""

    size: int
    gamma: str
    method: str
    precision: str
    seconds: float
    steps: int
    residual: float


def gamma_of(kind: str, size: int) -> np.ndarray:
    """`gamma` of one of `GAMMAS`, `[1, size, size, 1]`, float32."""
    rng = np.random.default_rng(0)
    shape = (1, size, size, 1)
    if kind == "uniform 0.05..1":
        gamma = rng.uniform(0.05, 1, shape)
    elif kind == "log-uniform 1e-3..1e2":
        gamma = 10 ** rng.uniform(-3, 2, shape)
    elif kind == "half zero":
        gamma = rng.uniform(0.05, 1, shape)
        gamma[:, :, : size // 2] = 0.0
    else:
        gamma = np.full(shape, float(kind))
    return gamma.astype(np.float32)


def rhs_of(size: int) -> np.ndarray:
    """White noise, `[size * size]`, float32."""
    return np.random.default_rng(1).normal(size=size * size).astype(np.float32)


def system_matrix(gamma: np.ndarray) -> scipy.sparse.csr_matrix:
    """`A` of one image as a sparse matrix, in float64."""
    _, height, width, _ = gamma.shape

    def laplacian(length: int):
        forward = scipy.sparse.diags_array(
            [-np.ones(length - 1), np.ones(length - 1)], offsets=[0, 1], shape=(length - 1, length)
        )
        return forward.T @ forward

    matrix = scipy.sparse.kron(laplacian(height), scipy.sparse.eye_array(width))
    matrix += scipy.sparse.kron(scipy.sparse.eye_array(height), laplacian(width))
    return scipy.sparse.csr_matrix(matrix + scipy.sparse.diags_array(gamma.ravel().astype(float)))


def measure_ours(
    size: int, kind: str, name: str, *, xla: bool = False, dtype: str = "float32", repeats: int = 5
) -> Result:
    """Time our conjugate gradients with one of `preconditioners.NAMES`, or `"chebyshev"`."""

    @tf.function(jit_compile=xla)
    def solve(gamma, b):
        operator = deepam_tf.ReconstructionOperator(gamma)
        if name == "chebyshev":
            return deepam_tf.chebyshev_iteration(operator, b, rtol=RTOL, max_steps=MAX_STEPS)
        return deepam_tf.conjugate_gradient(
            operator,
            b,
            preconditioner=preconditioners.make_preconditioner(name, operator),
            rtol=RTOL,
            max_steps=MAX_STEPS,
        )

    gamma, b = gamma_of(kind, size), rhs_of(size)
    arguments = tf.constant(gamma, dtype), tf.constant(b[np.newaxis], dtype)
    solve(*arguments)  # traced and compiled
    seconds, result = best_time(lambda: solve(*arguments), repeats)
    x = result.x.numpy()[0]
    method = ("Chebyshev" if name == "chebyshev" else f"CG, {name}") + (", XLA" if xla else "")
    residual = relative_residual(gamma, b, x)
    return Result(size, kind, method, dtype, seconds, int(result.num_steps[0]), residual)


def measure_peer(size: int, kind: str, name: str, *, repeats: int = 3) -> Result:
    """Time one of `PEERS`."""
    solve, dtype = PEERS[name]
    gamma, b = gamma_of(kind, size), rhs_of(size)
    matrix = system_matrix(gamma).astype(dtype)
    seconds, (x, steps) = best_time(lambda: solve(matrix, b.astype(dtype)), repeats)
    return Result(size, kind, name, dtype, seconds, steps, relative_residual(gamma, b, x))


def best_time(run: Callable, repeats: int):
    """Shortest of several runs, and what the last returned; slow ones are not repeated."""
    shortest = np.inf
    for _ in range(repeats):
        start = time.perf_counter()
        result = run()
        shortest = min(shortest, time.perf_counter() - start)
        if shortest > 3.0:
            break
    return shortest, result


def relative_residual(gamma: np.ndarray, b: np.ndarray, x: np.ndarray) -> float:
    """`||b - A x|| / ||b||`, computed in float64 whatever solved it."""
    image = x.astype(np.float64).reshape(gamma.shape[1:3])
    product = gamma[0, :, :, 0] * image
    for rows, product_rows in ((image, product), (image.T, product.T)):
        step = np.diff(rows, axis=0)
        product_rows[1:] += step
        product_rows[:-1] -= step
    return float(np.linalg.norm(b - product.ravel()) / np.linalg.norm(b))


def ic0_history(matrix: scipy.sparse.csr_matrix, b: np.ndarray, steps: int) -> np.ndarray:
    """Relative residual norms of conjugate gradients with IC(0), `[steps + 1]`."""
    norms = [1.0]
    scipy.sparse.linalg.cg(
        matrix,
        b,
        rtol=1e-14,
        maxiter=steps,
        M=incomplete_cholesky(matrix),
        callback=lambda x: norms.append(np.linalg.norm(b - matrix @ x) / np.linalg.norm(b)),
    )
    return np.array(norms + [norms[-1]] * (steps + 1 - len(norms)))


def direct(matrix: scipy.sparse.csr_matrix, b: np.ndarray) -> tuple[np.ndarray, int]:
    """SuperLU: the solution, and 1 step."""
    return np.asarray(scipy.sparse.linalg.spsolve(matrix.tocsc(), b)), 1


@tf.function
def solve_jacobi(gamma: tf.Tensor, b: tf.Tensor) -> deepam_tf.CGResult:
    """Our solver with the preconditioner that the layer uses."""
    operator = deepam_tf.ReconstructionOperator(gamma)
    preconditioner = preconditioners.jacobi(operator)
    return deepam_tf.conjugate_gradient(operator, b, preconditioner=preconditioner, rtol=RTOL)


def _cholmod(matrix, b):
    return cholmod.cholesky(matrix.tocsc())(b), 1


def _cg(matrix, b, preconditioner=None):
    steps = []
    x, _ = scipy.sparse.linalg.cg(
        matrix, b, rtol=RTOL, atol=0, maxiter=MAX_STEPS, M=preconditioner, callback=steps.append
    )
    return x, len(steps)


def _incomplete_cholesky(matrix, b):
    return _cg(matrix, b, incomplete_cholesky(matrix))


def incomplete_cholesky(matrix: scipy.sparse.csr_matrix) -> scipy.sparse.linalg.LinearOperator:
    """The paper's preconditioner: an incomplete Cholesky factorisation without fill, IC(0)."""
    return ilupp.IChol0Preconditioner(matrix)


def _multigrid(make):
    def solve(matrix, b):
        residuals = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            hierarchy = make(matrix)
            x = hierarchy.solve(b, tol=RTOL, accel="cg", residuals=residuals, maxiter=500)
        return x, len(residuals) - 1

    return solve


PEERS = {
    "SciPy spsolve (SuperLU)": (direct, "float64"),
    "CHOLMOD, factor + solve": (_cholmod, "float64"),
    "SciPy cg": (_cg, "float32"),
    "SciPy cg, float64": (_cg, "float64"),
    "SciPy cg + IC(0), the paper's": (_incomplete_cholesky, "float64"),
    "PyAMG Ruge-Stueben + CG": (_multigrid(pyamg.ruge_stuben_solver), "float64"),
    "PyAMG aggregation + CG": (_multigrid(pyamg.smoothed_aggregation_solver), "float64"),
}
if cholmod is None:
    del PEERS["CHOLMOD, factor + solve"]
"""Peers by name: a function from a sparse matrix and right-hand side to (x, steps), its dtype."""
