"""How noisy is a picture? Estimates of one level, or of one that changes with the light."""

from __future__ import annotations

import dataclasses
from typing import Literal

import cv2
import numpy as np

from deepam_tf.data.jpeg import quantisation_stddev
from deepam_tf.data.white_noise import white_noise_stddev

__all__ = [
    "NO_NOISE",
    "OPPONENT",
    "NoiseEstimate",
    "PoissonGaussian",
    "estimate_noise",
    "estimate_noise_stddev",
    "estimate_poisson_gaussian",
    "noise_by_brightness",
]

_LEAST_SIDE = 32
_LEVELS = 24  # of brightness, each with as many pixels
_CLIPPED = 0.02  # from black and white, where a file's noise is cut off
_REACH = 2.0  # standard deviation in pixels of the mean that a noise map looks at
_MEDIAN_OF_NORMAL = 0.67448975  # of |x|, x standard normal

# Filters of Daubechies' wavelet with two vanishing moments: the high pass has no answer to ramps.
_ROOT = np.sqrt(3.0)
_HIGH_PASS = np.array([1 - _ROOT, -(3 - _ROOT), 3 + _ROOT, -(1 + _ROOT)]) / np.sqrt(32.0)
_LOW_PASS = np.array([1 + _ROOT, 3 + _ROOT, 3 - _ROOT, 1 - _ROOT]) / np.sqrt(32.0)
_SUPPORT = np.ones([4, 4], np.uint8)  # what a detail sees

OPPONENT = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3.0], [2.0], [6.0]])
"""Luma and two differences of colour: orthonormal, so that white noise has one level in all."""
_SCALES = (1, 2, 4)  # sides of the means
_BLOCK, _SMALL_BLOCK = 32, 16
_TILE, _MOST_TILES = 512, 16  # what is looked at of a large picture
# Of the blocks, those with least detail, one in ten: texture is not everywhere, noise is.
_QUANTILE, _NORMAL_QUANTILE = 0.1, 1.2816
# The level of a block of 32x32 details is that of white noise to 3.4 %; so the least of many blocks
# lies below it.
_UNCERTAINTY = 0.034 * 32
# A camera's luma is noisier than its colours, by this factor at most: else it is texture.
_MOST_LUMA = 3.3
NO_NOISE = 0.7 / 255
"""In units of [0, 1]: below it, rounding to 8 bit and JPEG leave as much."""
_MUCH_STRONGER = 1.25  # from the shadows to the lights, or back


@dataclasses.dataclass(frozen=True)
class NoiseEstimate:
    """What noise a picture has.

    Attributes:
        kind: `"white"`: independent from pixel to pixel; `"camera"`: it reaches over several
            pixels and channels, as after demosaicking, development and JPEG; `"jpeg"`: what
            JPEG has done to the picture is more than that; `"none"`.
        stddev: standard deviation, root mean square over channels and pixels, in the picture's
            units.
        brightness: values, ascending, in the picture's units.
        stddevs: the standard deviation where the picture is that bright.
        quantised: how far JPEG has moved the luma, root mean square, in the picture's units;
            not known, and 0, where the noise is white.

    Example:
        >>> noisy = 0.5 + 0.1 * np.random.default_rng(0).standard_normal([128, 128, 3])
        >>> str(deepam_tf.noise.estimate_noise(noisy))
        'sigma 25.4 (white noise)'
    """

    kind: Literal["none", "white", "camera", "jpeg"]
    stddev: float
    brightness: tuple[float, ...]
    stddevs: tuple[float, ...]
    quantised: float = 0.0

    def __str__(self) -> str:
        """In words, the level on the 0..255 scale."""
        if self.kind == "none":
            return "no noise found"
        words = "JPEG artefacts" if self.kind == "jpeg" else f"{self.kind} noise"
        if self.kind == "camera" and len(self.stddevs) > 1:
            third = max(len(self.stddevs) // 3, 1)
            dark, bright = np.mean(self.stddevs[:third]), np.mean(self.stddevs[-third:])
            if dark > _MUCH_STRONGER * bright:
                words += ", strong in the shadows"
            elif bright > _MUCH_STRONGER * dark:
                words += ", strong in the lights"
            else:
                words += ", in shadows and lights alike"
        return f"sigma {255 * self.stddev:.1f} ({words})"


def estimate_noise(image: np.ndarray, *, mask: np.ndarray | None = None) -> NoiseEstimate:
    """Find out what noise a picture has, and how much.

    White noise has no preference among the patterns that fit into a patch of pixels, and nothing
    else in a picture is so: whether the flattest patches have one tells what it is, and their
    energy its level (`white_noise.white_noise_stddev`), in the differences of colour, where
    pictures have least texture; gray ones have their luma alone.

    Else details of three scales (those of the picture itself, of its means over 2x2 and over 4x4
    pixels), of luma and of differences of colour, are measured in blocks; noise is what even the
    smoothest tenth of the blocks has, and camera noise the energy of all scales. What clean
    texture adds to its luma cannot be told from noise by such means; it is bounded by what the
    colours have. Where JPEG has changed the picture by more than that (as
    `jpeg.quantisation_stddev` reads from the steps of its coefficients), that is the level.

    Left out are pixels of the mask, clipped ones (exactly 0 or 1), and those without any
    difference from their neighbours, as in the bars of a letterbox. Of a picture beyond 4
    megapixels 16 windows of 512x512 are looked at.

    Args:
        image: `[H, W, C]`, floating, in [0, 1] plus noise, at least 32 pixels a side.
        mask: `[H, W]` or `[H, W, 1]`, 0 where the picture shows nothing (transparent, say);
            None: it is all there.

    Returns:
        The estimate.

    Raises:
        ValueError: if the image has another rank, is too small, or not finite, or the mask is
            of another size.

    Example:
        >>> noisy = 0.5 + 0.1 * np.random.default_rng(0).standard_normal([128, 128, 3])
        >>> found = deepam_tf.noise.estimate_noise(noisy)
        >>> found.kind, round(found.stddev, 2)
        ('white', 0.1)
    """
    image = image if hasattr(image, "shape") else np.asarray(image)
    _check(image)
    mask = _as_mask(mask, image.shape)
    height, width, count = image.shape
    windows = _windows(height, width)
    colorful = count == 3 and not all(
        np.array_equal(part[..., 0], part[..., i])
        for part in map(image.__getitem__, windows)
        for i in (1, 2)
    )
    side = _BLOCK if min(height, width) >= 4 * _BLOCK else _SMALL_BLOCK
    parts, channels, valid = [], [], []
    for window in windows:
        image_there = np.asarray(image[window], np.float32)
        channels_there = [np.ascontiguousarray(x) for x in np.moveaxis(image_there, -1, 0)]
        if colorful:
            opponents = np.tensordot(OPPONENT.astype(np.float32), np.stack(channels_there), 1)
            channels_there = list(opponents)
            bright = opponents[0] / np.float32(np.sqrt(3.0))
        else:
            channels_there = channels_there[:1] if count == 3 else channels_there
            bright = np.mean(channels_there, axis=0)
        valid.append(_valid(image_there, None if mask is None else mask[window]))
        channels.append(channels_there)
        parts.append(_block_levels(channels_there, bright, valid[-1], side))
    diagonal, energy, brightness, known = (np.concatenate(x) for x in zip(*parts, strict=True))
    # Blocks that are nearly all there; if there are none, those that are there at all.
    for least in (0.9, 0.3, 0.0):
        chosen = known > least
        if chosen.any():
            break
    else:
        return NoiseEstimate("none", 0.0, (), ())
    diagonal, energy, brightness = diagonal[chosen], energy[chosen], brightness[chosen]

    white = _white_level([x[1:] if colorful else x for x in channels], valid)
    quantised = 0.0
    if white is None:
        low = 1 - _NORMAL_QUANTILE * _UNCERTAINTY / side
        total = np.quantile(energy, _QUANTILE, axis=0) ** 0.5 / low
        quantised = quantisation_stddev(image)
        if colorful and not quantised:
            colors = float(np.sqrt(np.mean(total[1:] ** 2)))
            total[0] = min(total[0], _MOST_LUMA * colors)
        level = float(np.sqrt(np.mean(total**2)))
        kind = "camera" if level > quantised else "jpeg"
        level = max(level, quantised)
    else:
        kind, level = "white", white
    kind = kind if level >= NO_NOISE else "none"
    measured = energy if white is None else diagonal
    measured = np.sqrt(measured[:, 1:].mean(axis=1) if colorful else measured[:, 0])
    curve = _by_brightness(brightness, measured)
    return NoiseEstimate(kind, level, *_scaled_to(level, *curve), quantised)


def estimate_noise_stddev(image: np.ndarray, *, mask: np.ndarray | None = None) -> float:
    """Standard deviation of the noise in an image, of whatever kind.

    Args:
        image: see `estimate_noise`.
        mask: see `estimate_noise`.

    Returns:
        The standard deviation, root mean square over the channels, in the image's units.

    Raises:
        ValueError: if the image has another rank, is too small, or not finite.

    Example:
        >>> noisy = 0.1 * np.random.default_rng(0).standard_normal([128, 128, 1])
        >>> round(deepam_tf.noise.estimate_noise_stddev(noisy), 2)
        0.1
    """
    return estimate_noise(image, mask=mask).stddev


def noise_by_brightness(
    kind: Literal["white", "camera"],
    restored: np.ndarray,
    noise: np.ndarray,
    *,
    factor: float = 1.0,
) -> NoiseEstimate:
    """An estimate from noise that has been separated from its picture.

    Args:
        kind: of the noise.
        restored: `[N, C]`, pixels without noise.
        noise: `[N, C]`, what was on them.
        factor: by which the noise was larger than what is given of it.

    Returns:
        The estimate; its kind is `"none"` where there is next to nothing.

    Example:
        >>> pixels = np.linspace(0, 1, 3000).reshape(-1, 1)
        >>> noise = 0.1 * (1 - pixels) * (-1) ** np.arange(3000).reshape(-1, 1)
        >>> str(deepam_tf.noise.noise_by_brightness("camera", pixels, noise))
        'sigma 14.7 (camera noise, strong in the shadows)'
    """
    square = factor**2 * np.mean(np.square(noise), axis=-1)
    level = float(np.sqrt(np.mean(square)))
    return NoiseEstimate(
        kind if level >= NO_NOISE else "none",
        level,
        *_by_brightness(np.mean(restored, axis=-1), np.sqrt(square), mean=True),
    )


@dataclasses.dataclass(frozen=True)
class PoissonGaussian:
    """Noise of a sensor: its variance is `gain x + variance` where the clean value is `x`.

    Photons arrive at random (Poisson, `gain` is one electron in units of the image), and reading
    them adds noise of one level (Gaussian). Foi, Trimeche, Katkovnik and Egiazarian, "Practical
    Poissonian-Gaussian noise modeling and fitting for single-image raw-data", IEEE TIP 2008.

    Attributes:
        gain: slope of the variance, in the image's units, not negative.
        variance: of the part that does not depend on the light, in their square.
    """

    gain: float
    variance: float

    def stddev_map(self, image: np.ndarray) -> np.ndarray:
        """The standard deviation at every pixel of a noisy image.

        The clean value is taken to be a Gaussian mean over a few pixels, and the variance that
        of the mean channel: models take one map.

        Args:
            image: `[H, W, C]`, floating.

        Returns:
            `[H, W, 1]` float32, in the image's units.

        Example:
            >>> noise = deepam_tf.noise.PoissonGaussian(gain=0.01, variance=0.0)
            >>> round(float(noise.stddev_map(np.full([40, 40, 1], 0.25))[0, 0, 0]), 4)
            0.05
        """
        gray = np.mean(np.asarray(image, np.float32), axis=-1)
        mean = np.maximum(cv2.GaussianBlur(gray, (0, 0), _REACH), 0)
        return np.sqrt(self.gain * mean + self.variance)[..., np.newaxis].astype(np.float32)


def estimate_poisson_gaussian(
    image: np.ndarray, *, mask: np.ndarray | None = None
) -> PoissonGaussian:
    """Gain and constant variance of a sensor's noise, from one noisy image.

    The variance is that of the median of the finest diagonal details (Donoho and Johnstone, "Ideal
    spatial adaptation by wavelet shrinkage", Biometrika 1994), apart for each of 24 levels of
    brightness, and a line fitted that is nowhere negative; what is nearly black or white is left
    out, where files cut the noise off, and what `estimate_noise` leaves out.

    Args:
        image: `[H, W, C]`, floating, in [0, 1] plus noise, linear in the light, at least 32
            pixels a side.
        mask: see `estimate_noise`.

    Returns:
        The two parameters, of all channels together.

    Raises:
        ValueError: if the image has another rank, is too small, or not finite.

    Example:
        >>> clean = np.tile(np.linspace(0.1, 0.9, 256), (256, 1))[:, :, np.newaxis]
        >>> noise = np.random.default_rng(0).standard_normal(clean.shape)
        >>> noisy = clean + np.sqrt(0.01 * clean) * noise
        >>> round(deepam_tf.noise.estimate_poisson_gaussian(noisy).gain, 3)
        0.01
    """
    levels, variances = [], []
    _check(image)
    image = np.asarray(image, np.float32)
    valid = _valid(image, _as_mask(mask, image.shape)).ravel()
    for channel in np.moveaxis(image, -1, 0):
        channel = np.ascontiguousarray(channel)
        details = _details(channel).ravel()
        # A mean as wide as the details reach, or it would depend on their noise.
        means = cv2.GaussianBlur(channel, (0, 0), _REACH).ravel()
        inside = valid & (means > _CLIPPED) & (means < 1 - _CLIPPED)
        order = np.argsort(means[inside], kind="stable")
        for group in np.array_split(np.flatnonzero(inside)[order], _LEVELS):
            if group.size:
                levels.append(means[group].mean())
                variances.append((np.median(details[group]) / _MEDIAN_OF_NORMAL) ** 2)
    if not levels:
        return PoissonGaussian(0.0, estimate_noise_stddev(image, mask=mask) ** 2)
    levels, variances = np.array(levels), np.array(variances)
    # An estimate of a variance is as uncertain as it is large.
    weights = 1 / np.maximum(variances, 0.1 * variances.mean() + np.finfo(np.float32).tiny)
    system = np.stack([levels, np.ones_like(levels)], axis=1) * weights[:, np.newaxis]
    target = variances * weights
    fit = np.linalg.lstsq(system, target, rcond=None)[0]
    if fit.min() < 0:
        # The best fit without negative parts then has one of them zero.
        fit = np.where(fit < 0, 0.0, system.T @ target / np.square(system).sum(axis=0))
    return PoissonGaussian(float(fit[0]), float(fit[1]))


def _check(image: np.ndarray) -> None:
    """Raise unless noise can be measured on it; a picture's rows are looked at band by band."""
    if (
        image.ndim == 3
        and min(image.shape[:2]) >= _LEAST_SIDE
        and all(np.isfinite(image[i : i + _TILE]).all() for i in range(0, len(image), _TILE))
    ):
        return
    raise ValueError(
        f"`image` must be finite and have shape [H, W, C] of at least {_LEAST_SIDE} pixels a "
        f"side to estimate its noise. Received: image.shape={image.shape}. Give the noise "
        "level instead."
    )


def _as_mask(mask: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray | None:
    """`[H, W]`, for an image of that shape."""
    if mask is None:
        return None
    mask = np.asarray(mask)
    if mask.shape not in (shape[:2], (*shape[:2], 1)):
        raise ValueError(
            f"`mask` must have the size of the image. Received: mask.shape={mask.shape}, "
            f"image.shape={shape}."
        )
    return mask.reshape(shape[:2])


def _valid(image: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """`[H, W]` bool: where a detail says something of the noise."""
    shape = image.shape[:2]
    usable = np.ones(shape, bool) if mask is None else mask > 0
    clipped = np.any((image == 0) | (image == 1), axis=-1)
    usable = cv2.erode((usable & ~clipped).astype(np.uint8), _SUPPORT, borderValue=1).astype(bool)
    flat = np.ones(shape, bool)
    for channel in np.moveaxis(image, -1, 0):
        channel = np.ascontiguousarray(channel)
        flat &= cv2.dilate(channel, _SUPPORT) == cv2.erode(channel, _SUPPORT)
    return usable & ~flat


def _windows(height: int, width: int) -> list[tuple[slice, slice]]:
    """The whole of a picture, or windows spread over a large one."""
    if height * width <= _MOST_TILES * _TILE**2:
        return [(slice(None), slice(None))]
    count = int(np.sqrt(_MOST_TILES))
    starts = (
        np.unique(np.linspace(0, max(size - _TILE, 0), count).astype(int))
        for size in (height, width)
    )
    tops, lefts = starts
    return [(slice(y, y + _TILE), slice(x, x + _TILE)) for y in tops for x in lefts]


def _block_levels(channels, bright, valid, side: int):
    """What is measured of each block.

    Returns:
        The variance of the finest diagonal details and the energy of all, `[N, C]`; the
        brightness and the share of valid pixels, `[N]`.
    """
    height, width = (size // side * side for size in bright.shape)
    diagonals = np.zeros([height // side * (width // side), len(channels)])
    energies = np.zeros_like(diagonals)
    share = _block_means(valid[:height, :width].astype(np.float32), side)
    for scale in _SCALES:
        size = (width // scale, height // scale)
        weight = cv2.resize(
            valid[:height, :width].astype(np.float32), size, interpolation=cv2.INTER_AREA
        )
        weight = (weight > 1 - 1e-3).astype(np.float32)
        total = np.maximum(_block_means(weight, side // scale), 1e-6)
        for j, channel in enumerate(channels):
            channel = np.ascontiguousarray(channel[:height, :width])
            if scale > 1:
                channel = cv2.resize(channel, size, interpolation=cv2.INTER_AREA)
            across, along, diagonal = (
                _block_means(
                    weight * np.square(cv2.sepFilter2D(channel, -1, *kernels)), side // scale
                )
                / total
                for kernels in (
                    (_HIGH_PASS, _LOW_PASS),
                    (_LOW_PASS, _HIGH_PASS),
                    (_HIGH_PASS, _HIGH_PASS),
                )
            )
            if scale == 1:
                diagonals[:, j] = diagonal
            # An octave of three bands, of which an edge is in one: the lesser counts for both.
            octave = (diagonal + 2 * np.minimum(across, along)) / 4
            # Below the coarsest scale white noise has a third of it again.
            energies[:, j] += octave * (4 / 3 if scale == _SCALES[-1] else 1)
    return diagonals, energies, _block_means(bright[:height, :width], side), share


def _white_level(channels: list[list[np.ndarray]], valid: list[np.ndarray]) -> float | None:
    """The level of white noise; None if there is less than a file's rounding, or another kind.

    Args:
        channels: of each window, `[h, w]` each.
        valid: of each window, see `_valid`.
    """
    level = white_noise_stddev(
        [np.concatenate(x) for x in zip(*channels, strict=True)], np.concatenate(valid)
    )
    return None if level is None or level < NO_NOISE else level


def _block_means(values: np.ndarray, side: int) -> np.ndarray:
    height, width = values.shape
    blocks = values.reshape(height // side, side, width // side, side)
    return blocks.mean(axis=(1, 3), dtype=np.float64).ravel()


def _by_brightness(brightness: np.ndarray, stddevs: np.ndarray, *, mean: bool = False):
    """Brightness and level of up to eight groups of as many samples.

    The low ones of each count, or all of them by their mean square.
    """
    groups = np.array_split(
        np.argsort(brightness, kind="stable"), min(8, max(brightness.size // 8, 1))
    )
    groups = [group for group in groups if group.size]
    level = (lambda x: np.sqrt(np.mean(np.square(x)))) if mean else (lambda x: np.quantile(x, 0.25))
    return (
        tuple(float(brightness[group].mean()) for group in groups),
        tuple(float(level(stddevs[group])) for group in groups),
    )


def _scaled_to(level: float, brightness: tuple, stddevs: tuple) -> tuple[tuple, tuple]:
    """The curve with this root mean square."""
    square = np.mean(np.square(stddevs))
    factor = level / np.sqrt(square) if square > 0 else 0.0
    return brightness, tuple(float(factor * x) for x in stddevs)


def _details(channel: np.ndarray) -> np.ndarray:
    """Absolute diagonal details; of white noise, their standard deviation is the noise's."""
    return np.abs(cv2.sepFilter2D(channel, -1, _HIGH_PASS, _HIGH_PASS))
