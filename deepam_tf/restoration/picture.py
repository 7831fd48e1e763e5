"""From a decoded picture to a restored one: noise, weights, restoration, and what there is to say.

The command, a server and a page all do this, and do it by the one function here.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import threading
from collections.abc import Callable

import numpy as np

from deepam_tf.classical.denoisers import METHODS
from deepam_tf.data.alignment import doubt_guide
from deepam_tf.data.noise import (
    NoiseEstimate,
    PoissonGaussian,
    estimate_noise,
    estimate_poisson_gaussian,
)
from deepam_tf.files.levels import Levels
from deepam_tf.files.pairs import to_channels
from deepam_tf.files.pictures import Picture
from deepam_tf.networks.deepam import DeepAM
from deepam_tf.restoration.camera_noise import level_to_tell, measure_noise, to_three_channels
from deepam_tf.restoration.defaults import (
    CAMERA_MODEL,
    COLOR_MODEL,
    FUSION_MODEL,
    GRAY_MODEL,
)
from deepam_tf.restoration.hidden import fill_hidden
from deepam_tf.restoration.pretrained import load_pretrained, noise_range, pretrained_card
from deepam_tf.restoration.strength import Strength
from deepam_tf.restoration.tiles import Restorer
from deepam_tf.restoration.uncertainty import load_uncertain

__all__ = [
    "ESTIMATES",
    "STDDEV_UNIT",
    "Noise",
    "Note",
    "RestoredPicture",
    "check_method",
    "choose_restorer",
    "describe_noise",
    "find_noise",
    "restore_picture",
    "told_level",
]

STDDEV_UNIT = "white of the picture"
"""What 1 is in the standard deviations of a picture."""

ESTIMATES = ("auto", "white", "signal-dependent")
"""How noise is measured on a picture, see `restore_picture`."""

_LEAST_STDDEV = 0.1 / 255  # a classical regulariser has no meaning without noise
_ROWS = 64
_TOLERANCE = 0.5 / 255  # how far beyond their range weights are used without a word


@dataclasses.dataclass(frozen=True)
class Noise:
    """What the noise of a picture was taken to be.

    Attributes:
        kind: `"white"`, also for a level that was given; `"camera"`; `"jpeg"`; `"none"`; or
            `"signal-dependent"`.
        levels: its variance where the clean value is `x`, `gain x + variance`, in units of
            [0, 1]; the gain is 0 unless the noise is signal-dependent.
        estimate: what was found out of it; None if it was given, or is signal-dependent.
        estimated: whether it was measured on the picture, not given.
    """

    kind: str
    levels: PoissonGaussian
    estimated: bool
    estimate: NoiseEstimate | None = None

    def stddev(self, value: float = 0.5) -> float:
        """The standard deviation where the clean value is `value`, both in units of [0, 1]."""
        return float(np.sqrt(self.levels.gain * value + self.levels.variance))


@dataclasses.dataclass(frozen=True)
class Note:
    """One thing that whoever asked for a restoration should hear.

    Attributes:
        kind: `"noise"`: what was estimated; `"range"`: the weights were not trained for it;
            `"guide"`: it does not show the picture's scene, or not in its place.
        text: one line for people; levels of noise are on the 0..255 scale.
    """

    kind: str
    text: str

    def __str__(self) -> str:
        return self.text


@dataclasses.dataclass(frozen=True)
class RestoredPicture:
    """A restored picture and what was found out on the way.

    Attributes:
        picture: the picture given, with restored `pixels`, not clipped; all else as it was.
        noise: what its noise was taken to be.
        model_name: the weights, or the classical method.
        notes: what there is to say, in the order in which it was found.
        stddev: how far off each value of `picture.pixels` may be, of its shape and in its
            units; None where it was not asked for.
    """

    picture: Picture
    noise: Noise
    model_name: str
    notes: tuple[Note, ...]
    stddev: np.ndarray | None = None


def restore_picture(
    picture: Picture,
    guide: Picture | None = None,
    *,
    noise: float | str | PoissonGaussian = "auto",
    strength: float | Strength = 1.0,
    model: str | os.PathLike | DeepAM | None = None,
    method: str = "deepam",
    dtype: str = "float32",
    tile: int | None = None,
    self_ensemble: bool = False,
    overwrite: bool = False,
    uncertainty: bool = False,
    on_note: Callable[[Note], object] = lambda note: None,
    on_progress: Callable[[int, int], object] = lambda done, total: None,
) -> RestoredPicture:
    """Remove the noise of a decoded picture, by the weights that suit it.

    Safe to call from several threads: models are loaded once and shared.

    Args:
        picture: what `image_io.read` returns.
        guide: a clean picture of the same view and size, near infrared or flash; None:
            there is none. Where its edges are not those of the picture, or lie two pixels or
            more beside them, it is not used and a note says so, unless `model` is given.
        noise: standard deviation of white noise in units of [0, 1]; or the levels of a known
            sensor; or how it is measured on the picture: `"white"`, as one level;
            `"signal-dependent"`, as the gain and the variance of a sensor, of pictures linear
            in the light; `"auto"`, whichever it is, white or of a camera that has developed
            its file, see `camera_noise.measure_noise`.
        strength: a factor from 0 to 2 for the level that the weights are told, or a `Strength`.
        model: weights that `load_pretrained` takes, or a model of one's own. By default
            `fuse_nir` with a guide; without one `denoise_camera` where `"auto"` has found
            camera noise or JPEG, and else `denoise_color` for pictures in colour, `denoise_gray`
            for others, also where a gray picture is stored in three equal channels. A picture in
            which `"auto"` finds no noise comes back as it is.
        method: `"deepam"`, or a classical regulariser, one of `classical.METHODS`, which takes
            white noise and neither guide nor model.
        dtype: Keras dtype policy of loaded weights, `"float32"` or `"mixed_bfloat16"`.
        tile: see `Restorer`.
        self_ensemble: see `Restorer`.
        overwrite: whether the result may take the place of `picture.pixels`, which saves a large
            picture's memory; what they were is lost then. If these are `Levels`, so are those
            of the result: clipped, and rounded as its file would have them.
        uncertainty: whether to tell how far off each value may be; of weights that have a
            head for it, see `load_uncertain`.
        on_note: called with every note as soon as there is one.
        on_progress: called with the numbers of tiles that are done and that there are,
            before the first and after each. An exception that it raises ends the
            restoration and goes on to the caller.

    Returns:
        The restored picture, its pixels `[H, W, C]` float32 and not clipped, and what was
        found out.

    Raises:
        ValueError: if an argument is out of its range, the model does not take what is
            given, the sizes of picture and guide differ, or the picture is too small to
            measure its noise.

    Example:
        >>> noisy = np.random.default_rng(0).normal(0.5, 0.1, [64, 64, 1]).astype(np.float32)
        >>> picture = deepam_tf.image_io.Picture(noisy, None, np.dtype("uint8"))
        >>> result = deepam_tf.restore_picture(picture)
        >>> result.model_name, round(result.noise.stddev(), 2)
        ('denoise_gray', 0.1)
        >>> bool(result.picture.pixels.std() < 0.3 * noisy.std())
        True
    """
    check_method(method, guide, model, noise, dtype, uncertainty)
    strength = strength if isinstance(strength, Strength) else Strength(strength, strength)
    # Only where nothing of the picture is asked for afterwards.
    over = overwrite and strength == Strength() and not uncertainty
    if isinstance(picture.pixels, Levels) and not (over and guide is None):
        picture = dataclasses.replace(picture, pixels=np.asarray(picture.pixels))
    picture = fill_hidden(picture)
    notes: list[Note] = []

    def say(kind: str, text: str) -> None:
        notes.append(Note(kind, text))
        on_note(notes[-1])

    if guide is not None and guide.pixels.shape[:2] != picture.pixels.shape[:2]:
        raise ValueError(
            "`guide` must have the size of `picture`. Received: "
            f"{guide.pixels.shape[:2]} and {picture.pixels.shape[:2]}, height and width."
        )
    if guide is not None and model is None and method == "deepam":
        doubt = doubt_guide(picture.pixels, guide.pixels)
        if doubt is not None:
            say("guide", f"{doubt}: restored without it")
            guide = None
    blind = noise == "auto" and method == "deepam" and model is None and guide is None
    found = find_noise(picture, noise, blind=blind, dtype=dtype, tile=tile)
    if found.estimated:
        say("noise", describe_noise(found))
    if uncertainty and (strength != Strength() or found.kind == "none"):
        raise ValueError(
            "`uncertainty` is that of noise which is removed whole. Received: "
            f"{strength}, noise {found.kind!r}. Leave one of them out, or give the noise."
        )
    if found.kind == "none" and blind:
        on_progress(1, 1)
        return RestoredPicture(picture, found, CAMERA_MODEL, tuple(notes))
    restorer, model_name = choose_restorer(
        found,
        model,
        method,
        colorful=guide is None and model is None and _is_colorful(picture.pixels),
        guided=guide is not None,
        dtype=dtype,
        tile=tile,
        self_ensemble=self_ensemble,
        uncertainty=uncertainty,
        say=say,
    )
    level = told_level(found, picture.pixels, restorer, model_name)
    if level is None and strength.scales:
        raise ValueError(
            "`strength` needs weights that are told the level of the noise. "
            f"Received: {strength} and {model_name!r}."
        )
    pixels = picture.pixels
    if model_name == CAMERA_MODEL:
        pixels = to_three_channels(np.asarray(pixels) if pixels.shape[-1] == 1 else pixels)
    elif guide is None and restorer.image_channels < pixels.shape[-1] and not _is_colorful(pixels):
        pixels = pixels.of(_first) if isinstance(pixels, Levels) else _first(pixels)
    companions = {}
    if guide is not None:
        if not restorer.guide_channels:
            raise ValueError(f"`model` must take a guide. Received: {model_name!r}.")
        pixels = to_channels(pixels, restorer.image_channels)
        companions["guide"] = to_channels(guide.pixels, restorer.guide_channels)
    total = restorer.count_tiles(*pixels.shape) * strength.count_runs(pixels)
    done = 0

    def on_tile() -> None:
        nonlocal done
        done += 1
        on_progress(done, total)

    on_progress(0, total)
    stddev = None
    if isinstance(pixels, Levels):
        restored = pixels if pixels.numbers.flags.writeable else pixels.of(np.copy)
        restorer.in_place(restored, noise_stddev=level, on_tile=on_tile)
    elif uncertainty:
        restored, stddev = restorer.with_stddev(
            pixels, noise_stddev=level, on_tile=on_tile, **companions
        )
        # Of gray made of colour: as if the errors of the three were equal, no less than it is.
        stddev = to_channels(stddev, picture.pixels.shape[-1])
    else:
        over = over and pixels.dtype == np.float32 and pixels.flags.writeable
        restored = strength.apply(
            pixels,
            lambda factor: restorer(
                pixels,
                noise_stddev=None if level is None else factor * level,
                on_tile=on_tile,
                out=pixels if over else None,
                **companions,
            ),
        )
    count = picture.pixels.shape[-1]
    if isinstance(restored, Levels):  # three equal channels again
        restored = restored.of(lambda x: np.repeat(x, count // x.shape[-1], axis=-1))
    else:
        restored = to_channels(restored, count)
    return RestoredPicture(
        dataclasses.replace(picture, pixels=restored), found, model_name, tuple(notes), stddev
    )


def find_noise(
    picture: Picture,
    noise: float | str | PoissonGaussian,
    *,
    blind: bool,
    dtype: str,
    tile: int | None,
) -> Noise:
    """The noise of a picture, as it was given or as it is measured.

    Args:
        picture: a picture.
        noise: see `restore_picture`.
        blind: whether it may be that of a camera.
        dtype: see `restore_picture`.
        tile: see `restore_picture`.

    Returns:
        The noise.

    Raises:
        ValueError: if `noise` is no level, or the picture is too small to measure it.
    """
    if blind:
        return _blind_noise(picture, dtype, tile)
    return _found_noise(picture, "white" if noise == "auto" else noise)


def choose_restorer(
    found: Noise,
    model: str | os.PathLike | DeepAM | None,
    method: str,
    *,
    colorful: bool,
    guided: bool,
    dtype: str,
    tile: int | None,
    self_ensemble: bool,
    uncertainty: bool,
    say: Callable[[str, str], object],
) -> tuple[Restorer, str]:
    """What restores a picture, and its name.

    Args:
        found: the noise.
        model: see `restore_picture`.
        method: see `restore_picture`.
        colorful: whether the picture has colours, see `_is_colorful`.
        guided: whether there is a guide.
        dtype: see `restore_picture`.
        tile: see `restore_picture`.
        self_ensemble: see `restore_picture`.
        uncertainty: see `restore_picture`.
        say: told of a level that the weights were not trained for: kind and text of a `Note`.

    Returns:
        The restorer, and the name of the weights or of the method.

    Raises:
        ValueError: if there are no such weights.
    """
    if method != "deepam":
        stddev = max(found.stddev(), _LEAST_STDDEV)
        return _classical_restorer(method, stddev, tile, self_ensemble), method
    model = model if model is not None else _default_model(colorful, guided, found)
    if isinstance(model, DeepAM):
        return Restorer(model, tile=tile, self_ensemble=self_ensemble), model.name
    model_name = os.fspath(model)
    _say_range(model_name, found, say)
    return _shared_restorer(model_name, dtype, tile, self_ensemble, uncertainty), model_name


def check_method(method, guide, model, noise, dtype, uncertainty) -> None:
    """Raise if arguments of `restore_picture` do not go together.

    Raises:
        ValueError: if they do not.
    """
    if method == "deepam":
        return
    if method not in METHODS:
        raise ValueError(
            f"`method` must be one of {['deepam', *METHODS]}. Received: method={method!r}."
        )
    white = not isinstance(noise, PoissonGaussian) and noise != "signal-dependent"
    if uncertainty:
        raise ValueError(
            "`uncertainty` needs a network that was trained to tell. "
            f"Received: method={method!r}. Leave one of them out."
        )
    if guide is not None or model is not None or not white or dtype != "float32":
        raise ValueError(
            f"`method`={method!r} takes white noise and neither guide, model nor dtype. Received: "
            f"guide={'None' if guide is None else 'a picture'}, model={model!r}, "
            f"noise={noise!r}, dtype={dtype!r}."
        )


def _blind_noise(picture: Picture, dtype: str, tile: int | None) -> Noise:
    """Whatever noise there is, measured with the help of the network for that of cameras."""

    def restore(window: np.ndarray, *, noise_stddev: float) -> np.ndarray:
        restorer = _shared_restorer(CAMERA_MODEL, dtype, tile, False, False)
        return restorer(window, noise_stddev=noise_stddev)

    return _of_one_level(measure_noise(picture.pixels, restore, mask=picture.visible))


def _of_one_level(estimate: NoiseEstimate) -> Noise:
    levels = PoissonGaussian(0.0, estimate.stddev**2)
    return Noise(estimate.kind, levels, estimated=True, estimate=estimate)


def _found_noise(picture: Picture, noise: float | str | PoissonGaussian) -> Noise:
    """The noise that was given, or that is estimated."""
    if isinstance(noise, PoissonGaussian):
        return Noise("signal-dependent", noise, estimated=False)
    if isinstance(noise, str):
        if noise not in ESTIMATES:
            raise ValueError(
                f"`noise` must be a number or one of {list(ESTIMATES)}. Received: {noise!r}."
            )
        if noise == "signal-dependent":
            levels = estimate_poisson_gaussian(picture.pixels, mask=picture.visible)
            return Noise(noise, levels, estimated=True)
        return _of_one_level(estimate_noise(picture.pixels, mask=picture.visible))
    if not 0 <= noise <= 1:
        raise ValueError(
            "`noise` must be a standard deviation in units of [0, 1]. "
            f"Received: {noise}. Divide sigma of the 0..255 scale by 255."
        )
    return Noise("white", PoissonGaussian(0.0, float(noise) ** 2), estimated=False)


def describe_noise(noise: Noise) -> str:
    """What there is to say of noise that was measured, on the 0..255 scale."""
    if noise.estimate is not None:
        words = str(noise.estimate)
        return words if noise.kind == "none" else f"noise estimated, {words}"
    dark, bright = (255 * noise.stddev(value) for value in (0.0, 1.0))
    return f"noise estimated, sigma {dark:.1f} in black to {bright:.1f} in white"


def _default_model(colorful: bool, guided: bool, found: Noise) -> str:
    """Name of the weights for a picture."""
    if guided:
        return FUSION_MODEL
    if found.kind in ("camera", "jpeg"):
        return CAMERA_MODEL
    # A gray picture in a colour file has the same noise in all channels, which the weights for
    # colour would take for the picture.
    return COLOR_MODEL if colorful else GRAY_MODEL


def _is_colorful(pixels: np.ndarray) -> bool:
    """Whether there are three channels, not all alike; most pictures tell in their first rows."""
    return pixels.shape[-1] == 3 and any(
        np.any(pixels[row : row + _ROWS, :, :1] != pixels[row : row + _ROWS, :, 1:])
        for row in range(0, len(pixels), _ROWS)
    )


def _first(pixels: np.ndarray) -> np.ndarray:
    """One of three equal channels, which are one."""
    return pixels[..., :1]


def _say_range(name: str, noise: Noise, say: Callable[[str, str], None]) -> None:
    """A note where shipped weights were trained for other levels than the picture's."""
    low, high = noise_range(name)
    if noise.kind == "signal-dependent":  # a map of levels has no single one to compare
        return
    stddev = noise.stddev()
    if low - _TOLERANCE <= stddev <= high + _TOLERANCE:
        return
    levels = f"sigma {255 * low:g}" + (f" to {255 * high:g}" if high > low else " alone")
    say(
        "range",
        f"{name} was trained for {levels}; at sigma {255 * stddev:.3g} it removes too "
        f"{'little' if stddev > high else 'much'}.",
    )


def told_level(noise: Noise, pixels: np.ndarray, restorer: Restorer, model_name: str):
    """What a model that takes the noise level is given: a number or a map."""
    if not restorer.noise_level:
        if noise.kind == "signal-dependent":
            raise ValueError(
                "Noise that depends on the signal needs weights that take its level. "
                f"Received: {model_name!r}. {GRAY_MODEL} does."
            )
        return None
    if noise.estimate is not None and model_name == CAMERA_MODEL:
        return level_to_tell(noise.estimate)
    return noise.stddev() if noise.levels.gain == 0 else noise.levels.stddev_map(pixels)


_LOADING = threading.Lock()


def _shared_restorer(
    name: str, dtype: str, tile: int | None, self_ensemble: bool, uncertainty: bool
) -> Restorer:
    """A restorer of shipped weights, made once for all threads."""
    checksum = pretrained_card(name)["sha256"]
    with _LOADING:
        return _cached_restorer(name, checksum, dtype, tile, self_ensemble, uncertainty)


@functools.lru_cache(maxsize=8)
def _cached_restorer(
    name: str, checksum: str, dtype: str, tile: int | None, self_ensemble: bool, uncertainty: bool
) -> Restorer:
    """The checksum tells a folder from what it held before."""
    del checksum
    load = load_uncertain if uncertainty else load_pretrained
    return Restorer(load(name, dtype=dtype), tile=tile, self_ensemble=self_ensemble)


@functools.lru_cache(maxsize=1)
def _classical_restorer(
    method: str, stddev: float, tile: int | None, self_ensemble: bool
) -> Restorer:
    """The last one is kept: a level that was given is that of many pictures."""
    denoise = functools.partial(METHODS[method], noise_stddev=stddev)
    return Restorer(denoise, tile=tile, self_ensemble=self_ensemble)
