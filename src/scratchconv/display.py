"""The terminal's view of what goes on: lines of what is done, and a bar with the time left."""

from __future__ import annotations

import math
import sys
import time
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar

from scratchconv.training import RunConfig

# Hundreds of epochs can pass in a minute; nobody reads more lines than this leaves.
_SECONDS_BETWEEN_LINES = 2.0


class Terminal:
    """Shows runs as they go on; without a terminal (a log file) only the lines of epochs.

    Every epoch gets its line, unless epochs are shorter than two seconds: then some do, and the
    last one always. `metrics.jsonl` has them all.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(file=sys.stderr, highlight=False, soft_wrap=True)
        self._bar: Bar | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Terminal:
        """Used in `with`, the bar is gone at its end, also after an error."""
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def begin(self, config: RunConfig, resolved: dict[str, Any], done: int) -> None:
        """Say what is run, and start the bar."""
        self._config, self._steps = config, int(resolved["steps"])
        self._started, self._done_before = time.monotonic(), done
        self._last_line = -math.inf
        lams = f" λ first {resolved['lam_first']:g}, rest {resolved['lam']:g}"
        self.console.print(
            f"[bold]{config.model}[/] α={resolved['alpha']}, {resolved['parameters']:,} weights ·"
            f" {config.data}{'' if config.permute is None else ' (pixels permuted)'}"
            f" {resolved['train_size']:,} + {resolved['validation_size']:,} (validation) samples ·"
            f" {config.method}{lams if resolved['lam'] or resolved['lam_first'] else ''} ·"
            f" {resolved['precision']} on {resolved['device']}"
            + (f" · going on from step {done:,}" if done else "")
        )
        if self.console.is_terminal:
            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("steps · {task.fields[loss]}"),
                TimeRemainingColumn(),
                TextColumn("left"),
                console=self.console,
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task(
                "training", total=self._steps, completed=done, loss="loss …"
            )

    def step(self, done: int, loss: float) -> None:
        """Move the bar."""
        if self._bar is not None and self._task is not None:
            epoch = min(self._config.epochs, 1 + done * self._config.epochs // self._steps)
            self._bar.update(
                self._task,
                completed=done,
                loss=f"loss {loss:.3f}",
                description=f"epoch {epoch}/{self._config.epochs}",
            )

    def epoch(self, metrics: dict[str, Any]) -> None:
        """One line: loss, accuracy, non-zeros per layer, spread, time left."""
        now = time.monotonic()
        is_last = metrics["epoch"] == self._config.epochs
        if now - self._last_line < _SECONDS_BETWEEN_LINES and not is_last:
            return
        self._last_line = now
        width = len(str(self._config.epochs))
        parts = [f"epoch {metrics['epoch']:{width}}/{self._config.epochs}"]
        parts.append(f"loss {metrics['train_loss']:.3f}")
        for split, label in (("train", "train"), ("validation", "val")):
            if metrics[f"{split}_accuracy"] is not None:
                parts.append(f"{label} {100 * metrics[f'{split}_accuracy']:5.2f} %")
            elif split == "validation" and metrics["validation_loss"] is not None:
                parts.append(f"val loss {metrics['validation_loss']:.3f}")
        counts = " · ".join(f"{layer['nonzero']:,}" for layer in metrics["layers"])
        parts.append(f"non-zeros {counts}")
        if metrics["spread"] is not None:
            parts.append(f"spread {metrics['spread']:.2f}")
        parts.append(f"{self._time_left(metrics['step'])} left")
        self.console.print("  ".join(parts))

    def note(self, text: str) -> None:
        """Something the user should know, set apart from the lines an epoch."""
        self.console.print(f"! {text}", style="yellow", markup=False)

    def end(self, result: dict[str, Any]) -> None:
        """Take the bar away and say how it ended."""
        self.close()
        if result["test_loss"] is None:
            told = "done, test data untouched,"
        elif result["test_accuracy"] is None:
            told = f"test loss {result['test_loss']:.4f}"
        else:
            told = f"test accuracy {100 * result['test_accuracy']:.2f} %"
        epochs = f"{result['epochs']} epoch{'' if result['epochs'] == 1 else 's'}"
        self.console.print(f"[bold]{told}[/] after {epochs}")

    def close(self) -> None:
        """Take the bar away, also after an error."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _time_left(self, done: int) -> str:
        spent = time.monotonic() - self._started
        steps = done - self._done_before
        seconds = spent / steps * (self._steps - done) if steps > 0 else 0.0
        return str(timedelta(seconds=round(seconds)))


class Stages:
    """Shows work that goes on in stages: a line for each as it ends, and a bar in a terminal.

    Called with a stage's name, what is done of it, and what there is to do.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(file=sys.stderr, highlight=False, soft_wrap=True)
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        self._stage: str | None = None
        self._started = 0.0

    def __enter__(self) -> Stages:
        """Used in `with`, the bar is gone at its end, also after an error."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._end(finished=kind is None)

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage != self._stage:
            self._begin(stage)
        if self._bar is not None and self._task is not None:
            # Of what has one step only, nothing is known until it ends: the bar moves to and fro.
            self._bar.update(self._task, completed=done, total=total if total > 1 else None)

    def _begin(self, stage: str) -> None:
        self._end(finished=True)
        self._stage, self._started = stage, time.monotonic()
        if self.console.is_terminal:
            self._bar = Bar(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TimeElapsedColumn(),
                console=self.console,
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task(stage, total=None)

    def _end(self, *, finished: bool) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        if finished and self._stage is not None:
            seconds = time.monotonic() - self._started
            self.console.print(f"{self._stage}: {seconds:.1f} s", markup=False)
        self._stage = None
