"""What a run tells while it goes on."""

from __future__ import annotations

from typing import Any, Protocol

from scratchconv.training.config import RunConfig


class Progress(Protocol):
    """Listens to a run; `scratchconv.display` has the terminal's."""

    def begin(self, config: RunConfig, resolved: dict[str, Any], done: int) -> None:
        """A run starts, or goes on after `done` steps; `resolved` as in `config.json`."""

    def step(self, done: int, loss: float) -> None:
        """`done` steps are behind us, and `loss` is that of the last one."""

    def epoch(self, metrics: dict[str, Any]) -> None:
        """An epoch ended; `metrics` is its line of `metrics.jsonl`."""

    def note(self, text: str) -> None:
        """Something the user should know."""

    def end(self, result: dict[str, Any]) -> None:
        """The run is finished; `result` is what `result.json` holds."""


class Silent:
    """Tells nothing: the default for calls from Python."""

    def begin(self, config: RunConfig, resolved: dict[str, Any], done: int) -> None:
        """Nothing."""

    def step(self, done: int, loss: float) -> None:
        """Nothing."""

    def epoch(self, metrics: dict[str, Any]) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""

    def end(self, result: dict[str, Any]) -> None:
        """Nothing."""
