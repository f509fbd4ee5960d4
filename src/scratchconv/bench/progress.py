"""What the bench says while it runs: a bar on a terminal, a line for every part elsewhere."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar


class Progress:
    """Parts one after another, each with its number of turns. Use it in `with`."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(file=sys.stderr, highlight=False, soft_wrap=True)
        self._bar: Bar | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def begin(self, part: str, turns: int) -> None:
        """Go over to another part of the bench, which takes so many turns."""
        self._close()
        self.console.print(part, markup=False)
        if self.console.is_terminal:
            self._bar = Bar(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("left"),
                console=self.console,
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task("…", total=turns)

    def turn(self) -> None:
        """One turn is done."""
        if self._bar is not None and self._task is not None:
            self._bar.advance(self._task)

    def doing(self, what: str) -> None:
        """Name what is being done, on the bar."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=what)

    def note(self, text: str) -> None:
        """Something the user should know."""
        self.console.print(f"! {text}", style="yellow", markup=False)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
