"""`deepam upsample` and `deepam fuse`: a second picture of the scene guides the restoration."""

from __future__ import annotations

import argparse
import pathlib

import cv2
import numpy as np

from deepam_tf import _console as console
from deepam_tf import image_io
from deepam_tf.data import to_channels
from deepam_tf.depth import upsample_depth
from deepam_tf.depth_io import check_writable_depth, read_depth, write_depth
from deepam_tf.inference import Restorer
from deepam_tf.noise import estimate_noise_stddev
from deepam_tf.pretrained import load_pretrained, noise_range

__all__ = ["add_commands"]

_DEPTH_MODEL = "upsample_depth"
_FUSION_MODEL = "fuse_nir"
_MASK_LEVEL = 0.5  # from here on a pixel of a mask file is valid


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Add `upsample` and `fuse` to the commands."""
    upsample = commands.add_parser(
        "upsample",
        help="bring a coarse depth map to the size of a colour picture, and fill its holes",
        description="Upsample a depth or disparity map guided by a colour picture of the same "
        "view, and fill its holes: 0, NaN, or a mask file. The unit is kept. PNG (8 and 16 "
        "bit), TIFF and NPY.",
    )
    upsample.add_argument("depth", type=pathlib.Path, metavar="DEPTH")
    upsample.add_argument("guide", type=pathlib.Path, metavar="GUIDE", help="colour picture")
    upsample.add_argument("output", type=pathlib.Path, metavar="OUT")
    upsample.add_argument(
        "--scale",
        type=console.positive_int,
        help="pixels of GUIDE from one sample to the next; by default what the sizes say. A "
        "DEPTH as large as GUIDE is taken for an upsampled one: its samples are used",
    )
    upsample.add_argument(
        "--offset",
        type=float,
        help="where the first sample lies in GUIDE, in pixels: SCALE // 2 for nearest-neighbour "
        "samples (default), 0 for those of OpenCV, (SCALE - 1) / 2 for averages",
    )
    upsample.add_argument(
        "--mask", type=pathlib.Path, help="picture of DEPTH's size, black where it has holes"
    )
    upsample.add_argument(
        "--resize-guide",
        action="store_true",
        help="bring GUIDE to SCALE times the size of DEPTH first",
    )
    upsample.add_argument(
        "--no-snap",
        action="store_true",
        help="leave every pixel beside an edge as the network gives it, not moved to the surface "
        "that it is near",
    )
    upsample.add_argument("--model", default=_DEPTH_MODEL, help=f"weights ({_DEPTH_MODEL})")
    console.add_precision_option(upsample)
    console.add_file_options(upsample)
    upsample.set_defaults(run=_upsample)

    fuse = commands.add_parser(
        "fuse",
        help="remove noise from a colour picture with the help of a near infrared one",
        description="Restore a noisy colour picture guided by a clean near infrared (or flash) "
        "picture of the same view. PNG, JPEG, TIFF, WebP or BMP; the output keeps the colour "
        "picture's bit depth and transparency.",
    )
    fuse.add_argument("rgb", type=pathlib.Path, metavar="RGB", help="noisy colour picture")
    fuse.add_argument("nir", type=pathlib.Path, metavar="NIR", help="near infrared picture")
    fuse.add_argument("output", type=pathlib.Path, metavar="OUT")
    fuse.add_argument(
        "--sigma",
        type=console.sigma,
        default=None,
        help="noise level on the 0..255 scale, or auto: estimated (auto)",
    )
    fuse.add_argument("--model", default=_FUSION_MODEL, help=f"weights ({_FUSION_MODEL})")
    console.add_ensemble_option(fuse)
    console.add_precision_option(fuse)
    console.add_file_options(fuse)
    fuse.set_defaults(run=_fuse)


def _upsample(args: argparse.Namespace) -> int:
    depth = read_depth(args.depth, max_megapixels=args.max_megapixels)
    check_writable_depth(args.output, depth.dtype, overwrite=args.force)
    guide = image_io.read(args.guide, max_megapixels=args.max_megapixels).pixels
    valid = depth.valid
    if args.mask is not None:
        mask = image_io.read(args.mask, max_megapixels=args.max_megapixels).pixels
        if mask.shape[:2] != depth.values.shape:
            raise image_io.ImageFileError(
                f"{args.mask}: the mask must have the size of the depth map. "
                f"Received: {_size(mask)} and {_size(depth.values)}, width x height."
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
        f"{_size(depth.values)} to {_size(guide)} pixels, holes filled: {holes:.3g} % of the map"
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
            f"{_size(guide)} for {_size(depth)}, width x height, scale {scale}. Choose another "
            "--scale, or allow --resize-guide."
        )
    resized = cv2.resize(guide, fine[::-1], interpolation=cv2.INTER_AREA)
    return resized.reshape(*fine, guide.shape[-1]), scale


def _fuse(args: argparse.Namespace) -> int:
    picture = image_io.read(args.rgb, max_megapixels=args.max_megapixels)
    image_io.check_writable(args.output, picture, overwrite=args.force)
    guide = to_channels(image_io.read(args.nir, max_megapixels=args.max_megapixels).pixels, 1)
    if guide.shape[:2] != picture.pixels.shape[:2]:
        raise image_io.ImageFileError(
            f"{args.nir}: the guide must have the size of the noisy picture. "
            f"Received: {_size(guide)} and {_size(picture.pixels)}, width x height."
        )
    pixels = to_channels(picture.pixels, 3)
    sigma = args.sigma
    if sigma is None:
        sigma = 255 * estimate_noise_stddev(picture.pixels)
        console.errors.print(f"{args.rgb}: noise estimated, sigma {sigma:.1f}")
    low, high = (255 * level for level in noise_range(args.model))
    if not low - 0.5 <= sigma <= high + 0.5:
        console.errors.print(f"note: {args.model} was trained for sigma {low:g} to {high:g}.")
    model = load_pretrained(args.model, dtype=args.dtype)
    restorer = Restorer(model, tile=args.tile, self_ensemble=args.ensemble)
    with console.progress_bar() as progress:
        tiles = progress.add_task(args.rgb.name, total=restorer.count_tiles(*pixels.shape[:2]))
        restored = restorer(
            pixels,
            guide=guide,
            noise_stddev=sigma / 255 if restorer.takes_noise_stddev else None,
            on_tile=lambda: progress.advance(tiles),
        )
    image_io.write(
        args.output,
        image_io.Picture(
            to_channels(restored, picture.pixels.shape[-1]), picture.alpha, picture.dtype
        ),
        overwrite=args.force,
    )
    console.output.print(f"restored: {args.output}")
    return 0


def _size(image: np.ndarray) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"
