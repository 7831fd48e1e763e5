"""How much of the noise shall go: more or less of it, of luma and of chroma apart."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

__all__ = ["Strength"]

_MOST = 2.0
# Luma and two chroma of ITU-R BT.601, as JPEG has them.
_TO_YCC = np.array(
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32
)
_TO_RGB = np.linalg.inv(_TO_YCC)


@dataclasses.dataclass(frozen=True)
class Strength:
    """How much of the noise of a picture shall go.

    Attributes:
        luma: factor of the level that the weights are told, from 0 to 2, for what is light and
            dark; 0 leaves that as it is.
        chroma: the same for what is colour.
        keep_grain: share of what was removed that is put back, from 0 to 1.

    Raises:
        ValueError: if a value is out of its range.

    Example:
        >>> strength = deepam_tf.restoration.strength.Strength(luma=0.0, chroma=1.0)
        >>> image = np.full([4, 4, 3], 0.5, np.float32)
        >>> brighter = strength.apply(image, lambda factor: image + 0.2)  # no chroma changes
        >>> bool(np.allclose(brighter, image))
        True
    """

    luma: float = 1.0
    chroma: float = 1.0
    keep_grain: float = 0.0

    def __post_init__(self) -> None:
        for name, most in (("luma", _MOST), ("chroma", _MOST), ("keep_grain", 1.0)):
            value = getattr(self, name)
            if not 0 <= value <= most:
                raise ValueError(f"`{name}` must be from 0 to {most:g}. Received: {value}.")

    @property
    def scales(self) -> bool:
        """Whether another level is told than that of the noise."""
        return {self.luma, self.chroma} - {0.0, 1.0} != set()

    def count_runs(self, pixels: np.ndarray) -> int:
        """How often `apply` restores a picture `[H, W, C]`."""
        return len(self._factors(pixels))

    def _factors(self, pixels: np.ndarray) -> list[float]:
        asked = [self.luma] if pixels.shape[-1] != 3 else [self.luma, self.chroma]
        return sorted({factor for factor in asked if factor > 0})

    def apply(self, pixels: np.ndarray, restore: Callable[[float], np.ndarray]) -> np.ndarray:
        """Restore a picture by so much.

        Args:
            pixels: `[H, W, C]`; of three channels red, green and blue.
            restore: the picture restored, of the factor of the level.

        Returns:
            The restored picture, of that shape.
        """
        runs = {factor: restore(factor) for factor in self._factors(pixels)}
        luma, chroma = runs.get(self.luma, pixels), runs.get(self.chroma, pixels)
        if luma is chroma or pixels.shape[-1] != 3:
            restored = luma
        else:
            ycc = chroma @ _TO_YCC.T
            ycc[..., 0] = luma @ _TO_YCC[0]
            restored = ycc @ _TO_RGB.T
        if not self.keep_grain:
            return restored
        return restored + np.float32(self.keep_grain) * (pixels - restored)
