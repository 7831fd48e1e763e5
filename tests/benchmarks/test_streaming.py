"""Streaming takes the memory of its buffer, whatever the size of the data."""

from __future__ import annotations

import json

import pytest

from tests import helpers

CODE = """
import json, pathlib, sys
from benchmarks import streaming
from training.configuration.recipes import find_recipe
from training.configuration.settings import replace

config = replace(find_recipe("denoise_s25_k1_fast"), {"data.stream_megabytes": 8})
shards = streaming.make_data(pathlib.Path(sys.argv[1]), 0.1, config)
print(json.dumps(streaming.stream(shards, config, 260)))
"""


@pytest.mark.slow
def test_memory_is_that_of_the_buffer_and_not_of_the_data(tmp_path):
    found = json.loads(helpers.run_python(CODE, str(tmp_path)))
    # 100 MB on the disk, twice through; what is above the buffer is the allocator's.
    assert found["data_megabytes"] > 90
    assert found["decoded_megabytes"] > 90
    assert 0 < found["memory_megabytes"] < 30
