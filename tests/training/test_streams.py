"""Data larger than memory: streamed from shards, and the same however they are read."""

from __future__ import annotations

import itertools

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf

from deepam_tf.data.streams import PictureStream
from deepam_tf.files.pictures import ImageFileError
from tests.training.test_train import TINY
from training import make_shards
from training.configuration.settings import replace
from training.data.batches import batch_sources, make_batches, make_replica_batches
from training.data.inputs import hold_out, list_files, load_examples, open_examples
from training.data.shards import index_path
from training.data.streams import read_errors
from training.data.tasks import Examples, find_task
from training.fit import run

TASK = find_task("denoise")
STREAMED = replace(TINY, {"data.stream_megabytes": 1, "data.crop_size": 8, "data.batch_size": 4})


@pytest.fixture
def shards(tmp_path, rng):
    """Twelve pictures of different sizes, each of one gray level, in four shards."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(12):
        size = rng.integers(14, 40, 2)
        cv2.imwrite(str(folder / f"{i:02}.png"), np.full(size, 20 * i, np.uint8))
    options = [str(folder), "--config", "denoise_s25_k1_fast", "--set", "data.crop_size=8"]
    assert make_shards.main([*options, "--out", str(tmp_path / "shards")]) == 0
    return sorted((tmp_path / "shards").glob("*.tfrecord"))


def opened(shards, buffer_bytes=None, **changes):
    config = replace(STREAMED, changes)
    examples = open_examples(shards, config.data, TASK)
    if buffer_bytes is not None:
        examples = type(examples)(
            examples.shards, examples.parts, examples.index, examples.shard_numbers,
            examples.chosen, buffer_bytes,
        )  # fmt: skip
    return examples, config


def levels(batch):
    """Which picture each crop of a batch is from."""
    return np.rint(255 * batch[1]["restored"].numpy()[:, 0, 0, 0] / 20).astype(int).tolist()


def same(a, b):
    tf.nest.map_structure(np.testing.assert_array_equal, a, b)


@pytest.mark.slow
def test_going_on_at_any_batch_gives_the_batches_that_would_have_come(shards):
    examples, config = opened(shards, buffer_bytes=6000)  # groups of two pictures or so
    whole = list(make_batches(examples, config, TASK, 0).take(90))
    numbers = [level for batch in whole for level in levels(batch)]
    assert set(numbers) == set(range(12))
    for first in (1, 37, 89):
        same(next(iter(make_batches(examples, config, TASK, first))), whole[first])
        names = [f"{level:02}.png" for level in levels(whole[first])]
        found = batch_sources(examples, config, TASK, first)
        assert [name.rpartition("/")[2] for name in found] == names
    other = replace(config, {"run.seed": 1})
    assert levels(next(iter(make_batches(examples, other, TASK, 0)))) != levels(whole[0])


@pytest.mark.slow
def test_a_pass_takes_every_picture_as_often_as_it_has_crops(shards):
    examples, config = opened(shards, buffer_bytes=6000)
    positions = np.prod(np.array(examples.sizes()) - 7, axis=1)
    count = 20 * int(np.ceil(positions.sum() / 64))
    batches = make_batches(examples, config, TASK, 0).unbatch().batch(count)
    shares = np.bincount(levels(next(iter(batches))), minlength=12) / count
    names = [int(name.rpartition("/")[2][:2]) for name in examples.in_memory().names]
    np.testing.assert_allclose(shares[names], positions / positions.sum(), atol=0.03)


def test_groups_fit_into_their_part_of_the_buffer(rng):
    sizes = rng.integers(8, 60, (40, 2))
    stream = PictureStream(
        sizes, (1, 3), (np.uint16, np.uint8), lambda i: (), lambda seed, n: np.arange(40),
        buffer_bytes=60_000,
    )  # fmt: skip
    groups = list(itertools.islice(stream.groups(8, 0, 0), 200))
    for group in groups:
        taken = 5 * np.prod(sizes[group.numbers], axis=1)
        assert taken.sum() <= 15_000 or len(taken) == 1
    assert [b.first for b in groups[1:]] == [a.end for a in groups[:-1]]
    late = next(stream.groups(8, 0, groups[50].first + 1))
    np.testing.assert_array_equal(late.numbers, groups[50].numbers)
    assert (late.first, late.end) == (groups[50].first + 1, groups[50].end)


@pytest.mark.slow
def test_streams_have_shards_of_their_own_whoever_reads_them(shards):
    examples, config = opened(shards, **{"data.streams": 4})
    whole = make_batches(examples, config, TASK, 3).take(5)
    parts = [
        make_replica_batches(
            examples, config, TASK, 3, replicas=range(i, i + 1), num_replicas=2
        ).take(5)
        for i in range(2)
    ]
    seen = [set(), set()]
    for batch, *halves in zip(whole, *parts, strict=True):
        same(batch, tf.nest.map_structure(lambda *x: tf.concat(x, 0), *halves))
        for names, half in zip(seen, halves, strict=True):
            names |= set(levels(half))
    assert not seen[0] & seen[1]
    # Two devices of one process take their parts one after the other.
    both = make_replica_batches(examples, config, TASK, 3, replicas=range(2), num_replicas=2)
    for half, expected in zip(both.take(2), [next(iter(part)) for part in parts], strict=True):
        same(half, expected)
    with pytest.raises(ValueError, match=r"evenly. Received: data.streams=4 for 3 devices"):
        make_replica_batches(examples, config, TASK, 0, replicas=range(1), num_replicas=3)
    with pytest.raises(ValueError, match=r"data.streams=5 for 4 shards"):
        examples.share(0, 5)


def test_held_out_pictures_are_not_trained_on(shards):
    examples, config = opened(shards)
    kept, held = hold_out(examples, 1)
    assert isinstance(held, Examples)
    assert len(kept) == 11
    found = {level for b in make_batches(kept, config, TASK, 0).take(60) for level in levels(b)}
    assert len(found) == 11
    assert int(held.items[0][0, 0, 0]) // 20 not in found


def test_what_cannot_be_streamed_is_said(shards, tmp_path):
    with pytest.raises(ValueError, match=r"Only shards are streamed.*photos"):
        opened([*shards, tmp_path / "photos"])
    with pytest.raises(ValueError, match=r"must hold depth, rgb.*Received: \[\[1\]\]"):
        open_examples(shards, STREAMED.data, find_task("depth"))
    shards[1].write_bytes(shards[1].read_bytes()[:-1])
    with pytest.raises(ImageFileError, match="an index of other data"):
        opened(shards)
    index_path(shards[0]).unlink()
    with pytest.raises(ImageFileError, match=r"needs its index. Received.*No such file"):
        opened(shards)


def test_a_damaged_record_is_named(shards):
    examples, _ = opened(shards)
    data = bytearray(shards[0].read_bytes())
    start = data.index(b"IDAT")
    data[start : start + 12] = bytes(12)
    shards[0].write_bytes(data)
    message = r"^\S+part-00000\S+ the record at byte \d+ cannot be read"
    with pytest.raises(ImageFileError, match=message):
        examples.in_memory()
    with pytest.raises(ImageFileError, match=message), read_errors():
        list(make_batches(examples, STREAMED, TASK, 0).take(60))


def test_shards_are_not_mixed_with_others(shards, tmp_path, capsys):
    options = [str(tmp_path / "photos"), "--config", "denoise_s25_k1_fast", "--shards", "2"]
    before = {path: path.read_bytes() for path in shards}
    assert make_shards.main([*options, "--out", str(tmp_path / "shards")]) == 2
    assert "Received: 4 in" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in shards} == before


@pytest.mark.slow
def test_depth_in_eight_and_sixteen_bits_is_streamed_as_it_is_read(tmp_path, rng):
    for i, kind in enumerate((np.uint8, np.uint16)):
        for part, shape in (("depth", (80, 81)), ("rgb", (80, 81, 3))):
            (tmp_path / "pairs" / part).mkdir(parents=True, exist_ok=True)
            dtype = kind if part == "depth" else np.uint8
            image = rng.integers(1, np.iinfo(dtype).max, shape).astype(dtype)
            cv2.imwrite(str(tmp_path / "pairs" / part / f"{i}.png"), image)
    options = [str(tmp_path / "pairs"), "--config", "depth_x4_fast", "--shards", "2"]
    options += ["--set", "data.crop_size=16", "--out", str(tmp_path / "s")]
    assert make_shards.main(options) == 0
    shards = sorted((tmp_path / "s").glob("*.tfrecord"))
    task = find_task("depth")
    changes = {"data.task": "depth", "data.scale": 4, "data.crop_size": 16, "data.candidates": 2}
    config = replace(STREAMED, changes)
    streamed, stored = (
        open_examples(shards, config.data, task),
        load_examples(shards, config.data, task),
    )
    assert streamed.full_scale() == pytest.approx(stored.full_scale(), rel=1e-4)
    # One group holds both maps and gives these samples: crops are those of the pictures in
    # memory, in the group's order.
    assert next(streamed.source().groups(16, 0, 0)).end >= 3 * 8
    order = next(streamed.source().groups(16, 0, 0)).numbers
    expected = next(iter(task.crops(stored.pick(order.tolist()), config, 2)))
    same(next(iter(task.crops(streamed, config, 2))), expected)


@pytest.mark.slow
def test_several_processes_write_the_same_shards(shards, tmp_path):
    options = [str(tmp_path / "photos"), "--config", "denoise_s25_k1_fast"]
    options += ["--set", "data.crop_size=8", "--out", str(tmp_path / "again"), "--processes", "2"]
    assert make_shards.main(options) == 0
    for path in shards:
        for one in (path, index_path(path)):
            if one.suffix == ".tfrecord":
                assert (tmp_path / "again" / one.name).read_bytes() == one.read_bytes()
            assert (tmp_path / "again" / one.name).exists()
    assert len(list_files(tmp_path / "photos", TASK)) == 12


@pytest.mark.slow
def test_killed_and_resumed_equals_uninterrupted(shards, tmp_path, monkeypatch):
    examples, config = opened(shards, buffer_bytes=6000, **{"data.streams": 2})
    none = Examples([], [])
    whole = run.train(config, examples, none, tmp_path / "whole", verbose=0)
    fit = keras.Model.fit

    class StopAfter(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.model.steps_done == 5:
                raise KeyboardInterrupt

    monkeypatch.setattr(
        keras.Model,
        "fit",
        lambda self, *a, callbacks, **k: fit(self, *a, callbacks=[*callbacks, StopAfter()], **k),
    )
    with pytest.raises(KeyboardInterrupt):
        run.train(config, examples, none, tmp_path / "parts", verbose=0)
    monkeypatch.setattr(keras.Model, "fit", fit)
    resumed = run.train(config, examples, none, tmp_path / "parts", verbose=0)
    for a, b in zip(whole.variables, resumed.variables, strict=True):
        np.testing.assert_array_equal(a, b)
