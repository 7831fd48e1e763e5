"""One picture from its file to its file, and what became of it, whatever happens on the way."""

from __future__ import annotations

import pathlib
import time
from collections.abc import Callable
from typing import Any

from deepam_tf.batch import places
from deepam_tf.batch.jobs import Job
from deepam_tf.batch.records import Record, record
from deepam_tf.files.pictures import ImageFileError

__all__ = ["Restore", "attempt"]

_TENSORFLOWS = "ResourceExhaustedError"  # by its name: nobody has to wait for TensorFlow here
Restore = Callable[[pathlib.Path, pathlib.Path, "pathlib.Path | None", bool], dict[str, Any]]
"""From a file to a file: source, target, guide or None, whether an existing file may be replaced;
returns facts for the record, raises `ValueError` of pictures that cannot be restored."""


def attempt(
    job: Job,
    restore: Restore,
    *,
    overwrite: bool = False,
    began: float | None = None,
    unexpected: tuple[type[Exception], ...] = (),
    clock: Callable[[], float] = time.perf_counter,
) -> Record:
    """Do one job.

    Args:
        job: what to read and to write; URLs are brought here, and taken there whole.
        restore: what restores.
        overwrite: whether an existing file may be replaced.
        began: when the run began, see `places.in_the_way`: what it has written already may be
            replaced. None: nothing may.
        unexpected: what becomes an error of the picture beside what is one.
        clock: what its seconds are counted by.

    Returns:
        What became of it; no error of a picture is raised.
    """
    start, facts, failure = clock(), {}, job.missing
    names: dict[str, str] = {}
    if failure is None:
        try:
            facts = _restored(job, restore, overwrite, began, names)
        except Exception as error:
            if isinstance(error, MemoryError) or type(error).__name__ == _TENSORFLOWS:
                failure = f"{job.source}: out of memory. Choose a smaller --tile."
                return _line(job, facts, clock() - start, failure)
            if not isinstance(error, (ValueError, *unexpected)):
                raise
            failure = str(error) or type(error).__name__
            if not isinstance(error, ValueError):
                failure = f"{type(error).__name__}: {failure.splitlines()[0]}"
            for copy, url in names.items():
                failure = failure.replace(copy, url)
            if not failure.startswith((f"{job.source}: ", f"{job.target}: ", f"{job.guide}: ")):
                failure = f"{job.source}: {failure}"
    return _line(job, facts, clock() - start, failure)


def _line(job: Job, facts: dict[str, Any], seconds: float, failure: str | None) -> Record:
    return record(
        job.source,
        job.target,
        guide=job.guide,
        facts=facts,
        seconds=seconds,
        error=failure,
    )


def _restored(
    job: Job, restore: Restore, overwrite: bool, began: float | None, names: dict[str, str]
) -> dict[str, Any]:
    if began is not None and not overwrite:
        overwrite = not places.in_the_way(job.target, began)
    if places.is_url(job.target) and not overwrite and places.in_the_way(job.target, float("inf")):
        raise ImageFileError(f"{job.target}: the file exists already. Use --force to overwrite it.")
    with places.local(job.source) as source, places.written(job.target) as target:
        names |= {str(source): job.source, str(target): job.target}
        if job.guide is None:
            return restore(source, target, None, overwrite)
        with places.local(job.guide) as guide:
            names[str(guide)] = job.guide
            return restore(source, target, guide, overwrite)
