"""Which files a run reads and writes."""

from __future__ import annotations

import dataclasses
import glob
import hashlib
import os
import pathlib
import posixpath
from collections.abc import Iterable, Sequence, Set

from deepam_tf.batch import places
from deepam_tf.files import pictures as image_io
from deepam_tf.files.formats import (
    NAMED_SUFFIXES,
    RAW_SUFFIXES,
    READ_SUFFIXES,
    WRITTEN,
)

__all__ = [
    "DEPTH_SUFFIXES",
    "Job",
    "Suffixes",
    "find_jobs",
    "read_list",
    "share",
    "with_guides",
    "without_twin",
]


@dataclasses.dataclass(frozen=True)
class Job:
    """One file to read and one to write.

    Attributes:
        source: path or URL of what is read.
        target: path or URL of what is written.
        name: of the source below the folder that it was found in, with `/` between its parts:
            the same on every machine, wherever that folder is.
        guide: path or URL of what guides, None where nothing does.
        missing: why it cannot be done, None if it can.
    """

    source: str
    target: str
    name: str
    guide: str | None = None
    missing: str | None = None


@dataclasses.dataclass(frozen=True)
class Suffixes:
    """Of the files of a kind of picture.

    Attributes:
        found: what counts where a folder is read, in lower case.
        written: what a result may have; others get `.png`, or `.tiff` for raw photographs.
    """

    found: frozenset[str] = READ_SUFFIXES | NAMED_SUFFIXES
    written: frozenset[str] = frozenset(suffix for one in WRITTEN for suffix in one.suffixes)


DEPTH_SUFFIXES = Suffixes(
    READ_SUFFIXES | {".npy", ".npz"},
    frozenset({".bmp", ".npy", ".npz", ".png", ".tif", ".tiff"}),
)
"""Of depth maps."""


def find_jobs(
    inputs: Sequence[str],
    output: str | os.PathLike,
    *,
    recursive: bool = False,
    suffixes: Suffixes = Suffixes(),
) -> tuple[list[Job], bool]:
    """What to read and to write, and whether this is a run over several files.

    Args:
        inputs: files, folders and patterns, also URLs of what fsspec opens.
        output: file, or folder for several inputs.
        recursive: whether folders below folders are read too.
        suffixes: which files count.

    Returns:
        The jobs. Where a folder is read, hidden files and what is no picture are left out, and
        with `recursive` its tree is kept.

    Raises:
        ImageFileError: if an input names nothing, or several need a folder as output.
    """
    output = os.fspath(output)
    found: list[tuple[str, str]] = []
    several = len(inputs) > 1
    for text in inputs:
        if places.is_url(text):
            pairs, many = _of_url(text, output, recursive, suffixes.found)
        else:
            pairs, many = _of_path(text, output, recursive, suffixes.found)
        if not pairs:
            raise image_io.ImageFileError(f"{text}: no image files there.")
        several |= many
        found += pairs
    if places.is_url(output):
        into = several or output.endswith("/")
    else:
        if several and os.path.lexists(output) and not os.path.isdir(output):
            raise image_io.ImageFileError(f"{output}: several inputs need a folder as output.")
        into = several or os.path.isdir(output)
    if not into:
        return [Job(found[0][0], output, found[0][1])], False
    return [_into(output, source, name, suffixes.written) for source, name in found], several


def _into(output: str, source: str, name: str, written: frozenset[str]) -> Job:
    """The job of a file whose result goes into a folder."""
    stem, suffix = posixpath.splitext(name)
    kept = name
    if suffix.lower() not in written:
        kept = stem + (".tiff" if suffix.lower() in RAW_SUFFIXES else ".png")
    return Job(source, places.join(output, kept), name)


def _of_path(
    text: str, output: str, recursive: bool, suffixes: frozenset[str]
) -> tuple[list[tuple[str, str]], bool]:
    path = pathlib.Path(text)
    if os.path.isdir(path):
        return _of_folder(path, output, recursive, suffixes), True
    if glob.has_magic(text) and not os.path.lexists(path):
        matches = sorted(pathlib.Path(x) for x in glob.glob(_pattern(text), recursive=True))
        matches = [x for x in matches if image_io.is_image_name(x, suffixes) and x.is_file()]
        return [(str(match), match.name) for match in matches], True
    return [(str(path), path.name)], False


def _of_folder(
    folder: pathlib.Path, output: str, recursive: bool, suffixes: frozenset[str]
) -> list[tuple[str, str]]:
    if not recursive:
        return [(str(x), x.name) for x in image_io.list_images(folder, suffixes=suffixes)]
    results = None if places.is_url(output) else os.path.realpath(output)
    found = []
    for place, below, _ in os.walk(folder):
        # What an earlier run wrote into the tree is no input of this one.
        below[:] = sorted(
            name
            for name in below
            if not name.startswith(".") and os.path.realpath(os.path.join(place, name)) != results
        )
        for path in image_io.list_images(place, suffixes=suffixes):
            found.append((str(path), path.relative_to(folder).as_posix()))
    return found


def _of_url(
    text: str, output: str, recursive: bool, suffixes: frozenset[str]
) -> tuple[list[tuple[str, str]], bool]:
    if glob.has_magic(text):
        found = [(url, posixpath.basename(url)) for url in places.matches(text)]
    elif places.is_folder(text):
        below = places.files_below(text, recursive=recursive)
        results = output.rstrip("/") + "/"
        found = [(url, name) for url, name in below if not url.startswith(results)]
    else:
        return [(text, posixpath.basename(text))], False
    return [
        (url, name)
        for url, name in found
        if not any(part.startswith(".") for part in name.split("/"))
        and image_io.is_image_name(pathlib.PurePosixPath(name), suffixes)
    ], True


def _pattern(text: str) -> str:
    """The pattern, its folders that exist taken by their names, brackets and all."""
    path = pathlib.Path(text)
    parent = path.parent
    while glob.has_magic(str(parent)) and not parent.exists():
        parent = parent.parent
    return os.path.join(glob.escape(str(parent)), *path.parts[len(parent.parts) :])


def read_list(
    lines: Iterable[str], output: str | os.PathLike, *, suffixes: Suffixes = Suffixes()
) -> list[Job]:
    """The jobs of a list of files.

    Args:
        lines: a path or URL each; empty ones do not count.
        output: folder of the results. Relative paths keep their folders there, of others the
            tree below the folder that they have in common is kept.
        suffixes: what a result may be called; every file of a list counts.

    Returns:
        The jobs.

    Raises:
        ImageFileError: if a relative path leads out of its folder.

    Example:
        >>> [job.target for job in read_list(["a/1.png", "b/1.jpg"], "out")]
        ['out/a/1.png', 'out/b/1.jpg']
    """
    sources = [line.strip("\r\n") for line in lines if line.strip()]
    far = [x for x in sources if places.is_url(x) or os.path.isabs(x)]
    common = posixpath.commonpath([posixpath.dirname(_slashes(x)) for x in far]) if far else ""
    jobs = []
    for source in sources:
        name = posixpath.normpath(_slashes(source))
        if source in far:
            name = posixpath.relpath(_slashes(source), common)
        elif name.startswith("../"):
            raise image_io.ImageFileError(
                f"{source}: paths of a list must lie in its folder, or be absolute."
            )
        jobs.append(_into(os.fspath(output), source, name, suffixes.written))
    return jobs


def _slashes(path: str) -> str:
    return path if places.is_url(path) else path.replace(os.sep, "/")


def with_guides(jobs: list[Job], folder: str | os.PathLike) -> list[Job]:
    """The jobs with their guides: files of the same names in another folder.

    Args:
        jobs: jobs.
        folder: path or URL of the folder of guides, whose tree is that of the inputs; suffixes
            may differ.

    Returns:
        The jobs in order; where there is no guide, or it cannot be told which, `missing` says so.

    Raises:
        ImageFileError: if it is no folder with pictures in it.
    """
    folder = os.fspath(folder)
    find = _of_url if places.is_url(folder) else _of_path
    found, several = find(folder, os.devnull, True, Suffixes().found)
    if not found or not several:
        raise image_io.ImageFileError(f"{folder}: the guides need a folder with pictures.")
    by_stem: dict[str, list[str]] = {}
    for source, name in found:
        by_stem.setdefault(posixpath.splitext(name)[0], []).append(source)
    guided = []
    for job in jobs:
        guides = by_stem.get(posixpath.splitext(job.name)[0], [])
        missing = None
        if len(guides) != 1:
            names = ", ".join(posixpath.basename(_slashes(x)) for x in guides)
            missing = (
                f"{job.source}: there must be one guide of its name in {folder}. "
                f"Received: {names or 'none'}."
            )
        guided.append(
            dataclasses.replace(job, guide=guides[0] if len(guides) == 1 else None, missing=missing)
        )
    return guided


def without_twin(job: Job, written: Set[str], *files: str) -> Job:
    """A job, which cannot be done if another input of its name went to its target.

    Args:
        job: the job.
        written: what the jobs before it have written.
        *files: what it writes beside its target.

    Returns:
        The job, with a word in `missing` in that case.
    """
    for place in (job.target, *files):
        if place in written:
            missing = f"{job.source}: another input of this name went to {place} already."
            return dataclasses.replace(job, missing=missing)
    return job


def share(jobs: Iterable[Job], number: int, count: int) -> list[Job]:
    """One of several parts of the jobs, which have none in common and miss none.

    Args:
        jobs: all of them.
        number: which part, from 1.
        count: how many parts there are.

    Returns:
        The jobs whose names fall to that part: the same on every machine, wherever its folders
        are and whatever else is in them.

    Raises:
        ValueError: if there is no such part.

    Example:
        >>> jobs = [Job(f"a/{i}.png", f"b/{i}.png", f"{i}.png") for i in range(100)]
        >>> parts = [share(jobs, i, 3) for i in (1, 2, 3)]
        >>> sum(map(len, parts)), len(set().union(*parts))
        (100, 100)
    """
    if not 1 <= number <= count:
        raise ValueError(
            f"A share must be one of its number. Received: {number}/{count}. The first of four is "
            "1/4."
        )
    return [job for job in jobs if _hash(job.name) % count == number - 1]


def _hash(name: str) -> int:
    digest = hashlib.blake2b(name.encode(errors="surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "big")
