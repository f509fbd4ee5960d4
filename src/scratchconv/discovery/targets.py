"""What is to be learned: classes or numbers, the rows to learn it from, and their scaling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.model_selection import train_test_split

from scratchconv.data.dataset import Task
from scratchconv.discovery.fitting import Samples
from scratchconv.discovery.graph import Floats, Integers
from scratchconv.discovery.learning import MOST_CLASSES
from scratchconv.errors import InvalidArgument, unknown_name

TASKS: tuple[Task, ...] = ("classification", "regression")
HELD_OUT = 0.2
"""Share of the rows kept back for the test, where there are no test rows."""
_CHUNK = 8192  # rows at a time, so that no float64 copy of the table is made


@dataclass(frozen=True, eq=False)
class Targets:
    """values: (n,), classes of any type, or float64 numbers. task: which of the two."""

    values: NDArray[Any]
    task: Task

    def part(self, rows: Integers) -> Targets:
        """Of some of the rows."""
        return Targets(self.values[rows], self.task)


def checked_targets(y: ArrayLike, rows: int, task: Task | None = None) -> Targets:
    """`y` (rows,) as classes or numbers, or the reason why it is neither.

    Without a task: numbers if they are floating-point, or more than 256 whole ones; else classes.
    Raises InvalidArgument: another shape, values that are missing, one class or one number only,
    more classes than 256, an unknown task.
    """
    if task is not None and task not in TASKS:
        raise unknown_name("task", task, TASKS)
    values = _values_of(y, rows)
    names = np.unique(values)
    if len(names) < 2:
        raise InvalidArgument(
            f"y is {names[0]!s} in every row: there is one class only, and nothing to learn"
        )
    numbers = values.dtype.kind in "buif"
    if task is None:
        many = values.dtype.kind in "ui" and len(names) > MOST_CLASSES
        task = "regression" if values.dtype.kind == "f" or many else "classification"
    if task == "regression" and not numbers:
        raise InvalidArgument(f"y holds text ({names[0]!s}), no numbers: use classification")
    if task == "classification" and len(names) > MOST_CLASSES:
        raise InvalidArgument(
            f"y has {len(names)} classes: give 2 to {MOST_CLASSES}, or numbers with regression"
        )
    return Targets(values.astype(np.float64) if task == "regression" else values, task)


def checked_test_targets(y: ArrayLike, rows: int, learned: Targets) -> NDArray[Any]:
    """`y` (rows,) of test rows, as values of the kind that was learned.

    Raises InvalidArgument: another shape, values that are missing, text for numbers or numbers for
    text, no class that was learned, numbers that are all the same.
    """
    try:
        values = _values_of(y, rows)
    except InvalidArgument as error:
        raise InvalidArgument(f"test: {error}") from error
    kinds = ["numbers" if of.dtype.kind in "buif" else "text" for of in (values, learned.values)]
    if kinds[0] != kinds[1]:
        raise InvalidArgument(
            f"test: y holds {kinds[0]}, but what is learned is {kinds[1]}: give the same kind"
        )
    if learned.task == "regression":
        if (values == values[0]).all():
            raise InvalidArgument(
                f"test: y is {values[0]!s} in every row, and has no variance that could be"
                " explained: give rows that differ"
            )
        return values.astype(np.float64)
    if not np.isin(values, learned.values).any():
        raise InvalidArgument(
            f"test: y holds no class that is learned ({values[0]!s} is none): give rows of those"
            " classes"
        )
    return values


def _values_of(y: ArrayLike, rows: int) -> NDArray[Any]:
    """`y` (rows,) as text or finite numbers."""
    values = np.asarray(y)
    if values.shape == (rows, 1):
        values = values[:, 0]
    if values.shape != (rows,):
        raise InvalidArgument(f"y has shape {values.shape}: give one target a row, ({rows},)")
    if values.dtype.kind == "O":
        values = _of_objects(values)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise InvalidArgument("y holds NaN or infinity: drop those rows, or fill them in")
    return values


def _of_objects(values: NDArray[Any]) -> NDArray[Any]:
    """Numbers if all are, else text; missing values are refused."""
    missing = sum(map(_is_missing, values))
    if missing:
        raise InvalidArgument(f"y has {missing} missing values: drop those rows, or fill them in")
    if all(isinstance(value, str) for value in values):
        return values.astype(str)
    try:
        return np.array(values.tolist())
    except ValueError as error:
        raise InvalidArgument(f"y is neither text nor numbers: {error}") from error


def _is_missing(value: Any) -> bool:
    try:
        return value is None or bool(value != value)
    except TypeError:  # pandas' NA does not tell whether it is itself
        return True


def held_out_rows(targets: Targets, share: float, seed: int) -> tuple[Integers, Integers]:
    """Rows to learn from and rows held out, each rising; classes in proportion where that can be.

    Raises InvalidArgument if there are too few to hold any out, if one class only is left to learn,
    or if the numbers of either side are all the same.
    """
    n = len(targets.values)
    if n < 2:
        raise InvalidArgument(f"{n} rows cannot be divided: give 2 or more")
    classes = None
    if targets.task == "classification":
        classes = np.unique(targets.values, return_inverse=True)[1]
        if np.bincount(classes).min() < 2 or round(share * n) <= classes.max():
            classes = None
    kept, out = train_test_split(np.arange(n), test_size=share, stratify=classes, random_state=seed)
    checked = [(kept, "left to learn from")]
    if targets.task == "regression":  # R² takes two numbers
        checked.append((out, "held out"))
    for rows, purpose in checked:
        values = targets.values[rows]
        if len(rows) > 1 and (values == values[0]).all():
            raise InvalidArgument(
                f"y hardly varies: it is {values[0]!s} in all {len(rows)} of {n} rows that are"
                f" {purpose}. Give more rows, or another seed"
            )
    return np.sort(kept), np.sort(out)


@dataclass(frozen=True, eq=False)
class RowScaling:
    """How rows and targets are standardised: as the rows they were learned from.

    mean, deviation: float64 (d,); constant columns have deviation 1.
    task: of the targets. classes: sorted; empty for numbers. centre, spread: of numbers; the spread
        of numbers that are all the same is 1.
    """

    mean: Floats
    deviation: Floats
    task: Task
    classes: NDArray[Any]
    centre: float
    spread: float

    @staticmethod
    def of(table: NDArray[Any], targets: Targets) -> RowScaling:
        """Of rows (n, d) and their targets."""
        mean = table.mean(axis=0, dtype=np.float64)
        squares = np.zeros(table.shape[1])
        for start in range(0, len(table), _CHUNK):
            squares += np.square(table[start : start + _CHUNK] - mean).sum(axis=0)
        constant = table.min(axis=0) == table.max(axis=0)
        deviation = np.where(constant, 1.0, np.sqrt(squares / len(table)))
        if targets.task == "classification":
            return RowScaling(mean, deviation, targets.task, np.unique(targets.values), 0.0, 1.0)
        centre, spread = float(targets.values.mean()), float(targets.values.std())
        if (targets.values == targets.values[0]).all():
            spread = 1.0
        return RowScaling(mean, deviation, targets.task, np.empty(0), centre, spread)

    def samples(self, table: NDArray[Any], values: NDArray[Any]) -> Samples:
        """Rows as networks take them, each of weight 1. A class never learned gets number −1."""
        inputs = np.empty(table.shape, np.float32)
        for start in range(0, len(table), _CHUNK):
            part = slice(start, start + _CHUNK)
            inputs[part] = (table[part] - self.mean) / self.deviation
        if self.task == "classification":
            numbers = np.searchsorted(self.classes, values).clip(max=len(self.classes) - 1)
            learned = np.where(self.classes[numbers] == values, numbers, -1).astype(np.int64)
        else:
            learned = ((values - self.centre) / self.spread).astype(np.float32)
        ones = torch.ones(len(table))
        return Samples(torch.from_numpy(inputs), torch.from_numpy(learned), ones, self.task)
