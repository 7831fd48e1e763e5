"""MLServer on this machine: the environment it runs in, and a process of it."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import venv
from collections.abc import Iterator

from export.graph.artefact import ExportError

__all__ = ["DEFAULT_ENVIRONMENT", "REQUIREMENTS", "RUNTIME", "make_environment", "server"]

REQUIREMENTS = ("mlserver==1.7.1", "httptools>=0.6", "tensorflow-cpu>=2.18")
DEFAULT_ENVIRONMENT = pathlib.Path(
    os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache"), "deepam-tf", "mlserver"
)
RUNTIME = pathlib.Path(__file__).with_name("mlserver_runtime.py")
_READY = ".ready"  # holds the requirements that were installed
_MAX_MESSAGE_BYTES = 256 * 2**20


def make_environment(folder: pathlib.Path) -> pathlib.Path:
    """An environment that MLServer runs in, made unless it is there with what it needs today.

    Args:
        folder: where it is or shall be.

    Returns:
        The environment's Python.

    Raises:
        ExportError: if pip cannot install into it; the message has pip's last lines.
    """
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    ready = folder / _READY
    wanted = "\n".join(REQUIREMENTS)
    if ready.is_file() and ready.read_text() == wanted:
        return python
    try:
        venv.create(folder, with_pip=True, clear=True)
    except OSError as error:
        raise ExportError(f"{folder}: cannot be written ({error.strerror}).") from error
    command = [str(python), "-m", "pip", "install", "--quiet", *REQUIREMENTS]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = "\n".join(done.stderr.strip().splitlines()[-5:])
        raise ExportError(f"{folder}: {' '.join(REQUIREMENTS)} could not be installed:\n{last}")
    ready.write_text(wanted)
    return python


@contextlib.contextmanager
def server(
    root: str | os.PathLike,
    python: pathlib.Path,
    *,
    host: str = "127.0.0.1",
    ports: tuple[int, int, int] = (8080, 8081, 8082),
    max_batch_size: int = 16,
    log: pathlib.Path | None = None,
    runtime: pathlib.Path = RUNTIME,
) -> Iterator[subprocess.Popen]:
    """A server that runs for as long as the context does.

    Args:
        root: folder of served models.
        python: of an environment with MLServer.
        host: address to listen at.
        ports: of REST, gRPC and metrics.
        max_batch_size: most images that are run together; 1: none.
        log: file for the server's output, the terminal by default.
        runtime: what runs the models in MLServer; another commit's, to compare with.

    Yields:
        The process; it may still be loading.
    """
    with contextlib.ExitStack() as stack:
        place = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        shutil.copy(runtime, place / RUNTIME.name)
        rest, grpc, metrics = ports
        settings = {
            "host": host,
            "http_port": rest,
            "grpc_port": grpc,
            "metrics_port": metrics,
            "grpc_max_message_length": _MAX_MESSAGE_BYTES,
            "parallel_workers": 0,
            "debug": False,
            "model_repository_implementation": "mlserver_runtime.VersionFolders",
            "model_repository_implementation_args": {
                "models": str(pathlib.Path(root).absolute()),
                "max_batch_size": max_batch_size,
            },
        }
        (place / "settings.json").write_text(json.dumps(settings))
        environment = {**os.environ, "PYTHONPATH": str(place), "TF_CPP_MIN_LOG_LEVEL": "2"}
        output = stack.enter_context(log.open("w")) if log is not None else None
        process = subprocess.Popen(
            [str(python.with_name("mlserver")), "start", str(place)],
            cwd=place,
            env=environment,
            stdout=output,
            stderr=output,
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
