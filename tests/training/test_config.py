"""Configurations are typed, round-trip through their file, and do not forgive slips."""

from __future__ import annotations

import dataclasses

import pytest

from training import train
from training.configuration.config import TrainingConfig, flat
from training.configuration.recipes import RECIPES, find_recipe
from training.configuration.settings import read_toml, read_values, replace, to_toml
from training.data.tasks import TASKS
from training.fit.optimizers import learning_rate


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_survives_its_file(tmp_path, name):
    config = RECIPES[name]
    assert config.data.task in TASKS
    (tmp_path / "config.toml").write_text(to_toml(config))
    base, values = read_toml(tmp_path / "config.toml")
    assert base is None
    assert replace(TrainingConfig(), values) == config


def test_the_paper_sees_two_million_patches_for_every_task():
    names = [f"denoise_s{s}_k{k}" for s in (15, 25, 50) for k in (1, 2, 3)]
    names += [f"depth_x{s}" for s in (4, 8, 16)] + [f"nir_s{s}" for s in (25, 50)]
    for name in names:
        paper, fast = RECIPES[f"{name}_paper"], RECIPES[f"{name}_fast"]
        assert paper.run.num_steps * paper.data.batch_size == 20 * 100_000
        assert paper.data.crop_size == 32
        assert dataclasses.astuple(paper.optimizer)[2:4] == (0.9, 5e-4)
        assert paper.run.iterate_loss_weight == 0
        # The two differ in how they train, not in what.
        assert paper.model == fast.model
        assert fast.optimizer.name == "muon"
        assert fast.data.crop_size == (96 if name.startswith("depth") else 64)
        assert fast.run.dtype == "mixed_bfloat16"


def test_values_are_read_as_toml_and_checked():
    config = replace(
        TrainingConfig(),
        read_values(
            [
                "optimizer.learning_rate=3e-4",
                "run.num_steps = 500",
                "data.sigma=[0, 75]",
                "optimizer.name=adam",
                "model.residual=true",
                "data.scale=[4, 8, 16]",
            ]
        ),
    )
    assert config.optimizer.learning_rate == 3e-4
    assert config.data.sigma == (0.0, 75.0)
    assert config.optimizer.name == "adam"
    assert config.model.residual is True
    assert config.data.scale == (4, 8, 16)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("optimizer.learning_rat=1", "mean 'optimizer.learning_rate'"),
        ("learning_rate=1", "mean 'optimizer.learning_rate'"),
        ("optimizer.seed=1", "mean 'run.seed'"),
        ("zzz=1", "Its values: model.num_iterations"),
        ("optimizer.name=adamm", "one of muon, adam, sgd. Received: 'adamm'. Did you mean 'adam'"),
        ("run.num_steps=1.5", "must be int. Received: 1.5"),
        ("run.num_steps=true", "must be int. Received: True"),
        ("model.residual=1", "must be bool"),
        ("data.sigma=[1, 2, 3]", r"must be float \| tuple\[float, float\]"),
        ("data.sigma=loud", "Received: 'loud'"),
        ("optimizer.learning_rate=-1", "not negative"),
        ("optimizer.learning_rate=nan", "finite"),
        ("data.batch_size=0", "positive"),
        ("run.num_steps=501", "multiple of `run.steps_per_epoch`. Received"),
        ("run.num_steps", "NAME=VALUE. Received"),
    ],
)
def test_slips_are_errors_that_help(setting, message):
    with pytest.raises(ValueError, match=message):
        replace(TrainingConfig(), read_values([setting]))


def test_a_file_of_ones_own_starts_from_a_recipe(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text('base = "nir_s50_fast"\n[optimizer]\nlearning_rate = 1e-3\n')
    config = find_recipe(str(path))
    assert config == replace(RECIPES["nir_s50_fast"], {"optimizer.learning_rate": 1e-3})
    for text, message in {
        "learning_rate = 1": "stand in tables such as .optimizer.",
        "[optimiser]\nlearning_rate = 1": "mean 'optimizer.learning_rate'",
        'base = "nir_s5_fast"': "mean 'nir_s50_fast'",
        "[optimizer": "cannot|can be read",
    }.items():
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            find_recipe(str(path))
    with pytest.raises(ValueError, match="can be read"):
        find_recipe(str(tmp_path / "missing.toml"))


def test_the_command_shows_the_resolved_configuration(tmp_path, capsys):
    options = ["--config", "denoise_gray", "--set", "run.seed=7", "--show"]
    assert train.main(options) == 0
    (tmp_path / "shown.toml").write_text(capsys.readouterr().out)
    assert find_recipe(str(tmp_path / "shown.toml")) == replace(
        RECIPES["denoise_gray"], {"run.seed": 7}
    )
    assert train.main(["--list"]) == 0
    assert capsys.readouterr().out.split() == list(RECIPES)
    assert train.main(["--config", "denoise_grey", "--show"]) == 2
    assert "Did you mean 'denoise_gray'?" in capsys.readouterr().err


def test_groups_and_values_are_documented():
    for group in dataclasses.fields(TrainingConfig):
        kind = type(getattr(TrainingConfig(), group.name))
        for field in dataclasses.fields(kind):
            assert f"{field.name}: " in (kind.__doc__ or ""), f"{group.name}.{field.name}"
    assert len(flat(TrainingConfig())) == len(set(flat(TrainingConfig())))


@pytest.mark.parametrize("name", ["cosine", "exponential", "constant"])
def test_schedules_rise_to_the_peak_and_end_where_they_say(name):
    changes = {
        "schedule.name": name,
        "schedule.warmup_steps": 10,
        "schedule.final_fraction": 0.01,
        "optimizer.learning_rate": 0.5,
        "run.num_steps": 100,
        "run.steps_per_epoch": 10,
    }
    rate = learning_rate(replace(TrainingConfig(), changes))
    assert float(rate(0)) == 0.0
    assert float(rate(5)) == pytest.approx(0.25)
    assert float(rate(10)) == pytest.approx(0.5)
    assert float(rate(100)) == pytest.approx(0.5 if name == "constant" else 0.005, rel=1e-3)
    rates = [float(rate(step)) for step in range(10, 100)]
    assert rates == sorted(rates, reverse=True)


@pytest.mark.parametrize(
    ("name", "value", "received"),
    [
        ("data.sigma", (75, 0), r"smaller first. Received: \[75.0, 0.0\]"),
        ("data.sigma", 2550, "at most 255.*Received: 2550.0"),
        ("data.validation_sigma", 256, "at most 255.*Received: 256"),
        ("data.image_channels", 2, r"1 \(gray\) or 3 \(colour\). Received: 2"),
        ("data.scale", (4, 0), "positive and finite. Received"),
        ("data.validation_scale", 0, "positive and finite. Received"),
    ],
)
def test_values_that_mean_nothing_are_refused(name, value, received):
    with pytest.raises(ValueError, match=received):
        replace(TrainingConfig(), {name: value})
