"""How much noise has a photograph? What the network for camera noise says of it.

No measure of single blocks tells the grain of a camera from fine texture. A network that was
trained to do just that does: what it removes from a few windows of the picture is the noise. How
much that is depends on the level it is told, but less than in proportion: the level at which both
agree is the picture's, if it is noise. A lawn may be removed too. What is removed of texture is the
finest there is, and there are places without: of noise neighbouring pixels are correlated, or it
is everywhere.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import cv2
import numpy as np

from deepam_tf.data.noise import (
    NO_NOISE,
    OPPONENT,
    NoiseEstimate,
    estimate_noise,
    noise_by_brightness,
)

__all__ = ["level_to_tell", "measure_noise", "to_three_channels"]

_WINDOW, _ROWS, _COLUMNS = 96, 2, 3  # side of the windows in pixels, and how many there are
_FIRST, _MOST = 12 / 255, 60 / 255  # the level told first: above that of most photographs
_LEVEL = 1.7  # of what is removed: the rest is lost in the picture
_NEAR, _MOST_STEPS = 0.15, 8  # relative change from where on two levels agree
# What a network takes for noise and is texture is the finest there is: no pixel tells of the next,
# where what a camera has demosaicked and developed reaches over several. The correlation of
# neighbours from which on it may be noise, and is.
_FINE, _WIDE = 0.12, 0.22
# Or it is everywhere: of blocks of like brightness those of least energy have such a share of the
# usual level. Texture has places without.
_PATCHY, _EVEN = 0.76, 0.82
_BLOCK, _LEAST_BLOCKS, _QUANTILE = 8, 100, 0.05  # pixels a side; how many; those of least energy
_CLASSES = 12  # of brightness
_CLIPPED = 0.03  # from black and white: what is there has less noise than the rest
# And it is gray: its differences of colour are less than this of its luma, where those of noise
# are more, unless there is much of it. No texture seen was removed as so much as the third.
_COLORFUL, _MAYBE_GRAY, _BEYOND_TEXTURE = 0.38, 14 / 255, 32 / 255

# From the first level to the second noise gets certain, and the network is told so much more.
_DOUBTFUL, _CERTAIN, _MORE = 4 / 255, 5.5 / 255, 0.6


def measure_noise(
    pixels: np.ndarray,
    restore: Callable[..., np.ndarray],
    *,
    mask: np.ndarray | None = None,
) -> NoiseEstimate:
    """Find out what noise a photograph has, with the help of a network for camera noise.

    White noise is recognised and measured by `estimate_noise`. Of all else the network says how
    much is noise, from six windows of 96x96 pixels; of a file that JPEG has changed by more than
    that, the level is that of JPEG.

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
    windows = [to_three_channels(window) for window in _windows(pixels, mask)]
    if not windows:
        return found
    gray = all(np.ptp(window, axis=-1).max() == 0 for window in windows)
    asked = min(max(2 * found.stddev, _FIRST), _MOST)
    for _ in range(_MOST_STEPS):
        restored = [restore(window, noise_stddev=asked) for window in windows]
        removed = [window - x for window, x in zip(windows, restored, strict=True)]
        noise = np.concatenate([x.reshape(-1, 3) for x in removed])
        level = _LEVEL * float(np.sqrt(np.mean(np.square(noise))))
        agree = abs(level - asked) <= _NEAR * asked
        asked = min(level, _MOST)
        if agree or asked == 0:
            break
    share = _share_of_noise(removed, restored, level, gray=gray)
    estimate = noise_by_brightness(
        "camera",
        np.concatenate([x.reshape(-1, 3) for x in restored]),
        noise,
        factor=share * _LEVEL,
    )
    if found.quantised <= max(estimate.stddev, NO_NOISE):
        return estimate
    factor = found.quantised / found.stddev
    return dataclasses.replace(
        found,
        kind="jpeg",
        stddev=found.quantised,
        stddevs=tuple(factor * stddev for stddev in found.stddevs),
    )


def _share_of_noise(
    removed: list[np.ndarray], restored: list[np.ndarray], level: float, *, gray: bool
) -> float:
    """What part of the level of what was removed is that of noise and not of texture.

    Args:
        removed: of each window, `[h, w, 3]`.
        restored: what is left of it.
        level: of all that was removed.
        gray: whether the picture has no colour.

    Returns:
        From 0 to 1.
    """
    if level > _BEYOND_TEXTURE:
        return 1.0
    noise = [x @ OPPONENT[0] for x in removed]
    share = max(
        _ramp(_neighbours(noise), _FINE, _WIDE), _ramp(_evenness(noise, restored), _PATCHY, _EVEN)
    )
    if gray or level > _MAYBE_GRAY:
        return share
    luma, *colors = np.sqrt(
        np.mean(np.square(np.concatenate([x.reshape(-1, 3) for x in removed]) @ OPPONENT.T), axis=0)
    )
    if luma == 0:
        return share
    return share * min(float(np.sqrt(np.mean(np.square(colors))) / luma) / _COLORFUL, 1.0) ** 2


def _ramp(x: float, low: float, high: float) -> float:
    return min(max((x - low) / (high - low), 0.0), 1.0)


def _neighbours(noise: list[np.ndarray]) -> float:
    """Correlation of neighbouring pixels in rows and columns, of windows `[h, w]`."""
    centred = [x - x.mean() for x in noise]
    energy = sum(float(np.sum(np.square(x[1:, 1:]))) for x in centred)
    products = sum(
        float(np.sum(x[1:, 1:] * x[1:, :-1]) + np.sum(x[1:, 1:] * x[:-1, 1:])) for x in centred
    )
    return products / 2 / energy if energy > 0 else 0.0


def _evenness(noise: list[np.ndarray], restored: list[np.ndarray]) -> float:
    """Level of the quietest blocks over the usual one at their brightness; 0 if they are few."""
    levels = np.sqrt(np.concatenate([_block_means(np.square(x)) for x in noise]))
    brightness = np.concatenate([_block_means(x.mean(axis=-1)) for x in restored])
    seen = (brightness > _CLIPPED) & (brightness < 1 - _CLIPPED)
    if np.count_nonzero(seen) < _LEAST_BLOCKS:
        return 0.0
    ordered = levels[seen][np.argsort(brightness[seen], kind="stable")]
    classes = np.array_split(ordered, min(_CLASSES, len(ordered) // (_LEAST_BLOCKS // 4)))
    if any(np.median(x) == 0 for x in classes):
        return 0.0
    return float(np.quantile(np.concatenate([x / np.median(x) for x in classes]), _QUANTILE))


def _block_means(image: np.ndarray) -> np.ndarray:
    height, width = (side // _BLOCK for side in image.shape)
    whole = np.float32(image[: height * _BLOCK, : width * _BLOCK])
    return cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA).ravel()


def level_to_tell(estimate: NoiseEstimate) -> float:
    """What a network for camera noise is told of an estimate.

    More than was found where there is no doubt that it is noise: photographs of cameras are
    softer than those that the network has learnt from, and gain by it, while a level that is too
    high changes little. What might be the texture of a clean picture is told as it is, and so is
    what JPEG has done, which is known.

    Args:
        estimate: what `measure_noise` returns.

    Returns:
        The level, in the picture's units.

    Example:
        >>> from deepam_tf.data.noise import NoiseEstimate
        >>> tell = deepam_tf.restoration.camera_noise.level_to_tell
        >>> [round(255 * tell(NoiseEstimate("camera", x / 255, (), ()))) for x in (2, 10)]
        [2, 16]
    """
    if estimate.kind == "jpeg":
        return estimate.stddev
    certain = (estimate.stddev - _DOUBTFUL) / (_CERTAIN - _DOUBTFUL)
    return estimate.stddev * (1 + _MORE * min(max(certain, 0.0), 1.0))


def to_three_channels(pixels: np.ndarray) -> np.ndarray:
    """A gray picture as a colour one, `[H, W, 1]` to `[H, W, 3]`; others as they are."""
    return np.repeat(pixels, 3, axis=-1) if pixels.shape[-1] == 1 else pixels


def _windows(pixels: np.ndarray, mask: np.ndarray | None) -> list[np.ndarray]:
    """Windows spread over the picture that show something."""
    height, width, _ = pixels.shape
    seen = None if mask is None else mask.reshape(height, width) > 0
    tops, lefts = (
        np.unique(np.linspace(0, max(size - _WINDOW, 0), 2 * count + 1)[1::2].astype(int) // 2 * 2)
        for size, count in ((height, _ROWS), (width, _COLUMNS))
    )
    places = [
        (slice(top, top + _WINDOW), slice(left, left + _WINDOW)) for top in tops for left in lefts
    ]
    windows = []
    for place in places:
        window = np.asarray(pixels[place], np.float32)
        usable = np.any(window > 0, axis=-1) & np.any(window < 1, axis=-1)
        if np.mean(usable if seen is None else usable & seen[place]) > 0.5:
            windows.append(window)
    return windows
