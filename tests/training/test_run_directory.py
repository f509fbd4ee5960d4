"""What is damaged, foreign or in use is told in one line, and never built upon."""

import json
import os
import shutil

import filelock
import pytest

from scratchconv.errors import RunDirectoryError
from scratchconv.training import RunConfig, Stopped, load_run, run_directory, start, train
from scratchconv.training.progress import Silent

CONFIG = RunConfig(alpha=1, data="digits", epochs=2, batch_size=600, lam=2e-3)


class StopAtFirstEpoch(Silent):
    def epoch(self, metrics):
        os.kill(os.getpid(), 2)


@pytest.fixture(scope="module")
def stopped_once(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "stopped"
    with pytest.raises(Stopped):
        train(CONFIG, out, progress=StopAtFirstEpoch())
    return out


@pytest.fixture
def stopped(stopped_once, tmp_path):
    return shutil.copytree(stopped_once, tmp_path / "stopped")


def change(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


DAMAGE = {
    "no JSON": lambda run: (run / "config.json").write_text("{"),
    "not UTF-8": lambda run: (run / "config.json").write_bytes(b"\xff\xfe\xfa"),
    "no object": lambda run: (run / "config.json").write_text("[1]"),
    "no config": lambda run: (run / "config.json").write_text('{"format": 1}'),
    "config of another kind": lambda run: change(run / "config.json", config=[1]),
    "another format": lambda run: change(run / "config.json", format=2),
    "result is no JSON": lambda run: (run / "result.json").write_text('{"format": 1, "epo'),
    "result of another format": lambda run: (run / "result.json").write_text('{"format": 9}'),
    "metrics are no JSON": lambda run: (run / "metrics.jsonl").write_text("{\n{}\n"),
    "metrics are not UTF-8": lambda run: (run / "metrics.jsonl").write_bytes(b"\xff\xfe\n{}\n"),
    "metrics hold no epochs": lambda run: (run / "metrics.jsonl").write_text("1\n2\n"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_records_are_named(damage, stopped):
    damage(stopped)
    for use in (lambda: load_run(stopped), lambda: train(CONFIG, stopped, resume=True)):
        with pytest.raises(RunDirectoryError, match=r"(config|result|metrics)\.json") as raised:
            use()
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", ["", '{"epoch": 2}\n'])
def test_epochs_that_are_not_on_record_are_not_passed_over(content, stopped):
    (stopped / "metrics.jsonl").write_text(content)
    with pytest.raises(RunDirectoryError, match=r"metrics\.jsonl does not hold the 1 epochs"):
        train(CONFIG, stopped, resume=True)


def test_a_recorded_precision_that_there_is_not_is_refused(stopped):
    written = json.loads((stopped / "config.json").read_text())
    change(stopped / "config.json", resolved={**written["resolved"], "precision": "fp7"})
    with pytest.raises(ValueError, match="unknown --precision 'fp7'"):
        train(CONFIG, stopped, resume=True)


def test_a_setting_that_came_later_had_its_default(stopped):
    written = json.loads((stopped / "config.json").read_text())
    del written["config"]["skip_test"]
    change(stopped / "config.json", config=written["config"])
    assert train(CONFIG, stopped, resume=True).result


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("left", ["metrics.jsonl", "notes.txt"])
def test_nothing_is_begun_among_files_of_others(resume, left, tmp_path):
    (tmp_path / left).write_text("")
    with pytest.raises(RunDirectoryError, match="not empty and holds no run"):
        train(CONFIG, tmp_path, resume=resume)
    assert [path.name for path in tmp_path.iterdir()] == [left]


def test_checkpoints_that_lost_their_configuration_are_not_written_over(stopped):
    (stopped / "metrics.jsonl").unlink()
    (stopped / "config.json").unlink()
    before = sorted(stopped.rglob("*"))
    with pytest.raises(RunDirectoryError, match="holds no run"):
        train(CONFIG, stopped, resume=True)
    assert sorted(stopped.rglob("*")) == before


def test_a_resumed_run_began_when_it_first_did(stopped):
    change(stopped / "config.json", started="2020-02-20T20:20:20+00:00")
    environment = train(CONFIG, stopped, resume=True).result["environment"]
    assert environment["started"] == "2020-02-20T20:20:20+00:00"
    assert environment["finished"] > environment["started"]


def test_a_run_that_another_process_finished_meanwhile_is_left_as_it_is(stopped, monkeypatch):
    prepare = start.prepare

    def slowly(config, **options):
        monkeypatch.setattr(start, "prepare", prepare)
        train(CONFIG, stopped, resume=True)
        return prepare(config, **options)

    monkeypatch.setattr(start, "prepare", slowly)
    other = train(CONFIG, stopped, resume=True)
    assert other.result == load_run(stopped).result
    assert other.result["environment"]["finished"]


def test_a_run_that_another_process_began_meanwhile_is_not_mixed_in(tmp_path, monkeypatch):
    prepare, out = start.prepare, tmp_path / "run"

    def slowly(config, **options):
        monkeypatch.setattr(start, "prepare", prepare)
        train(CONFIG, out)
        return prepare(config, **options)

    monkeypatch.setattr(start, "prepare", slowly)
    with pytest.raises(RunDirectoryError, match="begun by another process"):
        train(CONFIG, out)


def test_the_lock_is_given_back_also_after_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), run_directory.lock(tmp_path):
        _ = 1 / 0
    with run_directory.lock(tmp_path):
        pass


@pytest.mark.parametrize("error", [PermissionError(13, "denied"), NotImplementedError("no flock")])
def test_a_lock_that_cannot_be_had_is_one_line(error, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(filelock.FileLock, "acquire", fail)
    with (
        pytest.raises(RunDirectoryError, match="lock could not be written"),
        run_directory.lock(tmp_path),
    ):
        pass


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_an_out_that_can_hold_nothing_is_refused(name, tmp_path):
    (tmp_path / "file").write_text("mine")
    for resume in (False, True):
        with pytest.raises(RunDirectoryError, match="file"):
            train(CONFIG, tmp_path / name, resume=resume)
    assert (tmp_path / "file").read_text() == "mine"
