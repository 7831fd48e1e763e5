"""Peaks are of the process asked for, however much its parent holds."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from benchmarks import peak_memory
from tests import helpers

MEBIBYTE = 2**20
HELD = 200 * MEBIBYTE


def holding(size: int, then: str = "") -> list[str]:
    return [sys.executable, "-c", f"x = bytearray({size}); x[::1024] = b'1' * len(x[::1024]){then}"]


def test_a_command_is_measured_without_what_its_parent_holds():
    ballast = np.ones(2 * HELD, np.uint8)
    assert peak_memory.of_this_process() > ballast.nbytes
    small, large = (peak_memory.of_command(holding(size)) for size in (0, HELD))
    assert small < 50 * MEBIBYTE
    assert large - small == pytest.approx(HELD, rel=0.02)


def test_a_command_measures_itself_without_what_its_parent_holds():
    ballast = np.ones(2 * HELD, np.uint8)
    helpers.run_python(
        "import sys\n"
        "from benchmarks import peak_memory\n"
        "assert peak_memory.of_this_process() < int(sys.argv[1])\n",
        str(ballast.nbytes // 2),
    )


def test_what_a_failing_command_said_is_the_error():
    with pytest.raises(ValueError, match="no such thing"):
        peak_memory.of_command(holding(0, then="; raise SystemExit('no such thing')"))
