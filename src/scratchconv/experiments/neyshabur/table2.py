"""Table 2: S-FC by SGD and by β-LASSO at β = 0, 1 and 50, beside S-CONV, S-LOCAL and 3-FC.

Settings are chosen on validation data for every network, method and dataset by itself.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from scratchconv import models, published
from scratchconv.experiments import chosen_settings, settings
from scratchconv.experiments.experiment import Experiment
from scratchconv.experiments.finished_runs import finished_runs
from scratchconv.experiments.mean_difference import MeanDifference, mean_difference
from scratchconv.experiments.neyshabur.table2_runs import METHODS, table2_runs
from scratchconv.lab import Lab, Outcome, RunRecord, Table, augmentation, percent
from scratchconv.nn import LocallyConnected2d
from scratchconv.report import wording
from scratchconv.report.wording import listed, plural, ranked, signed
from scratchconv.training import RunConfig

# Best to worst in the paper, on CIFAR-10.
ROWS = (
    ("S-CONV", "s-conv", "sgd"),
    ("S-LOCAL", "s-local", "sgd"),
    ("S-FC", "s-fc", "beta-lasso-50"),
    ("S-FC", "s-fc", "beta-lasso-1"),
    ("S-FC", "s-fc", "beta-lasso-0"),
    ("S-FC", "s-fc", "sgd"),
    ("3-FC", "3-fc", "sgd"),
)

Found = dict[str, dict[str, list[RunRecord]]]
"""Records by dataset and `model/method`, one a seed whose loss stayed finite."""


def reproduce(lab: Lab) -> Outcome:
    """Choose every method's settings on validation data, train all seeds, draw the table."""
    keys = [(f"{model}/{method}", model, method) for _, model, method in ROWS]
    chosen = {(data, key): run for (key, _, data), run in table2_runs(lab, keys).items()}
    found = runs(lab, chosen)
    theirs = published.load("neyshabur2020")["table2"]
    sentences = []
    for data in lab.datasets:
        sentences += [
            *order(data, found[data], theirs),
            *against_sgd(data, found[data], theirs, edges(lab, data, chosen)),
            kept(data, found[data]),
            *settings.momentum(data, "s-fc", "S-FC", lab.used.values()),
            *at_the_edge(lab, data, chosen),
        ]
    return Outcome(tuple(sentences), (table(found, theirs), kept_table(found)))


def runs(lab: Lab, chosen: Mapping[tuple[str, str], RunConfig]) -> Found:
    """All rows on all datasets, every seed; `chosen` by dataset and row."""
    made = finished_runs(
        lab.train_groups(
            {(data, key): lab.seeds(f"{key} on {data}", run) for (data, key), run in chosen.items()}
        )
    )
    return {data: {key: made[data, key] for of, key in made if of == data} for data in lab.datasets}


def at_the_edge(lab: Lab, data: str, chosen: Mapping[tuple[str, str], RunConfig]) -> list[str]:
    """Which rows chose the largest or smallest value that was tried, in words."""
    found = _tried_and_chosen(lab, data, chosen)
    return settings.at_the_edge(data, {_name(*row): found[row] for row in ROWS})


def edges(lab: Lab, data: str, chosen: Mapping[tuple[str, str], RunConfig]) -> dict[str, list[str]]:
    """Of which settings each row chose the largest or smallest value that was tried."""
    found = _tried_and_chosen(lab, data, chosen)
    return {f"{row[1]}/{row[2]}": settings.edges(*found[row]) for row in ROWS}


def _tried_and_chosen(
    lab: Lab, data: str, chosen: Mapping[tuple[str, str], RunConfig]
) -> dict[tuple[str, str, str], tuple[list[RunConfig], RunConfig]]:
    return {
        row: (
            METHODS[row[2]](lab.scale, lab.config(row[1], data)),
            chosen[data, f"{row[1]}/{row[2]}"],
        )
        for row in ROWS
    }


def table(found: Found, theirs: dict[str, Any]) -> Table:
    """Test accuracies, ours beside the published ones."""
    columns = [cell for data in found for cell in (f"{data}: ours", "the paper")]
    rows = []
    most = max(len(records) for by_row in found.values() for records in by_row.values())
    for network, model, method in ROWS:
        key = f"{model}/{method}"
        cells: list[str] = []
        for data, records in found.items():
            value = theirs.get(key, {}).get(data)
            accuracies = [record.accuracy() for record in records[key]]
            fewer = len(accuracies) < most
            ours = percent(accuracies) + (f" (n = {len(accuracies)})" if fewer else "")
            cells += [ours, "–" if value is None else f"{value:g} %"]
        rows.append((network, _method(method), *cells))
    s_fc = next(iter(found.values()))["s-fc/sgd"]
    size = sum(layer["size"] for layer in s_fc[0].result["layers"]) / 1e6
    note = (
        f"Ours: S-FC of {size:.3g} M weights, {plural(s_fc[0].setting('epochs'), 'epoch')},"
        f" {augmentation(_all(found)) or 'no augmentation'}; n = {most}"
        f"{', ± standard deviation' if most > 1 else ''}. The paper: 256 M, 4000 epochs, Fast"
        " AutoAugment."
    )
    return Table("Test accuracy", ("network", "training", *columns), tuple(rows), note)


def kept_table(found: Found) -> Table:
    """What was chosen, and what is left of the first layer."""
    rows = []
    for data, by_row in found.items():
        for network, model, method in ROWS:
            records = by_row[f"{model}/{method}"]
            first = [record.result["layers"][0] for record in records]
            kept = statistics.mean(layer["nonzero"] for layer in first)
            density = kept / first[0]["size"]
            rows.append(
                (
                    network,
                    _method(method),
                    data,
                    chosen_settings.in_words(records[0]),
                    f"{kept:,.0f}",
                    wording.percent(density),
                    percent([record.accuracy("train") for record in records]),
                )
            )
    columns = (
        "network",
        "training",
        "data",
        "settings",
        "first layer's non-zeros",
        "of all",
        "training accuracy",
    )
    augmented = ", as they are augmented," if augmentation(_all(found)) else ""
    note = (
        "Settings are those of the best validation accuracy, where the grids of"
        " experiments/settings.py have more than one at this scale. S-LOCAL's count is the paper's,"
        " 9 × 9 everywhere: windows at the border reach over it. Training accuracy is that of the"
        f" last epoch's batches{augmented} while the weights move."
    )
    return Table("What was chosen, and what is left", columns, tuple(rows), note)


def order(data: str, records: dict[str, list[RunRecord]], theirs: dict[str, Any]) -> list[str]:
    """Our order of all rows, and where it is not the published one, in words."""
    names = {f"{row[1]}/{row[2]}": _name(*row) for row in ROWS}
    means = {key: _mean(records[key]) for key in names}
    below: dict[str, list[str]] = {}
    alike = []
    for above, other in combinations(sorted(names, key=lambda key: -theirs[key][data]), 2):
        # Of two rows that the paper has equal neither is above the other.
        if theirs[above][data] == theirs[other][data] or means[above] > means[other]:
            continue
        if _difference(records[above], records[other]).separated:
            below.setdefault(above, []).append(names[other])
        else:
            alike.append(f"{names[above]} from {names[other]}")
    verdict = "the published order" + (", as far as the seeds tell" if alike else "")
    if below:
        but = f"but for {listed([names[above] for above in below])}"
        verdict += f", {but}" if alike else f" {but}"
    said = ranked({names[key]: mean for key, mean in means.items()}, "{:.2f}")
    sentences = [f"{data}: {said} ({verdict})."]
    misplaced: dict[str, list[str]] = {}
    for above, others in below.items():
        misplaced.setdefault(listed(others), []).append(names[above])
    apart = [
        f"{listed(rows)}, in the paper above {others}, {'are' if len(rows) > 1 else 'is'} below"
        for others, rows in misplaced.items()
    ]
    if alike:
        apart.append(f"the seeds do not tell {listed(alike)}")
    return [*sentences, *([f"{data}: {'; '.join(apart)}."] if apart else [])]


def against_sgd(
    data: str,
    records: dict[str, list[RunRecord]],
    theirs: dict[str, Any],
    edges: Mapping[str, Sequence[str]],
) -> list[str]:
    """What every β gains on SGD, here and in the paper, in words.

    `edges`: by row, of what it chose the largest or smallest value tried. Beyond it a method may
    do better.
    """
    sentences = []
    for beta in ("50", "1", "0"):
        ours, sgd = f"s-fc/beta-lasso-{beta}", "s-fc/sgd"
        published_gain = theirs[ours][data] - theirs[sgd][data]
        sentences.append(
            f"{data}: β = {beta} against SGD on the same S-FC:"
            f" {_difference(records[ours], records[sgd])}; in the paper {signed(published_gain)}"
            + (f"; β = {beta} at the {listed(list(at))} tried" if (at := edges.get(ours)) else "")
            + "."
        )
    return sentences


def _all(found: Found) -> list[RunRecord]:
    return [r for by_row in found.values() for records in by_row.values() for r in records]


def kept(data: str, records: dict[str, list[RunRecord]]) -> str:
    """What β = 50 leaves of its first layer, beside S-LOCAL's, in words."""
    ours, of_local = (
        statistics.mean(record.nonzeros()[0] for record in records[key])
        for key in ("s-fc/beta-lasso-50", "s-local/sgd")
    )
    seen = of_local * _share_on_the_image(records["s-local/sgd"][0])
    if not ours:
        return (
            f"{data}: β = 50 keeps no weight of its first layer; {seen:,.0f} of S-LOCAL's meet a"
            " pixel."
        )
    return (
        f"{data}: β = 50 keeps {ours:,.0f} weights of its first layer; S-LOCAL's has"
        f" {wording.times(seen / ours)} as many that meet a pixel."
    )


def _share_on_the_image(record: RunRecord) -> float:
    """Of the weights of S-LOCAL's first layer, those that do not see padding alone."""
    network = models.build("s-local", image=record.resolved["image"], alpha=1)
    layer = next(m for m in network.modules() if isinstance(m, LocallyConnected2d))
    return float(layer.support().float().mean())


def _difference(ours: list[RunRecord], theirs: list[RunRecord]) -> MeanDifference:
    return mean_difference(*([r.accuracy() for r in records] for records in (ours, theirs)))


def _mean(records: list[RunRecord]) -> float:
    return statistics.mean(record.accuracy() for record in records)


def _method(method: str) -> str:
    name, _, beta = method.rpartition("-")
    return "SGD" if method == "sgd" else f"{name.replace('beta-lasso', 'β-LASSO')}, β = {beta}"


def _name(network: str, model: str, method: str) -> str:
    """The row in a sentence: S-FC alone has several trainings."""
    if method == "sgd":
        return f"{network} by SGD" if model == "s-fc" else network
    return f"{network} β = {method.rpartition('-')[2]}"


EXPERIMENT = Experiment(
    name="table2",
    title="Table 2: β-LASSO against SGD, local and convolutional networks",
    source="Neyshabur 2020, Table 2",
    datasets=("cifar10", "cifar100", "svhn"),
    reproduce=reproduce,
    laptop_minutes=361,
)
