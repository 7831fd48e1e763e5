"""`deepam fuse`: a near infrared picture guides the restoration of a noisy colour one."""

from __future__ import annotations

import argparse
import pathlib
from typing import Any

import rich.progress

from deepam_tf.cli import console
from deepam_tf.files import pictures as image_io
from deepam_tf.files.stddev_maps import check_writable_stddev, write_stddev
from deepam_tf.restoration.picture import STDDEV_UNIT, restore_picture

__all__ = ["fuse_files", "run"]


def run(args: argparse.Namespace) -> int:
    """Restore one colour picture.

    Returns:
        Exit code.
    """
    with console.progress_bar() as progress:
        fuse_files(args.rgb, args.nir, args.output, args, progress, overwrite=args.force)
    console.output.print(f"restored: {args.output}")
    return 0


def fuse_files(
    rgb: pathlib.Path,
    nir: pathlib.Path,
    output: pathlib.Path,
    args: argparse.Namespace,
    progress: rich.progress.Progress,
    *,
    overwrite: bool,
) -> dict[str, Any]:
    """Restore a colour picture guided by another, from files to a file.

    Args:
        rgb: the noisy picture.
        nir: its guide.
        output: file to write.
        args: options of the command.
        progress: bar that gets a line.
        overwrite: whether existing files may be replaced.

    Returns:
        What became of it, for a report.

    Raises:
        ValueError: if it cannot be restored.
    """
    picture, guide = (
        image_io.read(
            path,
            max_megapixels=args.max_megapixels,
            white_level=args.white_level,
            first_frame=args.first_frame,
        )
        for path in (rgb, nir)
    )
    picture = picture.stripped() if args.strip else picture
    image_io.check_writable(output, picture, overwrite=overwrite)
    if args.uncertainty is not None:
        check_writable_stddev(args.uncertainty, overwrite=overwrite)
    console.check_measurable(rgb, picture.pixels, args.sigma)
    console.say(rgb, *picture.notes, *image_io.lost(picture, output))
    console.say(nir, *guide.notes)
    if guide.pixels.shape[:2] != picture.pixels.shape[:2]:
        raise image_io.ImageFileError(
            f"{nir}: the guide must have the size of the noisy picture. "
            f"Received: {console.size(guide.pixels)} and {console.size(picture.pixels)}, "
            "width x height."
        )
    with console.tile_progress(progress, rgb.name) as on_progress:
        restored = restore_picture(
            picture,
            guide,
            noise="white" if args.sigma is None else args.sigma / 255,
            model=args.model,
            dtype=args.dtype,
            tile=args.tile,
            self_ensemble=args.ensemble,
            uncertainty=args.uncertainty is not None,
            on_note=lambda note: console.say(rgb, note),
            on_progress=on_progress,
        )
    image_io.write(output, restored.picture, overwrite=overwrite, quality=args.quality)
    if restored.stddev is not None:
        write_stddev(args.uncertainty, restored.stddev, STDDEV_UNIT, overwrite=overwrite)
    noise = restored.noise
    return console.facts(noise.kind, noise.stddev(), restored.model_name)
