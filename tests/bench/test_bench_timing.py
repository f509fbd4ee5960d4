"""Timing in turns, and what tables make of it."""

import json

import pytest

from scratchconv.bench.comparison import Comparison, Row, fastest
from scratchconv.bench.record import markdown
from scratchconv.bench.timing import Timing, time_interleaved

DESCRIPTION = {
    "command": "scratchconv bench --out DIR",
    "date": "2026-01-02T03:04:05+00:00",
    "commit": "abc",
    "hardware": {"cpu": "a processor", "cores": 2, "memory_gib": 24.0},
    "versions": {"torch": "2.13.0", "sparselab": None},
    "threads": 2,
    "load_average_before": 0.1,
    "seed": 0,
}


class Clock:
    """A clock that only the timed calls move."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr("scratchconv.bench.timing.time.perf_counter", lambda: self.now)

    def call(self, name, seconds, log):
        def call():
            log.append(name)
            self.now += seconds

        return call


def test_contenders_take_turns_and_warm_up_is_not_counted(monkeypatch):
    clock, log, turns = Clock(monkeypatch), [], []
    slow_at_first = iter([9.0, 9.0, 9.0])

    def slow():
        log.append("slow")
        clock.now += next(slow_at_first, 0.5)

    timings = time_interleaved(
        {"slow": slow, "quick": clock.call("quick", 0.25, log)},
        rounds=4,
        readings=2,
        warm_up=3,
        after_turn=lambda: turns.append(len(log)),
    )
    assert timings["slow"].seconds == (0.5,) * 8
    assert timings["quick"].seconds == (0.25,) * 8
    assert len(turns) == 8
    rounds = log[6:]
    for begin in range(0, len(rounds), 6):
        turn, other = rounds[begin : begin + 3], rounds[begin + 3 : begin + 6]
        assert len(set(turn)) == len(set(other)) == 1
        assert set(turn) | set(other) == {"slow", "quick"}


def test_the_order_of_a_round_depends_on_the_seed_alone(monkeypatch):
    def order(seed):
        log = []
        clock = Clock(monkeypatch)
        calls = {name: clock.call(name, 1.0, log) for name in "abcd"}
        time_interleaved(calls, rounds=5, readings=1, warm_up=0, seed=seed)
        return log

    assert order(0) == order(0) != order(1)
    assert any(order(0)[8 * n : 8 * n + 8] != order(0)[:8] for n in range(1, 5))


def test_a_short_call_is_repeated_within_a_reading(monkeypatch):
    clock, log = Clock(monkeypatch), []
    timings = time_interleaved(
        {"short": clock.call("short", 2.0**-12, log)}, rounds=1, readings=1, warm_up=1
    )
    assert timings["short"].seconds == (2.0**-12,)
    assert len(log) == 1 + 1 + 5  # one millisecond is five calls, rounded up


def test_median_and_quartiles():
    timing = Timing((5.0, 1.0, 3.0, 2.0, 4.0))
    assert (timing.median, timing.quartiles) == (3.0, (2.0, 4.0))
    assert Timing((7.0,)).quartiles == (7.0, 7.0)


def comparison():
    rows = [
        Row.timed("slower", Timing((0.03,))),
        Row.timed("quicker", Timing((0.005, 0.007)), error_of_a_step=0.5),
        Row("absent", unavailable="not installed: a | b"),
        Row.timed("ours", Timing((0.01,))),
    ]
    return Comparison("A step", rows, "ms", ours="ours", baseline=fastest(rows[:2]))


def test_losing_is_shown_like_winning():
    page = markdown(DESCRIPTION, {"step": [comparison()]})
    assert "| slower | 30.0 | 30.0 – 30.0 | 1 | 3.00 |" in page
    assert "| quicker ← strongest dense baseline | 6.00 | 5.50 – 6.50 | 2 | 0.6 |" in page
    assert "| **ours** | 10.0 | 10.0 – 10.0 | 1 | 1.00 |" in page
    assert "| absent | – | not installed: a \\| b | | |" in page
    assert "Strongest dense baseline: quicker." in page
    assert "torch 2.13.0; seed 0; load average before it began: 0.1." in page


def test_the_record_keeps_every_reading_and_says_what_is_absent():
    record = json.loads(json.dumps(comparison().as_record()))
    slower, quicker, absent, ours = record["rows"]
    assert quicker["readings_ms"] == [5.0, 7.0]
    assert (quicker["median_ms"], quicker["ours_is"]) == (6.0, 0.6)
    assert quicker["error_of_a_step"] == 0.5
    assert (slower["ours_is"], ours["ours_is"]) == (3.0, 1.0)
    assert absent == {"name": "absent", "unavailable": "not installed: a | b"}


@pytest.mark.parametrize("ours", [Row("ours", unavailable="why"), None])
def test_without_ours_there_is_no_ratio(ours):
    rows = [Row.timed("slower", Timing((0.03,)))] + ([ours] if ours else [])
    table = Comparison("A step", rows, "ms", ours="ours")
    assert table.ours_is(rows[0]) is None
    assert "| slower | 30.0 | 30.0 – 30.0 | 1 |  |" in markdown(DESCRIPTION, {"step": [table]})


def test_memory_is_shown_in_mebibytes_and_recorded_in_bytes():
    table = Comparison("Peak", [Row("ours", 3.0 * 2**20)], "MiB", ours="ours")
    assert "| **ours** | 3.00 |  |  | 1.00 |" in markdown(DESCRIPTION, {"memory": [table]})
    assert table.as_record()["rows"][0]["bytes"] == 3 * 2**20
