"""`deepam fuse`: a near infrared picture guides the restoration of a noisy colour one."""

from __future__ import annotations

import argparse

from deepam_tf.cli import console
from deepam_tf.files import pictures as image_io
from deepam_tf.files.stddev_maps import check_writable_stddev, write_stddev
from deepam_tf.restoration.picture import STDDEV_UNIT, restore_picture

__all__ = ["run"]


def run(args: argparse.Namespace) -> int:
    """Restore one colour picture.

    Returns:
        Exit code.
    """
    picture, guide = (
        image_io.read(
            path,
            max_megapixels=args.max_megapixels,
            white_level=args.white_level,
            first_frame=args.first_frame,
        )
        for path in (args.rgb, args.nir)
    )
    picture = picture.stripped() if args.strip else picture
    image_io.check_writable(args.output, picture, overwrite=args.force)
    if args.uncertainty is not None:
        check_writable_stddev(args.uncertainty, overwrite=args.force)
    console.check_measurable(args.rgb, picture.pixels, args.sigma)
    console.say(args.rgb, *picture.notes, *image_io.lost(picture, args.output))
    console.say(args.nir, *guide.notes)
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
            uncertainty=args.uncertainty is not None,
            on_note=lambda note: console.errors.print(f"{args.rgb}: {note}"),
            on_progress=on_progress,
        )
    image_io.write(args.output, restored.picture, overwrite=args.force, quality=args.quality)
    if restored.stddev is not None:
        write_stddev(args.uncertainty, restored.stddev, STDDEV_UNIT, overwrite=args.force)
    console.output.print(f"restored: {args.output}")
    return 0
