"""Connections learned on one dataset, carried to another: CIFAR-10 ↔ CIFAR-100 ↔ MNIST.

The first layer of S-FC gets the connections that β-LASSO (β = 50) left on some dataset; new weights
on them, and the dense rest of the network, are trained by SGD. They are of another seed: with the
one that learned the connections they would begin as the weights these were learned from, which are
worth something by themselves (Frankle & Carbin 2019). Compared on every dataset, as means over
seeds:

- native: connections learned on this dataset;
- carried: learned on another one, by a run of the same seed;
- random: as many a unit as native, at random places;
- local: as many a unit as native, in one square window of all channels at a random place;
- beside them the dense S-FC by SGD, S-LOCAL, and the very network of β-LASSO.

SGD has the momentum and weight decay that are best, on validation, for the dense S-FC of the
dataset: the same for all four, chosen on none of them. Connections go between images of one shape
only, so MNIST's digits (1×28×28) lie on a canvas of CIFAR's (3×32×32).

All networks have half the scale's α and half its length: 8 and 20 epochs at `laptop`.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, replace

from scratchconv.errors import ScratchconvError
from scratchconv.experiments import chosen_settings, settings
from scratchconv.experiments.experiment import Experiment
from scratchconv.experiments.finished_runs import finished_runs
from scratchconv.experiments.half_size import half_size
from scratchconv.experiments.mean_difference import mean_difference
from scratchconv.experiments.reviewers import cells
from scratchconv.lab import Lab, Outcome, RunRecord, Table, percent
from scratchconv.report.wording import MISSING, signed
from scratchconv.training import RunConfig
from scratchconv.training.config import ConnectionsKind

NEW_SEED = 1000
"""What is added to the seed that learned connections, for the weights that are trained on them."""
RANDOM, WINDOWS = "random places", "local windows"
DENSE, LOCAL = "all (S-FC by SGD)", "9×9 windows (S-LOCAL by SGD)"
OURS = "β-LASSO's own network"
_CHOSEN = (
    (OURS, "s-fc", settings.beta_lasso),
    (DENSE, "s-fc", settings.sgd),
    (LOCAL, "s-local", settings.sgd),
)
"""Rows that choose their settings on every dataset; the others take those of the dense S-FC."""


@dataclass(frozen=True)
class Row:
    """Runs on one dataset, one a seed, that differ from others in what they connect."""

    connections: str
    records: tuple[RunRecord, ...]

    def finished(self) -> list[RunRecord]:
        """The runs whose loss stayed finite; raises `ScratchconvError` where there is none."""
        return finished_runs({self.connections: self.records})[self.connections]

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
    tried = {
        (row, data): candidates(lab.scale, half_size(lab, data, model))
        for row, model, candidates in _CHOSEN
        for data in lab.datasets
    }
    chosen = lab.choose(tried)
    learned = {data: lab.seeds(f"β-LASSO on {data}", chosen[OURS, data]) for data in lab.datasets}
    for data, records in lab.train_groups(learned).items():
        finished = zip(learned[data].items(), records, strict=True)
        learned[data] = dict(run for run, record in finished if not record.failure)
        if not learned[data]:
            raise ScratchconvError(f"no run of β-LASSO on {data} ended with a finite loss")
    groups = {
        (data, row): runs
        for data in lab.datasets
        for row, runs in _rows(lab, data, learned, chosen[DENSE, data], chosen[LOCAL, data]).items()
    }
    lab.train_groups(_sources_to_be_read(lab, learned, groups), weights=True)
    made = {of: Row(of[1], tuple(records)) for of, records in lab.train_groups(groups).items()}
    found = {data: _target(data, made) for data in lab.datasets}
    sentences = [sentence for data in found for sentence in verdict(data, found[data])]
    for data in found:
        sentences += settings.at_the_edge(
            data, {row: (tried[row, data], chosen[row, data]) for row, _, _ in _CHOSEN}
        )
    return Outcome(tuple(sentences), tuple(table(data, found[data]) for data in found))


def verdict(data: str, target: Target) -> list[str]:
    """What carried connections are worth beside native, random and local ones, in words."""
    controls = {"random places": target.random, "local windows": target.local}
    sentences = []
    for source, row in target.carried.items():
        apart = [
            f"against {name} {mean_difference(row.accuracies(), other.accuracies())}"
            for name, other in {"its own": target.native, **controls}.items()
        ]
        here, there = (one.first_layer()[0] / one.first_layer()[1] for one in (target.native, row))
        sentences.append(
            f"{data}, on connections learned on {source}: {percent(row.accuracies())};"
            f" {', '.join(apart)}. A unit has {there:.0f} of them; of its own, of random places and"
            f" of local windows {here:.0f}."
        )
    apart = [
        f"against {name} {mean_difference(target.native.accuracies(), other.accuracies())}"
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
        apart = mean_difference(row.accuracies(), target.native.accuracies())
        is_native = row is target.native
        rows.append(
            (
                row.connections,
                percent(row.accuracies()),
                MISSING if is_native else signed(apart.mean),
                MISSING if is_native else apart.range,
                percent(row.accuracies("train")),
                cells.weights(left),
                f"{left / units:,.1f}",
                chosen_settings.in_words(row.finished()[0]),
                str(len(row.finished())),
            )
        )
    columns = (
        "connections of the first layer",
        "test accuracy",
        "against native (points)",
        "95 % interval",
        "training accuracy",
        "weights in the first layer",
        "a unit",
        "settings",
        "seeds",
    )
    note = (
        "Mean ± standard deviation over seeds; the interval is Welch's, of the difference of means."
        f" Runs on given connections have seeds from {NEW_SEED} on, the others from 0: none begins"
        " as the run did that learned the connections."
    )
    return Table(f"Trained on {data}", columns, tuple(rows), note)


def _sources_to_be_read(
    lab: Lab,
    learned: Mapping[str, Mapping[str, RunConfig]],
    groups: Mapping[tuple[str, str], Mapping[str, RunConfig]],
) -> dict[str, dict[str, RunConfig]]:
    """The runs whose weights have to be at hand: others, not made yet, read which are left."""
    read = {
        config.connections_from
        for runs in groups.values()
        for config in runs.values()
        if config.connections_from is not None and lab.lacks(config)
    }
    return {
        data: {name: config for name, config in runs.items() if lab.directory(config) in read}
        for data, runs in learned.items()
    }


def _rows(
    lab: Lab,
    data: str,
    learned: Mapping[str, Mapping[str, RunConfig]],
    dense: RunConfig,
    local: RunConfig,
) -> dict[str, dict[str, RunConfig]]:
    """The runs on one dataset, by row of the table."""

    def on(source: str, name: str, kind: ConnectionsKind = "learned") -> dict[str, RunConfig]:
        """SGD on the connections that `source` learned, seed by seed."""
        return {
            f"{name}, on {data}, seed {config.seed + NEW_SEED}": replace(
                dense,
                seed=config.seed + NEW_SEED,
                connections_from=lab.directory(config),
                connections_kind=kind,
            )
            for config in learned[source].values()
        }

    return {
        **{_learned_on(source): on(source, _learned_on(source)) for source in learned},
        RANDOM: on(data, RANDOM, "random"),
        WINDOWS: on(data, WINDOWS, "local"),
        DENSE: lab.seeds(f"dense, on {data}", dense),
        LOCAL: lab.seeds(f"S-LOCAL, on {data}", local),
        OURS: dict(learned[data]),
    }


def _target(data: str, made: Mapping[tuple[str, str], Row]) -> Target:
    sources = dict.fromkeys(of for of, _ in made)
    return Target(
        native=made[data, _learned_on(data)],
        carried={of: made[data, _learned_on(of)] for of in sources if of != data},
        random=made[data, RANDOM],
        local=made[data, WINDOWS],
        beside=tuple(made[data, row] for row in (DENSE, LOCAL, OURS)),
    )


def _learned_on(source: str) -> str:
    return f"learned on {source}"


EXPERIMENT = Experiment(
    name="transfer",
    title="Connections learned on one dataset, carried to another",
    source="Asked for by the reviewers of Neyshabur 2020",
    datasets=("cifar10", "cifar100", "mnist-32"),
    reproduce=reproduce,
    laptop_minutes=84,
)
