"""What must happen before TensorFlow is imported, and while it is."""

from __future__ import annotations

import contextlib
import importlib
import os
import pathlib
import sys
import tempfile
from collections.abc import Iterator

__all__ = ["import_tensorflow", "is_command"]


def is_command() -> bool:
    """Whether this process is the `deepam` command, by its name or as `python -m deepam_tf`.

    Returns:
        True in the command and in the workers that it starts, False where the library is imported
        by another program.
    """
    first = sys.argv[0] if sys.argv else ""
    if first == "-m":  # Python is still looking for the module to run
        arguments = sys.orig_argv
        module = arguments[arguments.index("-m") + 1] if "-m" in arguments[:-1] else ""
        return module in ("deepam_tf", "deepam_tf.batch.worker", "deepam_tf.cli")
    path = pathlib.Path(first)
    ends = (path.parts[-2:], path.parts[-3:])
    return path.stem == "deepam" or any(
        end in (("deepam_tf", "__main__.py"), ("deepam_tf", "batch", "worker.py")) for end in ends
    )


def import_tensorflow() -> None:
    """Import TensorFlow and Keras; the command does it without TensorFlow's greeting.

    Raises:
        ImportError: if Keras is set to another backend than TensorFlow.
    """
    with _quiet_command():
        try:
            keras = importlib.import_module("keras")
        except (ImportError, ValueError) as error:  # not installed, or no such backend
            backend = os.environ.get("KERAS_BACKEND", "tensorflow")
            if backend == "tensorflow":
                raise
            raise _wrong_backend(backend) from error
        tf = importlib.import_module("tensorflow")
        tf.config.list_physical_devices()  # looks for a GPU, and has something to say of it
    if keras.backend.backend() != "tensorflow":
        raise _wrong_backend(keras.backend.backend())


def _wrong_backend(backend: str) -> ImportError:
    return ImportError(
        "deepam_tf needs the TensorFlow backend of Keras. "
        f"Received: backend={backend!r}. Set KERAS_BACKEND=tensorflow."
    )


@contextlib.contextmanager
def _quiet_command() -> Iterator[None]:
    """Keep TensorFlow's greeting out of the terminal of the `deepam` command.

    Its C++ side prints a dozen lines at import, before any log level applies, to the file
    descriptor itself. Libraries must not hide another's messages, so this does nothing
    unless the process is the `deepam` command and the user has not set
    `TF_CPP_MIN_LOG_LEVEL`; if the import fails, everything held back is shown.
    """
    if not is_command() or "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        yield
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "1"
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as held_back:
        os.dup2(held_back.fileno(), 2)
        try:
            yield
        except BaseException:
            held_back.seek(0)
            os.write(terminal, held_back.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
