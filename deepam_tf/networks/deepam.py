"""DeepAM(K): K unrolled iterations of aggregation and reconstruction, one Keras model.

    (v_k, gamma_k) = aggregation_k(u_{k-1})                               (paper, eq. 5)
    u_k = argmin_u sum gamma_k (u - f)^2 + ||D u - v_k||^2                (paper, eq. 6, 7)

with `u_0 = f`, weights of its own for every `k`, and `u_K` the restored image.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras

from deepam_tf.networks.aggregation import AggregationNetwork
from deepam_tf.networks.layers import FusedBatchNormalization, ImageGradient, Reconstruction
from deepam_tf.networks.uncertainty import UncertaintyHead

__all__ = ["DeepAM"]

_GUIDANCE = ("joined", "early")


def _solver_setting(name: str, description: str) -> property:
    def refuse(self, value) -> None:
        raise AttributeError(
            f"`{name}` cannot be set: the model's layers are built with it. Received: "
            f"{name}={value!r}. model.with_solver({name}={value!r}) is a model that has it."
        )

    return property(lambda self: self._solver[name], refuse, doc=description)


@keras.saving.register_keras_serializable(package="deepam_tf")
class DeepAM(keras.Model):
    """Deeply aggregated alternating minimization (Kim et al., CVPR 2017).

    A functional `keras.Model` from `{"image": f}`, and what the options below add, to
    `{"restored": u_K}`, both `[B, H, W, image_channels]` with any B, H and W, in [0, 1] by
    convention. The layers `iteration_{k}_aggregation` and `iteration_{k}_reconstruction` give
    every `v_k`, `gamma_k` and `u_k`; `iterates()` returns them all.

    With `noise_level` one model serves every noise level: it takes a second input,
    `"noise_stddev"`, `[B, H, W, 1]` or `[B, 1, 1, 1]`, in the image's units.

    With `guide_channels` a second picture of the same scene guides the restoration: an input
    `"guide"`, `[B, H, W, guide_channels]`, for instance the colour image beside a depth map.

    With `mask` the observation may be incomplete: an input `"mask"`, `[B, H, W, 1]` in [0, 1],
    multiplies `gamma`. 0 marks a hole, where `f` may be any number; values between may tell
    measured pixels (1) from interpolated ones.

    The networks see the noise level and the mask; where there is either, those after the
    first also see the observation `f` beside `u_{k-1}`.

    With `shift_invariant` they see differences alone: `D u_{k-1}`, `f - u_{k-1}` and the
    gradients of the guide. Then a constant added to `f` is added to every `u_k` (and one
    added to the guide changes nothing), as suits depth maps, which have no natural zero.

    With `uncertainty_filters` there is a second output, `"stddev"`, of the shape of `"restored"`:
    how far off each value may be, see `UncertaintyHead`. It changes nothing of the first.

    Two options go beyond the paper, see `AggregationNetwork`. With `edge_weights` the networks
    also say how far each gradient of `v_k` is to be trusted, `w_k`, and the solves minimise
    `sum gamma_k (u - f)^2 + sum w_k (D u - v_k)^2`. With `levels` above 1 they work on several
    scales, and see further.

    Args:
        num_iterations: `K`, how many times the network and the solve are unrolled.
        image_channels: channels `C` of the image.
        filters: feature maps of each hidden convolution.
        depth: convolutions in each aggregation network.
        gamma_min: floor of the confidence `gamma`.
        pixel_unshuffle: side of the pixel blocks that are one place of the networks' grid,
            see `AggregationNetwork`; 2 costs a quarter.
        residual: the networks give `v - D u` instead of `v`.
        shift_invariant: the networks see differences of image and guide alone.
        noise_level: take the noise level as an input.
        guide_channels: channels of the guide; 0: there is none.
        guidance: `"joined"`: the guide has a network of its own, which joins the aggregation
            network half way; `"early"`: it is one more input of the aggregation network
            (paper, eq. 9).
        mask: take a mask as an input.
        edge_weights: the networks weigh the gradients that they propose.
        levels: scales that each network works on; 1 is the paper's.
        method: of the solves, `"cg"` or `"chebyshev"`, see `reconstruct`.
        uncertainty_filters: feature maps of the head that gives the standard deviation; 0:
            there is none.
        uncertainty_calibrated_at: noise levels, or shares of measured pixels, at which the head
            has a factor of its own, see `UncertaintyHead`.
        preconditioner: of the solves, a name that `reconstruct` takes; `"multigrid"` suits
            masks with wide holes.
        rtol: relative tolerance of the linear solves.
        max_steps: most steps in each solve.
        dtype: Keras dtype policy of the networks, by default the global one. The solves
            run in float32, or in float64 where the policy says float64.
        **kwargs: `name` and `trainable`, as every `keras.Model` takes them.

    Raises:
        ValueError: if an argument is out of its range.
        TypeError: if there is no argument of that name.

    Example:
        >>> model = deepam_tf.DeepAM(num_iterations=1, filters=8, depth=3)
        >>> model({"image": tf.zeros([1, 16, 16, 1])})["restored"].shape.as_list()
        [1, 16, 16, 1]

    References:
        Kim, Jung, Min and Sohn, "Deeply Aggregated Alternating Minimization for Image
        Restoration", CVPR 2017.
    """

    def __init__(
        self,
        num_iterations: int = 3,
        *,
        image_channels: int = 1,
        filters: int = 64,
        depth: int = 10,
        gamma_min: float = 0.02,
        pixel_unshuffle: int = 1,
        residual: bool = False,
        shift_invariant: bool = False,
        noise_level: bool = False,
        guide_channels: int = 0,
        guidance: str = "joined",
        mask: bool = False,
        edge_weights: bool = False,
        levels: int = 1,
        method: str = "cg",
        uncertainty_filters: int = 0,
        uncertainty_calibrated_at: Sequence[float] = (),
        preconditioner: str = "jacobi",
        rtol: float = 1e-5,
        max_steps: int = 500,
        dtype=None,
        **kwargs,
    ) -> None:
        unknown = kwargs.keys() - {"name", "trainable"}  # Keras drops them without a word
        if unknown:
            raise TypeError(f"DeepAM takes no arguments of other names. Received: {unknown}.")
        if num_iterations < 1:
            raise ValueError(f"`num_iterations` must be at least 1. Received: {num_iterations}.")
        if image_channels not in (1, 3):
            raise ValueError(
                "`image_channels` must be 1 (gray) or 3 (colour). "
                f"Received: image_channels={image_channels}."
            )
        if guidance not in _GUIDANCE:
            raise ValueError(f"`guidance` must be one of {_GUIDANCE}. Received: {guidance!r}.")
        policy = keras.dtype_policies.get(dtype or keras.config.dtype_policy())
        solve_dtype = "float64" if policy.compute_dtype == "float64" else "float32"

        # === Functional model ===
        image = keras.Input((None, None, image_channels), dtype=solve_dtype, name="image")
        inputs = {"image": image}
        if noise_level:
            inputs["noise_stddev"] = keras.Input(
                (None, None, 1), dtype=solve_dtype, name="noise_stddev"
            )
        if guide_channels:
            inputs["guide"] = keras.Input(
                (None, None, guide_channels), dtype=solve_dtype, name="guide"
            )
        if mask:
            inputs["mask"] = keras.Input((None, None, 1), dtype=solve_dtype, name="mask")
        conditions = [inputs[name] for name in ("noise_stddev", "mask") if name in inputs]
        guides = [inputs["guide"]] if guide_channels else []
        network_guide_channels = guide_channels
        if shift_invariant and guide_channels:
            guides = [ImageGradient(dtype=solve_dtype, name="guide_gradient")(inputs["guide"])]
            network_guide_channels = 2 * guide_channels
        u = image
        iterates = {}
        for k in range(1, num_iterations + 1):
            observed = [image] if conditions and k > 1 else []
            if observed and shift_invariant:
                difference = keras.layers.Subtract(
                    dtype=solve_dtype, name=f"iteration_{k}_difference"
                )
                observed = [difference([image, u])]
            network_inputs = [u, *conditions, *observed, *guides]
            v, gamma, *weights = AggregationNetwork(
                image_channels,
                filters=filters,
                depth=depth,
                gamma_min=gamma_min,
                pixel_unshuffle=pixel_unshuffle,
                residual=residual,
                shift_invariant=shift_invariant,
                guide_channels=network_guide_channels if guidance == "joined" else 0,
                edge_weights=edge_weights,
                levels=levels,
                dtype=policy,
                name=f"iteration_{k}_aggregation",
            )(network_inputs if len(network_inputs) > 1 else u)
            if mask:
                gamma = keras.layers.Multiply(dtype=solve_dtype, name=f"iteration_{k}_mask")(
                    [gamma, inputs["mask"]]
                )
            u = Reconstruction(
                method=method,
                preconditioner=preconditioner,
                rtol=rtol,
                max_steps=max_steps,
                dtype=solve_dtype,
                name=f"iteration_{k}_reconstruction",
            )([image, v, gamma, *weights])
            iterates |= {f"u_{k}": u, f"v_{k}": v, f"gamma_{k}": gamma}
            if weights:
                iterates[f"w_{k}"] = weights[0]
        outputs = {"restored": u}
        if uncertainty_filters:
            outputs["stddev"] = UncertaintyHead(
                image_channels,
                filters=uncertainty_filters,
                noise_level=noise_level,
                mask=mask,
                shift_invariant=shift_invariant,
                calibrated_at=uncertainty_calibrated_at,
                dtype=solve_dtype,
                name="uncertainty",
            )([u, image, v, gamma, *conditions])
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)

        # === Config ===
        self._named_inputs = inputs
        self._iterates = iterates
        self._policy = policy
        self.num_iterations = num_iterations
        self.image_channels = image_channels
        self.filters = filters
        self.depth = depth
        self.gamma_min = gamma_min
        self.pixel_unshuffle = pixel_unshuffle
        self.residual = residual
        self.shift_invariant = shift_invariant
        self.noise_level = noise_level
        self.guide_channels = guide_channels
        self.guidance = guidance
        self.mask = mask
        self.edge_weights = edge_weights
        self.levels = levels
        self.uncertainty_filters = uncertainty_filters
        self.uncertainty_calibrated_at = tuple(uncertainty_calibrated_at)
        self._solver = {
            "method": method,
            "preconditioner": preconditioner,
            "rtol": rtol,
            "max_steps": max_steps,
        }

    method = _solver_setting("method", "What the solves are done by.")
    preconditioner = _solver_setting("preconditioner", "Preconditioner of the solves.")
    rtol = _solver_setting("rtol", "Relative tolerance of the solves.")
    max_steps = _solver_setting("max_steps", "Most steps of each solve.")

    def with_solver(
        self,
        *,
        rtol: float | None = None,
        max_steps: int | None = None,
        preconditioner: str | None = None,
        method: str | None = None,
        dtype=None,
    ) -> DeepAM:
        """A model of the same weights whose linear solves are run in another way.

        The settings are part of a model's layers: `model.rtol = ...` raises.

        Args:
            rtol: relative tolerance of the solves; None: as it is.
            max_steps: most steps in each solve; None: as it is.
            preconditioner: a name that `reconstruct` takes; None: as it is.
            method: `"cg"` or `"chebyshev"`; None: as it is.
            dtype: Keras dtype policy of the networks beside the solves; None: as it is.

        Returns:
            A model of its own, with copies of the weights, not compiled.

        Example:
            >>> model = deepam_tf.DeepAM(num_iterations=1, filters=8, depth=3)
            >>> model.with_solver(rtol=1e-3).rtol
            0.001
        """
        settings = {
            "rtol": rtol,
            "max_steps": max_steps,
            "preconditioner": preconditioner,
            "method": method,
            "dtype": dtype,
        }
        changes = {name: value for name, value in settings.items() if value is not None}
        twin = type(self).from_config({**self.get_config(), **changes})
        twin.set_weights(self.get_weights())
        return twin

    @property
    def networks(self) -> list[AggregationNetwork]:
        """The aggregation network of each iteration."""
        return [
            self.get_layer(f"iteration_{k}_aggregation") for k in range(1, self.num_iterations + 1)
        ]

    @property
    def normalizations(self) -> list[FusedBatchNormalization]:
        """The batch normalisations of all networks, those that read a guide too."""
        return [norm for network in self.networks for norm in network.all_normalizations]

    def iterates(self) -> keras.Model:
        """A model of the same layers that also returns every intermediate result.

        Returns:
            A functional `keras.Model` from this model's inputs to `{"restored", "u_k", "v_k",
            "gamma_k"}` for `k = 1..K`, with `edge_weights` also `"w_k"`. It shares this model's
            weights: training one trains the other.
        """
        return keras.Model(
            self._named_inputs,
            {"restored": self._iterates[f"u_{self.num_iterations}"], **self._iterates},
            name=f"{self.name}_iterates",
        )

    def configure_solves(
        self, *, adjoint_rtol: float | None = None, jit_compile: bool = False
    ) -> None:
        """How the linear solves are run in training; nothing of it is saved with the model.

        Call it before `fit`: what has been traced stays as it is.

        Args:
            adjoint_rtol: relative tolerance of the adjoint solves; None: `rtol`.
            jit_compile: whether XLA compiles the solves, see `layers.Reconstruction`.

        Example:
            >>> model = deepam_tf.DeepAM(num_iterations=1, filters=8, depth=3)
            >>> model.configure_solves(adjoint_rtol=1e-2, jit_compile=True)
        """
        for layer in self.layers:
            if isinstance(layer, Reconstruction):
                layer.adjoint_rtol = adjoint_rtol
                layer.jit_compile = jit_compile

    def get_config(self):
        return {
            "name": self.name,
            "trainable": self.trainable,
            "num_iterations": self.num_iterations,
            "image_channels": self.image_channels,
            "filters": self.filters,
            "depth": self.depth,
            "gamma_min": self.gamma_min,
            "pixel_unshuffle": self.pixel_unshuffle,
            "residual": self.residual,
            "shift_invariant": self.shift_invariant,
            "noise_level": self.noise_level,
            "guide_channels": self.guide_channels,
            "guidance": self.guidance,
            "mask": self.mask,
            "edge_weights": self.edge_weights,
            "levels": self.levels,
            "uncertainty_filters": self.uncertainty_filters,
            "uncertainty_calibrated_at": list(self.uncertainty_calibrated_at),
            **self._solver,
            "dtype": keras.dtype_policies.serialize(self._policy),
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        del custom_objects  # every class it is made of is registered
        return cls(**config)
