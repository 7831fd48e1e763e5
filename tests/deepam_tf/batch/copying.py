"""What stands in for restoring in workers: a copy, with files that end it in every way."""

from __future__ import annotations

import os
import pathlib
import signal
import time
from typing import Any

from deepam_tf.files.atomic import check_place, write_bytes

RESTORE = "tests.deepam_tf.batch.copying:make_restore"


def make_restore(options: dict[str, Any]):
    """Copies files; `seconds` each takes, `marks` is a folder that gets a file for each try."""
    if options.get("cannot_start"):
        raise ValueError("no such weights")

    def restore(source: pathlib.Path, target: pathlib.Path, guide, overwrite: bool):
        print("noise of a library, between the answers")
        if "marks" in options:
            name = f"{source.name}.{time.monotonic_ns()}"
            pathlib.Path(options["marks"], name).touch()
        check_place(target, overwrite=overwrite)
        content = source.read_bytes()
        if content == b"bad":
            raise ValueError("not an image")
        if content == b"worse":
            raise KeyError("of a decoder")
        if content == b"deadly":
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(options.get("seconds", 0.0))
        write_bytes(target, content)
        return {"bytes": len(content), "guide_bytes": guide and guide.stat().st_size}

    return restore
