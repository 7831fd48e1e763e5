"""Files and folders that appear whole or not at all.

What is written goes to a temporary name in the same folder, is brought to the disk, and is renamed
in one step. A reader sees the old content or the new one; an interruption leaves the old.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import secrets
import shutil
import stat
from collections.abc import Iterator
from typing import IO

__all__ = ["WriteError", "check_place", "lock", "whole_file", "whole_folder", "write_bytes"]

_LONGEST_KEPT_SUFFIX = 16  # bytes; temporary names must fit wherever the final name does


class WriteError(ValueError):
    """A file that cannot be written; the message is one line that names it."""


def check_place(path: str | os.PathLike, *, overwrite: bool = False) -> None:
    """Raise where `whole_file` would, before the work whose result is to be written.

    Args:
        path: file to write.
        overwrite: whether an existing file may be replaced.

    Raises:
        WriteError: if the file exists and `overwrite` is False, something else than a file is
            there, the name is too long, or the folder does not exist or cannot be written to.
    """
    try:
        os.lstat(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise WriteError(f"{path}: cannot be written ({error.strerror}).") from error
    else:
        if not overwrite:
            raise WriteError(f"{path}: the file exists already. Use --force to overwrite it.")
    place = _place(path)
    if os.path.lexists(place) and not os.path.isfile(place):
        raise WriteError(f"{path}: something that is no file is there. Choose another name.")
    if not os.path.isdir(place.parent) or not os.access(place.parent, os.W_OK):
        raise WriteError(f"{path}: its folder does not exist or cannot be written to.")


@contextlib.contextmanager
def whole_file(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """A temporary file to write to, which becomes `path` if the block ends without an error.

    An existing file keeps its mode and owner; through a symbolic link the file is replaced that
    the link names. Other hard links of a replaced file keep the old content.

    Args:
        path: file to write.

    Yields:
        An empty file in the same folder, with the suffix of `path`.

    Raises:
        WriteError: if something else than a file is there, or the disk refuses.

    Example:
        >>> import tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "a.txt")
        >>> with whole_file(path) as temporary:
        ...     _ = temporary.write_text("all of it")
        >>> path.read_text()
        'all of it'
    """
    check_place(path, overwrite=True)
    place = _place(path)
    temporary = None
    try:
        temporary = _temporary(place)
        # Created with the mode that the process gives to new files: umask is left alone.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        yield temporary
        _to_disk(temporary)
        if place.exists():
            _keep_owner_and_mode(place, temporary)
        os.replace(temporary, place)
        temporary = None
        _to_disk(place.parent)
    except OSError as error:
        raise WriteError(f"{path}: cannot be written ({error.strerror or error}).") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """A temporary folder to fill, which becomes `path` if the block ends without an error.

    Args:
        path: folder to make; it must not exist.

    Yields:
        An empty folder beside it.

    Raises:
        WriteError: if the folder exists or the disk refuses.

    Example:
        >>> import tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "b")
        >>> with whole_folder(path) as temporary:
        ...     _ = (temporary / "a.txt").write_text("all of it")
        >>> [below.name for below in path.iterdir()]
        ['a.txt']
    """
    path = pathlib.Path(path)
    temporary = None
    try:
        if os.path.lexists(path):
            raise WriteError(f"{path}: it exists already. Choose another name.")
        temporary = _temporary(path)
        temporary.mkdir()
        yield temporary
        for below in temporary.rglob("*"):
            _to_disk(below)
        os.rename(temporary, path)
        temporary = None
        _to_disk(path.parent)
    except OSError as error:
        raise WriteError(f"{path}: cannot be written ({error.strerror or error}).") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def write_bytes(path: str | os.PathLike, data: bytes) -> None:
    """Write a file, see `whole_file`.

    Args:
        path: file to write.
        data: its content.

    Raises:
        WriteError: see `whole_file`.

    Example:
        >>> import tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "c.bin")
        >>> write_bytes(path, b"data")
        >>> path.read_bytes()
        b'data'
    """
    with whole_file(path) as temporary:
        temporary.write_bytes(data)


def lock(file: IO[str]) -> bool:
    """Lock an open file until it is closed, where the system and its disk know locks.

    Args:
        file: the file.

    Returns:
        False if another process has locked it.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # file systems without locks
        pass
    return True


def _place(path: str | os.PathLike) -> pathlib.Path:
    """Where the file itself is, or will be: the end of the links."""
    return pathlib.Path(os.path.realpath(path))


def _temporary(place: pathlib.Path) -> pathlib.Path:
    suffix = place.suffix if len(os.fsencode(place.suffix)) <= _LONGEST_KEPT_SUFFIX else ""
    return place.with_name(f".{secrets.token_hex(8)}{suffix}")


def _keep_owner_and_mode(place: pathlib.Path, temporary: pathlib.Path) -> None:
    before = place.stat()
    if hasattr(os, "chown"):
        # Only root may give files away, the others own what they replace as a rule.
        with contextlib.suppress(PermissionError):
            os.chown(temporary, before.st_uid, before.st_gid)
    os.chmod(temporary, stat.S_IMODE(before.st_mode))


def _to_disk(path: pathlib.Path) -> None:
    """Have the disk hold a file or the names in a folder, where the system can."""
    if path.is_dir() and os.name == "nt":  # folders cannot be opened there
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
