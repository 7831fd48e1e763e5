"""Depth maps: upsampling and filling guided by a colour image (paper, section 5.2)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from deepam_tf.depth.planes import snap_to_planes
from deepam_tf.depth.sampling import interpolate_samples, take_samples
from deepam_tf.restoration.tiles import Restorer

__all__ = ["Observation", "observe", "upsample_depth"]


@dataclasses.dataclass(frozen=True)
class Observation:
    """A depth map on the guide's grid, as a model takes it.

    Attributes:
        image: `[H, W, 1]` float32, samples interpolated, known values in [0, 1].
        mask: `[H, W, 1]` float32: 1 measured, 0 unknown, see `sampling`.
        samples: `[h, w, 1]` float32, what was measured in the unit of `image`.
        valid: `[h, w, 1]` float32: 0 in the holes of `samples`.
        scale: pixels from sample to sample.
        offset: position of the first sample in pixels.
        low: the value that became 0, in the map's unit.
        high: the value that became 1.
    """

    image: np.ndarray
    mask: np.ndarray
    samples: np.ndarray
    valid: np.ndarray
    scale: int
    offset: float
    low: float
    high: float

    def to_units(self, image: np.ndarray) -> np.ndarray:
        """Back from [0, 1] to the map's unit."""
        return self.low + (self.high - self.low) * image


def observe(
    depth: np.ndarray,
    size: tuple[int, int],
    *,
    scale: int | None = None,
    offset: float | None = None,
    valid: np.ndarray | None = None,
) -> Observation:
    """Put a depth map on the guide's grid.

    Args:
        depth: `[h, w]`, any unit; NaN and infinity are holes.
        size: height and width of the guide. A map that has this size already, with a `scale`
            above 1, is taken for an upsampled one: only its samples are used.
        scale: pixels of the guide from sample to sample; by default what the sizes say.
        offset: position of the first sample in pixels of the guide, see `sampling`; by
            default `scale // 2`.
        valid: `[h, w]`, False in holes.

    Returns:
        The observation.

    Raises:
        ValueError: if `depth` is not two-dimensional or holds no number, if the sizes do not
            agree with the scale, or `scale` or `offset` is out of its range.
    """
    depth = np.asarray(depth)
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
    scale = int(round(size[0] / depth.shape[0]) or 1) if scale is None else scale
    offset = scale // 2 if offset is None else offset
    if scale < 1 or not 0 <= offset < scale:
        raise ValueError(
            "`scale` must be at least 1 and `offset` in [0, scale). "
            f"Received: scale={scale}, offset={offset}."
        )
    values = np.where(known, depth, 0.0).astype(np.float32)[..., np.newaxis]
    weights = known.astype(np.float32)[..., np.newaxis]
    if depth.shape == tuple(size) and scale > 1:
        offset = int(offset)
        values, weights = (take_samples(x, scale, offset=offset) for x in (values, weights))
        if not weights.any():
            raise ValueError(
                "`depth` must hold a number at one of its samples. "
                f"Received: holes at all of them, scale={scale}, offset={offset}."
            )
    elif any(abs(low * scale - high) >= scale for low, high in zip(depth.shape, size, strict=True)):
        raise ValueError(
            "The guide must be `scale` times as large as the depth map, or as large. "
            f"Received: depth.shape={depth.shape}, scale={scale}, guide {tuple(size)}."
        )
    some = values[weights > 0]
    low, high = float(some.min()), float(some.max())
    unit = high - low if high > low else 1.0
    samples, weights = (np.asarray(x) for x in ((values - low) / unit * weights, weights))
    image, mask = interpolate_samples(
        tf.constant(samples), tf.constant(weights), size, scale, offset=offset, limited=True
    )
    return Observation(
        image.numpy(), mask.numpy(), samples, weights, scale, offset, low, low + unit
    )


def upsample_depth(
    restorer: Restorer,
    depth: np.ndarray,
    guide: np.ndarray,
    *,
    scale: int | None = None,
    offset: float | None = None,
    valid: np.ndarray | None = None,
    snap: bool = True,
    on_tile: Callable[[], object] = lambda: None,
) -> np.ndarray:
    """Upsample a depth map to the size of its guide, and fill its holes.

    The restoration is done in a unit in which the known values span [0, 1]: metres,
    millimetres and disparities give the same map, each in its unit.

    Args:
        restorer: of a model with a one-channel image, a guide and a mask.
        depth: `[h, w]`, see `observe`.
        guide: `[H, W, G]` floating, in [0, 1].
        scale: see `observe`.
        offset: see `observe`.
        valid: see `observe`.
        snap: whether pixels beside an edge that are near one of the surfaces around take its
            value, see `planes.snap_to_planes`.
        on_tile: called after each tile, for a progress bar.

    Returns:
        `[H, W]` float32, in the unit of `depth`, without holes.

    Raises:
        ValueError: see `observe` and `Restorer`.

    Example:
        >>> model = deepam_tf.DeepAM(1, filters=4, depth=6, guide_channels=3, mask=True)
        >>> ramp = 800.0 + np.arange(8.0)[np.newaxis] * np.ones([6, 1])
        >>> guide = np.zeros([24, 32, 3], np.float32)
        >>> deepam_tf.upsample_depth(deepam_tf.Restorer(model), ramp, guide).shape
        (24, 32)
    """
    observation = observe(depth, guide.shape[:2], scale=scale, offset=offset, valid=valid)
    restored = restorer(observation.image, guide=guide, mask=observation.mask, on_tile=on_tile)
    if snap and observation.scale > 1:
        restored = snap_to_planes(
            tf.constant(restored),
            tf.constant(observation.samples),
            tf.constant(observation.valid),
            observation.scale,
            offset=observation.offset,
        ).numpy()
    return observation.to_units(restored[..., 0]).astype(np.float32)
