"""Pictures larger than memory: read in parts, kept on disk meanwhile, written in tiles."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from deepam_tf.files import pictures as image_io
from deepam_tf.files.atomic import WriteError, check_place, lock, whole_file, whole_folder
from deepam_tf.files.picture import Encoding, ImageFileError, Metadata, UnsupportedImageError

__all__ = ["Draft", "Regions", "check_writable_regions", "open_regions", "write_regions"]

_TIFF, _ZARR = frozenset({".tif", ".tiff"}), ".zarr"
_SETTINGS, _PIXELS, _DONE = "settings.json", "pixels", "done"


class Regions(Protocol):
    """A picture that is read in parts.

    Attributes:
        shape: height, width and channels, 1 or 3.
        dtype: uint8 or uint16.
        encoding: how its file stored it.
        metadata: what its file says of it.
        notes: one line each: what is not as in the file.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype
    encoding: Encoding
    metadata: Metadata
    notes: tuple[str, ...]

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        """The numbers of a part, `[h, w, C]`."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


class _Named:
    """A picture whose file is named where it cannot be read."""

    def __init__(self, path: pathlib.Path, regions: Regions) -> None:
        self._path, self._regions = path, regions
        self.shape, self.dtype, self.notes = regions.shape, regions.dtype, regions.notes
        self.encoding, self.metadata = regions.encoding, regions.metadata

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        with image_io.damage(self._path):
            return self._regions.read(rows, columns)

    def close(self) -> None:
        self._regions.close()


class _Decoded:
    """A picture whose decoder gives it as a whole, in the numbers of its file."""

    encoding, metadata = Encoding(), Metadata()
    notes: tuple[str, ...] = (
        "its decoder gives it as a whole: its numbers have to fit into memory.",
    )

    def __init__(self, path: pathlib.Path, max_megapixels: float) -> None:
        values, unknown = image_io.read_numbers(path, max_megapixels=max_megapixels)
        if unknown is not None or values.dtype.str[1:] not in ("u1", "u2"):
            raise UnsupportedImageError(
                f"{path}: pictures of {values.dtype} are not read in parts; uint8 and uint16 are."
            )
        self._values = values
        self.shape, self.dtype = values.shape, values.dtype

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        return self._values[rows, columns]

    def close(self) -> None:
        del self._values


class _ZarrRegions:
    """A Zarr array `[H, W]` or `[H, W, 1 or 3]`, or the first of a group of pyramids."""

    encoding, metadata = Encoding(), Metadata()
    notes: tuple[str, ...] = ()

    def __init__(self, path: pathlib.Path) -> None:
        zarr = _zarr(path)
        try:
            opened = zarr.open(str(path), mode="r")
            self._array = opened["0"] if hasattr(opened, "array_keys") else opened
        except Exception as error:  # of no promised kind
            raise ImageFileError(f"{path}: no Zarr array, or a damaged one.") from error
        shape, dtype = self._array.shape, np.dtype(self._array.dtype)
        if len(shape) == 2:
            shape = (*shape, 1)
        if len(shape) != 3 or shape[2] not in (1, 3) or dtype.str[1:] not in ("u1", "u2"):
            raise UnsupportedImageError(
                f"{path}: arrays [height, width] or [height, width, 1 or 3] of uint8 or uint16 are "
                f"read. Received: {self._array.shape}, {dtype}."
            )
        height, width, channels = shape
        self.shape, self.dtype = (height, width, channels), dtype.newbyteorder("=")

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        values = np.asarray(self._array[rows, columns], self.dtype)
        return values.reshape(*values.shape[:2], self.shape[2])

    def close(self) -> None:
        pass


def _zarr(path: pathlib.Path) -> Any:
    try:
        import zarr
    except ImportError as error:
        raise ImportError(
            f"Zarr needs the package zarr. Received: {path}. pip install 'deepam-tf[zarr]'."
        ) from error
    return zarr


@contextlib.contextmanager
def open_regions(
    path: str | os.PathLike,
    *,
    first_frame: bool = False,
    max_megapixels: float = image_io.MAX_MEGAPIXELS,
) -> Iterator[Regions]:
    """A picture that is read in parts.

    Args:
        path: TIFF, also BigTIFF, in tiles or strips, gray or RGB, of 8 or 16 bits; Zarr, with the
            package of that name. Others are decoded as a whole, in the numbers of the file.
        first_frame: see `image_io.open_pictures`.
        max_megapixels: of pictures that are decoded as a whole: refuse larger ones.

    Yields:
        What reads it, as long as the block lasts.

    Raises:
        ImageFileError: if it cannot be read.

    Example:
        >>> import tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "a.tiff")
        >>> image_io.write(path, image_io.Picture(np.ones([4, 5, 1]), None, np.dtype("uint8")))
        >>> with open_regions(path) as regions:
        ...     print(regions.shape, regions.read(slice(1, 3), slice(0, 2)).ravel())
        (4, 5, 1) [255 255 255 255]
    """
    path = pathlib.Path(path)
    if path.is_dir() or path.suffix.lower() == _ZARR:
        regions: Regions = _ZarrRegions(path)
    elif image_io.is_tiff(path):
        from deepam_tf.files.tiff_regions import TiffRegions

        with image_io.damage(path):
            regions = TiffRegions(path, first_frame=first_frame)
    else:
        regions = _Decoded(path, max_megapixels)
    with contextlib.closing(regions):
        yield _Named(path, regions)


def check_writable_regions(path: pathlib.Path, *, overwrite: bool = False) -> None:
    """Raise as `write_regions` would, before the work whose result it writes is done.

    Raises:
        ImageFileError: if the suffix is none of TIFF and Zarr, or the place is none to write to.
    """
    if path.suffix.lower() == _ZARR:
        if os.path.lexists(path):
            raise ImageFileError(f"{path}: it exists already. Choose another name.")
        _zarr(path)
        return
    if path.suffix.lower() not in _TIFF:
        raise ImageFileError(
            f"{path}: what is larger than memory is written as .tif, .tiff or .zarr. "
            f"Received: {path.suffix or 'no suffix'}."
        )
    try:
        check_place(path, overwrite=overwrite)
    except WriteError as error:
        raise ImageFileError(str(error)) from error


class Draft:
    """The numbers of a picture on disk while it is made, part by part, beside its place.

    What is done stays if the process ends at any time, and is gone on with.

    Args:
        target: file that the picture will be.
        settings: what decides what it is, of what JSON can hold.
        shape: height, width and channels.
        dtype: of the numbers.
        count: how many parts there are.

    Attributes:
        shape: as given.
        dtype: as given.
        resumed: how many parts were done before.

    Raises:
        ImageFileError: if there is a draft with other settings, another run is at it, or the disk
            refuses.
    """

    def __init__(
        self,
        target: pathlib.Path,
        settings: dict[str, Any],
        shape: tuple[int, int, int],
        dtype: np.dtype,
        count: int,
    ) -> None:
        self.shape, self.dtype = shape, np.dtype(dtype)
        self._folder = target.with_name(f"{target.name}.partial")
        self._row = shape[1] * shape[2] * self.dtype.itemsize
        with contextlib.ExitStack() as opened, _refused(self._folder):
            self._folder.mkdir(exist_ok=True)
            if not lock(opened.enter_context(open(self._folder / "lock", "a"))):
                raise ImageFileError(f"{self._folder}: another run is at this picture.")
            known = self._folder / _SETTINGS
            if not known.is_file():
                with whole_file(known) as temporary:
                    temporary.write_text(json.dumps(settings))
            elif json.loads(known.read_text()) != settings:
                raise ImageFileError(
                    f"{self._folder}: it holds parts of a picture that were made from another file "
                    "or with other options. Give the same again, or remove the folder."
                )
            for name in (_PIXELS, _DONE):
                (self._folder / name).touch()
            self._pixels, self._marks = (
                opened.enter_context(open(self._folder / name, "r+b", buffering=0)).fileno()
                for name in (_PIXELS, _DONE)
            )
            os.truncate(self._pixels, shape[0] * self._row)
            os.truncate(self._marks, count)
            self._opened = opened.pop_all()
        self._done = bytearray(_at(self._marks, count, 0))
        self.resumed = sum(self._done)

    def __contains__(self, part: int) -> bool:
        return bool(self._done[part])

    def write(self, part: int, rows: slice, columns: slice, values: np.ndarray) -> None:
        """Write a part; it is marked as done when the disk has it.

        Args:
            part: its number.
            rows: which they are.
            columns: likewise.
            values: `[h, w, C]`.

        Raises:
            ImageFileError: if the disk refuses.
        """
        left = columns.start * self.shape[2] * self.dtype.itemsize
        with _refused(self._folder):
            for row, line in zip(range(rows.start, rows.stop), values, strict=True):
                _put(self._pixels, np.ascontiguousarray(line).tobytes(), row * self._row + left)
            os.fsync(self._pixels)
            _put(self._marks, b"\x01", part)
        self._done[part] = 1

    def read(self, rows: slice) -> np.ndarray:
        """Whole rows, `[h, W, C]`."""
        data = _at(self._pixels, (rows.stop - rows.start) * self._row, rows.start * self._row)
        return np.frombuffer(data, self.dtype).reshape(-1, *self.shape[1:])

    def close(self) -> None:
        """Leave it as it is, to be gone on with."""
        self._opened.close()

    def remove(self) -> None:
        """Remove it: the picture is at its place."""
        self.close()
        shutil.rmtree(self._folder)


def _at(file: int, count: int, place: int) -> bytes:
    parts = []
    while count:
        part = os.pread(file, count, place)
        if not part:
            raise ImageFileError("the draft of the picture has been cut off. Remove it.")
        parts.append(part)
        count, place = count - len(part), place + len(part)
    return b"".join(parts)


def _put(file: int, data: bytes, place: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, place)
        view, place = view[written:], place + written


@contextlib.contextmanager
def _refused(folder: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ImageFileError(f"{folder}: cannot be written ({error.strerror}).") from error


def write_regions(
    path: pathlib.Path,
    draft: Draft,
    *,
    encoding: Encoding,
    metadata: Metadata,
    overwrite: bool = False,
) -> None:
    """Write a picture from its draft, in tiles, whole or not at all; a band is in memory.

    Args:
        path: `.tif`, `.tiff` or `.zarr`.
        draft: its numbers.
        encoding: how the file it came from stored it: compression, tiles, order of bytes stay.
        metadata: what that file said of it.
        overwrite: whether an existing file may be replaced.

    Raises:
        ImageFileError: see `check_writable_regions`; or if the disk refuses.
    """
    check_writable_regions(path, overwrite=overwrite)
    from deepam_tf.files.tiff_writer import TiffWriter, tile_side

    height = draft.shape[0]
    high = tile_side(encoding)[0]

    def bands() -> Iterator[tuple[slice, np.ndarray]]:
        for top in range(0, height, high):
            rows = slice(top, min(top + high, height))
            yield rows, draft.read(rows)

    try:
        if path.suffix.lower() == _ZARR:
            with whole_folder(path) as temporary:
                shape = draft.shape if draft.shape[2] > 1 else draft.shape[:2]
                array = _zarr(path).create_array(
                    store=str(temporary),
                    shape=shape,
                    chunks=(*tile_side(encoding), *shape[2:]),
                    dtype=draft.dtype,
                )
                for rows, band in bands():
                    array[rows] = band.reshape(-1, *shape[1:])
            return
        size = int(np.prod(draft.shape)) * draft.dtype.itemsize
        with (
            whole_file(path) as temporary,
            contextlib.closing(TiffWriter(temporary, encoding, size)) as writer,
        ):
            writer.write_bands(
                (band for _, band in bands()), draft.shape, draft.dtype, encoding, metadata
            )
    except WriteError as error:
        raise ImageFileError(str(error)) from error
