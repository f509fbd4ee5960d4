"""Figure 2 of the EE-411 report: first-layer filters of S-LOCAL, and of S-FC by SGD and β-LASSO.

The runs are those of its Table I on the first dataset, first seed, β = 50; drawn as in the paper's
Figure 4 (`neyshabur/figure4.py`): a random sample of the units with at least 20 non-zero weights.
Beyond Table I this costs nothing; alone it takes 35 core-minutes at `laptop`.
"""

from __future__ import annotations

from dataclasses import replace

from scratchconv.experiments.ee411.table1 import ROWS, settings_of
from scratchconv.experiments.experiment import Experiment
from scratchconv.experiments.neyshabur import figure4
from scratchconv.lab import Lab, Outcome

# In the order of `figure4.PANELS`.
_PANELS = tuple(
    row
    for key in ("s-local/sgd", "s-fc/sgd", "s-fc/beta-lasso-50")
    for row in ROWS
    if row.key == key
)


def reproduce(lab: Lab) -> Outcome:
    """Train the three networks, draw their filters."""
    data = lab.datasets[0]
    configs = {f"{row.name} on {data}": settings_of(lab, row) for row in _PANELS}
    records = list(lab.train(configs, measure=figure4.first_layer).values())
    picture = replace(
        figure4.picture(data, records),
        title=f"First-layer filters on {data} (the report's Figure 2)",
        name="ee411_figure2",
    )
    return Outcome(
        tuple(figure4.sentences(data, records)), (picture, figure4.table({data: records}))
    )


EXPERIMENT = Experiment(
    name="ee411-figure2",
    title="EE-411 report, Figure 2: first-layer filters",
    source="EE-411 reproduction report, Figure 2",
    datasets=("cifar10",),
    reproduce=reproduce,
)
