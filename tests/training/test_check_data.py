"""Deliberate faults in data are found and named."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from training import check_data
from training.data.tasks import find_task


def scene(rng, size=(96, 128)):
    """Rectangles of random brightness: edges everywhere."""
    image = np.full(size, 128, np.uint8)
    for _ in range(40):
        top, left = rng.integers(0, size[0] - 8), rng.integers(0, size[1] - 8)
        height, width = rng.integers(6, 30, 2)
        image[top : top + height, left : left + width] = rng.integers(10, 246)
    return image


@pytest.fixture
def pairs(tmp_path, rng):
    for name in ("depth", "rgb"):
        (tmp_path / name).mkdir()
    for i in range(4):
        map_ = scene(rng)
        cv2.imwrite(str(tmp_path / "depth" / f"{i}.png"), map_)
        cv2.imwrite(str(tmp_path / "rgb" / f"{i}.png"), np.dstack([255 - map_] * 3))
    return tmp_path


def lines(capsys, label):
    out = capsys.readouterr().out
    return [line for line in out.splitlines() if line.startswith(label)]


def test_good_pairs_have_no_fault_and_get_a_sheet(pairs, capsys):
    sheet = pairs / "sheet.png"
    assert check_data.main([str(pairs), "--task", "depth", "--sheet", str(sheet)]) == 0
    out = capsys.readouterr().out
    assert "4 examples can be trained on, 0 faults, 0 to look at." in out
    assert "4 of 3 x 8 bit" in " ".join(out.split())
    assert cv2.imread(str(sheet)).std() > 10


def test_faults_are_named(pairs, capsys):
    depth, rgb = pairs / "depth", pairs / "rgb"
    (depth / "0.png").write_bytes((depth / "0.png").read_bytes()[:100])  # truncated
    cv2.imwrite(str(rgb / "1.png"), cv2.imread(str(rgb / "1.png"))[:-3])  # another size
    cv2.imwrite(str(depth / "2.png"), np.full((96, 128), 7, np.uint8))  # one value
    (rgb / "3.png").unlink()  # alone
    assert check_data.main([str(pairs), "--task", "depth"]) == 1
    faults = lines(capsys, "fault:")
    for word in ("0.png", "one size", "two different values", "1 alone, the first '3'"):
        assert sum(word in line for line in faults) == 1, word
    assert len(faults) == 4


def test_what_may_be_meant_so_is_only_pointed_at(pairs, rng, capsys):
    depth, rgb = pairs / "depth", pairs / "rgb"
    map_ = cv2.imread(str(depth / "0.png"), 0)
    map_[:60] = 0
    cv2.imwrite(str(depth / "0.png"), map_)  # holes
    cv2.imwrite(str(rgb / "1.png"), np.roll(cv2.imread(str(rgb / "1.png")), (7, -5), (0, 1)))
    cv2.imwrite(str(rgb / "2.png"), np.full((96, 128, 3), 255, np.uint8))  # white
    (depth / "4.png").write_bytes((depth / "3.png").read_bytes())  # the same twice
    (rgb / "4.png").write_bytes((rgb / "3.png").read_bytes())
    for name in (depth, rgb):
        cv2.imwrite(str(name / "5.png"), scene(rng)[:40])  # smaller than the crop
    assert check_data.main([str(pairs), "--task", "depth"]) == 0
    doubts = lines(capsys, "look at:")
    for words in (
        ("0.png", "% of the map is unknown"),
        ("1.png", "its partner seems shifted by"),
        ("2.png", "100 % of its values are white"),
        ("4.png", "the same file as 3.png"),
        ("5.png", "smaller than the crop of 64"),
    ):
        assert sum(all(word in line for word in words) for line in doubts) == 1, words


def test_missing_and_empty_folders_end_with_one_line(tmp_path, capsys):
    for folder in (tmp_path / "missing", tmp_path):
        assert check_data.main([str(folder)]) == 2
        assert capsys.readouterr().err.startswith("error: ")
    with pytest.raises(ValueError, match="mean 'denoise'"):
        find_task("denoisse")
