"""Trained models to export: those that come with the package, and files."""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
from typing import Any

import keras

import deepam_tf
from deepam_tf.restoration.pretrained import list_pretrained, load_pretrained, pretrained_card
from deepam_tf.restoration.uncertainty import has_uncertainty, head_card, load_uncertain
from export.graph.artefact import ExportError

__all__ = ["Source", "load_model"]


@dataclasses.dataclass(frozen=True)
class Source:
    """A trained model and what is known of it.

    Attributes:
        model: the model.
        card: its description, JSON.
    """

    model: deepam_tf.DeepAM
    card: dict[str, Any]


def load_model(name: str) -> Source:
    """A model by the name of its weights or the path of its `.keras` file.

    Args:
        name: one of `deepam_tf.list_pretrained()`, or a path.

    Returns:
        The model, of shipped weights with their uncertainty head if they have one, and its card.

    Raises:
        ExportError: if there is no such thing, or it is damaged or of another kind.
    """
    path = pathlib.Path(name)
    if name in list_pretrained():
        card = {"name": name, **pretrained_card(name)}
        if not has_uncertainty(name):
            return Source(load_pretrained(name), card)
        return Source(load_uncertain(name), {**card, "uncertainty": head_card(name)})
    if path.suffix != ".keras" or not path.is_file():
        raise ExportError(
            f"MODEL must be a .keras file or one of {list_pretrained()}. Received: {name!r}."
        )
    try:
        model = keras.saving.load_model(path, compile=False)
    except Exception as error:  # Keras promises no kind
        raise ExportError(f"{path}: Keras cannot load it ({error}).") from error
    if not isinstance(model, deepam_tf.DeepAM):
        raise ExportError(f"{path} must hold a DeepAM. Received: a {type(model).__name__}.")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    config = {k: v for k, v in model.get_config().items() if k not in ("name", "trainable")}
    return Source(model, {"name": path.stem, "model": config, "sha256": digest})
