"""The heads that come with the package: how sure the shipped weights are of what they restore.

Each is two files in `deepam_tf/restoration/weights/uncertainty`: `NAME.npz`, the variables of the
`UncertaintyHead`, and `NAME.json`, its card. A head was trained on the errors of given weights
and belongs to them alone: the card holds their checksum.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pathlib
from typing import Any

import numpy as np
import tensorflow as tf

from deepam_tf.files import atomic
from deepam_tf.networks.deepam import DeepAM
from deepam_tf.restoration.cards import FOLDER, pretrained_card
from deepam_tf.restoration.pretrained import load_pretrained

__all__ = [
    "attach_head",
    "confidence",
    "has_uncertainty",
    "head_card",
    "list_uncertainty",
    "load_uncertain",
    "save_head",
]

HEADS = FOLDER / "uncertainty"


def list_uncertainty() -> list[str]:
    """Names of the shipped weights that have a head.

    Returns:
        Names, sorted: what `load_uncertain` takes.

    Example:
        >>> "denoise_gray" in deepam_tf.list_uncertainty()
        True
    """
    return sorted(path.stem for path in HEADS.glob("*.json"))


def head_card(name: str, folder: pathlib.Path = HEADS) -> dict[str, Any]:
    """What is known of a head.

    Args:
        name: one of `list_uncertainty()`.
        folder: where its files lie.

    Returns:
        The card: `filters`, `df`, `calibrated_at` (see `UncertaintyHead`),
        `weights_sha256` (of the weights it belongs to), `training`, `held_out`, `sha256`.

    Raises:
        ValueError: if there is no such head.
    """
    path = folder / f"{name}.json"
    if not path.is_file():
        raise ValueError(
            "Standard deviations come with weights that have a head: "
            f"{', '.join(list_uncertainty()) or 'none'}. Received: {name!r}. Train one: python -m "
            "training.train_uncertainty."
        )
    return json.loads(path.read_text(encoding="utf-8"))


def has_uncertainty(name: str | os.PathLike) -> bool:
    """Whether weights have a head that was trained on them.

    Args:
        name: what `load_pretrained` takes.

    Returns:
        False also where the weights were replaced after the head was trained.

    Example:
        >>> deepam_tf.restoration.uncertainty.has_uncertainty("denoise_gray_s25_k1")
        False
    """
    if not isinstance(name, str) or name not in list_uncertainty():
        return False
    return head_card(name)["weights_sha256"] == pretrained_card(name)["sha256"]


def load_uncertain(name: str, /, **overrides: Any) -> DeepAM:
    """A model with trained weights that also tells how sure it is.

    Args:
        name: one of `list_uncertainty()`.
        **overrides: see `load_pretrained`.

    Returns:
        A model from the inputs of the weights to `"restored"`, which is what `load_pretrained`'s
        gives, and `"stddev"`.

    Raises:
        ValueError: if there is no such head, its file is damaged, or it was trained on other
            weights than those that are there.

    Example:
        >>> model = deepam_tf.load_uncertain("denoise_gray")
        >>> sorted(model.output)
        ['restored', 'stddev']
    """
    return attach_head(load_pretrained(name, **overrides), name, HEADS)


def attach_head(model: DeepAM, name: str, folder: pathlib.Path) -> DeepAM:
    """Weights and their head as one model.

    Args:
        model: of the weights.
        name: of the head.
        folder: where its files lie.

    Returns:
        A new model with copies of all weights.

    Raises:
        ValueError: see `load_uncertain`.
    """
    card = head_card(name, folder)
    weights = pretrained_card(name)["sha256"]
    if card["weights_sha256"] != weights:
        raise ValueError(
            f"A head must be that of its weights. Received: weights {name!r} with checksum "
            f"{weights[:8]}..., a head trained on {card['weights_sha256'][:8]}... Train it again: "
            f"python -m training.train_uncertainty {name}."
        )
    data = (folder / f"{name}.npz").read_bytes()
    if hashlib.sha256(data).hexdigest() != card["sha256"]:
        raise ValueError(f"The head of {name!r} is damaged: its checksum differs. Reinstall.")
    config = {
        **model.get_config(),
        "uncertainty_filters": card["filters"],
        "uncertainty_calibrated_at": card.get("calibrated_at", ()),
    }
    whole = type(model).from_config(config)
    values = {variable.path: variable for variable in model.variables}
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        for variable in whole.variables:
            known = values.get(variable.path)
            variable.assign(arrays[variable.path] if known is None else known)
    return whole


def save_head(model: DeepAM, name: str, card: dict[str, Any], folder: pathlib.Path) -> None:
    """Write the head of a model in the form that `load_uncertain` reads.

    Args:
        model: of the weights `name`, with a trained head.
        name: of the weights.
        card: what to say of the head, JSON; what can be read off is filled in here.
        folder: where `NAME.npz` and `NAME.json` go.
    """
    head = model.get_layer("uncertainty")
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{v.path: np.asarray(v) for v in head.variables})
    card = {
        **card,
        "filters": head.filters,
        "calibrated_at": list(head.calibrated_at),
        "df": round(head.df, 4),
        "weights_sha256": pretrained_card(name)["sha256"],
        "sha256": hashlib.sha256(buffer.getvalue()).hexdigest(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    atomic.write_bytes(folder / f"{name}.npz", buffer.getvalue())
    atomic.write_bytes(folder / f"{name}.json", (json.dumps(card, indent=2) + "\n").encode())


def confidence(stddev: np.ndarray, tolerance: float, df: float) -> np.ndarray:
    """The probability that a value is within a tolerance of the truth.

    Under the head's distribution, `P(|e| <= t) = 1 - I_x(df / 2, 1 / 2)` with the regularised
    incomplete beta function `I` at `x = df / (df + (t / scale)^2)`.

    Args:
        stddev: standard deviations, any shape.
        tolerance: in their unit, positive.
        df: degrees of freedom of the head, above 2.

    Returns:
        Probabilities, float32, of the shape of `stddev`.

    Example:
        >>> from deepam_tf.restoration.uncertainty import confidence
        >>> confidence(np.array([1e-3, 0.1, 10.0]), 0.1, df=4.0).round(2)
        array([1.  , 0.77, 0.01], dtype=float32)
    """
    ratio = np.square(tolerance / np.asarray(stddev, np.float64)) * df / (df - 2)
    half = tf.constant(0.5, tf.float64)
    outside = tf.math.betainc(half * df, half, df / (df + ratio))
    return (1 - outside.numpy()).astype(np.float32)
