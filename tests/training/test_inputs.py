"""The same examples and the same crops, whatever form the data come in."""

from __future__ import annotations

import os
import shutil

import cv2
import numpy as np
import pytest
import tensorflow as tf

from deepam_tf.files.pictures import ImageFileError
from tests import helpers
from training import make_shards
from training.configuration.recipes import find_recipe
from training.configuration.settings import replace
from training.data.inputs import hold_out, load_examples
from training.data.tasks import Examples, find_task
from training.fit.trainer import make_model, make_trainer

CONFIGS = {
    task: replace(find_recipe(recipe), {"data.crop_size": 16, "data.batch_size": 3, "run.seed": 4})
    for task, recipe in {
        "denoise": "denoise_s25_k1_fast",
        "depth": "depth_x8_fast",
        "nir": "nir_s25_fast",
    }.items()
}


def write_pairs(folder, target, guide, rng, count=3, *, bits=8):
    """Pairs whose parts are functions of one map, so that a crop shows whether they fit."""
    for name in (target, guide):
        (folder / name).mkdir(parents=True)
    for i in range(count):
        level = cv2.GaussianBlur(rng.integers(1, 200, (24 + i, 28)).astype(np.float32), (0, 0), 2)
        low = np.clip(level, 1, 200)
        colour = np.dstack([low, low, low]).astype(np.uint8)
        single = low.astype(np.uint8)
        images = {"rgb": colour, "nir": single, "depth": single.astype(f"uint{bits}") * (bits // 8)}
        for name in (target, guide):
            cv2.imwrite(str(folder / name / f"{i}.png"), images[name])


@pytest.fixture(params=CONFIGS)
def data_set(request, tmp_path, rng):
    task = find_task(request.param)
    folder = tmp_path / "data"
    if len(task.parts) == 2:
        write_pairs(folder, *task.parts, rng)
    else:
        folder.mkdir()
        for i in range(3):
            image = rng.integers(0, 256, (24 + i, 28), dtype=np.uint8)
            cv2.imwrite(str(folder / f"{i}.png"), image)
    return folder, task, CONFIGS[request.param]


def as_list(folder, task, path):
    lines = []
    for i in range(3):
        parts = task.parts if len(task.parts) == 2 else ("",)
        lines.append("\t".join(str(folder / part / f"{i}.png") for part in parts))
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.slow
def test_folder_list_and_shards_give_the_same_batches(data_set, tmp_path):
    folder, task, config = data_set
    listed = as_list(folder, task, tmp_path / "list.txt")
    recipe = next(name for name in ("denoise_s25_k1_fast", "depth_x8_fast", "nir_s25_fast")
                  if find_recipe(name).data.task == config.data.task)  # fmt: skip
    options = [str(folder), "--config", recipe, "--set", "data.crop_size=16"]
    assert make_shards.main([*options, "--shards", "1", "--out", str(tmp_path / "s")]) == 0
    shard = tmp_path / "s" / "part-00000-of-00001.tfrecord"
    batches = []
    for source in (folder, listed, shard):
        examples = load_examples([source], config.data, task)
        assert len(examples) == 3
        batches.append(next(iter(task.crops(examples, config, 5))))
    for other in batches[1:]:
        tf.nest.map_structure(np.testing.assert_array_equal, batches[0], other)
    # Another batch is another; the same number is the same.
    again = next(iter(task.crops(examples, config, 5)))
    tf.nest.map_structure(np.testing.assert_array_equal, batches[0], again)
    later = next(iter(task.crops(examples, config, 6)))
    assert not np.array_equal(batches[0][1]["restored"], later[1]["restored"])


def test_crops_of_pairs_stay_aligned(tmp_path, rng):
    write_pairs(tmp_path, "rgb", "nir", rng)
    config, task = CONFIGS["nir"], find_task("nir")
    examples = load_examples([tmp_path], config.data, task)
    inputs, target = next(iter(task.crops(examples, config, 0)))
    np.testing.assert_allclose(target["restored"][..., :1], inputs["guide"], atol=1e-6)


@pytest.mark.slow
def test_depth_is_learnt_and_measured_in_one_scale_for_all_maps(rng):
    config = replace(CONFIGS["depth"], {
        "run.loss": "cauchy", "run.loss_scale": 0.01, "run.iterate_loss_weight": 0.0,
        "run.dtype": "float32", "run.jit_compile_solves": False,
        "model.num_iterations": 1, "model.filters": 4, "model.depth": 6,
    })  # fmt: skip
    task = find_task("depth")
    low = rng.integers(50, 60, (32, 40, 1), dtype=np.uint8)
    item = low, rng.integers(0, 256, (32, 40, 3), dtype=np.uint8)
    other = np.full((32, 40, 1), 127 * 257, np.uint16), item[1]
    other[0][:4] = 120 * 257  # no stray pixel, which would not count
    examples = Examples(["a", "b"], [item, other])
    # 8 and 16 bit maps of one brightness are the same.
    assert task.contrast(item, examples) == pytest.approx(9 / 127)
    assert task.contrast(other, examples) == pytest.approx(7 / 127)
    for x, *_ in task.crops(examples, config, 0).take(4):
        found = np.unique(x["contrast"])
        assert np.isclose(found[:, None], [9 / 127, 7 / 127], rtol=1e-5).any(axis=1).all()
    model = make_model(config, task)
    trainer = make_trainer(model, config, task)
    inputs, target, weight = task.observe(item, config.data, 0)
    restored = model(inputs)["restored"].numpy()
    given = {**inputs, "contrast": np.full([1, 1, 1, 1], 9 / 127, np.float32)}
    batch = trainer.spread(given, {"restored": target}, {"restored": weight})
    found = trainer.evaluate(tf.data.Dataset.from_tensors(batch), verbose=0, return_dict=True)
    levels = 9 * np.abs(restored - target)[..., 0]
    cauchy = 0.01 * np.log1p((levels / 127 / 0.01) ** 2)
    assert found["loss"] == pytest.approx(np.mean(cauchy), rel=1e-4)
    bad = found["restored_bad_matching_percentage"]
    assert bad == pytest.approx(100 * np.mean(levels / 127 > 3 / 255), abs=0.1)
    assert 5 < bad < 95


def test_sixteen_bit_maps_keep_their_digits(tmp_path, rng):
    write_pairs(tmp_path / "data", "depth", "rgb", rng, bits=16)
    config, task = CONFIGS["depth"], find_task("depth")
    examples = load_examples([tmp_path / "data"], config.data, task)
    assert examples.items[0][0].dtype == np.uint16
    options = [str(tmp_path / "data"), "--config", "depth_x8_fast", "--set", "data.crop_size=16"]
    assert make_shards.main([*options, "--out", str(tmp_path / "s"), "--shards", "2"]) == 0
    shards = sorted((tmp_path / "s").glob("*.tfrecord"))
    again = load_examples(shards, config.data, task)
    assert sorted(again.names) == examples.names
    for name, item in zip(again.names, again.items, strict=True):
        for a, b in zip(item, examples.items[examples.names.index(name)], strict=True):
            np.testing.assert_array_equal(a, b)
            assert a.dtype == b.dtype


def test_damaged_sources_are_named(data_set, tmp_path):
    folder, task, config = data_set
    for name, content, message in [
        ("missing.txt", None, "not a list that can be read"),
        ("empty.txt", "\n", "Received: 'no line'"),
        ("wrong.txt", "a.png\tb.png\tc.png\n", "separated by tabs. Received"),
        ("missing.tfrecord", None, "shard must be whole.*Received"),
        ("bad.tfrecord", "no record", "shard must be whole.*Received"),
    ]:
        path = tmp_path / name
        if content is not None:
            path.write_text(content)
        with pytest.raises(ImageFileError, match=message):
            load_examples([path], config.data, task)
    other = "denoise_s25_k1_fast" if len(task.parts) == 2 else None
    if other is None:
        return
    image = tmp_path / "single"
    image.mkdir()
    shutil.copy(folder / task.parts[1] / "0.png", image)
    options = [str(image), "--config", other, "--set", "data.crop_size=16", "--shards", "1"]
    assert make_shards.main([*options, "--out", str(tmp_path / "o")]) == 0
    with pytest.raises(ImageFileError, match="hold " + ", ".join(task.parts)):
        load_examples([tmp_path / "o" / "part-00000-of-00001.tfrecord"], config.data, task)


def test_held_out_examples_are_spread_and_at_most_a_tenth():
    examples = Examples([str(i) for i in range(30)], list(range(30)))
    kept, held = hold_out(examples, 4)
    assert held.names == ["0", "14", "29"]
    assert sorted(kept.items + held.items) == list(range(30))
    assert len(hold_out(examples.pick([0, 1]), 4)[1]) == 0


def test_every_shard_holds_an_example_and_can_be_read_by_others(tmp_path, folder, capsys):
    options = [str(folder), "--config", "denoise_s25_k1_fast", "--set", "data.crop_size=16"]
    options += ["--out", str(tmp_path / "s")]
    assert make_shards.main([*options, "--shards", "4"]) == 2
    assert "Received: 4 shards for 3 examples" in capsys.readouterr().err
    assert not (tmp_path / "s").exists()
    mask = os.umask(0o022)
    try:
        assert make_shards.main([*options, "--shards", "3"]) == 0
    finally:
        os.umask(mask)
    written = sorted((tmp_path / "s").iterdir())
    assert [path.suffix for path in written] == [".npz", ".tfrecord"] * 3
    assert {path.stat().st_mode & 0o777 for path in written} == {0o644}


@pytest.mark.slow
def test_the_store_of_pictures_stays_on_the_host():
    """Where a second device is the default, as a GPU is, the pictures are not on it."""
    printed = helpers.run_python(
        "import numpy as np, tensorflow as tf\n"
        "cpu = tf.config.list_physical_devices('CPU')[0]\n"
        "two = [tf.config.LogicalDeviceConfiguration()] * 2\n"
        "tf.config.set_logical_device_configuration(cpu, two)\n"
        "from deepam_tf.data import crops\n"
        "made = []\n"
        "constant = tf.constant\n"
        "def noted(*a, **k):\n"
        "    made.append(constant(*a, **k))\n"
        "    return made[-1]\n"
        "crops.tf.constant = noted\n"
        "with tf.device('CPU:1'):\n"
        "    assert constant(1).device.endswith('CPU:1')\n"
        "    crops.random_crops([[np.zeros([8, 8, 1], np.uint8)]], lambda c, n, s: c[0],"
        " crop_size=4, batch_size=1, seed=0, first_batch=0)\n"
        "print({x.device[-5:] for x in made if hasattr(x, 'device') and x.device})\n"
    )
    assert printed.strip() == "{'CPU:0'}"
