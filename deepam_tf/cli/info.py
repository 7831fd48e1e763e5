"""`deepam info`: versions, devices and weights."""

from __future__ import annotations

import argparse
import os

import keras
import rich.table
import tensorflow as tf

import deepam_tf
from deepam_tf.cli import console
from deepam_tf.restoration.pretrained import list_pretrained, noise_range, pretrained_card

__all__ = ["run"]

_FIGURES = {
    "psnr": "{:.2f} dB",
    "ssim": "SSIM {:.4f}",
    "bad_matching_percentage": "bad {:.2f} %",
    "rmse": "RMSE {:.2f}",
}


def run(args: argparse.Namespace) -> int:
    """Print what is there.

    Returns:
        Exit code.
    """
    del args
    devices = [device.name for device in tf.config.list_logical_devices()]
    versions = rich.table.Table(box=None, show_header=False)
    versions.add_row("deepam_tf", deepam_tf.__version__)
    versions.add_row("tensorflow", tf.__version__)
    versions.add_row("keras", keras.__version__)
    versions.add_row("devices", ", ".join(devices) + f" ({os.cpu_count()} cores)")
    console.output.print(versions, soft_wrap=False)

    for name in list_pretrained():
        card = pretrained_card(name)
        table = rich.table.Table(box=None, show_header=False, title=name, title_justify="left")
        table.add_row("task", card["task"])
        if "noise_stddev" in card:
            low, high = (255 * level for level in noise_range(name))
            table.add_row("sigma", f"{low:g}" if low == high else f"any from {low:g} to {high:g}")
        for dataset, figures in card["results"].items():
            shown = (form.format(figures[key]) for key, form in _FIGURES.items() if key in figures)
            table.add_row(dataset, ", ".join(shown))
        table.add_row("trained", card["training"]["summary"])
        table.add_row("command", card["training"]["command"])
        table.add_row("limits", card["limits"])
        console.output.print(table, soft_wrap=False)
    return 0
