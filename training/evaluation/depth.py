"""Guided depth upsampling measured on pairs of a depth map and a picture."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable

import numpy as np
import rich.table
import tensorflow as tf
from PIL import Image

from deepam_tf import data, degradations, metrics, sampling
from deepam_tf.depth.holes import value_range
from deepam_tf.files.levels import from_unit, to_unit
from deepam_tf.restoration.depth import denoise_depth, upsample_depth
from deepam_tf.restoration.tiles import Restorer
from training.evaluation import depth_peers

__all__ = [
    "FieldScore",
    "Score",
    "count_trials",
    "field_error",
    "figures",
    "observe",
    "read_frames",
    "score",
    "sensor_figures",
    "table",
    "tuned_filters",
    "upsample",
]

TOLERANCE = 3.0
"""Levels from the truth that are still right (paper, section 5.2)."""

PAPER = {
    "nyu": {4: 0.57, 8: 1.58, 16: 4.63},
    "middlebury": {4: 3.14, 8: 5.78, 16: 10.45},
}
"""Bad matching percentage of DeepAM(2) in the paper's Table 3."""


@dataclasses.dataclass(frozen=True)
class Score:
    """How one method did on one frame; error in 0..255, time in seconds."""

    frame: str
    scale: int
    method: str
    bad_matching_percentage: float
    rmse: float
    seconds: float


@dataclasses.dataclass(frozen=True)
class FieldScore:
    """How one method did on one frame by `field_error`; time in seconds."""

    frame: str
    scale: int
    method: str
    rmse: float
    seconds: float


def observe(depth: np.ndarray, guide: np.ndarray, scale: int) -> depth_peers.Sample:
    """The low-resolution observation of a frame.

    Args:
        depth: `[H, W]` float32.
        guide: `[H, W, 3]` uint8.
        scale: pixels from sample to sample.

    Returns:
        What the methods are given.
    """
    low = sampling.take_samples(depth[..., np.newaxis], scale)
    known = tf.constant((low > 0).astype(np.float32))
    dense, mask = sampling.interpolate_samples(tf.constant(low), known, depth.shape, scale)
    return depth_peers.Sample(
        low[..., 0],
        scale,
        dense.numpy()[..., 0],
        (mask.numpy()[..., 0] == 1).astype(np.float32),
        guide,
    )


def score(truth: np.ndarray, restored: np.ndarray) -> tuple[float, float]:
    """Bad matching percentage and root mean square error of one map.

    Args:
        truth: `[H, W]`, 0 where unknown.
        restored: `[H, W]`.

    Returns:
        The two figures.
    """
    a, b = (x[np.newaxis, ..., np.newaxis].astype(np.float32) for x in (truth, restored))
    weight = (a > 0).astype(np.float32)
    bad = metrics.bad_matching_percentage(a, b, tolerance=TOLERANCE, weight=weight)
    return float(bad[0]), float(metrics.rmse(a, b, weight=weight)[0])


def sensor_figures(
    folder: pathlib.Path, restorer: Restorer, *, border: int = 0
) -> dict[str, float]:
    """What a model makes of maps as a simulated depth camera measures them.

    Args:
        folder: holds depth/ and rgb/.
        restorer: of a model guided by colour that is told the noise.
        border: pixels to cut off each side first.

    Returns:
        Root mean square errors over the frames, in levels of 255: `measured` as the camera gives
        the maps, `rmse` denoised, the noise being estimated.
    """
    camera = degradations.DepthCameraSimulator()
    errors = []
    for number, (_, truth, guide) in enumerate(read_frames(folder, border)):
        known = truth > 0
        low, high = value_range(truth, known)
        unit = ((truth - low) / (high - low) * known).astype(np.float32)[..., np.newaxis]
        noisy, valid, _ = camera(
            tf.constant(unit), tf.constant(known[..., np.newaxis], tf.float32), [number, 0]
        )
        measured, there = noisy.numpy()[..., 0], valid.numpy()[..., 0] > 0
        restored, _ = denoise_depth(restorer, measured, to_unit(guide), valid=there)
        errors.append(
            [
                255 * float(np.sqrt(np.mean(np.square(x - unit[..., 0])[known & there])))
                for x in (measured, restored)
            ]
        )
    before, after = np.mean(errors, axis=0)
    return {"measured": round(float(before), 3), "rmse": round(float(after), 3)}


def figures(
    folder: pathlib.Path, restorer: Restorer, scale: int, *, border: int = 0
) -> dict[str, float]:
    """What a model reaches on a folder of pairs.

    Args:
        folder: holds depth/ and rgb/.
        restorer: of a model guided by colour.
        scale: pixels from sample to sample.
        border: pixels to cut off each side first.

    Returns:
        Means over the frames, `bad_matching_percentage` and `rmse`.
    """
    scores = []
    for _, depth, guide in read_frames(folder, border):
        sample = observe(depth, guide, scale)
        scores.append(score(depth, upsample(restorer, sample)))
    bad, error = np.mean(scores, axis=0)
    return {"bad_matching_percentage": round(float(bad), 3), "rmse": round(float(error), 3)}


def upsample(restorer: Restorer, sample: depth_peers.Sample, *, snap: bool = True) -> np.ndarray:
    """The map that a model makes of an observation.

    Args:
        restorer: of a model guided by colour.
        sample: what is known.
        snap: whether every pixel is decided for one surface, as it ships.

    Returns:
        The map, `[H, W]` float32.
    """
    return upsample_depth(
        restorer,
        sample.low,
        to_unit(sample.guide),
        scale=sample.scale,
        valid=sample.low > 0,
        snap=snap,
    )


def field_error(
    restorer: Restorer | None, truth: np.ndarray, guide: np.ndarray, scale: int
) -> float:
    """RMSE by the protocol of the papers on guided super-resolution (DKN, DCTNet, SGNet).

    Every value counts, 0 too. The frame is cut to a multiple of the scale, the float map made
    coarse by Pillow's bicubic resizing with its antialiasing, and the result clipped to 0..255; no
    border is cut off, and no pixel is moved to a surface.

    Args:
        restorer: of a model guided by colour; None: Pillow's bicubic resizing back.
        truth: `[H, W]` float32, 0..255.
        guide: `[H, W, 3]` uint8.
        scale: pixels from sample to sample.

    Returns:
        RMSE in levels of 0..255.
    """
    height, width = (side // scale * scale for side in truth.shape)
    truth, guide = truth[:height, :width], guide[:height, :width]
    coarse = Image.fromarray(truth.astype(np.float32)).resize(
        (width // scale, height // scale), Image.Resampling.BICUBIC
    )
    if restorer is None:
        restored = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
    else:
        restored = upsample_depth(
            restorer, np.asarray(coarse), to_unit(guide), scale=scale, kind="bicubic", snap=False
        )
    return float(np.sqrt(np.mean((np.clip(restored, 0, 255) - truth) ** 2)))


def read_frames(folder: pathlib.Path, border: int = 0) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Read the frames of a folder, depth maps and their guides.

    Args:
        folder: holds depth/ and rgb/.
        border: pixels to cut off each side.

    Returns:
        Of each its name, depth `[H, W]` float32 in 0..255, whatever its bits, and guide
        `[H, W, 3]` uint8.

    Raises:
        image_io.ImageFileError: if a file is missing or cannot be read.
    """
    pairs = data.read_pairs(
        folder, target="depth", guide="rgb", target_channels=1, guide_channels=3, border=border
    )
    return [
        (
            pair.name,
            # Exact for either depth of bits, unlike by way of [0, 1]: errors of 3 levels count.
            to_unit(pair.target[..., 0], white=np.iinfo(pair.target.dtype).max / 255),
            from_unit(to_unit(pair.guide), np.uint8),
        )
        for pair in pairs
    ]


def count_trials() -> int:
    """How often `tuned_filters` runs a filter over its frames."""
    return sum(
        int(np.prod([len(values) for values in grid.values()]))
        for _, grid in depth_peers.GRIDS.values()
    )


def tuned_filters(
    frames: list[tuple[str, np.ndarray, np.ndarray]],
    scale: int,
    *,
    on_run: Callable[[], object] = lambda: None,
) -> dict[str, depth_peers.Upsampler]:
    """The classical filters with the parameters that do best on training frames.

    Args:
        frames: of training data, as `read_frames` gives them.
        scale: pixels from sample to sample.
        on_run: called after each trial, for a progress bar.

    Returns:
        Functions from an observation to a map, by name.
    """
    samples = [(observe(depth, guide, scale), depth) for _, depth, guide in frames]
    return depth_peers.tuned(
        samples, lambda truth, restored: score(truth, restored)[0], on_run=on_run
    )


def table(scores: list[Score], scales: list[int], title: str) -> rich.table.Table:
    """Mean over frames: bad matching percentage / RMSE for each method and scale.

    Args:
        scores: of every frame.
        scales: columns.
        title: name of the data, by which the paper's row is found.

    Returns:
        The table.
    """
    shown = rich.table.Table("bad % / RMSE", *(f"x{scale}" for scale in scales), title=title)
    # The parameters of a tuned method differ from scale to scale: one row for its name.
    for method in dict.fromkeys(score.method.split(" (")[0] for score in scores):
        cells = []
        for scale in scales:
            of_cell = [s for s in scores if s.method.split(" (")[0] == method and s.scale == scale]
            bad = np.mean([s.bad_matching_percentage for s in of_cell])
            cells.append(f"{bad:.2f} / {np.mean([s.rmse for s in of_cell]):.2f}")
        shown.add_row(method, *cells)
    paper = next((row for name, row in PAPER.items() if name in title.lower()), None)
    if paper is not None:
        shown.add_row("DeepAM(2), paper", *(f"{paper.get(scale, '')}" for scale in scales))
    return shown
