"""Depth maps: upsampling and filling guided by a colour image (paper, section 5.2)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from deepam_tf.depth.consistency import project_to_samples
from deepam_tf.depth.grids import Scale
from deepam_tf.depth.holes import find_strays, value_range
from deepam_tf.depth.noise import DepthNoise, estimate_depth_noise
from deepam_tf.depth.observation import Observation, observe
from deepam_tf.depth.planes import clamp_to_samples, snap_to_planes
from deepam_tf.files.levels import Levels
from deepam_tf.restoration.defaults import ANY_SCALE_MODEL, DEPTH_MODEL
from deepam_tf.restoration.pretrained import pretrained_card
from deepam_tf.restoration.tiles import Restorer

__all__ = [
    "denoise_depth",
    "restore_observation",
    "restore_observation_with_stddev",
    "suitable_weights",
    "upsample_depth",
]

_STRIP = 2**20  # pixels that are decided at once


def suitable_weights(observation: Observation) -> str:
    """Name the shipped weights for a depth map, by its scale.

    Args:
        observation: see `depth.observation.observe`.

    Returns:
        `upsample_depth` for the scales it was trained for, `upsample_depth_scales` for others.

    Example:
        >>> depth = np.arange(12.0).reshape(3, 4)
        >>> for size in ((12, 16), (15, 20)):
        ...     observation = deepam_tf.depth.observation.observe(depth, size)
        ...     print(deepam_tf.restoration.depth.suitable_weights(observation))
        upsample_depth
        upsample_depth_scales
    """
    down, across = observation.scale
    known = down == across and down in pretrained_card(DEPTH_MODEL)["scale"]
    return DEPTH_MODEL if known else ANY_SCALE_MODEL


def restore_observation(
    restorer: Restorer,
    observation: Observation,
    guide: np.ndarray | Levels,
    *,
    snap: bool = True,
    keep: bool = True,
    on_tile: Callable[[], object] = lambda: None,
) -> np.ndarray:
    """Restore a depth map that has been put on the guide's grid.

    After the networks, a map whose samples are averages is moved so that they are again, pixels
    beside edges are decided for a surface, values that leave the range of the samples around by
    more than what these span are brought back to it, and measured pixels get what was measured.

    Args:
        restorer: of a model with a one-channel image, a guide and a mask.
        observation: see `depth.observation.observe`.
        guide: `[H, W, G]` floating, in [0, 1], or `Levels`.
        snap: whether pixels beside an edge that are near one of the surfaces around take its
            value, see `planes.snap_to_planes`.
        keep: whether a measured pixel comes out as measured, and averages as measured, see
            `consistency.project_to_samples`.
        on_tile: called after each tile, for a progress bar.

    Returns:
        `[H, W]`, in the unit of the depth map, without holes; float32, or float64 where only that
        holds the numbers of the map.

    Raises:
        ValueError: see `Restorer`.
    """
    restored = restorer(observation.image, guide=guide, mask=observation.mask, on_tile=on_tile)
    return _decided(restored, observation, snap=snap, keep=keep)


def restore_observation_with_stddev(
    restorer: Restorer,
    observation: Observation,
    guide: np.ndarray | Levels,
    *,
    snap: bool = True,
    keep: bool = True,
    on_tile: Callable[[], object] = lambda: None,
) -> tuple[np.ndarray, np.ndarray]:
    """`restore_observation`, and how far off each value may be.

    The standard deviation is that of the network's value, before it is decided for a surface.

    Args:
        restorer: see `restore_observation`; of a model with an uncertainty head.
        observation: see `restore_observation`.
        guide: see `restore_observation`.
        snap: see `restore_observation`.
        keep: see `restore_observation`.
        on_tile: see `restore_observation`.

    Returns:
        The map, and its standard deviations `[H, W]` float32, both in the unit of the depth map.

    Raises:
        ValueError: see `Restorer.with_stddev`.
    """
    restored, stddev = restorer.with_stddev(
        observation.image, guide=guide, mask=observation.mask, on_tile=on_tile
    )
    unit = observation.high - observation.low
    return (
        _decided(restored, observation, snap=snap, keep=keep),
        (unit * stddev[..., 0]).astype(np.float32),
    )


def _decided(restored: np.ndarray, observation: Observation, *, snap: bool, keep: bool):
    """The network's map after what `restore_observation` says, in the unit of the depth map."""
    restored = np.array(restored, np.float32)
    if keep and observation.kind != "points":
        restored[..., 0] = project_to_samples(
            restored[..., 0],
            observation.samples[..., 0],
            observation.valid[..., 0],
            observation.scale,
            offset=observation.offset,
            kind=observation.kind,
        )
    samples, valid = tf.constant(observation.samples), tf.constant(observation.valid)
    rows = max(_STRIP // restored.shape[1], 1)
    for top in range(0, len(restored), rows):
        # Each pixel asks the samples around it alone: strips bound the memory.
        strip = tf.constant(restored[top : top + rows])
        down, across = observation.offset
        grid = {"scale": observation.scale, "offset": (down - top, across)}
        if snap and max(observation.scale) > 1:
            strip = snap_to_planes(strip, samples, valid, **grid)
        restored[top : top + rows] = clamp_to_samples(strip, samples, valid, **grid)
    values = np.empty(observation.measured.shape, observation.measured.dtype)
    for top in range(0, len(restored), rows):
        part = slice(top, top + rows)
        values[part] = observation.to_units(restored[part, :, 0].astype(np.float64))
    if keep:
        np.copyto(values, observation.measured, where=~np.isnan(observation.measured))
    return values


def upsample_depth(
    restorer: Restorer,
    depth: np.ndarray,
    guide: np.ndarray,
    *,
    scale: Scale | None = None,
    offset: Scale | None = None,
    kind: str = "points",
    valid: np.ndarray | None = None,
    confidence: np.ndarray | None = None,
    snap: bool = True,
    keep: bool = True,
    on_tile: Callable[[], object] = lambda: None,
) -> np.ndarray:
    """Upsample a depth map to the size of its guide, and fill its holes.

    The restoration is done in a unit in which the known values span [0, 1]: metres,
    millimetres and disparities give the same map, each in its unit.

    Args:
        restorer: of a model with a one-channel image, a guide and a mask.
        depth: `[h, w]`, see `depth.observation.observe`, as for all that follow.
        guide: `[H, W, G]` floating, in [0, 1].
        scale: pixels of the guide from sample to sample.
        offset: position of the first sample.
        kind: what a sample is: `points`, `means` or `bicubic`.
        valid: `[h, w]`, False in holes.
        confidence: `[h, w]` in [0, 1].
        snap: see `restore_observation`.
        keep: see `restore_observation`.
        on_tile: called after each tile, for a progress bar.

    Returns:
        `[H, W]` in the unit of `depth`, without holes, see `restore_observation`.

    Raises:
        ValueError: see `observe` and `Restorer`.

    Example:
        >>> model = deepam_tf.DeepAM(1, filters=4, depth=6, guide_channels=3, mask=True)
        >>> ramp = 800.0 + np.arange(8.0)[np.newaxis] * np.ones([6, 1])
        >>> guide = np.zeros([24, 32, 3], np.float32)
        >>> deepam_tf.upsample_depth(deepam_tf.Restorer(model), ramp, guide).shape
        (24, 32)
    """
    observation = observe(
        depth,
        guide.shape[:2],
        scale=scale,
        offset=offset,
        kind=kind,
        valid=valid,
        confidence=confidence,
    )
    return restore_observation(restorer, observation, guide, snap=snap, keep=keep, on_tile=on_tile)


def denoise_depth(
    restorer: Restorer,
    depth: np.ndarray,
    guide: np.ndarray,
    *,
    valid: np.ndarray | None = None,
    noise: DepthNoise | None = None,
    on_tile: Callable[[], object] = lambda: None,
) -> tuple[np.ndarray, DepthNoise]:
    """Take the noise of a sensor out of its depth map, guided by a picture on the same grid.

    Args:
        restorer: of a model with a one-channel image, a guide, a mask and a noise level, such as
            the weights `denoise_depth`.
        depth: `[h, w]`, any unit in which near things have small values, or disparities.
        guide: `[h, w, G]` floating, in [0, 1].
        valid: `[h, w]`, False in holes; NaN is one anyway.
        noise: what its noise is, in the unit of the map; by default it is estimated, see
            `depth.noise.estimate_depth_noise`.
        on_tile: called after each tile, for a progress bar.

    Returns:
        `[h, w]` floating, in the unit of the map, without holes; and the noise.

    Raises:
        ValueError: if `depth` is no map, or too small to tell its noise; see `Restorer`.

    Example:
        >>> model = deepam_tf.DeepAM(
        ...     1, filters=4, depth=6, guide_channels=3, mask=True, noise_level=True
        ... )
        >>> depth = 800.0 + np.random.default_rng(0).normal(size=[24, 32])
        >>> guide = np.zeros([24, 32, 3], np.float32)
        >>> denoised, _ = deepam_tf.restoration.depth.denoise_depth(
        ...     deepam_tf.Restorer(model), depth, guide
        ... )
        >>> denoised.shape
        (24, 32)
    """
    depth = np.asarray(depth)
    known = np.isfinite(depth) if valid is None else np.isfinite(depth) & np.asarray(valid, bool)
    if noise is None:
        noise = estimate_depth_noise(depth, known)
    values = np.where(known, depth, 0.0).astype(np.float64)
    known &= ~find_strays(values, known)
    low, high = value_range(values, known)
    values = np.where(known, values, low)
    unit = high - low
    restored = restorer(
        ((values - low) / unit).astype(np.float32)[..., np.newaxis] * known[..., np.newaxis],
        guide=guide,
        mask=known[..., np.newaxis].astype(np.float32),
        noise_stddev=np.minimum(noise.stddev(values) / unit, 1.0)[..., np.newaxis],
        on_tile=on_tile,
    )
    restored = low + unit * restored[..., 0].astype(np.float64)
    return restored.astype(np.result_type(depth.dtype, np.float32)), noise
