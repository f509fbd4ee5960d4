"""What the runs show, in plain words: every sentence is composed from what was recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scratchconv.report import wording
from scratchconv.report.comparison import (
    best_of,
    by_hand,
    comparable,
    dense_twin,
    score_of,
    score_sentence,
)
from scratchconv.report.group import Group, group
from scratchconv.report.record import Record

_SIGNIFICANT = 0.05  # p-value from which on locality counts as shown
# Mean distance of a unit's weights over that by chance: up to here "far more" and "more local",
# beyond it "slightly". Not z, which grows with the number of units: dense SGD reaches z = 30 on
# CIFAR-10 with weights 2 % nearer than by chance.
_FAR, _CLEAR = 0.8, 0.95
_ALARMING_DEAD = 0.1  # dead units are named from this fraction on


@dataclass(frozen=True)
class KeyFigure:
    """One number with what it is, for the row of large figures."""

    value: str
    meaning: str


@dataclass(frozen=True)
class Verdict:
    """The headline, the sentences after it, and the figures that stand beside them."""

    headline: str
    sentences: tuple[str, ...]
    figures: tuple[KeyFigure, ...]


def verdict(records: Sequence[Record]) -> Verdict:
    """Say what the runs show; correct for any set of them, and silent on what was not measured."""
    groups = group(records)
    started = [g for g in groups if g.started]
    if not started:
        return Verdict(
            "No epoch has finished yet: there is nothing to conclude.",
            tuple(_unfinished(records)),
            (),
        )
    # Final numbers before provisional ones.
    measured = [g for g in started if g.finished] or started
    learned = [g for g in measured if g.learned_sparsity]
    # Scores on different data do not compare: the verdict is on the data of the first run.
    subject = (learned or measured)[0]
    learned = [g for g in learned if comparable(g, subject, "data", "task")]
    chosen = best_of([g for g in learned or measured if comparable(g, subject, "data", "task")])
    dense = dense_twin(chosen, measured)
    sentences = [
        *_locality_of_dense(chosen, learned),
        *_shared_pixels(chosen),
        *score_sentence(chosen, dense, headline=not learned),
        *by_hand(chosen, measured),
        *_selection(learned),
        *_dead(chosen),
        *_permuted(chosen),
        *_no_validation(measured),
        *_other_data(chosen, groups),
        *_unfinished(records),
    ]
    headline = _sparse_headline(chosen, dense) if learned else _dense_headline(chosen)
    return Verdict(headline, tuple(sentences), tuple(_figures(chosen)))


def _so_far(chosen: Group) -> str:
    if chosen.finished:
        return ""
    return f"So far ({_progress(chosen.any)}), "


def _progress(record: Record) -> str:
    done, planned = len(record.epochs), record.planned_epochs
    return wording.plural(done, "epoch") if planned is None else f"{done} of {planned} epochs"


def _field(record: Record) -> str:
    return "image" if record.is_picture else "input"


def _pieces(record: Record) -> str:
    return "pixels" if record.is_picture else "inputs"


def _sparse_headline(chosen: Group, dense: Group | None) -> str:
    kept = wording.percent(chosen.density)
    where = f"first layer’s weights of {chosen.network}"
    if chosen.density == 0:
        fault = "λ is too large" if chosen.any.sparsity == "penalty" else "too few are to be kept"
        return (
            f"{_so_far(chosen)}{chosen.method} took every weight out of the {where}: its output no "
            f"longer depends on its input, so {fault}."
        )
    text = f"{_so_far(chosen)}{chosen.method} kept {kept} of the {where}"
    spread = chosen.mean(lambda r: r.latest("spread"))
    if spread is not None:
        dense_spread = dense.mean(lambda r: r.latest("spread")) if dense else None
        by_chance = chosen.mean(lambda r: r.locality("spread_by_chance"))
        yardstick = (
            f"dense: {wording.fixed(dense_spread.value)}" if dense_spread else "1 is uniform"
        )
        if by_chance is not None:
            yardstick += f", as many weights at random places: {wording.fixed(by_chance.value)}"
        text += (
            f"; its filters cover {wording.fixed(spread.value)} of the {_field(chosen.any)}’s "
            f"spread ({yardstick})"
        )
    return text + _locality_clause(chosen)


def _locality_clause(chosen: Group) -> str:
    """The outcome of the test against shuffled pixels, up to the full stop."""
    z = chosen.mean(lambda r: r.locality("z_score"))
    p_values = [p for r in chosen.records if (p := r.locality("p_value")) is not None]
    if z is None or not p_values:
        reason = "was not tested" if chosen.finished else "is tested when the run ends"
        return f". Whether that is more local than chance {reason}."
    p = max(p_values)  # a mean of p-values is none: what is said holds for every run
    degree = "no more"
    if p <= _SIGNIFICANT and z.value > 0:
        ratio = chosen.mean(lambda r: r.locality("ratio"))
        near = 1.0 if ratio is None else ratio.value
        degree = "far more" if near <= _FAR else "more" if near <= _CLEAR else "slightly more"
    numbers = wording.z_score(z.value), wording.number(p, 2)
    test = (
        f"z\u00a0=\u00a0{numbers[0]}, p\u00a0=\u00a0{numbers[1]}"
        if z.runs == 1
        else f"mean z\u00a0=\u00a0{numbers[0]}, every p\u00a0≤\u00a0{numbers[1]}"
    )
    pieces = _pieces(chosen.any)
    return f", {degree} local than the same weights with shuffled {pieces} ({test})."


def _dense_headline(chosen: Group) -> str:
    score = score_of(chosen)
    name = f"{chosen.network} trained by {chosen.method}"
    if score is None:
        return f"{_so_far(chosen)}{name} has no score on record."
    metric = "a loss of " if chosen.any.regression else ""
    data = wording.data_name(chosen.any.data)
    nature = {
        "full": "no weight of its first layer was taken out",
        "local": "its first layer is locally connected by construction",
        "convolution": "its first layer is a convolution by construction",
    }[chosen.any.connectivity]
    if chosen.any.sparsity == "given" and chosen.density is not None:
        nature = f"its first layer was given {wording.percent(chosen.density)} of its weights"
    if chosen.density is None:
        nature = "how many of its weights are zero was not recorded"
    reached = f"reached {metric}{score.text} on the {data} {score.where}"
    return f"{_so_far(chosen)}{name} {reached}; {nature}."


def _locality_of_dense(chosen: Group, learned: Sequence[Group]) -> list[str]:
    if learned or chosen.any.connectivity != "full":
        return []
    spread = chosen.mean(lambda r: r.latest("spread"))
    if spread is None:
        return []
    clause = _locality_clause(chosen)
    return [
        f"Its filters cover {wording.fixed(spread.value)} of the {_field(chosen.any)}’s spread "
        f"(1 is uniform){clause}"
    ]


def _shared_pixels(chosen: Group) -> list[str]:
    """Units that all avoid the same pixels (a constant border, say) are near by that alone."""
    if chosen.any.connectivity != "full":
        return []
    own, shared, chance, p = (
        chosen.mean(lambda r, key=key: r.locality(key))  # type: ignore[misc]
        for key in ("statistic", "average_filter", "null_mean", "p_value")
    )
    if not (own and shared and chance and p) or p.value > _SIGNIFICANT:
        return []
    # Nearer to the units' own distance than to chance: most of the effect is common to all units.
    if shared.value - own.value >= chance.value - shared.value:
        return []
    return [
        f"Much of this locality is that its units use the same {_pieces(chosen.any)}: within their "
        f"average filter, weights lie {wording.fixed(shared.value)} apart on average, within each "
        f"{wording.fixed(own.value)}, by chance {wording.fixed(chance.value)}."
    ]


def _selection(learned: Sequence[Group]) -> list[str]:
    if len(learned) < 2:
        return []
    regression = learned[0].any.regression
    key = "validation_loss" if regression else "validation_accuracy"
    if all(g.mean(lambda r: r.latest(key)) is None for g in learned):
        return [f"It is the first given of {len(learned)} sparse experiments."]
    return [f"It is the best on validation data of {len(learned)} sparse experiments."]


def _dead(chosen: Group) -> list[str]:
    dead = chosen.mean(lambda r: r.first_layer.dead if r.first_layer else None)
    if dead is None or dead.value < _ALARMING_DEAD or chosen.density == 0:
        return []
    by_penalty = chosen.learned_sparsity and chosen.any.sparsity == "penalty"
    advice = "; a smaller λ would likely keep them" if by_penalty else ""
    return [
        f"{wording.percent(dead.value)} of its first layer’s units have no weight left{advice}."
    ]


def _permuted(chosen: Group) -> list[str]:
    if chosen.any.permutation_seed is None:
        return []
    convolution = chosen.any.connectivity == "convolution"  # only its kernels are drawn
    places = "" if convolution else "; spread, z and pictures use their true places"
    return [
        f"The {_pieces(chosen.any)} were shuffled before training, the same way for every sample, "
        f"so the network could not know which lie together{places}."
    ]


def _no_validation(groups: Sequence[Group]) -> list[str]:
    if any(g.mean(lambda r: r.latest("validation_loss")) is not None for g in groups):
        return []
    if all(g.mean(lambda r: r.latest("test_loss")) is None for g in groups):
        return []
    return [
        "No validation data was held out: to choose settings by these scores would be to choose on "
        "test data."
    ]


def _other_data(chosen: Group, groups: Sequence[Group]) -> list[str]:
    others = {g.any.data for g in groups} - {chosen.any.data}
    if not others:
        return []
    names = wording.listed(sorted(wording.data_name(data) for data in others))
    return [f"All this is on {wording.data_name(chosen.any.data)}; for {names}, see the table."]


def _unfinished(records: Sequence[Record]) -> list[str]:
    open_runs = [r for r in records if not r.finished]
    if not open_runs:
        return []
    shown = [f"{r.label} ({_progress(r)})" for r in open_runs[:3]]
    if len(open_runs) > 3:
        shown.append(f"{len(open_runs) - 3} more")
    return [f"Not finished: {wording.listed(shown)}."]


def _figures(chosen: Group) -> list[KeyFigure]:
    figures = []
    score = score_of(chosen)
    if score is not None:
        regression = chosen.any.regression
        figures.append(
            KeyFigure(
                wording.number(score.value) if regression else wording.accuracy(score.value),
                f"{score.split} {'loss' if regression else 'accuracy'}",
            )
        )
    if chosen.density is not None:
        figures.append(KeyFigure(wording.percent(chosen.density), "of first-layer weights kept"))
    for quantity, form, meaning in (
        (lambda r: r.latest("spread"), wording.fixed, "spread of its filters (1 = uniform)"),
        (
            lambda r: r.locality("z_score"),
            wording.z_score,
            f"z against shuffled {_pieces(chosen.any)}",
        ),
    ):
        mean = chosen.mean(quantity)
        if mean is not None:
            figures.append(KeyFigure(form(mean.value), meaning))
    return figures
