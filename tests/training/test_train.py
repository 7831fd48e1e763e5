from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing import event_accumulator

import deepam_tf
from deepam_tf import data as train_data
from training import train
from training.configuration import run_folder
from training.configuration.config import TrainingConfig
from training.configuration.settings import replace
from training.data.tasks import Examples, find_task, task_of
from training.fit import distributed, run
from training.fit.trainer import make_model, make_trainer

TINY = replace(
    TrainingConfig(),
    {
        "model.num_iterations": 1,
        "model.filters": 16,
        "model.depth": 3,
        "optimizer.name": "adam",
        "run.num_steps": 6,
        "run.steps_per_epoch": 2,
        "run.dtype": "float32",
        "run.jit_compile_solves": False,  # compiling takes longer than six steps
        "data.crop_size": 16,
        "data.batch_size": 2,
        "monitor.pictures_every": 0,
    },
)
NONE = Examples([], [])


def settings(**changes):
    """Options of the command for a run as small as `TINY`."""
    changes |= {"monitor.pictures_every": 0}
    values = {"model.num_iterations": 1, "model.filters": 16, "model.depth": 3}
    values |= {"data.crop_size": 16, "data.batch_size": 1, "optimizer.name": "adam", **changes}
    return [x for name, value in values.items() for x in ("--set", f"{name}={value}")]


def test_run_writes_model_checkpoints_and_scalars(tmp_path, images):
    model = run.train(TINY, images, images.pick([0]), tmp_path / "run", verbose=0)
    loaded = keras.saving.load_model(tmp_path / "run" / "model.keras", compile=False)
    for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    tags = set()
    for split in ("train", "validation"):
        events = event_accumulator.EventAccumulator(str(tmp_path / "run" / "logs" / split))
        events.Reload()
        tags |= {f"{split}/{tag}" for tag in events.Tags()["tensors"]}
    for tag in ("loss", "restored_psnr", "learning_rate", "gradient_norm", "pixels_per_second"):
        assert f"train/epoch_{tag}" in tags
    assert "validation/epoch_restored_psnr" in tags
    assert "validation/epoch_gradient_norm" not in tags


@pytest.mark.slow
def test_model_for_every_noise_level_trains_and_goes_on(tmp_path, images):
    changes = {"data.sigma": (0.0, 75.0), "model.pixel_unshuffle": 2, "model.residual": True}
    config = replace(TINY, changes)
    run.train(config, images, images.pick([0]), tmp_path / "run", verbose=0)
    longer = replace(config, {"run.num_steps": 8})
    model = run.train(longer, images, images.pick([0]), tmp_path / "run", verbose=0)
    assert model.noise_level
    loaded = keras.saving.load_model(tmp_path / "run" / "model.keras", compile=False)
    x = {"image": tf.ones([1, 6, 6, 1]), "noise_stddev": tf.fill([1, 1, 1, 1], 0.1)}
    np.testing.assert_array_equal(loaded(x)["restored"], model(x)["restored"])


@pytest.mark.slow
def test_what_is_new_may_learn_alone(tmp_path, images):
    """What the model to start from has stays as it is to the last bit, after two starts too."""
    grown = {"model.depth": 8, "model.levels": 2, "model.edge_weights": True}
    alone = {"run.learns": "new", "run.statistics": "moving", "run.steps_per_epoch": 3}
    config = replace(TINY, {**grown, **alone, "run.num_steps": 3})
    source = deepam_tf.DeepAM(1, filters=16, depth=8)
    for longer in (config, replace(config, {"run.num_steps": 6})):
        model = run.train(longer, images, NONE, tmp_path / "run", initial_model=source, verbose=0)
    kept = {variable.path: variable for variable in source.variables}
    for variable in model.variables:
        if variable.path in kept:
            np.testing.assert_array_equal(variable, kept[variable.path])
    first = make_model(config, find_task(config.data.task))
    new = [x for x in first.variables if x.path not in kept and "moving" not in x.path]
    after = {variable.path: variable for variable in model.variables}
    assert len(new) == len(model.trainable_variables) == 5 * 3 + 1 + 2
    assert np.any(after["iteration_1_aggregation/coarse/up/kernel"])
    # New normalisations have no statistics to keep: they take those of the crops.
    statistics = [x for x in first.variables if x.path not in kept and "moving" in x.path]
    assert len(statistics) == 5 * 2
    for before in statistics:
        assert np.any(after[before.path] != np.array(before)), before.path
    # The file is a model like any other: all of it learns.
    saved = keras.saving.load_model(tmp_path / "run" / "model.keras", compile=False)
    assert len(saved.trainable_variables) == len(source.trainable_variables) + len(new)


def test_nothing_new_cannot_learn_alone(tmp_path, images):
    config = replace(TINY, {"run.learns": "new", "run.statistics": "moving"})
    for source in (None, deepam_tf.DeepAM(1, filters=16, depth=3)):
        with pytest.raises(ValueError, match=r"fewer.*Received: run.learns=new"):
            run.train(config, images, NONE, tmp_path / "run", initial_model=source, verbose=0)
    with pytest.raises(ValueError, match=r"keep the statistics.*Received: run.learns=new"):
        replace(TINY, {"run.learns": "new"})


class _StopAfter(keras.callbacks.Callback):
    def __init__(self, batches):
        super().__init__()
        self.batches = batches

    def on_train_batch_end(self, batch, logs=None):
        self.batches -= 1
        if self.batches == 0:
            raise KeyboardInterrupt


@pytest.mark.slow
def test_killed_and_resumed_equals_uninterrupted(tmp_path, images, monkeypatch):
    changes = {"optimizer.name": "muon", "optimizer.average": 0.9}
    config = replace(TINY, {"model.num_iterations": 2, **changes})
    whole = run.train(config, images, NONE, tmp_path / "whole", verbose=0)

    fit = keras.Model.fit
    monkeypatch.setattr(
        keras.Model,
        "fit",
        lambda self, *a, callbacks, **k: fit(self, *a, callbacks=[*callbacks, _StopAfter(5)], **k),
    )
    with pytest.raises(KeyboardInterrupt):
        run.train(config, images, NONE, tmp_path / "parts", verbose=0)
    monkeypatch.setattr(keras.Model, "fit", fit)
    resumed = run.train(config, images, NONE, tmp_path / "parts", verbose=0)

    for a, b in zip(whole.variables, resumed.variables, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6, err_msg=a.path)


@pytest.mark.slow
def test_a_run_can_end_with_the_mean_of_its_weights(tmp_path, images):
    def weights(num_steps, average):
        changes = {"run.num_steps": num_steps, "run.steps_per_epoch": 1}
        changes |= {"schedule.name": "constant", "optimizer.average": average}
        changes |= {"schedule.warmup_steps": 0, "run.statistics": "moving"}
        out = tmp_path / f"{num_steps} {average}"
        model = run.train(replace(TINY, changes), images, images.pick([0]), out, verbose=0)
        return model.get_weights()

    after = [weights(n, 0.0) for n in (1, 2, 3)]
    for w1, w2, w3, mean in zip(*after, weights(3, 0.75), strict=True):
        expected = 0.75 * (0.75 * w1 + 0.25 * w2) + 0.25 * w3
        np.testing.assert_allclose(mean, expected, rtol=1e-4, atol=1e-6)
        assert w1.ndim < 4 or np.abs(w3 - w1).max() > 1e-4


@pytest.mark.slow
def test_intermediate_results_carry_a_loss(images):
    config, task = replace(TINY, {"model.num_iterations": 3}), find_task("denoise")
    trainer = make_trainer(make_model(config, task), config, task)
    x = tf.random.uniform([2, 16, 16, 1])
    logs = trainer.evaluate(
        {"image": x}, dict.fromkeys(trainer.output, x), verbose=0, return_dict=True
    )
    weights = {"restored_loss": 1.0, "u_1_loss": 0.2, "u_2_loss": 0.2}
    assert logs["loss"] == pytest.approx(sum(w * logs[n] for n, w in weights.items()), rel=1e-5)


@pytest.mark.parametrize(
    ("loss", "error", "expected"),
    [
        ("l1", -0.5, 0.5),
        ("huber", 0.5, 0.5 - 0.02 / 2),
        ("huber", 0.01, 0.01**2 / (2 * 0.02)),
        ("cauchy", 0.02, 0.02 * np.log(2)),
        ("cauchy", -0.5, 0.02 * np.log1p(25.0**2)),
    ],
)
def test_losses(loss, error, expected):
    changes = {"run.loss": loss, "run.loss_scale": 0.02, "model.num_iterations": 2}
    config, task = replace(TINY, changes), find_task("denoise")
    trainer = make_trainer(make_model(config, task), config, task)
    outputs = {name: tf.zeros([2, 4, 4, 1]) for name in ("restored", "u_1")}
    # Unknown pixels do not count, whatever is there.
    known = tf.constant([[[1.0, 1.0, 0.0, 1.0]] * 4] * 2)
    target = {n: error * known[..., None] + 9 * (1 - known[..., None]) for n in outputs}
    value = float(trainer.compute_loss(None, target, outputs, dict.fromkeys(outputs, known)))
    total = 1 + config.run.iterate_loss_weight
    assert value == pytest.approx(0.75 * total * expected, rel=1e-5)


@pytest.mark.slow
def test_command_survives_kill_and_goes_on(tmp_path, folder):
    command = [
        sys.executable, "-m", "training.train", "--data", str(folder), "--out",
        str(tmp_path / "run"),
        # Long enough that it cannot end between two looks at its checkpoints.
        *settings(**{"run.num_steps": 100, "run.steps_per_epoch": 2}),
    ]  # fmt: skip
    checkpoints = tmp_path / "run" / "checkpoints"
    deadline = time.monotonic() + 300
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            while len(list(checkpoints.glob("ckpt-*.index"))) < 2:
                assert process.poll() is None, f"ended with {process.returncode}"
                assert time.monotonic() < deadline
                time.sleep(0.2)
        finally:
            os.kill(process.pid, signal.SIGKILL)
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "Epoch 1/50" not in done.stdout
    assert "Epoch 50/50" in done.stdout
    assert (tmp_path / "run" / "model.keras").exists()


def test_bad_folders_end_with_one_line(tmp_path, folder, capsys):
    options = ["--out", str(tmp_path / "run")]
    assert train.main(["--data", str(tmp_path / "missing"), *options]) == 2
    assert "existing folder" in capsys.readouterr().err
    assert train.main(["--data", str(folder), *options, "--set", "data.crop_size=4096"]) == 2
    out, err = capsys.readouterr()
    assert "3 images are smaller" in out
    assert "at least 4096 pixels a side" in err


@pytest.mark.slow
def test_a_run_goes_on_with_its_own_recipe_alone(tmp_path, images):
    run.train(replace(TINY, {"run.num_steps": 2}), images, NONE, tmp_path, verbose=0)
    other = replace(TINY, {"model.num_iterations": 2, "run.seed": 3})
    with pytest.raises(ValueError, match=r"other values of model.num_iterations, run.seed than"):
        run.train(other, images, NONE, tmp_path, verbose=0)
    (tmp_path / "config.toml").unlink()
    with pytest.raises(ValueError, match=r"fit its configuration.*Received"):
        run.train(other, images, NONE, tmp_path, verbose=0)


@pytest.mark.slow
def test_nan_stops_the_run_and_is_never_saved(tmp_path, images, monkeypatch):
    run.train(replace(TINY, {"run.num_steps": 2}), images, NONE, tmp_path, verbose=0)
    good = (tmp_path / "model.keras").read_bytes()
    crops, bad = train_data.denoising_crops, 4  # the fifth batch, in the third epoch

    def damaged(*args, first_batch, **options):
        batches = crops(*args, first_batch=first_batch, **options).enumerate(first_batch)
        return batches.map(
            lambda i, batch: (
                {"image": tf.where(i == bad, np.nan, batch[0]["image"])},
                batch[1],
            )
        )

    monkeypatch.setattr(train_data, "denoising_crops", damaged)
    with pytest.raises(FloatingPointError, match=r"finite.*Received") as error:
        run.train(TINY, images, NONE, tmp_path, verbose=0)
    assert "at step 5, batch from" in str(error.value)
    assert str(tmp_path / "checkpoints" / "ckpt-2") in str(error.value)
    assert (tmp_path / "model.keras").read_bytes() == good
    assert tf.train.latest_checkpoint(tmp_path / "checkpoints").endswith("ckpt-2")


def test_sources_of_a_batch_are_those_of_its_crops():
    # Each image has one gray level, so a crop tells where it comes from.
    items = [np.full([8, 8, 1], 20 * i, np.uint8) for i in range(12)]
    examples = Examples([f"{i}.png" for i in range(12)], items)
    changes = {"data.crop_size": 4, "data.batch_size": 5, "run.seed": 9}
    config, task = replace(TINY, changes), find_task("denoise")
    _, target = next(iter(task.crops(examples, config, 7)))
    levels = np.rint(255 * target["restored"].numpy()[:, 0, 0, 0] / 20).astype(int)
    assert task.sources(examples, config, 7) == [f"{level}.png" for level in levels]
    assert len(set(levels)) > 1


@pytest.mark.slow
def test_record_tells_how_to_repeat_the_run(tmp_path, folder, capsys):
    small = settings(**{"run.num_steps": 2, "run.steps_per_epoch": 1, "run.seed": 5})
    options = ["--data", str(folder), "--out", str(tmp_path / "run"), *small]
    assert train.main(options) == 0
    [start] = json.loads((tmp_path / "run" / "run.json").read_text())
    assert start["seed"] == 5
    assert start["first_step"] == 0
    assert start["versions"]["keras"] == keras.__version__
    assert start["command"].endswith(" ".join(options))
    assert set(start["git"] or {"revision": "", "dirty": True}) == {"revision", "dirty"}
    # The stored configuration alone gives the same weights.
    again = ["--config", str(tmp_path / "run" / "config.toml"), "--data", str(folder)]
    assert train.main([*again, "--out", str(tmp_path / "again")]) == 0
    models = [
        keras.saving.load_model(tmp_path / name / "model.keras", compile=False)
        for name in ("run", "again")
    ]
    for a, b in zip(*(model.variables for model in models), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_folder_and_disk_are_checked_before_the_first_step(tmp_path, images, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"must be writable. Received: .*Choose another"):
        run.train(TINY, images, NONE, tmp_path / "file" / "run", verbose=0)
    usage = run_folder.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(run_folder.shutil, "disk_usage", lambda path: usage._replace(free=2**20))
    with pytest.raises(OSError, match=r"room for the whole run. Received: .* 1 MiB free"):
        run.train(TINY, images, NONE, tmp_path / "run", verbose=0)
    assert not (tmp_path / "run" / "config.toml").exists()


@pytest.mark.slow
def test_estimate_of_the_disk_is_near_what_a_run_writes(tmp_path, images):
    run.train(TINY, images, NONE, tmp_path, verbose=0)
    written = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    task = find_task("denoise")
    trainer = make_trainer(make_model(TINY, task), TINY, task)
    assert written < run_folder.bytes_of_run(trainer, TINY) < 8 * written + 2**20


@pytest.mark.slow
def test_a_full_disk_ends_the_run_with_the_last_checkpoint(tmp_path, images, monkeypatch):
    save = tf.train.CheckpointManager.save

    def full(self, checkpoint_number):
        if checkpoint_number == 2:
            raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")
        return save(self, checkpoint_number=checkpoint_number)

    monkeypatch.setattr(tf.train.CheckpointManager, "save", full)
    with pytest.raises(OSError, match=r"No space left.*ckpt-1: make room"):
        run.train(TINY, images, NONE, tmp_path, verbose=0)
    monkeypatch.setattr(tf.train.CheckpointManager, "save", save)

    def flushed(self, epoch, logs=None):  # TensorBoard meets the full disk first
        raise tf.errors.ResourceExhaustedError(None, None, "{{node}} events; No space left here")

    with monkeypatch.context() as patch:
        patch.setattr(keras.callbacks.TensorBoard, "on_epoch_begin", flushed)
        with pytest.raises(OSError, match=r"Received: events; No space left here. .*ckpt-1: make"):
            run.train(TINY, images, NONE, tmp_path, verbose=0)
    run.train(TINY, images, NONE, tmp_path, verbose=0)
    assert [start["first_step"] for start in json.loads((tmp_path / "run.json").read_text())] == [
        0,
        2,
        2,
    ]


@pytest.mark.slow
def test_a_run_can_start_from_another(tmp_path, images):
    start = deepam_tf.DeepAM(1, filters=16, depth=3)
    for variable in start.variables:
        variable.assign(variable + 0.01)
    still = replace(TINY, {"run.num_steps": 2, "optimizer.learning_rate": 0.0})
    model = run.train(still, images, NONE, tmp_path, initial_model=start, verbose=0)
    for a, b in zip(model.trainable_variables, start.trainable_variables, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_a_finished_run_says_so_and_stays_as_it_is(tmp_path, images, capsys):
    config = replace(TINY, {"run.num_steps": 2})
    trained = run.train(config, images, NONE, tmp_path, verbose=0)
    before = (tmp_path / "model.keras").read_bytes()
    again = run.train(config, images, NONE, tmp_path, verbose=0)
    assert "is finished, all 2 steps are done" in capsys.readouterr().out
    assert (tmp_path / "model.keras").read_bytes() == before
    for a, b in zip(trained.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    # Killed between the last checkpoint and the model, it has one step less to do: none.
    (tmp_path / "model.keras").unlink()
    run.train(config, images, NONE, tmp_path, verbose=0)
    assert (tmp_path / "model.keras").exists()


@pytest.mark.slow
def test_a_run_goes_on_with_the_data_and_the_weights_it_began_with(tmp_path, images):
    config = replace(TINY, {"run.num_steps": 2})
    run.train(config, images, NONE, tmp_path, verbose=0)
    longer = replace(config, {"run.num_steps": 4})
    start = deepam_tf.DeepAM(1, filters=16, depth=3)
    for data, init, message in (
        (images.pick([0, 1]), None, r"the --data it began with. Received: 2 examples.*3 examples"),
        (images, start, r"the --init it began with. Received: 14 weights.* has none"),
    ):
        with pytest.raises(ValueError, match=message):
            run.train(longer, data, NONE, tmp_path, initial_model=init, verbose=0)
    moved = Examples([f"elsewhere/{name}" for name in images.names], images.items)
    run.train(longer, moved, NONE, tmp_path, verbose=0)
    starts = json.loads((tmp_path / "run.json").read_text())
    assert [one["first_step"] for one in starts] == [0, 2]


@pytest.mark.slow
def test_a_finished_run_under_a_strategy(tmp_path, images):
    """No epoch is left, and nothing to log."""
    trainer = make_trainer(make_model(TINY, find_task("denoise")), TINY, find_task("denoise"))
    batches = find_task("denoise").crops(images, TINY, 0).map(trainer.spread)
    distributed.fit_replicas(
        trainer,
        batches,
        tf.distribute.get_strategy(),
        epochs=3,
        initial_epoch=3,
        steps_per_epoch=2,
        callbacks=[],
        verbose=0,
    )
    assert trainer.steps_done == 0


NOISY = {"data.supervision": "noisy", "data.sigma": 20.0, "run.loss": "l2"}


@pytest.mark.slow
def test_noisy_pictures_alone_train_and_are_validated_without_truth(tmp_path, images):
    config = replace(TINY, {**NOISY, "optimizer.average": 0.9})
    run.train(config, images, images.pick([0]), tmp_path / "run", verbose=0)
    events = event_accumulator.EventAccumulator(str(tmp_path / "run" / "logs" / "validation"))
    events.Reload()
    assert "epoch_restored_unbiased_psnr" in str(events.Tags())


def test_noisy_pictures_are_never_their_own_target(images):
    config = replace(TINY, NOISY)
    inputs, target = next(iter(task_of(config.data).crops(images, config, 0)))
    difference = (target["restored"] - inputs["image"]).numpy() / (20 / 255)
    # noisier - other = (alpha + 1 / alpha) z, z of variance 1.
    assert difference.std() == pytest.approx(config.data.alpha + 1 / config.data.alpha, rel=0.1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"run.loss": "l1"}, "square error"),
        ({"data.sigma": [0.0, 50.0]}, "one level"),
        ({"data.sigma": 0.0}, "one level"),
    ],
)
def test_what_noisy_pictures_cannot_teach_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(TINY, {**NOISY, **changes})


def test_depth_is_not_learnt_from_noisy_pictures():
    with pytest.raises(ValueError, match=r"denoise can be learnt.*Received.*'depth'"):
        task_of(replace(TINY, {**NOISY, "data.task": "depth"}).data)
