"""What a training run is made of. A configuration is data: no code branches on its name."""

from __future__ import annotations

import dataclasses

__all__ = ["CONFIGS", "TrainingConfig"]


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """One training recipe.

    Attributes:
        num_iterations: `K` of DeepAM.
        image_channels: 1 or 3; the images of the folder are converted.
        filters: feature maps of each hidden convolution.
        depth: convolutions of each network.
        pixel_unshuffle: side of the pixel blocks of the networks' grid.
        residual: whether the networks give `v - D u`.
        noise_stddev: noise in units of [0, 1]; two numbers: any level between them, told to
            the model.
        validation_noise_stddev: noise of the validation images.
        crop_size: side of the training crops in pixels.
        batch_size: crops in a step.
        num_steps: optimizer steps in all.
        steps_per_epoch: steps between validations and checkpoints.
        learning_rate: peak of the schedule: linear warm-up, then a cosine to zero.
        warmup_steps: steps of the warm-up.
        iterate_loss_weight: weight of the L1 loss on `u_1 .. u_{K-1}` beside that on `u_K`:
            it keeps the intermediate results images.
        rtol: tolerance of the solves; they run to convergence in training too.
        dtype: Keras dtype policy of the networks.
        seed: seed of the initial weights, the crops and the noise.
    """

    num_iterations: int = 3
    image_channels: int = 1
    filters: int = 64
    depth: int = 10
    pixel_unshuffle: int = 1
    residual: bool = False
    noise_stddev: float | tuple[float, float] = 25 / 255
    validation_noise_stddev: float = 25 / 255
    crop_size: int = 64
    batch_size: int = 8
    num_steps: int = 8500
    steps_per_epoch: int = 500
    learning_rate: float = 2.5e-3
    warmup_steps: int = 200
    iterate_loss_weight: float = 0.2
    rtol: float = 1e-4
    dtype: str = "mixed_bfloat16"
    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.noise_stddev, list):  # as it comes out of JSON
            object.__setattr__(self, "noise_stddev", tuple(self.noise_stddev))
        if self.num_steps < 1 or self.steps_per_epoch < 1 or self.num_steps % self.steps_per_epoch:
            raise ValueError(
                "`num_steps` must be a positive multiple of `steps_per_epoch`. Received: "
                f"num_steps={self.num_steps}, steps_per_epoch={self.steps_per_epoch}."
            )


CONFIGS = {
    # One network for every noise level, on the grid of 2x2 blocks.
    "denoise_gray": TrainingConfig(
        num_iterations=2,
        pixel_unshuffle=2,
        residual=True,
        noise_stddev=(0.0, 75 / 255),
        crop_size=96,
        num_steps=20000,
    ),
    "denoise_gray_s25": TrainingConfig(),
    # One more cosine from the weights of the first: `--init RUN/model.keras`.
    "denoise_gray_s25_restart": TrainingConfig(
        num_steps=1300, steps_per_epoch=650, learning_rate=1e-3, warmup_steps=100, seed=1
    ),
}
