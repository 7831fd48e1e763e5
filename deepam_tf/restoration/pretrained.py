"""Weights and their cards: those that come with the package, and those of a folder.

Shipped weights are two files in `deepam_tf/restoration/weights`: `NAME.npz`, every variable
under its Keras path, kernels in half precision; and `NAME.json`, its card: how to build the
model, how it was trained, what it reached and what it is not for. A folder of `save_pretrained`
holds the same, in full precision, and the card in words too.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pathlib
import zipfile
from typing import Any

import numpy as np

from deepam_tf import __version__
from deepam_tf.files import atomic
from deepam_tf.networks.deepam import DeepAM
from deepam_tf.restoration.cards import (
    CARD_FILE,
    PAGE_FILE,
    WEIGHTS_FILE,
    card_page,
    list_pretrained,
    noise_range,
    pretrained_card,
    weights_file,
)

__all__ = [
    "list_pretrained",
    "load_pretrained",
    "noise_range",
    "pretrained_card",
    "read_pretrained",
    "save_pretrained",
    "write_pretrained",
]


_SOLVER = frozenset({"dtype", "max_steps", "method", "preconditioner", "rtol"})
_OVERRIDES = _SOLVER | {"name", "trainable"}
"""Arguments of `DeepAM` that change nothing of what its weights mean."""


def load_pretrained(name: str | os.PathLike, /, **overrides: Any) -> DeepAM:
    """A model with trained weights.

    Args:
        name: one of `list_pretrained()`, or a folder that `save_pretrained` wrote.
        **overrides: arguments of `DeepAM` to change: how solves are done (`method`, `rtol`,
            `max_steps`, `preconditioner`), `dtype` and `name`.

    Returns:
        The model.

    Raises:
        ValueError: if there is no such name or folder, its files are damaged, or the weights
            do not fit a model with these arguments.

    Example:
        >>> model = deepam_tf.load_pretrained("denoise_gray_s25")
        >>> model.num_iterations
        3
    """
    card = pretrained_card(name)
    return read_pretrained(weights_file(name), {"name": _name(name), **card}, **overrides)


def read_pretrained(path: pathlib.Path, card: dict[str, Any], /, **overrides: Any) -> DeepAM:
    """A model from a file of weights and its card, wherever they lie.

    Args:
        path: file of the weights.
        card: their card.
        **overrides: see `load_pretrained`.

    Returns:
        The model.

    Raises:
        ValueError: if the file is missing or damaged, or the card is of another model.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: the weights cannot be read ({error.strerror}).") from error
    wrong = sorted(overrides.keys() - _OVERRIDES)
    if wrong:
        raise ValueError(
            f"Weights fit one model: of its arguments {sorted(_OVERRIDES)} may be others. "
            f"Received: {', '.join(wrong)}. Build a DeepAM to train it."
        )
    if hashlib.sha256(data).hexdigest() != card["sha256"]:
        raise ValueError(
            f"{path}: the weights are damaged, their checksum differs from the card's. Reinstall, "
            "or write the folder again."
        )
    named = {"name": card["name"]} if "name" in card else {}
    solver = {key: value for key, value in overrides.items() if key in _SOLVER}
    rest = {key: value for key, value in overrides.items() if key not in _SOLVER}
    try:
        model = DeepAM(**{**named, **card["model"], **rest})
    except TypeError as error:
        raise ValueError(
            f"{path}: the card is of a model that this version cannot build. Received: {error}. "
            f"The card is of deepam-tf {card.get('version', 'unknown')}."
        ) from error
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            values = {variable.path: arrays[variable.path] for variable in model.variables}
            for variable in model.variables:
                variable.assign(values[variable.path].astype(variable.dtype))
    except (KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: the weights are not those of their card ({error}).") from error
    return model.with_solver(**solver) if solver else model


def save_pretrained(
    model: DeepAM, folder: str | os.PathLike, card: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Write weights and a card that says what they are for, for `load_pretrained(folder)`.

    The weights keep every digit. Other files of the folder are left alone.

    Args:
        model: trained model.
        folder: where `weights.npz`, `card.json` and, for people, `README.md` go; made if it is
            not there, replaced if they are.
        card: what to say of them, see `pretrained_card`; `model`, `version` and `sha256` are
            filled in here.

    Returns:
        The whole card.

    Raises:
        TypeError: if `model` is no `DeepAM`, or `card` holds what JSON does not.

    Example:
        >>> import tempfile
        >>> model = deepam_tf.DeepAM(1, filters=4, depth=3)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     card = deepam_tf.save_pretrained(model, folder, {"task": "denoising, sigma 10"})
        ...     deepam_tf.load_pretrained(folder).num_iterations
        1
    """
    if not isinstance(model, DeepAM):
        raise TypeError(f"`model` must be a DeepAM. Received: a {type(model).__name__}.")
    folder = pathlib.Path(folder)
    data = _weights(model, kernel_dtype=np.float32)
    card = _whole_card(model, {**(card or {}), "version": __version__}, data)
    text = json.dumps(card, indent=2) + "\n"  # before anything is written: it may fail
    page = card_page(_name(folder), card)
    folder.mkdir(parents=True, exist_ok=True)
    atomic.write_bytes(folder / WEIGHTS_FILE, data)
    atomic.write_bytes(folder / CARD_FILE, text.encode())
    atomic.write_bytes(folder / PAGE_FILE, page.encode())
    return card


def write_pretrained(
    model: DeepAM, name: str, card: dict[str, Any], folder: pathlib.Path
) -> dict[str, Any]:
    """Write a model's weights and card in the form in which they ship.

    Args:
        model: trained model.
        name: name of the weights.
        card: what to say of them, JSON; `model` and `sha256` are filled in here.
        folder: where `NAME.npz` and `NAME.json` go.

    Returns:
        The whole card.
    """
    data = _weights(model, kernel_dtype=np.float16)
    card = _whole_card(model, card, data)
    atomic.write_bytes(folder / f"{name}.npz", data)
    atomic.write_bytes(folder / f"{name}.json", (json.dumps(card, indent=2) + "\n").encode())
    return card


def _name(name: str | os.PathLike) -> str:
    """The name of weights: that of their folder, as Keras takes it."""
    return pathlib.Path(name).resolve().name or "deepam"


def _weights(model: DeepAM, *, kernel_dtype: type) -> bytes:
    """An NPZ file of the variables under their paths."""
    arrays = {}
    for variable in model.variables:
        value = np.asarray(variable)
        # Kernels have four axes; statistics and biases are few and keep every digit.
        arrays[variable.path] = value.astype(kernel_dtype) if value.ndim == 4 else value
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def _whole_card(model: DeepAM, card: dict[str, Any], data: bytes) -> dict[str, Any]:
    config = model.get_config()
    for key in ("name", "trainable", "dtype"):
        config.pop(key)
    return {**card, "model": config, "sha256": hashlib.sha256(data).hexdigest()}
