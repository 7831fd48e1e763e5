"""The `deepam` command. Only the command line speaks sigma in 0..255."""

from __future__ import annotations

import argparse
import os
import pathlib
import sys

import keras
import rich.table
import tensorflow as tf

import deepam_tf
from deepam_tf import _console as console
from deepam_tf import cli_denoise, cli_joint, demo, image_io
from deepam_tf.pretrained import list_pretrained, noise_range, pretrained_card

__all__ = ["main"]

_DEMO_PICTURE = pathlib.Path("deepam-demo.png")


def main(argv: list[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: arguments, those of the process by default.

    Returns:
        Exit code: 0 done, 1 some files of several failed, 2 bad input, 130 interrupted.
    """
    args = _parser().parse_args(argv)
    try:
        return args.run(args)
    except (image_io.ImageFileError, ValueError) as error:
        console.errors.print(f"error: {error}")
        return console.BAD_INPUT
    except KeyboardInterrupt:
        console.errors.print("interrupted; files already written are complete.")
        return console.INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="deepam", description=deepam_tf.__doc__)
    parser.add_argument("--version", action="version", version=f"deepam {deepam_tf.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    cli_denoise.add_command(commands)
    cli_joint.add_commands(commands)

    show = commands.add_parser("demo", help="restore a noisy picture that comes with the package")
    show.add_argument(
        "output",
        type=pathlib.Path,
        nargs="?",
        default=_DEMO_PICTURE,
        metavar="OUT",
        help="side-by-side picture (deepam-demo.png)",
    )
    show.set_defaults(run=_demo)

    info = commands.add_parser("info", help="versions, devices and weights")
    info.set_defaults(run=_info)
    return parser


def _demo(args: argparse.Namespace) -> int:
    # The default name is the demo's own; any other could be somebody's photograph.
    before, after = demo.run(args.output, overwrite=args.output == _DEMO_PICTURE)
    console.output.print(f"noisy     {before:.2f} dB\nrestored  {after:.2f} dB")
    console.output.print(f"picture   {args.output}")
    return 0


def _info(args: argparse.Namespace) -> int:
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
        low, high = (255 * level for level in noise_range(name))
        table.add_row("sigma", f"{low:g}" if low == high else f"any from {low:g} to {high:g}")
        for dataset, figures in card["results"].items():
            table.add_row(dataset, f"{figures['psnr']:.2f} dB, SSIM {figures['ssim']:.4f}")
        table.add_row("trained", card["training"]["summary"])
        table.add_row("command", card["training"]["command"])
        table.add_row("limits", card["limits"])
        console.output.print(table, soft_wrap=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
