"""What many runs show while they are made: a line for each that ends, and the time left."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.control import Control
from rich.segment import ControlType
from rich.text import Text

from scratchconv.lab.pace import Pace
from scratchconv.lab.records import RunRecord, run_key
from scratchconv.report.wording import plural
from scratchconv.training import RunConfig

# What `_say` has left in the line; nothing where there is no terminal.
_ERASE = Control((ControlType.ERASE_IN_LINE, 2))

# Seconds between two lines about the runs under way where they all stay, as in a log.
_BETWEEN_LINES = 600.0


class LabProgress:
    """Says how many runs there are, which ended and how; between, how far those under way are."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(file=sys.stderr, highlight=False, soft_wrap=True)

    def plan(
        self,
        labels: dict[str, str],
        configs: Mapping[str, RunConfig],
        reused: int,
        finished: Iterable[str] = (),
    ) -> None:
        """A batch of runs: labels and settings by key, and how many more are there already.

        `finished` are the keys of those that were made before, and are only read or measured.
        """
        self._labels, self._pace = labels, Pace(configs)
        for key in finished:  # they begin where they end: nothing of them takes time
            self._pace.reached(key, configs[key].epochs)
        self._count, self._told = 0, time.monotonic()
        if labels:
            trials = all(config.skip_test for config in configs.values())
            more = f", {reused} there already" if reused else ""
            after = "; the runs of what they choose follow" if trials else ""
            what = plural(len(labels), "trial" if trials else "run")
            self.console.print(f"  {what} to make{more}{after}", markup=False)

    def finished(self, record: RunRecord) -> None:
        """One of the batch is finished."""
        self._count, self._told = self._count + 1, time.monotonic()
        self._pace.finished(record.key, record.result.get("seconds"))
        line = f"  {self._count:>3} of {len(self._labels)}  {self._labels[record.key]}"
        self.console.control(_ERASE)
        self.console.print(f"{line}: {_said(record)}{self._left()}", markup=False)

    def under_way(self, epochs: Mapping[str, int]) -> None:
        """The epochs of the runs under way."""
        for key, done in epochs.items():
            self._pace.reached(key, done)
        far = ", ".join(f"{done} of {self._pace.epochs(key)}" for key, done in epochs.items())
        self._say(f"under way: epochs {far}")

    def _left(self) -> str:
        seconds = self._pace.seconds_left()
        return "" if seconds is None else f"; about {timedelta(seconds=round(seconds))} left"

    def _say(self, text: str) -> None:
        """On a terminal in one row that changes, time left and all; elsewhere now and then."""
        if not self.console.is_terminal:
            if time.monotonic() - self._told >= _BETWEEN_LINES:
                self._told = time.monotonic()
                self.console.print(f"      {text}{self._left()}", markup=False)
            return
        # Only the row that the cursor is in can be erased.
        left = self._left()
        line = Text(f"      {text}")
        line.truncate(max(1, self.console.width - len(left) - 1), overflow="ellipsis")
        self.console.control(_ERASE)
        self.console.print(line.append(left), end="\r")

    def begin(self, config: RunConfig, resolved: dict[str, Any], done: int) -> None:
        """A run begins in this process, or goes on after `done` steps."""
        self._here = run_key(config)
        self._pace.reached(self._here, done * config.epochs // resolved["steps"])

    def step(self, done: int, loss: float) -> None:
        """Epochs are told, not steps."""

    def epoch(self, metrics: dict[str, Any]) -> None:
        """How far the run in this process is."""
        self._pace.reached(self._here, metrics["epoch"])
        done = f"epoch {metrics['epoch']} of {self._pace.epochs(self._here)}"
        self._say(f"{done}, loss {metrics['train_loss']:.3f}")

    def note(self, text: str) -> None:
        """Something the user should know."""
        self.console.control(_ERASE)
        self.console.print(f"  ! {text}", style="yellow", markup=False)

    def end(self, result: dict[str, Any]) -> None:
        """Told by `finished`."""


def _said(record: RunRecord) -> str:
    if record.failure:
        return f"failed ({record.failure})"
    result = record.result
    for split in ("test", "validation", "train"):
        if result.get(f"{split}_accuracy") is not None:
            return f"{record.accuracy(split):.2f} % {split}, {result['seconds']:.0f} s"
    return f"train loss {record.loss('train'):.4g}, {result['seconds']:.0f} s"
