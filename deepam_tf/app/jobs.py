"""From uploaded files to a file to download, and to what the page shows of it.

The work is that of the command: the same functions, the same defaults, and so the same file.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable

import cv2
import numpy as np

from deepam_tf.depth.holes import find_measured
from deepam_tf.depth.observation import observe
from deepam_tf.files import atomic
from deepam_tf.files import pictures as image_io
from deepam_tf.files.depth_maps import check_writable_depth, read_depth, write_depth
from deepam_tf.files.stddev_maps import colored
from deepam_tf.restoration.depth import restore_observation, suitable_weights
from deepam_tf.restoration.guides import read_guide
from deepam_tf.restoration.picture import STDDEV_UNIT, restore_picture
from deepam_tf.restoration.pretrained import load_pretrained
from deepam_tf.restoration.tiles import Restorer

__all__ = ["MAX_MEGAPIXELS", "Outcome", "denoise", "fuse", "upsample"]

MAX_MEGAPIXELS = 50.0
_PREVIEW_AS_PNG = 4e6  # pixels; larger previews are JPEG files, a tenth as large
Progress = Callable[[int, int], object]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What the page shows of a restoration.

    Attributes:
        file: the file to download.
        before: picture of the input, 8 bit.
        after: picture of the result, of the same size.
        notes: what there is to say, a line each.
        doubt: how sure the result is, in colours, as `--uncertainty` of the command draws it;
            None where it was not asked for, or the weights cannot tell.
    """

    file: pathlib.Path
    before: pathlib.Path
    after: pathlib.Path
    notes: tuple[str, ...]
    doubt: pathlib.Path | None = None


def denoise(
    source: pathlib.Path,
    folder: pathlib.Path,
    *,
    sigma: float | None = None,
    signal_dependent: bool = False,
    strength: float = 1.0,
    uncertainty: bool = False,
    max_megapixels: float = MAX_MEGAPIXELS,
    on_progress: Progress = lambda done, total: None,
) -> Outcome:
    """Remove the noise of a picture.

    Args:
        source: the picture's file.
        folder: where the results go.
        sigma: noise level on the 0..255 scale; None: it is measured.
        signal_dependent: whether the noise that is measured grows with the light.
        strength: the level that the network is told, as a multiple of the picture's.
        uncertainty: whether to show how sure the result is, where the weights can tell; where
            they cannot, a note says why.
        max_megapixels: refuse larger pictures before decoding them.
        on_progress: called with the numbers of tiles that are done and that there are; an
            exception that it raises ends the work.

    Returns:
        The outcome; its file is what `deepam denoise` writes.

    Raises:
        ValueError: if the file is no picture that can be read.
    """
    if image_io.is_raw(source):
        raise image_io.ImageFileError(
            f"{source}: raw photographs are restored before they are developed. Received: one. "
            "Use the command, deepam denoise."
        )
    noise = "signal-dependent" if signal_dependent else "auto"
    return _restored(
        source,
        None,
        folder,
        noise=noise if sigma is None else sigma / 255,
        strength=strength,
        uncertainty=uncertainty,
        max_megapixels=max_megapixels,
        on_progress=on_progress,
    )


def fuse(
    source: pathlib.Path,
    guide: pathlib.Path,
    folder: pathlib.Path,
    *,
    sigma: float | None = None,
    strength: float = 1.0,
    uncertainty: bool = False,
    max_megapixels: float = MAX_MEGAPIXELS,
    on_progress: Progress = lambda done, total: None,
) -> Outcome:
    """Remove the noise of a colour picture with the help of a near infrared one.

    Args:
        source: the noisy picture's file.
        guide: the file of the near infrared picture.
        folder: see `denoise`.
        sigma: see `denoise`.
        strength: see `denoise`.
        uncertainty: see `denoise`.
        max_megapixels: see `denoise`.
        on_progress: see `denoise`.

    Returns:
        The outcome; its file is what `deepam fuse` writes.

    Raises:
        ValueError: if a file is no picture that can be read, or their sizes differ.
    """
    return _restored(
        source,
        guide,
        folder,
        noise="auto" if sigma is None else sigma / 255,
        strength=strength,
        uncertainty=uncertainty,
        max_megapixels=max_megapixels,
        on_progress=on_progress,
    )


def upsample(
    depth: pathlib.Path,
    guide: pathlib.Path,
    folder: pathlib.Path,
    *,
    max_megapixels: float = MAX_MEGAPIXELS,
    on_progress: Progress = lambda done, total: None,
) -> Outcome:
    """Bring a depth map to the size of a colour picture.

    Args:
        depth: the map's file.
        guide: the colour picture's file.
        folder: see `denoise`.
        max_megapixels: see `denoise`.
        on_progress: see `denoise`.

    Returns:
        The outcome; its file is what `deepam upsample` writes. Its pictures are gray, from the
        least to the largest value of the map.

    Raises:
        ValueError: if a file cannot be read, or the sizes are no multiple of each other.
    """
    coarse = read_depth(depth, max_megapixels=max_megapixels)
    file = folder / f"{depth.stem}-upsampled{depth.suffix}"
    check_writable_depth(file, coarse.dtype)
    valid, notes = find_measured(coarse.values)
    if not valid.any():
        raise image_io.ImageFileError(f"{depth}: the depth map holds nothing but holes.")
    colors, said = read_guide(guide, depth, coarse.values.shape, max_megapixels=max_megapixels)
    observation = observe(coarse.values, colors.shape[:2], valid=valid)
    restorer = Restorer(load_pretrained(suitable_weights(observation)))
    total, done = restorer.count_tiles(*colors.shape[:2]), 0

    def on_tile() -> None:
        nonlocal done
        done += 1
        on_progress(done, total)

    on_progress(0, total)
    fine = restore_observation(restorer, observation, colors, on_tile=on_tile)
    zero_is_hole = not bool((coarse.values[valid] <= 0).any())
    write_depth(file, fine, coarse.dtype, zero_is_hole=zero_is_hole)
    known = coarse.values[valid]
    low = float(known.min())
    span = max(float(known.max()) - low, 1e-12)
    filled = np.where(valid, coarse.values, low).astype(np.float32)
    nearest = cv2.resize(filled, fine.shape[::-1], interpolation=cv2.INTER_NEAREST)
    before, after = (
        _preview(
            image_io.Picture((x[..., np.newaxis] - low) / span, None, np.dtype("uint8")),
            folder / name,
        )
        for x, name in ((nearest, "before"), (fine, "after"))
    )
    height, width = fine.shape
    holes = 100.0 * (1.0 - valid.mean())
    result = f"{width}x{height} pixels, holes filled: {holes:.3g} % of the map"
    return Outcome(file, before, after, (*notes, *said, *observation.notes, result))


def _restored(
    source: pathlib.Path,
    guide: pathlib.Path | None,
    folder: pathlib.Path,
    *,
    noise: float | str,
    strength: float,
    uncertainty: bool,
    max_megapixels: float,
    on_progress: Progress,
) -> Outcome:
    picture = image_io.read(source, max_megapixels=max_megapixels)
    suffix = source.suffix if image_io.is_image_name(source) else ".png"
    file = folder / f"{source.stem}-restored{suffix}"
    image_io.check_writable(file, picture)
    clean = None if guide is None else image_io.read(guide, max_megapixels=max_megapixels)
    notes: list[str] = []
    if strength != 1:
        notes.append(f"the network is told {strength:g} times as much")

    def restored(uncertainty: bool):
        return restore_picture(
            picture,
            clean,
            noise=noise,
            strength=strength,
            uncertainty=uncertainty,
            on_progress=on_progress,
        )

    try:
        result = restored(uncertainty)
    except ValueError as error:
        if not uncertainty:
            raise
        # Weights without a head, or a strength: what was asked for beside the result.
        result = restored(False)
        notes.append(f"how sure it is cannot be shown: {error}")
    image_io.write(file, result.picture)
    notes += [str(note) for note in result.notes] + image_io.lost(picture, file)
    notes.append(f"weights: {result.model_name}")
    before, after = (
        _preview(x, folder / name) for x, name in ((picture, "before"), (result.picture, "after"))
    )
    doubt = None
    if result.stddev is not None:
        doubt = folder / "doubt.png"
        atomic.write_bytes(doubt, colored(result.stddev, STDDEV_UNIT))
        notes.append("how sure it is: dark is sure, bright is not")
    return Outcome(file, before, after, tuple(notes), doubt)


def _preview(picture: image_io.Picture, stem: pathlib.Path) -> pathlib.Path:
    """An 8-bit file that a browser shows, with the profile of the picture."""
    height, width, _ = picture.pixels.shape
    path = stem.with_suffix(".png" if height * width <= _PREVIEW_AS_PNG else ".jpg")
    shown = image_io.Picture(
        np.clip(picture.pixels, 0, 1), None, np.dtype("uint8"), metadata=picture.metadata
    )
    image_io.write(path, shown)
    return path
