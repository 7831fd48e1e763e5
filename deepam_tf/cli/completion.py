"""`deepam completion`: what makes the tab key work in a shell."""

from __future__ import annotations

import argparse
import pathlib
import sys

from deepam_tf.cli.parser import make_parser
from deepam_tf.restoration.cards import list_pretrained

__all__ = ["run"]


def run(args: argparse.Namespace) -> int:
    """Print the script of one shell.

    Returns:
        Exit code.

    Raises:
        ImportError: if shtab is not there.
    """
    try:
        import shtab
    except ImportError as error:
        raise ImportError(
            "Completions are written by shtab. Received: it is not installed. "
            "pip install 'deepam-tf[completion]', or shtab alone."
        ) from error
    names = " ".join(list_pretrained())
    parser = make_parser()
    for action in _actions(parser):
        if action.dest in ("model", "card"):
            action.complete = {"bash": "_deepam_weights", "zsh": f"({names})"}  # type: ignore
        elif action.type is pathlib.Path or action.dest == "inputs":
            action.complete = shtab.FILE  # type: ignore
    preamble = {"bash": f'_deepam_weights() {{ compgen -W "{names}" -- "$1"; }}'}
    sys.stdout.write(shtab.complete(parser, args.shell, preamble=preamble) + "\n")
    return 0


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Those of a parser and of its commands."""
    found = []
    for action in parser._actions:
        found.append(action)
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                found += _actions(command)
    return found
