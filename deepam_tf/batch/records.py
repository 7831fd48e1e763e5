"""What became of every picture: a line of JSON for each, which a later run can go on from."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import IO, Any

from deepam_tf.files import pictures as image_io
from deepam_tf.files.atomic import lock, whole_file

__all__ = ["Manifest", "Report", "record"]

Record = dict[str, Any]


def record(
    source: str | os.PathLike,
    target: str | os.PathLike,
    *,
    guide: str | None = None,
    facts: Mapping[str, Any] | None = None,
    seconds: float = 0.0,
    error: str | None = None,
) -> Record:
    """What became of one picture.

    Args:
        source: what was read.
        target: what was written.
        guide: what guided, None: nothing.
        facts: what was found out: `noise`, `sigma`, `model`, `notes` and the like.
        seconds: how long it took.
        error: why it was not restored, None: it was.

    Returns:
        A dictionary of what JSON can hold.

    Example:
        >>> record("a.png", "b.png", facts={"sigma": 5.0}, seconds=0.25)
        {'input': 'a.png', 'output': 'b.png', 'sigma': 5.0, 'seconds': 0.25, 'error': None}
    """
    return {
        "input": os.fspath(source),
        "output": os.fspath(target),
        **({} if guide is None else {"guide": guide}),
        **(facts or {}),
        "seconds": round(seconds, 3),
        "error": error,
    }


class Report:
    """A line of JSON for every file, written as soon as it is known.

    Args:
        file: where they go; None: nowhere.
    """

    def __init__(self, file: IO[str] | None) -> None:
        self._file = file

    @classmethod
    @contextlib.contextmanager
    def open(
        cls, path: pathlib.Path | None, *, append: bool = False, overwrite: bool = False
    ) -> Iterator[Report]:
        """A report in a file.

        Args:
            path: the file, None: nowhere.
            append: whether a report that is there is gone on with.
            overwrite: whether one that is there may be replaced.

        Yields:
            The report.

        Raises:
            ImageFileError: if its file exists and is neither to be replaced nor gone on with, or
                cannot be written.
        """
        if path is None:
            yield cls(None)
            return
        image_io.check_place(path, overwrite=overwrite or append)
        with _opened(path, "a" if append else "w") as file:
            yield cls(file)

    def add(self, line: Record) -> None:
        """Write what became of one file."""
        if self._file is None:
            return
        self._file.write(json.dumps(line, ensure_ascii=True) + "\n")
        self._file.flush()


class Manifest:
    """A report that has every picture once, and that a run goes on from.

    Beside it, under the same name with `.run.json`, is what the run was asked for: another run goes
    on only if it asks for the same. What an interruption left of a last line is dropped, its
    picture is done again. A second run at the same time is refused.

    Attributes:
        done: pictures that were restored, by earlier runs and this one.
        failed: pictures that could not be.
        began: when the first run began, seconds since 1970, by the clock of the manifest's disk.
    """

    def __init__(self, path: pathlib.Path, file: IO[str], began: float, lines: list[Record]):
        self._path = path
        self._file = file
        self.began = began
        self.done: set[str] = set()
        self.failed: set[str] = set()
        for line in lines:
            self._count(line)

    @classmethod
    @contextlib.contextmanager
    def open(
        cls,
        path: str | os.PathLike,
        settings: Record,
        *,
        restart: bool = False,
        retry_failed: bool = False,
    ) -> Iterator[Manifest]:
        """The manifest in a file, which is made unless it is there.

        Args:
            path: file of this machine.
            settings: what decides what the results are, of what JSON can hold.
            restart: whether to forget what is there.
            retry_failed: whether to forget the pictures that could not be restored.

        Yields:
            The manifest.

        Raises:
            ImageFileError: if it is of a run with other settings, damaged, written by another run
                now, or cannot be written.
        """
        path = pathlib.Path(path)
        asked = path.with_suffix(".run.json")
        with _opened(path, "a+") as file:
            if not lock(file):
                raise image_io.ImageFileError(
                    f"{path}: another run is writing this manifest. Wait for it, or give each a "
                    "--shard."
                )
            if restart or not asked.is_file():
                if not restart and path.stat().st_size:
                    raise image_io.ImageFileError(
                        f"{path}: {asked.name}, which says what the manifest is of, is missing. "
                        "Choose another --manifest, or forget this one with --restart."
                    )
                file.truncate(0)
                with whole_file(asked) as draft:
                    draft.write_text(json.dumps(settings, indent=2) + "\n")
            _check_settings(path, json.loads(asked.read_text()), settings)
            lines = _read(path, file)
            if retry_failed and any(line["error"] is not None for line in lines):
                lines = [line for line in lines if line["error"] is None]
                # Shorter, and by one write: an interruption forgets pictures, and they are redone.
                file.truncate(0)
                file.write("".join(json.dumps(line) + "\n" for line in lines))
                file.flush()
            yield cls(path, file, asked.stat().st_mtime, lines)

    def __contains__(self, source: str) -> bool:
        return source in self.done or source in self.failed

    def add(self, line: Record) -> bool:
        """Write what became of one picture.

        Args:
            line: of `record`.

        Returns:
            False if the picture is in the manifest already: nothing is written then.

        Raises:
            ImageFileError: if the disk refuses.
        """
        if line["input"] in self:
            return False
        try:
            self._file.write(json.dumps(line, ensure_ascii=True) + "\n")
            self._file.flush()
        except OSError as error:
            raise image_io.ImageFileError(
                f"{self._path}: cannot be written ({error.strerror})."
            ) from error
        self._count(line)
        return True

    def _count(self, line: Record) -> None:
        (self.done if line["error"] is None else self.failed).add(line["input"])


@contextlib.contextmanager
def _opened(path: pathlib.Path, mode: str) -> Iterator[IO[str]]:
    try:
        file = open(path, mode, encoding="utf-8")
    except OSError as error:
        raise image_io.ImageFileError(f"{path}: cannot be written ({error.strerror}).") from error
    with file:
        yield file


def _check_settings(path: pathlib.Path, before: Record, now: Record) -> None:
    before, now = ({**x, "options": x.get("options") or {}} for x in (before, now))
    pairs = [
        (name, old.get(name), new.get(name))
        for old, new in ((before, now), (before["options"], now["options"]))
        for name in sorted(old.keys() | new.keys())
        if name != "options" and old.get(name) != new.get(name)
    ]
    if pairs:
        differences = ", ".join(f"{name} {new!r}, not {old!r}" for name, old, new in pairs)
        raise image_io.ImageFileError(
            f"{path}: the manifest is of a run that was asked for something else. Received: "
            f"{differences}. Give the same options, choose another --manifest, or begin anew with "
            "--restart."
        )


def _read(path: pathlib.Path, file: IO[str]) -> list[Record]:
    """The lines of a manifest, whose last is dropped if it is not whole."""
    file.seek(0)
    *whole, rest = file.read().split("\n")
    if rest:
        file.truncate(sum(len(text.encode()) + 1 for text in whole))
    file.seek(0, os.SEEK_END)
    lines = []
    for number, text in enumerate(whole, start=1):
        try:
            line = json.loads(text)
            if not {"input", "output", "error"} <= line.keys():
                raise ValueError
        except (ValueError, AttributeError) as error:
            raise image_io.ImageFileError(
                f"{path}: line {number} is no line of a manifest. Choose another --manifest, or "
                "forget this one with --restart."
            ) from error
        lines.append(line)
    return lines
