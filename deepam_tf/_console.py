"""What the commands share: consoles, progress bar, exit codes, kinds of arguments."""

from __future__ import annotations

import argparse

import rich.console
import rich.progress

from deepam_tf import image_io

__all__ = [
    "BAD_INPUT",
    "INTERRUPTED",
    "SOME_FAILED",
    "add_ensemble_option",
    "add_file_options",
    "add_precision_option",
    "errors",
    "output",
    "positive_int",
    "progress_bar",
    "sigma",
]

SOME_FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130
output = rich.console.Console(soft_wrap=True, highlight=False, markup=False)
errors = rich.console.Console(stderr=True, soft_wrap=True, highlight=False, markup=False)


def sigma(text: str) -> float | None:
    """A noise level on the 0..255 scale; None for `auto`."""
    if text == "auto":
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 255:
        raise argparse.ArgumentTypeError(f"sigma must be auto or in (0, 255]. Received: {text}")
    return value


def positive_int(text: str) -> int:
    """A whole number from 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"it must be at least 1. Received: {text}")
    return value


def add_file_options(parser: argparse.ArgumentParser) -> None:
    """Options of every command that reads and writes pictures."""
    parser.add_argument("--force", action="store_true", help="overwrite existing files")
    parser.add_argument(
        "--tile", type=positive_int, default=512, help="tile side in pixels; bounds memory (512)"
    )
    parser.add_argument(
        "--max-megapixels",
        type=float,
        default=image_io.MAX_MEGAPIXELS,
        help=f"refuse larger images ({image_io.MAX_MEGAPIXELS:g})",
    )


def add_ensemble_option(parser: argparse.ArgumentParser) -> None:
    """The option of commands whose pictures look as likely turned or flipped."""
    parser.add_argument(
        "--ensemble",
        action="store_true",
        help="restore every picture in its eight orientations and take the mean: 0.05 to 0.2 dB "
        "better, eight times as long",
    )


def add_precision_option(parser: argparse.ArgumentParser) -> None:
    """The option of commands that run a network, as `args.dtype`, a Keras dtype policy."""
    parser.add_argument(
        "--bfloat16",
        action="store_const",
        dest="dtype",
        const="mixed_bfloat16",
        default="float32",
        help="run the networks in bfloat16: two to three times as fast on processors that have it "
        "(AMX, AVX512-BF16), slower on others; denoised pictures lose 0.01 dB",
    )


def progress_bar() -> rich.progress.Progress:
    """A bar on the terminal, nothing elsewhere."""
    return rich.progress.Progress(
        rich.progress.TextColumn("{task.description}", markup=False),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TimeRemainingColumn(),
        console=errors,
        transient=True,
        disable=not errors.is_terminal,
    )
