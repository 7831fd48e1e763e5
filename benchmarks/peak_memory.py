"""The most memory that a process has held: this one, or a command.

`getrusage` does not tell: what it says of a process begins with what its parent held when it
started it, and a parent that has run TensorFlow holds gigabytes.
"""

from __future__ import annotations

import pathlib
import re
import resource
import subprocess
import sys
import tempfile

__all__ = ["of_command", "of_this_process"]

_BYTES = 1 if sys.platform == "darwin" else 2**10  # in the unit of `ru_maxrss`

# Between this process and the command stands a small one, from which the command begins.
_LAUNCHER = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[2:])
_, status, usage = os.wait4(process.pid, 0)
with open(sys.argv[1], "w") as file:
    file.write(str(usage.ru_maxrss))
os._exit(0 if os.waitstatus_to_exitcode(status) == 0 else 1)
"""


def of_this_process() -> int:
    """What this process has held at most so far.

    Returns:
        Bytes.
    """
    status = pathlib.Path("/proc/self/status")
    if status.exists():
        kibibytes = re.search(r"VmHWM:\s*(\d+) kB", status.read_text())
        if kibibytes is not None:
            return int(kibibytes[1]) * 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _BYTES


def of_command(command: list[str]) -> int:
    """What a command held at most, or one of those it started and waited for, if that is more.

    Args:
        command: program and arguments.

    Returns:
        Bytes.

    Raises:
        ValueError: if the command fails; it holds what was printed.
    """
    with tempfile.TemporaryDirectory() as folder:
        peak = pathlib.Path(folder, "peak.txt")
        done = subprocess.run(
            [sys.executable, "-S", "-c", _LAUNCHER, str(peak), *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        if done.returncode:
            raise ValueError(done.stdout.decode(errors="replace").strip())
        return int(peak.read_text()) * _BYTES
