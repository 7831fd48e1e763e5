"""The networks: aggregation `u -> (v, gamma)`, the guidance that joins it half way, coarse levels.

Data format is channels-last throughout: images are `[B, H, W, C]`.
"""

from __future__ import annotations

import keras
import tensorflow as tf

from deepam_tf.linear.operators import image_gradient
from deepam_tf.networks.blocks import to_blocks, to_pixels, zero_outside
from deepam_tf.networks.layers import FusedBatchNormalization, normalized_features

__all__ = ["AggregationNetwork", "CoarseNetwork", "GuidanceNetwork"]

_JOIN_AFTER = 3  # convolutions of the aggregation network before the guide's features join
_REJOIN_BEFORE = 4  # convolutions of it, the last among them, after what coarse levels give
_COARSE_STEP = 2  # side of the blocks that are one place of the next level
_COARSE_DEPTH = 4  # convolutions 3x3 of a level, half of them before the next one and half after
_EDGE_WEIGHT_MIN = 0.02  # no difference is cut off
_EDGE_WEIGHT_GAIN = 8.0  # brings what a small step of the head's weights does into proportion
_SLOPE_GAIN = 10.0  # brings slopes of images in [0, 1] to the order of what else is seen


def _hidden_layers(
    filters: int, depth: int, policy, *, first_kernel_size: int = 3
) -> tuple[list, list]:
    """`depth` convolutions and the batch normalisations that follow them."""
    convolutions = [
        keras.layers.Conv2D(
            filters,
            first_kernel_size if i == 1 else 3,
            padding="same",
            data_format="channels_last",  # whatever keras.json says
            use_bias=False,  # batch normalisation follows, which removes any bias
            kernel_initializer="he_normal",
            dtype=policy,
            name=f"conv_{i}",
        )
        for i in range(1, depth + 1)
    ]
    normalizations = [
        FusedBatchNormalization(dtype=policy, name=f"norm_{i}") for i in range(1, depth + 1)
    ]
    return convolutions, normalizations


def _build_hidden(convolutions, normalizations, channels: int, joined_filters: int = 0) -> None:
    for i, (convolution, normalization) in enumerate(
        zip(convolutions, normalizations, strict=True)
    ):
        convolution.build((None, None, None, channels))
        channels = convolution.filters
        normalization.build((None, None, None, channels))
        if i + 1 == _JOIN_AFTER:
            channels += joined_filters


@keras.saving.register_keras_serializable(package="deepam_tf")
class GuidanceNetwork(keras.layers.Layer):
    """The CNN that reads a guide image: `depth` convolutions 3x3, each normalised, then ReLU.

    Input: a guide, `[B, H, W, channels]`; called with `inside`, see `AggregationNetwork`. Output:
    features `[B, H, W, filters]`, which `AggregationNetwork` joins with its own after the third
    convolution (Kim et al., CVPR 2017, section 4.3).

    Args:
        filters: feature maps of each convolution.
        depth: number of convolutions.
        **kwargs: `name`, `dtype` and other arguments of `keras.layers.Layer`.

    Raises:
        ValueError: if an argument is not positive.

    Example:
        >>> deepam_tf.GuidanceNetwork(8)(tf.zeros([1, 5, 6, 3])).shape.as_list()
        [1, 5, 6, 8]
    """

    def __init__(self, filters: int = 64, *, depth: int = 3, **kwargs) -> None:
        # Weights keep their digits until normalisation is folded into them.
        super().__init__(**{"autocast": False, **kwargs})
        if min(filters, depth) < 1:
            raise ValueError(
                "`filters` and `depth` must be at least 1. "
                f"Received: filters={filters}, depth={depth}."
            )
        self.filters = filters
        self.depth = depth
        self.convolutions, self.normalizations = _hidden_layers(filters, depth, self.dtype_policy)

    def build(self, input_shape) -> None:
        _build_hidden(self.convolutions, self.normalizations, input_shape[-1])
        super().build(input_shape)

    def call(self, inputs, training=None, inside=None):
        x = inputs
        for convolution, normalization in zip(self.convolutions, self.normalizations, strict=True):
            x = normalized_features(x, convolution, normalization, training, inside)
        return x

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.filters)

    def get_config(self):
        return {**super().get_config(), "filters": self.filters, "depth": self.depth}


@keras.saving.register_keras_serializable(package="deepam_tf")
class CoarseNetwork(keras.layers.Layer):
    """Coarser levels beside a network: the lower part of a U whose skips are sums.

    The features of 2x2 places become one place of the next level (a strided convolution 2x2),
    four convolutions 3x3 run there, and a transposed convolution 2x2 brings them back; all but
    that one are normalised, then ReLU. Half way through, the level after that adds its own
    (Ronneberger et al., "U-Net", MICCAI 2015; sums for skips as in Zhang et al., "DRUNet", TPAMI
    2021). All levels have the same number of maps: each costs a quarter of the one before.

    Input: features, `[B, H, W, c]` of any size. Output: what to add to them,
    `[B, H, W, output_filters]`: zero before training, since the transposed convolution is.

    Args:
        filters: feature maps of its levels.
        output_filters: maps of what comes back.
        levels: how many coarser levels there are.
        **kwargs: `name`, `dtype` and other arguments of `keras.layers.Layer`.

    Raises:
        ValueError: if an argument is not positive.

    Example:
        >>> deepam_tf.networks.aggregation.CoarseNetwork(8, 4)(tf.zeros([1, 5, 7, 4])).shape
        TensorShape([1, 5, 7, 4])
    """

    def __init__(self, filters: int, output_filters: int, *, levels: int = 1, **kwargs) -> None:
        super().__init__(**{"autocast": False, **kwargs})
        if min(filters, output_filters, levels) < 1:
            raise ValueError(
                "`filters`, `output_filters` and `levels` must be at least 1. Received: "
                f"filters={filters}, output_filters={output_filters}, levels={levels}."
            )
        self.filters = filters
        self.output_filters = output_filters
        self.levels = levels
        policy = self.dtype_policy
        self.convolutions, self.normalizations = _hidden_layers(
            filters, 1 + _COARSE_DEPTH, policy, first_kernel_size=1
        )
        self.up = keras.layers.Conv2D(
            output_filters * _COARSE_STEP**2,
            1,
            data_format="channels_last",
            use_bias=False,
            kernel_initializer="zeros",
            dtype=policy,
            name="up",
        )
        self.coarse = None
        if levels > 1:
            self.coarse = CoarseNetwork(
                filters, filters, levels=levels - 1, dtype=policy, name="coarse"
            )

    def build(self, input_shape) -> None:
        block = _COARSE_STEP**2
        _build_hidden(self.convolutions, self.normalizations, input_shape[-1] * block)
        self.up.build((None, None, None, self.filters))
        if self.coarse is not None:
            self.coarse.build((None, None, None, self.filters))
        super().build(input_shape)

    def call(self, inputs, training=None):
        # A strided convolution is one of 1x1 on blocks, whose last may be filled up.
        x = to_blocks(inputs, _COARSE_STEP)
        for i, (convolution, normalization) in enumerate(
            zip(self.convolutions, self.normalizations, strict=True)
        ):
            x = normalized_features(x, convolution, normalization, training)
            if i == _COARSE_DEPTH // 2 and self.coarse is not None:
                x += self.coarse(x, training=training)
        return to_pixels(self.up(x), inputs, _COARSE_STEP)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.output_filters)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "output_filters": self.output_filters,
            "levels": self.levels,
        }


@keras.saving.register_keras_serializable(package="deepam_tf")
class AggregationNetwork(keras.layers.Layer):
    """The CNN that proposes gradients `v` and a confidence `gamma` from an image `u`.

    `depth` convolutions 3x3 (receptive field `2 depth + 1`), all but the last followed by
    batch normalisation and ReLU. The last is linear and gives `v`. `gamma` comes from the
    features after convolution `depth - 2`, through one 3x3 convolution and a ReLU (Kim et
    al., CVPR 2017, section 4.3: depth 10, 64 filters).

    Input: `u`, `[B, H, W, image_channels]`, or a list of it and of what else the network
    shall see (a noise level, the observation), each `[B, H, W, c]`, or `[B, 1, 1, c]` for the
    same everywhere. With `guide_channels` the last of the list is the guide,
    `[B, H, W, guide_channels]`: it goes through a `GuidanceNetwork`, whose features join those
    of the third convolution. Output: the pair `(v, gamma)` of shapes
    `[B, H, W, 2 image_channels]`, maps ordered (dy, dx), and `[B, H, W, 1]`,
    `gamma >= gamma_min`. Before training, `v` is nearly 0 (nearly `D u` with `residual`)
    and `gamma` nearly 1.

    With `edge_weights` a third output is the confidence in `v`, `[B, H, W, 2]` in (0, 1]:
    `w = 0.02 + 0.98 exp(-relu(8 h))` of a convolution `h` beside that of `gamma`. It is 1 before
    training.

    Images of several sizes may share a batch: beyond each the last row and column are repeated, and
    `inside`, `[B, ceil(H / r), ceil(W / r), 1]`, is 1 at its blocks and 0 outside. What comes out
    at its pixels is then what it gives alone: convolutions see zeros beyond its border as ever.

    With `levels` above 1 the features after the third convolution also go through a
    `CoarseNetwork` of twice as many maps, whose result is added four convolutions before the end.

    Args:
        image_channels: channels `C` of the image.
        filters: feature maps of each hidden convolution.
        depth: number of convolutions, at least 3.
        gamma_min: floor added to `gamma`, positive: it bounds how far the solve reaches
            (about `1 / sqrt(gamma)` pixels) and how many steps it takes.
        pixel_unshuffle: `r`: the convolutions run on the grid of `r x r` blocks, each
            pixel of a block a channel, at `1 / r^2` of the cost (Shi et al., CVPR 2016;
            for denoising Zhang et al., "FFDNet", 2018). 1 is the paper's network.
        residual: the last convolution gives `v - D u` instead of `v`.
        shift_invariant: the convolutions see `D u` in place of `u`: adding a constant to `u`
            changes nothing. Depth maps have no natural zero.
        guide_channels: channels of the guide; 0: there is none. A guide needs a `depth` of 6,
            or there is no convolution left between the joint and `gamma`.
        edge_weights: whether there is the third output.
        levels: scales the network works on, each with half the resolution of the one before; 1 is
            the paper's. More than one need a `depth` of 8, or there is no convolution beside them.
        **kwargs: `name`, `dtype` and other arguments of `keras.layers.Layer`.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> v, gamma = deepam_tf.AggregationNetwork(depth=3, filters=8)(tf.zeros([1, 5, 6, 1]))
        >>> v.shape.as_list(), gamma.shape.as_list()
        ([1, 5, 6, 2], [1, 5, 6, 1])
    """

    def __init__(
        self,
        image_channels: int = 1,
        *,
        filters: int = 64,
        depth: int = 10,
        gamma_min: float = 0.02,
        pixel_unshuffle: int = 1,
        residual: bool = False,
        shift_invariant: bool = False,
        guide_channels: int = 0,
        edge_weights: bool = False,
        levels: int = 1,
        **kwargs,
    ) -> None:
        # `u` keeps its digits, whatever the networks compute in: half precision of values in
        # [0, 1] would add noise of a gray level to `D u`.
        super().__init__(**{"autocast": False, **kwargs})
        least_depth = _JOIN_AFTER + 3 if guide_channels else 3
        if min(image_channels, filters, pixel_unshuffle) < 1 or depth < least_depth:
            raise ValueError(
                "`image_channels`, `filters` and `pixel_unshuffle` must be at least 1, `depth` "
                f"at least 3, with a guide {_JOIN_AFTER + 3}. Received: "
                f"image_channels={image_channels}, filters={filters}, "
                f"pixel_unshuffle={pixel_unshuffle}, depth={depth}, "
                f"guide_channels={guide_channels}."
            )
        if gamma_min <= 0 or guide_channels < 0:
            raise ValueError(
                "`gamma_min` must be positive and `guide_channels` not negative. "
                f"Received: gamma_min={gamma_min}, guide_channels={guide_channels}."
            )
        if levels < 1 or (levels > 1 and depth <= _JOIN_AFTER + _REJOIN_BEFORE):
            raise ValueError(
                "`levels` must be at least 1, and more than one need a `depth` of "
                f"{_JOIN_AFTER + _REJOIN_BEFORE + 1}. Received: levels={levels}, depth={depth}."
            )
        self.image_channels = image_channels
        self.filters = filters
        self.depth = depth
        self.gamma_min = gamma_min
        self.pixel_unshuffle = pixel_unshuffle
        self.residual = residual
        self.shift_invariant = shift_invariant
        self.guide_channels = guide_channels
        self.edge_weights = edge_weights
        self.levels = levels

        policy = self.dtype_policy
        block = pixel_unshuffle**2
        self.convolutions, self.normalizations = _hidden_layers(filters, depth - 1, policy)
        self.v_head = keras.layers.Conv2D(
            2 * image_channels * block,
            3,
            padding="same",
            data_format="channels_last",
            kernel_initializer=keras.initializers.RandomNormal(stddev=1e-3),
            dtype=policy,
            name="v_head",
        )
        self.gamma_head = keras.layers.Conv2D(
            block,
            3,
            padding="same",
            data_format="channels_last",
            kernel_initializer=keras.initializers.RandomNormal(stddev=1e-3),
            bias_initializer=keras.initializers.Constant(1.0 - gamma_min),
            dtype=policy,
            name="gamma_head",
        )
        self.edge_weight_head = None
        if edge_weights:
            self.edge_weight_head = keras.layers.Conv2D(
                2 * block,
                3,
                padding="same",
                data_format="channels_last",
                kernel_initializer="zeros",
                dtype=policy,
                name="edge_weight_head",
            )
        self.guidance = None
        if guide_channels:
            self.guidance = GuidanceNetwork(filters, dtype=policy, name="guidance")
        self.coarse = None
        if levels > 1:
            self.coarse = CoarseNetwork(
                2 * filters, filters, levels=levels - 1, dtype=policy, name="coarse"
            )

    @property
    def all_normalizations(self) -> list[FusedBatchNormalization]:
        """All batch normalisations, those of the guide's network and of coarse levels too."""
        inside = [] if self.guidance is None else self.guidance.normalizations
        found, coarse = [*self.normalizations, *inside], self.coarse
        while coarse is not None:
            found, coarse = [*found, *coarse.normalizations], coarse.coarse
        return found

    @property
    def block(self) -> int:
        """Side in pixels of the blocks that are one place of the coarsest level."""
        return self.pixel_unshuffle * _COARSE_STEP ** (self.levels - 1)

    @property
    def reach(self) -> int:
        """How far the network sees to every side, in pixels."""
        coarse = sum(
            self.pixel_unshuffle * _COARSE_STEP**level * (_COARSE_DEPTH + 1)
            for level in range(1, self.levels)
        )
        return self.pixel_unshuffle * self.depth + 1 + coarse

    def build(self, input_shape) -> None:
        # A shape is a tuple from Keras, a list from a file; of several inputs there are several.
        several = isinstance(input_shape[0], (list, tuple))
        shapes = list(input_shape) if several else [input_shape]
        block = self.pixel_unshuffle**2
        if self.guidance is not None:
            *shapes, guide = shapes
            self.guidance.build((None, None, None, guide[-1] * block))
        channels = sum(shape[-1] for shape in shapes)
        if self.shift_invariant:
            channels += shapes[0][-1]  # two slopes for each channel of `u`
        channels *= block
        joined_filters = self.filters if self.guidance is not None else 0
        _build_hidden(self.convolutions, self.normalizations, channels, joined_filters)
        if self.coarse is not None:
            self.coarse.build((None, None, None, self.filters + joined_filters))
        for head in (self.v_head, self.gamma_head, self.edge_weight_head):
            if head is not None:
                head.build((None, None, None, self.filters))
        super().build(input_shape)

    def call(self, inputs, training=None, inside=None):
        if inside is not None and self.coarse is not None:
            raise ValueError(
                "Only networks of one level take `inside`: coarse places would see beyond. "
                f"Received: levels={self.levels}."
            )
        u, *others = inputs if isinstance(inputs, (list, tuple)) else [inputs]
        guide_features = None
        if self.guidance is not None:
            guide = tf.cast(self._broadcast(others.pop(), u), self.compute_dtype)
            guide = zero_outside(to_blocks(guide, self.pixel_unshuffle), inside)
            guide_features = self.guidance(guide, training=training, inside=inside)
        # In float32: half precision would round small steps of large values away.
        slopes = image_gradient(u) if self.residual or self.shift_invariant else None
        image = _SLOPE_GAIN * slopes if self.shift_invariant else u
        stacked = tf.concat([image, *(self._broadcast(x, u) for x in others)], axis=-1)
        x = to_blocks(tf.cast(stacked, self.compute_dtype), self.pixel_unshuffle)
        x = zero_outside(x, inside)
        coarse_features = edge_weight = None
        for i, (convolution, normalization) in enumerate(
            zip(self.convolutions, self.normalizations, strict=True), start=1
        ):
            x = normalized_features(x, convolution, normalization, training, inside)
            if i == _JOIN_AFTER and guide_features is not None:
                x = tf.concat([x, guide_features], axis=-1)
            if i == _JOIN_AFTER and self.coarse is not None:
                coarse_features = self.coarse(x, training=training)
            if i == self.depth - _REJOIN_BEFORE and coarse_features is not None:
                x += coarse_features
            if i == self.depth - 2:
                gamma = tf.nn.relu(self.gamma_head(x))
                gamma = to_pixels(gamma, u, self.pixel_unshuffle) + self.gamma_min
                if self.edge_weight_head is not None:
                    h = to_pixels(self.edge_weight_head(x), u, self.pixel_unshuffle)
                    edge_weight = _edge_weight(h)
        v = to_pixels(self.v_head(x), u, self.pixel_unshuffle)
        v = v + slopes if self.residual else v
        return (v, gamma) if edge_weight is None else (v, gamma, edge_weight)

    def _broadcast(self, x, u):
        return tf.broadcast_to(x, tf.concat([tf.shape(u)[:3], [x.shape[-1]]], axis=0))

    def get_config(self):
        return {
            **super().get_config(),
            "image_channels": self.image_channels,
            "filters": self.filters,
            "depth": self.depth,
            "gamma_min": self.gamma_min,
            "pixel_unshuffle": self.pixel_unshuffle,
            "residual": self.residual,
            "shift_invariant": self.shift_invariant,
            "guide_channels": self.guide_channels,
            "edge_weights": self.edge_weights,
            "levels": self.levels,
        }


def _edge_weight(h: tf.Tensor) -> tf.Tensor:
    """`0.02 + 0.98 exp(-relu(8 h))`, exactly 1 where `h` is 0.

    There its derivative is that of the positive side: a head of zeros learns.
    """
    exponent = tf.where(h < 0, tf.zeros_like(h), _EDGE_WEIGHT_GAIN * h)
    return 1.0 - (1.0 - _EDGE_WEIGHT_MIN) * (1.0 - tf.exp(-exponent))
