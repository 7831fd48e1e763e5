"""Whether two pictures of one scene lie on one another, judged by their edges."""

from __future__ import annotations

import cv2
import numpy as np

__all__ = ["CONFIDENT", "SHIFT", "misalignment"]

SHIFT = 2.0
"""Pixels between the parts of a pair from which it is reported."""

CONFIDENT = 0.15
"""Response of the phase correlation from which its shift is believed."""


def misalignment(a: np.ndarray, b: np.ndarray) -> tuple[float, float] | None:
    """By how much two pictures of one scene are shifted, judged by their edges.

    Args:
        a: `[H, W, C]`.
        b: the same size, any number of channels: another modality will do.

    Returns:
        `(rows, columns)` that `b` lies further down and right, None if the edges do not say.

    Example:
        >>> square = np.zeros([64, 64, 1])
        >>> square[20:40, 24:44] = 1
        >>> shift = deepam_tf.depth.alignment.misalignment(square, np.roll(square, 3, axis=1))
        >>> [round(abs(x)) for x in shift]
        [0, 3]
    """
    edges = [_edges(x) for x in (a, b)]
    if min(edge.std() for edge in edges) < 1e-6:
        return None
    window = cv2.createHanningWindow(edges[0].shape[::-1], cv2.CV_32F)
    (dx, dy), response = cv2.phaseCorrelate(edges[0], edges[1], window)
    return (dy, dx) if response >= CONFIDENT else None


def _edges(image: np.ndarray) -> np.ndarray:
    gray = cv2.GaussianBlur(image.mean(axis=-1).astype(np.float32), (0, 0), 1.5)
    length = np.hypot(cv2.Sobel(gray, cv2.CV_32F, 1, 0), cv2.Sobel(gray, cv2.CV_32F, 0, 1))
    # The sharpest few edges would speak for all.
    return np.minimum(length, np.quantile(length, 0.98))
