"""The settings that experiments choose from, on validation data; the same for all of them.

What shrinks a weight in all is λ·Ση, so λ belongs to a length of training: every scale has its own
values. The grids are stated here; what was chosen stands in the record of every final run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from scratchconv.lab import RunRecord
from scratchconv.lab.scales import Scale
from scratchconv.report.wording import listed
from scratchconv.training import RunConfig

# Learning rate, λ of the first layer and of the rest, for every β: a method must not win by a rate
# the others were not allowed. The paper's own: rates of 1, 0.1 and 0.01, and all pairs of
# 1e-6 … 2e-5 for λ, of which those are tried that its best public reimplementation calls the best,
# and their neighbours.
_LASSO: dict[str, Sequence[tuple[float, float, float]]] = {
    "smoke": ((0.1, 1e-3, 1e-4), (0.1, 5e-4, 5e-5)),
    "laptop": ((0.1, 1.5e-4, 7.5e-5), (0.3, 3e-5, 1e-5), (0.3, 5e-5, 2e-5), (0.3, 7.5e-5, 3e-5)),
    "ee411": ((0.1, 2e-5, 1e-5), (0.1, 5e-5, 2e-5), (0.1, 1e-4, 5e-5)),
    "paper": ((0.1, 1e-5, 2e-6), (0.1, 2e-5, 5e-6), (0.1, 2e-5, 2e-5), (0.1, 5e-6, 5e-6)),
}
# Learning rate, momentum and weight decay of SGD; the paper tries 0, 1e-4, 2e-4, 5e-4 and 1e-3 for
# the latter. Momentum 0.9 at 0.1 takes steps as long as a rate of 1 without. The laptop's
# has β-LASSO's two rates, and goes on past the paper's largest decay, which all networks chose.
_SGD: dict[str, Sequence[tuple[float, float, float]]] = {
    "smoke": ((0.1, 0.9, 5e-4),),
    "laptop": (
        (0.1, 0.0, 0.0),
        (0.3, 0.0, 5e-4),
        (0.1, 0.9, 5e-4),
        (0.1, 0.9, 1e-3),
        (0.1, 0.9, 2e-3),
    ),
    "ee411": ((0.1, 0.0, 0.0),),  # the report's one setting
    "paper": ((0.1, 0.0, 5e-4), (0.1, 0.9, 0.0), (0.1, 0.9, 1e-4), (0.1, 0.9, 5e-4)),
}


def beta_lasso(scale: Scale, config: RunConfig, beta: float = 50.0) -> list[RunConfig]:
    """The candidates of `config` by β-LASSO: rates and λ.

    Of a run that is shorter than the scale's, λ grows with the square root of the ratio: were λ·Ση
    to stay, the threshold βλ would take most of the initial weights at the first step.
    """
    method: dict[str, Any] = (
        {"method": "lasso"} if beta == 0 else {"method": "beta-lasso", "beta": beta}
    )
    long = replace(config, **method, epochs=scale.long)
    return [
        of_length(replace(long, lr=lr, lam_first=first, lam=rest), config.epochs, power=0.5)
        for lr, first, rest in _LASSO[scale.name]
    ]


def of_length(config: RunConfig, epochs: int, power: float = 1.0) -> RunConfig:
    """`config` for that many epochs, λ and weight decay times (its own / `epochs`)^`power`.

    A power of 1 keeps λ·Ση, 0 keeps λ.
    """
    factor = (config.epochs / epochs) ** power
    first = config.lam_first
    return replace(
        config,
        epochs=epochs,
        lam_first=None if first is None else _times(first, factor),
        lam=_times(config.lam, factor),
        weight_decay=_times(config.weight_decay, factor),
    )


def _times(number: float, factor: float) -> float:
    return float(f"{number * factor:.4g}")


def sgd(scale: Scale, config: RunConfig) -> list[RunConfig]:
    """The candidates of `config` by SGD: rates, momentum and weight decay.

    Of a run that is shorter than the scale's, weight decay grows as λ does.
    """
    long = replace(config, method="sgd", epochs=scale.long)
    return [
        of_length(
            replace(long, lr=lr, momentum=momentum, weight_decay=decay), config.epochs, power=0.5
        )
        for lr, momentum, decay in _SGD[scale.name]
    ]


def edges(tried: Sequence[RunConfig], chosen: RunConfig) -> list[str]:
    """Of which settings the largest or smallest value that was tried was chosen.

    Weight decay, or λ of the first layer, is compared among trials of one rate and momentum, the
    rate among those of one momentum. A single trial has no edge.
    """
    if len(tried) < 2:
        return []
    alike = [config for config in tried if config.momentum == chosen.momentum]
    what, value = _strength(chosen)
    beside = {_strength(config)[1] for config in alike if config.lr == chosen.lr}
    rates = {config.lr for config in alike}
    found = [f"only {what} at its rate"] if len(beside) == 1 and len(alike) > 1 else []
    for values, of, which in ((beside, value, what), (rates, chosen.lr, "rate")):
        if len(values) > 1 and of in (min(values), max(values)):
            found.append(f"{'largest' if of == max(values) else 'smallest'} {which}")
    return found


def at_the_edge(data: str, rows: Mapping[str, tuple[Sequence[RunConfig], RunConfig]]) -> list[str]:
    """Which rows chose the largest or the smallest of what they tried, in a sentence.

    `rows`: by its name what each tried and what it chose; see `edges`.
    """
    found: dict[str, list[str]] = {}
    for name, (tried, chosen) in rows.items():
        for edge in edges(tried, chosen):
            found.setdefault(edge, []).append(name)
    said = [f"the {edge} was chosen by {listed(names)}" for edge, names in found.items()]
    return [f"{data}: at the edge of what was tried {'; '.join(said)}."] if said else []


def _strength(config: RunConfig) -> tuple[str, float]:
    if "lasso" not in config.method:
        return "weight decay", config.weight_decay
    return "λ", config.lam if config.lam_first is None else config.lam_first


def momentum(data: str, model: str, name: str, records: Iterable[RunRecord]) -> list[str]:
    """What SGD's trials on `model` come to with and without momentum, which β-LASSO has none of.

    Compared at a weight decay that both were tried at, the best where there are several; beside
    them the best trial of β = 50. `name`: the network's in the sentence.
    """
    best: dict[tuple[float, bool], tuple[float, float]] = {}
    ours = 0.0
    for record in records:
        if record.failure or (model, data, True) != tuple(
            record.setting(key) for key in ("model", "data", "skip_test")
        ):
            continue
        accuracy = record.accuracy("validation")
        if record.setting("method") == "sgd":
            at = record.setting("weight_decay"), record.setting("momentum") > 0
            best[at] = max(best.get(at, (0.0, 0.0)), (accuracy, record.setting("lr")))
        elif record.setting("method") == "beta-lasso" and record.setting("beta") == 50:
            ours = max(ours, accuracy)
    both = [decay for decay, has in best if has and (decay, False) in best]
    if not (both and ours):
        return []
    decay = max(both, key=lambda decay: best[decay, False])
    (with_it, rate), (without, other_rate) = best[decay, True], best[decay, False]
    return [
        f"{data}: at weight decay {decay:g} SGD's trial on {name} comes to {with_it:.2f} % of the"
        f" validation data with momentum and to {without:.2f} % without"
        f"{', at another rate' if rate != other_rate else ''}; β-LASSO, which is defined without,"
        f" to {ours:.2f} %. Whether gains differ from the paper's for that reason was not tested."
    ]
