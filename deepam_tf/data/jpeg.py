"""What JPEG has done to a picture, from its pixels: the steps it was quantised by, and the error.

The cosine coefficients of a decoded block are multiples of the quantisation step of their
frequency, but for the rounding of the pixels (Neelamani, de Queiroz, Fan, Dash and Baraniuk, "JPEG
compression history estimation for color images", IEEE TIP 2006).
"""

from __future__ import annotations

import numpy as np

__all__ = ["quantisation_stddev", "quantisation_steps"]

_BLOCK = 8
_COSINES = np.sqrt(2 / _BLOCK) * np.cos(
    np.pi / _BLOCK * np.outer(np.arange(_BLOCK), np.arange(_BLOCK) + 0.5)
)
_COSINES[0] /= np.sqrt(2)
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # of JPEG
_MOST_LOOKED_AT = 1024  # pixels a side, from the corner where the blocks begin
_LEAST_BLOCKS, _MOST_BLOCKS = 16, 1024
_LEAST_COEFFICIENTS = 16  # that are not zero: of fewer the phases may agree by chance
_STEPS = np.arange(3, 256)  # less cannot be told from what rounding and clipping pixels leave
# Mean cosine of the phases of the coefficients, in steps: 1 of multiples, 0 of anything else.
_MULTIPLES = 0.7
_LEAST_SHARE = 0.5  # of the frequencies that can be judged


def quantisation_steps(image: np.ndarray) -> np.ndarray:
    """The steps by which JPEG has quantised the luma of a picture.

    Args:
        image: `[H, W, 1]` or `[H, W, 3]` in [0, 1], decoded from 8 bit, its blocks beginning in
            the corner.

    Returns:
        `[8, 8]`, by vertical and horizontal frequency, on the 0..255 scale; 0 where it cannot be
        told: of the mean, where hardly a coefficient differs from 0, and everywhere in pictures
        that are not JPEG.

    Example:
        >>> noise = np.random.default_rng(0).random([64, 64, 1])
        >>> int(deepam_tf.data.jpeg.quantisation_steps(noise).max())
        0
    """
    return _read(image)[1]


def _read(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The coefficients of blocks, `[N, 8, 8]`, and their steps, `[8, 8]`."""
    image = np.asarray(image[:_MOST_LOOKED_AT, :_MOST_LOOKED_AT], np.float32)
    coefficients = _coefficients(image)
    steps = _steps(coefficients)
    if steps.any():
        # What is regular wherever blocks begin, such as a ramp, is so without JPEG.
        shifted = _steps(_coefficients(image[_BLOCK // 2 :, _BLOCK // 2 :]))
        if np.count_nonzero(shifted) > np.count_nonzero(steps) / 2:
            return coefficients, np.zeros_like(steps)
    return coefficients, steps


def _coefficients(image: np.ndarray) -> np.ndarray:
    """Cosine coefficients of the luma of blocks without clipped pixels, `[N, 8, 8]`, of 0..255."""
    luma = 255 * (image @ _LUMA if image.shape[-1] == 3 else image.mean(axis=-1))
    height, width = (side // _BLOCK for side in luma.shape)
    shape = (height, _BLOCK, width, _BLOCK)
    size = (slice(height * _BLOCK), slice(width * _BLOCK))
    clipped = np.any((image <= 0) | (image >= 1), axis=-1)[size].reshape(shape).any(axis=(1, 3))
    blocks = luma[size].reshape(shape)
    cosines = _COSINES.astype(np.float32)
    coefficients = np.einsum("ui,aibj,vj->abuv", cosines, blocks, cosines, optimize=True)
    coefficients = coefficients[~clipped]
    return coefficients[:: len(coefficients) // _MOST_BLOCKS + 1]


def _steps(coefficients: np.ndarray) -> np.ndarray:
    steps = np.zeros([_BLOCK, _BLOCK])
    if len(coefficients) < _LEAST_BLOCKS:
        return steps
    judged = 0
    for u, v in np.argwhere(np.add.outer(np.arange(_BLOCK), np.arange(_BLOCK)) > 0):
        sizes = np.sort(np.abs(coefficients[:, u, v]))[::-1]
        best, found = _MULTIPLES, 0
        counts = np.searchsorted(-sizes, -_STEPS / 2)
        for step, count in zip(_STEPS, counts, strict=True):
            if count < _LEAST_COEFFICIENTS:
                break
            phases = np.cos(2 * np.pi / step * sizes)
            # Of those that are not zero, and of all: the others have to be zero.
            score = min(float(phases[:count].mean()), float(phases.mean()))
            if score > best:
                best, found = score, step
        judged += bool(counts[0] >= _LEAST_COEFFICIENTS)
        steps[u, v] = found
    if np.count_nonzero(steps) < max(_LEAST_SHARE * judged, 1):
        return np.zeros_like(steps)
    return steps


def quantisation_stddev(image: np.ndarray) -> float:
    """How far JPEG has moved the luma of a picture, root mean square.

    Before quantisation the coefficients of a frequency are taken to have Laplace's distribution,
    whose width the share of zeros tells (Lam and Goodman, "A mathematical analysis of the DCT
    coefficient distributions for images", IEEE TIP 2000). What lay in frequencies of which
    nothing is left is not counted.

    Args:
        image: see `quantisation_steps`.

    Returns:
        The root mean square of the error, in the picture's units; 0 for pictures that are not
        JPEG, or of steps too small to be told.

    Example:
        >>> noise = np.random.default_rng(0).random([64, 64, 1])
        >>> deepam_tf.data.jpeg.quantisation_stddev(noise)
        0.0
    """
    coefficients, steps = _read(image)
    square = 0.0
    for u, v in np.argwhere(steps > 0):
        half = steps[u, v] / 2
        zeros = float(np.mean(np.abs(coefficients[:, u, v]) < half))
        square += (1 - zeros) * (2 * half) ** 2 / 12
        if zeros > 0:
            rate = -np.log(max(1 - zeros, 1e-12)) / half
            # The integral of x^2 over the density below half a step.
            square += 2 / rate**2 - (1 - zeros) * (half**2 + 2 * half / rate + 2 / rate**2)
    return float(np.sqrt(square) / _BLOCK) / 255
