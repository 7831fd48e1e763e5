"""`deepam fuse`: a near infrared picture guides the restoration of a noisy colour one."""

from __future__ import annotations

import argparse

from deepam_tf.cli import console
from deepam_tf.data.noise import estimate_noise_stddev
from deepam_tf.data.pipelines import to_channels
from deepam_tf.files import pictures as image_io
from deepam_tf.restoration.pretrained import load_pretrained, noise_range
from deepam_tf.restoration.tiles import Restorer

__all__ = ["run"]


def run(args: argparse.Namespace) -> int:
    """Restore one colour picture.

    Returns:
        Exit code.
    """
    picture = image_io.read(args.rgb, max_megapixels=args.max_megapixels)
    image_io.check_writable(args.output, picture, overwrite=args.force)
    guide = to_channels(image_io.read(args.nir, max_megapixels=args.max_megapixels).pixels, 1)
    if guide.shape[:2] != picture.pixels.shape[:2]:
        raise image_io.ImageFileError(
            f"{args.nir}: the guide must have the size of the noisy picture. "
            f"Received: {console.size(guide)} and {console.size(picture.pixels)}, "
            "width x height."
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
