"""The Python of the README and of the docs runs as it stands."""

from __future__ import annotations

import pathlib
import re

import cv2
import numpy as np
import pytest

import deepam_tf

ROOT = pathlib.Path(__file__).parent.parent
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
}


def blocks(page):
    return re.findall(r"```python\n(.*?)```", PAGES[page], re.DOTALL)


README = PAGES["README.md"]
BLOCKS = blocks("README.md")


def test_there_are_examples():
    assert len(BLOCKS) == 3


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(number, marks=[pytest.mark.slow] if "model.fit" in block else [])
        for number, block in enumerate(BLOCKS)
    ],
)
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


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if page != "README.md" and blocks(page)])
def test_examples_of_the_docs_run(page, tmp_path, monkeypatch, rng):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("photos").mkdir()
    for path in ("noisy.png", "photos/a.png"):
        cv2.imwrite(path, rng.integers(0, 256, (64, 64), dtype=np.uint8))
    names = {
        name: rng.uniform(size=(1, 24, 20, 3)).astype(np.float32)
        for name in ("noisy", "source", "target")
    }
    names["mask"] = np.zeros((1, 24, 20, 1), np.float32)
    names["mask"][:, 8:16, 5:15] = 1.0
    for block in blocks(page):
        exec(block, names)
    if "cloned" in names:
        outside = np.abs(names["cloned"] - names["target"])[:, :4]
        assert outside.max() < 0.01
        inside = deepam_tf.image_gradient(names["cloned"] - names["source"])[:, 10:13, 8:12]
        assert np.abs(inside).max() < 0.1  # of 1: the borders disagree by as much


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    folder = (ROOT / page).parent
    for link in re.findall(r"\]\((?!http)([^)#]+)[^)]*\)", PAGES[page]):
        assert (folder / link).exists(), link


def test_long_example_has_the_promised_length():
    fit = next(block for block in BLOCKS if "model.fit" in block)
    assert len(fit.strip().splitlines()) <= 22
