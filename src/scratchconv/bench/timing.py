"""Timing contenders against each other: interleaved, medians of many rounds, spread kept."""

from __future__ import annotations

import gc
import math
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

# A call shorter than this is repeated within one reading, so that the clock's own cost is lost.
_SHORTEST_READING = 1e-3


@dataclass(frozen=True)
class Timing:
    """Seconds a call took, reading by reading, in the order they were taken."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def quartiles(self) -> tuple[float, float]:
        """The first and the third quartile; the one reading itself where there is only one."""
        if len(self.seconds) == 1:
            return self.seconds[0], self.seconds[0]
        first, _, third = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return first, third

    def as_record(self) -> dict[str, Any]:
        """For the JSON record, in milliseconds, every reading included."""
        return {
            "median_ms": _milliseconds(self.median),
            "quartiles_ms": [_milliseconds(value) for value in self.quartiles],
            "readings_ms": [_milliseconds(value) for value in self.seconds],
        }


def _milliseconds(seconds: float) -> float:
    return float(f"{1e3 * seconds:.4g}")


def time_interleaved(
    calls: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    readings: int = 2,
    warm_up: int = 3,
    seed: int = 0,
    after_turn: Callable[[], None] = lambda: None,
) -> dict[str, Timing]:
    """Time every call in turn, round after round, so that a slow minute hits all of them alike.

    Each call first runs `warm_up` times. A round then gives every call one turn, in an order drawn
    anew (by `seed`): one run that is not counted, which brings its data back into the caches and
    wakes its own threads, then `readings` that are. The garbage collector rests meanwhile.

    Returns, for every name, `rounds` · `readings` readings.
    """
    repeats = {name: _repeats(call, warm_up) for name, call in calls.items()}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    order, shuffle = list(calls), random.Random(seed).shuffle
    for _ in range(rounds):
        shuffle(order)
        for name in order:
            call = calls[name]
            with _collector_at_rest():
                call()
                for _ in range(readings):
                    seconds[name].append(_seconds(call, repeats[name]))
            after_turn()
    return {name: Timing(tuple(values)) for name, values in seconds.items()}


def _repeats(call: Callable[[], object], warm_up: int) -> int:
    """How often `call` runs for one reading, judged by the last of its runs to warm up."""
    taken = _SHORTEST_READING
    for _ in range(warm_up):
        taken = _seconds(call, 1)
    return max(1, math.ceil(_SHORTEST_READING / max(taken, 1e-7)))


def _seconds(call: Callable[[], object], repeats: int) -> float:
    begun = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - begun) / repeats


@contextmanager
def _collector_at_rest() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
