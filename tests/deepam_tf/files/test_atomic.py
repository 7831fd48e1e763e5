"""A file or folder is there whole, or as it was before."""

from __future__ import annotations

import concurrent.futures
import os
import pathlib
import stat

import pytest

from deepam_tf.files import atomic
from deepam_tf.files.atomic import WriteError


def mode(path: pathlib.Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_new_files_get_the_mode_that_the_process_gives(tmp_path):
    for mask in (0o022, 0o077, 0o002):
        path = tmp_path / f"{mask}.bin"
        before = os.umask(mask)
        try:
            atomic.write_bytes(path, b"x")
            assert os.umask(mask) == mask  # not touched
        finally:
            os.umask(before)
        assert mode(path) == 0o666 & ~mask


@pytest.mark.parametrize("before", [0o600, 0o644, 0o664, 0o444])
def test_replaced_files_keep_their_mode(tmp_path, before):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    path.chmod(before)
    atomic.write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert mode(path) == before


def test_a_link_stays_and_its_file_is_replaced(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "a.bin", tmp_path / "b.bin"
    target.write_bytes(b"old")
    target.chmod(0o640)
    link.symlink_to(pathlib.Path("elsewhere", "a.bin"))
    atomic.write_bytes(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert mode(target) == 0o640
    hop = tmp_path / "c.bin"
    hop.symlink_to(link)
    atomic.write_bytes(hop, b"newer")
    assert hop.is_symlink()
    assert link.is_symlink()
    assert target.read_bytes() == b"newer"
    assert os.listdir(tmp_path / "elsewhere") == ["a.bin"]
    loop = tmp_path / "d.bin"
    loop.symlink_to(loop)
    with pytest.raises(WriteError, match=r"d\.bin"):
        atomic.write_bytes(loop, b"x")


@pytest.mark.parametrize("suffix", [".bin", "." + "s" * 100])
def test_every_legal_name_is_written(tmp_path, suffix):
    for length in (250, 255):
        path = tmp_path / ("n" * (length - len(suffix)) + suffix)
        atomic.check_place(path)
        atomic.write_bytes(path, b"x")
        assert path.read_bytes() == b"x"
    path = tmp_path / ("n" * (256 - len(suffix)) + suffix)
    for write in (atomic.check_place, lambda p: atomic.write_bytes(p, b"x")):
        with pytest.raises(WriteError, match=r"cannot be written"):
            write(path)


def test_what_is_no_file_is_left_alone(tmp_path):
    (tmp_path / "folder.bin").mkdir()
    os.mkfifo(tmp_path / "pipe.bin")
    (tmp_path / "plain").write_text("")
    for name in ("folder.bin", "pipe.bin", "no/such/folder.bin", "plain/a.bin"):
        for write in (
            lambda p: atomic.check_place(p, overwrite=True),
            lambda p: atomic.write_bytes(p, b"x"),
        ):
            with pytest.raises(WriteError, match=name):
                write(tmp_path / name)
    assert sorted(os.listdir(tmp_path)) == ["folder.bin", "pipe.bin", "plain"]


def test_an_existing_file_is_announced_before_the_work(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"")
    dangling = tmp_path / "b.bin"
    dangling.symlink_to(tmp_path / "none")
    for there in (path, dangling):
        with pytest.raises(WriteError, match="exists already"):
            atomic.check_place(there)
        atomic.check_place(there, overwrite=True)


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt(), ValueError("bug")])
def test_an_interruption_leaves_what_was_there(tmp_path, error):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    expected = WriteError if isinstance(error, OSError) else type(error)

    def interrupted_file():
        with atomic.whole_file(path) as temporary:
            temporary.write_bytes(b"half")
            raise error

    def interrupted_folder():
        with atomic.whole_folder(tmp_path / "b") as temporary:
            (temporary / "a").write_bytes(b"half")
            raise error

    for write in (interrupted_file, interrupted_folder):
        with pytest.raises(expected):
            write()
    assert os.listdir(tmp_path) == ["a.bin"]
    assert path.read_bytes() == b"old"


def test_a_failed_rename_leaves_what_was_there(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(WriteError, match=r"a\.bin: cannot be written \(No space left"):
        atomic.write_bytes(path, b"new")
    assert os.listdir(tmp_path) == ["a.bin"]
    assert path.read_bytes() == b"old"


def test_a_folder_appears_whole_and_once(tmp_path):
    with atomic.whole_folder(tmp_path / "a") as temporary:
        (temporary / "below").mkdir()
        (temporary / "below" / "x").write_bytes(b"x")
        assert not (tmp_path / "a").exists()
    assert (tmp_path / "a" / "below" / "x").read_bytes() == b"x"
    with pytest.raises(WriteError, match="exists already"), atomic.whole_folder(tmp_path / "a"):
        pass
    assert os.listdir(tmp_path) == ["a"]


def test_many_threads_write_whole_files_with_one_umask(tmp_path):
    before = os.umask(0o027)
    try:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            contents = [bytes([i]) * 10000 for i in range(64)]
            paths = [tmp_path / f"{i % 4}.bin" for i in range(64)]
            list(pool.map(atomic.write_bytes, paths, contents))
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)
    assert sorted(os.listdir(tmp_path)) == [f"{i}.bin" for i in range(4)]
    for i in range(4):
        path = tmp_path / f"{i}.bin"
        assert path.read_bytes() in contents[i::4]
        assert mode(path) == 0o640
