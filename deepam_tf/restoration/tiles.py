"""Restoring whole images of any size and channel count, in tiles."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from deepam_tf.networks.deepam import DeepAM

__all__ = ["Restorer", "restore"]

Denoiser = Callable[[tf.Tensor], tf.Tensor]


class Restorer:
    """A model made ready to restore images, in tiles so that memory stays bounded.

    Each tile is computed inside a window that reaches `overlap` pixels further on every
    side, of which only the tile is kept. The networks of DeepAM(3) see 30 pixels far; the
    solves see every pixel, with an influence that falls off as `exp(-sqrt(gamma) distance)`.
    Tile borders therefore differ from a run in one piece by less than half a gray level.

    Args:
        model: a `DeepAM` for one channel, or for as many as the images have; or a function
            of one-channel images `[B, H, W, 1]` that returns the like. With one channel,
            colour is restored channel by channel.
        tile: side of the tiles in pixels; memory grows with its square.
        overlap: how far a window reaches beyond its tile, in pixels.
        self_ensemble: restore each window in its eight orientations, turned and flipped, and
            take the mean (Timofte et al., "Seven ways to improve example-based single image
            super resolution", CVPR 2016). The errors of the eight are partly independent: the
            mean is 0.05 to 0.2 dB closer to the truth, and takes eight times as long.

    Raises:
        ValueError: if `tile` is not positive or `overlap` is negative.

    Example:
        >>> restorer = deepam_tf.Restorer(deepam_tf.DeepAM(1, filters=4, depth=3))
        >>> restorer(np.zeros([20, 30, 3], np.float32)).shape
        (20, 30, 3)
    """

    def __init__(
        self,
        model: DeepAM | Denoiser,
        *,
        tile: int = 512,
        overlap: int = 64,
        self_ensemble: bool = False,
    ) -> None:
        if tile < 1 or overlap < 0:
            raise ValueError(
                "`tile` must be positive and `overlap` not negative. "
                f"Received: tile={tile}, overlap={overlap}."
            )
        self.tile = tile
        self.overlap = overlap
        self.self_ensemble = self_ensemble
        self.takes_noise_stddev = False
        self.image_channels = 1
        self._companions = {}
        self._block = 1
        run = _without_companions(model)
        if isinstance(model, DeepAM):
            self.takes_noise_stddev = model.noise_level
            self.image_channels = model.image_channels
            self._companions = {
                name: tensor.shape[-1] for name, tensor in model.input.items() if name != "image"
            }
            self._block = model.pixel_unshuffle
            run = functools.partial(_restored, model)
        # One trace for all sizes: it is called with None for every dimension but the last.
        channels = {"image": self.image_channels, **self._companions}
        signature = {
            name: tf.TensorSpec([None, None, None, count], tf.float32)
            for name, count in channels.items()
        }
        self._run = tf.function(run, input_signature=[signature])

    @property
    def guide_channels(self) -> int:
        """Channels of the guide that the model takes; 0 where it takes none."""
        return self._companions.get("guide", 0)

    def count_tiles(self, height: int, width: int) -> int:
        """How many tiles an image of that size is restored in."""
        return -(-height // self.tile) * -(-width // self.tile)

    def __call__(
        self,
        image: np.ndarray,
        *,
        noise_stddev: float | np.ndarray | None = None,
        guide: np.ndarray | None = None,
        mask: np.ndarray | None = None,
        on_tile: Callable[[], object] = lambda: None,
    ) -> np.ndarray:
        """Restore one image.

        Args:
            image: `[H, W, C]`, floating, range [0, 1] plus noise.
            noise_stddev: standard deviation of the noise in the image's units, a number or
                `[H, W, 1]`; for models built with `noise_level`, and only for them.
            guide: the picture that guides, `[H, W, guide_channels]` in [0, 1]; for models
                built with `guide_channels`, and only for them.
            mask: `[H, W, 1]` in [0, 1], 0 where the image has a hole; for models built with
                `mask`, and only for them.
            on_tile: called after each tile, for a progress bar.

        Returns:
            `[H, W, C]` float32, not clipped.

        Raises:
            TypeError: if `image` is not floating.
            ValueError: if it has another rank, no pixels, NaN or infinity, or channels the
                model cannot take; or if `noise_stddev`, `guide` or `mask` is missing, not
                wanted, negative, not finite or of another size.
        """
        image = np.asarray(image)
        self._check(image)
        given = {"noise_stddev": noise_stddev, "guide": guide, "mask": mask}
        companions = {
            name: self._companion(name, value, image.shape)
            for name, value in given.items()
            if self._is_wanted(name, value)
        }
        restored = np.empty(image.shape, np.float32)
        height, width, _ = image.shape
        tops, lefts = range(0, height, self.tile), range(0, width, self.tile)
        for top, left in itertools.product(tops, lefts):
            bottom, right = min(top + self.tile, height), min(left + self.tile, width)
            # On the grid of blocks of the whole image, or the networks would see others.
            window_top, window_left = (
                max(start - self.overlap, 0) // self._block * self._block for start in (top, left)
            )
            window = (
                slice(window_top, min(bottom + self.overlap, height)),
                slice(window_left, min(right + self.overlap, width)),
            )
            here = {
                name: x if x.shape[:2] == (1, 1) else x[window] for name, x in companions.items()
            }
            restored[top:bottom, left:right] = self._mean_window(image[window], here)[
                top - window_top : bottom - window_top, left - window_left : right - window_left
            ]
            on_tile()
        return restored

    def _mean_window(self, window: np.ndarray, companions: dict[str, np.ndarray]) -> np.ndarray:
        """The restored window, the mean over its orientations where that was asked for."""
        if not self.self_ensemble:
            return self._window(window, companions)
        total = np.zeros(window.shape, np.float32)
        for turns, direction in itertools.product(range(4), (1, -1)):

            def moved(x, turns=turns, direction=direction):
                return np.rot90(x[:, ::direction], turns)

            result = self._window(moved(window), {name: moved(x) for name, x in companions.items()})
            total += np.rot90(result, -turns)[:, ::direction]
        return total / 8

    def _window(self, window: np.ndarray, companions: dict[str, np.ndarray]) -> np.ndarray:
        inputs = {name: x.astype(np.float32)[np.newaxis] for name, x in companions.items()}
        if window.shape[-1] == self.image_channels:
            inputs["image"] = window.astype(np.float32)[np.newaxis]
            return self._run(inputs).numpy()[0]
        # Channel by channel: the channels become the batch.
        inputs["image"] = np.moveaxis(window.astype(np.float32), -1, 0)[..., np.newaxis]
        return np.moveaxis(self._run(inputs).numpy()[..., 0], 0, -1)

    def _is_wanted(self, name: str, value: object) -> bool:
        if (value is not None) != (name in self._companions):
            wanted = "must be given to" if name in self._companions else "is not taken by"
            raise ValueError(
                f"`{name}` {wanted} this model. "
                f"Received: {name}={'None' if value is None else type(value).__name__}."
            )
        return value is not None

    def _companion(self, name: str, value, shape: tuple) -> np.ndarray:
        """What goes into the model beside the image, `[1, 1, 1]` or `[H, W, c]`."""
        x = np.asarray(value, np.float32)
        if name == "noise_stddev" and x.ndim == 0:
            x = x.reshape([1, 1, 1])
        expected = (*shape[:2], self._companions[name])
        if x.shape != expected and (name, x.shape) != ("noise_stddev", (1, 1, 1)):
            also = "be one number or " if name == "noise_stddev" else ""
            raise ValueError(
                f"`{name}` must {also}have shape {list(expected)}: height and width of the image. "
                f"Received: {name}.shape={x.shape}, image.shape={shape}."
            )
        if not np.isfinite(x).all() or x.min() < 0:
            raise ValueError(
                f"`{name}` must be finite and not negative. "
                f"Received: least {x.min()}, {int((~np.isfinite(x)).sum())} not finite."
            )
        return x

    def _check(self, image: np.ndarray) -> None:
        if not np.issubdtype(image.dtype, np.floating):
            raise TypeError(
                "`image` must be floating, in [0, 1]. "
                f"Received: dtype={image.dtype}. Divide 8-bit images by 255."
            )
        if image.ndim != 3 or 0 in image.shape:
            raise ValueError(
                "`image` must have shape [height, width, channels], none of them zero. "
                f"Received: image.shape={image.shape}."
            )
        if self.image_channels not in (1, image.shape[-1]):
            raise ValueError(
                f"`image` must have the model's {self.image_channels} channels. "
                f"Received: image.shape={image.shape}."
            )
        if not np.isfinite(image).all():
            bad = int(np.size(image) - np.isfinite(image).sum())
            raise ValueError(
                "`image` must be finite. "
                f"Received: {bad} NaN or infinite values. Replace them first."
            )


def _restored(model: DeepAM, inputs: dict[str, tf.Tensor]) -> tf.Tensor:
    return model(inputs, training=False)["restored"]


def _without_companions(denoiser) -> Callable[[dict[str, tf.Tensor]], tf.Tensor]:
    return lambda inputs: denoiser(inputs["image"])


def restore(
    model: DeepAM,
    image: np.ndarray,
    *,
    noise_stddev: float | np.ndarray | None = None,
    guide: np.ndarray | None = None,
    mask: np.ndarray | None = None,
    tile: int = 512,
    overlap: int = 64,
    self_ensemble: bool = False,
) -> np.ndarray:
    """Restore one image with a trained model; for several, keep a `Restorer`.

    Args:
        model: see `Restorer`.
        image: `[H, W, C]`, floating, range [0, 1] plus noise.
        noise_stddev: see `Restorer.__call__`.
        guide: see `Restorer.__call__`.
        mask: see `Restorer.__call__`.
        tile: see `Restorer`.
        overlap: see `Restorer`.
        self_ensemble: see `Restorer`.

    Returns:
        `[H, W, C]` float32, not clipped.

    Raises:
        TypeError: see `Restorer`.
        ValueError: see `Restorer`.

    Example:
        >>> model = deepam_tf.DeepAM(1, filters=4, depth=3)
        >>> deepam_tf.restore(model, np.zeros([7, 5, 1])).shape
        (7, 5, 1)
    """
    restorer = Restorer(model, tile=tile, overlap=overlap, self_ensemble=self_ensemble)
    return restorer(image, noise_stddev=noise_stddev, guide=guide, mask=mask)
