"""What is told while many runs are made."""

import io
import json

import pytest
from rich.console import Console

from scratchconv.lab import progress as module
from scratchconv.lab.progress import LabProgress
from scratchconv.lab.records import RunRecord
from scratchconv.training.epoch_log import epochs_done


@pytest.fixture
def clock(monkeypatch):
    """Seconds that a test sets."""
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def told(*, terminal: bool) -> tuple[LabProgress, io.StringIO]:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, highlight=False, soft_wrap=True)
    return LabProgress(console), stream


def ended(key: str) -> RunRecord:
    return RunRecord(key, {}, {}, {"test_accuracy": 0.5, "seconds": 9.0})


@pytest.mark.parametrize("terminal", [True, False])
def test_how_far_runs_in_other_processes_are_and_what_is_left(clock, terminal):
    progress, stream = told(terminal=terminal)
    progress.plan({"a": "one", "b": "two", "c": "three"}, {"a": 40, "b": 40, "c": 20}, reused=1)
    progress.under_way({"a": 30, "b": 0})  # a is gone on with: its 30 epochs took no time here
    clock[0] = 100.0
    progress.under_way({"a": 35, "b": 5})  # ten epochs in 100 s, sixty are left
    shown = stream.getvalue()
    assert "3\xa0runs to make, 1 there already" in shown
    assert ("under way: epochs 35 of 40, 5 of 40; about 0:10:00 left" in shown) is terminal
    clock[0] = 150.0
    progress.finished(ended("a"))  # fifteen epochs in 150 s, 55 are left
    assert "1 of 3  one: 50.00 % test, 9 s; about 0:09:10 left" in stream.getvalue()
    progress.finished(ended("b"))
    progress.finished(ended("c"))
    assert stream.getvalue().rstrip().endswith("3 of 3  three: 50.00 % test, 9 s")


def test_epochs_of_a_run_are_read_while_it_is_written_to(tmp_path):
    assert epochs_done(tmp_path) == 0
    path = tmp_path / "metrics.jsonl"
    path.write_text("")
    assert epochs_done(tmp_path) == 0
    path.write_text(json.dumps({"epoch": 3}) + "\n" + json.dumps({"epoch": 4})[:5])
    assert epochs_done(tmp_path) == 3
