"""Gradient-boosted trees within a budget: the rival for tables, bounded where those are wide.

scikit-learn's HistGradientBoosting, whose cost is a histogram update for each row, column, level of
a tree, and tree; each class has trees of its own. What does not fit the budget is left out in this
order: rounds down to 100, columns down to the 256 that tell most about the targets one by one
(F test on the rows fitted to), rows down to 5,000, rounds down to 20. What was used is told.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scratchconv.discovery.fitting import Samples

ROUNDS = 300
_FEWER_ROUNDS, _COLUMNS, _ROWS, _LEAST_ROUNDS = 100, 256, 5000, 20
_OF_AN_UPDATE = 20
"""Multiply-adds of a dense layer in the time of one update: measured, two cores."""


@dataclass(frozen=True)
class Extent:
    """What trees are fitted to: so many rows and columns, in so many rounds at most."""

    rows: int
    columns: int
    rounds: int


def extent_within(
    work: float, rows: int, columns: int, classes: int, leaves: int, rounds: int = ROUNDS
) -> Extent:
    """As much as `work` multiply-adds allow; never below what the module names."""
    updates = work / _OF_AN_UPDATE / (math.log2(leaves) * (1 if classes <= 2 else classes))
    least_rounds = min(rounds, _FEWER_ROUNDS)
    rounds = _most(updates / (rows * columns), least_rounds, rounds)
    columns = _most(updates / (rows * rounds), min(columns, _COLUMNS), columns)
    rows = _most(updates / (columns * rounds), min(rows, _ROWS), rows)
    rounds = _most(updates / (rows * columns), min(rounds, _LEAST_ROUNDS), rounds)
    return Extent(rows, columns, rounds)


def _most(wanted: float, least: int, most: int) -> int:
    return int(min(max(wanted, least), most))


class BoostedTrees:
    """Trees fitted to `samples` within an extent; early stopping on a tenth of the rows.

    Args:
        samples: rows to fit to.
        extent: see `extent_within`; rows are drawn at random.
        lr, leaves: learning rate, and leaves of a tree at most.
        seed: of rows left out and of the division for early stopping.
    """

    def __init__(
        self, samples: Samples, extent: Extent, *, lr: float, leaves: int, seed: int
    ) -> None:
        from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

        if extent.rows < len(samples):
            order = np.random.RandomState(seed).permutation(len(samples))
            samples = samples.part(np.sort(order[: extent.rows]))
        self.columns = _telling(samples, extent.columns)
        classes = samples.task == "classification"
        kind = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
        self.model = kind(
            learning_rate=lr,
            max_leaf_nodes=leaves,
            max_iter=extent.rounds,
            early_stopping=_can_be_divided(samples),
            n_iter_no_change=10,
            random_state=seed,
        )
        self.model.fit(
            self._seen(samples), samples.targets.numpy(), sample_weight=samples.weights.numpy()
        )

    @property
    def rounds(self) -> int:
        """Of boosting, after early stopping."""
        return int(self.model.n_iter_)

    def predict(self, samples: Samples) -> NDArray[np.float64]:
        """Class numbers, or numbers: (n,)."""
        return np.asarray(self.model.predict(self._seen(samples)), np.float64)

    def _seen(self, samples: Samples) -> NDArray[Any]:
        return np.asarray(samples.inputs.numpy()[:, self.columns])


def _telling(samples: Samples, count: int) -> NDArray[np.int64]:
    """The columns that tell most about the targets one by one, in their order."""
    from sklearn.feature_selection import f_classif, f_regression

    inputs = samples.inputs.numpy()
    if count >= inputs.shape[1]:
        return np.arange(inputs.shape[1])
    test = f_classif if samples.task == "classification" else f_regression
    live = inputs.max(axis=0) > inputs.min(axis=0)  # of the others the test warns
    strength = np.zeros(inputs.shape[1])
    if live.any():
        with np.errstate(divide="ignore", invalid="ignore"):
            found = test(inputs[:, live], samples.targets.numpy())[0]
        strength[live] = np.nan_to_num(found, nan=0.0, posinf=0.0)
    return np.sort(np.argsort(-strength, kind="stable")[:count])


def _can_be_divided(samples: Samples) -> bool:
    """Whether a tenth can be held out: of classes that means two rows of each, one held out."""
    if samples.task == "regression":
        return len(samples) >= 100
    counts = np.bincount(samples.targets.numpy())
    counts = counts[counts > 0]
    enough = math.ceil(len(samples) / 10) >= len(counts)
    return len(samples) >= 100 and enough and int(counts.min()) >= 2
