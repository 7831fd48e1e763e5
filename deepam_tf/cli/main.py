"""The `deepam` command. Only the command line speaks sigma in 0..255."""

from __future__ import annotations

import importlib
import io
import logging
import sys
import warnings

from deepam_tf._startup import import_tensorflow, is_command
from deepam_tf.cli import console
from deepam_tf.cli.parser import make_parser
from deepam_tf.files.pictures import ImageFileError

__all__ = ["main"]

_AT_ONCE = ("completion", "info")
"""Commands that do without TensorFlow, or wait for it only when they need it."""


def main(argv: list[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: arguments, those of the process by default.

    Returns:
        Exit code: 0 done, 1 some files of several failed, 2 bad input, 130 interrupted.
    """
    if is_command():
        _own_process()
    parser = make_parser()
    args = parser.parse_args(argv)
    if args.command is None:
        parser.print_help()
        return console.BAD_INPUT
    try:
        # Here, since TensorFlow takes seconds: help and wrong arguments need not wait for it.
        if args.command not in _AT_ONCE:
            import_tensorflow()
        return importlib.import_module(f"deepam_tf.cli.{args.command}").run(args)
    except (ImageFileError, ValueError, ImportError) as error:
        console.errors.print(f"error: {error}")
        return console.BAD_INPUT
    except KeyboardInterrupt:
        console.errors.print("interrupted; files already written are complete.")
        return console.INTERRUPTED


def _own_process() -> None:
    """What only a program may decide: its words reach any terminal, in lines of its own."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files that it cannot show
    # Pillow warns of damage that does not keep it from decoding, tifffile of odd tags.
    warnings.filterwarnings("ignore", module="PIL")
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
