"""A process that restores pictures one after the other, asked and answering in lines of JSON.

`deepam_tf.batch.processes` starts it; it ends with its input.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import socket
import sys
import time
from typing import Any

from deepam_tf.batch.attempts import Restore, attempt
from deepam_tf.batch.jobs import Job
from deepam_tf.batch.records import Record

__all__ = ["Setup", "Worker", "main"]


@dataclasses.dataclass(frozen=True)
class Setup:
    """What every worker of a run is told; all of it can be JSON.

    Attributes:
        restore: `module:function`, what makes a `Restore` of the options.
        options: of the function.
        overwrite: see `attempt`.
        began: see `attempt`.
    """

    restore: str
    options: dict[str, Any]
    overwrite: bool = False
    began: float | None = None


class Worker:
    """Restores pictures as a run was asked to.

    Args:
        setup: what it was asked.
    """

    def __init__(self, setup: Setup) -> None:
        module, _, function = setup.restore.partition(":")
        self._restore: Restore = getattr(importlib.import_module(module), function)(setup.options)
        self._setup = setup
        self._name = f"{socket.gethostname()}:{os.getpid()}"

    def __call__(self, job: Job) -> Record:
        """Restore one picture; what became of it, whatever it was, who did it and when."""
        found = attempt(
            job,
            self._restore,
            overwrite=self._setup.overwrite,
            began=self._setup.began,
            unexpected=(Exception,),
        )
        return {**found, "worker": self._name, "ended": round(time.time(), 3)}


def main() -> int:
    """Answer until there is nothing more to read; returns the exit code."""
    # What libraries print must not come between the answers.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        worker = Worker(Setup(**json.loads(sys.stdin.readline())))
        print("ready", file=answers, flush=True)
        for line in sys.stdin:
            answer = worker(Job(**json.loads(line)))
            print(json.dumps(answer), file=answers, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
