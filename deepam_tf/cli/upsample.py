"""`deepam upsample`: a colour picture guides a coarse depth map to its size."""

from __future__ import annotations

import argparse
import pathlib
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import rich.progress

from deepam_tf.cli import console
from deepam_tf.data.alignment import SHIFT, misalignment
from deepam_tf.data.pipelines import to_channels
from deepam_tf.depth.grids import as_pair
from deepam_tf.depth.holes import find_measured, find_strays
from deepam_tf.depth.observation import Observation, infer_scale, observe
from deepam_tf.depth.views import turbo, write_point_cloud
from deepam_tf.files import pictures as image_io
from deepam_tf.files.atomic import check_place
from deepam_tf.files.depth_maps import check_writable_depth, read_depth, write_depth
from deepam_tf.files.levels import Levels, to_unit
from deepam_tf.files.stddev_maps import check_writable_stddev, write_stddev
from deepam_tf.networks.deepam import DeepAM
from deepam_tf.restoration.defaults import DEPTH_MODEL, DEPTH_TOLERANCE, SENSOR_MODEL
from deepam_tf.restoration.depth import (
    denoise_depth,
    restore_observation,
    restore_observation_with_stddev,
    suitable_weights,
)
from deepam_tf.restoration.guides import read_guide
from deepam_tf.restoration.pretrained import load_pretrained
from deepam_tf.restoration.tiles import Restorer
from deepam_tf.restoration.uncertainty import confidence, load_uncertain

__all__ = ["run", "upsample_files"]

_MASK_LEVEL = 0.5  # from here on a pixel of a mask file is valid
_FEW_LEVELS = 2  # confidence files that hold no larger number count 0, 1, 2


def run(args: argparse.Namespace) -> int:
    """Upsample one depth map.

    Returns:
        Exit code.
    """
    with console.progress_bar() as progress:
        upsample_files(args, progress, on_result=console.output.print)
    return 0


def upsample_files(
    args: argparse.Namespace,
    progress: rich.progress.Progress,
    *,
    on_result: Callable[[str], object] = lambda line: None,
    load: Callable[..., DeepAM] | None = None,
) -> dict[str, Any]:
    """Upsample a depth map guided by a picture, from files to files.

    Args:
        args: options of the command, files among them.
        progress: bar that gets a line.
        on_result: told what was done, a line each.
        load: loads weights, None: `load_pretrained`.

    Returns:
        What became of it, for a report.

    Raises:
        ValueError: if it cannot be done.
    """
    depth = read_depth(args.depth, max_megapixels=args.max_megapixels)
    check_writable_depth(args.output, depth.dtype, overwrite=args.force)
    for path in (args.ply, args.preview):
        if path is not None:
            check_place(path, overwrite=args.force)
    if args.uncertainty is not None:
        check_writable_stddev(args.uncertainty, overwrite=args.force)
    valid, notes = find_measured(depth.values, args.hole_value)
    if not valid.any():
        raise image_io.ImageFileError(f"{args.depth}: the depth map holds nothing but holes.")
    if args.mask is not None:
        mask = image_io.read(args.mask, max_megapixels=args.max_megapixels).pixels
        _check_companion(args.mask, "mask", mask, depth.values)
        valid = valid & (to_channels(mask, 1)[..., 0] >= _MASK_LEVEL)
        if not valid.any():
            raise image_io.ImageFileError(f"{args.mask}: the mask leaves nothing of the map.")
    trust = None if args.confidence is None else _read_confidence(args, depth.values, notes)
    guide, said = read_guide(
        args.guide,
        args.depth,
        depth.values.shape,
        scale=args.scale,
        max_megapixels=args.max_megapixels,
    )
    notes += said
    guide, scale = _fitting_guide(args, depth.values, guide)
    load = load or load_pretrained
    samples = depth.values
    if args.denoise_depth:
        samples = _without_noise(args, depth.values, valid, guide, load, notes)
    observation = observe(
        samples,
        guide.shape[:2],
        scale=scale,
        offset=args.offset,
        kind=args.samples,
        valid=valid,
        confidence=trust,
    )
    notes += [*observation.notes, *_shift(observation, guide)]
    console.say(args.depth, *notes)
    uncertain = args.uncertainty is not None or args.min_confidence is not None
    if uncertain:
        model = load_uncertain(args.model or DEPTH_MODEL, dtype=args.dtype)
    else:
        model = load(args.model or suitable_weights(observation), dtype=args.dtype)
    restorer = Restorer(model, tile=args.tile)
    restore = restore_observation_with_stddev if uncertain else restore_observation
    tiles = progress.add_task(args.depth.name, total=restorer.count_tiles(*guide.shape[:2]))
    try:
        restored = restore(
            restorer,
            observation,
            guide,
            snap=not args.no_snap,
            keep=args.keep_samples,
            on_tile=lambda: progress.advance(tiles),
        )
    finally:
        progress.remove_task(tiles)
    zero_is_hole = not bool((depth.values[valid] <= 0).any())
    if uncertain:
        restored, stddev = restored
        restored = _without_doubtful(args, restored, stddev, observation, model)
    write_depth(args.output, restored, depth.dtype, zero_is_hole=zero_is_hole, overwrite=args.force)
    holes = 100.0 * (1.0 - valid.mean())
    on_result(
        f"{console.size(depth.values)} to {console.size(guide)} pixels, scale "
        f"{_numbers(observation.scale)}, holes filled: {holes:.3g} % of the map"
    )
    on_result(f"restored: {args.output}")
    if args.uncertainty is not None:
        write_stddev(args.uncertainty, stddev, "unit of the depth map", overwrite=args.force)
        on_result(f"standard deviations: {args.uncertainty}")
    if args.preview is not None:
        picture = to_unit(turbo(restored, (observation.low, observation.high)))
        image_io.write(
            args.preview, image_io.Picture(picture, None, np.dtype(np.uint8)), overwrite=args.force
        )
        on_result(f"coloured: {args.preview}")
    if args.ply is not None:
        write_point_cloud(args.ply, restored, np.asarray(guide), focal=args.focal)
        on_result(f"points: {args.ply}")
    return {
        "scale": [float(x) for x in observation.scale],
        "holes_percent": round(holes, 3),
        "model": model.name if args.model is None else args.model,
    }


def _without_noise(
    args: argparse.Namespace,
    depth: np.ndarray,
    valid: np.ndarray,
    guide: np.ndarray | Levels,
    load: Callable[..., DeepAM],
    notes: list[str],
) -> np.ndarray:
    """The samples without the noise of their sensor, on their own grid."""
    if depth.shape == guide.shape[:2] and args.scale is not None and max(as_pair(args.scale)) > 1:
        raise ValueError(
            f"{args.depth}: `--denoise-depth` is for samples as a sensor gave them. Received: a "
            "map as large as its guide, which --scale takes for an upsampled one. Leave one out."
        )
    restorer = Restorer(load(SENSOR_MODEL, dtype=args.dtype), tile=args.tile)
    small = cv2.resize(np.asarray(guide), depth.shape[::-1], interpolation=cv2.INTER_AREA)
    small = small.reshape(*depth.shape, guide.shape[-1])
    denoised, noise = denoise_depth(restorer, depth, small, valid=valid)
    low, high = np.quantile(depth[valid], [0.02, 0.98])
    notes.append(
        f"noise of the sensor estimated, {noise.stddev(low):.2g} at {low:g}, "
        f"{noise.stddev(high):.2g} at {high:g}; removed"
    )
    # What cannot be is left as it is: `observe` makes holes of it, and says so.
    return np.where(find_strays(np.where(valid, depth, 0.0), valid), depth, denoised)


def _without_doubtful(args, restored, stddev, observation: Observation, model) -> np.ndarray:
    """The map with NaN where a value is not sure enough; measured pixels stay."""
    if args.min_confidence is None:
        return restored
    tolerance = DEPTH_TOLERANCE * (observation.high - observation.low)
    sure = confidence(stddev, tolerance, model.get_layer("uncertainty").df) >= args.min_confidence
    if args.keep_samples:
        sure |= ~np.isnan(observation.measured)
    console.say(
        args.depth,
        f"{100 * (1 - sure.mean()):.3g} % of the values are not within "
        f"{tolerance:.3g} of the truth with a probability of {args.min_confidence:g}: left out",
    )
    if not sure.any():
        raise ValueError(
            "`--min-confidence` must leave something of the map. "
            f"Received: {args.min_confidence:g}. Choose a smaller one."
        )
    return np.where(sure, restored, np.nan)


def _read_confidence(args: argparse.Namespace, depth: np.ndarray, notes: list[str]) -> np.ndarray:
    """A confidence file as numbers in [0, 1]."""
    values = read_depth(args.confidence, max_megapixels=args.max_megapixels).values
    _check_companion(args.confidence, "confidence", values, depth)
    if values.dtype.kind == "f":
        top = 1.0
        if not ((values >= 0) & (values <= 1)).all():
            raise image_io.ImageFileError(
                f"{args.confidence}: a confidence of floats must lie in [0, 1]. "
                f"Received: {np.nanmin(values):g} to {np.nanmax(values):g}."
            )
    else:
        top = _FEW_LEVELS if values.max() <= _FEW_LEVELS else np.iinfo(values.dtype).max
        notes.append(f"confidence counted from 0 to {top}")
    return (values / top).astype(np.float32)


def _check_companion(path: pathlib.Path, name: str, values: np.ndarray, depth: np.ndarray) -> None:
    if values.shape[:2] != depth.shape:
        raise image_io.ImageFileError(
            f"{path}: the {name} must have the size of the depth map. "
            f"Received: {console.size(values)} and {console.size(depth)}, width x height."
        )


def _fitting_guide(
    args: argparse.Namespace, depth: np.ndarray, guide: np.ndarray | Levels
) -> tuple[np.ndarray | Levels, tuple[float, float]]:
    """The guide, resized where that was asked for, and the scale; errors where they clash."""
    size = guide.shape[:2]
    scale = infer_scale(depth.shape, size) if args.scale is None else args.scale
    if scale is not None:
        scale = as_pair(scale)
        ends = [(low * s, high, s) for low, high, s in zip(depth.shape, size, scale, strict=True)]
        # A picture whose size is no multiple of the scale ends in a sample of its own or without.
        if depth.shape == size or all(abs(fine - high) < s for fine, high, s in ends):
            return guide, scale
    if not args.resize_guide:
        said = "" if scale is None else f", scale {_numbers(scale)}"
        raise image_io.ImageFileError(
            f"{args.guide}: the guide must be SCALE times as large as the depth map. Received: "
            f"{console.size(guide)} for {console.size(depth)}, width x height{said}. "
            "Choose another --scale, or allow --resize-guide."
        )
    if scale is None:
        scale = as_pair(max(round(size[0] / depth.shape[0]), 1))
    fine = [round(low * s) for low, s in zip(depth.shape, scale, strict=True)]
    resized = cv2.resize(np.asarray(guide), fine[::-1], interpolation=cv2.INTER_AREA)
    return resized.reshape(*fine, guide.shape[-1]), scale


def _shift(observation: Observation, guide: np.ndarray | Levels) -> list[str]:
    """A line if the edges of map and guide lie apart by more than the samples allow."""
    shift = misalignment(observation.image, np.asarray(guide))
    if shift is None or np.hypot(*shift) < max(SHIFT, max(observation.scale) / 2):
        return []
    return [
        f"the guide seems shifted by {shift[0]:+.1f} rows, {shift[1]:+.1f} columns against the "
        "map: edges will be drawn where the guide has them"
    ]


def _numbers(pair: tuple[float, float]) -> str:
    rows, columns = pair
    return f"{rows:g}" if rows == columns else f"{rows:g} down, {columns:g} across"
