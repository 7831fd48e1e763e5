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
print(json.dumps(streaming.stream(shards, config, 160)))
"""


@pytest.mark.slow
def test_memory_is_that_of_the_buffer_and_not_of_the_data(tmp_path):
    found = json.loads(helpers.run_python(CODE, str(tmp_path)))
    # All of it once through. What is above the buffer is the same for one of any size: batches
    # that wait, and what the allocator keeps.
    assert found["decoded_megabytes"] > 140
    assert 0 <= found["memory_megabytes"] < 60
