"""`deepam upsample`: a colour picture guides a coarse depth map to its size."""

from __future__ import annotations

import argparse

import cv2
import numpy as np

from deepam_tf.cli import console
from deepam_tf.data.pipelines import to_channels
from deepam_tf.files import pictures as image_io
from deepam_tf.files.depth_maps import check_writable_depth, read_depth, write_depth
from deepam_tf.restoration.depth import upsample_depth
from deepam_tf.restoration.pretrained import load_pretrained
from deepam_tf.restoration.tiles import Restorer

__all__ = ["run"]

_MASK_LEVEL = 0.5  # from here on a pixel of a mask file is valid


def run(args: argparse.Namespace) -> int:
    """Upsample one depth map.

    Returns:
        Exit code.
    """
    depth = read_depth(args.depth, max_megapixels=args.max_megapixels)
    check_writable_depth(args.output, depth.dtype, overwrite=args.force)
    guide = image_io.read(args.guide, max_megapixels=args.max_megapixels).pixels
    valid = depth.valid
    if args.mask is not None:
        mask = image_io.read(args.mask, max_megapixels=args.max_megapixels).pixels
        if mask.shape[:2] != depth.values.shape:
            raise image_io.ImageFileError(
                f"{args.mask}: the mask must have the size of the depth map. "
                f"Received: {console.size(mask)} and {console.size(depth.values)}, "
                "width x height."
            )
        valid = valid & (to_channels(mask, 1)[..., 0] >= _MASK_LEVEL)
        if not valid.any():
            raise image_io.ImageFileError(f"{args.mask}: the mask leaves nothing of the map.")
    guide, scale = _fitting_guide(args, depth.values, to_channels(guide, 3))
    model = load_pretrained(args.model, dtype=args.dtype)
    restorer = Restorer(model, tile=args.tile)
    with console.progress_bar() as progress:
        tiles = progress.add_task(args.depth.name, total=restorer.count_tiles(*guide.shape[:2]))
        restored = upsample_depth(
            restorer,
            depth.values,
            guide,
            scale=scale,
            offset=args.offset,
            valid=valid,
            snap=not args.no_snap,
            on_tile=lambda: progress.advance(tiles),
        )
    write_depth(args.output, restored, depth.dtype, overwrite=args.force)
    holes = 100.0 * (1.0 - valid.mean())
    console.output.print(
        f"{console.size(depth.values)} to {console.size(guide)} pixels, "
        f"holes filled: {holes:.3g} % of the map"
    )
    console.output.print(f"restored: {args.output}")
    return 0


def _fitting_guide(
    args: argparse.Namespace, depth: np.ndarray, guide: np.ndarray
) -> tuple[np.ndarray, int]:
    """The guide, resized where that was asked for, and the scale; errors where they clash."""
    height, width = depth.shape
    scale = args.scale or max(round(guide.shape[0] / height), 1)
    fine = (height, width) if guide.shape[:2] == depth.shape else (scale * height, scale * width)
    # A picture whose size is no multiple of the scale ends in a sample of its own or without.
    if all(abs(a - b) < scale for a, b in zip(guide.shape[:2], fine, strict=True)):
        return guide, scale
    if not args.resize_guide:
        raise image_io.ImageFileError(
            f"{args.guide}: the guide must be SCALE times as large as the depth map. Received: "
            f"{console.size(guide)} for {console.size(depth)}, width x height, scale {scale}. "
            "Choose another --scale, or allow --resize-guide."
        )
    resized = cv2.resize(guide, fine[::-1], interpolation=cv2.INTER_AREA)
    return resized.reshape(*fine, guide.shape[-1]), scale
