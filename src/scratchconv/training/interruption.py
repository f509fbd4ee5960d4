"""Ctrl-C, SIGTERM or time running out, taken at the end of a step: what is saved is whole."""

from __future__ import annotations

import math
import signal
import threading
import time
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_left_to_others: set[signal.Signals] = set()


def leave_to_parent(number: signal.Signals) -> None:
    """Ignore a signal in this process from now on, while trainings go on as well.

    For one that the parent gets too and answers by another: both together would be two requests,
    and the second is obeyed without anything being saved.
    """
    _left_to_others.add(number)
    signal.signal(number, signal.SIG_IGN)


class Interruption:
    """A context in which a first Ctrl-C or SIGTERM only sets `requested`; a second one stops.

    `requested` is set as well once `time.monotonic()` has reached `deadline`; `signalled` tells
    that it was a signal.
    """

    def __init__(self, deadline: float = math.inf) -> None:
        self.signalled = False
        self.deadline = deadline
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interruption:
        # Python allows handlers in the main thread alone; elsewhere the caller decides.
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                if number in _left_to_others:
                    continue
                self._previous[number] = signal.signal(number, self._take)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            # None: it was not set from Python, and cannot be.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    @property
    def requested(self) -> bool:
        """Whether to save and stop."""
        return self.signalled or time.monotonic() >= self.deadline

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self.signalled:
            raise KeyboardInterrupt
        self.signalled = True
