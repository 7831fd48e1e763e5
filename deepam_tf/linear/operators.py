"""The discrete gradient `D`, its adjoint, and the system `Gamma + D^T W D`.

With `u` an image `[B, H, W, C]`,

    (D u)_dy[i, j] = u[i + 1, j] - u[i, j]      (0 on the last row)
    (D u)_dx[i, j] = u[i, j + 1] - u[i, j]      (0 on the last column)

so `D^T D` is the 5-point Laplacian with Neumann borders (paper, section 3, and
the matrix `L = Gamma + D^T D` of eq. 7). `W` weighs every difference; the paper's is 1.
Channels never mix.

Nothing here imports Keras.
"""

from __future__ import annotations

import math

import tensorflow as tf

__all__ = [
    "ReconstructionOperator",
    "SymmetricImageOperator",
    "image_gradient",
    "image_gradient_adjoint",
]


def image_gradient(u: tf.Tensor) -> tf.Tensor:
    """Forward differences of an image, zero on the last row and column (`D u`).

    Args:
        u: image, `[B, H, W, C]`, any floating dtype.

    Returns:
        Gradient `[B, H, W, 2C]`: the first `C` maps are vertical differences (dy),
        the last `C` horizontal ones (dx), the order of `tf.image.image_gradients`.

    Raises:
        ValueError: if `u` does not have rank 4.

    Example:
        >>> u = tf.constant([[0.0, 1.0], [3.0, 5.0]])[tf.newaxis, :, :, tf.newaxis]
        >>> deepam_tf.image_gradient(u)[0, 0, 0].numpy().tolist()
        [3.0, 1.0]
    """
    with tf.name_scope("image_gradient"):
        u = tf.convert_to_tensor(u)
        _check_rank_4(u, "u")
        dy = tf.pad(u[:, 1:] - u[:, :-1], [[0, 0], [0, 1], [0, 0], [0, 0]])
        dx = tf.pad(u[:, :, 1:] - u[:, :, :-1], [[0, 0], [0, 0], [0, 1], [0, 0]])
        return tf.concat([dy, dx], axis=-1)


def image_gradient_adjoint(v: tf.Tensor) -> tf.Tensor:
    """Adjoint of `image_gradient`, that is minus the divergence (`D^T v`).

    Args:
        v: vector field, `[B, H, W, 2C]`, maps ordered (dy, dx). Its last row of dy
            and its last column of dx do not matter: `D` never produces anything there.

    Returns:
        `[B, H, W, C]` with `<D u, v> = <u, D^T v>` for every `u`.

    Raises:
        ValueError: if `v` does not have rank 4 or has an odd number of maps.

    Example:
        >>> v = deepam_tf.image_gradient(tf.ones([1, 4, 5, 3]))
        >>> float(tf.norm(deepam_tf.image_gradient_adjoint(v)))
        0.0
    """
    with tf.name_scope("image_gradient_adjoint"):
        v = tf.convert_to_tensor(v)
        _check_rank_4(v, "v")
        if (v.shape[-1] or 0) % 2:
            raise ValueError(
                "`v` must hold two maps, (dy, dx), for each image channel. "
                f"Received: v.shape={v.shape}. Concatenate dy and dx on the last axis."
            )
        dy, dx = tf.split(v, 2, axis=-1)
        dy, dx = dy[:, :-1], dx[:, :, :-1]
        rows = tf.pad(dy, [[0, 0], [1, 0], [0, 0], [0, 0]]) - tf.pad(
            dy, [[0, 0], [0, 1], [0, 0], [0, 0]]
        )
        columns = tf.pad(dx, [[0, 0], [0, 0], [1, 0], [0, 0]]) - tf.pad(
            dx, [[0, 0], [0, 0], [0, 1], [0, 0]]
        )
        return rows + columns


class SymmetricImageOperator(tf.linalg.LinearOperator):
    """Base of symmetric positive definite operators on flattened images `[B, H*W*C]`.

    A subclass says what it does to images in `_apply`.

    Args:
        image_shape: dynamic shape `[B, H, W, C]` of the images.
        static_shape: what is known of it when the graph is built.
        dtype: of the images.
        parameters: arguments of the subclass, for `tf.linalg.LinearOperator`.
        name: name of the operator.
    """

    def __init__(
        self,
        image_shape: tf.Tensor,
        static_shape: tf.TensorShape,
        dtype: tf.DType,
        parameters: dict,
        name: str,
    ) -> None:
        self._image_shape = image_shape
        self._static_image_shape = static_shape
        super().__init__(
            dtype=dtype,
            is_non_singular=True,
            is_self_adjoint=True,
            is_positive_definite=True,
            is_square=True,
            parameters=parameters,
            name=name,
        )

    def _apply(self, image: tf.Tensor) -> tf.Tensor:
        """The operator's product with images `[B, H, W, C]`."""
        raise NotImplementedError

    @property
    def image_shape(self) -> tf.Tensor:
        """Dynamic shape `[B, H, W, C]` of the images the operator acts on."""
        return self._image_shape

    @property
    def static_image_shape(self) -> tf.TensorShape:
        """What of `image_shape` is known when the graph is built."""
        return self._static_image_shape

    def _shape(self) -> tf.TensorShape:
        batch, *image = self._static_image_shape.as_list()
        pixels = None if None in image else math.prod(image)
        return tf.TensorShape([batch, pixels, pixels])

    def _shape_tensor(self) -> tf.Tensor:
        pixels = tf.reduce_prod(self._image_shape[1:])
        return tf.stack([self._image_shape[0], pixels, pixels])

    def _matvec(self, x: tf.Tensor, adjoint: bool = False) -> tf.Tensor:
        del adjoint  # self-adjoint
        return tf.reshape(self._apply(tf.reshape(x, self._image_shape)), tf.shape(x))

    def _matmul(self, x: tf.Tensor, adjoint: bool = False, adjoint_arg: bool = False) -> tf.Tensor:
        del adjoint  # self-adjoint
        columns = tf.linalg.adjoint(x) if adjoint_arg else x
        columns = tf.einsum("...nr->r...n", columns)
        return tf.einsum("r...n->...nr", tf.map_fn(self._matvec, columns))


class ReconstructionOperator(SymmetricImageOperator):
    """`A = Gamma + D^T W D`, one symmetric operator for each image of a batch.

    It acts on flattened images: `A.matvec(x)` takes and returns `[B, H*W*C]`, a plain
    reshape of `[B, H, W, C]`. `A` is positive definite as soon as `gamma >= 0`, `edge_weight
    >= 0`, and every channel of every image has one pixel with `gamma > 0` that links of
    positive weight join to all others (paper, eq. 7, where `W` is the identity).

    Args:
        gamma: confidence in the observation, `[B, H, W, 1]` or `[B, H, W, C]`,
            non-negative.
        num_channels: `C`, the channels of the image the operator acts on; by default
            those of `gamma`.
        edge_weight: weight of each difference, `[B, H, W, 2]` or `[B, H, W, 2C]`, maps
            ordered (dy, dx), non-negative; 1 by default. Its last row of dy and last column
            of dx do not matter.
        name: name of the operator.

    Raises:
        ValueError: if `gamma` does not have rank 4, or neither 1 nor `C` maps, or
            `edge_weight` neither 2 nor `2C`.

    Example:
        >>> A = deepam_tf.ReconstructionOperator(tf.ones([2, 4, 5, 1]), num_channels=3)
        >>> A.shape.as_list()
        [2, 60, 60]
        >>> float(tf.reduce_max(abs(A.matvec(tf.ones([2, 60])) - 1.0)))
        0.0
    """

    def __init__(
        self,
        gamma: tf.Tensor,
        num_channels: int | None = None,
        name: str = "ReconstructionOperator",
        *,
        edge_weight: tf.Tensor | None = None,
    ) -> None:
        parameters = {
            "gamma": gamma,
            "num_channels": num_channels,
            "edge_weight": edge_weight,
            "name": name,
        }
        with tf.name_scope(name):
            self._gamma = tf.convert_to_tensor(gamma, name="gamma")
            _check_rank_4(self._gamma, "gamma")
            maps = self._gamma.shape[-1]
            channels = maps if num_channels is None else num_channels
            if channels is None:
                raise ValueError(
                    "`num_channels` is needed where the channels of `gamma` are unknown. "
                    f"Received: gamma.shape={self._gamma.shape}. Pass num_channels=."
                )
            if maps not in (None, 1, channels):
                raise ValueError(
                    "`gamma` must have one map, or one for each image channel. Received: "
                    f"gamma.shape={self._gamma.shape}, num_channels={channels}."
                )
            self._num_channels: int = channels
            image_shape = tf.concat([tf.shape(self._gamma)[:3], [channels]], axis=0)
            self._links = None
            if edge_weight is not None:
                self._links = self._weighted_links(edge_weight, image_shape)
            super().__init__(
                image_shape,
                self._gamma.shape[:3].concatenate(channels),
                self._gamma.dtype,
                parameters,
                name,
            )

    def _weighted_links(self, edge_weight, image_shape) -> tuple[tf.Tensor, tf.Tensor]:
        weight = tf.convert_to_tensor(edge_weight, self._gamma.dtype, name="edge_weight")
        _check_rank_4(weight, "edge_weight")
        step = self._num_channels
        if weight.shape[-1] not in (2, 2 * step):
            raise ValueError(
                "`edge_weight` must have two maps, (dy, dx), or two for each image channel. "
                f"Received: edge_weight.shape={weight.shape}, num_channels={step}."
            )
        weight = per_channel(weight, step)
        rows = tf.concat([image_shape[:2], [-1]], axis=0)
        dy, dx = (tf.reshape(x, rows) for x in tf.split(weight, 2, axis=-1))
        return dy[:, :-1], dx[:, :, :-step]

    @property
    def gamma(self) -> tf.Tensor:
        """The confidence `[B, H, W, 1 or C]` the operator was made from."""
        return self._gamma

    @property
    def num_channels(self) -> int:
        """Channels `C` of the images the operator acts on."""
        return self._num_channels

    @property
    def links(self) -> tuple[tf.Tensor, tf.Tensor] | None:
        """Weights between neighbours on rows of `W*C`: down and right; None: all are 1.

        `[B, H - 1, W*C]` and `[B, H, (W - 1)*C]`.
        """
        return self._links

    def _apply(self, image: tf.Tensor) -> tf.Tensor:
        shape = self.image_shape
        # One image row as one contiguous vector: a step of one pixel along x is a shift
        # by C. Slices of [B, H, W*C] are several times faster than those of [B, H, W, C].
        rows = tf.reshape(image, [shape[0], shape[1], -1])
        step = self._num_channels
        dy = rows[:, 1:] - rows[:, :-1]
        dx = rows[:, :, step:] - rows[:, :, :-step]
        if self._links is not None:
            dy, dx = dy * self._links[0], dx * self._links[1]
        laplacian = (
            tf.pad(dy, [[0, 0], [1, 0], [0, 0]])
            - tf.pad(dy, [[0, 0], [0, 1], [0, 0]])
            + tf.pad(dx, [[0, 0], [0, 0], [step, 0]])
            - tf.pad(dx, [[0, 0], [0, 0], [0, step]])
        )
        return self._gamma * image + tf.reshape(laplacian, shape)

    def strength(self) -> tf.Tensor:
        """Sum of the weights of each pixel's links: the diagonal of `D^T W D`.

        Returns:
            `[B or 1, H, W, 1 or C]`, to be broadcast; without weights the number of
            neighbours, 2 to 4 (on a line fewer).
        """
        if self._links is None:
            _, height, width, _ = tf.unstack(self.image_shape)
            # Reshaped, not indexed with new axes: LiteRT knows no such slices of four axes.
            neighbours = tf.reshape(_neighbours_along(height, self.dtype), [1, -1, 1, 1])
            return neighbours + tf.reshape(_neighbours_along(width, self.dtype), [1, 1, -1, 1])
        down, right = self._links
        step = self._num_channels
        total = (
            tf.pad(down, [[0, 0], [1, 0], [0, 0]])
            + tf.pad(down, [[0, 0], [0, 1], [0, 0]])
            + tf.pad(right, [[0, 0], [0, 0], [step, 0]])
            + tf.pad(right, [[0, 0], [0, 0], [0, step]])
        )
        return tf.reshape(total, self.image_shape)

    def _diag_part(self) -> tf.Tensor:
        """`gamma` plus the weights of each pixel's links."""
        diagonal = tf.broadcast_to(self._gamma + self.strength(), self.image_shape)
        return tf.reshape(diagonal, self._shape_tensor()[:2])


def per_channel(edge_weight: tf.Tensor, num_channels: int) -> tf.Tensor:
    """Weights with maps for every channel, `[B, H, W, 2C]`, where two served all of them.

    Args:
        edge_weight: `[B, H, W, 2]` or `[B, H, W, 2C]`.
        num_channels: `C`.

    Returns:
        `[B, H, W, 2C]`, maps ordered (dy, dx).
    """
    if edge_weight.shape[-1] == 2 and num_channels != 1:
        return tf.repeat(edge_weight, num_channels, axis=-1)
    return edge_weight


def _neighbours_along(length: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """How many neighbours each of `length` pixels on a line has: 1 at the ends, else 2."""
    ends = tf.one_hot([0], length, dtype=dtype) + tf.one_hot([length - 1], length, dtype=dtype)
    return 2 - ends[0]


def _check_rank_4(x: tf.Tensor, name: str) -> None:
    if x.shape.rank not in (None, 4):
        raise ValueError(
            f"`{name}` must have rank 4, [batch, height, width, channels]. "
            f"Received: {name}.shape={x.shape}. Add the missing axes with tf.newaxis."
        )
