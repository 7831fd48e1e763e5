"""Workers that are processes of this machine."""

from __future__ import annotations

import dataclasses
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator

from deepam_tf.batch.jobs import Job
from deepam_tf.batch.records import Record, record
from deepam_tf.batch.resources import Workers
from deepam_tf.batch.worker import Setup

__all__ = ["restore_in_processes"]

_TRIES = 2  # a picture that has ended so many workers is not tried again
_TAIL = 2000  # bytes of what a worker said last


def restore_in_processes(jobs: Iterable[Job], setup: Setup, workers: Workers) -> Iterator[Record]:
    """Restore pictures, each in one of several processes.

    A picture whose worker dies, of a decoder's fault or for want of memory, is tried once more by a
    new one, and is then an error of its own. No picture is lost if this process ends at any time:
    workers end with it, after the picture that they are at.

    Args:
        jobs: what to do.
        setup: what the workers are told.
        workers: how many, and their threads.

    Yields:
        What became of each picture, in the order in which they are done.

    Raises:
        RuntimeError: if a worker cannot start; its message has what it said.
    """
    todo, answers = iter(jobs), queue.Queue()
    lock, stopped = threading.Lock(), threading.Event()
    crew = [_Process(setup, workers) for _ in range(workers.count)]

    def take() -> Job | None:
        with lock:
            return None if stopped.is_set() else next(todo, None)

    def run(process: _Process) -> None:
        try:
            while (job := take()) is not None:
                answers.put(_ask(process, job, stopped))
        except Exception as error:
            answers.put(error)
        finally:
            process.close()
            answers.put(None)

    threads = [threading.Thread(target=run, args=[process], daemon=True) for process in crew]
    for thread in threads:
        thread.start()
    try:
        left = len(threads)
        while left:
            answer = answers.get()
            if isinstance(answer, Exception):
                raise answer
            if answer is None:
                left -= 1
            else:
                yield answer
    finally:
        stopped.set()
        for process in crew:
            process.kill()
        for thread in threads:
            thread.join()


def _ask(process: _Process, job: Job, stopped: threading.Event) -> Record | None:
    for _ in range(_TRIES):
        answer = process.ask(job)
        if answer is not None or stopped.is_set():
            return answer
    return record(
        job.source,
        job.target,
        guide=job.guide,
        error=f"{job.source}: its worker died {_TRIES} times ({process.last_words}). Out of "
        "memory, or a file that ends its decoder; fewer --workers leave more memory to each.",
    )


class _Process:
    """One worker, started when it is asked, and again after it died."""

    def __init__(self, setup: Setup, workers: Workers) -> None:
        self._setup = json.dumps(dataclasses.asdict(setup))
        self._environment = {**os.environ, **workers.environment()}
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()
        self._killed = False
        self._said = tempfile.TemporaryFile()
        self.last_words = ""

    def ask(self, job: Job) -> Record | None:
        """What became of a job; None if the worker died of it."""
        process = self._started()
        if process is None:
            return None
        try:
            self._write(process, json.dumps(dataclasses.asdict(job)))
            line = process.stdout.readline()
        except OSError:
            line = ""
        if line.endswith("\n"):
            return json.loads(line)
        self._bury(process)
        return None

    def _started(self) -> subprocess.Popen[str] | None:
        if self._process is not None:
            return self._process
        with self._lock:
            if self._killed:
                return None
            self._said.seek(0)
            self._said.truncate()
            process = self._process = subprocess.Popen(
                [sys.executable, "-m", "deepam_tf.batch.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._said,
                text=True,
                encoding="utf-8",
                env=self._environment,
                start_new_session=True,  # Ctrl-C is for the process that asks
            )
        try:
            self._write(process, self._setup)
            ready = process.stdout.readline()
        except OSError:
            ready = ""
        if ready:
            return process
        self._bury(process)
        if self._killed:
            return None
        self._said.seek(0)
        raise RuntimeError(
            f"A worker could not start ({self.last_words}):\n"
            + self._said.read().decode(errors="replace").strip()[-_TAIL:]
        )

    @staticmethod
    def _write(process: subprocess.Popen[str], line: str) -> None:
        process.stdin.write(line + "\n")
        process.stdin.flush()

    def _bury(self, process: subprocess.Popen[str]) -> None:
        self._process = None
        for pipe in (process.stdin, process.stdout):
            try:
                pipe.close()
            except OSError:
                pass
        code = process.wait()
        self.last_words = signal.Signals(-code).name if code < 0 else f"exit code {code}"

    def kill(self) -> None:
        """End the worker at once; none is started after."""
        with self._lock:
            self._killed = True
            if self._process is not None:
                self._process.kill()

    def close(self) -> None:
        """Let the worker end by itself."""
        process = self._process
        if process is not None:
            self._bury(process)
        self._said.close()
