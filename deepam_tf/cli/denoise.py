"""`deepam denoise`: noise out of photographs, one or many."""

from __future__ import annotations

import argparse
import functools
import glob
import os
import pathlib
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from deepam_tf.classical.denoisers import METHODS
from deepam_tf.cli import console
from deepam_tf.cli.parser import COLOR_MODEL, GRAY_MODEL
from deepam_tf.data import noise
from deepam_tf.files import pictures as image_io
from deepam_tf.restoration.pretrained import load_pretrained, noise_range, pretrained_card
from deepam_tf.restoration.tiles import Restorer

__all__ = ["run"]

_LEAST_STDDEV = 0.1 / 255  # a classical regulariser has no meaning without noise


def run(args: argparse.Namespace) -> int:
    """Restore every input.

    Returns:
        Exit code.
    """
    if args.signal_dependent and (args.sigma is not None or args.method != "deepam"):
        raise ValueError(
            "`--signal-dependent` estimates the noise for a network. Received: --sigma or --method "
            "beside it. Leave one of them out."
        )
    if args.dtype != "float32" and args.method != "deepam":
        raise ValueError(
            f"`--bfloat16` is how networks run. Received: --method {args.method} beside it. Leave "
            "one of them out."
        )
    jobs, several = _jobs(args.inputs, args.output)
    if several:
        try:
            args.output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise image_io.ImageFileError(
                f"{args.output}: the folder cannot be made ({error.strerror})."
            ) from error
    restorers = _restorers(args)

    failures: list[str] = []
    written: set[pathlib.Path] = set()
    with console.progress_bar() as progress:
        files = progress.add_task("files", total=len(jobs), visible=several)
        for source, target in jobs:
            try:
                if target in written:
                    raise image_io.ImageFileError(
                        f"{source}: another input of this name went to {target} already."
                    )
                _denoise_file(source, target, restorers, args, progress)
                written.add(target)
            except (image_io.ImageFileError, ValueError) as error:
                if not several:
                    raise
                failures.append(str(error))
            except (MemoryError, tf.errors.ResourceExhaustedError):
                failures.append(f"{source}: out of memory. Choose a smaller --tile.")
            progress.advance(files)
    for failure in failures:
        console.errors.print(f"error: {failure}")
    place = args.output if several else jobs[0][1]
    console.output.print(f"{len(written)} of {len(jobs)} restored: {place}")
    return console.SOME_FAILED if failures else 0


def _model_name(pixels: np.ndarray, args: argparse.Namespace) -> str:
    """The weights for a picture, unless others were asked for."""
    if args.model is not None:
        return args.model
    # A gray picture in a colour file has the same noise in all channels, which the weights for
    # colour would take for the picture.
    colorful = pixels.shape[-1] == 3 and bool(np.any(pixels[..., :1] != pixels[..., 1:]))
    return COLOR_MODEL if colorful else GRAY_MODEL


def _restorers(args: argparse.Namespace) -> Callable[[np.ndarray, float], Restorer]:
    """The restorer for a picture of a noise level, made when first needed."""
    restorer = functools.partial(Restorer, tile=args.tile, self_ensemble=args.ensemble)
    if args.method != "deepam":
        method = METHODS[args.method]
        classical = functools.lru_cache(maxsize=1)(
            lambda stddev: restorer(
                functools.partial(method, noise_stddev=max(stddev, _LEAST_STDDEV))
            )
        )
        return lambda pixels, stddev: classical(stddev)
    if args.model is not None:
        pretrained_card(args.model)  # a wrong name is an error now, not one for each file
    network = functools.cache(lambda name: restorer(load_pretrained(name, dtype=args.dtype)))
    return lambda pixels, stddev: network(_model_name(pixels, args))


def _noise_stddev(source: pathlib.Path, pixels, args: argparse.Namespace) -> float:
    """The level that was given, or that is estimated; what there is to say of it, said."""
    if args.sigma is not None:
        sigma = args.sigma
    else:
        sigma = 255 * noise.estimate_noise_stddev(pixels)
        console.errors.print(f"{source}: noise estimated, sigma {sigma:.1f}")
    if args.method == "deepam":
        name = _model_name(pixels, args)
        low, high = (255 * level for level in noise_range(name))
        if sigma > high + 0.5 or sigma < low - 0.5:
            levels = f"sigma {low:g}" + (f" to {high:g}" if high > low else " alone")
            console.errors.print(
                f"note: {name} was trained for {levels}; at sigma {sigma:.3g} it removes "
                f"too {'little' if sigma > high else 'much'}."
            )
    return sigma / 255


def _noise_map(source: pathlib.Path, pixels, restorer: Restorer, args: argparse.Namespace):
    """The estimated level of every pixel, `[H, W, 1]`."""
    if not restorer.takes_noise_stddev:
        raise ValueError(
            "`--signal-dependent` needs weights that are told the noise. Received: --model "
            f"{args.model}. {GRAY_MODEL} is."
        )
    found = noise.estimate_poisson_gaussian(pixels)
    dark, bright = (255 * (found.gain * x + found.variance) ** 0.5 for x in (0.0, 1.0))
    console.errors.print(
        f"{source}: noise estimated, sigma {dark:.1f} in black to {bright:.1f} in white"
    )
    return found.stddev_map(pixels)


def _denoise_file(source, target, restorers, args, progress) -> None:
    picture = image_io.read(source, max_megapixels=args.max_megapixels)
    # Before minutes of work: would the result find its place?
    image_io.check_writable(target, picture, overwrite=args.force)
    if args.signal_dependent:
        restorer = restorers(picture.pixels, 0.0)
        told = _noise_map(source, picture.pixels, restorer, args)
    else:
        told = _noise_stddev(source, picture.pixels, args)
        restorer = restorers(picture.pixels, told)
    height, width, _ = picture.pixels.shape
    tiles = progress.add_task(source.name, total=restorer.count_tiles(height, width))
    restored = restorer(
        picture.pixels,
        noise_stddev=told if restorer.takes_noise_stddev else None,
        on_tile=lambda: progress.advance(tiles),
    )
    progress.remove_task(tiles)
    image_io.write(
        target,
        image_io.Picture(restored, picture.alpha, picture.dtype),
        overwrite=args.force,
    )


def _jobs(
    inputs: list[str], output: pathlib.Path
) -> tuple[list[tuple[pathlib.Path, pathlib.Path]], bool]:
    """Pairs of files to read and write, and whether this is a run over several files."""
    sources: list[pathlib.Path] = []
    several = len(inputs) > 1
    for text in inputs:
        path = pathlib.Path(text)
        if os.path.isdir(path):
            several = True
            found = image_io.list_images(path)
        elif glob.has_magic(text) and not os.path.lexists(path):
            several = True
            found = sorted(pathlib.Path(match) for match in glob.glob(text, recursive=True))
            found = [match for match in found if match.is_file()]
        else:
            found = [path]
        if not found:
            raise image_io.ImageFileError(f"{text}: no image files there.")
        sources += found
    if several and os.path.lexists(output) and not os.path.isdir(output):
        raise image_io.ImageFileError(f"{output}: several inputs need a folder as output.")
    if several or os.path.isdir(output):
        return [(source, output / source.name) for source in sources], several
    return [(sources[0], output)], False
