"""Pictures written to files, whole or not at all, and what a format has no place for."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import pathlib
import struct
from collections.abc import Iterable, Iterator

import numpy as np

from deepam_tf.files import atomic
from deepam_tf.files.formats import WRITTEN, Written, written_format
from deepam_tf.files.picture import ImageFileError, Picture

__all__ = ["check_place", "check_writable", "lost", "write", "write_all", "write_bytes"]


def write(
    path: str | os.PathLike,
    picture: Picture,
    *,
    overwrite: bool = False,
    quality: int | None = None,
) -> None:
    """Encode a picture in its own numbers, with what its file said of it, whole or not at all.

    Args:
        path: file to write; its suffix names the format.
        picture: what to write. `pixels` of integers are clipped to [0, 1].
        overwrite: whether an existing file may be replaced.
        quality: of JPEG and WebP, 1 to 100; by default what the picture's file had, or 95.

    Raises:
        ImageFileError: if the file exists and `overwrite` is False, if the format cannot
            hold the picture's numbers or alpha, or the folder cannot be written to.
    """
    write_all(path, [picture], count=1, overwrite=overwrite, quality=quality)


def write_all(
    path: str | os.PathLike,
    pictures: Iterable[Picture],
    *,
    count: int,
    overwrite: bool = False,
    quality: int | None = None,
) -> None:
    """Write the frames of an animation or the pages of a TIFF file, whole or not at all.

    Pages are written as they come: of a long stack one is in memory.

    Args:
        path: file to write; its suffix names the format.
        pictures: what to write.
        count: how many they are.
        overwrite: see `write`.
        quality: see `write`.

    Raises:
        ImageFileError: see `write`; also if the format cannot hold several pictures.
    """
    path = pathlib.Path(path)
    with _named_as_image():
        iterator = iter(pictures)
        first = next(iterator)
        written = check_writable(path, first, count=count, overwrite=overwrite)
        with atomic.whole_file(path) as temporary:
            if written.name == "TIFF":
                _write_pages(path, temporary, first, iterator, count)
                return
            from deepam_tf.files.raster import Frame, encode

            frames = [Frame.of(picture) for picture in itertools.chain([first], iterator)]
            with _encoding(path):
                temporary.write_bytes(encode(first, frames, written, quality=quality))


def _write_pages(
    path: pathlib.Path,
    temporary: pathlib.Path,
    first: Picture,
    rest: Iterator[Picture],
    count: int,
) -> None:
    from deepam_tf.files.tiff_writer import TiffWriter

    size = count * math.prod(first.pixels.shape) * np.dtype(first.dtype).itemsize
    with contextlib.closing(TiffWriter(temporary, first.encoding, size, count)) as writer:
        for picture in itertools.chain([first], rest):
            with _encoding(path):
                writer.write(picture)


@contextlib.contextmanager
def _encoding(path: pathlib.Path) -> Iterator[None]:
    """What encoders raise, of no promised kind, as one line that names the file."""
    try:
        yield
    except (ValueError, struct.error, RuntimeError, OverflowError, KeyError) as error:
        raise ImageFileError(f"{path}: the picture could not be encoded ({error}).") from error


def check_writable(
    path: pathlib.Path, picture: Picture, *, count: int = 1, overwrite: bool = False
) -> Written:
    """Raise as `write_all` would, before the work whose result it writes is done.

    Args:
        path: file to write.
        picture: the first of what is to be written.
        count: how many pictures there are.
        overwrite: whether an existing file may be replaced.

    Returns:
        The format.

    Raises:
        ImageFileError: see `write_all`.
    """
    check_place(path, overwrite=overwrite)
    suffix = path.suffix.lower()
    written = written_format(path)
    if written is None:
        known = sorted(name for one in WRITTEN for name in one.suffixes)
        raise ImageFileError(
            f"{path}: the suffix must name an image format that is written, one of "
            f"{', '.join(known)}."
        )
    longest = max(picture.pixels.shape[:2])
    if written.longest_side is not None and longest > written.longest_side:
        raise ImageFileError(
            f"{path}: the format holds at most {written.longest_side} pixels a side. "
            f"Received: {longest}. Use .png."
        )
    if count > 1 and written.pages is None:
        raise ImageFileError(
            f"{path}: {suffix} holds one picture. Received: {count}. Take the first with "
            "--first-frame, or use .png, .webp or .gif for animations, .tiff for pages."
        )
    if count > 1 and written.pages == "animation" and picture.duration is None:
        raise ImageFileError(
            f"{path}: {suffix} holds animations, no pages. Received: {count} pages. Use .tiff, or "
            "take the first with --first-frame."
        )
    dtype = np.dtype(picture.dtype)
    if dtype.name not in written.depths:
        if dtype == np.uint16:
            raise ImageFileError(f"{path}: {suffix} cannot hold 16 bits. Use .png or .tiff.")
        raise ImageFileError(f"{path}: {suffix} cannot hold {dtype} numbers. Use .tiff.")
    if picture.unknown is not None and picture.unknown.any() and written.name != "TIFF":
        raise ImageFileError(f"{path}: {suffix} cannot hold pixels without a value. Use .tiff.")
    if picture.alpha is not None and not written.alpha:
        raise ImageFileError(f"{path}: {suffix} cannot hold transparency. Use .png.")
    if count > 1 and written.name == "PNG" and dtype == np.uint16:
        raise ImageFileError(f"{path}: animations have 8 bits. Use .tiff.")
    return written


def lost(picture: Picture, path: pathlib.Path, *, count: int = 1) -> list[str]:
    """What a file of that name will not have of a picture, one line each.

    Args:
        picture: the first of what is to be written.
        path: file to write.
        count: how many pictures there are.

    Returns:
        Lines to show.
    """
    written, metadata = written_format(path), picture.metadata
    if written is None:
        return []
    comment = dict(metadata.text).get("Comment")
    others = [key for key, _ in metadata.text if key != "Comment"]
    there = {
        "colour profile": metadata.icc,
        "EXIF": metadata.exif,
        "XMP": metadata.xmp,
        "IPTC": metadata.iptc or metadata.photoshop,
        "resolution": metadata.resolution,
        "text": others or (comment and "comment" not in written.keeps),
        "gamma and primaries": metadata.color_chunks,
    }
    names = [name for name, value in there.items() if value and name not in written.keeps]
    lines = []
    if names:
        lines.append(f"{', '.join(names)} have no place in {path.suffix.lower()} files.")
    if written.name == "GIF":
        lines.append("GIF holds 256 colours a frame.")
    if picture.duration is not None and count > 1 and written.pages == "pages":
        lines.append("TIFF holds no durations of frames.")
    if written.name == "TIFF":
        from deepam_tf.files.tiff_writer import compression_note

        note = compression_note(picture.encoding)
        lines += [note] if note else []
    return lines


@contextlib.contextmanager
def _named_as_image() -> Iterator[None]:
    """What cannot be written is an error of this module."""
    try:
        yield
    except atomic.WriteError as error:
        raise ImageFileError(str(error)) from error


def check_place(path: pathlib.Path, *, overwrite: bool = False) -> None:
    """Raise where no file could be written, or one is in the way.

    Raises:
        ImageFileError: see `atomic.check_place`.
    """
    with _named_as_image():
        atomic.check_place(path, overwrite=overwrite)


def write_bytes(path: pathlib.Path, data: bytes) -> None:
    """Write an encoded picture, whole or not at all.

    Raises:
        ImageFileError: see `atomic.write_bytes`.
    """
    with _named_as_image():
        atomic.write_bytes(path, data)
