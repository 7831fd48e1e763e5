"""Files at paths and at URLs: what fsspec opens is brought here, and taken there whole."""

from __future__ import annotations

import contextlib
import os
import pathlib
import posixpath
import secrets
import tempfile
from collections.abc import Iterator
from typing import Any

from deepam_tf.files.pictures import ImageFileError

__all__ = [
    "file_system",
    "files_below",
    "in_the_way",
    "is_folder",
    "is_url",
    "join",
    "local",
    "make_folder",
    "matches",
    "written",
]

_WHOLE_OBJECTS = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "r2"})
"""Protocols of stores in which an object appears when it is complete, and not before."""


def is_url(place: str | os.PathLike) -> bool:
    """Whether a place is a URL, not a path of this machine.

    Args:
        place: path or URL.

    Returns:
        True for URLs.

    Example:
        >>> is_url("s3://bucket/a.png"), is_url("folder/a.png")
        (True, False)
    """
    return "://" in os.fspath(place)


def join(folder: str, name: str) -> str:
    """A name below a folder or URL.

    Args:
        folder: path or URL.
        name: its parts with `/` between them.

    Returns:
        Path or URL.
    """
    if is_url(folder):
        return f"{folder.rstrip('/')}/{name}"
    return os.path.join(folder, *name.split("/"))


def file_system(url: str) -> tuple[Any, str]:
    """What opens a URL.

    Args:
        url: of a protocol that fsspec knows.

    Returns:
        The file system and the path in it.

    Raises:
        ImportError: if fsspec, or what it needs for the protocol, is not there.
        ImageFileError: if no such protocol is known.
    """
    try:
        import fsspec
    except ImportError as error:
        raise ImportError(
            f"URLs are opened by fsspec. Received: {url}. pip install 'deepam-tf[urls]'."
        ) from error
    try:
        return fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise ImportError(
            f"{url}: the package for its protocol is not installed ({error})."
        ) from error
    except ValueError as error:
        raise ImageFileError(f"{url}: {error}.") from error


def is_folder(url: str) -> bool:
    """Whether a URL is that of a folder.

    Raises:
        ImageFileError: if nothing is there, or it cannot be asked.
    """
    with _reading(url):
        system, path = file_system(url)
        if system.isdir(path):
            return True
        if system.exists(path):
            return False
    raise ImageFileError(f"{url}: no such file.")


def files_below(url: str, *, recursive: bool) -> list[tuple[str, str]]:
    """The files in a folder.

    Args:
        url: of the folder.
        recursive: whether folders below it count too.

    Returns:
        URL, and name below the folder, of each, sorted.
    """
    with _reading(url):
        system, path = file_system(url)
        found = system.find(path, maxdepth=None if recursive else 1)
    root = path.rstrip("/") + "/"
    return sorted(
        (join(url, name), name) for name in (x[len(root) :] for x in found if x.startswith(root))
    )


def matches(url: str) -> list[str]:
    """URLs of the files that fit a pattern, sorted."""
    with _reading(url):
        system, path = file_system(url)
        start = url.removesuffix(path.lstrip("/"))  # with the host, where there is one
        return sorted(start + x.lstrip("/") for x in system.glob(path) if system.isfile(x))


def in_the_way(place: str, began: float) -> bool:
    """Whether something is there that a run which began then has not written.

    Args:
        place: path or URL of a file to write.
        began: seconds since 1970, by the clock of the file system.

    Returns:
        True also where the time of what is there cannot be told.
    """
    if not is_url(place):
        try:
            return os.lstat(place).st_mtime < began
        except OSError:
            return False
    system, path = file_system(place)
    if not system.exists(path):
        return False
    try:
        return system.modified(path).timestamp() < began
    except (NotImplementedError, AttributeError):
        return True


def make_folder(folder: pathlib.Path) -> None:
    """Make a folder of this machine, and those above it, unless it is there.

    Raises:
        ImageFileError: if it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImageFileError(f"{folder}: the folder cannot be made ({error.strerror}).") from error


@contextlib.contextmanager
def local(place: str) -> Iterator[pathlib.Path]:
    """A file as one of this machine, which is gone after the block if it came from elsewhere.

    Args:
        place: path or URL.

    Yields:
        The path, or that of a copy with the same name.

    Raises:
        ImageFileError: if it cannot be had.
    """
    if not is_url(place):
        yield pathlib.Path(place)
        return
    with tempfile.TemporaryDirectory(prefix="deepam-") as folder:
        copy = pathlib.Path(folder, posixpath.basename(place))
        with _reading(place):
            system, path = file_system(place)
            system.get_file(path, str(copy))
        yield copy


@contextlib.contextmanager
def written(place: str) -> Iterator[pathlib.Path]:
    """A path to write a file to, which is at its place, whole, when the block has ended.

    Args:
        place: path or URL.

    Yields:
        The path itself, or one of this machine that is taken to the URL if the block ends
        without an error.

    Raises:
        ImageFileError: if the file cannot be taken there.
    """
    if not is_url(place):
        yield pathlib.Path(place)
        return
    with tempfile.TemporaryDirectory(prefix="deepam-") as folder:
        draft = pathlib.Path(folder, posixpath.basename(place))
        yield draft
        system, path = file_system(place)
        try:
            _take_there(system, draft, path)
        except OSError as error:
            raise ImageFileError(f"{place}: cannot be written ({error}).") from error


def _take_there(system: Any, draft: pathlib.Path, path: str) -> None:
    protocols = system.protocol if isinstance(system.protocol, tuple) else (system.protocol,)
    system.makedirs(posixpath.dirname(path), exist_ok=True)
    if _WHOLE_OBJECTS & set(protocols):
        system.put_file(str(draft), path)
        return
    # Elsewhere a reader could see the half of it: it gets its name when it is complete.
    hidden = f"{posixpath.dirname(path)}/.{secrets.token_hex(8)}{draft.suffix}"
    try:
        system.put_file(str(draft), hidden)
        system.mv(hidden, path)
    except BaseException:
        with contextlib.suppress(Exception):
            system.rm_file(hidden)
        raise


@contextlib.contextmanager
def _reading(url: str) -> Iterator[None]:
    """What file systems raise, of no promised kind, as one line that names the URL."""
    try:
        yield
    except (ImageFileError, ImportError, MemoryError):
        raise
    except FileNotFoundError as error:
        raise ImageFileError(f"{url}: no such file.") from error
    except Exception as error:
        what = str(error).strip().splitlines()
        raise ImageFileError(
            f"{url}: cannot be read ({what[0] if what else type(error).__name__})."
        ) from error
