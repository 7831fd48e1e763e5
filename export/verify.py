"""Verify an exported model: is it whole, and does it answer as the Keras model did?

    python -m export.verify OUT

checks the newest version in `OUT`, or the version folder given. The answers of the Keras
model, batch normalisation not folded, were stored in the export.
"""

from __future__ import annotations

import argparse
import pathlib
import sys

from export.graph.artefact import ExportError
from export.graph.verification import print_checks

__all__ = ["main"]


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code: 0 all is right, 1 something is not, 2 bad input."""
    parser = argparse.ArgumentParser(
        prog="python -m export.verify", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("out", type=pathlib.Path, help="folder of the served model, or a version")
    args = parser.parse_args(argv)
    try:
        return 0 if print_checks(args.out) else 1
    except ExportError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
