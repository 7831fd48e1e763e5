"""Restore image files with a model that TensorFlow Serving serves, over REST or gRPC.

    python -m export.client http://localhost:8501 denoise_gray noisy.png clean.png --sigma 25
    python -m export.client grpc://localhost:8500 denoise_gray noisy.png clean.png --sigma 25

Nothing here computes: files go out as they are and come back as PNG. REST needs the standard
library and NumPy alone, gRPC also tensorflow-serving-api.
"""

from __future__ import annotations

import argparse
import pathlib
import sys

from export.serving.clients import ServingError, connect

__all__ = ["main"]


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code: 0 done, 2 bad input or refused by the server."""
    parser = argparse.ArgumentParser(
        prog="python -m export.client", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("address", help="http://HOST:8501 or grpc://HOST:8500")
    parser.add_argument("model", help="name it is served under")
    parser.add_argument("input", type=pathlib.Path, help="PNG or JPEG file")
    parser.add_argument("output", type=pathlib.Path, help="PNG file to write")
    parser.add_argument("--sigma", type=float, help="noise level on the 0..255 scale")
    parser.add_argument("--guide", type=pathlib.Path, help="file, for models that take a guide")
    parser.add_argument("--mask", type=pathlib.Path, help="file, for models that take a mask")
    parser.add_argument("--version", type=int, help="version to ask")
    parser.add_argument("--force", action="store_true", help="overwrite the output")
    args = parser.parse_args(argv)
    from deepam_tf.files import atomic  # here, where a file is written: the clients do without

    try:
        if args.output.suffix.lower() != ".png":
            raise ServingError(f"The output must be a .png file. Received: {str(args.output)!r}.")
        if args.output.exists() and not args.force:
            raise ServingError(f"{args.output}: the file exists already. Use --force.")
        named = {"image": args.input, "guide": args.guide, "mask": args.mask}
        files = {key: [path.read_bytes()] for key, path in named.items() if path is not None}
        levels = None if args.sigma is None else [args.sigma / 255]
        client = connect(args.address, args.model, version=args.version)
        restored = client.restore_files(files, levels)
        atomic.write_bytes(args.output, restored[0])
    except (ServingError, atomic.WriteError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error.filename}: cannot be read ({error.strerror}).", file=sys.stderr)
        return 2
    print(args.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
