"""Image files: which they are, limits, errors, several pictures in one; `writing` writes them."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Iterator
from typing import Protocol

import numpy as np

from deepam_tf.files.formats import (
    NAMED_SUFFIXES,
    PILLOW_FORMATS,
    RAW_SUFFIXES,
    READ_SUFFIXES,
    identify,
)
from deepam_tf.files.levels import Levels
from deepam_tf.files.picture import (
    DEPTHS,
    Encoding,
    ImageFileError,
    Metadata,
    Picture,
    UnsupportedImageError,
)
from deepam_tf.files.writing import (
    check_place,
    check_writable,
    lost,
    write,
    write_all,
    write_bytes,
)

__all__ = [
    "DEPTHS",
    "IMAGE_SUFFIXES",
    "MAX_MEGAPIXELS",
    "READ_SUFFIXES",
    "Encoding",
    "ImageFileError",
    "Metadata",
    "Picture",
    "Pictures",
    "UnsupportedImageError",
    "check_megapixels",
    "check_place",
    "check_writable",
    "damage",
    "is_image_name",
    "is_raw",
    "is_tiff",
    "list_images",
    "lost",
    "open_pictures",
    "read",
    "read_numbers",
    "white_of",
    "write",
    "write_all",
    "write_bytes",
]

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
MAX_MEGAPIXELS = 200.0
_BITS = (8, 10, 12, 14, 16)
_WHITES = tuple(2.0**bits - 1 for bits in _BITS)
# Floats are taken for [0, 1] plus noise where their largest lies between these.
_UNIT_FLOATS = (0.1, 1.5)
_HEAD = 64  # bytes by which a format is told


def list_images(
    folder: str | os.PathLike, *, suffixes: frozenset[str] = IMAGE_SUFFIXES
) -> list[pathlib.Path]:
    """Paths of the image files in `folder`, not below it, sorted by name.

    Hidden files, also the `._` companions that macOS writes, links to nothing and folders are
    none.

    Args:
        folder: a folder.
        suffixes: of the names that count, in lower case.

    Returns:
        Paths whose suffix is in `suffixes`, in any case.

    Raises:
        ImageFileError: if `folder` is not a folder.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise ImageFileError(f"An existing folder is needed. Received: {str(folder)!r}.")
    return sorted(
        path for path in folder.iterdir() if is_image_name(path, suffixes) and path.is_file()
    )


def is_image_name(path: pathlib.Path, suffixes: frozenset[str] = IMAGE_SUFFIXES) -> bool:
    """Whether a file of that name is taken for a picture where a folder is read."""
    return path.suffix.lower() in suffixes and not path.name.startswith(".")


class _Reader(Protocol):
    """What opens a format: a file whose pictures are decoded one by one."""

    size: tuple[int, int]
    count: int
    several: str

    def close(self) -> None: ...


@dataclasses.dataclass
class Pictures:
    """The pictures of an open file, decoded as they are asked for.

    Attributes:
        path: the file.
        count: how many there are.
        first: the first of them.
    """

    path: pathlib.Path
    count: int
    first: Picture
    _rest: Iterator[Picture]

    def __iter__(self) -> Iterator[Picture]:
        """Each picture, in order; once."""
        yield self.first
        yield from self._rest


def is_raw(path: str | os.PathLike) -> bool:
    """Whether a file is a raw photograph, a sensor's mosaic not yet developed.

    Args:
        path: a file.

    Returns:
        False also for what cannot be read.
    """
    path = pathlib.Path(path)
    try:
        return _kind(path) == "RAW"
    except ImageFileError:
        return False


def _kind(path: pathlib.Path) -> str | None:
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except FileNotFoundError:
        raise ImageFileError(f"{path}: no such file.") from None
    except OSError as error:
        raise ImageFileError(f"{path}: cannot be read ({error.strerror}).") from error
    if not head:
        raise ImageFileError(f"{path}: the file is empty.")
    kind = identify(head)
    if kind == "TIFF":
        from deepam_tf.files import tiff

        with damage(path):
            named_raw = path.suffix.lower() in RAW_SUFFIXES
            return "RAW" if named_raw or tiff.is_raw(path) else "TIFF"
    return kind


def is_tiff(path: pathlib.Path) -> bool:
    """Whether a file is a TIFF file, and no raw photograph.

    Raises:
        ImageFileError: if it cannot be read.
    """
    return _kind(path) == "TIFF"


@contextlib.contextmanager
def damage(path: pathlib.Path) -> Iterator[None]:
    """What decoders raise of damaged files, as one line that names the file.

    Raises:
        ImageFileError: of whatever is raised meanwhile, but for want of memory, packages and time.
    """
    try:
        yield
    except ImageFileError as error:
        text = str(error)
        named = text if text.startswith(f"{path}: ") else f"{path}: {text}"
        raise type(error)(named) from error
    except (MemoryError, KeyboardInterrupt, ImportError):
        raise
    except Exception as error:
        raise ImageFileError(f"{path}: the file is damaged or truncated.") from error


def _open(path: pathlib.Path) -> _Reader:
    kind = _kind(path)
    if kind is None and path.suffix.lower() in NAMED_SUFFIXES:
        kind = path.suffix[1:].upper()
    if kind is None:
        raise ImageFileError(f"{path}: not an image, or a damaged one.")
    with damage(path):
        if kind == "TIFF":
            from deepam_tf.files.tiff import TiffReader

            return TiffReader(path)
        if kind == "RAW":
            from deepam_tf.files.raw import DevelopedFile

            return DevelopedFile(path)
        if kind in PILLOW_FORMATS or kind == "HEIC":
            from deepam_tf.files.raster import RasterFile

            return RasterFile(path.read_bytes(), kind)
    raise UnsupportedImageError(f"{path}: {kind} is not supported. Convert it to PNG or TIFF.")


@contextlib.contextmanager
def open_pictures(
    path: str | os.PathLike,
    *,
    max_megapixels: float = MAX_MEGAPIXELS,
    white_level: float | str | None = None,
    first_frame: bool = False,
    as_levels: bool = False,
) -> Iterator[Pictures]:
    """The pictures of a file: one, the frames of an animation, or the pages of a TIFF file.

    Args:
        path: PNG, JPEG, TIFF, WebP, GIF, BMP, AVIF, HEIC (with the package pillow-heif), or a raw
            photograph (with rawpy), which is developed.
        max_megapixels: refuse larger pictures before decoding them.
        white_level: which number is white, in the file's scale; `"auto"`: of 16 bit files, the
            largest number of 8, 10, 12, 14 or 16 bits that is needed; None: the largest of the
            type. Of floats, signed and long integers None and `"auto"` are the same: 1 for
            floats that seem to be [0, 1] plus noise, the largest number in the file for others.
        first_frame: take the first picture and leave the others.
        as_levels: leave `pixels` of 8 and 16 bits as integers, to be written to: `Levels`, which
            take less memory. Others, and those that are not all `visible`, are floats even so.

    Yields:
        What gives the pictures, as long as the block lasts.

    Raises:
        ImageFileError: if the file is missing, empty, truncated, no image or too large.
        UnsupportedImageError: if it is an image of a kind that is not read.

    Example:
        >>> import tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "a.tiff")
        >>> page = Picture(np.zeros([4, 5, 1], np.float32), None, np.dtype("uint16"))
        >>> write_all(path, [page, page], count=2)
        >>> with open_pictures(path) as pictures:
        ...     print(pictures.count, [x.pixels.shape for x in pictures])
        2 [(4, 5, 1), (4, 5, 1)]
    """
    path = pathlib.Path(path)
    reader = _open(path)
    with contextlib.closing(reader):
        check_megapixels(path, reader.size, max_megapixels)
        count = 1 if first_frame else reader.count
        pictures = _decoded(path, reader, count, white_level)
        pictures = (_with_pixels(picture, as_levels) for picture in pictures)
        first = next(pictures)
        if first_frame and reader.count > 1:
            left = reader.count - 1
            note = f"the first of {reader.count} {reader.several}; {left} are left out."
            encoding = dataclasses.replace(first.encoding, loop=None, default_image=False)
            first = dataclasses.replace(
                first, notes=(*first.notes, note), duration=None, encoding=encoding
            )
        yield Pictures(path, count, first, pictures)


def _with_pixels(picture: Picture, as_levels: bool) -> Picture:
    """A picture whose pixels are floats, or `Levels` that can be written to."""
    if not isinstance(picture.pixels, Levels):
        return picture
    if not as_levels:
        pixels = np.asarray(picture.pixels)
    elif picture.pixels.numbers.flags.writeable:
        return picture
    else:
        pixels = picture.pixels.of(np.copy)
    return dataclasses.replace(picture, pixels=pixels)


def _decoded(path, reader, count: int, white_level) -> Iterator[Picture]:
    with damage(path):
        if not hasattr(reader, "ranges"):
            for picture in reader.pictures(count):
                yield _with_white(path, picture, white_level)
            return
        dtype = reader.dtype()
        white = None if white_level == "auto" else white_level
        black, note = None, ""
        if dtype.kind in "if" or dtype.itemsize > 2 or (dtype == np.uint16 and white_level):
            dtype, low, high, inverted = reader.ranges(count)
            black, white, note = _levels(path, dtype, low, high, white_level)
            if inverted and dtype.kind != "u" and white is not None:
                black, white = max(high, white), black
        for number, picture in enumerate(reader.pictures(count, black=black, white=white)):
            notes = picture.notes + ((note,) if note and number == 0 else ())
            yield dataclasses.replace(picture, notes=notes)


def _with_white(path: pathlib.Path, picture: Picture, white_level: float | str | None) -> Picture:
    if white_level is None:
        return picture
    if picture.dtype != np.uint16:
        _check_white(path, picture.dtype, white_level, float(picture.numbers().max()))
        is_given = isinstance(white_level, float) and white_level != 255
        if not is_given or picture.dtype != np.uint8:
            return picture
    high = float(picture.numbers().max())
    _, white, note = _levels(path, picture.dtype, 0.0, high, white_level)
    pixels = Levels(picture.numbers(), white)
    if not isinstance(picture.pixels, Levels):
        pixels = np.asarray(pixels)
    notes = (*picture.notes, note) if note else picture.notes
    return dataclasses.replace(picture, pixels=pixels, white=white, notes=notes)


def _check_white(path: pathlib.Path, dtype: np.dtype, white_level, high: float) -> None:
    if isinstance(white_level, float) and dtype.kind == "u" and round(high) > white_level:
        raise ImageFileError(
            f"{path}: the white level must not lie below the largest number of the picture. "
            f"Received: {white_level:g}, and {high:.0f} in the file."
        )


def _levels(
    path: pathlib.Path, dtype: np.dtype, low: float, high: float, white_level: float | str | None
) -> tuple[float | None, float | None, str]:
    """Black, white, and what there is to say of them."""
    if not np.isfinite([low, high]).all():
        raise ImageFileError(f"{path}: no pixel holds a number.")
    black = None if dtype.kind == "u" else min(low, 0.0)
    if isinstance(white_level, float):
        _check_white(path, dtype, white_level, high)
        return (None if black is None else 0.0), white_level, ""
    if dtype == np.uint16:
        return None, *white_of(high)
    if dtype.kind == "u" and dtype.itemsize == 1:
        return None, None, ""
    if dtype.kind == "f" and _UNIT_FLOATS[0] < high <= _UNIT_FLOATS[1] and low > -0.5:
        return 0.0, 1.0, ""
    white = high if high > (black or 0.0) else 0.0 if low < 0 else 1.0
    return black, white, f"white level {white:g}, black level {black or 0.0:g}"


def white_of(high: float) -> tuple[float, str]:
    """White of a file of 16 bits, and what there is to say of it.

    Args:
        high: its largest number.

    Returns:
        The largest number of the bits that are needed; a line, empty if there is nothing to say.

    Example:
        >>> white_of(4000)
        (4095.0, 'white level 4095 (12 bits in 16)')
    """
    white = next(white for white in _WHITES if white >= high)
    bits = _BITS[_WHITES.index(white)]
    return white, "" if bits == 16 else f"white level {white:.0f} ({bits} bits in 16)"


def read(
    path: str | os.PathLike,
    *,
    max_megapixels: float = MAX_MEGAPIXELS,
    white_level: float | str | None = None,
    first_frame: bool = False,
    as_levels: bool = False,
) -> Picture:
    """Decode an image file that holds one picture, upright, alpha kept apart.

    Args:
        path: see `open_pictures`.
        max_megapixels: see `open_pictures`.
        white_level: see `open_pictures`.
        first_frame: see `open_pictures`.
        as_levels: see `open_pictures`.

    Returns:
        A `Picture`.

    Raises:
        ImageFileError: see `open_pictures`; also if the file holds several pictures and
            `first_frame` is False.
    """
    with open_pictures(
        path,
        max_megapixels=max_megapixels,
        white_level=white_level,
        first_frame=first_frame,
        as_levels=as_levels,
    ) as pictures:
        if pictures.count > 1:
            raise ImageFileError(
                f"{path}: one picture is needed. Received: {pictures.count}. Take the first with "
                "--first-frame."
            )
        return pictures.first


def read_numbers(
    path: str | os.PathLike, *, max_megapixels: float = MAX_MEGAPIXELS
) -> tuple[np.ndarray, np.ndarray | None]:
    """The numbers of an image file that holds one picture, whatever they mean.

    Args:
        path: see `open_pictures`.
        max_megapixels: see `open_pictures`.

    Returns:
        `[H, W, 1 or 3]` upright, in the file's type; and `[H, W]`, True where the file says that
        there is no value, or None.

    Raises:
        ImageFileError: see `read`.
    """
    path = pathlib.Path(path)
    with contextlib.closing(_open(path)) as reader:
        check_megapixels(path, reader.size, max_megapixels)
        if reader.count > 1:
            raise ImageFileError(
                f"{path}: one picture is needed. Received: {reader.count} {reader.several}."
            )
        with damage(path):
            if hasattr(reader, "numbers"):
                return reader.numbers()
            return next(reader.pictures(1)).numbers(), None


def check_megapixels(path: pathlib.Path, size: tuple[int, int], max_megapixels: float) -> None:
    """Raise if a picture of that height and width is larger than the limit, or empty.

    Raises:
        ImageFileError: if it is.
    """
    height, width = size
    megapixels = height * width / 1e6
    if megapixels > max_megapixels:
        raise ImageFileError(
            f"{path}: the image has {megapixels:.3g} megapixels, the limit is {max_megapixels:g}."
        )
    if not height or not width:
        raise ImageFileError(f"{path}: the image has no pixels.")
