"""What an experiment shows: tables and pictures, with a verdict in words."""

from __future__ import annotations

import io
import re
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from scratchconv.lab.records import RunRecord
from scratchconv.report.wording import plural

MISSING = "–"
_NUMBER = re.compile(r"[+\-−<]?\s?[\d.]")


@dataclass(frozen=True)
class Table:
    """Rows of text under a title; the first column names what a row is about."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    @property
    def text_columns(self) -> tuple[int, ...]:
        """Columns with words in them, which are set to the left and may take several lines."""
        return tuple(
            column
            for column, cells in enumerate(zip(*self.rows, strict=True))
            if not all(cell == MISSING or _NUMBER.match(cell) for cell in cells)
        )

    def markdown(self) -> str:
        """As Markdown, title and note included."""
        cells = [self.columns, ("---",) * len(self.columns), *self.rows]
        lines = [
            "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells
        ]
        return "\n".join([f"### {self.title}", "", *lines, *(["", self.note] if self.note else [])])


@dataclass(frozen=True)
class Picture:
    """A figure as a PNG; `name` is that of its file, and `description` says what it shows."""

    title: str
    name: str
    png: bytes
    description: str
    note: str = ""

    @staticmethod
    def of(figure: Figure, *, title: str, name: str, description: str, note: str = "") -> Picture:
        """From a matplotlib figure, on opaque white, sharp at twice its size."""
        stream = io.BytesIO()
        # Without the date and version of the software the same figure is the same bytes.
        figure.savefig(
            stream, format="png", dpi=160, facecolor="white", metadata={"Software": None}
        )
        return Picture(title, name, stream.getvalue(), description, note)


Exhibit = Table | Picture


@dataclass(frozen=True)
class Outcome:
    """What came out: sentences composed from the numbers, and the exhibits."""

    sentences: tuple[str, ...]
    exhibits: tuple[Exhibit, ...]


def mean_and_deviation(values: Sequence[float], form: str = "{:.2f}") -> str:
    """`57.13 ± 0.30` for several values (sample standard deviation), `57.13` for one."""
    if not values:
        return MISSING
    mean = form.format(statistics.mean(values))
    return mean if len(values) == 1 else f"{mean} ± {form.format(statistics.stdev(values))}"


def how_many(groups: Iterable[Sequence[object]], noun: str = "") -> str:
    """How many runs groups have: `3`, or `2 to 3` where some failed; with a noun, `3 seeds`."""
    counts = {len(runs) for runs in groups}
    most = plural(max(counts), noun) if noun else str(max(counts))
    return most if len(counts) == 1 else f"{min(counts)} to {most}"


def percent(values: Sequence[float]) -> str:
    """Percentages as `57.13 ± 0.30 %`."""
    return f"{mean_and_deviation(values)} %" if values else MISSING


def accuracy_cell(record: RunRecord) -> str:
    """Test accuracy of one run as a cell, also of a run that failed."""
    return "no finite loss" if record.failure else percent([record.accuracy()])
