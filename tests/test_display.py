"""What a run tells in a terminal, and in a log file."""

import contextlib
import io

import pytest
from rich.console import Console

from scratchconv import display
from scratchconv.display import Stages, Terminal
from scratchconv.training import RunConfig, train

RESOLVED = {
    "alpha": 8,
    "parameters": 1_234_567,
    "train_size": 1365,
    "validation_size": 72,
    "precision": "fp32",
    "device": "cpu",
    "lam": 1e-4,
    "lam_first": 2e-4,
    "steps": 40,
}


def metrics(epoch, **changes):
    line = {
        "epoch": epoch,
        "step": 10 * epoch,
        "train_loss": 1.25,
        "train_accuracy": 0.5,
        "validation_loss": 1.5,
        "validation_accuracy": 0.4375,
        "layers": [{"nonzero": 12_345}, {"nonzero": 678}],
        "spread": 0.514,
        "warnings": [],
    }
    return line | changes


class Clock:
    """Stands for time.monotonic."""

    def __init__(self, monkeypatch):
        self.now = 100.0
        monkeypatch.setattr(display.time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def terminal(*, is_terminal=False, width=200):
    file = io.StringIO()
    console = Console(file=file, force_terminal=is_terminal, width=width, soft_wrap=True)
    return Terminal(console), file


def lines(file):
    return file.getvalue().splitlines()


def test_the_first_line_says_what_is_run(clock):
    shown, file = terminal()
    shown.begin(RunConfig(alpha=8, permute=3), RESOLVED, 0)
    (line,) = lines(file)
    for word in (
        "s-fc",
        "α=8",
        "1,234,567 weights",
        "cifar10 (pixels permuted)",
        "1,365 + 72 (validation)",
    ):
        assert word in line
    assert "beta-lasso λ first 0.0002, rest 0.0001" in line
    assert "fp32 on cpu" in line
    assert "going on" not in line


def test_without_a_penalty_there_is_no_lam_and_going_on_is_told(clock):
    shown, file = terminal()
    shown.begin(RunConfig(alpha=8, method="sgd"), RESOLVED | {"lam": 0.0, "lam_first": 0.0}, 1500)
    assert "λ" not in file.getvalue()
    assert "going on from step 1,500" in file.getvalue()


def test_without_a_terminal_every_slow_epoch_is_one_line_and_nothing_else(clock):
    shown, file = terminal()
    shown.begin(RunConfig(alpha=8, epochs=4), RESOLVED, 0)
    for epoch in range(1, 5):
        for step in range(10):
            shown.step(10 * epoch + step - 9, 1.0)
        clock.now += 30
        shown.epoch(metrics(epoch))
    shown.end({"epochs": 4, "test_loss": 1.0, "test_accuracy": 0.4567})
    assert len(lines(file)) == 6
    assert lines(file)[2].split("  ") == [
        "epoch 2/4",
        "loss 1.250",
        "train 50.00 %",
        "val 43.75 %",
        "non-zeros 12,345 · 678",
        "spread 0.51",
        "0:01:00 left",
    ]
    assert lines(file)[-1] == "test accuracy 45.67 % after 4 epochs"
    assert "\x1b" not in file.getvalue()


def test_of_short_epochs_some_are_shown_and_the_last_always(clock):
    shown, file = terminal()
    shown.begin(RunConfig(alpha=8, epochs=100), RESOLVED | {"steps": 1000}, 0)
    for epoch in range(1, 101):
        clock.now += 0.25
        shown.epoch(metrics(epoch))
    epochs = [int(line.split("/")[0].split()[-1]) for line in lines(file)[1:]]
    assert epochs == [*range(1, 100, 8), 100]


def test_time_left_of_a_resumed_run_counts_its_own_steps_only(clock):
    shown, file = terminal()
    shown.begin(RunConfig(alpha=8, epochs=4), RESOLVED, 20)
    clock.now += 60
    shown.epoch(metrics(3))
    assert lines(file)[-1].endswith("0:01:00 left")


def test_regression_shows_losses(clock):
    shown, file = terminal()
    shown.begin(RunConfig(data="tree", epochs=1), RESOLVED, 0)
    shown.epoch(metrics(1, train_accuracy=None, validation_accuracy=None, spread=None))
    assert "val loss 1.500" in lines(file)[-1]
    assert "%" not in lines(file)[-1]
    assert "spread" not in lines(file)[-1]
    shown.end({"epochs": 1, "test_loss": 0.12345, "test_accuracy": None})
    assert lines(file)[-1] == "test loss 0.1235 after 1 epoch"


def test_without_validation_none_is_shown(clock):
    shown, file = terminal()
    shown.begin(RunConfig(epochs=1), RESOLVED, 0)
    shown.epoch(metrics(1, validation_loss=None, validation_accuracy=None))
    assert "val" not in lines(file)[-1]


def test_test_data_left_alone_is_told(clock):
    shown, file = terminal()
    shown.begin(RunConfig(epochs=1), RESOLVED, 0)
    shown.end({"epochs": 1, "test_loss": None, "test_accuracy": None})
    assert lines(file)[-1] == "done, test data untouched, after 1 epoch"


def test_notes_are_shown_as_they_are_also_before_a_run():
    shown, file = terminal()
    shown.note("[bold]/a/folder[/bold] is finished already")
    assert lines(file) == ["! [bold]/a/folder[/bold] is finished already"]


def test_a_terminal_has_a_bar_that_is_taken_away_also_after_an_error():
    shown, file = terminal(is_terminal=True)
    shown.begin(RunConfig(alpha=8, epochs=4), RESOLVED, 0)
    shown.step(15, 1.234)
    shown.note("something")
    shown.close()
    shown.close()
    assert "epoch 2/4" in file.getvalue()
    assert "15/40" in file.getvalue()
    assert "loss 1.234" in file.getvalue()
    assert file.getvalue().endswith("\x1b[2K")  # the bar's line is left empty


def test_a_real_run_is_shown(tmp_path):
    shown, file = terminal()
    config = RunConfig(alpha=1, data="digits", epochs=2, batch_size=500, lam=1e-4)
    train(config, tmp_path / "run", progress=shown)
    assert len(lines(file)) == 4
    train(config, tmp_path / "run", resume=True, progress=shown)
    assert lines(file)[-1] == f"! {tmp_path / 'run'} is finished already; nothing to do"


@pytest.mark.parametrize("is_terminal", [False, True])
def test_stages_are_told_once_each_as_they_end(is_terminal, clock):
    file = io.StringIO()
    console = Console(file=file, force_terminal=is_terminal, width=80, highlight=False)
    with Stages(console) as stages:
        for stage in ("learned [bold]", "geometry"):
            for done, total in ((0, 1), (5, 10), (10, 10), (1, 1)):
                stages(stage, done, total)
                clock.now += 1
    told = file.getvalue()
    assert told.count("learned [bold]: 4.0 s\n") == told.count("geometry: 4.0 s\n") == 1
    assert told.index("learned [bold]: 4.0 s") < told.index("geometry: 4.0 s")


def test_a_stage_that_fails_is_not_told_as_done():
    file = io.StringIO()
    with contextlib.suppress(ZeroDivisionError), Stages(Console(file=file)) as stages:
        stages("sharing", 0, 1)
        raise ZeroDivisionError
    assert file.getvalue() == ""
