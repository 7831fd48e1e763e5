from __future__ import annotations

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import deepam_tf
from tests.training.test_train import NONE, TINY, settings
from training import train
from training.configuration.settings import replace
from training.data.tasks import Examples, find_task
from training.fit import portable, run, run_step
from training.fit.trainer import make_model, make_trainer

CONFIG = replace(
    TINY,
    {
        "model.filters": 4,
        "data.sigma": [0.0, 75.0],
        "data.weigh_levels": True,
        "optimizer.name": "muon",
        "optimizer.average": 0.9,
        "run.num_steps": 4,
    },
)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A run's first step as a program, and the folder and the examples of the run."""
    folder = tmp_path_factory.mktemp("portable")
    rng = np.random.default_rng(0)
    items = [rng.integers(0, 256, (24, 20 + i, 1)).astype(np.uint8) for i in range(3)]
    examples = Examples(["a", "b", "c"], items)
    run.train(CONFIG, examples, NONE, folder / "run", export=folder / "step", verbose=0)
    return folder, examples


def run_program(folder, environment, *arguments):
    """The copied script in a process of its own, from anywhere."""
    command = [sys.executable, str(folder / "run_step.py"), str(folder), *arguments]
    return subprocess.run(
        command, cwd=folder.parent, env=environment, capture_output=True, text=True, check=False
    )


def compiled(examples):
    """The trainer of the run, and its step under TensorFlow's own XLA."""
    task = find_task("denoise")
    keras.utils.set_random_seed(CONFIG.run.seed)
    trainer = make_trainer(make_model(CONFIG, task), CONFIG, task)
    return trainer, portable.compiled_step(trainer, task.batcher(examples, CONFIG))


@pytest.fixture
def with_jax(tmp_path):
    """The environment of a process that finds JAX.

    It is installed for that alone: where it is, Keras imports it in every process.
    """
    folder = str(tmp_path / "jax")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder]
    done = subprocess.run([*command, "jax", "jaxlib"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"JAX cannot be installed: {done.stderr.strip().splitlines()[-1]}")
    return {**os.environ, "PYTHONPATH": folder}


@pytest.mark.slow
def test_steps_of_the_program_are_those_of_tensorflow_and_the_run_goes_on(exported, with_jax):
    folder, examples = exported
    trainer, step = compiled(examples)
    losses = [float(step()["loss"]) for _ in range(4)]
    assert len(set(losses)) == 4
    begun = run_step.load_arrays(folder / "step" / run_step.STATE)
    # Half of the steps, then the rest: the second time it goes on.
    first = run_program(folder / "step", with_jax, "--steps", "2", "--every", "1")
    assert first.returncode == 0, first.stderr
    assert "step 2 of 4" in run_program(folder / "step", with_jax, "--every", "1").stdout
    found = run_step.load_arrays(folder / "step" / run_step.STATE)
    assert found["optimizer_0"] == 4
    kernels = [name for name, x in portable.named_variables(trainer).items() if len(x.shape) == 4]
    kernels = [name for name in kernels if name.startswith("weight")]
    for name in kernels:  # they went further than the two may differ by
        moved, scale = np.abs(found[name] - begun[name]).max(), np.abs(found[name]).max()
        assert moved > 4e-3 * scale, name
    for name, variable in portable.named_variables(trainer).items():
        if name in found:
            scale = max(float(np.abs(variable).max()), 1e-3)
            np.testing.assert_allclose(found[name], variable, atol=2e-3 * scale, err_msg=name)
    assert f"{losses[0]:.4g}" in first.stdout

    model = run.train(
        CONFIG, examples, NONE, folder / "run", adopt=folder / "step", verbose=0
    )  # nothing is left to do but to take the mean of the weights
    record = json.loads((folder / "run" / "run.json").read_text())
    assert record[-1]["first_step"] == 4
    trainer.optimizer.finalize_variable_values(trainer.trainable_variables)
    means = [x for x in trainer.variables if x.path in {y.path for y in model.variables}]
    assert len(means) == len(model.variables)
    for expected in means:
        variable = next(x for x in model.variables if x.path == expected.path)
        scale = max(float(np.abs(expected).max()), 1e-3)
        np.testing.assert_allclose(variable, expected, atol=2e-3 * scale, err_msg=expected.path)
    assert (folder / "run" / "model.keras").exists()


@pytest.mark.slow
def test_a_step_is_not_written_over(exported, tmp_path):
    folder, examples = exported
    before = (folder / "step" / run_step.STATE).read_bytes()
    with pytest.raises(ValueError, match="folder of its own"):
        run.train(CONFIG, examples, NONE, tmp_path, export=folder / "step", verbose=0)
    assert (folder / "step" / run_step.STATE).read_bytes() == before


@pytest.mark.slow
def test_what_came_back_damaged_or_of_another_run_is_refused(exported, tmp_path):
    folder, examples = exported
    trainer, _ = compiled(examples)
    for path in (folder / "step").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    state = run_step.load_arrays(tmp_path / run_step.STATE)
    run_step.save_arrays(tmp_path / run_step.STATE, {**state, "weight_0": np.zeros([1, 2, 3])})
    with pytest.raises(ValueError, match="of another shape"):
        portable.adopt_state(trainer, tmp_path)
    bad = {name: np.full_like(x, np.nan) if x.dtype.kind == "f" else x for name, x in state.items()}
    run_step.save_arrays(tmp_path / run_step.STATE, bad)
    before = [np.array(x) for x in trainer.variables]
    with pytest.raises(ValueError, match="must be finite"):
        portable.adopt_state(trainer, tmp_path)
    for a, b in zip(before, trainer.variables, strict=True):
        np.testing.assert_array_equal(a, b)
    (tmp_path / run_step.STATE).write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"state\.npz: damaged"):
        portable.adopt_state(trainer, tmp_path)


@pytest.mark.slow
def test_a_state_no_further_than_the_run_is_refused(exported, tmp_path):
    folder, examples = exported
    state = run_step.load_arrays(folder / "step" / run_step.STATE)
    for step in (0, 3):  # 3 is within an epoch
        run_step.save_arrays(
            tmp_path / run_step.STATE,
            {**state, "optimizer_0": np.array(step, state["optimizer_0"].dtype)},
        )
        with pytest.raises(ValueError, match="end of an epoch"):
            run.train(CONFIG, examples, NONE, tmp_path / "run", adopt=tmp_path, verbose=0)
        assert not list((tmp_path / "run").glob("checkpoints/*"))


def test_what_has_no_such_form_is_refused(folder, tmp_path, capsys):
    arguments = ["--data", str(folder), "--out", str(tmp_path / "run")]
    arguments += ["--export", str(tmp_path / "step")]
    noisy = settings(**{"data.supervision": "noisy", "data.sigma": 25, "run.loss": "l2"})
    assert train.main(["--config", "denoise_s25_k1_fast", *noisy, *arguments]) == 2
    assert "Received: data.task='denoise', data.supervision='noisy'" in capsys.readouterr().err
    assert train.main([*settings(), *arguments, "--strategy", "mirrored"]) == 2
    assert "Leave --strategy out" in capsys.readouterr().err
    assert not (tmp_path / "step").exists()


def test_a_folder_without_a_step_is_an_error_of_one_line(tmp_path, capsys):
    assert run_step.main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("guided", [False, True])
def test_batches_one_by_one_are_those_of_the_pipeline(rng, guided):
    images = [rng.integers(0, 256, (20, 17 + i, 3)).astype(np.uint8) for i in range(4)]
    values = {"noise_stddev": (0.0, 0.3), "crop_size": 12, "weigh_levels": True, "seed": 5}
    values |= {"batch_size": 3}
    if guided:
        values |= {"guides": [image[..., :1] for image in images], "vary_pairs": True}
    batches = deepam_tf.data.denoising_crops(images, first_batch=2, **values)
    found = deepam_tf.data.denoising_batcher(images, **values)(tf.constant(2, tf.int64))
    tf.nest.map_structure(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        found,
        next(iter(batches)),
    )


@pytest.mark.slow
def test_pairs_have_a_step_that_xla_compiles(rng, tmp_path):
    values = {"data.task": "nir", "data.vary_pairs": True, "data.vary_colors": True}
    values |= {"data.image_channels": 3, "model.depth": 6}
    colors = [rng.integers(0, 256, (24, 20 + i, 3)).astype(np.uint8) for i in range(3)]
    examples = Examples(["a", "b", "c"], [(color, color[..., :1]) for color in colors])
    step = tmp_path / "step"
    run.train(replace(CONFIG, values), examples, NONE, tmp_path / "run", export=step, verbose=0)
    assert (step / run_step.PROGRAM).stat().st_size > 0
