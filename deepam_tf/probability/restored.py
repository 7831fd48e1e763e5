"""The distribution of a clean image, given what a model with an uncertainty head was shown.

Pixel by pixel and channel by channel, independently,

    u ~ Student-t(df, loc = u_K, scale),    scale = stddev sqrt((df - 2) / df)

with the head's `stddev` and its one `df > 2`. Near its middle it is a normal distribution; its
tails are those of errors beside edges, which are few and large.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from deepam_tf.networks.deepam import DeepAM
from deepam_tf.networks.uncertainty import UncertaintyHead
from deepam_tf.probability.tfp import import_tfp

tfp: Any = import_tfp()

__all__ = ["NegativeLogLikelihood", "distribution_of", "restored_distribution"]


def distribution_of(restored: tf.Tensor, stddev: tf.Tensor, df: float | tf.Tensor):
    """The distribution with a mean, a standard deviation and degrees of freedom.

    Args:
        restored: mean, `[...]`.
        stddev: standard deviation, `[...]`, positive.
        df: degrees of freedom, above 2.

    Returns:
        `tfp.distributions.StudentT` with `batch_shape` `[...]` and `event_shape` `[]`.

    Example:
        >>> d = deepam_tf.probability.distribution_of([0.5], [0.1], 4.0)
        >>> round(float(d.stddev()[0]), 4), round(float(d.quantile(0.975)[0]), 4)
        (0.1, 0.6963)
    """
    stddev = tf.convert_to_tensor(stddev)
    df = tf.cast(df, stddev.dtype)
    restored = tf.cast(restored, stddev.dtype)
    return tfp.distributions.StudentT(df, restored, stddev * tf.sqrt((df - 2) / df))


def restored_distribution(model: DeepAM, inputs: dict[str, tf.Tensor]):
    """How the clean image is distributed, given a degraded one.

    Args:
        model: with an uncertainty head, as `load_uncertain` returns it.
        inputs: of the model, by name; `"image"` is `[B, H, W, C]`.

    Returns:
        `tfp.distributions.StudentT` with `batch_shape` `[B, H, W, C]` and `event_shape` `[]`:
        `mean`, `stddev`, `quantile`, `cdf`, `log_prob` and `sample` are those of every value on
        its own. `tfp.distributions.Independent(d, 3)` has `batch_shape` `[B]` and a `log_prob`
        of whole images. Errors of neighbours are alike in truth: a sample has the spread of each
        pixel and not its grain.

    Raises:
        ValueError: if the model has no uncertainty head.

    Example:
        >>> model = deepam_tf.DeepAM(1, filters=4, depth=3, uncertainty_filters=4)
        >>> d = deepam_tf.probability.restored_distribution(
        ...     model, {"image": tf.zeros([1, 6, 5, 1])})
        >>> d.quantile(0.95).shape.as_list()
        [1, 6, 5, 1]
    """
    if not getattr(model, "uncertainty_filters", 0):
        raise ValueError(
            "`model` must have an uncertainty head. "
            f"Received: {model.name!r} without one. Load it by `load_uncertain`."
        )
    outputs = model(inputs, training=False)
    head = model.get_layer("uncertainty")
    return distribution_of(outputs["restored"], outputs["stddev"], head.df_tensor)


class NegativeLogLikelihood(keras.losses.Loss):
    """The loss under which a head learns: `-log p(error)`, the mean over channels.

    `y_true` is the error `clean - u_K` and `y_pred` the head's standard deviation, both
    `[B, H, W, C]`; the loss of each pixel has the shape `[B, H, W]`.

    Args:
        head: what gave `y_pred`; its degrees of freedom are learnt with the rest.
        **kwargs: arguments of `keras.losses.Loss`.

    Example:
        >>> head = deepam_tf.UncertaintyHead(filters=4)
        >>> stddev = head([tf.zeros([1, 2, 2, n]) for n in (1, 1, 2, 1)])
        >>> loss = deepam_tf.probability.NegativeLogLikelihood(head)
        >>> bool(loss(tf.zeros_like(stddev), stddev) < loss(tf.ones_like(stddev), stddev))
        True
    """

    def __init__(self, head: UncertaintyHead, **kwargs) -> None:
        super().__init__(**{"name": "negative_log_likelihood", **kwargs})
        self._head = head

    def call(self, y_true, y_pred):
        distribution = distribution_of(tf.zeros_like(y_pred), y_pred, self._head.df_tensor)
        return -tf.reduce_mean(distribution.log_prob(y_true), axis=-1)
