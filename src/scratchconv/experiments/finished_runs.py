"""Of groups of runs, those that can be drawn: a loss that grew infinite leaves no numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from scratchconv.errors import ScratchconvError
from scratchconv.lab import RunRecord

Group = TypeVar("Group", bound="str | tuple[str, ...]")


def finished(records: Sequence[RunRecord]) -> list[RunRecord]:
    """Those whose loss stayed finite."""
    return [record for record in records if not record.failure]


def finished_runs(groups: Mapping[Group, Sequence[RunRecord]]) -> dict[Group, list[RunRecord]]:
    """The runs of every group whose loss stayed finite.

    Raises `ScratchconvError` where a group has none, which names it and says what ended its runs.
    """
    found = {group: finished(records) for group, records in groups.items()}
    for group, records in found.items():
        if not records:
            name = group if isinstance(group, str) else ", ".join(group)
            reasons = "; ".join(dict.fromkeys(record.failure for record in groups[group]))
            raise ScratchconvError(
                f"no run of {name} ended with a finite loss, so that it cannot be drawn: {reasons}"
            )
    return found
