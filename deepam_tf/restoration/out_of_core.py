"""Pictures larger than memory: windows are read from disk, restored, and written to disk.

The windows are those of `Restorer`, and so are the results; what is measured of the whole picture,
its noise and whether it has colours, is measured on parts of it.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from deepam_tf import __version__
from deepam_tf.data.noise import PoissonGaussian
from deepam_tf.files import pictures as image_io
from deepam_tf.files.levels import from_unit, to_unit
from deepam_tf.files.pairs import to_channels
from deepam_tf.files.picture import Picture
from deepam_tf.files.regions import (
    Draft,
    Regions,
    check_writable_regions,
    open_regions,
    write_regions,
)
from deepam_tf.restoration.borders import FRAME, is_quiet_strip, sides
from deepam_tf.restoration.camera_noise import to_three_channels
from deepam_tf.restoration.defaults import CAMERA_MODEL
from deepam_tf.restoration.picture import (
    Noise,
    Note,
    check_method,
    choose_restorer,
    describe_noise,
    find_noise,
    told_level,
)
from deepam_tf.restoration.strength import Strength
from deepam_tf.restoration.tiles import Restorer
from deepam_tf.restoration.windows import Window

__all__ = ["restore_large"]

_PART, _PARTS = 512, 3  # side of the parts that noise is measured on, and how many a side
_BAND = 256  # rows that are looked through at a time


def restore_large(
    source: str | os.PathLike,
    target: str | os.PathLike,
    *,
    noise: float | str | PoissonGaussian = "auto",
    strength: float | Strength = 1.0,
    model: str | os.PathLike | None = None,
    method: str = "deepam",
    dtype: str = "float32",
    tile: int | None = None,
    self_ensemble: bool = False,
    white_level: float | str | None = None,
    first_frame: bool = False,
    strip: bool = False,
    max_megapixels: float = image_io.MAX_MEGAPIXELS,
    overwrite: bool = False,
    on_note: Callable[[Note], object] = lambda note: None,
    on_progress: Callable[[int, int], object] = lambda done, total: None,
) -> tuple[Noise, str]:
    """Restore a picture that is larger than memory, from file to file.

    What is done lies in the folder `TARGET.partial`, with a mark for each window: the same call
    goes on from there, whatever ended it. The folder takes as much disk as the picture's numbers,
    and goes when the file is complete.

    Args:
        source: see `open_regions`: TIFF and Zarr are read in parts.
        target: `.tif`, `.tiff` or `.zarr`, written in tiles; of more than 3.9 GB BigTIFF.
        noise: see `restore_picture`; measured on nine parts of 512x512 pixels.
        strength: see `restore_picture`.
        model: see `restore_picture`; a name or a folder.
        method: see `restore_picture`.
        dtype: see `restore_picture`.
        tile: see `Restorer`.
        self_ensemble: see `Restorer`.
        white_level: see `image_io.open_pictures`; for `"auto"` a file of 16 bits is looked through.
        first_frame: see `image_io.open_pictures`.
        strip: whether to leave out what the file says of its picture.
        max_megapixels: see `open_regions`.
        overwrite: whether an existing file may be replaced.
        on_note: see `restore_picture`.
        on_progress: see `restore_picture`.

    Returns:
        What its noise was taken to be, and the name of the weights or of the method.

    Raises:
        ImageFileError: if a file cannot be read or written.
        ValueError: see `restore_picture`.

    Example:
        >>> import tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> noisy = np.random.default_rng(0).normal(0.5, 0.1, [50, 70, 1]).astype(np.float32)
        >>> picture = deepam_tf.image_io.Picture(noisy, None, np.dtype("uint8"))
        >>> deepam_tf.image_io.write(folder / "noisy.tiff", picture)
        >>> _, name = restore_large(folder / "noisy.tiff", folder / "clean.tiff", noise=0.1)
        >>> name, deepam_tf.image_io.read(folder / "clean.tiff").pixels.shape
        ('denoise_gray', (50, 70, 1))
    """
    source, target = pathlib.Path(source), pathlib.Path(target)
    strength = strength if isinstance(strength, Strength) else Strength(strength, strength)
    check_method(method, None, model, noise, dtype, False)
    check_writable_regions(target, overwrite=overwrite)

    def say(kind: str, text: str) -> None:
        on_note(Note(kind, text))

    with open_regions(source, first_frame=first_frame, max_megapixels=max_megapixels) as regions:
        for note in regions.notes:
            say("file", note)
        white, colorful = _looked_through(regions, white_level, say)
        sample = _sample(regions, white)
        blind = noise == "auto" and method == "deepam" and model is None
        found = find_noise(sample, noise, blind=blind, dtype=dtype, tile=tile)
        if found.estimated:
            say("noise", f"{describe_noise(found)}, on parts of the picture")
        restorer, name = choose_restorer(
            found,
            model,
            method,
            colorful=colorful,
            guided=False,
            dtype=dtype,
            tile=tile,
            self_ensemble=self_ensemble,
            uncertainty=False,
            say=say,
        )
        level = told_level(found, sample.pixels[:1, :1], restorer, name)
        if level is None and strength.scales:
            raise ValueError(
                "`strength` needs weights that are told the level of the noise. "
                f"Received: {strength} and {name!r}."
            )
        give = functools.partial(_given, restorer, name, colorful)
        restore = functools.partial(_restored, restorer, name, found, strength, give)
        frame = 0
        if restorer.sees_border and _has_quiet_rim(
            regions,
            lambda numbers: give(to_unit(numbers, white)),
            lambda pixels: _largest_level(restorer, name, found, strength, pixels),
        ):
            frame = FRAME
        size = tuple(length + 2 * frame for length in regions.shape[:2])
        given_channels = give(sample.pixels[:1, :1]).shape[-1]
        windows = restorer.windows(*size, max(given_channels // restorer.image_channels, 1))
        settings = {
            "version": __version__,
            "source": os.path.abspath(source),
            "changed": source.stat().st_mtime_ns,
            "noise": [found.kind, found.levels.gain, found.levels.variance, str(level)],
            "strength": dataclasses.astuple(strength),
            "model": name,
            "dtype": dtype,
            "self_ensemble": self_ensemble,
            "white": white,
            "shape": regions.shape,
            "frame": frame,
            "windows": [len(windows), *windows[0].shape],
        }
        settings = {key: _plain(value) for key, value in settings.items()}
        draft = Draft(target, settings, regions.shape, regions.dtype, len(windows))
        try:
            if draft.resumed:
                say("resumed", f"{draft.resumed} of {len(windows)} windows are done already")
            done = draft.resumed
            on_progress(done, len(windows))
            for number, window in enumerate(windows):
                if number in draft:
                    continue
                numbers = _read_framed(regions, window, frame)
                if not (blind and found.kind == "none"):
                    restored = restore(to_unit(numbers, white), size)
                    numbers = from_unit(restored, regions.dtype, white)
                draft.write(number, *_inner(window, numbers, regions.shape, frame))
                done += 1
                on_progress(done, len(windows))
            metadata = regions.metadata.stripped() if strip else regions.metadata
            write_regions(
                target, draft, encoding=regions.encoding, metadata=metadata, overwrite=overwrite
            )
        except BaseException:
            draft.close()
            raise
        draft.remove()
    return found, name


def _plain(value: Any) -> Any:
    """What JSON gives back as it was."""
    return list(value) if isinstance(value, tuple) else value


def _given(restorer: Restorer, name: str, colorful: bool, pixels: np.ndarray) -> np.ndarray:
    """What of a picture's pixels a network is given, as `restore_picture` does."""
    if name == CAMERA_MODEL:
        return to_three_channels(pixels)
    if restorer.image_channels < pixels.shape[-1] and not colorful:
        return pixels[..., :1]  # three equal channels are one
    return pixels


def _restored(
    restorer: Restorer,
    name: str,
    found: Noise,
    strength: Strength,
    give: Callable[[np.ndarray], np.ndarray],
    pixels: np.ndarray,
    size: tuple[int, int],
) -> np.ndarray:
    """A window of a picture of that size, restored."""
    level = told_level(found, pixels, restorer, name)
    given = give(pixels)
    restored = strength.apply(
        given,
        lambda factor: restorer.restore_window(
            given, size=size, noise_stddev=None if level is None else factor * level
        ),
    )
    return to_channels(restored, pixels.shape[-1])


def _largest_level(
    restorer: Restorer, name: str, found: Noise, strength: Strength, pixels: np.ndarray
) -> np.ndarray:
    """The level that the network is told at most, `[1, 1, 1]` or `[h, w, 1]`; 0 where none is."""
    level = told_level(found, pixels, restorer, name)
    factor = max(strength.luma, strength.chroma)
    return np.reshape(0.0, [1, 1, 1]) if level is None else np.atleast_3d(factor * level)


def _has_quiet_rim(
    regions: Regions,
    give: Callable[[np.ndarray], np.ndarray],
    level_of: Callable[[np.ndarray], np.ndarray],
) -> bool:
    """See `borders.has_quiet_rim`: of the four sides of a picture that is not in memory."""
    size = regions.shape[:2]
    for turns, side in enumerate(sides(*size)):
        part = (slice(*x.indices(length)[:2]) for x, length in zip(side, size, strict=True))
        pixels = give(regions.read(*part))
        if is_quiet_strip(np.rot90(pixels, turns), np.rot90(level_of(pixels), turns)):
            return True
    return False


def _read_framed(regions: Regions, window: Window, frame: int) -> np.ndarray:
    """What a window of the picture with its frame sees."""
    indices = []
    for part, length in zip(window.read, regions.shape[:2], strict=True):
        index = (np.arange(part.start, part.stop) - frame) % (2 * length)
        indices.append(np.where(index >= length, 2 * length - 1 - index, index))
    rows, columns = (slice(int(x.min()), int(x.max()) + 1) for x in indices)
    numbers = regions.read(rows, columns)
    if not frame:
        return numbers
    return numbers[np.ix_(indices[0] - rows.start, indices[1] - columns.start)]


def _inner(
    window: Window, numbers: np.ndarray, shape: tuple[int, int, int], frame: int
) -> tuple[slice, slice, np.ndarray]:
    """What a window answers for without the frame: rows, columns and numbers."""
    places, insides = [], []
    for kept, inside, length in zip(window.kept, window.inside, shape[:2], strict=True):
        start, stop = max(kept.start - frame, 0), min(kept.stop - frame, length)
        stop = max(stop, start)
        first = inside.start + start - (kept.start - frame)
        places.append(slice(start, stop))
        insides.append(slice(first, first + stop - start))
    return places[0], places[1], numbers[insides[0], insides[1]]


def _looked_through(
    regions: Regions, white_level: float | str | None, say: Callable[[str, str], object]
) -> tuple[float | None, bool]:
    """White in the file's numbers, and whether there are colours; all is read only if needed."""
    height, width, channels = regions.shape
    largest = white_level == "auto" and regions.dtype == np.uint16
    is_given = isinstance(white_level, (int, float))
    high, colorful = 0, False
    if largest or is_given or channels == 3:
        for top in range(0, height, _BAND):
            band = regions.read(slice(top, min(top + _BAND, height)), slice(0, width))
            if channels == 3 and not colorful:
                colorful = bool(np.any(band[..., :1] != band[..., 1:]))
            if largest or is_given:
                high = max(high, int(band.max()))
            elif colorful:
                break
    if is_given and high > white_level:
        raise image_io.ImageFileError(
            "the white level must not lie below the largest number of the picture. "
            f"Received: {white_level:g}, and {high} in the file."
        )
    if not largest:
        return (float(white_level) if is_given else None), colorful
    white, note = image_io.white_of(high)
    if note:
        say("file", note)
    return white, colorful


def _sample(regions: Regions, white: float | None) -> Picture:
    """Parts spread over the picture, side by side, as a picture that noise is measured on."""
    tops, lefts = (
        sorted({round(x) for x in np.linspace(0, max(size - _PART, 0), _PARTS)})
        for size in regions.shape[:2]
    )
    if min(regions.shape[:2]) < _PART * _PARTS:
        tops, lefts = (starts[:1] for starts in (tops, lefts))
    rows = [
        np.concatenate(
            [regions.read(_span(top, regions.shape[0]), _span(left, regions.shape[1]))
             for left in lefts],
            axis=1,
        )
        for top in tops
    ]  # fmt: skip
    return Picture(to_unit(np.concatenate(rows), white), None, regions.dtype, white=white)


def _span(start: int, length: int) -> slice:
    return slice(start, min(start + _PART, length))
