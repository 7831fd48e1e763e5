"""The Python of the README runs as it stands."""

from __future__ import annotations

import pathlib
import re

import cv2
import numpy as np
import pytest

README = (pathlib.Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_there_are_examples():
    assert len(BLOCKS) == 3


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_example_runs(number, tmp_path, monkeypatch, rng):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("photos").mkdir()
    image = rng.integers(0, 256, (64, 64), dtype=np.uint8)
    for path in ("noisy.png", "photos/a.png"):
        cv2.imwrite(path, image)
    names: dict = {"STEPS": 1, "EPOCHS": 1}
    exec(BLOCKS[number], names)
    for result in ("restored", "filled"):
        if result in names:
            assert np.all(np.isfinite(names[result]))


def test_links_lead_somewhere():
    for link in re.findall(r"\]\((?!http)([^)]+)\)", README):
        assert (pathlib.Path(__file__).parent.parent / link).exists(), link


def test_long_example_has_the_promised_length():
    fit = next(block for block in BLOCKS if "model.fit" in block)
    assert len(fit.strip().splitlines()) <= 22
