"""What a part of the bench found: rows of contenders, timed or not, and ours beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from scratchconv.bench.timing import Timing


@dataclass(frozen=True)
class Row:
    """A contender: what it took, or why it took no part (`unavailable`).

    `value` is what is compared (seconds, or bytes of memory; the smaller the better); `timing` the
    readings behind it. `more` goes into the JSON record beside them.
    """

    name: str
    value: float | None = None
    timing: Timing | None = None
    unavailable: str | None = None
    more: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def timed(cls, name: str, timing: Timing, **more: Any) -> Row:
        return cls(name, timing.median, timing, more=more)


@dataclass(frozen=True)
class Comparison:
    """One table: rows, which of them is ours, and which is the strongest dense baseline, if any.

    `unit` is `ms`, `µs`, `s` or `MiB`; values are in seconds or bytes.
    """

    title: str
    rows: Sequence[Row]
    unit: str
    ours: str | None = None
    baseline: str | None = None
    notes: Sequence[str] = ()

    def row(self, name: str | None) -> Row | None:
        """The row with this name."""
        return next((row for row in self.rows if row.name == name), None)

    def ours_is(self, row: Row) -> float | None:
        """How many times as much `row` takes as ours: above 1 ours is ahead, below 1 behind."""
        ours = self.row(self.ours)
        if ours is None or not ours.value or row.value is None:
            return None
        return row.value / ours.value

    def as_record(self) -> dict[str, Any]:
        """For the JSON record."""
        return {
            "title": self.title,
            "ours": self.ours,
            "baseline": self.baseline,
            "notes": list(self.notes),
            "rows": [self._row_record(row) for row in self.rows],
        }

    def _row_record(self, row: Row) -> dict[str, Any]:
        record: dict[str, Any] = {"name": row.name}
        if row.unavailable is not None:
            return record | {"unavailable": row.unavailable}
        if row.timing is not None:
            record |= row.timing.as_record()
        elif row.value is not None:
            record |= {"bytes": row.value} if self.unit == "MiB" else {"seconds": row.value}
        ratio = self.ours_is(row)
        return record | {"ours_is": None if ratio is None else float(f"{ratio:.4g}")} | row.more


def fastest(rows: Sequence[Row]) -> str | None:
    """The name of the row with the smallest value; None where none has one."""
    timed = [row for row in rows if row.value is not None]
    return min(timed, key=lambda row: row.value or 0.0).name if timed else None
