"""A file appears whole, or what was there stays and nothing else is left."""

import os
import pathlib
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from scratchconv.whole_file import PARTIAL, clear, whole_file, write_whole


def test_what_is_written_takes_the_place_of_what_was_there(tmp_path):
    path = tmp_path / "file.txt"
    write_whole(path, "before")
    write_whole(path, "β after")
    assert path.read_text(encoding="utf-8") == "β after"
    write_whole(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    assert list(tmp_path.iterdir()) == [path]


def test_the_old_file_is_there_until_the_block_has_ended(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("before")
    with whole_file(path) as partial:
        partial.write_text("after")
        assert path.read_text() == "before"
        assert partial.parent == tmp_path
        assert partial.suffix == PARTIAL
    assert path.read_text() == "after"


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt])
def test_a_block_that_raises_leaves_what_was_there(tmp_path, error):
    path = tmp_path / "file.txt"
    path.write_text("before")

    def write_half():
        with whole_file(path) as partial:
            partial.write_text("half")
            raise error

    with pytest.raises(error):
        write_half()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("owner", "name"), [(os, "fsync"), (pathlib.Path, "replace")])
def test_a_disk_that_fails_leaves_what_was_there(tmp_path, monkeypatch, owner, name):
    path = tmp_path / "file.txt"
    path.write_text("before")

    def fail(*arguments):
        raise OSError("no space")

    monkeypatch.setattr(owner, name, fail)
    with pytest.raises(OSError, match="no space"):
        write_whole(path, "after")
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), whole_file(tmp_path / "file.txt"):
        pass
    assert not list(tmp_path.iterdir())


def test_others_may_read_it_as_they_may_any_new_file(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    write_whole(tmp_path / "whole", b"")
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "whole")}
    assert len(modes) == 1


def test_clear_takes_what_is_half_written_and_nothing_else(tmp_path):
    kept = [".mine.partial", ".net.safetensors.77.partial", "mine.partial", "run.json"]
    for name in (*kept, ".run.json.77.partial"):
        (tmp_path / name).write_text("{")
    clear(tmp_path, "*.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == kept


def test_threads_that_write_one_file_leave_one_of_theirs_whole(tmp_path):
    path = tmp_path / "file"
    texts = [str(number) * 50_000 for number in range(4)]

    def write(text: str) -> None:
        for _ in range(10):
            write_whole(path, text)
            assert path.read_text() in texts

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(write, text) for text in texts]:
            done.result()
    assert list(tmp_path.iterdir()) == [path]
