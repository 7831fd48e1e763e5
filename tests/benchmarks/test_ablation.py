"""Variants are compared at about the same cost, on what is held out of their training."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import ablation
from benchmarks.denoising_cost import convolution_cost
from deepam_tf import image_io
from training.configuration.recipes import find_recipe
from training.configuration.settings import replace
from training.data.tasks import find_task
from training.fit.trainer import make_model


def test_the_most_detailed_part_is_found(rng):
    image = np.zeros([100, 140])
    image[64:96, 32:64] = rng.uniform(size=(32, 32))
    np.testing.assert_array_equal(ablation.most_detailed(image, 32), image[64:96, 32:64])
    assert ablation.most_detailed(image, 200).shape == (100, 100)


@pytest.mark.slow
@pytest.mark.parametrize("task", ablation.VARIANTS)
def test_variants_cost_about_the_same(task):
    base = replace(find_recipe({"gray": "denoise_gray", "depth": "upsample_depth"}[task]), {})
    one_level, *others = (
        convolution_cost(
            make_model(
                replace(base, {"model.num_iterations": 1, "model.filters": 48, **values}),
                find_task(base.data.task),
            )
        )
        for values in ablation.VARIANTS[task].values()
    )
    assert all(0.9 < cost / one_level < 1.1 for cost in others)


@pytest.mark.slow
def test_the_command_trains_and_judges_each_variant(tmp_path, capsys, rng):
    for folder in ("clean", "photos", "test"):
        (tmp_path / folder).mkdir()
        for name in ("a.png", "b.png"):
            pixels = rng.uniform(size=(48, 56, 1)).astype(np.float32)
            picture = image_io.Picture(pixels, None, np.dtype("uint8"))
            image_io.write(tmp_path / folder / name, picture)
    folders = ["--data", tmp_path / "clean", "--photos", tmp_path / "photos", "--bsd68"]
    short = ["run.num_steps=2", "run.steps_per_epoch=2", "schedule.warmup_steps=0"]
    short += ["data.batch_size=1", "data.crop_size=32", "model.filters=4"]
    settings = [part for value in short for part in ("--set", value)]
    order = ["gray", *folders, tmp_path / "test", "--out", tmp_path / "runs", *settings]
    arguments = [str(x) for x in [*order, "--seeds", "0", "--only", "edge weights"]]
    assert ablation.main(arguments) == 0
    first = capsys.readouterr().out
    assert (tmp_path / "runs" / "gray" / "edge_weights_0" / "model.keras").exists()
    assert ablation.main(arguments) == 0  # nothing is trained again
    assert capsys.readouterr().out.splitlines()[-4:] == first.splitlines()[-4:]


def test_a_folder_that_is_not_there_is_an_error_of_the_command(tmp_path, capsys):
    arguments = ["depth", "--data", str(tmp_path / "none")]
    assert ablation.main(arguments) == 2
    assert str(tmp_path / "none") in capsys.readouterr().err
