"""A simulated depth camera: from a true depth map to what such a sensor measures of it.

Values grow uncertain with the square of distance, stereo and structured light know disparities in
steps, and a pixel that sees two surfaces measures neither, or nothing.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

__all__ = ["DepthCameraSimulator"]

# Structured light at `z` metres: standard deviation 0.0012 + 0.0019 (z - 0.4)^2 metres (Nguyen,
# Izadi and Lovell, "Modeling Kinect sensor noise for improved 3D reconstruction and tracking",
# 3DIMPVT 2012, eq. (1), without its part that grows with the angle).
_FLOOR, _GROWTH, _NEAREST = 0.0012, 0.0019, 0.4
# Its disparity is counted in steps, `z = 351.3 / n` metres, and its pixels look aside by half a
# pixel (Barron and Malik, "Intrinsic scene properties from a single RGB-D image", CVPR 2013).
_DISPARITY, _JITTER = 351.3, 0.5
_REACH = 4  # pixels that the correlation of the noise reaches to either side
_CORRELATED_RATE, _STEPPED_RATE, _EXACT_RATE = 0.5, 0.4, 0.06
_MOST_LOST = 0.03  # of all pixels
_MOST_SHADOW = 0.5  # of those beside an edge


@dataclasses.dataclass(frozen=True)
class DepthCameraSimulator:
    """What a depth camera measures of a scene.

    The scene's depth is given in a unit of its own, [0, 1]; how far it begins and how deep it is,
    in metres, are drawn. Every pixel looks a little aside, so that beside edges values of
    neither surface come about (flying pixels); its value gets noise whose standard deviation is
    `s (0.0012 + 0.0019 (z - 0.4)^2)` metres at `z` metres, in half of the maps alike over a few
    pixels; in some maps it is rounded to a step of disparity; some pixels measure nothing, beside
    edges more. Every choice is a function of the seed.

    Attributes:
        strength: least and largest `s`, drawn log-uniformly; 1 is a Kinect of 2010.
        nearest: least and largest depth that is 0 in the unit, metres, log-uniformly.
        span: least and largest distance from there to 1, metres, likewise.

    Example:
        >>> camera = deepam_tf.degradations.DepthCameraSimulator()
        >>> scene = tf.fill([32, 32, 1], 0.5)
        >>> noisy, valid, stddev = camera(scene, tf.ones_like(scene), seed=[0, 1])
        >>> noisy.shape.as_list(), bool(tf.reduce_all(stddev >= 0))
        ([32, 32, 1], True)
    """

    strength: tuple[float, float] = (0.5, 10.0)
    nearest: tuple[float, float] = (0.4, 3.0)
    span: tuple[float, float] = (0.4, 6.0)

    def __call__(
        self, depth: tf.Tensor, valid: tf.Tensor, seed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Measure a scene.

        Args:
            depth: `[H, W, 1]` float32, most of it in [0, 1].
            valid: 1 where the depth is known, 0 where not, `[H, W, 1]`.
            seed: two integers, `[2]`; the same seed measures the same.

        Returns:
            `(noisy, valid, stddev)`, `[H, W, 1]` float32: what is measured, in the unit of
            `depth`, 0 in its holes; where there is a measurement; and the standard deviation of
            the noise of each value, in that unit, as one would know it who has only the noisy map.
        """
        draws = tf.random.stateless_uniform([10], tf.random.fold_in(seed, 0))
        near = _log_uniform(draws[0], self.nearest)
        span = _log_uniform(draws[1], self.span)
        strength = _log_uniform(draws[2], self.strength)
        strength = tf.where(draws[3] < _EXACT_RATE, 0.0, strength)
        step = tf.where(draws[4] < _STEPPED_RATE, strength / _DISPARITY, 0.0)
        width = tf.where(draws[5] < _CORRELATED_RATE, 0.4 + draws[6], 0.0)

        aside = _JITTER * draws[7] * _normal([*depth.shape[:2], 2], tf.random.fold_in(seed, 1))
        aside = tf.where(strength > 0, aside, 0.0)
        seen, share = _looked_at(depth * valid, valid, aside)
        z = near + span * seen / tf.maximum(share, 1e-6)

        noise = _correlated(_normal(depth.shape, tf.random.fold_in(seed, 2)), width)
        measured = z + _axial(z, strength) * noise
        counted = 1 / (step * tf.maximum(tf.round(1 / (step * tf.maximum(measured, 0.1))), 1.0))
        measured = tf.where(step > 0, counted, measured)

        chances = tf.random.stateless_uniform([*depth.shape[:2], 1], tf.random.fold_in(seed, 3))
        edge = _is_edge(near + span * depth, valid)
        lost = chances < _MOST_LOST * draws[8] ** 2 + _MOST_SHADOW * draws[9] * edge
        known = tf.cast((share > 0.5) & ~lost, tf.float32)
        # Of a step the error is uniform, of that width.
        stddev = tf.sqrt(
            tf.square(_axial(measured, strength)) + tf.square(step * tf.square(measured)) / 12
        )
        return (measured - near) / span * known, known, stddev / span


def _log_uniform(draw: tf.Tensor, limits: tuple[float, float]) -> tf.Tensor:
    low, high = np.log(limits)
    return tf.exp(float(low) + float(high - low) * draw)


def _normal(shape, seed: tf.Tensor) -> tf.Tensor:
    return tf.random.stateless_normal(shape, seed)


def _axial(z: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
    """Standard deviation in metres at `z` metres."""
    return strength * (_FLOOR + _GROWTH * tf.square(z - _NEAREST))


def _correlated(noise: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """White noise smoothed by a Gaussian of that width in pixels, its variance still 1."""
    places = tf.range(-_REACH, _REACH + 1, dtype=tf.float32)
    taps = tf.exp(-0.5 * tf.square(places / tf.maximum(width, 0.05)))
    taps /= tf.sqrt(tf.reduce_sum(tf.square(taps)))
    kernel = tf.reshape(tf.tensordot(taps, taps, 0), [2 * _REACH + 1, 2 * _REACH + 1, 1, 1])
    padded = tf.pad(noise[tf.newaxis], [[0, 0], [_REACH] * 2, [_REACH] * 2, [0, 0]], "SYMMETRIC")
    return tf.nn.conv2d(padded, kernel, 1, "VALID")[0]


def _looked_at(values: tf.Tensor, valid: tf.Tensor, aside: tf.Tensor):
    """Values and validity between the pixels, `aside` pixels `[H, W, 2]` from each; bilinear."""
    height, width = values.shape[:2]
    rows = tf.clip_by_value(
        tf.range(height, dtype=tf.float32)[:, None] + aside[..., 0], 0.0, height - 1.0
    )
    columns = tf.clip_by_value(tf.range(width, dtype=tf.float32) + aside[..., 1], 0.0, width - 1.0)
    top, left = tf.floor(rows), tf.floor(columns)
    both = tf.concat([values, valid], axis=-1)
    total = tf.zeros_like(both)
    for down in (0, 1):
        for right in (0, 1):
            row, column = (
                tf.minimum(top + down, height - 1.0),
                tf.minimum(left + right, width - 1.0),
            )
            share = (1 - tf.abs(top + down - rows)) * (1 - tf.abs(left + right - columns))
            place = tf.cast(tf.stack([row, column], axis=-1), tf.int32)
            total += share[..., None] * tf.gather_nd(both, place)
    return total[..., :1], total[..., 1:]


def _is_edge(z: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    """1 beside a step in depth that is more than a slope, `[H, W, 1]`."""
    far = tf.where(valid > 0, z, 0.0)
    near = tf.where(valid > 0, z, 1e3)
    most, least = (tf.nn.max_pool2d(x[tf.newaxis], 3, 1, "SAME")[0] for x in (far, -near))
    return tf.cast((most + least > 0.08 * z) & (valid > 0), tf.float32)
