"""Figure 2 of the EE-411 report: first-layer filters of S-LOCAL, and of S-FC by SGD and β-LASSO.

The runs are those of its Table I, first seed, β = 50; drawn as in the paper's Figure 4
(`neyshabur/figure4.py`): a random sample of the units with at least 20 non-zero weights. Beyond
Table I this costs nothing.
"""

from __future__ import annotations

from dataclasses import replace

from scratchconv.experiments.ee411.table1 import ROWS, runs
from scratchconv.experiments.experiment import Experiment
from scratchconv.experiments.finished_runs import finished_runs
from scratchconv.experiments.neyshabur import figure4
from scratchconv.lab import Lab, Outcome, Picture, RunRecord

# In the order of `figure4.PANELS`.
_PANELS = tuple(
    row
    for key in ("s-local/sgd", "s-fc/sgd", "s-fc/beta-lasso-50")
    for row in ROWS
    if row.key == key
)


def reproduce(lab: Lab) -> Outcome:
    """Train the three networks, draw their filters."""
    said: list[str] = []
    pictures: list[Picture] = []
    found: dict[str, list[RunRecord]] = {}
    for data, by_row in runs(lab, _PANELS, measure=figure4.first_layer).items():
        finished_runs({f"{row.name} on {data}": [record] for row, record in by_row.items()})
        found[data] = list(by_row.values())
        said += figure4.sentences(data, found[data])
        pictures.append(
            replace(
                figure4.picture(data, found[data]),
                title=f"First-layer filters on {data} (the report's Figure 2)",
                name=f"ee411_figure2-{data}",
            )
        )
    return Outcome(tuple(said), (*pictures, figure4.table(found)))


EXPERIMENT = Experiment(
    name="ee411-figure2",
    title="EE-411 report, Figure 2: first-layer filters",
    source="EE-411 reproduction report, Figure 2",
    datasets=("cifar10", "cifar100"),
    reproduce=reproduce,
    laptop_minutes=22,
)
