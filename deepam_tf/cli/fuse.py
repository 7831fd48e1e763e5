"""`deepam fuse`: a near infrared picture guides the restoration of a noisy colour one."""

from __future__ import annotations

import argparse

from deepam_tf.cli import console
from deepam_tf.files import pictures as image_io
from deepam_tf.restoration.picture import restore_picture

__all__ = ["run"]


def run(args: argparse.Namespace) -> int:
    """Restore one colour picture.

    Returns:
        Exit code.
    """
    picture = image_io.read(args.rgb, max_megapixels=args.max_megapixels)
    image_io.check_writable(args.output, picture, overwrite=args.force)
    guide = image_io.read(args.nir, max_megapixels=args.max_megapixels)
    if guide.pixels.shape[:2] != picture.pixels.shape[:2]:
        raise image_io.ImageFileError(
            f"{args.nir}: the guide must have the size of the noisy picture. "
            f"Received: {console.size(guide.pixels)} and {console.size(picture.pixels)}, "
            "width x height."
        )
    with (
        console.progress_bar() as progress,
        console.tile_progress(progress, args.rgb.name) as on_progress,
    ):
        restored = restore_picture(
            picture,
            guide,
            noise="white" if args.sigma is None else args.sigma / 255,
            model=args.model,
            dtype=args.dtype,
            tile=args.tile,
            self_ensemble=args.ensemble,
            on_note=lambda note: console.errors.print(f"{args.rgb}: {note}"),
            on_progress=on_progress,
        )
    image_io.write(args.output, restored.picture, overwrite=args.force)
    console.output.print(f"restored: {args.output}")
    return 0
