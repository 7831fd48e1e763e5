"""How trained models run at inference: in parts, so that networks and solves can differ.

A network sees a bounded neighbourhood, `reach` pixels far: windows that overlap by as much give
what the whole picture would. A solve sees every pixel, with an influence that falls off as
`exp(-sqrt(gamma) distance)`: nothing in a hole, where `gamma` is 0. Models with a mask therefore
run iteration by iteration, their networks in windows and their solves on the whole picture; all
others run as a whole in every window.
"""

from __future__ import annotations

import functools
import math
import threading
import weakref
from collections.abc import Callable

import keras
import tensorflow as tf

from deepam_tf.linear.chebyshev import chebyshev_steps
from deepam_tf.linear.reconstruction import reconstruct
from deepam_tf.networks.deepam import DeepAM

__all__ = ["Denoiser", "Engine", "Iteration", "ModelEngine", "engine_for", "engine_of"]

Denoiser = Callable[[tf.Tensor], tf.Tensor]
"""A function of one-channel images `[B, H, W, 1]` that returns the like."""

_SOLVE_REACH = 24  # pixels: with gamma >= 0.02, exp(-sqrt(gamma) distance) is 1/30 there
# Measured: what a process held more after a window of 0.8 to 1.7 megapixels, gray and colour, in
# either precision, is within a tenth of these.
_LIVE_MAPS = 2  # feature maps of a window that are there at the same time
_CHEBYSHEV_RTOL = 10.0
"""Chebyshev's `rtol` over that of conjugate gradients.

On 640x640 pixels at sigma 25 both solves of `denoise_gray` have mean errors of 0.06 and 0.02 gray
levels by conjugate gradients to 1e-4, and of 0.01 by Chebyshev iteration to 1e-3; to 3e-3 of 0.04
(docs/inference.md).
"""
_MOST_STEPS = 200
_BYTES_OF_OTHERS = 1024  # a pixel and channel: of functions nobody knows what they need
_SOLVE_BYTES = 17 * 4  # a pixel and channel: the vectors of a solve, and what made them


class Engine:
    """Anything that restores batches of windows `[B, H, W, C]`.

    Args:
        run: from a dictionary of float32 tensors by input name to the restored batch.
        channels: channels of each input by its name, `"image"` among them.

    Attributes:
        channels: as given.
        run: restores a batch of windows, given a dictionary of float32 tensors by input name.
        run_often: the same for many windows of one size, where compiling for it pays.
        block: side of the pixel blocks that the networks see as one place.
        iterations: the parts of a model, which can run one by one; empty where there are none.
        has_holes: whether `gamma` may be 0, so that they must.
        run_uncertain: from what `run` takes to the restored batch and its standard deviations,
            stacked on a new last axis; None where the model has no uncertainty head.
        run_head: the head alone, from a dictionary of `"u"`, `"image"`, `"v"`, `"gamma"` of the
            last iteration and what the model was told; None likewise.
    """

    block = 1
    iterations: tuple[Iteration, ...] = ()
    has_holes = False
    run_uncertain: Callable | None = None
    run_head: Callable | None = None

    def __init__(
        self, run: Callable[[dict[str, tf.Tensor]], tf.Tensor], channels: dict[str, int]
    ) -> None:
        self.channels = channels
        self.run = _traced(run, channels)
        self.run_often = self.run

    def bytes_per_pixel(self) -> int:
        """About what a window needs in memory, for each of its pixels."""
        return _BYTES_OF_OTHERS * self.channels["image"]

    @property
    def overlap(self) -> int:
        """How far windows have to see beyond what they keep, in pixels."""
        return 64


class ModelEngine(Engine):
    """A `DeepAM` at inference; its weights are read at every run.

    Args:
        model: trained model.
        rtol: relative tolerance of the solves; None: the model's.

    Attributes:
        reach: how far one network or the head sees, in pixels.
    """

    def __init__(self, model: DeepAM, rtol: float | None = None) -> None:
        # Blocks of networks and of the head, which has its own, are those of the whole picture.
        network = model.networks[0]
        seeing = [network, *([model.get_layer("uncertainty")] if model.uncertainty_filters else [])]
        self.block = math.lcm(*(part.block for part in seeing))
        self.reach = max(part.reach for part in seeing)
        self._side = model.pixel_unshuffle
        # Coarse levels have twice the maps, each on a quarter of the places of the one before.
        coarse = sum(0.25**level for level in range(1, model.levels))
        self._filters = model.filters * (1 + 2 * coarse)
        self._itemsize = tf.as_dtype(model.get_layer("iteration_1_aggregation").compute_dtype).size
        settings = {
            "method": model.method,
            # Jacobi takes as many steps as a hole is wide, and stops before.
            "preconditioner": "multigrid" if model.mask else model.preconditioner,
            "rtol": model.rtol if rtol is None else rtol,
            "max_steps": model.max_steps,
        }
        self.iterations = tuple(
            Iteration(model, k, settings) for k in range(1, model.num_iterations + 1)
        )
        channels = {name: tensor.shape[-1] for name, tensor in model.input.items()}
        super().__init__(self._cascade(functools.partial(reconstruct, **settings)), channels)
        self.has_holes = model.mask
        compiled = _compiled_solve(model.gamma_min, **settings)
        if not model.mask and compiled is not None:
            self.run_often = _traced(self._cascade(compiled), channels)
        if model.uncertainty_filters:
            layer = model.get_layer("uncertainty")
            names = ["u", "image", "v", "gamma"]
            names += [name for name in ("noise_stddev", "mask") if name in channels]
            head_inputs = dict(zip(names, layer.input, strict=True))

            def head(given: dict[str, tf.Tensor]) -> tf.Tensor:
                return layer([tf.cast(given[name], layer.compute_dtype) for name in names])

            solve = functools.partial(reconstruct, **settings)
            self.run_uncertain = _traced(self._cascade(solve, head), channels)
            self.run_head = _traced(head, {name: x.shape[-1] for name, x in head_inputs.items()})

    def _cascade(
        self, solve: Callable, head: Callable | None = None
    ) -> Callable[[dict[str, tf.Tensor]], tf.Tensor]:
        """All iterations one after the other, with their solves done that way.

        With a head its standard deviations, of what the last iteration leaves behind, are
        stacked beside the result.
        """

        def run(inputs: dict[str, tf.Tensor]) -> tf.Tensor:
            u = inputs["image"]
            v = gamma = u
            for iteration in self.iterations:
                v, gamma, *weights = iteration.network({**inputs, "u": u})
                edge_weight = weights[0] if weights else None
                u = solve(tf.cast(inputs["image"], v.dtype), v, gamma, edge_weight=edge_weight)
            if head is None:
                return tf.cast(u, tf.float32)
            stddev = head({**inputs, "u": u, "v": v, "gamma": gamma})
            return tf.stack([tf.cast(x, tf.float32) for x in (u, stddev)], axis=-1)

        return run

    @property
    def overlap(self) -> int:
        return self.reach + (0 if self.has_holes else _SOLVE_REACH)

    def bytes_per_pixel(self) -> int:
        maps = _LIVE_MAPS * self._filters * self._itemsize / self._side**2
        return math.ceil(maps) + _SOLVE_BYTES * self.channels["image"]


class Iteration:
    """One iteration of a model: its network, `(v, gamma)` of the inputs, and its solve.

    Args:
        model: trained model.
        k: which, from 1.
        settings: of the solve, arguments of `reconstruct`.

    Attributes:
        gives: names of what the network gives: `"v"`, `"gamma"` and, of a model with edge weights,
            `"edge_weight"`.
        run_network: from a dictionary of the model's inputs and, after the first iteration, `"u"`
            of the one before, all float32, to the tensors of those names.
        run_solve: from a dictionary of `"image"` and these to `u`.
        first: whether it is the first.
    """

    def __init__(self, model: DeepAM, k: int, settings: dict) -> None:
        layer = model.get_layer(f"iteration_{k}_reconstruction")
        _, *given = layer.input
        self.gives = ("v", "gamma", "edge_weight")[: len(given)]
        inputs = dict(model.input)
        if k > 1:
            inputs["u"] = model.get_layer(f"iteration_{k - 1}_reconstruction").output
        network = keras.Model(list(inputs.values()), given)
        self.first = k == 1
        channels = {name: x.shape[-1] for name, x in inputs.items()}
        self.network = lambda x: network([x[name] for name in inputs], training=False)
        self.run_network = _traced(self.network, channels)
        maps = tuple((name, x.shape[-1]) for name, x in zip(self.gives, given, strict=True))
        self.run_solve = _solver((("image", channels["image"]), *maps), **settings)


@functools.cache
def _solver(channels: tuple[tuple[str, int], ...], **settings):
    """The solve with these settings, traced once for all iterations and models."""
    return _traced(
        lambda x: reconstruct(
            x["image"], x["v"], x["gamma"], edge_weight=x.get("edge_weight"), **settings
        ),
        dict(channels),
    )


@functools.cache
def _compiled_solve(gamma_min: float, *, method: str, rtol: float, max_steps: int, **settings):
    """The solve as one loop that XLA has compiled for a size; None where it would not pay.

    Chebyshev iteration, since its steps need no sums over the picture. Its `rtol` bounds the error
    itself, that of conjugate gradients a residual, of which errors are many times as large.
    """
    rtol = _CHEBYSHEV_RTOL * rtol
    if method != "cg" or rtol >= 1:
        return None
    # Four neighbours: no picture has a larger spectral radius.
    steps = chebyshev_steps(tf.constant([4 / (4 + gamma_min)]), rtol)
    if int(steps[0]) > min(max_steps, _MOST_STEPS):
        return None
    return tf.function(
        functools.partial(
            reconstruct, method="chebyshev", rtol=rtol, max_steps=max_steps, **settings
        ),
        jit_compile=True,
    )


def _traced(run: Callable, channels: dict[str, int]):
    """One trace for all sizes: nothing but the channels is fixed."""
    signature = {
        name: tf.TensorSpec([None, None, None, count], tf.float32)
        for name, count in channels.items()
    }
    return tf.function(run, input_signature=[signature])


# An engine holds its model's layers, not the model: with the model it goes.
_ENGINES: weakref.WeakKeyDictionary[DeepAM, dict[float | None, ModelEngine]] = (
    weakref.WeakKeyDictionary()
)
_MAKING = threading.Lock()


def engine_of(model: DeepAM, rtol: float | None = None) -> ModelEngine:
    """The engine of a model, made once for all threads and kept as long as the model is.

    Args:
        model: trained model.
        rtol: see `ModelEngine`.

    Returns:
        The engine.
    """
    with _MAKING:
        engines = _ENGINES.setdefault(model, {})
        if rtol not in engines:
            engines[rtol] = ModelEngine(model, rtol)
        return engines[rtol]


def engine_for(model: DeepAM | keras.Model | Denoiser, rtol: float | None = None) -> Engine:
    """What runs the windows of any kind of model.

    Args:
        model: a `DeepAM`, a Keras model of images, or a function of one-channel images.
        rtol: of a `DeepAM`, see `ModelEngine`.

    Returns:
        The engine.

    Raises:
        TypeError: if the model is none of these.
        ValueError: if there is an `rtol` for another model than a `DeepAM`.
    """
    if isinstance(model, DeepAM):
        return engine_of(model, rtol)
    if rtol is not None:
        raise ValueError(f"`rtol` is for a DeepAM. Received: a {type(model).__name__}.")
    if not isinstance(model, keras.Model):
        if not callable(model):
            raise TypeError(
                "`model` must be a DeepAM, a Keras model or a function. "
                f"Received: a {type(model).__name__}."
            )
        return Engine(lambda inputs: model(inputs["image"]), {"image": 1})
    takes, gives = (getattr(model, name, None) for name in ("input", "output"))
    if isinstance(takes, dict) and isinstance(gives, dict) and "restored" in gives:
        channels = {name: tensor.shape[-1] for name, tensor in takes.items()}
        if "image" in channels and channels.keys() <= _INPUTS:
            return Engine(lambda inputs: model(inputs, training=False)["restored"], channels)
    if hasattr(takes, "shape") and hasattr(gives, "shape") and len(takes.shape) == 4:
        return Engine(
            lambda inputs: model(inputs["image"], training=False), {"image": takes.shape[-1]}
        )
    raise TypeError(
        "A Keras model must take and return one tensor [B, H, W, C], or dictionaries with "
        f"'image' and 'restored'. Received: {model.name!r} from {_names(takes)} to "
        f"{_names(gives)}."
    )


_INPUTS = {"image", "noise_stddev", "guide", "mask"}


def _names(tensors) -> str:
    if isinstance(tensors, dict):
        return str(sorted(tensors))
    return "an unknown shape" if not hasattr(tensors, "shape") else str(tuple(tensors.shape))
