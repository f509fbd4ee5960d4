"""Table 2: S-FC by SGD and by β-LASSO at β = 0, 1 and 50, beside S-CONV, S-LOCAL and 3-FC.

Settings are chosen on validation data for every network, method and dataset by itself.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from scratchconv import published
from scratchconv.experiments import settings
from scratchconv.experiments.experiment import Experiment
from scratchconv.experiments.neyshabur.table2_runs import table2_runs
from scratchconv.lab import Lab, Outcome, RunRecord, Table, percent
from scratchconv.report import wording
from scratchconv.report.wording import listed, plural, ranked, signed

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
_ORDER = ("s-conv/sgd", "s-local/sgd", "s-fc/beta-lasso-50", "s-fc/sgd", "3-fc/sgd")

_AUGMENTED = {"auto": "flips and crops (SVHN: crops)", "none": "no augmentation"}

Found = dict[str, dict[str, list[RunRecord]]]
"""Records by dataset and `model/method`, one a seed."""


def reproduce(lab: Lab) -> Outcome:
    """Choose every method's settings on validation data, train all seeds, draw the table."""
    found = runs(lab)
    theirs = published.load("neyshabur2020")["table2"]
    sentences = [sentence for data in lab.datasets for sentence in order(data, found[data])]
    smallest = settings.smallest_lam(lab.scale.name)
    for data in lab.datasets:
        sentences += against_sgd(data, found[data], theirs, smallest)
        sentences += without_momentum(data, lab.used.values())
        sentences += at_the_edge(data, found[data], settings.largest_decay(lab.scale.name))
    return Outcome(tuple(sentences), (table(found, theirs), kept_table(found)))


def runs(lab: Lab) -> Found:
    """All rows on all datasets, every seed."""
    keys = [(f"{model}/{method}", model, method) for _, model, method in ROWS]
    wanted = {
        (data, key): lab.seeds(f"{key} on {data}", config)
        for (key, _, data), config in table2_runs(lab, keys).items()
    }
    made = lab.train_groups(wanted)
    return {data: {key: made[data, key] for key, _, _ in keys} for data in lab.datasets}


def table(found: Found, theirs: dict[str, Any]) -> Table:
    """Test accuracies, ours beside the published ones."""
    columns = [cell for data in found for cell in (f"{data}: ours", "the paper")]
    rows = []
    for network, model, method in ROWS:
        key = f"{model}/{method}"
        cells: list[str] = []
        for data, records in found.items():
            value = theirs.get(key, {}).get(data)
            accuracies = [record.accuracy() for record in records[key]]
            cells += [percent(accuracies), "–" if value is None else f"{value:g} %"]
        rows.append((network, _method(method), *cells))
    s_fc = next(iter(found.values()))["s-fc/sgd"]
    size = sum(layer["size"] for layer in s_fc[0].result["layers"]) / 1e6
    note = (
        f"Ours: S-FC of {size:.3g} M weights, {plural(s_fc[0].setting('epochs'), 'epoch')},"
        f" {_AUGMENTED[s_fc[0].setting('augment')]}; n = {len(s_fc)}"
        f"{', ± standard deviation' if len(s_fc) > 1 else ''}. The paper: 256 M, 4000 epochs, Fast"
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
                    _chosen(records[0]),
                    f"{kept:,.0f}",
                    wording.percent(density),
                    percent([record.accuracy("train") for record in records]),
                    f"{statistics.mean(record.result['seconds'] for record in records):.0f}",
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
        "seconds",
    )
    note = (
        "Settings are those of the best validation accuracy, where the grids of"
        " experiments/settings.py have more than one at this scale."
    )
    return Table("What was chosen, and what is left", columns, tuple(rows), note)


def order(data: str, records: dict[str, list[RunRecord]]) -> list[str]:
    """Whether the published order holds, and what β = 50 gains and keeps, in words."""
    means = {key: _mean(records[key]) for key in _ORDER}
    names = {f"{model}/{method}": f"{network}{_short(method)}" for network, model, method in ROWS}
    said = ranked({names[key]: mean for key, mean in means.items()}, "{:.2f}")
    inverted = [(a, b) for a, b in pairwise(_ORDER) if means[a] <= means[b]]
    if not inverted:
        verdict = "the published order"
    elif all(_alike(records[a], records[b]) for a, b in inverted):
        pairs = listed([f"{names[b]} from {names[a]}" for a, b in inverted])
        verdict = f"the published order, as far as the seeds tell: they do not part {pairs}"
    else:
        verdict = "not the published order"
    ours, theirs, local = "s-fc/beta-lasso-50", "s-fc/sgd", "s-local/sgd"
    kept, of_local = (
        statistics.mean(r.nonzeros()[0] for r in records[key]) for key in (ours, local)
    )
    return [
        f"{data}: {said} ({verdict}).",
        f"{data}: β = 50 is {signed(means[ours] - means[theirs])} points from SGD on the same"
        f" S-FC; its first layer keeps {kept:,.0f} weights, S-LOCAL's has"
        f" {of_local / max(1.0, kept):.1f} times as many.",
    ]


def against_sgd(
    data: str,
    records: dict[str, list[RunRecord]],
    theirs: dict[str, Any],
    smallest: tuple[float, float],
) -> list[str]:
    """What β = 1 and β = 0 gain on SGD, here and in the paper, in words.

    `smallest` are the λ beyond which none was tried: whoever chose them might do better with less.
    """
    sentences = []
    for beta in ("1", "0"):
        ours, sgd = f"s-fc/beta-lasso-{beta}", "s-fc/sgd"
        gain = _mean(records[ours]) - _mean(records[sgd])
        published_gain = theirs[ours][data] - theirs[sgd][data]
        same = "as" if (gain > 0) == (published_gain > 0) else "unlike"
        said = (
            f"{data}: β = {beta} is {signed(gain)} points from SGD,"
            f" {same} in the paper ({signed(published_gain)})"
        )
        chosen = records[ours][0]
        if (chosen.setting("lam_first"), chosen.setting("lam")) == smallest:
            said += "; of the λ tried, the smallest was chosen: less might be better still"
        sentences.append(f"{said}.")
    return sentences


def without_momentum(data: str, records: Iterable[RunRecord]) -> list[str]:
    """What momentum is worth to SGD on S-FC, by the trials: β-LASSO is defined without it."""
    best: dict[bool, float] = {}
    for record in records:
        of = [record.setting(name) for name in ("model", "method", "data", "skip_test")]
        if record.failure or of != ["s-fc", "sgd", data, True]:
            continue
        has = record.setting("momentum") > 0
        best[has] = max(best.get(has, 0.0), record.accuracy("validation"))
    if len(best) < 2 or best[True] <= best[False]:
        return []
    return [
        f"{data}: SGD's best trial on S-FC comes to {best[True]:.2f} % of the validation data with"
        f" momentum and to {best[False]:.2f} % without, as β-LASSO is defined: in a training as"
        " short as ours a likely cause of smaller gains than in the paper."
    ]


def at_the_edge(data: str, records: dict[str, list[RunRecord]], largest: float | None) -> list[str]:
    """Which networks by SGD chose the largest weight decay that was tried."""
    names = [
        network
        for network, model, method in ROWS
        if method == "sgd" and records[f"{model}/sgd"][0].setting("weight_decay") == largest
    ]
    if not names:
        return []
    return [
        f"{data}: of the weight decays tried {listed(names)} by SGD chose the largest: more might"
        " be better still."
    ]


def _alike(ours: list[RunRecord], theirs: list[RunRecord]) -> bool:
    """Whether two means differ by less than two standard errors of their difference."""
    if min(len(ours), len(theirs)) < 2:
        return False
    accuracies = [[record.accuracy() for record in records] for records in (ours, theirs)]
    error = math.sqrt(sum(statistics.variance(of) / len(of) for of in accuracies))
    return abs(_mean(ours) - _mean(theirs)) < 2 * error


def _mean(records: list[RunRecord]) -> float:
    return statistics.mean(record.accuracy() for record in records)


def _chosen(record: RunRecord) -> str:
    rate = record.setting("lr")
    if record.setting("method") == "sgd":
        momentum, decay = record.setting("momentum"), record.setting("weight_decay")
        return f"rate {rate:g}, momentum {momentum:g}, weight decay {decay:g}"
    return f"rate {rate:g}, λ first {record.setting('lam_first'):g}, rest {record.setting('lam'):g}"


def _method(method: str) -> str:
    name, _, beta = method.rpartition("-")
    return "SGD" if method == "sgd" else f"{name.replace('beta-lasso', 'β-LASSO')}, β = {beta}"


def _short(method: str) -> str:
    return "" if method == "sgd" else f" β = {method.rpartition('-')[2]}"


EXPERIMENT = Experiment(
    name="table2",
    title="Table 2: β-LASSO against SGD, local and convolutional networks",
    source="Neyshabur 2020, Table 2",
    datasets=("cifar10", "cifar100", "svhn"),
    reproduce=reproduce,
    laptop_minutes=358,
)
