"""What the commands share: consoles, progress bar, exit codes."""

from __future__ import annotations

import contextlib
import contextvars
import datetime
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import rich.console
import rich.progress
import rich.text

from deepam_tf.files.pictures import ImageFileError
from deepam_tf.restoration.defaults import LEAST_SIDE

__all__ = [
    "BAD_INPUT",
    "INTERRUPTED",
    "SOME_FAILED",
    "batch_progress",
    "check_measurable",
    "errors",
    "facts",
    "heard",
    "output",
    "plural",
    "progress_bar",
    "say",
    "size",
    "tile_progress",
]

_KEPT: contextvars.ContextVar[list[str] | None] = contextvars.ContextVar("kept", default=None)
_LINE_SECONDS = 60.0  # between two lines where there is no terminal
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


class _Rate(rich.progress.ProgressColumn):
    """Pictures a second, or a minute where that says more."""

    def render(self, task: rich.progress.Task) -> rich.text.Text:
        return rich.text.Text(_rate(task.finished_speed or task.speed))


def _rate(speed: float | None) -> str:
    if not speed:
        return "-/s"
    return f"{speed:.1f}/s" if speed >= 1 else f"{60 * speed:.1f}/min"


@contextlib.contextmanager
def batch_progress(total: int) -> Iterator[Callable[[bool], None]]:
    """How far a batch is: a bar on a terminal, a line a minute elsewhere.

    Args:
        total: pictures there are.

    Yields:
        What is called after each picture, with whether it failed.
    """
    bar = rich.progress.Progress(
        rich.progress.TextColumn("{task.description}", markup=False),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        _Rate(),
        rich.progress.TimeElapsedColumn(),
        rich.progress.TextColumn("left"),
        rich.progress.TimeRemainingColumn(),
        console=errors,
        transient=True,
        disable=not errors.is_terminal,
        speed_estimate_period=300.0,
    )
    done = failed = 0
    began = said = None
    with bar:
        task = bar.add_task("pictures", total=total)

        def advance(bad: bool) -> None:
            nonlocal done, failed, began, said
            done, failed = done + 1, failed + bad
            words = f"pictures, {failed} failed" if failed else "pictures"
            bar.update(task, advance=1, description=words)
            now = time.monotonic()
            if began is None or said is None:  # workers take a while to start: it does not count
                began = said = now
            elif bar.disable and now - said > _LINE_SECONDS and done < total:
                said, speed = now, (done - 1) / (now - began)
                left = datetime.timedelta(seconds=round((total - done) / speed))
                errors.print(
                    f"{done}/{total} {words}, {_rate(speed)}, {left} left", highlight=False
                )

        yield advance


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
    """Lines about a file, where errors go, or where `heard` keeps them."""
    kept = _KEPT.get()
    for line in lines:
        if kept is None:
            errors.print(f"{path}: {line}")
        else:
            kept.append(str(line))


@contextlib.contextmanager
def heard() -> Iterator[list[str]]:
    """What is said of a file meanwhile, kept instead of shown.

    Yields:
        The lines, without the file's name.
    """
    lines: list[str] = []
    token = _KEPT.set(lines)
    try:
        yield lines
    finally:
        _KEPT.reset(token)


def facts(kind: str, stddev: float, model: str) -> dict[str, Any]:
    """What a report says of a restored picture: its noise, on the 0..255 scale, and the weights."""
    return {"noise": kind, "sigma": round(255 * float(stddev), 3), "model": model}


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


def plural(count: int, word: str) -> str:
    """A number and a word, with its s where there is not one."""
    return f"{count} {word}{'' if count == 1 else 's'}"


def size(image: np.ndarray) -> str:
    """Width and height of `[H, W, ...]`, for messages."""
    return f"{image.shape[1]}x{image.shape[0]}"
