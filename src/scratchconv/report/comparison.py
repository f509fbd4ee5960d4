"""Which experiments compare with which, and what their scores say beside each other."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import NamedTuple

from scratchconv.report import wording
from scratchconv.report.group import Group
from scratchconv.report.record import DENSE

# Which split to quote, and the words for it: the test set where there is one.
_SPLITS = (
    ("test", "test set"),
    ("validation", "validation set"),
    ("train", "training set (nothing else was measured)"),
)


class Score(NamedTuple):
    """What an experiment reached: on which split, in words where, as text and as a number."""

    split: str
    where: str
    text: str
    value: float


def best_of(groups: Sequence[Group]) -> Group:
    """The best on validation data, never on the test set; the first where nothing was held out."""

    def merit(candidate: Group) -> float:
        if candidate.any.regression:
            loss = candidate.mean(lambda r: r.latest("validation_loss"))
            return -math.inf if loss is None else -loss.value
        score = candidate.mean(lambda r: r.latest("validation_accuracy"))
        return -math.inf if score is None else score.value

    return max(groups, key=merit)


def comparable(one: Group, other: Group, *keys: str) -> bool:
    """Whether both were run with the same values of these settings."""

    def written(of: Group, key: str) -> str:  # NaN, which JSON may hold, is not equal to itself
        return json.dumps(of.any.setting(key), sort_keys=True)

    return all(written(one, key) == written(other, key) for key in keys)


# What two runs must share for their scores to tell what their networks are worth, and what for them
# to tell what a dense first layer is worth.
_OF_THE_TASK = (
    *("data", "permute", "train_size", "data_seed", "tree_noise", "tree_noise_shared"),
    *("normalise", "augment", "cutout", "epochs"),
)
_OF_THE_NETWORK = ("model", "alpha", "kernel_size")


def dense_twin(chosen: Group, groups: Sequence[Group]) -> Group | None:
    """The same network, data and length, with its first layer left dense."""
    twins = [
        g
        for g in groups
        if g.density is not None
        and g.density >= DENSE
        and g is not chosen
        and comparable(chosen, g, *_OF_THE_NETWORK, *_OF_THE_TASK)
    ]
    return best_of(twins) if twins else None


def score_of(chosen: Group) -> Score | None:
    """The score on the best split there is; None where nothing was measured."""
    scores = (_score_on(split, words, chosen) for split, words in _SPLITS)
    return next((score for score in scores if score is not None), None)


def _score_on(split: str, words: str, chosen: Group) -> Score | None:
    metric = "loss" if chosen.any.regression else "accuracy"
    mean = chosen.mean(lambda r: r.latest(f"{split}_{metric}"))
    if mean is None:
        return None
    form = wording.number if chosen.any.regression else wording.accuracy
    return Score(split, words, mean.written(form), mean.value)


def shared_scores(one: Group, other: Group) -> tuple[Score, Score] | None:
    """The scores of both on the best split that both were measured on.

    Runs made to choose something leave the test data alone; validation data then compares. None
    where only training data is common to them though `one` has a better score.
    """
    for split, words in _SPLITS:
        own, its = _score_on(split, words, one), _score_on(split, words, other)
        if own is not None and its is not None:
            return None if split == "train" and score_of(one) != own else (own, its)
    return None


def score_sentence(chosen: Group, dense: Group | None, *, headline: bool) -> list[str]:
    """What was reached, beside the dense twin; nothing where the headline tells it already."""
    score = score_of(chosen)
    if score is None or headline:
        return []
    metric = "a loss of " if chosen.any.regression else ""
    data = wording.data_name(chosen.any.data)
    subject = "It" if chosen.finished else "So far it"
    begin = f"{subject} reached {metric}{score.text} on the {data} {score.where}"
    if dense is None:
        return [
            f"{begin}. No dense run of the same network, data and length is here to compare with."
        ]
    shared = shared_scores(chosen, dense)
    if shared is None:
        return [f"{begin}."]
    if shared[0] != score:
        begin += f" and {shared[0].text} on the {shared[0].where}"
    score, other = shared
    name = f"the same network trained dense by {dense.method} ({other.text})"
    if chosen.any.regression:
        ratio = (
            "lower"
            if score.value < other.value
            else "higher"
            if score.value > other.value
            else "equal"
        )
        than = "to" if ratio == "equal" else "than"
        return [f"{begin}, {ratio} {than} that of {name}."]
    points = 100 * (score.value - other.value)
    if abs(points) < 0.05:
        return [f"{begin}, equal to {name} within 0.1 points."]
    side = "above" if points > 0 else "below"
    return [f"{begin}, {abs(points):.1f} points {side} {name}{_chance(chosen, score, other)}."]


def _chance(chosen: Group, one: Score, other: Score) -> str:
    """Says so where the split is too small to tell the two accuracies apart."""
    size = chosen.any.resolved.get(f"{one.split}_size")
    if not isinstance(size, int) or size < 1:
        return ""
    # Two binomial shares of `size` samples each; 2 standard errors of their difference.
    error = math.sqrt(sum(p * (1 - p) for p in (one.value, other.value)) / size)
    if abs(one.value - other.value) >= 2 * error:
        return ""
    return f", which {wording.grouped(size)} {one.split} samples cannot tell from chance"


def by_hand(chosen: Group, groups: Sequence[Group]) -> list[str]:
    """What built-in locality and weight sharing reach on the same data, in as many epochs."""
    reached = []
    for kind, words in (("local", "locality"), ("convolution", "locality and weight sharing")):
        built_in = [
            g
            for g in groups
            if g is not chosen
            and g.any.connectivity == kind
            and comparable(chosen, g, *_OF_THE_TASK)
        ]
        if not built_in:
            continue
        best = best_of(built_in)
        shared = shared_scores(chosen, best)
        if shared is not None:
            own, score = shared
            where = "" if own == score_of(chosen) else f" on the {score.where}"
            reached.append(f"{best.network} ({words} built in) reached {score.text}{where}")
    return [f"For comparison, {wording.listed(reached)}."] if reached else []
