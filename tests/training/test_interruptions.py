"""A run cut off at any write, by a kill or a full disk, ends as if nothing had happened."""

import errno
import os
import pathlib
from contextlib import contextmanager

import pytest
import torch

from scratchconv.errors import RunDirectoryError
from scratchconv.training import RunConfig, Stopped, checkpoint, load_run, load_weights, train
from scratchconv.training.progress import Silent

CONFIG = RunConfig(
    alpha=1, data="digits", epochs=2, batch_size=600, lam=2e-3, dropout=0.2, checkpoint_seconds=0
)


class Killed(BaseException):
    """Stands for the end of the process: nothing in the package may catch it."""


class Writes:
    """Counts what reaches the disk, and fails at one of them."""

    def __init__(self, monkeypatch, fail_at, error):
        self.count, self.fail_at, self.error = 0, fail_at, error
        for owner, name in (
            (checkpoint, "save_file"),
            (os, "fsync"),
            (pathlib.Path, "replace"),
            (pathlib.Path, "unlink"),
        ):
            monkeypatch.setattr(owner, name, self.counted(getattr(owner, name)))

    def counted(self, write):
        def wrapper(*arguments, **options):
            self.count += 1
            if self.count == self.fail_at:
                raise self.error
            return write(*arguments, **options)

        return wrapper


@contextmanager
def failing(fail_at, error):
    """Inside, the write of that number fails; yields what counts them."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield Writes(monkeypatch, fail_at, error)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return train(CONFIG, tmp_path_factory.mktemp("runs") / "undisturbed")


@pytest.fixture(scope="module")
def writes(tmp_path_factory):
    """How many writes an undisturbed run makes."""
    out = tmp_path_factory.mktemp("runs") / "counted"
    with failing(0, None) as counter:
        train(CONFIG, out)
    assert counter.count > 20
    return counter.count


def assert_same(run, other):
    ours, theirs = load_weights(run.directory), load_weights(other.directory)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)

    def told(line):
        return {name: value for name, value in line.items() if name != "seconds"}

    assert [told(line) for line in run.metrics] == [told(line) for line in other.metrics]
    assert {**run.result, "environment": 0, "seconds": 0} == {
        **other.result,
        "environment": 0,
        "seconds": 0,
    }
    assert not list(run.directory.rglob("*.partial"))


def test_killed_before_any_write(undisturbed, writes, tmp_path):
    for number in range(1, writes + 1):
        out = tmp_path / str(number)
        with failing(number, Killed()), pytest.raises(Killed):
            train(CONFIG, out)
        begun = (out / "config.json").exists()
        # What was killed before it had begun can be begun again, without being asked to resume.
        assert_same(train(CONFIG, out, resume=begun), undisturbed)


def test_the_disk_full_at_any_write(undisturbed, writes, tmp_path):
    errors = []
    for number in range(1, writes + 1):
        out = tmp_path / str(number)
        with failing(number, OSError(errno.ENOSPC, "No space left on device")):
            try:
                train(CONFIG, out)
            except RunDirectoryError as error:
                errors.append(str(error))
        assert_same(train(CONFIG, out, resume=True), undisturbed)
    assert all("the disk is full" in line and "\n" not in line for line in errors)
    assert len(errors) > writes / 2  # flushing a folder and dropping old checkpoints may fail


def test_killed_again_while_going_on(undisturbed, tmp_path):
    for number in range(1, 8):
        out = tmp_path / str(number)
        for fail_at in (14, number):
            with failing(fail_at, Killed()), pytest.raises(Killed):
                train(CONFIG, out, resume=True)
        assert_same(train(CONFIG, out, resume=True), undisturbed)


def test_a_line_half_written_to_a_full_disk_is_made_anew(undisturbed, tmp_path, monkeypatch):
    out = tmp_path / "run"
    opened = pathlib.Path.open

    def half(path, mode="r", **options):
        file = opened(path, mode, **options)
        if path.name == "metrics.jsonl" and mode == "a":
            file.write('{"epoch": 1, "step": 2, "seco')
            file.close()
            raise OSError(errno.ENOSPC, "No space left on device")
        return file

    monkeypatch.setattr(pathlib.Path, "open", half)
    with pytest.raises(RunDirectoryError, match="full"):
        train(CONFIG, out)
    monkeypatch.undo()
    assert load_run(out).metrics == []
    assert_same(train(CONFIG, out, resume=True), undisturbed)


class StopWhen(Silent):
    """Sends this process the signal of Ctrl-C from one of the calls it listens to."""

    def __init__(self, call):
        setattr(self, call, lambda *_: os.kill(os.getpid(), 2))


def test_ctrl_c_while_an_epoch_is_evaluated_stops_after_it(undisturbed, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(Stopped, match="--resume"):
        train(CONFIG, out, progress=StopWhen("epoch"))
    assert len(load_run(out).metrics) == 1
    assert_same(train(CONFIG, out, resume=True), undisturbed)


def test_ctrl_c_in_the_last_moment_is_not_forgotten(undisturbed, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(Stopped, match="is finished"):
        train(CONFIG, out, progress=StopWhen("end"))
    assert_same(load_run(out), undisturbed)


def test_a_second_ctrl_c_stops_at_once(undisturbed, tmp_path):
    class Twice(Silent):
        def step(self, done, loss):
            os.kill(os.getpid(), 2)
            os.kill(os.getpid(), 2)

    with pytest.raises(KeyboardInterrupt):
        train(CONFIG, tmp_path / "run", progress=Twice())
    assert_same(train(CONFIG, tmp_path / "run", resume=True), undisturbed)


def test_what_was_damaged_is_set_aside_so_that_good_checkpoints_stay(undisturbed, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(Stopped):
        train(CONFIG, out, progress=StopWhen("epoch"))
    newest, before = checkpoint.paths(out / "checkpoints")
    newest.write_bytes(b"damaged")
    # Killed after the first save of the resumed run.
    with failing(9, Killed()), pytest.raises(Killed):
        train(CONFIG, out, resume=True)
    assert newest.with_suffix(".damaged").read_bytes() == b"damaged"
    assert before in checkpoint.paths(out / "checkpoints")
    assert_same(train(CONFIG, out, resume=True), undisturbed)


def test_going_on_with_other_threads_is_told(tmp_path):
    class Notes(Silent):
        def __init__(self):
            self.notes = []

        def note(self, text):
            self.notes.append(text)

    out = tmp_path / "run"
    with pytest.raises(Stopped):
        train(CONFIG, out, progress=StopWhen("epoch"))
    threads = torch.get_num_threads()
    notes = Notes()
    torch.set_num_threads(threads + 1)
    try:
        train(CONFIG, out, resume=True, progress=notes)
    finally:
        torch.set_num_threads(threads)
    assert notes.notes == [
        f"threads {threads} → {threads + 1}: last digits may differ from those of a run in one go"
    ]
