"""Convert an exported model to LiteRT (TensorFlow Lite) or ONNX, and compare their answers.

    python -m export.convert OUT model.tflite
    python -m export.convert OUT model.onnx

takes the newest version in OUT, or a version folder. Both formats keep the loop of the solves,
with its own stop for every image, and the unknown batch, height and width; or, with `--window
256 256`, take one window of that size alone, which runtimes of phones and compilers ask for. They
hold `serving_default` alone; `serving_bytes`, the checks of values and the gradient stay behind.
"""

from __future__ import annotations

import argparse
import pathlib
import sys

from export.graph.artefact import ExportError
from export.graph.conversion import convert

__all__ = ["main"]


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m export.convert", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("out", type=pathlib.Path, help="folder of the served model, or a version")
    parser.add_argument("file", type=pathlib.Path, help=".tflite or .onnx file to write")
    parser.add_argument(
        "--window", type=int, nargs=2, metavar=("H", "W"), help="fixed height and width, batch 1"
    )
    args = parser.parse_args(argv)
    try:
        error = convert(args.out, args.file, window=args.window)
    except ExportError as failure:
        print(f"error: {failure}", file=sys.stderr)
        return 2
    size = args.file.stat().st_size / 1e6
    print(f"{args.file}: {size:.1f} MB, largest difference from Keras {error:.1e}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
