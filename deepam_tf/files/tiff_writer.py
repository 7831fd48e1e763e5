"""TIFF written as the file was that its picture came from, by tifffile."""

from __future__ import annotations

import importlib.util
import os
import pathlib
import struct
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from deepam_tf.files.metadata import (
    IPTC_TAG,
    PHOTOSHOP_TAG,
    STRUCTURE,
    XMP_TAG,
    photoshop_of,
    sub_directories,
)
from deepam_tf.files.picture import Encoding, Metadata, Picture

__all__ = ["TiffWriter", "compression_note", "tile_side"]

_KEPT_COMPRESSIONS = {1: "none", 5: "lzw", 8: "zlib", 32946: "zlib", 32773: "packbits",
                      34925: "lzma", 50000: "zstd"}  # fmt: skip
_NEED_IMAGECODECS = {"lzw", "packbits", "zstd"}
_TILE = (512, 512)  # of what is written in parts and had no tiles
_CLASSIC_LIMIT = 3_900_000_000  # bytes; offsets of 32 bits end at 4 GiB


class TiffWriter:
    """A file that is written page by page.

    Args:
        path: a file that may be written to.
        encoding: how the first page was stored decides how all are.
        size: bytes of the numbers of all pages.
        count: how many pages there will be.
    """

    def __init__(self, path: pathlib.Path, encoding: Encoding, size: int, count: int = 1) -> None:
        self._path = path
        self._big = encoding.big or size > _CLASSIC_LIMIT
        self._order = encoding.byteorder
        self._writer = tifffile.TiffWriter(path, bigtiff=self._big, byteorder=self._order)
        self._directories: dict[int, Any] = {}
        self._count = count
        self._number = 0

    def write(self, picture: Picture) -> None:
        """Write the next page."""
        encoding, metadata = picture.encoding, picture.metadata
        values = picture.numbers()
        if encoding.white_is_zero and values.dtype.kind == "u":
            values = np.iinfo(values.dtype).max - values
        extra = None
        if picture.alpha is not None:
            if encoding.associated:
                values = _multiplied(values, picture.alpha)
            values = np.dstack([values, picture.alpha.astype(values.dtype)])
            extra = ["assocalpha" if encoding.associated else "unassalpha"]
        colors = values.shape[-1] - (extra is not None)
        planar = encoding.planar and values.shape[-1] > 1
        if values.shape[-1] == 1:
            values = values[..., 0]
        elif planar:
            values = np.moveaxis(values, -1, 0)
        self._writer.write(
            np.ascontiguousarray(values),
            planarconfig=("separate" if planar else "contig") if values.ndim == 3 else None,
            extrasamples=extra,
            tile=encoding.tile,
            **self._options(encoding, metadata, colors, values.dtype),
        )
        self._number += 1

    def write_bands(
        self,
        bands: Iterable[np.ndarray],
        shape: tuple[int, int, int],
        dtype: np.dtype,
        encoding: Encoding,
        metadata: Metadata,
    ) -> None:
        """Write a page in tiles of which it is given a row at a time.

        Args:
            bands: numbers `[h, W, C]` of `tile_side(encoding)[0]` rows each, the last of what is
                left.
            shape: height, width and channels of the page.
            dtype: unsigned integers.
            encoding: how it is stored.
            metadata: what the file says of it.
        """
        high, wide = tile_side(encoding)
        top = np.iinfo(dtype).max

        def tiles() -> Iterator[np.ndarray]:
            for band in bands:
                values = top - band if encoding.white_is_zero else band
                for left in range(0, shape[1], wide):
                    part = values[:, left : left + wide]
                    tile = np.zeros([high, wide, shape[2]], dtype)
                    tile[: part.shape[0], : part.shape[1]] = part
                    yield tile[..., 0] if shape[2] == 1 else tile

        self._writer.write(
            tiles(),
            shape=shape[:2] if shape[2] == 1 else shape,
            dtype=dtype,
            planarconfig="contig" if shape[2] > 1 else None,
            tile=(high, wide),
            **self._options(encoding, metadata, shape[2], dtype),
        )
        self._number += 1

    def _options(
        self, encoding: Encoding, metadata: Metadata, colors: int, dtype: np.dtype
    ) -> dict[str, Any]:
        """What a page is written with, however its pixels are given."""
        gray = "miniswhite" if encoding.white_is_zero else "minisblack"
        compression, predictor = _compression_of(encoding, dtype)
        resolution = metadata.resolution
        return {
            "photometric": "rgb" if colors == 3 else gray,
            "compression": compression,
            "predictor": predictor,
            "resolution": None if resolution is None else (resolution.x, resolution.y),
            "resolutionunit": None
            if resolution is None
            else resolution.unit.replace("cm", "centimeter"),
            "iccprofile": metadata.icc,
            "metadata": None,
            "software": False,
            "subfiletype": 2 if self._count > 1 else 0,
            "extratags": self._tags(metadata),
        }

    def _tags(self, metadata: Metadata) -> list[tuple]:
        # Text tags begin with what the file had; EXIF of other formats brings its own.
        tags = {
            code: (code, kind, count, value, True) for code, kind, count, value in metadata.tags
        }
        for code, value in ((XMP_TAG, metadata.xmp), (IPTC_TAG, metadata.iptc),
                            (PHOTOSHOP_TAG, photoshop_of(metadata))):  # fmt: skip
            if value:
                tags[code] = (code, 1, len(value), value, True)
        if metadata.exif:
            if not metadata.tags:
                tags |= _text_tags(metadata.exif)
            if self._number == 0 and not self._big:
                self._directories = sub_directories(metadata.exif, self._order)
                # tifffile leaves these tags to itself: their places are kept by their neighbours.
                tags |= {code: (code + 1, 4, 1, 0, True) for code in self._directories}
        return [tags[code] for code in sorted(tags)]

    def close(self) -> None:
        """Write what is left, and let go of the file."""
        self._writer.close()
        if not self._directories:
            return
        with tifffile.TiffFile(self._path, mode="r+b") as file:
            handle = file.filehandle
            for code, directory in self._directories.items():
                handle.seek(0, os.SEEK_END)
                place = handle.tell() + handle.tell() % 2
                handle.seek(place)
                handle.write(directory.tobytes(place))
                entry = file.pages.first.tags[code + 1].offset
                handle.seek(entry)
                handle.write(struct.pack(self._order + "H", code))
                handle.seek(entry + 8)
                handle.write(struct.pack(self._order + "I", place))


def tile_side(encoding: Encoding) -> tuple[int, int]:
    """Height and width of the tiles of what is written in parts."""
    return encoding.tile or _TILE


def _text_tags(exif: bytes) -> dict[int, tuple]:
    """Texts of EXIF's first directory, as tags."""
    found = Image.Exif()
    found.load(b"Exif\x00\x00" + exif)
    return {
        code: (code, 2, 0, value, True)
        for code, value in found.items()
        if isinstance(value, str) and code not in STRUCTURE and value.isascii()
    }


def compression_note(encoding: Encoding) -> str | None:
    """What is not as it was of a file's compression, None if nothing is."""
    if encoding.format != "TIFF":
        return None
    name = _KEPT_COMPRESSIONS.get(encoding.compression)
    if name is None:
        return "its compression becomes deflate, which loses nothing."
    if name in _NEED_IMAGECODECS and not _has_imagecodecs():
        return f"its {name} compression becomes deflate; with the package imagecodecs it stays."
    return None


def _compression_of(encoding: Encoding, dtype: np.dtype) -> tuple[str | None, int | bool | None]:
    if encoding.format != "TIFF":
        return "zlib", dtype.kind in "ui"
    name = _KEPT_COMPRESSIONS.get(encoding.compression, "zlib")
    if name in _NEED_IMAGECODECS and not _has_imagecodecs():
        name = "zlib"
    if name == "none":
        return None, None
    predictor = encoding.predictor
    if predictor == 3 and (dtype.kind != "f" or not _has_imagecodecs()):
        predictor = 1
    if predictor == 2 and dtype.kind == "f":
        predictor = 1
    return name, None if predictor == 1 or name == "packbits" else predictor


def _has_imagecodecs() -> bool:
    return importlib.util.find_spec("imagecodecs") is not None


def _multiplied(values: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    top = 1.0 if values.dtype.kind == "f" else float(np.iinfo(values.dtype).max)
    share = alpha[..., np.newaxis].astype(np.float64) / top
    share = np.where(alpha[..., np.newaxis] > 0, share, 1.0)  # what is hidden is as it was
    product = values * share
    return (
        product.astype(values.dtype)
        if values.dtype.kind == "f"
        else np.rint(product).astype(values.dtype)
    )
