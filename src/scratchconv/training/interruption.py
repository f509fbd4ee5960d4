"""Ctrl-C, SIGTERM or time running out, taken at the end of a step: what is saved is whole."""

from __future__ import annotations

import math
import signal
import threading
import time
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Of a process that makes runs for another one, see `serve_parent`.
_left_to_parent: set[signal.Signals] = set()
_asked_to_stop = threading.Event()


def serve_parent() -> None:
    """This process makes runs for a parent, which stops it by SIGTERM.

    A terminal's Ctrl-C goes to both, and with the SIGTERM that the parent then sends it would be
    two requests, the second of which is obeyed without anything being saved: it is ignored. SIGTERM
    between two runs does not end the process, which may hold a lock that others wait for; the next
    run begins by stopping. A second SIGTERM says nothing new: a pool that lost a process sends one.
    """
    _left_to_parent.add(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: _asked_to_stop.set())


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
                if number in _left_to_parent:
                    continue
                self._previous[number] = signal.signal(number, self._take)
        self.signalled |= _asked_to_stop.is_set()
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
        if self.signalled and not _left_to_parent:
            raise KeyboardInterrupt
        self.signalled = True
