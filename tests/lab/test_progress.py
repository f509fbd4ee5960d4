"""What is told while many runs are made."""

import io
import json
import re
from dataclasses import replace

import pytest
from rich.console import Console

from scratchconv.lab import pace as module
from scratchconv.lab.progress import LabProgress
from scratchconv.lab.records import RunRecord, run_key
from scratchconv.training import RunConfig
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


def ended(key: str, seconds: float = 800.0) -> RunRecord:
    return RunRecord(key, {}, {}, {"test_accuracy": 0.5, "seconds": seconds})


def runs(**epochs: int) -> tuple[dict[str, str], dict[str, RunConfig]]:
    """Labels and settings of runs of so many epochs, by their keys; keys in capitals are local."""
    names = {"a": "one", "b": "two", "c": "three", "L": "local", "M": "more local"}
    return (
        {key: names[key] for key in epochs},
        {
            key: RunConfig(model="s-local" if key.isupper() else "s-fc", epochs=count)
            for key, count in epochs.items()
        },
    )


@pytest.mark.parametrize("terminal", [True, False])
def test_how_far_runs_in_other_processes_are_and_what_is_left(clock, terminal):
    progress, stream = told(terminal=terminal)
    progress.plan(*runs(a=40, b=40, c=20), reused=1)
    progress.under_way({"a": 30, "b": 0})  # a is gone on with: its 30 epochs took no time here
    clock[0] = 100.0
    progress.under_way({"a": 35, "b": 5})  # ten epochs in 100 s, sixty are left
    shown = stream.getvalue()
    assert "3\xa0runs to make, 1 there already" in shown
    assert ("under way: epochs 35 of 40, 5 of 40; about 0:10:00 left" in shown) is terminal
    clock[0] = 150.0
    progress.finished(ended("a"))  # fifteen epochs in 150 s, 55 are left
    assert "1 of 3  one: 50.00 % test, 800 s; about 0:09:10 left" in stream.getvalue()
    progress.finished(ended("b"))
    progress.finished(ended("c"))
    assert stream.getvalue().rstrip().endswith("3 of 3  three: 50.00 % test, 800 s")


def test_an_epoch_to_come_counts_for_what_one_of_its_network_took(clock):
    progress, stream = told(terminal=True)
    progress.plan(*runs(a=10, L=10, b=10, M=20), reused=0)
    progress.under_way({"a": 0, "L": 0})
    clock[0] = 20.0
    progress.under_way({"a": 1, "L": 10})  # 20 s an epoch and 2 s
    # 9 and 10 of the one and 20 of the other: 420 s, by two at once.
    assert "epochs 1 of 10, 10 of 10; about 0:03:30 left" in stream.getvalue()


def test_an_epoch_of_ten_times_the_samples_counts_for_ten(clock):
    progress, stream = told(terminal=False)
    labels, configs = runs(a=10, b=10)
    sizes = {"a": 1_000, "b": 10_000}
    configs = {key: replace(config, train_size=sizes[key]) for key, config in configs.items()}
    progress.plan(labels, configs, reused=0)
    clock[0] = 5.0
    progress.finished(ended("a", seconds=5.0))
    assert "about 0:00:50 left" in stream.getvalue()


def test_trials_are_not_all_that_there_is_to_make():
    progress, stream = told(terminal=False)
    labels, configs = runs(a=10, b=10)
    trials = {key: replace(config, skip_test=True) for key, config in configs.items()}
    progress.plan(labels, trials, reused=1)
    said = "2\xa0trials to make, 1 there already; the runs of what they choose follow"
    assert said in stream.getvalue()


def test_time_left_where_nobody_looks_at_the_runs(clock):
    """On a cluster only their ends are told."""
    progress, stream = told(terminal=False)
    progress.plan(*runs(a=10, b=10, c=10, L=10), reused=0)
    clock[0] = 100.0
    progress.finished(ended("a", seconds=100.0))
    # As far as known, others take as long: 300 s, one at once.
    assert "about 0:05:00 left" in stream.getvalue()
    progress.finished(ended("L", seconds=40.0))
    # 140 s of work in 100 s; 200 s are left.
    assert "about 0:02:23 left" in stream.getvalue()


@pytest.mark.parametrize(
    ("steps", "left"),
    # Of runs of four epochs of 100 steps each; one is gone on with in the middle of its third.
    [
        (0, "epoch 1 of 4, loss 1.000; about 0:01:10 left"),
        (250, "epoch 3 of 4, loss 1.000; about 0:00:50 left"),
    ],
)
def test_time_left_of_runs_made_one_after_another_in_this_process(steps, left, clock):
    progress, stream = told(terminal=True)
    labels, configs = runs(a=4, b=4)
    named = {
        run_key(config): config
        for config in (replace(c, seed=n) for n, c in enumerate(configs.values()))
    }
    progress.plan(dict(zip(named, labels.values(), strict=True)), named, reused=0)
    progress.begin(next(iter(named.values())), {"steps": 400}, steps)
    clock[0] = 10.0
    progress.epoch({"epoch": steps // 100 + 1, "train_loss": 1.0})
    assert left in stream.getvalue()


def test_a_log_has_a_line_every_ten_minutes_in_which_no_run_ended(clock):
    progress, stream = told(terminal=False)
    progress.plan(*runs(a=100, b=100, c=50), reused=0)

    def lines_after(minutes: int, **epochs: int) -> list[str]:
        before = len(stream.getvalue())
        clock[0] = 60.0 * minutes
        progress.under_way(epochs)
        return stream.getvalue()[before:].splitlines()

    assert lines_after(0, a=0, b=0) == []
    assert lines_after(9, a=9, b=9) == []
    assert lines_after(10, a=10, b=10) == [
        "      under way: epochs 10 of 100, 10 of 100; about 1:55:00 left"
    ]
    assert lines_after(19, a=19, b=19) == []
    progress.finished(ended("a", seconds=60.0 * 19))
    assert lines_after(28, b=28) == []
    assert len(lines_after(29, b=29)) == 1


def test_a_run_that_failed_says_nothing_about_the_others(clock):
    progress, stream = told(terminal=False)
    progress.plan(*runs(a=10, b=10, c=10), reused=0)
    progress.under_way({"a": 0, "b": 0})
    clock[0] = 10.0
    progress.finished(RunRecord("a", {}, {}, {}, failure="its loss became infinite"))
    assert "failed (its loss became infinite)\n" in stream.getvalue()
    clock[0] = 50.0
    progress.finished(ended("b", seconds=50.0))
    assert "about 0:00:50 left" in stream.getvalue()


def test_a_run_that_was_finished_before_took_no_time_here(clock):
    progress, stream = told(terminal=False)
    progress.plan(*runs(a=40, b=40), reused=0, finished=["a"])
    clock[0] = 1.0
    progress.finished(ended("a", seconds=600.0))  # it was but measured
    assert "left" not in stream.getvalue()
    clock[0] = 61.0
    progress.under_way({"b": 0})
    clock[0] = 661.0
    progress.under_way({"b": 20})
    assert "epochs 20 of 40; about 0:11:01 left" in stream.getvalue()


def test_epochs_of_a_run_are_read_while_it_is_written_to(tmp_path):
    assert epochs_done(tmp_path) == 0
    path = tmp_path / "metrics.jsonl"
    path.write_text("")
    assert epochs_done(tmp_path) == 0
    path.write_text(json.dumps({"epoch": 3}) + "\n" + json.dumps({"epoch": 4})[:5])
    assert epochs_done(tmp_path) == 3
    path.write_text(
        "".join(json.dumps({"epoch": n, "layers": [0] * 99}) + "\n" for n in range(999))
    )
    assert epochs_done(tmp_path) == 998


@pytest.mark.parametrize(
    "damaged",
    [b'{"epoch": 4, "sec\n', 40 * b"\0" + b"\n", b"\n", b"\xff\n", b"[4]\n", b'{"epoch": "4"}\n'],
    ids=str,
)
def test_epochs_are_counted_to_the_last_line_that_is_whole(damaged, tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"epoch": 3}\n' + damaged + b'{"epo')
    assert epochs_done(tmp_path) == 3
    path.write_bytes(damaged)
    assert epochs_done(tmp_path) == 0


def on_a_terminal(text: str) -> list[str]:
    """The lines that a terminal ends up with."""
    lines = [""]
    place = 0
    for part in re.split("(\r|\n|\x1b\\[2K)", re.sub("\x1b\\[\\d*m", "", text)):  # without colours
        if part == "\n":
            lines.append("")
        elif part == "\x1b[2K":
            lines[-1] = ""
        elif part != "\r":
            line = lines[-1].ljust(place)
            lines[-1] = line[:place] + part + line[place + len(part) :]
            place += len(part)
        if part in ("\r", "\n"):
            place = 0
    return [line.replace("\xa0", " ").rstrip() for line in lines]


def test_on_a_terminal_nothing_is_left_of_a_longer_line(clock):
    progress, stream = told(terminal=True)
    progress.plan(*runs(a=100), reused=0)
    progress.under_way({"a": 0})
    clock[0] = 100.0
    progress.under_way({"a": 50})
    assert on_a_terminal(stream.getvalue())[-1].endswith("epochs 50 of 100; about 0:01:40 left")
    progress.under_way({"a": 100})
    assert on_a_terminal(stream.getvalue())[-1] == "      under way: epochs 100 of 100"
    progress.note("short")
    progress.under_way({"a": 50})
    progress.finished(ended("a"))
    assert on_a_terminal(stream.getvalue()) == [
        "  1 run to make",
        "  ! short",
        "    1 of 1  one: 50.00 % test, 800 s",
        "",
    ]


def test_on_a_terminal_many_runs_are_told_in_one_row(clock):
    progress, stream = told(terminal=True)
    progress.console.width = 60
    progress.plan(*runs(a=100, b=100, c=100, L=100, M=100), reused=0)
    progress.under_way(dict.fromkeys("abcLM", 0))
    clock[0] = 100.0
    progress.under_way(dict.fromkeys("abcLM", 50))
    line = on_a_terminal(stream.getvalue())[-1]
    assert len(line) < 60
    assert line.startswith("      under way: epochs 50 of 100, 5")
    assert line.endswith("…; about 0:01:40 left")
