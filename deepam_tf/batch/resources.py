"""How many pictures this machine restores at a time, and with how many threads each."""

from __future__ import annotations

import dataclasses
import os
import pathlib

__all__ = ["WORKER_BYTES", "Workers", "available_memory", "choose_workers", "usable_cores"]

WORKER_BYTES = 2 * 2**30
"""What a worker is given: TensorFlow, weights, windows, and a colour picture of 24 megapixels."""
_CGROUP = pathlib.Path("/sys/fs/cgroup")


@dataclasses.dataclass(frozen=True)
class Workers:
    """Processes, each of which restores one picture at a time.

    Attributes:
        count: how many.
        threads: of each, for computing.
    """

    count: int
    threads: int

    def environment(self) -> dict[str, str]:
        """What each finds in its environment: no library takes more threads than it has."""
        threads = str(self.threads)
        return {
            "TF_NUM_INTRAOP_THREADS": threads,
            "TF_NUM_INTEROP_THREADS": "1",
            "OMP_NUM_THREADS": threads,
            "OPENBLAS_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "OPENCV_FOR_THREADS_NUM": threads,
            "TF_FORCE_GPU_ALLOW_GROWTH": "true",
            "TF_CPP_MIN_LOG_LEVEL": "2",
        }


def usable_cores() -> int:
    """Cores that this process may use: of its affinity, and of its container's quota."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quota, period = (_words(_CGROUP / "cpu.max") + ["max", "100000"])[:2]
    if quota.isdecimal() and int(quota):
        cores = min(cores, max(int(quota) // int(period), 1))
    return cores


def available_memory() -> int:
    """Bytes that are free, of the machine and of the container; 8 GiB where nobody tells."""
    found = []
    meminfo = dict(
        line.split(":", 1) for line in _text(pathlib.Path("/proc/meminfo")).splitlines() if line
    )
    if "MemAvailable" in meminfo:
        found.append(1024 * int(meminfo["MemAvailable"].split()[0]))
    elif hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    limit, used = ((_words(_CGROUP / name) + [""])[0] for name in ("memory.max", "memory.current"))
    if limit.isdecimal() and used.isdecimal():
        found.append(int(limit) - int(used))
    return max(min(found, default=8 * 2**30), 0)


def choose_workers(
    cores: int, memory: int, *, count: int | None = None, pictures: int | None = None
) -> Workers:
    """As many workers as memory and cores allow; what cores are left become their threads.

    One thread a picture wastes none: a picture alone keeps many cores busy only in part.

    Args:
        cores: there are.
        memory: bytes there are.
        count: how many workers, None: as many as there can be.
        pictures: how many pictures there are: no more workers than that.

    Returns:
        The workers.

    Raises:
        ValueError: if `count` is not positive.

    Example:
        >>> choose_workers(cores=16, memory=9 * 2**30)
        Workers(count=4, threads=4)
    """
    if count is not None and count < 1:
        raise ValueError(f"There must be at least one worker. Received: {count}.")
    if count is None:
        count = max(min(cores, memory // WORKER_BYTES), 1)
        if pictures is not None:
            count = max(min(count, pictures), 1)
    return Workers(count, max(cores // count, 1))


def _text(path: pathlib.Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _words(path: pathlib.Path) -> list[str]:
    return _text(path).split()
