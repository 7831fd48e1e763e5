"""Restoring whole images of any size and channel count, in windows."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from deepam_tf.files.levels import Levels, mapped, to_unit
from deepam_tf.networks.deepam import DeepAM
from deepam_tf.restoration.borders import FRAME, has_quiet_rim, with_frame
from deepam_tf.restoration.checks import check_image, check_units, companion
from deepam_tf.restoration.engine import Denoiser, engine_for
from deepam_tf.restoration.windows import Window, cut_across_holes, cut_picture, strips

__all__ = ["Restorer", "restore"]

_WINDOW_BYTES = 512 * 2**20  # what the feature maps of a window may take
_COMPILED_FROM = 8e6  # pixels in windows of one size: what XLA takes to compile is won back
_LEAST_TILE = 64


class Restorer:
    """A model made ready to restore images, in windows so that memory stays bounded.

    A picture is cut into windows of one size, which reach `overlap` pixels further on every side
    than the tile that each is kept of. Networks see a bounded neighbourhood; the solves see every
    pixel, with an influence that falls off as `exp(-sqrt(gamma) distance)`. Results therefore
    differ from a run in one piece by less than half a gray level. Models with a mask have holes,
    where `gamma` is 0 and nothing falls off: their networks run in windows, their solves on the
    whole picture (beyond 2 megapixels in windows that see across the widest hole, where such
    fit), and a hole may be of any size.

    Weights are read at every call: what is trained between two calls counts. Safe to call from
    several threads.

    Args:
        model: a `DeepAM` for one channel, or for as many as the images have; or a function
            of one-channel images `[B, H, W, 1]` that returns the like. With one channel,
            colour is restored channel by channel. Other Keras models do where they take and
            return one tensor, or dictionaries with `"image"` and `"restored"`.
        tile: side of the tiles in pixels; memory grows with its square. By default as large as
            half a gibibyte of feature maps allows.
        overlap: how far a window reaches beyond its tile, in pixels; by default as far as the
            networks see, and as the solves carry a gray level.
        self_ensemble: restore each window in its eight orientations, turned and flipped, and
            take the mean (Timofte et al., "Seven ways to improve example-based single image
            super resolution", CVPR 2016). The errors of the eight are partly independent: the
            mean is 0.05 to 0.2 dB closer to the truth, and takes eight times as long.
        rtol: relative tolerance of the solves; by default the model's.
        jit_compile: whether XLA compiles the solves for the size of the windows, which takes
            seconds and then takes a third of their time; by default in pictures beyond 8
            megapixels. They are Chebyshev iterations then, whose errors are smaller.

    Raises:
        ValueError: if `tile` is not positive, `overlap` is negative, or `rtol` not positive.
        TypeError: if `model` is none of these.

    Example:
        >>> restorer = deepam_tf.Restorer(deepam_tf.DeepAM(1, filters=4, depth=3))
        >>> restorer(np.zeros([20, 30, 3], np.float32)).shape
        (20, 30, 3)
    """

    def __init__(
        self,
        model: DeepAM | keras.Model | Denoiser,
        *,
        tile: int | None = None,
        overlap: int | None = None,
        self_ensemble: bool = False,
        rtol: float | None = None,
        jit_compile: bool | None = None,
    ) -> None:
        if (tile is not None and tile < 1) or (overlap is not None and overlap < 0):
            raise ValueError(
                "`tile` must be positive and `overlap` not negative. "
                f"Received: tile={tile}, overlap={overlap}."
            )
        if rtol is not None and not rtol > 0:
            raise ValueError(f"`rtol` must be positive. Received: rtol={rtol}.")
        self._engine = engine_for(model, rtol)
        self._knows_units = isinstance(model, DeepAM)
        # Differences are 0 beyond the border as they are in flat colours.
        self.sees_border = isinstance(model, DeepAM) and not model.shift_invariant
        self.tile = tile
        self.overlap = self._engine.overlap if overlap is None else overlap
        self.self_ensemble = self_ensemble
        self.jit_compile = jit_compile
        self.image_channels = self._engine.channels["image"]
        self._companions = {
            name: count for name, count in self._engine.channels.items() if name != "image"
        }
        self.noise_level = "noise_stddev" in self._companions

    @property
    def guide_channels(self) -> int:
        """Channels of the guide that the model takes; 0 where it takes none."""
        return self._companions.get("guide", 0)

    def count_tiles(self, height: int, width: int, channels: int | None = None) -> int:
        """How often `on_tile` is called for an image.

        Args:
            height: of the image in pixels.
            width: of the image in pixels.
            channels: of the image; by default the model's.

        Returns:
            The number of its windows, for a model with a mask times that of its iterations.
        """
        batch = 1 if channels is None else channels // self.image_channels
        windows = self.windows(height, width, batch)
        if not self._engine.has_holes:
            return len(windows)
        return len(windows) * len(self._engine.iterations) * (8 if self.self_ensemble else 1)

    def windows(self, height: int, width: int, batch: int = 1) -> list[Window]:
        """The windows that an image is cut into.

        Args:
            height: of the image in pixels.
            width: of the image in pixels.
            batch: how many channels a model of one restores at the same time.

        Returns:
            The windows, all of one size, row by row.
        """
        tile = self.tile
        if tile is None:
            side = math.isqrt(_WINDOW_BYTES // (self._engine.bytes_per_pixel() * batch))
            tile = max(side - 2 * self.overlap, _LEAST_TILE)
        return cut_picture(height, width, tile, self.overlap, self._engine.block)

    def __call__(
        self,
        image: np.ndarray,
        *,
        noise_stddev: float | np.ndarray | None = None,
        guide: np.ndarray | Levels | None = None,
        mask: np.ndarray | None = None,
        on_tile: Callable[[], object] = lambda: None,
        out: np.ndarray | None = None,
    ) -> np.ndarray:
        """Restore one image.

        Args:
            image: `[H, W, C]`, floating, range [0, 1] plus noise.
            noise_stddev: standard deviation of the noise in the image's units, a number or
                `[H, W, 1]`, at most 1; for models built with `noise_level`, and only for them.
            guide: the picture that guides, `[H, W, guide_channels]` in [0, 1], an array or
                `Levels`; for models built with `guide_channels`, and only for them.
            mask: `[H, W, 1]` in [0, 1], 0 where the image has a hole; for models built with
                `mask`, and only for them.
            on_tile: called after each tile, for a progress bar.
            out: where the result goes, float32 of the image's shape; it may be the image
                itself, which then is no more, and a large picture takes half the memory.

        Returns:
            `[H, W, C]` float32, not clipped; `out` where it was given.

        Raises:
            TypeError: if `image` is not floating.
            ValueError: if it has another rank, no pixels, NaN or infinity, or channels the
                model cannot take; if `noise_stddev`, `guide` or `mask` is missing, not
                wanted, negative, not finite or of another size; or if something is in other
                units than [0, 1], as pictures of 0..255 are.
        """
        image, companions = self._checked(image, noise_stddev, guide, mask)
        if out is not None and (out.shape != image.shape or out.dtype != np.float32):
            raise ValueError(
                "`out` must be float32 and have the shape of `image`. "
                f"Received: {out.dtype}, {out.shape} and {image.shape}."
            )
        overwritten = out is not None
        out = np.empty(image.shape, np.float32) if out is None else out
        self._into(out, image, companions, on_tile, overwritten=overwritten)
        return out

    def in_place(
        self,
        levels: Levels,
        *,
        noise_stddev: float | np.ndarray | None = None,
        on_tile: Callable[[], object] = lambda: None,
    ) -> None:
        """Restore the integers of a file where they are, for pictures that fill the memory.

        Args:
            levels: `[H, W, C]`; they become what `__call__` gives of them, rounded and clipped.
            noise_stddev: see `__call__`.
            on_tile: see `__call__`.

        Raises:
            ValueError: see `__call__`.

        Example:
            >>> restorer = deepam_tf.Restorer(deepam_tf.DeepAM(1, filters=4, depth=3))
            >>> numbers = np.zeros([20, 30, 3], np.uint8)
            >>> restorer.in_place(deepam_tf.files.levels.Levels(numbers))
            >>> numbers.shape
            (20, 30, 3)
        """
        levels, companions = self._checked(levels, noise_stddev, None, None)
        self._into(levels, levels, companions, on_tile, overwritten=True)

    def _wants_frame(self, image: np.ndarray, companions: dict[str, np.ndarray]) -> bool:
        return self.sees_border and has_quiet_rim(image, companions.get("noise_stddev"))

    def _into(self, out, image, companions, on_tile, **options) -> None:
        """Restore an image into `out`, `[H, W, C]`; with standard deviations `[H, W, C, 2]`."""
        if not self._wants_frame(image, companions):
            self._in_windows(out, image, companions, on_tile, **options)
            return
        framed = mapped(with_frame, image)
        result = framed
        if not isinstance(framed, Levels):
            result = np.empty((*framed.shape[:2], *out.shape[2:]), np.float32)
        companions = {
            name: x if x.shape[:2] == (1, 1) else mapped(with_frame, x)
            for name, x in companions.items()
        }
        # A bar counts the windows of the picture itself.
        left = self.count_tiles(*image.shape)

        def on_framed_tile():
            nonlocal left
            if left > 1:
                left -= 1
                on_tile()

        self._in_windows(result, framed, companions, on_framed_tile, **options)
        for row in range(0, len(out), FRAME):  # of a large picture all of it may be too much
            stop = min(row + FRAME, len(out))
            out[row:stop] = result[row + FRAME : stop + FRAME, FRAME:-FRAME]
        for _ in range(left):
            on_tile()

    def _in_windows(
        self, out, image, companions, on_tile, *, overwritten=False, uncertain: bool = False
    ) -> None:
        if self._engine.has_holes:
            out[...] = self._mean(
                lambda *moved: self._by_iterations(*moved, on_tile, uncertain),
                np.asarray(image),
                companions,
            )
            return
        batch = image.shape[-1] // self.image_channels
        windows = self.windows(*image.shape[:2], batch)
        pixels = len(windows) * math.prod(windows[0].shape) * batch
        run = self._engine.run_uncertain if uncertain else self._run_for(pixels)
        restore_window = functools.partial(self._restored, run)
        is_levels = isinstance(image, Levels)
        numbers = image.numbers if is_levels else image
        for strip, window in strips(numbers, windows, overwritten=overwritten):
            here = _cut(companions, window)
            seen = strip[:, window.read[1]]
            result = self._mean(
                restore_window, to_unit(seen, image.white) if is_levels else seen, here
            )
            out[window.kept] = result[window.inside]
            on_tile()

    def restore_window(
        self,
        image: np.ndarray,
        *,
        size: tuple[int, int],
        noise_stddev: float | np.ndarray | None = None,
    ) -> np.ndarray:
        """Restore what one of the `windows` sees of an image that is nowhere as a whole.

        What the window answers for, its `inside`, is what `__call__` would give of the image, or of
        the image with its frame, see `borders`.

        Args:
            image: `[h, w, C]`, floating, range [0, 1] plus noise: the window's `read`.
            size: height and width of the whole image.
            noise_stddev: a number, or `[h, w, 1]` of the window, see `__call__`.

        Returns:
            `[h, w, C]` float32, not clipped.

        Raises:
            TypeError: see `__call__`.
            ValueError: see `__call__`; or if the model has holes, whose solves see the whole image.

        Example:
            >>> restorer = deepam_tf.Restorer(deepam_tf.DeepAM(1, filters=4, depth=3), tile=40)
            >>> image = np.random.default_rng(0).uniform(size=[60, 130, 1]).astype(np.float32)
            >>> window = restorer.windows(60, 130)[0]
            >>> part = restorer.restore_window(image[window.read], size=(60, 130))
            >>> whole = restorer(image)
            >>> bool(np.allclose(part[window.inside], whole[window.kept], atol=1e-6))
            True
        """
        if self._engine.has_holes:
            raise ValueError(
                "A window alone is restored by models without holes. Received: a model with a mask."
            )
        image, companions = self._checked(image, noise_stddev, None, None)
        batch = image.shape[-1] // self.image_channels
        windows = self.windows(*size, batch)
        run = self._run_for(len(windows) * math.prod(windows[0].shape) * batch)
        return self._mean(functools.partial(self._restored, run), image, companions)

    def with_stddev(
        self,
        image: np.ndarray,
        *,
        noise_stddev: float | np.ndarray | None = None,
        guide: np.ndarray | Levels | None = None,
        mask: np.ndarray | None = None,
        on_tile: Callable[[], object] = lambda: None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Restore one image and tell how far off each value may be.

        With `self_ensemble` it is the mean of the eight standard deviations, a little more than
        that of the mean image.

        Args:
            image: see `__call__`.
            noise_stddev: see `__call__`.
            guide: see `__call__`.
            mask: see `__call__`.
            on_tile: see `__call__`.

        Returns:
            The restored image, as `__call__` returns it, and its standard deviations,
            `[H, W, C]` float32 each, in the image's units.

        Raises:
            TypeError: see `__call__`.
            ValueError: see `__call__`; or if the model has no uncertainty head.

        Example:
            >>> model = deepam_tf.DeepAM(1, filters=4, depth=3, uncertainty_filters=4)
            >>> _, stddev = deepam_tf.Restorer(model).with_stddev(np.zeros([7, 5, 3]))
            >>> stddev.shape, bool((stddev > 0).all())
            ((7, 5, 3), True)
        """
        if self._engine.run_uncertain is None:
            raise ValueError(
                "Standard deviations come from models with an uncertainty head. Received: a model "
                "without. Load it by `load_uncertain`."
            )
        image, companions = self._checked(image, noise_stddev, guide, mask)
        results = np.empty((*image.shape, 2), np.float32)
        self._into(results, image, companions, on_tile, uncertain=True)
        return results[..., 0], results[..., 1]

    def restore_all(
        self,
        images: Sequence[np.ndarray],
        *,
        noise_stddev: Sequence[float | np.ndarray] | float | None = None,
        guides: Sequence[np.ndarray] | None = None,
        masks: Sequence[np.ndarray] | None = None,
    ) -> list[np.ndarray]:
        """Restore several images; small ones of the same size in one run.

        Args:
            images: as `__call__` takes them.
            noise_stddev: of all of them, or one for each.
            guides: one for each image.
            masks: one for each image.

        Returns:
            What `__call__` returns, for each image.

        Raises:
            TypeError: see `__call__`.
            ValueError: see `__call__`; also if there are not as many of one as of the other.

        Example:
            >>> restorer = deepam_tf.Restorer(deepam_tf.DeepAM(1, filters=4, depth=3))
            >>> small, wide = np.zeros([9, 8, 1]), np.zeros([9, 20, 1])
            >>> [x.shape for x in restorer.restore_all([small, wide, small])]
            [(9, 8, 1), (9, 20, 1), (9, 8, 1)]
        """
        count = len(images)
        one_level = noise_stddev is None or isinstance(noise_stddev, (int, float))
        beside = [
            [noise_stddev] * count if one_level else noise_stddev,
            *([None] * count if x is None else x for x in (guides, masks)),
        ]
        if any(len(x) != count for x in beside):
            raise ValueError(
                "There must be one noise level, guide and mask for each image. Received: "
                f"{', '.join(str(len(x)) for x in beside)} for {count} images."
            )
        given = [self._checked(*one) for one in zip(images, *beside, strict=True)]
        restored = [np.empty(image.shape, np.float32) for image, _ in given]
        alike: dict[tuple, list[int]] = {}
        for i, (image, companions) in enumerate(given):
            shapes = tuple((name, x.shape) for name, x in companions.items())
            framed = self._wants_frame(image, companions)
            alike.setdefault((image.shape, shapes, framed), []).append(i)
        for (shape, _, framed), group in alike.items():
            channels = shape[-1] // self.image_channels
            fit = len(self.windows(*shape[:2], channels)) == 1
            size = _WINDOW_BYTES // (
                self._engine.bytes_per_pixel() * channels * shape[0] * shape[1]
            )
            run = self._run_for(len(group) * channels * shape[0] * shape[1])
            alone = not fit or size < 2 or self.self_ensemble or self._engine.has_holes or framed
            for start in range(0, len(group), 1 if alone else size):
                part = group[start : start + (1 if alone else size)]
                if len(part) == 1:
                    image, companions = given[part[0]]
                    self._into(restored[part[0]], image, companions, lambda: None)
                    continue
                inputs = {
                    name: np.repeat([given[i][1][name] for i in part], channels, axis=0)
                    for name in given[part[0]][1]
                }
                inputs["image"] = np.concatenate([self._as_batch(given[i][0]) for i in part])
                results = np.split(run(inputs).numpy(), len(part))
                for i, result in zip(part, results, strict=True):
                    restored[i][...] = self._as_image(result, shape)
        return restored

    def _checked(self, image, noise_stddev, guide, mask) -> tuple[Any, dict]:
        """An image and what goes into the model beside it."""
        given = {"noise_stddev": noise_stddev, "guide": guide, "mask": mask}
        image = image if isinstance(image, Levels) else np.asarray(image)
        check_image(image, self.image_channels)
        companions = {
            name: companion(name, value, image.shape, self._companions[name])
            for name, value in given.items()
            if self._is_wanted(name, value)
        }
        if self._knows_units:
            check_units(image, companions)
        return image, companions

    def _mean(self, restored: Callable, image: np.ndarray, companions) -> np.ndarray:
        """The results of a picture, the mean over its orientations where that was asked for."""
        if not self.self_ensemble:
            return restored(image, companions)
        total: np.ndarray | float = 0.0
        for turns, direction in itertools.product(range(4), (1, -1)):

            def moved(x, turns=turns, direction=direction):
                return np.rot90(x[:, ::direction], turns)

            turned = {name: mapped(moved, x) for name, x in companions.items()}
            result = restored(moved(image), turned)
            total = total + np.rot90(result, -turns)[:, ::direction]
        return np.asarray(total / 8)

    def _run_for(self, pixels: int) -> Callable:
        """How windows of one size are restored that have so many pixels together."""
        often = pixels >= _COMPILED_FROM if self.jit_compile is None else self.jit_compile
        return self._engine.run_often if often else self._engine.run

    def _restored(self, run, image: np.ndarray, companions: dict[str, np.ndarray]) -> np.ndarray:
        """A window through the whole model."""
        inputs = {name: x[np.newaxis] for name, x in companions.items()}
        inputs["image"] = self._as_batch(image)
        return self._as_image(run(inputs).numpy(), image.shape)

    def _by_iterations(self, image: np.ndarray, companions, on_tile, uncertain: bool):
        """Networks and head in windows, solves of the whole picture."""
        observed = self._as_batch(image)
        batch, height, width, _ = observed.shape
        windows = self.windows(height, width, batch)
        solves = cut_across_holes(companions["mask"], batch * self.image_channels)
        u = observed
        maps: dict[str, np.ndarray] = {}
        for iteration in self._engine.iterations:
            maps = {}
            for window in windows:
                read, kept, inside = (
                    (slice(None), *x) for x in (window.read, window.kept, window.inside)
                )
                given = {name: x[np.newaxis] for name, x in _cut(companions, window).items()}
                given["image"] = observed[read]
                if not iteration.first:
                    given["u"] = u[read]
                parts = [x.numpy() for x in iteration.run_network(given)]
                for name, part in zip(iteration.gives, parts, strict=True):
                    if name not in maps:
                        shape = [batch, height, width, part.shape[-1]]
                        maps[name] = np.empty(shape, np.float32)
                    maps[name][kept] = part[inside]
                on_tile()
            solved = np.empty_like(observed)
            for window in solves:
                read, kept, inside = (
                    (slice(None), *x) for x in (window.read, window.kept, window.inside)
                )
                given = {"image": observed[read], **{name: x[read] for name, x in maps.items()}}
                solved[kept] = iteration.run_solve(given).numpy()[inside]
            u = solved
        head = self._engine.run_head
        if not uncertain or head is None:
            return self._as_image(u, image.shape)
        stddev = np.empty_like(u)
        last = {"u": u, "image": observed, "v": maps["v"], "gamma": maps["gamma"]}
        for window in windows:
            read, kept, inside = (
                (slice(None), *x) for x in (window.read, window.kept, window.inside)
            )
            conditions = {name: x[np.newaxis] for name, x in _cut(companions, window).items()}
            conditions.pop("guide", None)
            given = {**conditions, **{name: x[read] for name, x in last.items()}}
            stddev[kept] = head(given).numpy()[inside]
        return self._as_image(np.stack([u, stddev], axis=-1), image.shape)

    def _as_batch(self, image: np.ndarray) -> np.ndarray:
        """`[B, H, W, c]`: of a one-channel model the channels become the batch."""
        image = image.astype(np.float32, copy=False)
        if image.shape[-1] == self.image_channels:
            return image[np.newaxis]
        return np.moveaxis(image, -1, 0)[..., np.newaxis]

    def _as_image(self, batch: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """`[H, W, C, ...]` of `[B, H, W, c, ...]`."""
        if shape[-1] == self.image_channels:
            return batch[0]
        return np.moveaxis(batch[:, :, :, 0], 0, 2)

    def _is_wanted(self, name: str, value: object) -> bool:
        if (value is not None) != (name in self._companions):
            wanted = "must be given to" if name in self._companions else "is not taken by"
            raise ValueError(
                f"`{name}` {wanted} this model. "
                f"Received: {name}={'None' if value is None else type(value).__name__}."
            )
        return value is not None


def _cut(companions: dict[str, np.ndarray], window: Window) -> dict[str, np.ndarray]:
    return {name: x if x.shape[:2] == (1, 1) else x[window.read] for name, x in companions.items()}


def restore(
    model: DeepAM,
    image: np.ndarray,
    *,
    noise_stddev: float | np.ndarray | None = None,
    guide: np.ndarray | None = None,
    mask: np.ndarray | None = None,
    tile: int | None = None,
    overlap: int | None = None,
    self_ensemble: bool = False,
    rtol: float | None = None,
) -> np.ndarray:
    """Restore one image with a trained model.

    What was made ready for a model is kept as long as the model is: a second call is as fast as
    that of a `Restorer`.

    Args:
        model: see `Restorer`.
        image: `[H, W, C]`, floating, range [0, 1] plus noise.
        noise_stddev: see `Restorer.__call__`.
        guide: see `Restorer.__call__`.
        mask: see `Restorer.__call__`.
        tile: see `Restorer`.
        overlap: see `Restorer`.
        self_ensemble: see `Restorer`.
        rtol: see `Restorer`.

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
    restorer = Restorer(model, tile=tile, overlap=overlap, self_ensemble=self_ensemble, rtol=rtol)
    return restorer(image, noise_stddev=noise_stddev, guide=guide, mask=mask)
