"""The errors that scratchconv raises on purpose: one clear line each, shown without a traceback."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class ScratchconvError(Exception):
    """Something the user can put right; the message names the value and the remedy in one line."""


class InvalidArgument(ScratchconvError, ValueError):
    """A value that cannot be used; the message names the valid choices."""


class DataError(ScratchconvError):
    """A file of a dataset or an exported network is missing, damaged or of another format."""


class RunDirectoryError(ScratchconvError):
    """A run directory cannot be used as asked: in use, of another run, or damaged."""


class Collapse(ScratchconvError):
    """Training cannot go on: the loss is no longer finite. The message says the likely cause."""


def unknown_name(kind: str, name: str, choices: Iterable[str]) -> InvalidArgument:
    """The error for a name that is not known: lists the valid ones and the nearest, if any."""
    known = sorted(choices)
    nearest = get_close_matches(name, known, n=1)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    return InvalidArgument(f"unknown {kind} {name!r}: choose from {', '.join(known)}.{hint}")
