"""How long a batch of runs will still take, by what epochs of each kind of network took."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Hashable, Mapping
from statistics import mean

from scratchconv.training import RunConfig


class Pace:
    """Times the runs of a batch, given their settings by key, from now on.

    Networks differ by a factor of ten in what a step takes: one of a kind that was timed counts for
    what that took, one of another kind for the mean. How many runs are made at once follows from
    how much was made since the batch began.
    """

    def __init__(self, configs: Mapping[str, RunConfig]) -> None:
        self._configs = configs
        self._started = time.monotonic()
        self._begun: dict[str, tuple[float, int]] = {}
        self._reached: dict[str, tuple[float, int]] = {}
        self._finished: dict[str, float] = {}

    def epochs(self, key: str) -> int:
        """The epochs of a run, those to come included."""
        return self._configs[key].epochs

    def reached(self, key: str, epoch: int) -> None:
        """A run has so many epochs behind it; told first of where it began or was gone on with."""
        now = (time.monotonic(), epoch)
        self._begun.setdefault(key, now)
        if self._reached.get(key, (0.0, -1))[1] != epoch:
            self._reached[key] = now

    def finished(self, key: str, seconds: float | None) -> None:
        """A run is finished, after that many seconds of training in all; None where it failed."""
        self._begun.setdefault(key, (self._started, 0))  # it may be made where nobody looked
        self.reached(key, self.epochs(key))
        if seconds is None:  # most fail in their first epochs: what was made of it counts for none
            self._begun[key] = self._reached[key]
        else:
            self._finished[key] = seconds / self.epochs(key)

    def seconds_left(self) -> float | None:
        """None where nothing is left, or nothing was timed yet."""
        timed = defaultdict(list)
        for key in self._reached:
            if epoch := self._epoch_seconds(key):
                config = self._configs[key]
                timed[_kind(config)].append(epoch / _steps(config))
        if not timed:
            return None
        of_kind = {kind: mean(seconds) for kind, seconds in timed.items()}
        of_others = mean(of_kind.values())
        made = to_make = 0.0
        for key, config in self._configs.items():
            epoch = of_kind.get(_kind(config), of_others) * _steps(config)
            (_, before), (_, done) = self._begun.get(key, (0, 0)), self._reached.get(key, (0, 0))
            made += epoch * (done - before)
            to_make += epoch * (config.epochs - done)
        if not made or not to_make:
            return None
        return (time.monotonic() - self._started) / made * to_make

    def _epoch_seconds(self, key: str) -> float:
        """Seconds an epoch of this run took; 0 where none was seen to begin and end."""
        if key in self._finished:
            return self._finished[key]
        (began, before), (now, done) = self._begun[key], self._reached[key]
        return (now - began) / (done - before) if done > before else 0.0


def _kind(config: RunConfig) -> Hashable:
    size = (config.alpha, config.params, config.batch_size)
    return (config.model, size, config.data, config.method, config.beta, config.pruning)


def _steps(config: RunConfig) -> float:
    """Steps of an epoch; a dataset that is taken whole counts as one of 50,000 samples."""
    return (config.train_size or 50_000) / config.batch_size
