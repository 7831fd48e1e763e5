"""What must happen before TensorFlow is imported."""

from __future__ import annotations

import contextlib
import os
import pathlib
import sys
import tempfile
from collections.abc import Iterator

__all__ = ["quiet_command"]


@contextlib.contextmanager
def quiet_command() -> Iterator[None]:
    """Keep TensorFlow's greeting out of the terminal of the `deepam` command.

    Its C++ side prints a dozen lines at import, before any log level applies, to the file
    descriptor itself. Libraries must not hide another's messages, so this does nothing
    unless the process is the `deepam` command and the user has not set
    `TF_CPP_MIN_LOG_LEVEL`; if the import fails, everything held back is shown.
    """
    is_command = pathlib.Path(sys.argv[0] if sys.argv else "").stem == "deepam"
    if not is_command or "TF_CPP_MIN_LOG_LEVEL" in os.environ:
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
