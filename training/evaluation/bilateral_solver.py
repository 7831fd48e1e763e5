"""The fast bilateral solver, to measure against: OpenCV's needs a build with Eigen.

Barron and Poole, "The fast bilateral solver", ECCV 2016: the smoothest map on the vertices of
a bilateral grid that stays near the measured values.
"""

from __future__ import annotations

import cv2
import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg

__all__ = ["fast_bilateral_solver"]

_BISTOCHASTIC_STEPS = 10
_LEAST_DEGREE = 1e-5


def fast_bilateral_solver(
    guide: np.ndarray,
    target: np.ndarray,
    confidence: np.ndarray,
    *,
    sigma_spatial: float,
    sigma_luma: float,
    sigma_chroma: float,
    smoothness: float,
    max_steps: int = 50,
) -> np.ndarray:
    """Smooth a map along the edges of a guide.

    Args:
        guide: `[H, W, 3]` uint8, RGB.
        target: `[H, W]`, any unit.
        confidence: `[H, W]` from 0, how far to trust each value of `target`.
        sigma_spatial: side of the grid's cells in pixels.
        sigma_luma: extent of the cells in luma, 0..255.
        sigma_chroma: extent of the cells in chroma, 0..255.
        smoothness: lambda of the paper's eq. (4).
        max_steps: conjugate gradient steps.

    Returns:
        `[H, W]` float64.
    """
    height, width = target.shape
    yuv = cv2.cvtColor(guide, cv2.COLOR_RGB2YCrCb).astype(np.float64)
    y, x = np.mgrid[:height, :width]
    cells = np.stack(
        [
            x / sigma_spatial,
            y / sigma_spatial,
            yuv[..., 0] / sigma_luma,
            yuv[..., 1] / sigma_chroma,
            yuv[..., 2] / sigma_chroma,
        ],
        axis=-1,
    ).reshape(-1, 5)
    cells = np.floor(cells).astype(np.int64)
    # One number a cell; a margin keeps neighbours from wrapping around.
    sides = cells.max(axis=0) + 3
    place = np.concatenate([[1], np.cumprod(sides[:-1])])
    keys, vertex = np.unique((cells + 1) @ place, return_inverse=True)
    count = len(keys)
    splat = sp.csr_matrix(
        (np.ones(vertex.size), (vertex, np.arange(vertex.size))), shape=(count, vertex.size)
    )
    blur = sp.identity(count, format="csr") * (2 * len(place))
    for step in place:
        for direction in (step, -step):
            found = np.minimum(np.searchsorted(keys, keys + direction), count - 1)
            there = keys[found] == keys + direction
            blur += sp.csr_matrix(
                (np.ones(there.sum()), (np.flatnonzero(there), found[there])), shape=(count, count)
            )
    # Scaling to row sums of one, the paper's algorithm 1.
    mass = np.asarray(splat.sum(axis=1)).ravel()
    n = np.ones(count)
    for _ in range(_BISTOCHASTIC_STEPS):
        n = np.sqrt(n * mass / (blur @ n))
    mass = n * (blur @ n)
    diagonal = sp.diags(n)
    weights = splat @ confidence.ravel()
    matrix = smoothness * (sp.diags(mass) - diagonal @ blur @ diagonal) + sp.diags(weights)
    right = splat @ (confidence.ravel() * target.ravel())
    jacobi = sp.diags(1.0 / np.maximum(matrix.diagonal(), _LEAST_DEGREE))
    first = right / np.maximum(weights, _LEAST_DEGREE)
    first[weights < _LEAST_DEGREE] = right.sum() / weights.sum()
    solution, _ = scipy.sparse.linalg.cg(
        matrix, right, x0=first, M=jacobi, maxiter=max_steps, rtol=1e-6
    )
    return (splat.T @ solution).reshape(height, width)
