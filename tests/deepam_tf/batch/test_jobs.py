"""Which files a batch reads and writes: none twice, none missing, on every machine the same."""

from __future__ import annotations

import pytest

from deepam_tf.batch import jobs
from deepam_tf.files.pictures import ImageFileError


def make(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return folder


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_shards_are_disjoint_and_complete(count):
    all_jobs = [jobs.Job(f"/a/{i}.png", f"/b/{i}.png", f"{i}.png") for i in range(500)]
    parts = [jobs.share(all_jobs, i + 1, count) for i in range(count)]
    sources = [job.source for part in parts for job in part]
    assert sorted(sources) == sorted(job.source for job in all_jobs)
    assert min(len(part) for part in parts) > 0.5 * 500 / count


def test_a_picture_is_in_the_same_shard_wherever_its_folder_is(tmp_path):
    names = [f"x/{i}.png" for i in range(20)]
    shards = []
    for place in ("here", "there/deeper"):
        found, _ = jobs.find_jobs([str(make(tmp_path / place, *names))], "out", recursive=True)
        shards.append({job.name for job in jobs.share(found, 1, 3)})
    assert shards[0] == shards[1]
    more, _ = jobs.find_jobs(
        [str(make(tmp_path / "here", "y/new.png"))], tmp_path / "out", recursive=True
    )
    assert shards[0] <= {job.name for job in jobs.share(more, 1, 3)} <= shards[0] | {"y/new.png"}


def test_there_is_no_share_beyond_the_last():
    with pytest.raises(ValueError, match="Received: 4/3"):
        jobs.share([], 4, 3)


def test_lists_keep_trees(tmp_path):
    lines = ["\n", "/data/a/1.png\n", "/data/b/1.dng\n", "s/2.jpg\n", "./s/3.exr\n"]
    found = jobs.read_list(lines, "out")
    assert [job.target for job in found] == [
        "out/a/1.png", "out/b/1.tiff", "out/s/2.jpg", "out/s/3.png"
    ]  # fmt: skip
    found = jobs.read_list(["s3://bucket/a/1.png", "s3://bucket/b/1.png"], "gs://other/out/")
    assert [job.target for job in found] == ["gs://other/out/a/1.png", "gs://other/out/b/1.png"]
    with pytest.raises(ImageFileError, match=r"\.\./1\.png"):
        jobs.read_list(["../1.png"], "out")


def test_guides_have_the_names_of_what_they_guide(tmp_path):
    noisy = make(tmp_path / "noisy", "x/1.png", "x/2.png", "x/3.png", "4.png")
    make(tmp_path / "nir", "x/1.jpg", "x/3.png", "x/3.jpg", "y/4.png")
    found, _ = jobs.find_jobs([str(noisy)], tmp_path / "out", recursive=True)
    guided = {job.name: job for job in jobs.with_guides(found, tmp_path / "nir")}
    assert guided["x/1.png"].guide == str(tmp_path / "nir" / "x" / "1.jpg")
    assert guided["x/1.png"].missing is None
    assert "Received: none" in guided["x/2.png"].missing
    assert "3.jpg" in guided["x/3.png"].missing
    assert "3.png" in guided["x/3.png"].missing
    assert "Received: none" in guided["4.png"].missing
    with pytest.raises(ImageFileError, match="guides need a folder"):
        jobs.with_guides(found, tmp_path / "nothing")


def test_depth_maps_keep_formats_that_hold_them(tmp_path):
    make(tmp_path / "depth", "a.npy", "b.jpg", "c.tiff")
    found, _ = jobs.find_jobs([str(tmp_path / "depth")], "out", suffixes=jobs.DEPTH_SUFFIXES)
    assert [job.target for job in found] == ["out/a.npy", "out/b.png", "out/c.tiff"]
