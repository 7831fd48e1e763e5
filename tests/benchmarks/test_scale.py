"""Rates of batches count what they say, and large pictures are what they are called."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import batch, memory
from deepam_tf.files.regions import open_regions


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_starts_and_ends_do_not_count(workers):
    steady = np.arange(100) / workers  # one picture a second each
    start = np.linspace(-30, -10, workers - 1)
    end = steady[-1] + np.linspace(5, 50, workers - 1)
    moments = [*start, *steady, *end]
    assert batch.steady_rate(moments, workers) == pytest.approx(workers)


def test_a_large_picture_is_written_in_tiles(tmp_path):
    memory.write_large(tmp_path / "a.tif", 1300, 700)
    with open_regions(tmp_path / "a.tif") as found:
        assert found.shape == (700, 1300, 1)
        assert found.encoding.big
        assert found.encoding.tile == (512, 512)
        values = found.read(slice(0, 700), slice(0, 1300))
    assert 10 < values.std() < 30
