"""Serve exported models on this machine with MLServer, in an environment of its own.

    python -m export.serve ROOT

answers for every `ROOT/NAME/VERSION` over REST (port 8080) and gRPC (8081), with metrics
(8082). MLServer needs another protobuf than TensorFlow's newest: its environment is made once,
by pip, beside the user's cache or where `--environment` says.
"""

from __future__ import annotations

import argparse
import pathlib
import signal
import sys

from export.graph.artefact import ExportError
from export.serving.local_server import DEFAULT_ENVIRONMENT, make_environment, server

__all__ = ["main"]


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m export.serve", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("root", type=pathlib.Path, help="folder of served models")
    parser.add_argument("--environment", type=pathlib.Path, default=DEFAULT_ENVIRONMENT)
    parser.add_argument("--host", default="127.0.0.1", help="default: this machine alone")
    parser.add_argument("--ports", type=int, nargs=3, default=(8080, 8081, 8082))
    parser.add_argument("--max-batch-size", type=int, default=16)
    args = parser.parse_args(argv)
    try:
        if not list(args.root.glob("*/*/saved_model.pb")):
            raise ExportError(
                "A folder with NAME/VERSION/saved_model.pb is needed. "
                f"Received: {str(args.root)!r}. Make one with python -m export.pretrained."
            )
        python = make_environment(args.environment)
    except ExportError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    # The way a service manager or a container ends: MLServer must end with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with server(
        args.root,
        python,
        host=args.host,
        ports=tuple(args.ports),
        max_batch_size=args.max_batch_size,
    ) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            return 0


if __name__ == "__main__":
    sys.exit(main())
