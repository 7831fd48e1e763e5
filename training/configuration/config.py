"""What a training run is made of: typed values in six groups.

No code branches on the name of a configuration; the shipped ones are in
`training.configuration.recipes`, and `training.configuration.settings` reads and changes them.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

__all__ = [
    "Data",
    "Model",
    "Monitor",
    "Optimizer",
    "Run",
    "Schedule",
    "TrainingConfig",
    "flat",
]


@dataclasses.dataclass(frozen=True)
class Model:
    """Values of the network, arguments of `deepam_tf.DeepAM`.

    Attributes:
        num_iterations: `K`.
        filters: feature maps of each hidden convolution.
        depth: convolutions of each network.
        gamma_min: floor of the confidence.
        pixel_unshuffle: side of the pixel blocks of the networks' grid.
        residual: whether the networks give `v - D u`.
        shift_invariant: whether they see differences alone.
        guidance: `joined` or `early`, how a guide comes in.
        edge_weights: whether the networks weigh the gradients that they propose.
        levels: scales that each network works on.
        preconditioner: of the solves.
        rtol: tolerance of the solves; they run to convergence in training too.
    """

    num_iterations: int = 3
    filters: int = 64
    depth: int = 10
    gamma_min: float = 0.02
    pixel_unshuffle: int = 1
    residual: bool = False
    shift_invariant: bool = False
    guidance: Literal["joined", "early"] = "joined"
    edge_weights: bool = False
    levels: int = 1
    preconditioner: Literal["jacobi", "multigrid", "auto", "cosine"] = "jacobi"
    rtol: float = 1e-4


@dataclasses.dataclass(frozen=True)
class Data:
    """Values of the data: what is restored from what.

    Attributes:
        task: one of `training.data.tasks.TASKS`.
        image_channels: 1 or 3; the images to restore are converted.
        sigma: standard deviation of the noise, 0..255; two numbers: any level between them,
            told to the model. Of the task `camera`: of those pictures that get white noise.
        validation_sigma: noise of the validation images, 0..255.
        supervision: what the pictures to learn from are: `clean`; or `noisy`, all of them with the
            noise of `sigma` and `gain`, which the run takes for granted: it learns from them
            alone (`deepam_tf.data.recorrupted_crops`), and is validated without truth.
        gain: of `noisy` pictures, in units of [0, 1]: the variance of their noise is
            `gain x + (sigma / 255)^2` where the clean picture has the value `x`.
        alpha: of `noisy` pictures: how much noise is added to them, see
            `deepam_tf.degradations.recorrupt`.
        scale: pixels from sample to sample of a coarse map; of several, each crop gets one.
        validation_scale: of the validation maps.
        border: pixels cut off every side of pairs, for pictures with a frame.
        vary_pairs: whether noisy pictures and guides get exposures of their own, and guides
            small shifts, see `deepam_tf.degradations.vary_pair`.
        vary_colors: whether half of the images to denoise get other colours, see
            `deepam_tf.degradations.vary_colors`.
        weigh_levels: whether every noise level counts the same in the loss, see
            `deepam_tf.data.denoising_crops`.
        candidates: crops of depth maps drawn for each that is taken, see
            `deepam_tf.data.depth_crops`.
        vary_samples: whether coarse maps are made in any way and on any grid, see
            `deepam_tf.sampling.observe_coarse`.
        crop_size: side of the training crops in pixels.
        batch_size: crops in a step, on all devices together.
        validation_images: how many are held out, at most one in ten.
        stream_megabytes: memory for pictures of shards that are streamed; 0: all data are read
            into memory at the start.
        streams: parts that a batch is made of, each of shards of its own: so many workers can
            read different ones. It has to divide the batch.
    """

    task: str = "denoise"
    image_channels: int = 1
    sigma: float | tuple[float, float] = 25.0
    validation_sigma: float = 25.0
    supervision: Literal["clean", "noisy"] = "clean"
    gain: float = 0.0
    alpha: float = 0.25
    scale: int | tuple[int, ...] = 8
    validation_scale: int = 8
    border: int = 0
    vary_pairs: bool = False
    vary_colors: bool = False
    weigh_levels: bool = False
    candidates: int = 1
    vary_samples: bool = False
    crop_size: int = 64
    batch_size: int = 8
    validation_images: int = 4
    stream_megabytes: int = 0
    streams: int = 1


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """Values of the optimizer: how a gradient becomes a step.

    Attributes:
        name: `muon` (on the hidden convolutions, Adam elsewhere), `adam` or `sgd`.
        learning_rate: peak of the schedule.
        momentum: of Muon and SGD.
        weight_decay: weight of half the sum of squared weights beside the loss.
        clipnorm: longest gradient of one variable; 0: any.
        average: momentum of the exponential mean of the weights over the steps, which is what
            is validated and what the run ends with; 0: the weights themselves.
    """

    name: Literal["muon", "adam", "sgd"] = "muon"
    learning_rate: float = 2.5e-3
    momentum: float = 0.95
    weight_decay: float = 0.0
    clipnorm: float = 1.0
    average: float = 0.0


@dataclasses.dataclass(frozen=True)
class Schedule:
    """How the learning rate changes after a linear warm-up.

    Attributes:
        name: `cosine`, `exponential` or `constant`.
        warmup_steps: steps of the warm-up, at most a fifth of the run.
        final_fraction: last learning rate over the peak.
    """

    name: Literal["cosine", "exponential", "constant"] = "cosine"
    warmup_steps: int = 200
    final_fraction: float = 0.0


@dataclasses.dataclass(frozen=True)
class Run:
    """How long, how exactly, and from which random numbers.

    Attributes:
        num_steps: optimizer steps in all.
        steps_per_epoch: steps between validations and checkpoints.
        loss: of an error `e`, with the scale `s`: `l1`, `|e|`, the paper's; `l2`, `e^2`, the only
            one that noisy targets do not deceive; `huber`, which
            counts errors below `s` by their square, so that what cannot be foretold (the last
            digit of a depth map) does not drown the rest; `cauchy`, `s log(1 + (e / s)^2)`,
            under which large errors also count by their ratio alone: halving one of 60 gains
            what halving one of 6 does.
        loss_scale: `s`, in units of [0, 1], of depth maps as a share of the largest value of
            all; `l1` and `l2` have none.
        iterate_loss_weight: weight of the loss on `u_1 .. u_{K-1}` beside that on `u_K`: it
            keeps the intermediate results images.
        statistics: by which batch normalisation normalises: those of the `batch`, or the
            `moving` ones the run begins with, which then stay. The last steps of a trained
            network need the latter: statistics of a few crops are noise in every step, and not
            those it is used with.
        learns: which weights learn: `all`, or those alone that are `new`, which the model to start
            from does not have (levels, edge weights, iterations): at a rate that would ruin what
            the others have learnt. Statistics are to be `moving` then, those of the others; new
            normalisations take theirs from the batch.
        dtype: Keras dtype policy of the networks.
        jit_compile: compile the step with XLA.
        jit_compile_solves: compile the linear solves with XLA.
        adjoint_rtol: tolerance of the adjoint solves: what they leave is far below what one
            batch's gradient differs from the next one's.
        seed: of the initial weights, the crops and the noise.
    """

    num_steps: int = 8500
    steps_per_epoch: int = 500
    loss: Literal["l1", "l2", "huber", "cauchy"] = "l1"
    loss_scale: float = 0.015
    iterate_loss_weight: float = 0.2
    statistics: Literal["batch", "moving"] = "batch"
    learns: Literal["all", "new"] = "all"
    dtype: Literal["float32", "mixed_bfloat16", "float64"] = "mixed_bfloat16"
    jit_compile: bool = False
    jit_compile_solves: bool = True
    adjoint_rtol: float = 1e-2
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Monitor:
    """Values of what TensorBoard shows beside the curves.

    Attributes:
        pictures_every: epochs between pictures, histograms and counts of solver steps;
            0: none.
        picture_size: longest side of the validation image they are made of, cut to it.
    """

    pictures_every: int = 1
    picture_size: int = 256


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """One training recipe.

    Attributes:
        model: the network.
        data: what is restored from what.
        optimizer: how a gradient becomes a step.
        schedule: how the learning rate changes.
        run: how long, how exactly, from which random numbers.
        monitor: what TensorBoard shows.

    Raises:
        ValueError: if a value is out of its range.
    """

    model: Model = Model()
    data: Data = Data()
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    run: Run = Run()
    monitor: Monitor = Monitor()

    def __post_init__(self) -> None:
        values = flat(self)
        positive = (
            *("filters", "alpha", "candidates", "crop_size", "batch_size", "loss_scale"),
            *("num_steps", "steps_per_epoch", "rtol", "adjoint_rtol"),
            *("scale", "validation_scale", "picture_size", "streams"),
        )
        for name, value in values.items():
            numbers = value if isinstance(value, tuple) else (value,)
            low = 1e-12 if name.rpartition(".")[2] in positive else 0
            if any(not isinstance(x, str) and not low <= x < math.inf for x in numbers):
                sign = "positive" if low else "not negative"
                raise ValueError(f"`{name}` must be {sign} and finite. Received: {value!r}.")
        for name in ("optimizer.momentum", "optimizer.average"):
            if values[name] >= 1:
                raise ValueError(f"`{name}` must be below 1. Received: {values[name]}.")
        if self.data.batch_size % self.data.streams:
            raise ValueError(
                "`data.streams` must divide the batch. Received: "
                f"data.batch_size={self.data.batch_size}, data.streams={self.data.streams}."
            )
        if self.data.streams > 1 and not self.data.stream_megabytes:
            raise ValueError(
                "Only data that are streamed have streams. Received: "
                f"data.streams={self.data.streams}, data.stream_megabytes=0."
            )
        if self.data.image_channels not in (1, 3):
            raise ValueError(
                "`data.image_channels` must be 1 (gray) or 3 (colour). "
                f"Received: {self.data.image_channels}."
            )
        for name in ("data.sigma", "data.validation_sigma"):
            ends = values[name] if isinstance(values[name], tuple) else (0.0, values[name])
            if not ends[0] <= ends[-1] <= 255:
                raise ValueError(
                    f"`{name}` must be at most 255, and of two numbers the smaller first. "
                    f"Received: {list(ends) if isinstance(values[name], tuple) else ends[-1]}."
                )
        if self.run.learns == "new" and self.run.statistics != "moving":
            raise ValueError(
                "Weights that do not learn must keep the statistics that they were trained with. "
                "Received: run.learns=new, run.statistics=batch. Set run.statistics=moving."
            )
        if self.data.supervision == "noisy":
            self._check_noisy()
        if self.run.num_steps % self.run.steps_per_epoch:
            raise ValueError(
                "`run.num_steps` must be a multiple of `run.steps_per_epoch`. Received: "
                f"run.num_steps={self.run.num_steps}, "
                f"run.steps_per_epoch={self.run.steps_per_epoch}."
            )

    def _check_noisy(self) -> None:
        values = self.data
        if isinstance(values.sigma, tuple) or not (values.sigma or values.gain):
            raise ValueError(
                "Noisy pictures (data.supervision) need one level that is known, of noise that "
                f"there is. Received: data.sigma={values.sigma}, data.gain={values.gain}. Set both "
                "to those of the pictures."
            )
        if self.run.loss != "l2":
            raise ValueError(
                "Noisy pictures (data.supervision) need the square error: by others a network "
                f"learns from the noise. Received: run.loss={self.run.loss!r}. Set run.loss=l2."
            )


def flat(config: TrainingConfig) -> dict[str, Any]:
    """All values by dotted name, `{"model.num_iterations": 3, ...}`."""
    return {
        f"{group.name}.{field.name}": getattr(getattr(config, group.name), field.name)
        for group in dataclasses.fields(config)
        for field in dataclasses.fields(getattr(config, group.name))
    }
