"""The observation of a depth map: its samples on the guide's grid, in a unit of their own.

One place says what a coarse map is taken for; the command, the library, training and the
evaluation all ask it.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

from deepam_tf.depth.consistency import project_to_samples
from deepam_tf.depth.grids import Scale, as_pair, default_offset, neighbours
from deepam_tf.depth.holes import find_strays, value_range
from deepam_tf.depth.sampling import KINDS, interpolate_samples, take_samples
from deepam_tf.linear.reconstruction import reconstruct

__all__ = ["Observation", "infer_scale", "observe", "trust"]

_FULL_TRUST = 1e4  # gamma of a sample whose confidence is 1
_LEAST_TRUST = 1e-3  # confidence below which a sample is a hole
# Up to this scale networks restore a bicubically reduced map better from an interpolation that has
# the samples for its averages; of wider cells that one swings beside every edge (docs/joint.md).
_MOST_PROJECTED = 4


@dataclasses.dataclass(frozen=True)
class Observation:
    """A depth map on the guide's grid, as a model takes it.

    Attributes:
        image: `[H, W, 1]` float32, samples interpolated, most of them in [0, 1].
        mask: `[H, W, 1]` float32: 1 measured, 0 unknown, see `sampling`.
        samples: `[h, w, 1]` float32, what was measured in the unit of `image`.
        valid: `[h, w, 1]` float32: 0 in the holes of `samples`.
        measured: `[H, W]` floating, in the map's unit, what was measured at the very pixel; NaN
            where nothing was.
        scale: pixels from sample to sample, along rows and columns.
        offset: position of the first sample in pixels, likewise.
        low: the value that became 0, in the map's unit.
        high: the value that became 1.
        kind: what a sample is, a key of `sampling.KINDS`.
        notes: what was found out and done, a line each.
    """

    image: np.ndarray
    mask: np.ndarray
    samples: np.ndarray
    valid: np.ndarray
    measured: np.ndarray
    scale: tuple[float, float]
    offset: tuple[float, float]
    low: float
    high: float
    kind: str = "points"
    notes: tuple[str, ...] = ()

    def to_units(self, image: np.ndarray) -> np.ndarray:
        """Back from [0, 1] to the map's unit."""
        return self.low + (self.high - self.low) * image


def infer_scale(shape: tuple[int, int], size: tuple[int, int]) -> float | None:
    """The scale between a coarse map and its guide, the same along rows and columns.

    Whole numbers go first: a map whose guide is no multiple of the scale ends in a sample of its
    own or without one. Where height and width of the guide are the same multiple of the map's, it
    is that.

    Args:
        shape: height and width of the map.
        size: height and width of the guide.

    Returns:
        The scale, at least 1; None if the sizes do not go together.

    Example:
        >>> deepam_tf.depth.observation.infer_scale((24, 32), (180, 240))
        7.5
        >>> deepam_tf.depth.observation.infer_scale((29, 39), (460, 620))
        16
    """
    ratios = [high / low for low, high in zip(shape, size, strict=True)]
    mean = float(np.sqrt(ratios[0] * ratios[1]))
    if shape[0] * size[1] == shape[1] * size[0] and mean >= 1:
        return int(ratios[0]) if ratios[0].is_integer() else ratios[0]
    for scale in sorted({max(int(mean), 1), int(mean) + 1}, key=lambda scale: abs(scale - mean)):
        if _fits(shape, size, (scale, scale)):
            return scale
    # Made by resizing, which rounds the size of the coarse map.
    rounded = all(abs(low * mean - high) <= mean / 2 for low, high in zip(shape, size, strict=True))
    return mean if rounded and mean >= 1 else None


def _fits(shape, size, scale) -> bool:
    return all(abs(low * s - high) < s for low, high, s in zip(shape, size, scale, strict=True))


def trust(
    samples: np.ndarray, valid: np.ndarray, confidence: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Settle samples of little confidence by those around them.

    The minimum of the energy of the paper's eq. (6) with `v = 0` and the confidence `c` as
    `gamma = c / (1 - c)`, at most 1e4: at 1 a sample is kept, at 1/2 it counts as much as the
    difference to a neighbour, near 0 it is a hole.

    Args:
        samples: `[h, w, 1]` float32.
        valid: `[h, w, 1]`, 0 in holes.
        confidence: `[h, w, 1]` in [0, 1].

    Returns:
        `(samples, valid)`; without any confidence left they are holes alone.

    Example:
        >>> row = np.array([[[0.0], [9.0], [0.0]]], np.float32)
        >>> trusted = np.array([[[1.0], [0.5], [1.0]]], np.float32)
        >>> samples, _ = deepam_tf.depth.observation.trust(row, np.ones_like(row), trusted)
        >>> round(float(samples[0, 1, 0]), 3)
        3.0
    """
    valid = valid * (confidence >= _LEAST_TRUST)
    if not valid.any():
        return samples * valid, valid
    gamma = valid * np.minimum(confidence / np.maximum(1 - confidence, 1e-9), _FULL_TRUST)
    f, v, gamma = (
        tf.constant(x[np.newaxis], tf.float32)
        for x in (samples * valid, np.zeros([*samples.shape[:2], 2]), gamma)
    )
    settled = reconstruct(f, v, gamma, preconditioner="multigrid").numpy()[0]
    doubted = (confidence < 1) & (valid > 0)
    return np.where(doubted, settled, samples * valid).astype(np.float32), valid


def observe(
    depth: np.ndarray,
    size: tuple[int, int],
    *,
    scale: Scale | None = None,
    offset: Scale | None = None,
    kind: str = "points",
    valid: np.ndarray | None = None,
    confidence: np.ndarray | None = None,
    limits: tuple[float, float] | None = None,
) -> Observation:
    """Put a depth map on the guide's grid.

    Args:
        depth: `[h, w]`, any unit; NaN and infinity are holes, and samples that cannot be (see
            `holes.find_strays`) are made holes.
        size: height and width of the guide. A map that has this size already, with whole scales
            above 1, is taken for an upsampled one: only its samples are used.
        scale: pixels of the guide from sample to sample, at least 1, one number or one for the
            rows and one for the columns; by default what the sizes say, see `infer_scale`.
        offset: position of the first sample in pixels of the guide, see `sampling`; by
            default `grids.default_offset` for points, `(scale - 1) / 2` for the others.
        kind: what a sample is, a key of `sampling.KINDS`: the value of the pixel it lies on, or
            an average.
        valid: `[h, w]`, False in holes.
        confidence: `[h, w]` in [0, 1], how far each sample is trusted, see `trust`.
        limits: the values that become 0 and 1, by default `holes.value_range`.

    Returns:
        The observation.

    Raises:
        ValueError: if `depth` is not two-dimensional or holds no number, if the sizes do not
            agree with the scale, or an argument is out of its range or of another shape.

    Example:
        >>> depth = np.array([[800.0, 900.0], [850.0, np.nan]])
        >>> observation = deepam_tf.depth.observation.observe(depth, (6, 6))
        >>> observation.scale, observation.offset, observation.low, observation.high
        ((3, 3), (1, 1), 800.0, 900.0)
    """
    depth = np.asarray(depth)
    known = _known(depth, valid)
    if kind not in KINDS:
        raise ValueError(f"`kind` must be one of {', '.join(KINDS)}. Received: {kind!r}.")
    if scale is None:
        scale = infer_scale(depth.shape, size)
        if scale is None:
            raise ValueError(
                "The guide must be `scale` times as large as the depth map, or as large. "
                f"Received: depth.shape={depth.shape}, guide {tuple(size)}, no scale that fits "
                "both sides. Say which with `scale`."
            )
    scale = as_pair(scale)
    if offset is None:
        offset = as_pair(
            tuple(default_offset(s) if kind == "points" else (s - 1) / 2 for s in scale)
        )
    offset = as_pair(offset)
    if not all(
        np.isfinite([s, first]).all() and s >= 1 and 0 <= first < s
        for s, first in zip(scale, offset, strict=True)
    ):
        raise ValueError(
            "`scale` must be at least 1 and `offset` in [0, scale). "
            f"Received: scale={scale}, offset={offset}."
        )
    notes = []
    confidence = _confidence(confidence, depth.shape)
    parts = [np.where(known, depth, 0.0), known, confidence]
    if depth.shape == tuple(size) and max(scale) > 1:
        if not all(float(x).is_integer() for x in (*scale, *offset)):
            raise ValueError(
                "Of a map as large as the guide samples are used at whole pixels. "
                f"Received: scale={scale}, offset={offset}."
            )
        steps, first = ([int(x) for x in pair] for pair in (scale, offset))
        parts = [take_samples(x[..., np.newaxis], steps, offset=first)[..., 0] for x in parts]
        if not parts[1].any():
            raise ValueError(
                "`depth` must hold a number at one of its samples. "
                f"Received: holes at all of them, scale={scale}, offset={offset}."
            )
    elif not _fits(depth.shape, size, scale):
        raise ValueError(
            "The guide must be `scale` times as large as the depth map, or as large. "
            f"Received: depth.shape={depth.shape}, scale={scale}, guide {tuple(size)}."
        )
    values, known, trusted = (np.asarray(part) for part in parts)
    strays = find_strays(values, known)
    if strays.any():
        worst = values[strays][np.argmax(np.abs(values[strays]))]
        notes.append(
            f"samples that stand alone, far outside of the map's range, taken for holes: "
            f"{strays.sum()}, such as {worst:g}"
        )
        known = known & ~strays
    low, high = value_range(values, known) if limits is None else limits
    samples = ((np.where(known, values, low) - low) / (high - low)).astype(np.float32)
    samples, weights = samples[..., np.newaxis], known[..., np.newaxis].astype(np.float32)
    if (trusted < 1).any():
        samples, weights = trust(samples, weights, trusted[..., np.newaxis])
        if not weights.any():
            raise ValueError("`confidence` must leave something of the map. Received: none.")
    samples = (samples * weights).astype(np.float32)
    rows, columns = (
        # A sample lies on the pixel where the way from its left neighbour is 0 or 1.
        np.rint(left.numpy() + way.numpy()).astype(int)
        for left, way, _ in (
            neighbours(*axis) for axis in zip(values.shape, size, scale, offset, strict=True)
        )
    )
    image, mask = interpolate_samples(
        tf.constant(samples),
        tf.constant(weights, tf.float32),
        size,
        scale,
        offset=offset,
        limited=True,
        points=(kind == "points") & (confidence == 1)[rows][:, columns, np.newaxis],
    )
    image = image.numpy()
    if kind == "bicubic" and max(scale) <= _MOST_PROJECTED:
        parts = (x[..., 0] for x in (image, samples, weights))
        image = project_to_samples(*parts, scale, offset=offset, kind=kind)[..., np.newaxis]
    exact = np.where(mask.numpy()[..., 0] == 1, values[rows][:, columns], np.nan)
    return Observation(
        image=image,
        mask=mask.numpy(),
        samples=samples,
        valid=weights,
        measured=exact.astype(np.result_type(depth.dtype, np.float32)),
        scale=scale,
        offset=offset,
        low=low,
        high=high,
        kind=kind,
        notes=tuple(notes),
    )


def _known(depth: np.ndarray, valid: np.ndarray | None) -> np.ndarray:
    """Where a map holds numbers that count."""
    if depth.ndim != 2 or 0 in depth.shape:
        raise ValueError(
            "`depth` must have shape [height, width], neither zero. "
            f"Received: depth.shape={depth.shape}."
        )
    known = np.isfinite(depth)
    if valid is not None:
        if np.shape(valid) != depth.shape:
            raise ValueError(
                "`valid` must have the shape of `depth`. "
                f"Received: {np.shape(valid)} and {depth.shape}."
            )
        known &= np.asarray(valid, bool)
    if not known.any():
        raise ValueError("`depth` must hold at least one number. Received: holes alone.")
    return known


def _confidence(confidence: np.ndarray | None, shape: tuple[int, int]) -> np.ndarray:
    if confidence is None:
        return np.ones(shape, np.float32)
    confidence = np.asarray(confidence, np.float32)
    if confidence.shape != shape or not ((confidence >= 0) & (confidence <= 1)).all():
        raise ValueError(
            "`confidence` must have the shape of `depth` and lie in [0, 1]. Received: "
            f"{confidence.shape} and {shape}, {confidence.min()} to {confidence.max()}."
        )
    return confidence
