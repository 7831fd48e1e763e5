"""What the page does with files, without a page: the same as the command."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from deepam_tf import cli
from deepam_tf.app import examples, jobs


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return examples.write_examples(tmp_path_factory.mktemp("examples"))


def small(path, tmp_path, size=40):
    """The top left of an example, so that a test does not take long."""
    image = cv2.imread(path, cv2.IMREAD_UNCHANGED)[:size, :size]
    out = tmp_path / path.rsplit("/", 1)[1]
    cv2.imwrite(str(out), image)
    return out


@pytest.mark.slow
def test_a_picture_is_what_the_command_writes(files, tmp_path):
    source = small(files["denoise"][1][0], tmp_path)
    steps = []
    outcome = jobs.denoise(source, tmp_path, on_progress=lambda *step: steps.append(step))
    assert cli.main(["denoise", str(source), str(tmp_path / "command.png")]) == 0
    assert outcome.file.read_bytes() == (tmp_path / "command.png").read_bytes()
    assert steps == [(0, 1), (1, 1)]
    assert "noise estimated" in outcome.notes[0]
    for path in (outcome.before, outcome.after):
        assert cv2.imread(str(path), cv2.IMREAD_UNCHANGED).shape == (40, 40, 3)


@pytest.mark.slow
def test_doubt_is_what_the_command_draws_and_changes_nothing(tmp_path, rng):
    source, out = tmp_path / "gray.png", tmp_path / "command.png"
    cv2.imwrite(str(source), np.uint8(np.clip(128 + 20 * rng.normal(size=(40, 48)), 0, 255)))
    outcome = jobs.denoise(source, tmp_path, uncertainty=True)
    told = tmp_path / "told.png"
    assert cli.main(["denoise", str(source), str(out), "--uncertainty", str(told)]) == 0
    assert outcome.file.read_bytes() == out.read_bytes()
    assert outcome.doubt is not None
    assert outcome.doubt.read_bytes() == (tmp_path / "told_preview.png").read_bytes()


def test_doubt_that_is_not_known_is_a_note(tmp_path, rng):
    source = tmp_path / "gray.png"
    cv2.imwrite(str(source), np.uint8(np.clip(128 + 20 * rng.normal(size=(40, 48)), 0, 255)))
    outcome = jobs.denoise(source, tmp_path, uncertainty=True, strength=0.5)
    assert outcome.doubt is None
    assert any("how sure it is cannot be shown" in note for note in outcome.notes)


@pytest.mark.slow
def test_a_pair_is_what_the_command_writes(files, tmp_path):
    dark, infrared = (small(path, tmp_path) for path in files["fuse"][0])
    outcome = jobs.fuse(dark, infrared, tmp_path, sigma=40)
    out = tmp_path / "command.png"
    assert cli.main(["fuse", str(dark), str(infrared), str(out), "--sigma", "40"]) == 0
    assert outcome.file.read_bytes() == out.read_bytes()


@pytest.mark.slow
def test_a_depth_map_is_what_the_command_writes(files, tmp_path):
    coarse, color = files["upsample"][0]
    outcome = jobs.upsample(*map(type(tmp_path), (coarse, color)), tmp_path)
    assert cli.main(["upsample", coarse, color, str(tmp_path / "command.png")]) == 0
    assert outcome.file.read_bytes() == (tmp_path / "command.png").read_bytes()
    depth = cv2.imread(str(outcome.file), cv2.IMREAD_UNCHANGED)
    _, truth = examples.drawn_scene()
    assert depth.dtype == np.uint16
    nearest = np.kron(cv2.imread(coarse, cv2.IMREAD_UNCHANGED), np.ones([8, 8]))
    assert np.abs(depth - truth).mean() < 0.6 * np.abs(nearest - truth).mean()


@pytest.mark.slow
def test_strength_is_told_to_the_network(files, tmp_path):
    source = small(files["denoise"][0][0], tmp_path)
    (tmp_path / "half").mkdir()
    half = jobs.denoise(source, tmp_path / "half", strength=0.5, sigma=25)
    assert "the network is told 0.5 times as much" in half.notes
    out = tmp_path / "command.png"
    assert cli.main(["denoise", str(source), str(out), "--sigma", "12.5"]) == 0
    assert half.file.read_bytes() == out.read_bytes()


def test_an_exception_of_progress_ends_the_work_and_writes_nothing(files, tmp_path):
    def stop(done, total):
        raise KeyboardInterrupt

    source = small(files["denoise"][0][0], tmp_path)
    with pytest.raises(KeyboardInterrupt):
        jobs.denoise(source, tmp_path, on_progress=stop)
    assert [path.name for path in tmp_path.iterdir()] == [source.name]


def test_drawn_scene_has_edges_where_depth_has_them():
    colors, depth = examples.drawn_scene(64)
    assert colors.min() >= 0
    assert colors.max() <= 1
    jumps = np.abs(np.diff(depth, axis=1)) > 150
    assert jumps.any()
    assert np.abs(np.diff(colors, axis=1)).max(axis=-1)[jumps].mean() > 0.1
