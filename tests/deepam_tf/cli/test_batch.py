"""`deepam batch`, from folders to folders, for every task."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import cv2
import numpy as np
import pytest

from deepam_tf import cli, image_io
from deepam_tf.batch.attempts import attempt
from deepam_tf.batch.jobs import Job
from deepam_tf.cli import batch
from deepam_tf.cli.parser import make_parser

TV = ["--method", "tv", "--sigma", "25"]


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def run(*arguments, env=None):
    return subprocess.run(
        [sys.executable, "-m", "deepam_tf", "batch", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=env,
    )


@pytest.fixture
def photographs(tmp_path, rng):
    folder = tmp_path / "in"
    (folder / "x").mkdir(parents=True)
    for name in ("a.png", "b.png", "x/c.jpg"):
        cv2.imwrite(str(folder / name), rng.integers(0, 256, (40, 48), dtype=np.uint8))
    (folder / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    return folder


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["in", "out", "--task", "fuse"], "needs --guides"),
        (["in", "out", "--guides", "in"], "takes no --guides"),
        (["in", "out", "--task", "fuse", "--guides", "in", "--strength", "2"], "--strength"),
        (["in", "out", "--scale", "8"], "no option of denoise"),
        (["out"], "needs pictures"),
        (["in", "s3://bucket/out"], "--manifest"),
        (["in", "in/a.png"], "needs a folder"),
        (["in", "out", "--engine", "processes", "--address", "a:1"], "--address"),
        (["in", "out", "--model", "nothing"], "nothing"),
        (["in", "out", "--method", "tv", "--strength", "1.5"], "--strength"),
        (["memory://in/a.png", "out"], "memory://"),
        (["nowhere", "out", "--list", "nothing.txt"], "no|not"),
    ],
)
def test_impossible_orders_are_refused(photographs, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(photographs.parent)
    assert cli.main(["batch", *arguments]) == 2
    assert message.split("|")[0] in capsys.readouterr().err
    assert not list(pathlib.Path("out").glob("*.png"))


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "a/b", "1/0"])
def test_there_are_no_such_shards(text):
    with pytest.raises(SystemExit):
        make_parser().parse_args(["batch", "in", "out", "--shard", text])


def test_every_option_of_a_task_reaches_it():
    guided = ["--guides", "folder"]
    for task, more in (("denoise", []), ("fuse", guided), ("upsample", guided)):
        args = make_parser().parse_args(["batch", "in", "out", "--task", task, *more])
        options = batch._task_options(args)
        single = make_parser().parse_args([task, *["a"] * (2 if task == "denoise" else 3)])
        files = {"command", "inputs", "output", "depth", "guide", "rgb", "nir", "force"}
        single = {name: x for name, x in vars(single).items() if name not in files}
        expected = {name: x for name, x in single.items() if name in options}
        assert single.keys() - options.keys() <= {"recursive", "skip_existing", "report"}
        assert {name: options[name] for name in expected} == expected
        assert json.loads(json.dumps(options)) == options


def test_a_picture_is_restored_as_by_the_command(photographs, tmp_path):
    args = make_parser().parse_args(["batch", "in", "out", *TV])
    restore = batch.make_restore(json.loads(json.dumps(batch._task_options(args))))
    source = str(photographs / "a.png")
    line = attempt(Job(source, str(tmp_path / "out" / "a.png"), "a.png"), restore)
    assert line["error"] is None
    assert (line["sigma"], line["model"]) == (25.0, "tv")
    assert cli.main(["denoise", source, str(tmp_path / "one.png"), *TV]) == 0
    results = [image_io.read(tmp_path / name).pixels for name in ("one.png", "out/a.png")]
    np.testing.assert_array_equal(*results)


@pytest.mark.slow
def test_a_folder_is_gone_on_with(photographs, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "b.png").write_bytes(b"of somebody else")
    done = run(photographs, out, "--recursive", *TV)
    assert done.returncode == 1, done.stderr
    assert "2 restored, 2 failed" in done.stdout
    assert "exists already" in done.stderr
    found = {pathlib.Path(line["input"]).name: line for line in lines(out / "manifest.jsonl")}
    assert found.keys() == {"a.png", "b.png", "c.jpg", "bad.png"}
    assert [name for name, line in found.items() if line["error"] is None] in (
        ["a.png", "c.jpg"], ["c.jpg", "a.png"]
    )  # fmt: skip
    assert image_io.read(out / "x" / "c.jpg").pixels.shape == (40, 48, 1)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.*g")}
    (out / "b.png").unlink()
    cv2.imwrite(str(photographs / "new.png"), np.full((40, 40), 99, np.uint8))
    done = run(photographs, out, "--recursive", "--retry-failed", *TV)
    assert "2 of 5 are in" in done.stderr
    assert "4 restored, 1 failed" in done.stdout
    for path in (out / "a.png", out / "x" / "c.jpg"):
        assert path.stat().st_mtime_ns == before[path]
    assert len(lines(out / "manifest.jsonl")) == 5


@pytest.mark.slow
def test_pairs_are_fused_and_upsampled(tmp_path, rng):
    y, x = np.mgrid[:64, :96].astype(np.float32)
    guide = rng.integers(0, 256, (64, 96, 3), dtype=np.uint8)
    for name in ("depth", "rgb", "color", "nir"):
        (tmp_path / name).mkdir()
    for i in range(2):
        depth = (800 + 10 * y + 15 * x + i)[4::8, 4::8].astype(np.uint16)
        cv2.imwrite(str(tmp_path / "depth" / f"{i}.png"), depth)
        for name, picture in (("rgb", guide), ("color", guide), ("nir", guide[..., 1])):
            cv2.imwrite(str(tmp_path / name / f"{i}.png"), picture)
    (tmp_path / "color" / "1.png").unlink()
    out = tmp_path / "fused"
    done = run(tmp_path / "rgb", out, "--task", "fuse", "--guides", tmp_path / "nir", "--sigma", 9)
    assert done.returncode == 0, done.stderr
    assert image_io.read(out / "1.png").pixels.shape == (64, 96, 3)
    out = tmp_path / "fine"
    done = run(tmp_path / "depth", out, "--task", "upsample", "--guides", tmp_path / "color")
    assert done.returncode == 1
    assert "one guide of its name" in done.stderr
    found = {pathlib.Path(line["input"]).name: line for line in lines(out / "manifest.jsonl")}
    assert found["0.png"]["scale"] == [8.0, 8.0]
    assert found["0.png"]["guide"] == str(tmp_path / "color" / "0.png")
    assert image_io.read(out / "0.png").pixels.shape == (64, 96, 1)


@pytest.mark.slow
def test_buckets_of_s3(photographs, tmp_path):
    boto3 = pytest.importorskip("boto3")
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
        s3 = boto3.client(
            "s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1", **keys
        )
        for bucket in ("photos", "results"):
            s3.create_bucket(Bucket=bucket)
        for path in photographs.rglob("*.*g"):
            s3.upload_file(str(path), "photos", f"2026/{path.relative_to(photographs).as_posix()}")
        env = {
            **os.environ,
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        manifest = tmp_path / "manifest.jsonl"
        places = ["s3://photos/2026", "s3://results/2026", "--manifest", manifest]
        done = run(*places, "--recursive", *TV, env=env)
        assert done.returncode == 1, done.stderr
        assert "3 restored, 1 failed" in done.stdout, done.stderr
        names = [x["Key"] for x in s3.list_objects(Bucket="results")["Contents"]]
        assert sorted(names) == ["2026/a.png", "2026/b.png", "2026/x/c.jpg"]
        assert {line["input"] for line in lines(manifest)} == {
            f"s3://photos/2026/{name}" for name in ("a.png", "b.png", "bad.png", "x/c.jpg")
        }
        (tmp_path / "back.png").write_bytes(
            s3.get_object(Bucket="results", Key="2026/a.png")["Body"].read()
        )
        assert image_io.read(tmp_path / "back.png").pixels.shape == (40, 48, 1)
    finally:
        server.stop()
