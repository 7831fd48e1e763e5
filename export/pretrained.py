"""Export and verify every set of weights that comes with the package.

    python -m export.pretrained OUT

makes `OUT/NAME/1` for each, or the next version where there is one.
"""

from __future__ import annotations

import argparse
import pathlib
import sys

from deepam_tf.restoration.pretrained import list_pretrained
from export import verify
from export.graph.artefact import ExportError, describe
from export.saved_model import load_model, save

__all__ = ["main"]


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code: 0 all is right, 1 something is not, 2 bad input."""
    parser = argparse.ArgumentParser(
        prog="python -m export.pretrained", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("out", type=pathlib.Path, help="folder of the served models")
    args = parser.parse_args(argv)
    failed = 0
    try:
        for name in list_pretrained():
            folder = save(load_model(name), args.out / name)
            print(describe(folder))
            failed |= verify.main([str(folder)])
    except ExportError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return failed


if __name__ == "__main__":
    sys.exit(main())
