"""β-LASSO on a residual MLP, beside S-FC: does it need the plain network it was published for?

`res-mlp` is S-FC with two residual blocks between its 24α units and the classifier
(`models/residual_mlp.py`): 2 % more weights at α = 8, the same first layer. Both networks are
trained by SGD and by β-LASSO at β = 50, each with the settings of the best validation accuracy on
its own network, out of the grids of `experiments/settings.py`. What ResNet18 gains from β-LASSO is
Figure 5.

At `laptop`: 20 epochs of α = 8, three seeds; S-FC's runs are those of the rivals.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from scratchconv.errors import ScratchconvError
from scratchconv.experiments import chosen_settings, settings
from scratchconv.experiments.experiment import Experiment
from scratchconv.experiments.finished_runs import finished
from scratchconv.experiments.half_size import half_size
from scratchconv.experiments.mean_difference import mean_difference
from scratchconv.experiments.reviewers import cells
from scratchconv.lab import Lab, Outcome, RunRecord, Table, mean_and_deviation, percent
from scratchconv.report import wording

NETWORKS = (("S-FC", "s-fc"), ("residual MLP", "res-mlp"))
_METHODS = (("SGD", settings.sgd), ("β-LASSO, β = 50", settings.beta_lasso))

Found = Mapping[tuple[str, str], Sequence[RunRecord]]
"""Records by network and method, as the table names them; one a seed."""


def reproduce(lab: Lab) -> Outcome:
    """Choose settings for each network and method, train all seeds, draw the table."""
    data = lab.datasets[0]
    tried = {
        (network, method): candidates(lab.scale, half_size(lab, data, model))
        for network, model in NETWORKS
        for method, candidates in _METHODS
    }
    chosen = lab.choose(tried)
    made = lab.train_groups(
        {row: lab.seeds(f"{row[0]} by {row[1]}", config) for row, config in chosen.items()}
    )
    found = {row: finished(records) for row, records in made.items()}
    for (network, method), records in found.items():
        if not records:
            raise ScratchconvError(f"no run of {network} by {method} ended with a finite loss")
    said = verdict(found) + settings.at_the_edge(
        data, {f"{_the(row[0])} by {row[1]}": (tried[row], chosen[row]) for row in tried}
    )
    return Outcome(tuple(said), (table(found, data),))


def verdict(found: Found) -> list[str]:
    """What β-LASSO gains on each network, and what is left of its first layer, in words."""
    gains, kept = {}, {}
    for network, _ in NETWORKS:
        sgd, ours = (found[network, method] for method, _ in _METHODS)
        gains[network] = mean_difference(_accuracies(ours), _accuracies(sgd))
        first = statistics.mean(record.nonzeros()[0] for record in ours)
        size = ours[0].result["layers"][0]["size"]
        kept[network] = f"{cells.weights(first)} weights ({wording.percent(first / size)})"
    by_network = [f"{gains[network]} on {_the(network)}" for network, _ in NETWORKS]
    left = [f"{kept[network]} on {_the(network)}" for network, _ in NETWORKS]
    best = max(found, key=lambda key: cells.mean_accuracy(found[key]))
    alike = [
        f"{_the(key[0])} by {key[1]}"
        for key, records in found.items()
        if key != best
        and not mean_difference(_accuracies(found[best]), _accuracies(records)).separated
    ]
    but = f", which the seeds do not tell from {wording.listed(alike)}" if alike else ""
    return [
        f"β = 50 against SGD: {' and '.join(by_network)}.",
        f"The highest mean of the four is that of {_the(best[0])} by {best[1]},"
        f" {percent(_accuracies(found[best]))}{but}.",
        f"Of the first layer β-LASSO keeps {' and '.join(left)}.",
    ]


def table(found: Found, data: str) -> Table:
    """One line a network and method."""
    rows = []
    for (network, method), records in found.items():
        layers = [layer for record in records for layer in record.result["layers"]]
        first = statistics.mean(record.nonzeros()[0] for record in records)
        size = sum(layer["size"] for layer in records[0].result["layers"])
        left = sum(layer["nonzero"] for layer in layers) / len(records)
        spread = [float(record.result["spread"]) for record in records if record.result["spread"]]
        rows.append(
            (
                network,
                method,
                percent(_accuracies(records)),
                percent([record.accuracy("train") for record in records]),
                cells.weights(size),
                wording.percent(left / size),
                cells.weights(first),
                mean_and_deviation(spread),
                chosen_settings.in_words(records[0]),
                str(len(records)),
            )
        )
    columns = (
        "network",
        "training",
        "test accuracy",
        "training accuracy",
        "weights",
        "of which left",
        "left in the first layer",
        "spread of its filters",
        "chosen on validation",
        "seeds",
    )
    note = (
        f"Data: {data}. Spread: root of the variance of a filter's weight over the pixels, divided"
        " by that of a uniform filter, median over units; 1 is spread all over the image. The"
        " reviews ask for networks with skip connections; the paper has no such numbers."
    )
    return Table("With and without skip connections", columns, tuple(rows), note)


def _accuracies(records: Sequence[RunRecord]) -> list[float]:
    return [record.accuracy() for record in records]


def _the(network: str) -> str:
    return network if network.isupper() or "-" in network else f"the {network}"


EXPERIMENT = Experiment(
    name="residual",
    title="β-LASSO on a residual MLP",
    source="Asked for by the reviewers of Neyshabur 2020",
    datasets=("cifar10",),
    reproduce=reproduce,
    laptop_minutes=39,
)
