"""The compiled network beside a dense one, a convolution on the true geometry, and boosted trees.

Everyone's settings are chosen on the same rows held out of the training rows, from as many settings
each, by fits of an eighth of the work; the chosen one is fitted again to all training rows, and the
test rows are looked at once. Work is counted in multiply-adds, and everyone may do as much of it:
networks that need little of it for a pass over the rows make more passes, 30 at most. Of large
tables it is as much as three passes of the narrowest compiled network need. What β-LASSO learned
before, which the compiled network and the true convolution begin with, is not counted.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from scratchconv.discovery import fitting
from scratchconv.discovery.boosted_trees import BoostedTrees, extent_within
from scratchconv.discovery.compiling import compile_network, weights_of, widths_to_try
from scratchconv.discovery.fitting import Samples
from scratchconv.discovery.geometry import Geometry
from scratchconv.discovery.network_training import (
    Course,
    steps_of,
    train_network,
    work_of_a_row,
)
from scratchconv.discovery.networks import Structure
from scratchconv.discovery.receptive_fields import divided
from scratchconv.discovery.structure_search import outputs_of
from scratchconv.errors import Collapse, InvalidArgument

CONTENDERS = ("dense", "compiled", "true convolution", "boosted trees")
LEARNING_RATES = (0.1, 0.03)
WORK = 4e11
"""Multiply-adds of one fit: half a minute of two cores, and as much again to choose settings."""
_TRIAL = 1 / 8
"""Of the work goes into each of the settings that are tried."""
_LEAST_PASSES, _MOST_PASSES = 3, 30
_BATCH = 128
_CHUNK = 1024


@dataclass(frozen=True)
class Compared:
    """One contender.

    name: one of `CONTENDERS`.
    settings: those chosen, and how far the work went: passes over the rows; of trees, the rows,
        columns and rounds that were used.
    validation: the score on the rows held out, with these settings and an eighth of the work.
    test: on the test rows, after a fit to all training rows.
    weights: of the network; None for trees.
    seconds: of that last fit.

    Scores are the share of right answers, or R² of numbers.
    """

    name: str
    settings: dict[str, float]
    validation: float
    test: float
    weights: int | None
    seconds: float


@dataclass(frozen=True)
class _Fitted:
    predict: Callable[[Samples], NDArray[np.float64]]
    weights: int | None
    extent: dict[str, float]


@dataclass(frozen=True)
class _Contender:
    """fit: to rows, with settings, within a part (1: all) of the work."""

    name: str
    tried: list[dict[str, float]]
    fit: Callable[[Samples, dict[str, float], float], _Fitted]


def compare_networks(
    train: Samples,
    test: Samples,
    structure: Structure | None,
    geometry: Geometry | None,
    *,
    true_geometry: Geometry | None = None,
    learned: NDArray[Any] | None = None,
    work: float = WORK,
    batch_size: int = _BATCH,
    hidden: Sequence[int] = (256, 64),
    trees: bool = True,
    seed: int = 0,
    done: Sequence[Compared] = (),
    progress: Callable[[Compared], None] | None = None,
) -> list[Compared]:
    """Fit every contender within the same work, and score each once on the test rows.

    Args:
        train, test: rows standardised alike, by the training rows.
        structure: that was found; None: there is no compiled network to compare.
        geometry: that was found.
        true_geometry: where the columns really lie, if that is known: the same convolution is then
            compiled for it, or one of window 3 if what was found is not shared.
        learned: see `compile_network`; the compiled network and the true convolution begin with
            it. It may have been learned from the rows of `divided` that are not held out.
        work: multiply-adds of a fit, or more, if the narrowest compiled network makes fewer than
            three passes over the rows with them. None makes more than 30.
        batch_size: rows of a step.
        hidden: widths of the dense network.
        trees: whether to fit gradient-boosted trees; see `boosted_trees` for their bounds.
        seed: of the division, weights and batches.
        done: compared before, by the same arguments: these are not fitted again.
        progress: called with each that is done now.

    A contender that diverges with every setting is left out. Raises Collapse where all of them do;
    InvalidArgument: rows that do not fit each other.
    """
    d = train.inputs.shape[1]
    if learned is not None and not learned.any():
        learned = None
    if test.inputs.shape[1] != d or test.task != train.task:
        raise InvalidArgument(
            f"train has {d} columns ({train.task}), test {test.inputs.shape[1]} ({test.task})"
        )
    outputs = outputs_of(train)

    def compiled(width: int) -> nn.Sequential:
        assert structure is not None
        return compile_network(
            structure, geometry, d, outputs, learned=learned, width=width, seed=seed
        )

    if structure is not None:
        narrowest = compiled(min(widths_to_try(structure)))
        work = max(work, _LEAST_PASSES * work_of_a_row(narrowest, d) * len(train))

    def network(
        name: str, widths: Sequence[int], new: Callable[[int], nn.Sequential]
    ) -> _Contender:
        def fit(samples: Samples, settings: dict[str, float], part: float) -> _Fitted:
            fresh = new(int(settings["width"]))
            of_a_pass = work_of_a_row(fresh, d) * len(samples)
            passes = min(part * work / of_a_pass, _MOST_PASSES)
            steps = steps_of(passes, len(samples), batch_size)
            course = Course(steps, batch_size, settings["lr"])
            train_network(fresh, samples, course=course, seed=seed)
            return _Fitted(_predictor(fresh), weights_of(fresh), {"passes": round(passes, 2)})

        return _Contender(name, _grid(widths), fit)

    none = np.zeros(d, bool)
    wide = hidden[0]
    contenders = [
        network(
            "dense",
            (wide, 2 * wide),
            lambda width: fitting.new_network(
                d, [units * width // wide for units in hidden], outputs, none, seed
            ),
        )
    ]
    if structure is not None:
        contenders.append(network("compiled", widths_to_try(structure), compiled))
    if true_geometry is not None:
        shared = structure is not None and structure.kind == "shared"
        true = structure if shared and structure is not None else Structure("shared", 8, 3)
        contenders.append(
            network(
                "true convolution",
                widths_to_try(true),
                lambda width: compile_network(
                    true, true_geometry, d, outputs, learned=learned, width=width, seed=seed
                ),
            )
        )
    if trees:
        contenders.append(_trees(work, outputs, seed))
    learned_rows, held_out = divided(train, seed)
    found = []
    before = {one.name: one for one in done}
    for contender in contenders:
        if contender.name in before:
            found.append(before[contender.name])
            continue
        compared = _chosen(contender, learned_rows, held_out, train, test)
        if compared is None:
            continue
        found.append(compared)
        if progress is not None:
            progress(compared)
    if not found:
        raise Collapse(
            "every network diverged with every setting: look at the scale of the columns"
        )
    return found


def _grid(widths: Sequence[int]) -> list[dict[str, float]]:
    return [{"lr": lr, "width": width} for lr in LEARNING_RATES for width in widths]


def _trees(work: float, outputs: int, seed: int) -> _Contender:
    def fit(samples: Samples, settings: dict[str, float], part: float) -> _Fitted:
        leaves = int(settings["leaves"])
        rows, columns = samples.inputs.shape
        extent = extent_within(part * work, rows, columns, outputs, leaves)
        model = BoostedTrees(samples, extent, lr=settings["lr"], leaves=leaves, seed=seed)
        used = {"rows": extent.rows, "columns": extent.columns, "rounds": model.rounds}
        return _Fitted(model.predict, None, {name: float(n) for name, n in used.items()})

    tried = [{"lr": lr, "leaves": leaves} for lr in (0.1, 0.3) for leaves in (15.0, 31.0)]
    return _Contender("boosted trees", tried, fit)


def _chosen(
    contender: _Contender, learned: Samples, held_out: Samples, train: Samples, test: Samples
) -> Compared | None:
    """With the settings best on `held_out` that do not diverge on all rows; None if all do."""
    scores = []
    for settings in contender.tried:
        try:
            fitted = contender.fit(learned, settings, _TRIAL)
        except Collapse:
            scores.append(-math.inf)
            continue
        scores.append(score(fitted.predict(held_out), held_out))
    for best in np.argsort(-np.array(scores), kind="stable").tolist():
        settings = contender.tried[best]
        start = time.perf_counter()
        try:
            fitted = contender.fit(train, settings, 1)
        except Collapse:
            continue
        seconds = time.perf_counter() - start
        return Compared(
            contender.name,
            settings | fitted.extent,
            scores[best],
            score(fitted.predict(test), test),
            fitted.weights,
            seconds,
        )
    return None


def score(predicted: NDArray[np.float64], samples: Samples) -> float:
    """The share of right answers, or R² of numbers, rows counting by their weights.

    Numbers that are all the same, which have no R², are worth 1 where all are met and 0 otherwise:
    as scikit-learn's `r2_score` has it, every network then scores alike.
    """
    weights = samples.weights.double().numpy()
    targets = samples.targets.numpy()
    if samples.task == "classification":
        return float(np.average(predicted == targets, weights=weights))
    if np.ptp(targets) == 0:
        return float((predicted == targets).all())
    mean = np.average(targets, weights=weights)
    residual = np.average((predicted - targets) ** 2, weights=weights)
    return float(1 - residual / np.average((targets - mean) ** 2, weights=weights))


def _predictor(network: nn.Module) -> Callable[[Samples], NDArray[np.float64]]:
    def predict(samples: Samples) -> NDArray[np.float64]:
        with torch.no_grad():
            parts = [network(rows) for rows in samples.inputs.split(_CHUNK)]
        outputs = torch.cat(parts).double()
        chosen = outputs.argmax(1) if samples.task == "classification" else outputs[:, 0]
        return np.asarray(chosen.numpy(), np.float64)

    return predict
