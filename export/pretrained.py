"""Export and verify every set of weights that comes with the package.

    python -m export.pretrained OUT
    python -m export.pretrained OUT denoise_gray fuse_nir

makes `OUT/NAME/1` for each, or the next version where there is one; with names, for those alone.
"""

from __future__ import annotations

import argparse
import pathlib
import sys

from deepam_tf.restoration.pretrained import list_pretrained
from export.graph.artefact import ExportError, describe
from export.graph.saving import save
from export.graph.sources import load_model
from export.graph.verification import print_checks

__all__ = ["main"]


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code: 0 all is right, 1 something is not, 2 bad input."""
    parser = argparse.ArgumentParser(
        prog="python -m export.pretrained", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("out", type=pathlib.Path, help="folder of the served models")
    parser.add_argument("names", nargs="*", metavar="NAME", help="weights (default: all)")
    args = parser.parse_args(argv)
    unknown = sorted(set(args.names) - set(list_pretrained()))
    if unknown:
        parser.error(
            f"Weights must be among those that come with the package. Received: {unknown[0]!r}. "
            f"Take of {', '.join(list_pretrained())}."
        )
    good = True
    try:
        for name in args.names or list_pretrained():
            folder = save(load_model(name), args.out / name)
            print(describe(folder))
            good &= print_checks(folder)
    except ExportError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
