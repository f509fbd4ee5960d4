"""Checkpoints are whole or named as damaged."""

import errno
import stat

import pytest
import torch

from scratchconv.errors import RunDirectoryError
from scratchconv.training import checkpoint
from scratchconv.training.checkpoint import Checkpoint


def sample(value: float) -> Checkpoint:
    tensors = {
        "model.weight": torch.full((3, 5), value),
        "model.count": torch.tensor(7),
        "model.half": torch.ones(4, dtype=torch.bfloat16),
        "random.cpu": torch.get_rng_state(),
    }
    return Checkpoint(tensors, {"position": {"epoch": 2, "seconds": 0.1 + 0.2}})


def test_what_is_saved_comes_back(tmp_path):
    saved = sample(1.5)
    loaded = checkpoint.load(checkpoint.save(saved, tmp_path, 12))
    assert loaded.state == saved.state
    assert loaded.tensors.keys() == saved.tensors.keys()
    for name, tensor in saved.tensors.items():
        assert loaded.tensors[name].dtype == tensor.dtype
        assert torch.equal(loaded.tensors[name], tensor)


def test_part_strips_its_prefix_and_takes_nothing_else():
    assert set(sample(0).part("model")) == {"weight", "count", "half"}


def test_only_the_newest_two_are_kept(tmp_path):
    for step in (5, 10, 200, 1000):
        checkpoint.save(sample(step), tmp_path, step)
    assert [path.name for path in checkpoint.paths(tmp_path)] == [
        "step-0000001000.safetensors",
        "step-0000000200.safetensors",
    ]
    assert not list(tmp_path.glob("*.partial"))


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[-3] ^= 0x10
    path.write_bytes(content)


def change_the_state(path):
    content = path.read_bytes()
    assert content.count(b'epoch\\": 2') == 1
    path.write_bytes(content.replace(b'epoch\\": 2', b'epoch\\": 3'))


def truncate(path):
    path.write_bytes(path.read_bytes()[:-20])


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [flip_a_bit, change_the_state, truncate, empty])
def test_a_damaged_one_is_named_and_the_one_before_is_used(tmp_path, damage):
    checkpoint.save(sample(1), tmp_path, 1)
    damage(checkpoint.save(sample(2), tmp_path, 2))
    found, damaged = checkpoint.newest(tmp_path)
    assert found is not None
    assert found.tensors["model.weight"][0, 0] == 1
    assert len(damaged) == 1
    assert "step-0000000002.safetensors" in damaged[0]


def test_all_damaged_is_an_error_that_names_them(tmp_path):
    flip_a_bit(checkpoint.save(sample(1), tmp_path, 1))
    truncate(checkpoint.save(sample(2), tmp_path, 2))
    with pytest.raises(RunDirectoryError, match=r"step-0000000002.*step-0000000001"):
        checkpoint.newest(tmp_path)


def test_others_may_read_it_as_they_may_any_new_file(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    path = checkpoint.save(sample(1), tmp_path, 1)
    plain, saved = (stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "plain", path))
    assert saved == plain


def test_clear_sets_later_ones_aside_and_removes_what_is_half_written(tmp_path):
    for step in (3, 7):
        checkpoint.save(sample(step), tmp_path, step)
    (tmp_path / ".step-0000000009.safetensors.77.partial").write_bytes(b"begun")
    (tmp_path / ".tmpAb3dEf").write_bytes(b"begun")  # as safetensors names it
    checkpoint.clear(tmp_path, after=3)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["step-0000000003.safetensors", "step-0000000007.damaged"]


def test_none_at_all_is_no_error(tmp_path):
    assert checkpoint.newest(tmp_path) == (None, [])


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        checkpoint.SafetensorError("I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_one_line_and_leaves_what_was_there(tmp_path, monkeypatch, error):
    checkpoint.save(sample(1), tmp_path, 1)

    def fail(tensors, path, metadata):
        path.write_bytes(b"begun")
        raise error

    monkeypatch.setattr(checkpoint, "save_file", fail)
    with pytest.raises(RunDirectoryError, match=r"disk is full.*--resume") as raised:
        checkpoint.save(sample(2), tmp_path, 2)
    assert "\n" not in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == ["step-0000000001.safetensors"]
