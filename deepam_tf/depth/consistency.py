"""Fine maps that give the samples they were restored from when they are made coarse again.

A sample that is an average says nothing of any one pixel, and yet of all of them: the fine map,
made coarse in the same way, has to be what was measured. Networks come close to that and no more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from deepam_tf.depth.grids import Scale, as_pair
from deepam_tf.depth.sampling import KINDS

if TYPE_CHECKING:
    import scipy.sparse

__all__ = ["project_to_samples"]

_REACH = 2.0  # scales: no kernel is wider
_LEAST_WEIGHT = 0.5  # of a sample's pixels: with less of them in the map it says too little


def project_to_samples(
    image: np.ndarray,
    samples: np.ndarray,
    valid: np.ndarray,
    scale: Scale,
    *,
    offset: Scale,
    kind: str,
) -> np.ndarray:
    """Move a fine map to the nearest one that its samples are the averages of.

    With `B` that makes a map coarse the result is `u + B^T (B B^T)^-1 (samples - B u)`, the
    orthogonal projection onto the maps with `B u = samples`. The truth is among those: whatever
    `u` was, its square error gets smaller. (Irani and Peleg, "Improving resolution by image
    registration", 1991, take single steps `B^T (samples - B u)`, "iterative back-projection".)
    `B B^T` is a matrix of a few diagonals for the rows and one for the columns.

    Args:
        image: the restored map, `[H, W]` floating.
        samples: what was measured, `[h, w]`, in its unit; finite.
        valid: 1 where a sample was measured, 0 where not, `[h, w]`: holes change nothing.
        scale: pixels from sample to sample, see `grids`.
        offset: position of the first sample in pixels.
        kind: what a sample is, a key of `sampling.KINDS`.

    Returns:
        `[H, W]`, of the dtype of `image`.

    Example:
        >>> low, known = np.array([[1.0, 3.0]]), np.ones([1, 2])
        >>> fine = deepam_tf.depth.consistency.project_to_samples(
        ...     np.zeros([1, 4]), low, known, (1, 2), offset=(0, 0.5), kind="means")
        >>> fine.round(6).tolist()
        [[1.0, 1.0, 3.0, 3.0]]
    """
    axes = zip(image.shape, samples.shape, as_pair(scale), as_pair(offset), strict=True)
    (rows, known_rows), (columns, known_columns) = (_averages(*axis, kind) for axis in axes)
    known = (valid > 0) & known_rows[:, np.newaxis] & known_columns
    missing = np.where(known, samples - (rows @ image.astype(np.float64)) @ columns.T, 0.0)
    missing = _solved(columns, _solved(rows, missing).T).T
    return (image + (rows.T @ missing) @ columns).astype(image.dtype)


def _averages(
    size: int, count: int, scale: float, offset: float, kind: str
) -> tuple[scipy.sparse.csr_matrix, np.ndarray]:
    """How the samples of an axis are made of its pixels, and which have enough of them."""
    import scipy.sparse

    middle = offset + scale * np.arange(count)
    first = np.ceil(middle - _REACH * scale - 1)
    pixels = first[:, np.newaxis] + np.arange(int(2 * _REACH * scale) + 4)
    distance = tf.constant(pixels - middle[:, np.newaxis])
    weights = KINDS[kind](distance, tf.constant(scale, tf.float64)).numpy()
    whole = np.abs(weights).sum(axis=1)
    weights = np.where((pixels >= 0) & (pixels < size), weights, 0.0)
    known = np.abs(weights).sum(axis=1) >= _LEAST_WEIGHT * whole
    weights *= known[:, np.newaxis]
    weights /= np.where(known, weights.sum(axis=1), 1.0)[:, np.newaxis]
    row, tap = np.nonzero(weights)
    places = row, pixels[row, tap].astype(int)
    return scipy.sparse.csr_matrix((weights[row, tap], places), shape=(count, size)), known


def _solved(averages: scipy.sparse.csr_matrix, right: np.ndarray) -> np.ndarray:
    """`(B B^T)^-1 right` of one axis; rows that no pixel has part in are left alone."""
    import scipy.linalg
    import scipy.sparse

    gram = scipy.sparse.dia_matrix(averages @ averages.T)
    count = len(right)
    bands = np.zeros([1 + gram.offsets.max(initial=0), count])
    for offset in range(len(bands)):
        bands[offset, : count - offset] = gram.diagonal(-offset)
    bands[0] += bands[0] == 0
    return scipy.linalg.solveh_banded(bands, right, lower=True)
