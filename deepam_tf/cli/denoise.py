"""`deepam denoise`: noise out of photographs, one or many."""

from __future__ import annotations

import argparse
import glob
import os
import pathlib

import tensorflow as tf

from deepam_tf.cli import console
from deepam_tf.files import pictures as image_io
from deepam_tf.restoration.defaults import GRAY_MODEL
from deepam_tf.restoration.picture import restore_picture
from deepam_tf.restoration.pretrained import pretrained_card

__all__ = ["run"]


def run(args: argparse.Namespace) -> int:
    """Restore every input.

    Returns:
        Exit code.
    """
    _check_options(args)
    jobs, several = _jobs(args.inputs, args.output)
    if several:
        try:
            args.output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise image_io.ImageFileError(
                f"{args.output}: the folder cannot be made ({error.strerror})."
            ) from error

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
                _denoise_file(source, target, args, progress)
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


def _check_options(args: argparse.Namespace) -> None:
    """Options that go together, before any file is touched."""
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
    if args.model is None or args.method != "deepam":
        return
    # A wrong name is an error now, not one for each file.
    takes_level = pretrained_card(args.model)["model"].get("noise_level", False)
    if args.signal_dependent and not takes_level:
        raise ValueError(
            "`--signal-dependent` needs weights that are told the noise. Received: --model "
            f"{args.model}. {GRAY_MODEL} is."
        )


def _denoise_file(source, target, args, progress) -> None:
    picture = image_io.read(source, max_megapixels=args.max_megapixels)
    # Before minutes of work: would the result find its place?
    image_io.check_writable(target, picture, overwrite=args.force)
    noise = "signal-dependent" if args.signal_dependent else "white"
    with console.tile_progress(progress, source.name) as on_progress:
        restored = restore_picture(
            picture,
            noise=noise if args.sigma is None else args.sigma / 255,
            model=args.model if args.method == "deepam" else None,
            method=args.method,
            dtype=args.dtype,
            tile=args.tile,
            self_ensemble=args.ensemble,
            on_note=lambda note: console.errors.print(f"{source}: {note}"),
            on_progress=on_progress,
        )
    image_io.write(target, restored.picture, overwrite=args.force)


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
