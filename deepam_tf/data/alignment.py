"""Whether two pictures of one scene lie on one another, judged by their edges."""

from __future__ import annotations

import cv2
import numpy as np

__all__ = ["CONFIDENT", "SHIFT", "doubt_guide", "misalignment"]

SHIFT = 2.0
"""Pixels between the parts of a pair from which it is reported."""

CONFIDENT = 0.15
"""Response of the phase correlation from which its shift is believed."""

_BLUR = 1.5  # of clean pictures, pixels
_NOISY_BLUR = 2.5
_UNRELATED = 0.1  # response below which noisy picture and guide are of different scenes
_LEAST_SIDE = 96  # pixels; of less, two scenes may agree by chance
_FLAT = 1e-6  # edges that vary by no more do not say anything


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
        >>> from deepam_tf.data.alignment import misalignment
        >>> [round(x) for x in misalignment(square, np.roll(square, 3, axis=1))]
        [0, 3]
    """
    shift, response = _correlate(a, b, _BLUR)
    return shift if response >= CONFIDENT else None


def doubt_guide(noisy: np.ndarray, guide: np.ndarray) -> str | None:
    """What speaks against a picture as the guide of a noisy one.

    The phase correlation of their edges has a peak where they lie on one another. Of pairs of
    one scene it is at least 0.15 high, under noise of sigma 75 too, and less than 1.3 pixels off;
    of two scenes it is below 0.07.

    Args:
        noisy: `[H, W, C]`.
        guide: the same size, any number of channels.

    Returns:
        A line for people, None if nothing does, or if the pictures are too small to tell.

    Example:
        >>> from deepam_tf.data.alignment import doubt_guide
        >>> doubt_guide(np.random.default_rng(0).uniform(size=[96, 96, 3]), np.zeros([96, 96, 1]))
        'the guide shows nothing'
    """
    if _edges(guide, _NOISY_BLUR).std() < _FLAT:
        return "the guide shows nothing"
    if min(noisy.shape[:2]) < _LEAST_SIDE:
        return None
    (rows, columns), response = _correlate(noisy, guide, _NOISY_BLUR)
    if response < _UNRELATED:
        return "the guide's edges are not those of the picture"
    if np.hypot(rows, columns) >= SHIFT:
        return f"the guide is shifted by {rows:+.1f} rows, {columns:+.1f} columns"
    return None


def _correlate(a: np.ndarray, b: np.ndarray, blur: float) -> tuple[tuple[float, float], float]:
    """The shift from `a` to `b`, and how sure it is; 0 where one of them has no edges."""
    edges = [_edges(x, blur) for x in (a, b)]
    if min(edge.std() for edge in edges) < _FLAT:
        return (0.0, 0.0), 0.0
    window = cv2.createHanningWindow(edges[0].shape[::-1], cv2.CV_32F)
    (dx, dy), response = cv2.phaseCorrelate(edges[0], edges[1], window)
    return (dy, dx), response


def _edges(image: np.ndarray, blur: float) -> np.ndarray:
    gray = cv2.GaussianBlur(image.mean(axis=-1).astype(np.float32), (0, 0), blur)
    length = np.hypot(cv2.Sobel(gray, cv2.CV_32F, 1, 0), cv2.Sobel(gray, cv2.CV_32F, 0, 1))
    # The sharpest few edges would speak for all.
    return np.minimum(length, np.quantile(length, 0.98))
