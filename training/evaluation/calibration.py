"""What a standard deviation is worth: coverage, likelihood, and whether it finds the errors.

- Coverage: the central interval of each probability should hold that share of all values.
- Negative log-likelihood, in nats a value, beside that of a Laplace distribution of one scale for
  all, fitted to the very errors it is judged by.
- Sparsification (Ilg et al., "Uncertainty estimates and multi-hypotheses networks for optical
  flow", ECCV 2018): the RMSE of what is left when the values said to be worst are taken out, over
  that of all; AUSE is the area between that curve and the one of the true errors, the mean over
  images.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from deepam_tf.probability import distribution_of

__all__ = [
    "LEVELS",
    "SHARES",
    "Scores",
    "area",
    "coverage",
    "half_widths",
    "log_likelihood",
    "recalibration",
    "score",
    "sparsification",
]

LEVELS = (0.5, 0.8, 0.95)
"""Probabilities of the central intervals that are judged."""
SHARES = np.linspace(0.0, 0.98, 50)
"""Of the values of an image that are taken out."""
_CURVE = np.linspace(0.05, 0.95, 19)
_DFS = np.exp(np.linspace(np.log(0.1), np.log(100.0), 60)) + 2.05
_FACTORS = np.exp(np.linspace(-0.7, 0.7, 281))


@dataclasses.dataclass(frozen=True)
class Scores:
    """What was found on the images of one set.

    Attributes:
        levels: probabilities, `LEVELS` and those of the reliability curve, rising.
        coverages: share of the values inside each interval.
        nll: negative log-likelihood, nats a value.
        laplace_nll: of the Laplace distribution of one scale.
        ause: area under the sparsification error, by what says which values are worst.
        ause_of_chance: that of the standard deviations if every error were drawn from the
            distribution they claim. Nobody who cannot foretell the draw does better.
        curves: sparsification curve `[len(SHARES)]` of each of them, and of `oracle`.
    """

    levels: np.ndarray
    coverages: np.ndarray
    nll: float
    laplace_nll: float
    ause: dict[str, float]
    ause_of_chance: float
    curves: dict[str, np.ndarray]

    def coverage(self, level: float) -> float:
        """Share of the values inside the interval of that probability."""
        return float(self.coverages[np.argmin(np.abs(self.levels - level))])


def half_widths(levels, df) -> np.ndarray:
    """Half the width of central intervals, in standard deviations.

    Args:
        levels: their probabilities, in (0, 1).
        df: degrees of freedom, above 2, of a shape that broadcasts with `levels`.

    Returns:
        Half widths, of the common shape.
    """
    levels, df = np.broadcast_arrays(np.asarray(levels, np.float64), np.asarray(df, np.float64))
    distribution = distribution_of(tf.zeros_like(df), tf.ones_like(df), df)
    return distribution.quantile(0.5 + levels / 2).numpy()


def coverage(ratios: np.ndarray, levels, df: float) -> np.ndarray:
    """Share of the errors inside the central intervals.

    Args:
        ratios: errors over their standard deviations, sorted magnitudes `[N]`.
        levels: probabilities `[L]`.
        df: degrees of freedom.

    Returns:
        Shares `[L]`.
    """
    return np.searchsorted(ratios, half_widths(levels, df)) / max(ratios.size, 1)


def recalibration(
    groups: Sequence[np.ndarray], *, one_factor: bool = True
) -> tuple[list[float], float]:
    """The factors of standard deviations and the degrees of freedom that fit errors best.

    Best: the largest miss of the coverages of `LEVELS` in any group is least; with a factor for
    each group, the largest of each with these degrees of freedom.

    Args:
        groups: errors over their standard deviations, held out, sorted magnitudes `[N]`; those of
            each group by themselves, however many they are.
        one_factor: the same for all groups. The degrees of freedom always are.

    Returns:
        `(factors, df)`, a factor for each group; after it `ratios / factor` follow the
        distribution of `df`.
    """
    widths = half_widths(np.array(LEVELS), _DFS[:, np.newaxis])
    bounds = _FACTORS[:, np.newaxis, np.newaxis] * widths
    misses = np.array(
        [
            np.abs(np.searchsorted(ratios, bounds) / ratios.size - np.array(LEVELS)).max(axis=-1)
            for ratios in groups
        ]
    )  # [groups, factors, degrees of freedom]
    if one_factor:
        misses = np.broadcast_to(misses.max(axis=0), misses.shape)
    df = int(misses.min(axis=1).max(axis=0).argmin())
    return _FACTORS[misses[:, :, df].argmin(axis=1)].tolist(), float(_DFS[df])


def log_likelihood(errors: np.ndarray, stddev: np.ndarray, df: float) -> np.ndarray:
    """Log density of each error.

    Args:
        errors: any shape.
        stddev: of that shape.
        df: degrees of freedom.

    Returns:
        Nats, of that shape.
    """
    return distribution_of(tf.zeros_like(stddev), stddev, df).log_prob(errors).numpy()


def sparsification(errors: np.ndarray, order: np.ndarray) -> np.ndarray:
    """RMSE of what is left when the values said to be worst are taken out, over that of all.

    Args:
        errors: `[N]`.
        order: `[N]`, large where a value is said to be worse.

    Returns:
        One figure for each of `SHARES`.
    """
    squares = np.square(errors[np.argsort(order, kind="stable")], dtype=np.float64)
    left = np.maximum(np.rint((1 - SHARES) * errors.size).astype(int), 1)
    means = np.cumsum(squares)[left - 1] / left
    return np.sqrt(means / max(squares.mean(), np.finfo(float).tiny))


def area(curve: np.ndarray) -> float:
    """The area below a sparsification curve."""
    return float(np.trapezoid(curve, SHARES))


def score(images: list[tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]], df: float) -> Scores:
    """Judge standard deviations by the errors of a set of images.

    Args:
        images: for each its errors `[N]`, its standard deviations `[N]`, and what else might
            say which values are worst, `[N]` by name.
        df: degrees of freedom.

    Returns:
        The scores.
    """
    levels = np.unique(np.concatenate([LEVELS, np.round(_CURVE, 2)]))
    errors = np.concatenate([errors for errors, _, _ in images])
    stddev = np.concatenate([stddev for _, stddev, _ in images])
    ratios = np.sort(np.abs(errors) / stddev)
    curves: dict[str, list[np.ndarray]] = {}
    chance = []
    rng = np.random.default_rng(0)
    for image_errors, image_stddev, others in images:
        orders = {"oracle": np.abs(image_errors), "stddev": image_stddev, **others}
        for name, order in orders.items():
            curves.setdefault(name, []).append(sparsification(image_errors, order))
        drawn = image_stddev * rng.standard_t(df, image_stddev.shape)
        best = sparsification(drawn, np.abs(drawn))
        chance.append(area(sparsification(drawn, image_stddev)) - area(best))
    means = {name: np.mean(values, axis=0) for name, values in curves.items()}
    scale = np.abs(errors).mean(dtype=np.float64)
    return Scores(
        levels,
        coverage(ratios, levels, df),
        float(-log_likelihood(errors, stddev, df).mean(dtype=np.float64)),
        float(np.log(2 * scale) + 1),
        {name: area(x) - area(means["oracle"]) for name, x in means.items() if name != "oracle"},
        float(np.mean(chance)),
        means,
    )
