"""Rates of batches count what they say, and large pictures are what they are called."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import batch, memory
from deepam_tf.files.regions import open_regions


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_starts_and_ends_do_not_count(workers):
    lines = []
    for number in range(workers):
        # One picture each 2 s, 1.5 s of them at work, but for the first; begun one after the other.
        ends = np.arange(20.0 * number, 200.0 + 10 * number, 2)
        lines += [{"worker": str(number), "seconds": 1.5, "ended": x} for x in ends]
        lines[-len(ends)]["seconds"] = 99.0
    rate, at_work = batch.steady_state(lines)
    assert rate == pytest.approx(workers / 2, rel=0.02)
    assert at_work == pytest.approx(0.75, rel=0.02)


def test_a_large_picture_is_written_in_tiles(tmp_path):
    memory.write_large(tmp_path / "a.tif", 1300, 700)
    with open_regions(tmp_path / "a.tif") as found:
        assert found.shape == (700, 1300, 1)
        assert found.encoding.big
        assert found.encoding.tile == (512, 512)
        values = found.read(slice(0, 700), slice(0, 1300))
    assert 10 < values.std() < 30
