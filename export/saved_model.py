"""Export a trained model as a SavedModel that TensorFlow Serving loads as it stands.

    python -m export.saved_model MODEL OUT

makes the next version folder `OUT/1`, `OUT/2`, ..., whole or not at all. MODEL is the name of
weights that come with the package, or a `.keras` file.
"""

from __future__ import annotations

import argparse
import pathlib
import sys

from export.graph.artefact import AGREEMENTS, ExportError, describe
from export.graph.saving import MAX_MEGAPIXELS, save
from export.graph.sources import load_model

__all__ = ["main"]


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m export.saved_model", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("model", help="name of shipped weights, or a .keras file")
    parser.add_argument("out", type=pathlib.Path, help="folder of the served model")
    parser.add_argument("--version", type=int, help="default: one above the largest there is")
    parser.add_argument("--rtol", type=float, help="tolerance of the solves, default the model's")
    parser.add_argument("--max-steps", type=int, help="of each solve, default the model's")
    parser.add_argument(
        "--dtype",
        choices=AGREEMENTS,
        default="float32",
        help="precision of the networks, whatever it was in training (float32)",
    )
    parser.add_argument("--max-megapixels", type=float, default=MAX_MEGAPIXELS, metavar="N")
    args = parser.parse_args(argv)
    try:
        folder = save(
            load_model(args.model),
            args.out,
            version=args.version,
            rtol=args.rtol,
            max_steps=args.max_steps,
            dtype=args.dtype,
            max_megapixels=args.max_megapixels,
        )
    except ExportError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(describe(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
