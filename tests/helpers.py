"""Independent references: sparse matrices from SciPy, and processes of their own."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg
import tensorflow as tf

import deepam_tf
from deepam_tf.cli.demo import PICTURE


def difference_matrix(n: int) -> sp.csr_matrix:
    """Forward differences on n points, the last row zero."""
    matrix = sp.lil_matrix((n, n))
    for i in range(n - 1):
        matrix[i, i], matrix[i, i + 1] = -1.0, 1.0
    return matrix.tocsr()


def gradient_matrices(height: int, width: int) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """(Dy, Dx) on images flattened row by row."""
    dy = sp.kron(difference_matrix(height), sp.identity(width))
    dx = sp.kron(sp.identity(height), difference_matrix(width))
    return dy.tocsr(), dx.tocsr()


def system_matrix(gamma: np.ndarray, edge_weight: np.ndarray | None = None) -> sp.csc_matrix:
    """Gamma + D^T W D for gamma `[H, W]` and edge_weight `[H, W, 2]`, by default 1."""
    weight = np.ones((*gamma.shape, 2)) if edge_weight is None else edge_weight
    wy, wx = (sp.diags(weight[..., i].ravel()) for i in (0, 1))
    dy, dx = gradient_matrices(*gamma.shape)
    return (sp.diags(gamma.ravel()) + dy.T @ wy @ dy + dx.T @ wx @ dx).tocsc()


def spsolve_reconstruction(
    f: np.ndarray, v: np.ndarray, gamma: np.ndarray, edge_weight: np.ndarray | None = None
) -> np.ndarray:
    """The solution of the paper's eq. (7) by a direct solver, every image and channel."""
    batch, height, width, channels = f.shape
    dy, dx = gradient_matrices(height, width)
    gamma = np.broadcast_to(gamma, f.shape)
    w = np.ones(v.shape) if edge_weight is None else edge_weight
    w = np.repeat(w, v.shape[-1] // w.shape[-1], axis=-1)
    u = np.empty_like(f)
    for b in range(batch):
        for c in range(channels):
            g = gamma[b, :, :, c]
            rhs = g.ravel() * f[b, :, :, c].ravel()
            both = [c, channels + c]
            pulled = (w[b][..., both] * v[b][..., both]).reshape(-1, 2)
            rhs += dy.T @ pulled[:, 0] + dx.T @ pulled[:, 1]
            matrix = system_matrix(g, w[b][..., both])
            solution = scipy.sparse.linalg.spsolve(matrix, rhs)
            u[b, :, :, c] = solution.reshape(height, width)
    return u


def run_python(code: str, *arguments: str) -> str:
    """Run code in a process of its own and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise AssertionError(done.stderr)
    return done.stdout


def problem(rng, shape=(2, 6, 5, 2), gamma_maps=1, low=0.05, high=5.0):
    """Random `f`, `v` and a log-uniform `gamma` in [low, high]."""
    f = rng.normal(size=shape)
    v = rng.normal(size=(*shape[:3], 2 * shape[3]))
    gamma = 10 ** rng.uniform(np.log10(low), np.log10(high), (*shape[:3], gamma_maps))
    return f, v, gamma


def gradients(loss, *arguments):
    """Derivatives of `loss(*arguments)` by each of them."""
    x = [tf.constant(argument) for argument in arguments]
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = loss(*x)
    return [g.numpy() for g in tape.gradient(value, x)]


def color_photograph() -> np.ndarray:
    """The gray photograph of the demonstration in colours, `[256, 256, 3]` in [0, 1]."""
    gray = deepam_tf.image_io.read(PICTURE).pixels
    return np.concatenate([gray, gray**1.3, 0.1 + 0.8 * gray], axis=-1).astype(np.float32)
