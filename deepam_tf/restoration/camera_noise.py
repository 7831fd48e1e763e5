"""How much noise has a photograph? What the network for camera noise says of it.

No measure of single blocks tells the grain of a camera from fine texture. A network that was
trained to do just that does: what it removes from a few windows of the picture is the noise. It
was told in training levels that were wrong by a factor, so that what it removes hardly depends on
the level it is told, as long as that is not too low.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from deepam_tf.data.noise import NoiseEstimate, estimate_noise, noise_by_brightness

__all__ = ["measure_noise", "to_three_channels"]

_WINDOW, _ROWS = 128, 3  # side of the windows in pixels, and how many there are along each axis
_FIRST, _STEP, _MOST = 12 / 255, 2.5, 80 / 255  # levels that are told, until one is high enough
_HIGH_ENOUGH = 0.6  # of the level told is removed at most, if it was above the true one
_REMOVED = 0.72  # share of the true level that is removed then: the rest is lost in the picture


def measure_noise(
    pixels: np.ndarray,
    restore: Callable[..., np.ndarray],
    *,
    mask: np.ndarray | None = None,
) -> NoiseEstimate:
    """Find out what noise a photograph has, with the help of a network for camera noise.

    White noise is recognised and measured by `estimate_noise`. Of all else the network says how
    much is noise, from nine windows of 128x128 pixels.

    Args:
        pixels: `[H, W, C]`, floating, in [0, 1], C 1 or 3.
        restore: the network: function of `[h, w, 3]` and `noise_stddev`, as `Restorer` is.
        mask: see `estimate_noise`.

    Returns:
        The estimate.

    Raises:
        ValueError: see `estimate_noise`.

    Example:
        >>> noisy = 0.5 + 0.1 * np.random.default_rng(0).standard_normal([64, 64, 3])
        >>> measure = deepam_tf.restoration.camera_noise.measure_noise
        >>> measure(noisy, restore=None).kind  # white: the network is not asked
        'white'
    """
    found = estimate_noise(pixels, mask=mask)
    if found.kind == "white":
        return found
    windows = _windows(to_three_channels(pixels), mask)
    if not windows:
        return found
    told = max(_FIRST, min(2 * found.stddev, _MOST))
    while True:
        restored = [restore(window, noise_stddev=told) for window in windows]
        removed = [window - x for window, x in zip(windows, restored, strict=True)]
        level = float(np.sqrt(np.mean([np.mean(np.square(x)) for x in removed])))
        if level < _HIGH_ENOUGH * told or told >= _MOST:
            break
        told = min(_STEP * told, _MOST)
    flat = (np.concatenate([x.reshape(-1, 3) for x in part]) for part in (restored, removed))
    return noise_by_brightness("camera", *flat, factor=1 / _REMOVED)


def to_three_channels(pixels: np.ndarray) -> np.ndarray:
    """A gray picture as a colour one, `[H, W, 1]` to `[H, W, 3]`; others as they are."""
    return np.repeat(pixels, 3, axis=-1) if pixels.shape[-1] == 1 else pixels


def _windows(pixels: np.ndarray, mask: np.ndarray | None) -> list[np.ndarray]:
    """Windows spread over the picture that show something."""
    height, width, _ = pixels.shape
    seen = np.ones([height, width], bool) if mask is None else mask.reshape(height, width) > 0
    seen &= np.any(pixels > 0, axis=-1) & np.any(pixels < 1, axis=-1)
    tops, lefts = (
        np.unique(np.linspace(0, max(size - _WINDOW, 0), _ROWS).astype(int) // 2 * 2)
        for size in (height, width)
    )
    places = [
        (slice(top, top + _WINDOW), slice(left, left + _WINDOW)) for top in tops for left in lefts
    ]
    return [np.asarray(pixels[x], np.float32) for x in places if seen[x].mean() > 0.5]
