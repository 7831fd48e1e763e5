"""The demonstration: a picture of the package, made noisy and restored, side by side."""

from __future__ import annotations

import argparse
import pathlib

import cv2
import numpy as np

from deepam_tf.cli import console
from deepam_tf.cli.parser import DEMO_PICTURE
from deepam_tf.data.degradations import benchmark_noise
from deepam_tf.files import pictures as image_io
from deepam_tf.networks import metrics
from deepam_tf.restoration.pretrained import load_pretrained, pretrained_card
from deepam_tf.restoration.tiles import restore

__all__ = ["PICTURE", "restore_picture", "run"]

PICTURE = pathlib.Path(__file__).parent.parent / "assets" / "astronaut.png"
_CAPTION_HEIGHT = 28


def run(args: argparse.Namespace) -> int:
    """Restore the picture and say what it gained.

    Returns:
        Exit code.
    """
    # The default name is the demo's own; any other could be somebody's photograph.
    before, after = restore_picture(args.output, overwrite=args.output == DEMO_PICTURE)
    console.output.print(f"noisy     {before:.2f} dB\nrestored  {after:.2f} dB")
    console.output.print(f"picture   {args.output}")
    return 0


def restore_picture(
    path: pathlib.Path, *, overwrite: bool = False, model_name: str = "denoise_gray_s25"
) -> tuple[float, float]:
    """Restore the noisy picture and write noisy, restored and clean side by side.

    The noise is that of the evaluation protocol (`benchmark_noise`, image 0), not clipped.

    Args:
        path: image file to write.
        overwrite: whether an existing file may be replaced.
        model_name: weights, and with them the noise level.

    Returns:
        PSNR in dB of the noisy and of the restored picture, the latter clipped to [0, 1].

    Raises:
        image_io.ImageFileError: if the file cannot be written.
    """
    clean = image_io.read(PICTURE).pixels
    noise_stddev = pretrained_card(model_name)["noise_stddev"]
    noisy = clean + benchmark_noise(clean.shape, noise_stddev, 0)
    restored = np.clip(restore(load_pretrained(model_name), noisy), 0.0, 1.0)
    before, after = (
        float(metrics.psnr(clean[np.newaxis], image[np.newaxis])[0]) for image in (noisy, restored)
    )
    panels = [
        _captioned(noisy, f"noisy, sigma {255 * noise_stddev:g}: {before:.2f} dB"),
        _captioned(restored, f"restored: {after:.2f} dB"),
        _captioned(clean, "clean"),
    ]
    picture = image_io.Picture(np.concatenate(panels, axis=1), None, np.dtype("uint8"))
    image_io.write(path, picture, overwrite=overwrite)
    return before, after


def _captioned(image: np.ndarray, text: str) -> np.ndarray:
    strip = np.full((_CAPTION_HEIGHT, image.shape[1]), 255, np.uint8)
    cv2.putText(strip, text, (6, 19), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0,), 1, cv2.LINE_AA)
    return np.concatenate([strip[..., np.newaxis] / np.float32(255), image], axis=0)
