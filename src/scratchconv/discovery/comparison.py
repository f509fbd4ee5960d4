"""The compiled network beside a dense one, a convolution on the true geometry, and boosted trees.

Everyone's settings are chosen on the same rows held out of the training rows, from as many settings
each; the chosen one is fitted again to all training rows, and the test rows are looked at once.
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
from scratchconv.discovery.compiling import (
    compile_network,
    train_network,
    weights_of,
    widths_to_try,
)
from scratchconv.discovery.fitting import Budget, Samples
from scratchconv.discovery.geometry import Geometry
from scratchconv.discovery.networks import Structure
from scratchconv.discovery.sharing import outputs_of
from scratchconv.errors import Collapse, InvalidArgument

HELD_OUT = 0.2
LEARNING_RATES = (0.1, 0.03)
_CHUNK = 1024


@dataclass(frozen=True)
class Compared:
    """One contender.

    name: dense, compiled, true convolution, or boosted trees.
    settings: those chosen.
    validation: the score on the rows held out, with these settings.
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


Predict = Callable[[Samples], NDArray[np.float64]]
Fit = Callable[[Samples, dict[str, float]], tuple[Predict, int | None]]


def compare_networks(
    train: Samples,
    test: Samples,
    structure: Structure | None,
    geometry: Geometry | None,
    *,
    true_geometry: Geometry | None = None,
    learned: NDArray[Any] | None = None,
    budget: Budget,
    hidden: Sequence[int] = (256, 64),
    trees: bool = True,
    seed: int = 0,
    progress: Callable[[Compared], None] | None = None,
) -> list[Compared]:
    """Fit every contender within the same budget, and score each once on the test rows.

    Args:
        train, test: rows standardised alike, by the training rows.
        structure: that was found; None: there is no compiled network to compare.
        geometry: that was found.
        true_geometry: where the columns really lie, if that is known: the same convolution is then
            compiled for it, or one of window 3 if what was found is not shared.
        learned: see `compile_network`; only the compiled network begins with it.
        budget: steps and batch size of each network; its learning rate is chosen.
        hidden: widths of the dense network, whose λ is 0.
        trees: whether to fit gradient-boosted trees (scikit-learn's, 4 settings, at most `budget`'s
            passes over the rows as rounds, 300 at most).
        seed: of the division, weights and batches.
        progress: called with each that is done.

    Raises Collapse where a contender diverges with every setting; InvalidArgument: rows that do not
    fit each other.
    """
    d = train.inputs.shape[1]
    if test.inputs.shape[1] != d or test.task != train.task:
        raise InvalidArgument(
            f"train has {d} columns ({train.task}), test {test.inputs.shape[1]} ({test.task})"
        )
    outputs = outputs_of(train)
    contenders: list[tuple[str, list[dict[str, float]], Fit]] = []

    def network_fit(new: Callable[[float], nn.Sequential]) -> Fit:
        def fit(samples: Samples, settings: dict[str, float]) -> tuple[Predict, int | None]:
            network = new(settings.get("width", 0))
            own = Budget.of(budget.steps, budget.batch_size, settings["lr"])
            train_network(network, samples, budget=own, seed=seed)
            return _predictor(network), weights_of(network)

        return fit

    none = np.zeros(d, bool)
    dense = [{"lr": lr, "width": scale} for lr in LEARNING_RATES for scale in (1, 2)]
    contenders.append(
        (
            "dense",
            dense,
            network_fit(
                lambda scale: fitting.new_network(
                    d, [int(scale * units) for units in hidden], outputs, none, seed
                )
            ),
        )
    )
    if structure is not None:
        contenders.append(
            (
                "compiled",
                _grid(structure),
                network_fit(
                    lambda width: compile_network(
                        structure,
                        geometry,
                        d,
                        outputs,
                        learned=learned,
                        width=int(width),
                        seed=seed,
                    )
                ),
            )
        )
    if true_geometry is not None:
        shared = structure is not None and structure.kind == "shared"
        true = structure if shared and structure is not None else Structure("shared", 8, 3)
        contenders.append(
            (
                "true convolution",
                _grid(true),
                network_fit(
                    lambda width: compile_network(
                        true, true_geometry, d, outputs, width=int(width), seed=seed
                    )
                ),
            )
        )
    if trees:
        passes = budget.steps / fitting.batches_of(len(train), budget.batch_size)
        rounds = int(min(300, max(20, passes)))
        settings = [{"lr": lr, "leaves": leaves} for lr in (0.1, 0.3) for leaves in (15, 31)]
        contenders.append(("boosted trees", settings, _tree_fit(rounds, seed)))
    order = np.random.RandomState(seed).permutation(len(train))
    cut = math.ceil(HELD_OUT * len(train))
    learned_rows, held_out = train.part(np.sort(order[cut:])), train.part(np.sort(order[:cut]))
    found = []
    for name, tried, fit in contenders:
        found.append(_chosen(name, tried, fit, learned_rows, held_out, train, test))
        if progress is not None:
            progress(found[-1])
    return found


def _grid(structure: Structure) -> list[dict[str, float]]:
    return [
        {"lr": lr, "width": width} for lr in LEARNING_RATES for width in widths_to_try(structure)
    ]


def _chosen(
    name: str,
    tried: list[dict[str, float]],
    fit: Fit,
    learned: Samples,
    held_out: Samples,
    train: Samples,
    test: Samples,
) -> Compared:
    scores = []
    for settings in tried:
        try:
            predict, _ = fit(learned, settings)
        except Collapse:
            scores.append(-math.inf)
            continue
        scores.append(score(predict(held_out), held_out))
    best = int(np.argmax(scores))
    start = time.perf_counter()
    predict, weights = fit(train, tried[best])
    seconds = time.perf_counter() - start
    return Compared(name, tried[best], scores[best], score(predict(test), test), weights, seconds)


def score(predicted: NDArray[np.float64], samples: Samples) -> float:
    """The share of right answers, or R² of numbers, rows counting by their weights."""
    weights = samples.weights.double().numpy()
    targets = samples.targets.numpy()
    if samples.task == "classification":
        return float(np.average(predicted == targets, weights=weights))
    mean = np.average(targets, weights=weights)
    return float(
        1
        - np.average((predicted - targets) ** 2, weights=weights)
        / max(float(np.average((targets - mean) ** 2, weights=weights)), 1e-30)
    )


def _predictor(network: nn.Module) -> Predict:
    def predict(samples: Samples) -> NDArray[np.float64]:
        with torch.no_grad():
            parts = [network(rows) for rows in samples.inputs.split(_CHUNK)]
        outputs = torch.cat(parts).double()
        chosen = outputs.argmax(1) if samples.task == "classification" else outputs[:, 0]
        return np.asarray(chosen.numpy(), np.float64)

    return predict


def _tree_fit(rounds: int, seed: int) -> Fit:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    def fit(samples: Samples, settings: dict[str, float]) -> tuple[Predict, int | None]:
        kind = (
            HistGradientBoostingClassifier
            if samples.task == "classification"
            else HistGradientBoostingRegressor
        )
        model = kind(
            learning_rate=settings["lr"],
            max_leaf_nodes=int(settings["leaves"]),
            max_iter=rounds,
            early_stopping=False,
            random_state=seed,
        )
        model.fit(
            samples.inputs.numpy(), samples.targets.numpy(), sample_weight=samples.weights.numpy()
        )
        return lambda rows: np.asarray(model.predict(rows.inputs.numpy()), np.float64), None

    return fit
