"""TensorBoard shows what happened: curves, solver, pictures, settings."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing import event_accumulator
from tensorboard.plugins.hparams import plugin_data_pb2

import deepam_tf
from tests.training.test_train import TINY
from training.configuration.config import flat
from training.configuration.settings import replace
from training.data.tasks import Examples
from training.fit import monitoring
from training.fit.monitoring import ERROR_GAIN, Throughput, picture_sheet
from training.fit.run import train


@pytest.fixture
def run(tmp_path, images):
    changes = {"monitor.pictures_every": 2, "monitor.picture_size": 24}
    config = replace(TINY, {"model.num_iterations": 2, **changes})
    train(config, images, images.pick([0]), tmp_path / "run", verbose=0)
    return tmp_path / "run", config


def events(folder):
    found = event_accumulator.EventAccumulator(str(folder), {"tensors": 0})
    found.Reload()
    return found


@pytest.mark.slow
def test_solver_pictures_and_settings_are_in_the_log(run):
    folder, config = run
    log = events(folder / "logs" / "validation")
    tags = set(log.Tags()["tensors"])
    names = {"0_input", "target", "target_error"}
    for k in (1, 2):
        assert {f"solver/steps_{k}", f"solver/converged_{k}", f"log10_gamma/{k}"} <= tags
        names |= {f"{k}_u", f"{k}_v_length", f"{k}_gamma"}
    assert {tag for tag in tags if tag.startswith("pictures/")} == {f"pictures/{n}" for n in names}
    # Epochs of two steps, shown every second one; the run has three.
    [event] = log.Tensors("pictures/1_u")
    assert event.step == 4
    width, height, png = event.tensor_proto.string_val
    assert (width, height) == (b"24", b"24")
    assert tf.io.decode_png(png).shape == (24, 24, 1)
    [event] = log.Tensors("solver/steps_1")
    assert 1 <= tf.make_ndarray(event.tensor_proto) <= 500
    [event] = log.Tensors("solver/converged_1")
    assert tf.make_ndarray(event.tensor_proto) == 1.0

    root = events(folder / "logs")
    content = root.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    stored = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
    assert set(stored) == set(flat(config))
    assert stored["optimizer.learning_rate"].number_value == config.optimizer.learning_rate
    assert stored["optimizer.name"].string_value == "adam"
    content = root.summary_metadata["_hparams_/experiment"].plugin_data.content
    experiment = plugin_data_pb2.HParamsPluginData.FromString(content).experiment
    for metric in experiment.metric_infos:  # every column is a curve that there is
        column = events(folder / "logs" / metric.name.group)
        assert metric.name.tag in column.Tags()["tensors"]
    assert {metric.name.group for metric in experiment.metric_infos} == {"train", "validation"}


def test_pictures_show_what_they_say(rng):
    u, target = (rng.uniform(size=(1, 4, 5, 1)).astype(np.float32) for _ in range(2))
    v = rng.normal(size=(1, 4, 5, 2)).astype(np.float32)
    gamma = np.full([1, 4, 5, 1], 1.0, np.float32)
    gamma[0, 0, 0], gamma[0, 0, 1] = 1e-3, 1e3
    outputs = {"restored": u, "u_1": u, "v_1": v, "gamma_1": gamma}
    guide = rng.uniform(size=(1, 4, 5, 3)).astype(np.float32)
    sheet = picture_sheet(outputs, {"image": 3 * u, "guide": guide}, target)
    order = ["0_input", "0_guide", "1_u", "1_v_length", "1_gamma", "target", "target_error"]
    assert list(sheet) == order == sorted(order, key=order.index)
    np.testing.assert_allclose(sheet["0_input"], np.clip(3 * u, 0, 1))
    length = np.hypot(v[..., 0], v[..., 1])
    np.testing.assert_allclose(sheet["1_v_length"][..., 0], length / length.max(), rtol=1e-5)
    assert sheet["1_gamma"][0, :1, :3, 0].tolist() == [[0.0, 1.0, 0.5]]
    error = np.clip(ERROR_GAIN * np.abs(u - target), 0, 1)
    np.testing.assert_allclose(sheet["target_error"], error, rtol=1e-5)


def test_throughput_counts_pixels_over_time_without_the_first_step(monkeypatch):
    clock = iter([60.0, 62.0, 64.0, 66.0, 68.0])  # the first step waited for the compiler
    monkeypatch.setattr(monitoring.time, "perf_counter", lambda: next(clock))
    callback, logs = Throughput(1000), {}
    callback.on_epoch_begin(0)
    for batch in range(5):
        callback.on_train_batch_end(batch)
    callback.on_epoch_end(0, logs)
    assert logs["pixels_per_second"] == 4 * 1000 / 8.0


def test_a_guided_model_shows_its_guide():
    model = deepam_tf.DeepAM(1, filters=8, depth=6, guide_channels=3, mask=True)
    inputs = {name: np.ones([1, 8, 8, c], np.float32) for name, c in
              {"image": 1, "guide": 3, "mask": 1}.items()}  # fmt: skip
    sheet = picture_sheet(model.iterates()(inputs), inputs, inputs["image"])
    assert sheet["0_guide"].shape == (1, 8, 8, 3)


def test_pictures_show_where_something_is_known():
    known = np.zeros([1, 40, 50, 1], np.float32)
    known[0, 20:34, 30:41] = 1
    rows, columns = monitoring._window(known, 16)[1:]
    assert known[0, rows, columns].sum() == 14 * 11
    assert monitoring._window(np.ones_like(known), 16)[1:] == (slice(0, 16), slice(0, 16))
    assert monitoring._window(known, 256)[1:] == (slice(0, 40), slice(0, 50))


@pytest.mark.slow
def test_a_map_whose_corner_is_unknown_is_shown(tmp_path, rng):
    depth = rng.integers(50, 200, (64, 64, 1)).astype(np.uint8)
    depth[:40, :40] = 0
    guide = rng.integers(0, 256, (64, 64, 3)).astype(np.uint8)
    examples = Examples(["a", "b"], [(depth, guide)] * 2)
    changes = {"monitor.pictures_every": 1, "monitor.picture_size": 24, "model.depth": 6}
    changes |= {"data.task": "depth", "data.scale": 4, "data.validation_scale": 4}
    config = replace(TINY, {**changes, "run.num_steps": 2})
    train(config, examples, examples.pick([0]), tmp_path, verbose=0)
    log = events(tmp_path / "logs" / "validation")
    [event] = log.Tensors("solver/converged_1")
    assert tf.make_ndarray(event.tensor_proto) == 1.0
