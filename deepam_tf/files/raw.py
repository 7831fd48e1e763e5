"""Raw photographs, by rawpy (LibRaw): the sensor's mosaic, and its development."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import numpy as np
from PIL import ImageCms

from deepam_tf.files.metadata import exif_of_tiff
from deepam_tf.files.picture import (
    Encoding,
    ImageFileError,
    Metadata,
    Picture,
    UnsupportedImageError,
    from_numbers,
)
from deepam_tf.files.tiff import is_cut_off

__all__ = ["DevelopedFile", "RawFile"]

_LARGEST = 65535
_PLANES = ((0, 0), (0, 1), (1, 0), (1, 1))


class RawFile:
    """An open raw photograph with a mosaic of 2x2 colours.

    Args:
        path: DNG, NEF, CR2, ARW and the like.
        white_level: where the sensor saturates, in its numbers; by default what the file says;
            where it says nothing, the largest number of 10, 12, 14 or 16 bits that is needed.

    Attributes:
        size: height and width of the developed picture before it is turned.

    Raises:
        ImageFileError: if the file is damaged, or rawpy is missing.
        UnsupportedImageError: if its mosaic is of another kind.
    """

    def __init__(self, path: pathlib.Path, *, white_level: float | None = None) -> None:
        try:
            import rawpy
        except ImportError as error:
            raise UnsupportedImageError(
                f"{path}: raw photographs need the package rawpy. Install it: "
                "pip install 'deepam-tf[raw]'."
            ) from error
        if is_cut_off(path):  # LibRaw would print a line of its own
            raise ImageFileError(f"{path}: the file is damaged or truncated.")
        self._path = path
        self._rawpy = rawpy
        self._raw = rawpy.RawPy()
        try:
            self._raw.open_file(str(path))
            self._raw.unpack()
        except rawpy.LibRawFileUnsupportedError as error:
            self._raw.close()
            raise UnsupportedImageError(f"{path}: LibRaw does not read this raw file.") from error
        except rawpy.LibRawError as error:
            self._raw.close()
            raise ImageFileError(f"{path}: the file is damaged or truncated.") from error
        pattern = self._raw.raw_pattern
        if self._raw.raw_type != rawpy.RawType.Flat or pattern is None or pattern.shape != (2, 2):
            self._raw.close()
            raise UnsupportedImageError(
                f"{path}: the mosaic of this sensor is not of 2x2 colours. Develop it first, to "
                "TIFF of 16 bits."
            )
        self.size = self._raw.raw_image_visible.shape
        self._white, self._white_note = self._find_white(white_level)

    def close(self) -> None:
        """Let go of the file."""
        self._raw.close()

    def read_planes(self) -> list[np.ndarray]:
        """The pixels of each of the four places in the mosaic.

        Returns:
            Four arrays `[H / 2, W / 2, 1]` float32, linear light: black is 0 and white, where the
            sensor saturates, is 1; noise goes below 0.
        """
        found = []
        mosaic = self._raw.raw_image_visible
        for (row, column), (black, white) in zip(_PLANES, self._levels(), strict=True):
            plane = mosaic[row::2, column::2][: mosaic.shape[0] // 2, : mosaic.shape[1] // 2]
            found.append(((plane.astype(np.float32) - black) / (white - black))[..., np.newaxis])
        return found

    def write_planes(self, planes: list[np.ndarray]) -> None:
        """Put other pixels in the place of the file's, in memory.

        Args:
            planes: as `read_planes` returns them.
        """
        mosaic = self._raw.raw_image_visible
        for (row, column), (black, white), plane in zip(
            _PLANES, self._levels(), planes, strict=True
        ):
            values = np.rint(black + plane[..., 0].astype(np.float64) * (white - black))
            height, width = values.shape
            place = mosaic[row::2, column::2][:height, :width]
            place[...] = np.clip(values, 0, white).astype(mosaic.dtype)

    def _find_white(self, white_level: float | None) -> tuple[float | None, tuple[str, ...]]:
        """White where the file does not say it, and what there is to say of that."""
        if white_level is not None:
            return white_level, ()
        if self._raw.white_level != _LARGEST or self._raw.camera_white_level_per_channel:
            return None, ()
        high = int(self._raw.raw_image_visible.max())
        bits = next(bits for bits in (10, 12, 14, 16) if 2**bits > high)
        if bits == 16:
            return None, ()
        return 2.0**bits - 1, (f"white level {2**bits - 1} ({bits} bits in 16)",)

    def _levels(self) -> list[tuple[float, float]]:
        """Black and white of each plane."""
        raw = self._raw
        colors = raw.raw_colors_visible
        whites = raw.camera_white_level_per_channel
        found = []
        for row, column in _PLANES:
            color = int(colors[row, column])
            white = whites[color] if whites and whites[color] else raw.white_level
            white = self._white or white
            found.append((float(raw.black_level_per_channel[color]), float(white)))
        return found

    def develop(self, *, bits: int = 16) -> Picture:
        """The picture that LibRaw makes of the mosaic: upright, sRGB, the camera's white.

        Args:
            bits: 8 or 16.

        Returns:
            The picture.
        """
        balance = self._raw.camera_whitebalance
        known = balance is not None and min(balance[:3]) > 0
        try:
            values = self._raw.postprocess(
                use_camera_wb=bool(known),
                no_auto_bright=True,
                output_bps=bits,
                output_color=self._rawpy.ColorSpace.sRGB,
                user_sat=None if self._white is None else int(self._white),
            )
        except self._rawpy.LibRawError as error:
            raise ImageFileError(f"{self._path}: LibRaw cannot develop it ({error}).") from error
        metadata = Metadata(
            icc=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
            exif=self._exif(),
        )
        return from_numbers(
            values,
            None,
            metadata=metadata,
            encoding=Encoding("RAW"),
            notes=("a raw photograph, developed by LibRaw.", *self._white_note),
        )

    def _exif(self) -> bytes | None:
        with self._path.open("rb") as file:
            if file.read(4) not in (b"II*\x00", b"MM\x00*"):
                return None
            return exif_of_tiff(file)


class DevelopedFile:
    """A raw photograph as a file of one picture: developed, its noise as it is.

    Args:
        path: see `RawFile`.

    Attributes:
        size: see `RawFile`.
        count: 1.
        several: what there would be more of.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self._raw = RawFile(path)
        self.size, self.count, self.several = self._raw.size, 1, "pictures"

    def close(self) -> None:
        """Let go of the file."""
        self._raw.close()

    def pictures(self, count: int) -> Iterator[Picture]:
        """The developed picture."""
        del count
        yield self._raw.develop()
