"""`metrics.jsonl` while a run goes on: a line for every epoch that is to be recorded."""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any

from scratchconv.errors import RunDirectoryError
from scratchconv.training import checkpoint
from scratchconv.training.run_directory import read_epoch, read_metrics

# How long a line may wait, in seconds. To put one on the disk takes milliseconds, and so do the
# epochs of a small network.
_WAIT_SECONDS = 1.0

# More than any line has; a run of thousands of epochs is asked every two seconds how far it is.
_END_BYTES = 65_536


class EpochLog:
    """Adds lines to `metrics.jsonl`, those of a second at once.

    A line that a kill takes away belongs to an epoch after the newest checkpoint, provided that
    `flush` is called before one is written: that epoch is made anew.

    Attributes:
        lines: all that there are, those of an earlier part of the run included.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / "metrics.jsonl"
        self.lines = read_metrics(directory)
        self._waiting: list[str] = []
        self._flushed = -_WAIT_SECONDS

    def add(self, line: dict[str, Any]) -> None:
        """Record an epoch; what waits is written once the last writing is a second ago."""
        self.lines.append(line)
        self._waiting.append(json.dumps(line) + "\n")
        if time.monotonic() - self._flushed >= _WAIT_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Put what waits on the disk; raises `RunDirectoryError` where that is full.

        What could not be written is not tried again: it would stand behind half a line. Its epochs
        are made anew, as after a kill.
        """
        if not self._waiting:
            return
        lines, self._waiting = self._waiting, []
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.writelines(lines)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise checkpoint.cannot_write(self.path, error) from error
        self._flushed = time.monotonic()


def epochs_done(directory: Path) -> int:
    """Epochs on record in a run directory that another process may be writing to; 0 for none.

    Lines that a kill or a power failure has damaged count for nothing.
    """
    try:
        with (directory / "metrics.jsonl").open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _END_BYTES))
            *whole, _ = file.read().split(b"\n")
    except OSError:
        return 0
    for line in reversed(whole):
        with contextlib.suppress(ValueError):
            return int(read_epoch(line)["epoch"])
    return 0


def is_recorded(epoch: int, *, every: int, epochs: int) -> bool:
    """Whether `epoch` (from 1) has a line: every so many, and the last one."""
    return epoch % every == 0 or epoch == epochs


def keep_epochs(directory: Path, done: int, *, every: int, epochs: int) -> None:
    """Drop what was recorded after the checkpoint of `done` whole epochs: it is made anew.

    Raises `RunDirectoryError` where one of those epochs should be on record and is not.
    """
    kept = [line for line in read_metrics(directory) if line["epoch"] <= done]
    path = directory / "metrics.jsonl"
    expected = [e for e in range(1, done + 1) if is_recorded(e, every=every, epochs=epochs)]
    if [line["epoch"] for line in kept] != expected:
        raise RunDirectoryError(
            f"{path} does not hold the {len(expected)} epochs that the checkpoint has behind it:"
            " restore it from a copy, or start over with another --out"
        )
    checkpoint.write_whole(path, "".join(json.dumps(line) + "\n" for line in kept))
