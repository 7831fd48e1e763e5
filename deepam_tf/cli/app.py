"""`deepam app`: a page in the browser to drop pictures on."""

from __future__ import annotations

import argparse
import os
import pathlib
import tempfile

from deepam_tf.cli import console

__all__ = ["run"]


def run(args: argparse.Namespace) -> int:
    """Serve the page until it is interrupted.

    Returns:
        Exit code.

    Raises:
        ImportError: if Gradio is not there.
        ValueError: if the port cannot be had.
    """
    with tempfile.TemporaryDirectory(prefix="deepam-app-") as folder:
        work = pathlib.Path(folder)
        os.environ["GRADIO_TEMP_DIR"] = str(work / "uploads")  # gone with the rest
        try:
            from deepam_tf.app.page import serve
        except ImportError as error:
            raise ImportError(
                f"The page needs Gradio. Received: {error}. pip install 'deepam-tf[app]'."
            ) from error
        try:
            page, address = serve(
                work,
                host=args.host,
                port=args.port,
                num_jobs=args.jobs,
                max_megabytes=args.max_megabytes,
                max_megapixels=args.max_megapixels,
                wait=False,
            )
        except OSError as error:
            raise ValueError(f"The page cannot be served at {args.host}: {error}") from error
        console.output.print(f"{address}  (Ctrl-C ends it)")
        try:
            page.block_thread()
        finally:
            page.close(verbose=False)
    return 0
