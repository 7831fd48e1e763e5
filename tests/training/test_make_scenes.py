"""Drawn scenes: what training reads, edges of depth and picture in the same places."""

from __future__ import annotations

import numpy as np
import pytest

from deepam_tf import data
from training import make_scenes


def test_a_scene_depends_on_its_seed_alone(tmp_path, capsys):
    folders = [tmp_path / name for name in ("one", "more")]
    for folder, count in zip(folders, ("1", "2"), strict=True):
        command = [str(folder), "--count", count, "--size", "30", "40", "--seed", "3"]
        assert make_scenes.main(command) == 0
    assert "2 scenes of 30x40 pixels" in capsys.readouterr().out
    one, more = (
        data.read_pairs(folder, target="depth", guide="rgb", target_channels=1, guide_channels=3)
        for folder in folders
    )
    assert (len(one), len(more)) == (1, 2)
    np.testing.assert_array_equal(one[0].target, more[0].target)
    np.testing.assert_array_equal(one[0].guide, more[0].guide)
    assert one[0].target.dtype == np.uint16
    assert one[0].target.min() > 0  # no holes
    assert np.any(more[0].target != more[1].target)


def test_surfaces_are_planes_and_most_edges_of_depth_show_in_the_picture():
    depth, picture = make_scenes.draw_scene(np.random.default_rng(0), (120, 160))
    step = np.abs(np.diff(depth, axis=1))
    edges = step > 2
    assert 0.005 < edges.mean() < 0.2
    bend = np.abs(np.diff(depth, n=2, axis=1))
    assert np.mean(bend < 1e-3) > 0.7  # of a plane: none
    change = np.abs(np.diff(picture, axis=1)).sum(axis=-1)
    assert change[edges].mean() > 3 * change[~edges].mean()


def test_what_is_there_is_not_touched(tmp_path, capsys):
    (tmp_path / "depth").mkdir()
    assert make_scenes.main([str(tmp_path), "--count", "1"]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    with pytest.raises(SystemExit):
        make_scenes.main([str(tmp_path / "new"), "--count", "0"])
    assert not (tmp_path / "new").exists()
