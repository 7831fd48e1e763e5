"""The weights that come with the package.

Each is two files in `deepam_tf/restoration/weights`: `NAME.npz`, every variable under its Keras
path, kernels in half precision; and `NAME.json`, its card: how to build the model, how it was
trained, what it reached and what it is not for.
"""

from __future__ import annotations

import difflib
import hashlib
import io
import json
import pathlib
from typing import Any

import numpy as np

from deepam_tf.files import atomic
from deepam_tf.networks.deepam import DeepAM

__all__ = [
    "list_pretrained",
    "load_pretrained",
    "noise_range",
    "pretrained_card",
    "read_pretrained",
    "save_pretrained",
]

_FOLDER = pathlib.Path(__file__).parent / "weights"


def list_pretrained() -> list[str]:
    """Names of the weights that `load_pretrained` takes.

    Returns:
        Names, sorted.

    Example:
        >>> "denoise_gray_s25" in deepam_tf.list_pretrained()
        True
    """
    return sorted(path.stem for path in _FOLDER.glob("*.json"))


def pretrained_card(name: str) -> dict[str, Any]:
    """What is known of a set of weights.

    Args:
        name: one of `list_pretrained()`.

    Returns:
        The card: `model` (arguments of `DeepAM`), `noise_stddev` (or its range; absent
        where the data have no noise), `training`, `results`, `limits`, `sha256`.

    Raises:
        ValueError: if there is no such name; the message suggests the nearest.

    Example:
        >>> deepam_tf.pretrained.pretrained_card("denoise_gray_s25")["model"]["num_iterations"]
        3
    """
    path = _FOLDER / f"{name}.json"
    if name not in list_pretrained():
        near = difflib.get_close_matches(name, list_pretrained(), n=1, cutoff=0.0)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"The name must be one of {list_pretrained()}. Received: {name!r}.{hint}")
    return json.loads(path.read_text())


def noise_range(name: str) -> tuple[float, float]:
    """The least and the largest noise level that weights were trained for.

    Args:
        name: one of `list_pretrained()`.

    Returns:
        Standard deviations in units of [0, 1]; equal for weights of one level.

    Raises:
        ValueError: if there is no such name, or it is of weights for something else than noise.

    Example:
        >>> low, high = deepam_tf.pretrained.noise_range("denoise_gray_s25")
        >>> low == high == 25 / 255
        True
    """
    level = pretrained_card(name).get("noise_stddev")
    if level is None:
        raise ValueError(f"The weights must be trained to remove noise. Received: {name!r}.")
    low, high = level if isinstance(level, list) else (level, level)
    return low, high


def load_pretrained(name: str, /, **overrides: Any) -> DeepAM:
    """A model with trained weights.

    Args:
        name: one of `list_pretrained()`.
        **overrides: arguments of `DeepAM` to change: `rtol`, `max_steps`, `dtype`, `name`.

    Returns:
        The model.

    Raises:
        ValueError: if there is no such name, or its file is damaged.

    Example:
        >>> model = deepam_tf.load_pretrained("denoise_gray_s25")
        >>> model.num_iterations
        3
    """
    return read_pretrained(name, pretrained_card(name), _FOLDER, **overrides)


def read_pretrained(
    name: str, card: dict[str, Any], folder: pathlib.Path, /, **overrides: Any
) -> DeepAM:
    """A model from what `save_pretrained` wrote, wherever that lies.

    Args:
        name: name of the weights.
        card: their card.
        folder: where they lie.
        **overrides: see `load_pretrained`.

    Returns:
        The model.

    Raises:
        ValueError: if the file is damaged.
    """
    data = (folder / f"{name}.npz").read_bytes()
    if hashlib.sha256(data).hexdigest() != card["sha256"]:
        raise ValueError(f"The weights {name!r} are damaged: their checksum differs. Reinstall.")
    model = DeepAM(**{"name": name, **card["model"], **overrides})
    with np.load(io.BytesIO(data)) as arrays:
        for variable in model.variables:
            variable.assign(arrays[variable.path].astype(np.float32))
    return model


def save_pretrained(
    model: DeepAM, name: str, card: dict[str, Any], folder: pathlib.Path
) -> dict[str, Any]:
    """Write a model's weights and card in the form that `load_pretrained` reads.

    Args:
        model: trained model.
        name: name of the weights.
        card: what to say of them, JSON; `model` and `sha256` are filled in here.
        folder: where `NAME.npz` and `NAME.json` go.

    Returns:
        The whole card.
    """
    arrays = {}
    for variable in model.variables:
        value = np.asarray(variable)
        # Kernels have four axes; statistics and biases are few and keep every digit.
        arrays[variable.path] = value.astype(np.float16) if value.ndim == 4 else value
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    config = model.get_config()
    for key in ("name", "trainable", "dtype"):
        config.pop(key)
    card = {**card, "model": config, "sha256": hashlib.sha256(buffer.getvalue()).hexdigest()}
    atomic.write_bytes(folder / f"{name}.npz", buffer.getvalue())
    atomic.write_bytes(folder / f"{name}.json", (json.dumps(card, indent=2) + "\n").encode())
    return card
