"""Figure 1 of the EE-411 report: the weights left in every layer of S-FC, epoch by epoch.

The runs are those of its Table I, first seed: S-FC by SGD and by β-LASSO at β = 0, 1 and 50. The
report gives no numbers to its figure; beside ours stand the end points of the paper's Figure 3
(β = 50, α = 230), as shares of a layer.

Beyond Table I this costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from scratchconv.experiments import chosen_settings, figures
from scratchconv.experiments.ee411.table1 import ROWS, Row, runs
from scratchconv.experiments.experiment import Experiment
from scratchconv.experiments.finished_runs import finished_runs
from scratchconv.experiments.neyshabur import figure3
from scratchconv.lab import Exhibit, Lab, Outcome, Picture, RunRecord, Table
from scratchconv.report import wording

LINES = tuple(row for row in ROWS if row.model == "s-fc")
_LAYERS = ("first layer", "second layer", "last layer")

Found = Mapping[Row, RunRecord]
"""A run with its epochs, by row of Table I."""


def reproduce(lab: Lab) -> Outcome:
    """Train S-FC by SGD and by three β, draw the non-zeros of its layers."""
    said: list[str] = []
    exhibits: list[Exhibit] = []
    for data, found in runs(lab, LINES, epochs=True).items():
        finished_runs({f"{row.name} on {data}": [record] for row, record in found.items()})
        said += sentences(found, data)
        exhibits += [picture(found, data), table(found, data)]
    return Outcome(tuple(said), tuple(exhibits))


def sentences(found: Found, data: str) -> list[str]:
    """What is left of the first layer by each method, and which of them keeps least."""
    left = {row: density(record, 0) for row, record in found.items()}
    said = ", ".join(f"{_method(row)} {wording.percent(left[row])}" for row in found)
    fewest = min(left.values())
    least = [_method(row) for row in left if left[row] == fewest]
    by = f"; least by {least[0]}" if len(least) == 1 else ""
    bursts = {row: len(figure3.bursts(*figure3.curve(record, 0))) for row, record in found.items()}
    growing = [f"{_method(row)} ({count})" for row, count in bursts.items() if count]
    return [
        f"{data}: of the first layer are left {said}{by}.",
        f"{data}: stretches of epochs over which first-layer weights rise by more than 10 %"
        f" without a fall between: {', '.join(growing) or 'none'}.",
    ]


def density(record: RunRecord, layer: int) -> float:
    """Share of a layer's weights that are left at the end."""
    last = record.result["layers"][layer]
    return float(last["nonzero"] / last["size"])


def picture(found: Found, data: str) -> Picture:
    """A panel for each layer, a line for each method."""
    figure, panels = figures.new_figure(9.2, 3.7, columns=len(_LAYERS))
    for layer, axes in enumerate(panels):
        for index, (row, record) in enumerate(found.items()):
            epochs, counts = figure3.curve(record, layer)
            # β = 0 keeps all weights, as SGD does: its line lies on a broad one.
            broad = row.beta is None
            axes.plot(
                epochs,
                counts,
                color=figures.colour(index),
                linewidth=5.0 if broad else 1.5,
                alpha=0.35 if broad else 1.0,
                label=_method(row),
            )
        axes.set_yscale("log")
        figures.two_decades(axes)
        figures.label_axes(
            axes, x="epoch", y="" if layer else "weights that are not zero", title=_LAYERS[layer]
        )
    figures.legend_below(figure)
    return Picture.of(
        figure,
        title=f"Weights left, by layer and epoch, {data}",
        name=f"ee411_figure1-{data}",
        description=f"Non-zero weights of S-FC's three layers on {data} against the epoch",
        note="One run each.",
    )


def table(found: Found, data: str) -> Table:
    """What is left at the end, by layer."""
    rows = [
        (
            _method(row),
            *(
                f"{count:,} ({wording.percent(density(record, layer))})"
                for layer, count in enumerate(record.nonzeros())
            ),
        )
        for row, record in found.items()
    ]
    theirs = (wording.percent(figure3.published_density(data, layer)) for layer in range(3))
    rows.append(("Neyshabur 2020, S-FC, β = 50", *theirs))
    return Table(
        f"Weights left at the end, {data}",
        ("training", *_LAYERS),
        tuple(rows),
        note=chosen_settings.note(found.values()),
    )


def _method(row: Row) -> str:
    return "SGD" if row.beta is None else f"β = {row.beta:g}"


EXPERIMENT = Experiment(
    name="ee411-figure1",
    title="EE-411 report, Figure 1: non-zero weights of S-FC's layers over the epochs",
    source="EE-411 reproduction report, Figure 1",
    datasets=("cifar10", "cifar100"),
    reproduce=reproduce,
    laptop_minutes=30,
)
