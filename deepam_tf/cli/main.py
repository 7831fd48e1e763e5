"""The `deepam` command. Only the command line speaks sigma in 0..255."""

from __future__ import annotations

import importlib

from deepam_tf._startup import import_tensorflow
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
