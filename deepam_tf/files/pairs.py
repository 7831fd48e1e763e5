"""Files of images, alone or in aligned pairs, to integer arrays in memory."""

from __future__ import annotations

import os
import pathlib
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image

from deepam_tf.files import pictures as image_io
from deepam_tf.files.levels import from_unit

__all__ = [
    "Pair",
    "find_pairs",
    "images_by_stem",
    "list_pairs",
    "load_image",
    "load_images",
    "load_pair",
    "load_pairs",
    "read_pairs",
    "to_channels",
]

_COARSE_STEP = 8  # of 8-bit values, the mean of a JPEG file's quantisation steps


class Pair(NamedTuple):
    """What is to be restored and its guide, of one view.

    Attributes:
        name: of both files, without suffix.
        target: array or path, see `read_pairs` and `find_pairs`.
        guide: the like.
    """

    name: str
    target: Any
    guide: Any


def to_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """Gray to RGB by repetition, RGB to gray by the BT.601 weights (as MATLAB's rgb2gray).

    Args:
        pixels: `[H, W, 1 or 3]` float32, RGB.
        channels: 1 or 3.

    Returns:
        `[H, W, channels]`, float32.
    """
    if pixels.shape[-1] == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=-1)
    return cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)[..., np.newaxis]


def load_images(folder: str | os.PathLike, channels: int = 1) -> list[np.ndarray]:
    """Read all images of a folder into memory, one byte a value.

    Args:
        folder: a folder of image files.
        channels: 1 (colour becomes gray) or 3 (gray becomes colour).

    Returns:
        uint8 arrays `[H, W, channels]`, sorted by file name.

    Raises:
        image_io.ImageFileError: if the folder is missing or holds no image, or a file in it
            cannot be read.
    """
    paths = image_io.list_images(folder)
    if not paths:
        raise image_io.ImageFileError(f"{folder}: the folder holds no image files.")
    return [load_image(path, channels) for path in paths]


def load_image(path: str | os.PathLike, channels: int = 1) -> np.ndarray:
    """Read one image, one byte a value.

    Args:
        path: an image file.
        channels: 1 (colour becomes gray) or 3 (gray becomes colour).

    Returns:
        uint8 array `[H, W, channels]`.

    Raises:
        image_io.ImageFileError: if the file cannot be read.
    """
    pixels = to_channels(image_io.read(path).pixels, channels)
    return from_unit(pixels, np.uint8)


def read_pairs(
    folder: str | os.PathLike,
    *,
    target: str,
    guide: str,
    target_channels: int,
    guide_channels: int,
    border: int = 0,
    jpeg_shrink: int = 1,
) -> list[Pair]:
    """Read aligned pairs of pictures: two folders whose files have the same names.

    Args:
        folder: holds the two folders; suffixes may differ, `rgb/0001.jpg` and
            `depth/0001.png`.
        target: name of the folder of what is to be restored.
        guide: name of the folder of guides.
        target_channels: 1 or 3.
        guide_channels: 1 or 3.
        border: pixels to cut off on every side, for pictures with a frame.
        jpeg_shrink: targets that are JPEG files of quality 93 or less (steps of 8 gray
            levels or more on average), and their guides, are reduced by this factor, blocks
            averaged: the artefacts of the compression would be learnt.

    Returns:
        The pairs, sorted by name; `target` and `guide` are arrays `[H, W, channels]`, uint8, or
        uint16 where the file has 16 bits: `levels.to_unit` brings either to [0, 1].

    Raises:
        image_io.ImageFileError: if a folder is missing or empty, a file has no partner or more
            than one, or cannot be read, or the sizes in a pair differ.
    """
    return [
        Pair(
            pair.name,
            *load_pair(
                pair.target,
                pair.guide,
                target_channels=target_channels,
                guide_channels=guide_channels,
                border=border,
                jpeg_shrink=jpeg_shrink,
            ),
        )
        for pair in find_pairs(folder, target=target, guide=guide)
    ]


def find_pairs(folder: str | os.PathLike, *, target: str, guide: str) -> list[Pair]:
    """The files of the pairs that `read_pairs` reads.

    Args:
        folder: holds the two folders.
        target: name of the folder of what is to be restored.
        guide: name of the folder of guides.

    Returns:
        The pairs, sorted by name; `target` and `guide` are paths.

    Raises:
        image_io.ImageFileError: if a folder is missing or empty, or a file has no partner or
            more than one.
    """
    targets, guides = (images_by_stem(pathlib.Path(folder) / name) for name in (target, guide))
    alone = sorted(targets.keys() ^ guides.keys())
    if alone or not targets:
        raise image_io.ImageFileError(
            f"{folder}: every file in {target}/ must have a partner of its name in {guide}/. "
            f"Received: {len(targets)} and {len(guides)} files"
            + (f", {len(alone)} alone, the first {alone[0]!r}." if alone else ".")
        )
    return [Pair(name, path, guides[name]) for name, path in sorted(targets.items())]


def images_by_stem(folder: str | os.PathLike) -> dict[str, pathlib.Path]:
    """The image files of a folder by their names without suffix.

    Args:
        folder: a folder.

    Returns:
        Paths by stem.

    Raises:
        image_io.ImageFileError: if `folder` is not a folder, or two files differ by their
            suffixes alone: which of them is meant cannot be known.
    """
    found: dict[str, pathlib.Path] = {}
    for path in image_io.list_images(folder):
        other = found.setdefault(path.stem, path)
        if other is not path:
            raise image_io.ImageFileError(
                f"{folder}: names must differ by more than their suffixes, or no partner could be "
                f"told. Received: {other.name} and {path.name}. Move one of them away."
            )
    return found


def load_pairs(folder: str | os.PathLike, **options: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    """What `read_pairs` reads, without the names."""
    return [(pair.target, pair.guide) for pair in read_pairs(folder, **options)]


def list_pairs(
    folder: str | os.PathLike, *, target: str, guide: str
) -> list[tuple[pathlib.Path, pathlib.Path]]:
    """What `find_pairs` finds, without the names."""
    return [(pair.target, pair.guide) for pair in find_pairs(folder, target=target, guide=guide)]


def load_pair(
    target: str | os.PathLike,
    guide: str | os.PathLike,
    *,
    target_channels: int,
    guide_channels: int,
    border: int = 0,
    jpeg_shrink: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """Read one aligned pair of pictures.

    Args:
        target: file of what is to be restored.
        guide: file of the guide.
        target_channels: see `read_pairs`.
        guide_channels: see `read_pairs`.
        border: see `read_pairs`.
        jpeg_shrink: see `read_pairs`.

    Returns:
        The pair, see `read_pairs`.

    Raises:
        image_io.ImageFileError: if a file cannot be read, or the sizes differ.
    """
    pictures = image_io.read(target), image_io.read(guide)
    sizes = [picture.pixels.shape[:2] for picture in pictures]
    if sizes[0] != sizes[1]:
        raise image_io.ImageFileError(
            f"{target}: a pair must have one size. Received: {sizes[0]} and {sizes[1]}, height "
            "and width."
        )
    for path, picture in zip((target, guide), pictures, strict=True):
        if picture.dtype not in image_io.DEPTHS:
            raise image_io.ImageFileError(
                f"{path}: pairs hold integers of 8 or 16 bits. Received: {picture.dtype}. Convert "
                "it to PNG."
            )
    shrink = jpeg_shrink if jpeg_shrink > 1 and _coarsely_quantized(target) else 1
    return (
        _as_integers(pictures[0], target_channels, border, shrink),
        _as_integers(pictures[1], guide_channels, border, shrink),
    )


def _coarsely_quantized(path: str | os.PathLike) -> bool:
    with Image.open(path) as image:
        tables = getattr(image, "quantization", None)  # of JPEG files alone
    return bool(tables) and np.mean(tables[0]) >= _COARSE_STEP


def _as_integers(picture: image_io.Picture, channels: int, border: int, shrink: int) -> np.ndarray:
    height, width, _ = picture.pixels.shape
    pixels = to_channels(picture.pixels, channels)
    pixels = pixels[border : height - border, border : width - border]
    if shrink > 1:
        height, width = (side // shrink for side in pixels.shape[:2])
        pixels = pixels[: height * shrink, : width * shrink]
        pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
        pixels = pixels.reshape(height, width, channels)
    return from_unit(pixels, picture.dtype)
