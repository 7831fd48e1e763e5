"""The shipped configurations: two ways to train, and the tasks they are applied to.

`NAME_paper` is the paper's recipe, `NAME_fast` reaches more in less time; `NAME` is

    denoise_s15_k1 .. denoise_s50_k3    gray images, noise 15, 25, 50 and K = 1, 2, 3 (Tables 1, 2)
    depth_x4, depth_x8, depth_x16       depth maps guided by colour images, K = 2 (Table 3)
    nir_s25, nir_s50                    noisy RGB guided by near infrared, K = 2 (Table 4)

A file of one's own starts from one of them: `base = "denoise_s25_k3_fast"`.
"""

from __future__ import annotations

import pathlib
from typing import Any

from training.configuration.config import TrainingConfig
from training.configuration.settings import nearest, read_toml, replace

__all__ = ["RECIPES", "find_recipe"]

PAPER = {
    # Section 5: momentum, weight decay, 20 epochs of 100,000 patches 32x32, L1 on u_K alone.
    "optimizer.name": "sgd",
    "optimizer.momentum": 0.9,
    "optimizer.weight_decay": 5e-4,
    "data.crop_size": 32,
    "run.iterate_loss_weight": 0.0,
    "run.num_steps": 20 * 2000,
    "run.steps_per_epoch": 2000,
    "run.dtype": "float32",
    "run.adjoint_rtol": 1e-4,
    # Not given there: the rate is of the order that suits SGD (docs/training.md), the batch and
    # the decay by 100 over the run are customary with the paper's toolbox.
    "optimizer.learning_rate": 0.1,
    "optimizer.clipnorm": 0.0,
    "data.batch_size": 50,
    "schedule.name": "exponential",
    "schedule.warmup_steps": 0,
    "schedule.final_fraction": 0.01,
}
FAST: dict[str, Any] = {}  # the values that a configuration has where nothing else is said
# Of depth maps all but the edges is smooth: what is learnt there is the rounding of the data.
FAST_DEPTH = {
    "data.candidates": 3,
    "data.crop_size": 96,
    "optimizer.learning_rate": 2e-3,
    "run.loss": "huber",
}

PROBLEMS: dict[str, dict[str, Any]] = {
    **{
        f"denoise_s{sigma}_k{k}": {
            "data.sigma": sigma,
            "data.validation_sigma": sigma,
            "model.num_iterations": k,
        }
        for sigma in (15, 25, 50)
        for k in (1, 2, 3)
    },
    **{
        f"depth_x{scale}": {
            "data.task": "depth",
            "data.scale": scale,
            "data.validation_scale": scale,
            "model.num_iterations": 2,
        }
        for scale in (4, 8, 16)
    },
    **{
        f"nir_s{sigma}": {
            "data.task": "nir",
            "data.image_channels": 3,
            "data.sigma": sigma,
            "data.validation_sigma": sigma,
            "model.num_iterations": 2,
        }
        for sigma in (25, 50)
    },
}

RECIPES: dict[str, TrainingConfig] = {
    f"{problem}_{way}": replace(TrainingConfig(), {**training, **values})
    for problem, values in PROBLEMS.items()
    for way, training in {"paper": PAPER, "fast": FAST}.items()
}
for scale in (4, 8, 16):
    RECIPES[f"depth_x{scale}_fast"] = replace(RECIPES[f"depth_x{scale}_fast"], FAST_DEPTH)
# The weights that ship with the package.
RECIPES["denoise_gray_s25"] = RECIPES["denoise_s25_k3_fast"]
RECIPES["denoise_gray_s25_restart"] = replace(
    # One more cosine from the weights of the first: `--init RUN/model.keras`.
    RECIPES["denoise_gray_s25"],
    {
        "run.num_steps": 1300,
        "run.steps_per_epoch": 650,
        "run.seed": 1,
        "optimizer.learning_rate": 1e-3,
        "schedule.warmup_steps": 100,
    },
)
RECIPES["denoise_gray"] = replace(
    # One network for every noise level, on the grid of 2x2 blocks.
    RECIPES["denoise_gray_s25"],
    {
        "model.num_iterations": 2,
        "model.pixel_unshuffle": 2,
        "model.residual": True,
        "data.sigma": (0.0, 75.0),
        "data.crop_size": 96,
        "run.num_steps": 20000,
    },
)
RECIPES["denoise_color"] = replace(
    # The three channels together.
    RECIPES["denoise_gray"],
    {
        "data.image_channels": 3,
        "data.vary_colors": True,
        "optimizer.learning_rate": 3e-3,
        "run.num_steps": 4500,
    },
)
RECIPES["denoise_camera"] = replace(
    # Files of a simulated camera; it starts from the weights of `denoise_color` (`--init`), and
    # keeps their batch statistics.
    RECIPES["denoise_color"],
    {
        "data.task": "camera",
        "data.sigma": (0.0, 50.0),
        "data.vary_colors": False,
        "data.weigh_levels": True,
        "data.validation_images": 24,
        "data.batch_size": 4,
        "optimizer.learning_rate": 1.2e-3,
        "optimizer.average": 0.998,
        "schedule.warmup_steps": 50,
        "run.statistics": "moving",
        "run.num_steps": 4500,
        "run.steps_per_epoch": 250,
        "run.seed": 1,
        "monitor.pictures_every": 0,
    },
)
RECIPES["upsample_depth"] = replace(
    # One network for every scale, on the grid of 2x2 blocks, that sees differences alone.
    RECIPES["depth_x8_fast"],
    {
        "model.pixel_unshuffle": 2,
        "model.residual": True,
        "model.shift_invariant": True,
        "model.rtol": 1e-3,
        # Hard crops are taken more often, and they are those of large scales.
        "data.scale": (1, 2, 4, 4, 4, 4, 4, 8, 8, 8, 16, 16, 16),
        "run.num_steps": 4500,
    },
)
RECIPES["upsample_depth_scales"] = replace(
    # From the weights of the first, `--init`, to every scale and kind of sample. The statistics
    # stay: those of a few crops are noise.
    RECIPES["upsample_depth"],
    {
        "model.filters": 128,
        "model.depth": 12,
        "model.rtol": 1e-3,
        "data.scale": (
            *(1, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5, 6, 6, 7, 7, 7, 8, 8, 8, 9, 9, 10, 10, 11, 12),
            *(12, 13, 14, 14, 15, 16, 16, 16, 16, 17, 18, 19, 20, 20),
        ),
        "data.vary_samples": True,
        "data.validation_scale": 5,
        "data.crop_size": 96,
        "data.batch_size": 5,
        "run.loss": "cauchy",
        "run.loss_scale": 0.01,
        "run.statistics": "moving",
        "run.dtype": "float32",
        "run.num_steps": 1200,
        "run.steps_per_epoch": 60,
        "optimizer.learning_rate": 6e-4,
        "optimizer.average": 0.99,
        "schedule.warmup_steps": 50,
    },
)
RECIPES["denoise_depth"] = replace(
    # Depth maps as a simulated sensor measures them, restored on their own grid.
    RECIPES["upsample_depth"],
    {
        "data.task": "depth_sensor",
        "data.candidates": 1,
        "data.crop_size": 96,
        "data.batch_size": 6,
        "model.filters": 48,
        "model.depth": 8,
        "run.loss": "l1",
        "run.dtype": "float32",
        "run.num_steps": 5000,
        "run.steps_per_epoch": 500,
    },
)
RECIPES["fuse_nir"] = replace(
    # The same for colour guided by near infrared.
    RECIPES["denoise_gray"],
    {
        "data.task": "nir",
        "data.image_channels": 3,
        "data.validation_sigma": 50.0,
        "data.vary_pairs": True,
        "data.vary_colors": True,
        "run.num_steps": 6000,
        "run.steps_per_epoch": 250,
    },
)


def find_recipe(name: str) -> TrainingConfig:
    """A shipped recipe by its name, or one's own by the path of its file.

    Args:
        name: a key of `RECIPES`, or a path that ends in `.toml`.

    Returns:
        The configuration.

    Raises:
        ValueError: if there is no such recipe, or its file is wrong.
    """
    if name.endswith(".toml"):
        base, values = read_toml(pathlib.Path(name))
        return replace(TrainingConfig() if base is None else find_recipe(base), values)
    if name not in RECIPES:
        raise ValueError(
            f"A configuration must be a shipped name or a .toml file. Received: {name!r}."
            + nearest(name, RECIPES, "--list shows the names.")
        )
    return RECIPES[name]
