"""Which files a command reads and writes, and the record of what became of them."""

from __future__ import annotations

import argparse
import contextlib
import glob
import json
import os
import pathlib
from collections.abc import Iterator
from typing import IO

from deepam_tf.files import pictures as image_io
from deepam_tf.files.formats import NAMED_SUFFIXES, RAW_SUFFIXES, READ_SUFFIXES, written_format

__all__ = ["Report", "find_jobs"]

Job = tuple[pathlib.Path, pathlib.Path]
_FOUND = READ_SUFFIXES | NAMED_SUFFIXES


def find_jobs(args: argparse.Namespace) -> tuple[list[Job], bool]:
    """Pairs of files to read and write, and whether this is a run over several files.

    Args:
        args: `inputs`, files, folders and patterns; `output`; `recursive`.

    Returns:
        The pairs. Where a folder is read, hidden files and what is no picture are left out, and
        with `recursive` its tree is kept.

    Raises:
        ImageFileError: if an input names nothing, or several need a folder as output.
    """
    output: pathlib.Path = args.output
    found: list[Job] = []
    several = len(args.inputs) > 1
    for text in args.inputs:
        path = pathlib.Path(text)
        if os.path.isdir(path):
            several = True
            jobs = _of_folder(path, output, args.recursive)
        elif glob.has_magic(text) and not os.path.lexists(path):
            several = True
            matches = sorted(pathlib.Path(x) for x in glob.glob(_pattern(text), recursive=True))
            matches = [x for x in matches if image_io.is_image_name(x, _FOUND) and x.is_file()]
            jobs = [(match, output / match.name) for match in matches]
        else:
            jobs = [(path, output / path.name)]
        if not jobs:
            raise image_io.ImageFileError(f"{text}: no image files there.")
        found += jobs
    if several and os.path.lexists(output) and not os.path.isdir(output):
        raise image_io.ImageFileError(f"{output}: several inputs need a folder as output.")
    if several or os.path.isdir(output):
        return [(source, _with_written_suffix(target)) for source, target in found], several
    return [(found[0][0], output)], False


def _of_folder(folder: pathlib.Path, output: pathlib.Path, recursive: bool) -> list[Job]:
    if not recursive:
        paths = image_io.list_images(folder, suffixes=_FOUND)
        return [(path, output / path.name) for path in paths]
    results = os.path.realpath(output)
    jobs = []
    for place, below, _ in os.walk(folder):
        # What an earlier run wrote into the tree is no input of this one.
        below[:] = sorted(
            name
            for name in below
            if not name.startswith(".") and os.path.realpath(os.path.join(place, name)) != results
        )
        for path in image_io.list_images(place, suffixes=_FOUND):
            jobs.append((path, output / path.relative_to(folder)))
    return jobs


def _pattern(text: str) -> str:
    """The pattern, its folders that exist taken by their names, brackets and all."""
    path = pathlib.Path(text)
    parent = path.parent
    while glob.has_magic(str(parent)) and not parent.exists():
        parent = parent.parent
    return os.path.join(glob.escape(str(parent)), *path.parts[len(parent.parts) :])


def _with_written_suffix(target: pathlib.Path) -> pathlib.Path:
    """A name of a format that is written: TIFF for raw photographs, PNG for others."""
    if written_format(target) is not None:
        return target
    return target.with_suffix(".tiff" if target.suffix.lower() in RAW_SUFFIXES else ".png")


class Report:
    """A line of JSON for every file, written as soon as it is known.

    Args:
        file: where they go; None: nowhere.
    """

    def __init__(self, file: IO[str] | None) -> None:
        self._file = file

    @classmethod
    @contextlib.contextmanager
    def open(cls, args: argparse.Namespace) -> Iterator[Report]:
        """The report that `args` asks for: `report`, `skip_existing`, `force`.

        Raises:
            ImageFileError: if its file exists and is neither to be replaced nor gone on with, or
                cannot be written.
        """
        if args.report is None:
            yield cls(None)
            return
        goes_on = args.skip_existing
        image_io.check_place(args.report, overwrite=args.force or goes_on)
        try:
            file = open(args.report, "a" if goes_on else "w", encoding="utf-8")
        except OSError as error:
            raise image_io.ImageFileError(
                f"{args.report}: cannot be written ({error.strerror})."
            ) from error
        with file:
            yield cls(file)

    def add(self, source: pathlib.Path, target: pathlib.Path, **facts: object) -> None:
        """Write what became of one file."""
        if self._file is None:
            return
        line = {"input": str(source), "output": str(target), **facts}
        text = json.dumps(line, ensure_ascii=True)
        self._file.write(text + "\n")
        self._file.flush()
