"""Connections learned on one dataset, carried to another: CIFAR-10 ↔ CIFAR-100 (and SVHN).

The first layer of S-FC gets the connections that β-LASSO (Table 2's runs, β = 50) left on some
dataset; new weights on them, and the dense rest of the network, are trained by SGD. Compared on
every dataset, run by run with the same seed:

- native: connections learned on this dataset;
- carried: learned on another one, with the same seed;
- random: as many a unit as native, at random places;
- local: as many a unit as native, in one square window of all channels at a random place;
- beside them the dense S-FC by SGD, S-LOCAL, and the very network of β-LASSO, as in Table 2.

SGD has the momentum and weight decay that are best, on validation, for the dense S-FC of the
dataset: the same for all four, chosen on none of them. Connections go between images of one shape
only, so MNIST (1×28×28) can take none from CIFAR (3×32×32), nor give any.

Two seeds, or one where the scale has no more. At `laptop`: 40 epochs of α = 16; 16 runs for
CIFAR-10 and CIFAR-100, about 130 core-minutes beside Table 2's runs.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from scratchconv.errors import ScratchconvError
from scratchconv.experiments import settings
from scratchconv.experiments.experiment import Experiment
from scratchconv.experiments.reviewers import cells
from scratchconv.lab import Lab, Outcome, RunRecord, Table, percent
from scratchconv.training import RunConfig
from scratchconv.training.config import ConnectionsKind


@dataclass(frozen=True)
class Row:
    """Runs on one dataset, one a seed, that differ from others in what they connect."""

    connections: str
    records: tuple[RunRecord, ...]

    def finished(self) -> list[RunRecord]:
        """The runs whose loss stayed finite; raises `ScratchconvError` where there is none."""
        found = cells.finished(self.records)
        if not found:
            reason = "; ".join(record.failure for record in self.records)
            raise ScratchconvError(f"no run of {self.connections} was finished: {reason}")
        return found

    def accuracies(self, split: str = "test") -> list[float]:
        """In percent, of the finished runs."""
        return [record.accuracy(split) for record in self.finished()]

    def first_layer(self) -> tuple[float, int]:
        """Mean weights left of the first layer, and its units."""
        left = statistics.mean(record.nonzeros()[0] for record in self.finished())
        return left, int(self.finished()[0].result["layers"][0]["units"])


@dataclass(frozen=True)
class Target:
    """All rows on one dataset; `carried` is by the dataset the connections were learned on."""

    native: Row
    carried: Mapping[str, Row]
    random: Row
    local: Row
    beside: tuple[Row, ...]

    def rows(self) -> list[Row]:
        """In the order of the table."""
        return [self.native, *self.carried.values(), self.random, self.local, *self.beside]


def reproduce(lab: Lab) -> Outcome:
    """Learn connections on every dataset, train on them on every dataset, compare."""
    learned = {data: _learned(lab, data) for data in lab.datasets}
    found = {data: _target(lab, data, learned) for data in lab.datasets}
    sentences = [sentence for data in found for sentence in verdict(data, found[data])]
    return Outcome(tuple(sentences), tuple(table(data, found[data]) for data in found))


def verdict(data: str, target: Target) -> list[str]:
    """What carried connections are worth beside native, random and local ones, in words."""
    controls = {"random places": target.random, "local windows": target.local}
    sentences = []
    for source, row in target.carried.items():
        apart = [
            f"{cells.gap(row.accuracies(), other.accuracies())} from {name}"
            for name, other in {"its own": target.native, **controls}.items()
        ]
        here, there = (one.first_layer()[0] / one.first_layer()[1] for one in (target.native, row))
        sentences.append(
            f"{data}, on connections learned on {source}: {percent(row.accuracies())};"
            f" {', '.join(apart)}. They are {there:.0f} a unit; its own, which random places and"
            f" local windows have as many of, {here:.0f}."
        )
    apart = [
        f"{cells.gap(target.native.accuracies(), other.accuracies())} from {name}"
        for name, other in controls.items()
    ]
    sentences.append(
        f"{data}, on its own connections: {percent(target.native.accuracies())};"
        f" {', '.join(apart)}."
    )
    return sentences


def table(data: str, target: Target) -> Table:
    """One line for each kind of connections."""
    rows = []
    for row in target.rows():
        left, units = row.first_layer()
        rows.append(
            (
                row.connections,
                percent(row.accuracies()),
                cells.gap(row.accuracies(), target.native.accuracies()).removesuffix(" points")
                if row is not target.native
                else "–",
                percent(row.accuracies("train")),
                cells.weights(left),
                f"{left / units:,.1f}",
                cells.chosen(row.finished()[0]),
                str(len(row.finished())),
            )
        )
    columns = (
        "connections of the first layer",
        "test accuracy",
        "points from native",
        "training accuracy",
        "weights in the first layer",
        "a unit",
        "settings",
        "seeds",
    )
    return Table(f"Trained on {data}", columns, tuple(rows))


def _learned(lab: Lab, data: str) -> dict[str, RunConfig]:
    """β-LASSO's runs on one dataset; their weights are at hand if any run has to read them."""
    config = settings.beta_lasso(lab, lab.config("s-fc", data))
    runs = _seeds(lab, f"β-LASSO on {data}", config)
    lab.train(runs, weights=True)
    return runs


def _target(lab: Lab, data: str, learned: Mapping[str, Mapping[str, RunConfig]]) -> Target:
    sgd = settings.sgd(lab, lab.config("s-fc", data))
    local = settings.sgd(lab, lab.config("s-local", data))

    def on(source: str, name: str, kind: ConnectionsKind = "learned") -> Row:
        """SGD on the connections that `source` learned, seed by seed."""
        runs = {
            f"{name}, on {data}, seed {config.seed}": replace(
                sgd,
                seed=config.seed,
                connections_from=lab.directory(config),
                connections_kind=kind,
            )
            for config in learned[source].values()
        }
        return Row(name, tuple(lab.train(runs).values()))

    def as_it_is(name: str, runs: Mapping[str, RunConfig]) -> Row:
        return Row(name, tuple(lab.train(runs).values()))

    others: Sequence[str] = [source for source in learned if source != data]
    return Target(
        native=on(data, f"learned on {data}"),
        carried={source: on(source, f"learned on {source}") for source in others},
        random=on(data, "random places", "random"),
        local=on(data, "local windows", "local"),
        beside=(
            as_it_is("all (S-FC by SGD)", _seeds(lab, f"dense, on {data}", sgd)),
            as_it_is("9×9 windows (S-LOCAL by SGD)", _seeds(lab, f"S-LOCAL, on {data}", local)),
            as_it_is("β-LASSO's own network", learned[data]),
        ),
    )


def _seeds(lab: Lab, name: str, config: RunConfig) -> dict[str, RunConfig]:
    """The first two seeds: three would take more than two hours on a laptop."""
    return dict(list(lab.seeds(name, config).items())[:2])


EXPERIMENT = Experiment(
    name="transfer",
    title="Connections learned on one dataset, carried to another",
    source="Asked for by the reviewers of Neyshabur 2020",
    datasets=("cifar10", "cifar100", "svhn"),
    reproduce=reproduce,
)
