"""What the commands share: consoles, progress bar, exit codes."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Callable, Iterator

import numpy as np
import rich.console
import rich.progress

from deepam_tf.files.pictures import ImageFileError
from deepam_tf.restoration.defaults import LEAST_SIDE

__all__ = [
    "BAD_INPUT",
    "INTERRUPTED",
    "SOME_FAILED",
    "check_measurable",
    "errors",
    "output",
    "progress_bar",
    "say",
    "size",
    "tile_progress",
]

SOME_FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130
output = rich.console.Console(soft_wrap=True, highlight=False, markup=False)
errors = rich.console.Console(stderr=True, soft_wrap=True, highlight=False, markup=False)


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


@contextlib.contextmanager
def tile_progress(
    progress: rich.progress.Progress, description: str
) -> Iterator[Callable[[int, int], None]]:
    """A line of the bar for one picture, as long as it is worked on.

    Args:
        progress: the bar.
        description: what stands before the line.

    Yields:
        What `restore_picture` takes as `on_progress`.
    """
    task = progress.add_task(description, total=None)
    try:
        yield lambda done, total: progress.update(task, completed=done, total=total)
    finally:
        progress.remove_task(task)


def say(path: pathlib.Path, *lines: object) -> None:
    """Lines about a file, where errors go."""
    for line in lines:
        errors.print(f"{path}: {line}")


def check_measurable(path: pathlib.Path, pixels: np.ndarray, sigma: float | None) -> None:
    """Raise if noise was to be measured on a picture that is too small for it.

    Raises:
        ImageFileError: if no level was given and the picture is too small.
    """
    if sigma is None and min(pixels.shape[:2]) < LEAST_SIDE:
        raise ImageFileError(
            f"{path}: noise is measured on pictures of at least {LEAST_SIDE} pixels a side. "
            f"Received: {size(pixels)}. Tell its level with --sigma."
        )


def size(image: np.ndarray) -> str:
    """Width and height of `[H, W, ...]`, for messages."""
    return f"{image.shape[1]}x{image.shape[0]}"
