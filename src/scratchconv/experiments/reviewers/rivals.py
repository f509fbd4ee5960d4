"""Rivals of β-LASSO at one final density of the same S-FC, on CIFAR-10.

The density is that of β-LASSO's run chosen on validation, all layers together, taken to the next of
`cutting.DENSITIES` above it: no rival is made to keep fewer weights than β-LASSO does. The network
has half the scale's α, and half its length.

- One-shot and iterative magnitude pruning with rewinding, SNIP, SET, RigL and random connections
  reach it by themselves. Their epochs are those of β-LASSO in all, every round of pruning included.
- Proximal LASSO, L1 (the subgradient step of `--method lasso`, which leaves no zeros) and weight
  decay (of SGD with momentum 0.9) are cut to it at the end: the smallest weights of all layers
  together become zero, and BatchNorm's statistics are taken anew (see `cutting`). They are not
  trained again.

Chosen on validation accuracy: the settings of β-LASSO and of dense SGD as everywhere; of
the six that prune, weight decay 1e-3 or none at rate 0.1 and momentum 0.9, or 1e-3 at rate 0.3
without; by the accuracy after the cut λ of proximal LASSO and of L1, ½, 1, 2 or 4 times that of
β-LASSO at β-LASSO's rate, and weight decay as a method, 5e-4, 1e-3, 3e-3 or 1e-2.

At `laptop`: 20 epochs of α = 8, three seeds.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from scratchconv.errors import ScratchconvError
from scratchconv.experiments import chosen_settings, settings
from scratchconv.experiments.experiment import Experiment
from scratchconv.experiments.finished_runs import finished
from scratchconv.experiments.half_size import half_size
from scratchconv.experiments.mean_difference import mean_difference
from scratchconv.experiments.reviewers import cells, rivals_figure
from scratchconv.experiments.reviewers.cutting import (
    DENSITIES,
    accuracy_after_cutting,
    density_at_or_above,
)
from scratchconv.experiments.reviewers.operations import inference, operations
from scratchconv.lab import Lab, Outcome, RunRecord, Table, percent
from scratchconv.lab.lab import measured
from scratchconv.pruning import iterative_rounds, rigl_interval
from scratchconv.report import wording
from scratchconv.training import RunConfig

_OURS, _DENSE = "β-LASSO, β = 50", "SGD, dense"
PRUNING = (
    ("one-shot magnitude", "magnitude"),
    ("iterative magnitude", "iterative-magnitude"),
    ("SNIP", "snip"),
    ("SET", "set"),
    ("RigL", "rigl"),
    ("random connections", "random"),
)
_RATE_MOMENTUM_DECAY = ((0.1, 0.9, 1e-3), (0.1, 0.9, 0.0), (0.3, 0.0, 1e-3))
_TIMES_LAM = (0.5, 1.0, 2.0, 4.0)
_DECAYS = (5e-4, 1e-3, 3e-3, 1e-2)


@dataclass(frozen=True)
class Row:
    """One method: its runs, and the density its networks are cut to (None: left as they are)."""

    method: str
    records: tuple[RunRecord, ...]
    cut_to: float | None = None

    def accuracies(self) -> list[float]:
        """Test accuracies in percent, after the cut if there is one."""
        if self.cut_to is None:
            return [record.accuracy() for record in self.records]
        return [100 * _after_cut(record, self.cut_to)["test_accuracy"] for record in self.records]

    def nonzeros(self) -> float:
        """Mean weights left."""
        return statistics.mean(sum(counts.values()) for counts in self._counts())

    def training_flops(self, which: str = "training") -> float:
        """Mean operations of the training."""
        return statistics.mean(float(measured(r, operations)[which]) for r in self.records)

    def inference_flops(self) -> float:
        """Mean operations of one sample."""
        return statistics.mean(
            inference(measured(record, operations)["uses"], counts)
            for record, counts in zip(self.records, self._counts(), strict=True)
        )

    def _counts(self) -> list[dict[str, int]]:
        if self.cut_to is not None:
            return [_after_cut(record, self.cut_to)["nonzero"] for record in self.records]
        layers = [record.result["layers"] for record in self.records]
        return [{layer["name"]: layer["nonzero"] for layer in one} for one in layers]


def reproduce(lab: Lab) -> Outcome:
    """β-LASSO first, whose density the rivals then get; a row each, and two pictures of them."""
    data = lab.datasets[0]
    base = half_size(lab, data)
    tried = {_OURS: settings.beta_lasso(lab.scale, base), _DENSE: settings.sgd(lab.scale, base)}
    chosen = lab.choose(tried)
    ours, dense = _rows(lab, chosen)
    if not (ours.records and dense.records):
        raise ScratchconvError("no run of β-LASSO, or none of SGD, ended with a finite loss")
    size = sum(layer["size"] for layer in ours.records[0].result["layers"])
    density = density_at_or_above(ours.nonzeros() / size)
    to_prune = {name: _pruned(lab, method, base, density) for name, method in PRUNING}
    pruned = lab.choose(to_prune)
    to_cut = _penalised(lab, base, chosen[_OURS])
    penalised = lab.choose(
        to_cut,
        measure=accuracy_after_cutting,
        score=lambda record: 100 * float(_after_cut(record, density)["validation_accuracy"]),
        scored="after cutting",
    )
    tried |= to_prune | to_cut
    chosen |= pruned | penalised
    rivals = _rows(lab, penalised | pruned, dict.fromkeys(penalised, density))
    found = [row for row in rivals if row.records]
    failed = [row.method for row in rivals if not row.records]
    if not found:
        raise ScratchconvError("no run of any rival ended with a finite loss")
    sentences = verdict(ours, dense, found, size)
    if failed:
        sentences.append(f"No run of {', '.join(failed)} ended with a finite loss.")
    sentences += settings.at_the_edge(data, {name: (tried[name], chosen[name]) for name in tried})
    rows = [ours, *sorted(found, key=lambda row: -statistics.mean(row.accuracies())), dense]
    # In one order, those that are cut first, so that a method has one colour in both pictures.
    points = [ours, *found, dense]
    curves = {row.method: curve(row.records) for row in found if row.cut_to is not None}
    return Outcome(
        tuple(sentences),
        (
            table(rows, size, data, density),
            rivals_figure.accuracy_and_operations(
                {row.method: (row.training_flops(), row.accuracies()) for row in points},
                screened=ours.training_flops("training_screened"),
            ),
            rivals_figure.accuracy_by_density(
                curves, (ours.nonzeros() / size, ours.accuracies()), dense.accuracies()
            ),
        ),
    )


def verdict(ours: Row, dense: Row, rivals: Sequence[Row], size: int) -> list[str]:
    """Who is ahead, by how much, and at what cost, in words."""
    rows = sorted([ours, *rivals], key=lambda row: -statistics.mean(row.accuracies()))
    best = next(row for row in rows if row is not ours)
    means = [statistics.mean(row.accuracies()) for row in rivals]
    own = statistics.mean(ours.accuracies())
    place, alike = 1 + sum(mean > own for mean in means), means.count(own)
    shared = f", with {wording.plural(alike, 'other')}," if alike else ""
    kept = [row.nonzeros() / size for row in rivals]
    between = dict.fromkeys((wording.percent(min(kept)), wording.percent(max(kept))))
    said = ", ".join(f"{row.method} {statistics.mean(row.accuracies()):.2f}" for row in rows)
    ahead = mean_difference(ours.accuracies(), best.accuracies())
    least = min(row.training_flops() for row in rivals)
    cheapest = [row for row in rivals if row.training_flops() == least]
    names = wording.listed([row.method for row in cheapest])
    return [
        f"β-LASSO is number {place}{shared} of {len(rows)} at equal density and epochs; against the"
        f" best rival, {best.method}: {ahead}.",
        f"Test accuracy in percent, where β-LASSO leaves {wording.percent(ours.nonzeros() / size)}"
        f" of the weights and its rivals {' to '.join(between)}: {said}; with all of"
        f" them, by SGD: {statistics.mean(dense.accuracies()):.2f}.",
        f"Operations of the training, in units of dense SGD: β-LASSO"
        f" {_relative(ours, dense):.2f} as the algorithm is stated, whose weight gradient is of all"
        f" weights at every step ({_relative(ours, dense, 'training_screened'):.2f} if none of"
        f" a zero were computed); the cheapest of its rivals, {names},"
        f" {_relative(cheapest[0], dense):.2f}.",
        *_below_random(rivals),
    ]


def _below_random(rivals: Sequence[Row]) -> list[str]:
    """Where RigL comes to less than connections that never change, unlike in its paper."""
    by_name = {row.method: row for row in rivals}
    if not {"RigL", "random connections"} <= by_name.keys():
        return []
    rigl, random = (by_name[name] for name in ("RigL", "random connections"))
    below = mean_difference(rigl.accuracies(), random.accuracies())
    if not (below.separated and below.mean < 0):
        return []
    steps = rigl.records[0].resolved["steps"]
    return [
        f"RigL against random connections, which never change: {below}, where Evci 2020 finds it"
        f" ahead; connections are exchanged every {rigl_interval(steps)} steps of {steps:,} here,"
        " there every 100 of tens of thousands, which may be why: not tested."
    ]


def table(rows: Sequence[Row], size: int, data: str, density: float) -> Table:
    """One line a method."""
    lines = []
    for row in rows:
        screened = row.training_flops("training_screened")
        training = f"{row.training_flops():.2e}"
        if screened < 0.995 * row.training_flops():
            training += f" ({screened:.2e} screened)"
        lines.append(
            (
                row.method + ("" if row.cut_to is None else ", cut"),
                percent(row.accuracies()),
                cells.weights(row.nonzeros()),
                wording.percent(row.nonzeros() / size),
                training,
                f"{row.inference_flops():.2e}",
                cells.seconds(row.records),
                chosen_settings.in_words(row.records[0]),
                str(len(row.records)),
            )
        )
    columns = (
        "method",
        "test accuracy",
        "non-zeros",
        "of all",
        "training FLOPs",
        "FLOPs of one prediction",
        "seconds of training",
        "chosen on validation",
        "seeds",
    )
    epochs = rows[0].records[0].setting("epochs")
    rounds = iterative_rounds(epochs, 1)
    note = (
        f"S-FC of {cells.weights(size)} weights on {data}. Rivals are given"
        f" {wording.percent(density)} of them, the next step above what β-LASSO kept; an exact zero"
        ' among the connections of a method is not counted. "Cut": the smallest weights are'
        " zeroed after training, nothing is trained again. FLOPs are those of an"
        " implementation that skips every zero"
        ' (scratchconv.analysis.flops); "screened" leaves out the weight gradients of zeros, which'
        " the sparse engine proves to be without effect where it can, and RigL needs now and then."
        " β-LASSO's weights, which grow fewer during an epoch, count as the mean of its ends."
        f" Seconds are of what was run, beside other runs{_dense_products(rows)}. Iterative"
        f" magnitude pruning makes {rounds + 1} trainings of"
        f" {epochs / (rounds + 1):.3g} epochs each; its papers give every round a whole one."
        " Magnitude pruning rewinds to the end of the first epoch where each of its trainings has"
        " ten, else to the initial weights. RigL exchanges connections every"
        f" {rigl_interval(rows[0].records[0].resolved['steps'])} steps, SET after every epoch."
    )
    return Table("At equal density", columns, tuple(lines), note)


def _dense_products(rows: Sequence[Row]) -> str:
    """Which rivals' seconds are those of dense layers whose zeros were masked, in words."""
    masked = [
        row.method
        for row in rows
        if row.records[0].setting("pruning") != "none"
        and not any(record.resolved.get("fixed_layers") for record in row.records)
    ]
    return f"; those of {wording.listed(masked)} are of masked dense products" if masked else ""


def curve(records: Sequence[RunRecord]) -> list[tuple[float, float]]:
    """Mean test accuracy in percent by density, of networks cut to it."""
    means = []
    for number, density in enumerate(DENSITIES):
        found = [measured(r, accuracy_after_cutting)["test_accuracy"][number] for r in records]
        means.append((density, 100 * statistics.mean(found)))
    return means


def _pruned(lab: Lab, method: str, base: RunConfig, density: float) -> list[RunConfig]:
    return [
        replace(
            base,
            method="sgd",
            lr=rate,
            momentum=momentum,
            weight_decay=decay,
            pruning=method,
            density=density,
        )
        for rate, momentum, decay in _few(lab, _RATE_MOMENTUM_DECAY)
    ]


def _penalised(lab: Lab, base: RunConfig, beta: RunConfig) -> dict[str, list[RunConfig]]:
    """What proximal LASSO, L1 and weight decay choose from; `beta` is what β-LASSO chose."""
    first = beta.lam if beta.lam_first is None else beta.lam_first

    def by(method: str) -> list[RunConfig]:
        return [
            replace(base, method=method, lr=beta.lr, lam_first=times * first, lam=times * beta.lam)
            for times in _few(lab, _TIMES_LAM)
        ]

    decay = [
        replace(base, method="sgd", momentum=0.9, weight_decay=decay)
        for decay in _few(lab, _DECAYS)
    ]
    return {"proximal LASSO": by("proximal-lasso"), "L1": by("lasso"), "weight decay": decay}


def _rows(
    lab: Lab, configs: Mapping[str, RunConfig], cut_to: Mapping[str, float] | None = None
) -> list[Row]:
    """A row each, all seeds of all of them trained side by side; `cut_to`: densities by row."""
    cuts = cut_to or {}
    groups = {name: lab.seeds(name, config) for name, config in configs.items()}
    made = lab.train_groups(groups, measure=operations)
    of_cut = {name: groups[name] for name in cuts}
    made |= lab.train_groups(of_cut, measure=accuracy_after_cutting)
    return [Row(name, tuple(finished(records)), cuts.get(name)) for name, records in made.items()]


def _after_cut(record: RunRecord, density: float) -> dict[str, Any]:
    found = measured(record, accuracy_after_cutting)
    if density not in found["density"]:
        raise ScratchconvError(f"run {record.key} was not cut to the density {density:g}")
    return {name: values[found["density"].index(density)] for name, values in found.items()}


def _few(lab: Lab, candidates: Sequence[Any]) -> Sequence[Any]:
    """All candidates; at scale smoke, where nothing is to be chosen, the first."""
    return candidates[:1] if lab.scale.name == "smoke" else candidates


def _relative(row: Row, dense: Row, which: str = "training") -> float:
    return row.training_flops(which) / dense.training_flops()


EXPERIMENT = Experiment(
    name="rivals",
    title="β-LASSO and its rivals at equal density",
    source="Asked for by the reviewers of Neyshabur 2020",
    datasets=("cifar10",),
    reproduce=reproduce,
    laptop_minutes=111,
)
