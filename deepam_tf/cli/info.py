"""`deepam info`: versions, devices and weights."""

from __future__ import annotations

import argparse
import os
from typing import Any

import rich.markdown
import rich.table

import deepam_tf
from deepam_tf._startup import import_tensorflow
from deepam_tf.cli import console
from deepam_tf.restoration.cards import (
    card_page,
    figures,
    list_pretrained,
    noise_range,
    pretrained_card,
    restores,
)

__all__ = ["run"]

_TYPICAL = (", sigma 25", ", x8")
"""The test that stands for a model which was tried at several levels or scales."""


def run(args: argparse.Namespace) -> int:
    """Print a table of what is there, or one card.

    Returns:
        Exit code.
    """
    if args.card is not None:
        page = card_page(args.card, pretrained_card(args.card), metadata=False)
        text = rich.markdown.Markdown(page) if console.output.is_terminal else page
        console.output.print(text, soft_wrap=not console.output.is_terminal)
        return 0
    import_tensorflow()
    import keras
    import tensorflow as tf

    devices = [device.name for device in tf.config.list_logical_devices()]
    versions = f"deepam_tf {deepam_tf.__version__}, tensorflow {tf.__version__}"
    console.output.print(f"{versions}, keras {keras.__version__}")
    console.output.print(f"devices   {', '.join(devices)} ({os.cpu_count()} cores)\n")
    table = rich.table.Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for title in ("weights", "restore", "for", "reach"):
        table.add_column(title, overflow="fold")
    for name in list_pretrained():
        card = pretrained_card(name)
        table.add_row(name, restores(card), _for(name, card), _reached(card))
    console.output.print(table, soft_wrap=False)
    console.output.print("\nAll that is known of one: deepam info --card NAME")
    return 0


def _for(name: str, card: dict[str, Any]) -> str:
    if "noise_stddev" in card:
        low, high = (255 * level for level in noise_range(name))
        return f"sigma {high:g}" if low == high else f"sigma {low:g}-{high:g}"
    scales = card.get("scale", [])
    return f"x{min(scales)}-x{max(scales)}" if scales else ""


def _reached(card: dict[str, Any]) -> str:
    """One test set and its first figure."""
    results = card.get("results", {})
    if not results:
        return ""
    typical = [key for key in results if key.endswith(_TYPICAL)] or list(results)
    return f"{typical[-1]}: {figures(results[typical[-1]]).split(', ')[0]}"
