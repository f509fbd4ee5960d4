"""What many runs show while they are made: a line for each that ends, and the time left."""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from typing import Any

from rich.console import Console

from scratchconv.lab.records import RunRecord
from scratchconv.report.wording import plural
from scratchconv.training import RunConfig


class LabProgress:
    """Says how many runs there are, which ended and how; between, how far the one under way is."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(file=sys.stderr, highlight=False, soft_wrap=True)
        self._under_way = ""

    def plan(self, labels: dict[str, str], epochs: dict[str, int], reused: int) -> None:
        """A batch of runs: labels and epochs by key, and how many more are there already."""
        self._labels, self._epochs = labels, epochs
        self._left, self._started = sum(epochs.values()), time.monotonic()
        self._total, self._count = self._left, 0
        if labels:
            more = f", {reused} there already" if reused else ""
            self.console.print(f"  {plural(len(labels), 'run')} to make{more}", markup=False)

    def finished(self, record: RunRecord) -> None:
        """One of the batch is finished."""
        self._count += 1
        self._left -= self._epochs[record.key]
        self._under_way = ""
        done = self._total - self._left
        seconds = (time.monotonic() - self._started) / max(done, 1) * self._left
        line = f"  {self._count:>3} of {len(self._labels)}  {self._labels[record.key]}"
        left = f"; about {timedelta(seconds=round(seconds))} left" if self._left else ""
        self.console.print(f"{line}: {_said(record)}{left}", markup=False)

    def begin(self, config: RunConfig, resolved: dict[str, Any], done: int) -> None:
        """A run begins in this process."""
        self._config = config

    def step(self, done: int, loss: float) -> None:
        """Epochs are told, not steps."""

    def epoch(self, metrics: dict[str, Any]) -> None:
        """On a terminal, one line that changes with every epoch."""
        if self.console.is_terminal:
            text = f"      epoch {metrics['epoch']} of {self._config.epochs}, loss "
            self.console.print(f"{text}{metrics['train_loss']:.3f} ", end="\r", markup=False)

    def note(self, text: str) -> None:
        """Something the user should know."""
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
