"""What is left of the noise of a depth camera."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import depth_noise
from deepam_tf.files import pictures as image_io
from training.make_scenes import draw_scene


def test_the_camera_is_as_noisy_as_told():
    wall = np.zeros([120, 120], np.float32)
    noisy, valid, stddev = depth_noise.sense(wall, np.ones_like(wall, bool), 3.0, seed=0)
    assert noisy[valid].std() == pytest.approx(stddev[valid].mean(), rel=0.2)


@pytest.mark.slow
def test_the_command_measures_every_way_and_draws(tmp_path, capsys):
    depth, guide = draw_scene(np.random.default_rng(3), (64, 80))
    for name, pixels in (("depth", depth[..., np.newaxis] / 255), ("rgb", guide)):
        (tmp_path / name).mkdir()
        picture = image_io.Picture(pixels.astype(np.float32), None, np.dtype("uint16"))
        image_io.write(tmp_path / name / "a.png", picture)
    order = ["--data", str(tmp_path), "--strengths", "3", "--crop", "48", "64"]
    assert depth_noise.main([*order, "--picture", str(tmp_path / "out.png")]) == 0
    out = capsys.readouterr().out
    for way in ("measured", "median 5x5", "bilateral, 3 sigma", "denoise_depth, then x4"):
        assert way in out
    assert image_io.read(tmp_path / "out.png").pixels.shape == (400, 720, 3)
    assert depth_noise.main(["--data", str(tmp_path / "nowhere")]) == 2
