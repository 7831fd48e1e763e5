"""How noisy is a depth map? What its sensor does to flat surfaces, by their distance."""

from __future__ import annotations

import dataclasses

import numpy as np

__all__ = ["DepthNoise", "estimate_depth_noise"]

_GROUPS, _LEAST = 8, 64  # of equal size by depth; and how many differences one needs
# Of the sizes of second differences the smaller three in five are asked: the others see edges.
# Of normal ones with standard deviation 1 their mean is this.
_SHARE, _MEAN_OF_SMALLER = 0.6, 0.39659
_SCALES = (1, 2)
_REPEATED = 0.25  # of the values: fewer different ones are counted in steps
_COMMON = 0.8  # white noise falls by half in means of 2x2; what falls less is common to neighbours


@dataclasses.dataclass(frozen=True)
class DepthNoise:
    """Noise of a depth sensor: its standard deviation is `floor + growth z^2` at the value `z`.

    Attributes:
        floor: in the unit of the map.
        growth: in its inverse.
    """

    floor: float
    growth: float

    def stddev(self, depth: np.ndarray | float) -> np.ndarray:
        """The standard deviation at these values, in their unit."""
        return self.floor + self.growth * np.square(np.asarray(depth, np.float64))


def estimate_depth_noise(depth: np.ndarray, valid: np.ndarray | None = None) -> DepthNoise:
    """Noise of a depth sensor, from one of its maps.

    Second differences along rows and columns do not see planes, slanted ones neither. They are
    sorted by depth into eight groups, the smaller three in five of each tell the level, and the
    two parameters are fitted to the levels, none of them negative. Means over 2x2 pixels are
    asked as well: what is left of the noise in them, beyond half, is common to neighbours. Values
    that come again and again are counted in steps, whose rounding is noise too.

    Args:
        depth: `[h, w]`, any unit in which near things have small values, or disparities, whose
            noise hardly depends on them.
        valid: `[h, w]`, False in holes; NaN is one anyway.

    Returns:
        The two parameters.

    Raises:
        ValueError: if `depth` is not two-dimensional, or too small or too full of holes to tell.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> depth = np.add.outer(np.linspace(1, 4, 200), np.linspace(0, 1, 150))
        >>> noise = estimate_depth_noise(depth + 0.003 * depth**2 * rng.normal(size=depth.shape))
        >>> round(noise.growth, 4)
        0.003
    """
    import scipy.optimize  # a third of a second

    depth = np.asarray(depth, np.float64)
    if depth.ndim != 2:
        raise ValueError(f"`depth` must have shape [h, w]. Received: {depth.shape}.")
    known = np.isfinite(depth) if valid is None else np.isfinite(depth) & np.asarray(valid, bool)
    values = np.where(known, depth, 0.0)
    levels, places = [], []
    for scale in _SCALES:
        means, there = _means(values, known, scale)
        found, at = _differences(means, there)
        counted = np.sort(values[known]) if scale == 1 else np.array([])
        if found.size < _LEAST:
            continue
        order = np.argsort(at, kind="stable")
        for group in np.array_split(order, min(_GROUPS, found.size // _LEAST)):
            smaller = np.sort(np.abs(found[group]))[: max(int(_SHARE * group.size), 1)]
            level = smaller.mean() / _MEAN_OF_SMALLER
            level = level if scale == 1 else _COMMON * scale * level
            step = _step(counted, at[group].min(), at[group].max())
            levels.append(np.hypot(level, step / np.sqrt(12)))
            places.append(at[group].mean())
    if not levels:
        raise ValueError(
            "`depth` must hold enough neighbouring numbers to tell their noise. Received: "
            f"{int(known.sum())} of {known.size}, depth.shape={depth.shape}."
        )
    places, levels = np.array(places), np.array(levels)
    # Of the two scales the one that sees more noise counts where both have looked.
    half = len(places) // 2
    if len(places) % 2 == 0 and half and np.allclose(places[:half], places[half:], rtol=0.2):
        places, levels = places[:half], np.maximum(levels[:half], levels[half:])
    system = np.stack([np.ones_like(places), places**2], axis=1)
    # An estimate of a level is as uncertain as it is large.
    weights = 1 / np.maximum(levels, 0.1 * levels.mean() + np.finfo(float).tiny)
    unit = np.abs(system).max(axis=0)
    found, _ = scipy.optimize.nnls(system / unit * weights[:, np.newaxis], levels * weights)
    floor, growth = found / unit
    return DepthNoise(float(floor), float(growth))


def _step(counted: np.ndarray, low: float, high: float) -> float:
    """What lies between two values that a sensor knows, if it knows few: 0 if they are any.

    Less noise than a step leaves surfaces flat, of which no difference tells.
    """
    between = counted[np.searchsorted(counted, low) : np.searchsorted(counted, high, "right")]
    steps = np.diff(np.unique(between))
    return float(np.median(steps)) if 0 < steps.size < _REPEATED * between.size else 0.0


def _means(values: np.ndarray, known: np.ndarray, scale: int) -> tuple[np.ndarray, np.ndarray]:
    height, width = (size // scale * scale for size in values.shape)
    shape = (height // scale, scale, width // scale, scale)
    blocks, there = (x[:height, :width].reshape(shape) for x in (values, known))
    return np.mean(blocks, axis=(1, 3)), np.asarray(np.all(there, axis=(1, 3)))


def _differences(values: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Second differences of white noise's own standard deviation, and where: the middle values."""
    found, places = [], []
    for x, there in ((values, known), (values.T, known.T)):
        whole = there[:-2] & there[1:-1] & there[2:]
        second = (x[:-2] - 2 * x[1:-1] + x[2:]) / np.sqrt(6.0)
        found.append(second[whole])
        places.append(((x[:-2] + x[1:-1] + x[2:]) / 3)[whole])
    return np.concatenate(found), np.concatenate(places)
