"""The README's comparison with the paper: Table 2 on CIFAR-10, as the committed records have it."""

from __future__ import annotations

from pathlib import Path

from scratchconv.experiments.neyshabur import table2
from scratchconv.experiments.reproduce import draw
from scratchconv.lab import Table, provenance
from scratchconv.lab.scales import LAPTOP

_DATA = ("cifar10",)


def paper_table(records: Path) -> str:
    """The table in Markdown, what it says, and how it was made.

    `records` is the folder of the scale `laptop`. Raises RunDirectoryError where it has no runs of
    the table.
    """
    outcome, made = draw(table2.EXPERIMENT, LAPTOP, records, _DATA)
    accuracies = outcome.exhibits[0]
    assert isinstance(accuracies, Table)
    _, _, table = accuracies.markdown().partition("\n\n")  # the README has its own heading
    said = [f"- {sentence}" for sentence in outcome.sentences]
    return "\n".join([table, "", *said, "", provenance(made)])
