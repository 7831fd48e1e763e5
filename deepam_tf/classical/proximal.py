"""Regularisers of image gradients, and their proximal maps.

A regulariser is a sum over pixels, `Phi(v) = sum w phi(v)`, and its proximal map

    prox(d, t) = argmin_v  t phi(v) + 1/2 (v - d)^2

is the first step of the paper's eq. (4) with `d = D u` and `t = w / beta`: soft thresholding
for L1, hard thresholding for L0, and something between for Lp (paper, Fig. 1). Every map here
is odd, keeps the sign of `d` and never makes it larger.

With `isotropic`, `phi` acts on the length of the pair (dy, dx) of a channel at a pixel, which
keeps its direction; otherwise on both numbers separately.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Protocol

import tensorflow as tf

__all__ = ["L0", "Lp", "Regularizer", "TotalVariation"]


class Regularizer(Protocol):
    """What `alternating_minimization` needs of a regulariser.

    `v` and `d` are gradients `[B, H, W, 2C]`, maps ordered (dy, dx); `weight` and `t` are
    non-negative and broadcast against `[B, H, W, C]`.
    """

    def value(self, v: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
        """`Phi(v)` of each image, `[B]`."""
        ...

    def prox(self, d: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
        """The proximal map of `d` with step `t`, of the shape of `d`."""
        ...


@dataclasses.dataclass(frozen=True)
class TotalVariation:
    """`phi(v) = |v|`; its proximal map is soft thresholding, `max(|d| - t, 0) d / |d|`.

    Attributes:
        isotropic: Rudin, Osher and Fatemi's total variation if True, the sum of absolute
            differences otherwise.

    Example:
        >>> d = tf.constant([0.5, -3.0])[tf.newaxis, tf.newaxis, tf.newaxis]
        >>> deepam_tf.proximal.TotalVariation(isotropic=False).prox(d, 1.0).numpy().tolist()
        [[[[0.0, -2.0]]]]

    References:
        Rudin, Osher, Fatemi, "Nonlinear total variation based noise removal", 1992; Wang,
        Yang, Yin, Zhang, "A new alternating minimization algorithm for total variation image
        reconstruction", 2008, eq. (2.2) and (2.3).
    """

    isotropic: bool = True

    def value(self, v: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
        """`Phi(v)` of each image, `[B]`."""
        return _weighted_sum(_length(v, self.isotropic), weight)

    def prox(self, d: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
        """Soft thresholding."""
        return _shrink(d, t, self.isotropic, lambda r, t: tf.maximum(r - t, 0))


@dataclasses.dataclass(frozen=True)
class L0:
    """`phi(v) = 1` where `v` is not zero; its proximal map keeps `d` where `d^2 > 2 t`.

    Attributes:
        isotropic: count pixels with a gradient if True (as L0 smoothing does), single
            differences otherwise.

    Example:
        >>> d = tf.constant([1.0, -3.0])[tf.newaxis, tf.newaxis, tf.newaxis]
        >>> deepam_tf.proximal.L0(isotropic=False).prox(d, 1.0).numpy().tolist()
        [[[[0.0, -3.0]]]]

    References:
        Xu, Lu, Xu, Jia, "Image smoothing via L0 gradient minimization", 2011, eq. (12).
    """

    isotropic: bool = True

    def value(self, v: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
        """`Phi(v)` of each image, `[B]`."""
        length = _length(v, self.isotropic)
        return _weighted_sum(tf.cast(length > 0, v.dtype), weight)

    def prox(self, d: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
        """Hard thresholding."""
        return _shrink(d, t, self.isotropic, lambda r, t: tf.where(r * r > 2 * t, r, 0))


@dataclasses.dataclass(frozen=True)
class Lp:
    """`phi(v) = |v|^p`, 0 < p < 1: the hyper-Laplacian prior of natural images.

    Below `tau = (2 - p) / (2 - 2 p) (2 t (1 - p))^(1 / (2 - p))` the proximal map is 0; above,
    it is the larger root `v` of `v + t p v^(p - 1) = |d|`, in closed form for p = 1/2 and
    2/3, by Newton's method from `|d|` otherwise: the function is convex there, so that the
    iterates fall to the root from above.

    Attributes:
        p: exponent.
        isotropic: see the module.

    Raises:
        ValueError: if `p` is not between 0 and 1.

    Example:
        >>> d = tf.constant([1.0, 3.0])[tf.newaxis, tf.newaxis, tf.newaxis]
        >>> prox = deepam_tf.proximal.Lp(0.5, isotropic=False).prox(d, 1.0)
        >>> prox.numpy().round(3).tolist()
        [[[[0.0, 2.69...]]]]

    References:
        Krishnan, Fergus, "Fast image deconvolution using hyper-Laplacian priors", 2009; Xu,
        Chang, Xu, Zhang, "L1/2 regularization: a thresholding representation theory", 2012,
        eq. (10); Cao, Sun, Xu, "Fast image deconvolution using closed-form thresholding
        formulas of Lq (q = 1/2, 2/3) regularization", 2013, eq. (12); Zuo, Meng, Zhang, Feng,
        Zhang, "A generalized iterated shrinkage algorithm", 2013, eq. (12).
    """

    p: float = 2 / 3
    isotropic: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.p < 1:
            raise ValueError(f"`p` must be between 0 and 1, exclusively. Received: p={self.p}.")

    def value(self, v: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
        """`Phi(v)` of each image, `[B]`."""
        return _weighted_sum(tf.pow(_length(v, self.isotropic), self.p), weight)

    def prox(self, d: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
        """Thresholding between soft and hard."""
        return _shrink(d, t, self.isotropic, self._shrink_length)

    def _shrink_length(self, r: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
        p = self.p
        t = tf.broadcast_to(t, tf.shape(r))
        threshold = (2 - p) / (2 - 2 * p) * tf.pow(2 * t * (1 - p), 1 / (2 - p))
        kept = (r > threshold) & (t > 0)
        # Where nothing is kept the formulas get harmless numbers, so that no NaN appears.
        safe_r, safe_t = tf.where(kept, r, 10), tf.where(kept, t, 1)
        if math.isclose(p, 1 / 2):
            root = _half_root(safe_r, safe_t)
        elif math.isclose(p, 2 / 3):
            root = _two_thirds_root(safe_r, safe_t)
        else:
            root = _newton_root(safe_r, safe_t, p)
        return tf.where(kept, root, tf.where(t > 0, tf.zeros_like(r), r))


def _half_root(r: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
    angle = tf.acos(0.25 * t * tf.pow(r / 3, -1.5))
    return 2 / 3 * r * (1 + tf.cos(2 / 3 * (math.pi - angle)))


def _two_thirds_root(r: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
    penalty = 2 * t  # the source minimises (v - d)^2 + penalty |v|^(2/3)
    angle = tf.acosh(27 / 16 * r * r * tf.pow(penalty, -1.5)) / 3
    a = 2 / math.sqrt(3) * tf.pow(penalty, 0.25) * tf.sqrt(tf.cosh(angle))
    return tf.pow((a + tf.sqrt(tf.maximum(2 * r / a - a * a, 0))) / 2, 3)


def _newton_root(r: tf.Tensor, t: tf.Tensor, p: float) -> tf.Tensor:
    v = r
    for _ in range(8):
        excess = v - r + t * p * tf.pow(v, p - 1)
        slope = 1 + t * p * (p - 1) * tf.pow(v, p - 2)
        v = v - excess / slope
    return v


def _length(v: tf.Tensor, isotropic: bool) -> tf.Tensor:
    """Lengths of the pairs (dy, dx), `[B, H, W, C]`, or absolute values, `[B, H, W, 2C]`."""
    if not isotropic:
        return tf.abs(v)
    dy, dx = tf.split(v, 2, axis=-1)
    return tf.sqrt(dy * dy + dx * dx)


def _weighted_sum(phi: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(_for_maps(weight, phi) * phi, axis=[1, 2, 3])


def _shrink(d: tf.Tensor, t: tf.Tensor, isotropic: bool, shrink_length) -> tf.Tensor:
    """Apply a map of lengths to vectors, whose direction stays."""
    length = _length(d, isotropic)
    factor = tf.math.divide_no_nan(shrink_length(length, _for_maps(t, length)), length)
    return d * (tf.concat([factor, factor], axis=-1) if isotropic else factor)


def _for_maps(t: tf.Tensor, maps: tf.Tensor) -> tf.Tensor:
    """A number for each channel, repeated for the maps dy and dx where they are apart."""
    t = tf.convert_to_tensor(t, maps.dtype)
    channels = t.shape[-1] if t.shape.rank else 1
    return tf.concat([t, t], axis=-1) if channels not in (1, maps.shape[-1]) else t
