"""What may go into a model: images, and what it is given beside them."""

from __future__ import annotations

import math

import numpy as np

from deepam_tf.files.levels import Levels

__all__ = ["check_image", "check_units", "companion"]

_SIGMAS = 8.0  # no noise reaches so many standard deviations


def companion(name: str, value, shape: tuple, channels: int) -> np.ndarray | Levels:
    """Bring what a model is given beside an image into shape.

    Args:
        name: of the input.
        value: a number (a noise level), an array, or the `Levels` of a picture.
        shape: of the image, `(H, W, C)`.
        channels: of the input.

    Returns:
        `[1, 1, 1]` or `[H, W, channels]`, float32; `Levels` as they are.

    Raises:
        ValueError: if it has another shape, or is not finite or negative somewhere.

    Example:
        >>> from deepam_tf.restoration import checks
        >>> checks.companion("noise_stddev", 0.1, (4, 5, 1), 1).shape
        (1, 1, 1)
    """
    x = value if isinstance(value, Levels) else np.asarray(value, np.float32)
    if name == "noise_stddev" and x.ndim == 0:
        x = x.reshape([1, 1, 1])
    expected = (*shape[:2], channels)
    if x.shape != expected and (name, x.shape) != ("noise_stddev", (1, 1, 1)):
        also = "be one number or " if name == "noise_stddev" else ""
        raise ValueError(
            f"`{name}` must {also}have shape {list(expected)}: height and width of the image. "
            f"Received: {name}.shape={x.shape}, image.shape={shape}."
        )
    if not isinstance(x, Levels) and (not np.isfinite(x).all() or x.min() < 0):
        raise ValueError(
            f"`{name}` must be finite and not negative. "
            f"Received: least {x.min()}, {int((~np.isfinite(x)).sum())} not finite."
        )
    return x


def check_image(image: np.ndarray | Levels, channels: int) -> None:
    """Refuse what is no image for a model.

    Args:
        image: to be `[H, W, C]`, floating, finite; or `Levels`, which are.
        channels: of the model: 1, which takes colour channel by channel, or `C`.

    Raises:
        TypeError: if the image is not floating.
        ValueError: if it has another shape, or holds NaN or infinite values.
    """
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
    if channels not in (1, image.shape[-1]):
        raise ValueError(
            f"`image` must have the model's {channels} channels. "
            f"Received: image.shape={image.shape}."
        )
    if isinstance(image, Levels):
        return
    if not np.isfinite(image.min()) or not np.isfinite(image.max()):  # without a mask of it
        bad = int(np.size(image) - np.isfinite(image).sum())
        raise ValueError(
            f"`image` must be finite. Received: {bad} NaN or infinite values. Replace them first."
        )


def check_units(image: np.ndarray | Levels, companions: dict[str, np.ndarray]) -> None:
    """Refuse what can be no picture in [0, 1] plus noise.

    Args:
        image: `[H, W, C]`; `Levels` are in these units.
        companions: what goes in beside it, by name.

    Raises:
        ValueError: if the noise level is above 1, or the picture or its guide lies further from
            [0, 1] than any noise.
    """
    stddev = float(np.max(companions["noise_stddev"])) if "noise_stddev" in companions else 1.0
    if stddev > 1:
        raise ValueError(
            "`noise_stddev` must be in the units of a picture in [0, 1], at most 1. "
            f"Received: {stddev:g}. Divide sigma of the 0..255 scale by 255."
        )
    known = companions["mask"] > 0 if "mask" in companions else True
    for name, x, level in (("image", image, stddev), ("guide", companions.get("guide"), 1.0)):
        if x is None or isinstance(x, Levels):
            continue
        where = known if name == "image" else True
        count = np.count_nonzero(np.broadcast_to(where, x.shape))
        if not count:
            continue
        low, high = (f(x, where=where, initial=0.5) for f in (np.min, np.max))
        mean = np.mean(x, where=where, dtype=np.float64)
        slack = _SIGMAS * level / math.sqrt(count) + 0.5
        if low < -_SIGMAS or high > 1 + _SIGMAS or not -slack <= mean <= 1 + slack:
            raise ValueError(
                f"`{name}` must be in [0, 1], but for noise. Received: values from {low:.4g} to "
                f"{high:.4g}, mean {mean:.4g}. Divide pictures of 0..255 by 255."
            )
