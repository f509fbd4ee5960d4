"""What `discover` looks at: a file or a dataset by name, in the form that is asked for.

Its columns can be shuffled or whitened, or all structure can be taken out of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from scratchconv import data
from scratchconv.data import spoken_digits
from scratchconv.data.dataset import Split, Task
from scratchconv.discovery.geometry import Geometry
from scratchconv.discovery.tables import ENDINGS, Target, read_table
from scratchconv.discovery.targets import HELD_OUT, Targets, held_out_rows
from scratchconv.errors import InvalidArgument, unknown_name

Control = Literal["none", "independent", "shuffled-rows"]
DATASETS = (*data.NAMES, spoken_digits.SPOKEN_DIGITS)

_ALIKE = 30.0
"""Columns whose deviations lie within this factor of their median are shown on one scale."""
_SHOWN = 6
_TREE_ROWS = 4096
_CHUNK = 4096


@dataclass(frozen=True, eq=False)
class Subject:
    """A table to look at.

    X: float32 or float64 (n, d); y: (n,) or None; names: of the columns; task: None without y.
    test: rows and targets for the final comparison; None: part of the rows is to be held out.
    true_geometry: where the columns lie, if that is known.
    variables: of which variable each column is, by name (`tables.Table`).
    """

    X: NDArray[Any]
    y: NDArray[Any] | None
    names: tuple[str, ...]
    task: Task | None
    test: tuple[NDArray[Any], NDArray[Any]] | None
    true_geometry: Geometry | None
    variables: tuple[str, ...]

    def examples(self) -> NDArray[Any]:
        """A few rows from all over the table, standardised where columns are not on one scale."""
        spread = np.linspace(0, len(self.X) - 1, min(_SHOWN, len(self.X))).astype(np.int64)
        rows, deviation = self.X[spread], self.X.std(axis=0)
        live = deviation[deviation > 0]
        if not len(live):
            return rows
        middle = np.median(live)
        if live.max() < _ALIKE * middle and live.min() > middle / _ALIKE:
            return rows
        scaled = (rows - self.X.mean(axis=0)) / np.where(deviation > 0, deviation, 1)
        return np.asarray(scaled)


def read_subject(
    name: str,
    *,
    target: Target = None,
    drop: Sequence[str] = (),
    task: Task | None = None,
    ordered: bool = False,
    directory: Path | None = None,
    rows: int | None = None,
    seed: int = 0,
) -> Subject:
    """Read a table from a file, or a dataset by its name.

    Args:
        name: a file that `read_table` can read, or one of `DATASETS`.
        target, drop, task: see `read_table`; of files only.
        ordered: the columns of the file lie on a line in their order, those that one text became
            together: that becomes the true geometry. Datasets have their own.
        directory: of the datasets' files.
        rows: keep so many training rows, drawn by `seed`; of the tree task, draw so many.

    Raises DataError and InvalidArgument as `read_table` and `data.load` do; InvalidArgument for
    file options with a dataset.
    """
    if rows is not None and rows < 1:
        raise InvalidArgument(f"--rows {rows}: keep at least 1")
    if name in DATASETS:
        given = {"--target": target, "--drop": drop, "--task": task, "--ordered": ordered}
        for flag, value in given.items():
            if value not in (None, (), False):
                raise InvalidArgument(f"{flag} is for files: the dataset {name} has its own")
        subject = _dataset(name, directory, rows)
    else:
        path = Path(name)
        if path.suffix.lower() not in ENDINGS and not path.exists():
            raise unknown_name("dataset or kind of file", name, (*DATASETS, *ENDINGS))
        table = read_table(path, target=target, task=task, drop=drop)
        line = _line_of(table.variables) if ordered else None
        subject = Subject(table.X, table.y, table.names, table.task, None, line, table.variables)
    return _fewer(subject, rows, seed)


def permuted(subject: Subject, seed: int) -> Subject:
    """The same columns in an order drawn by `seed`, their names and true places with them."""
    order = np.random.default_rng((seed, 1)).permutation(len(subject.names))
    geometry, test = subject.true_geometry, subject.test
    if geometry is not None:
        geometry = replace(
            geometry,
            position_of=geometry.position_of[order],
            channel_of=geometry.channel_of[order],
        )
    return replace(
        subject,
        X=subject.X[:, order],
        names=tuple(subject.names[column] for column in order.tolist()),
        variables=tuple(subject.variables[column] for column in order.tolist()),
        test=None if test is None else (test[0][:, order], test[1]),
        true_geometry=geometry,
    )


def whitened(subject: Subject, ridge: float, seed: int = 0) -> Subject:
    """ZCA: x ↦ U (λ + ridge · mean λ)^(−½) Uᵀ (x − mean), as the training rows have them.

    Correlations are then as good as gone; what neighbours still share is of higher order. Where
    there is a target and no test rows, a fifth of the rows is held out for them first. Raises
    InvalidArgument for a ridge that is not positive, or columns of one value each.
    """
    if not ridge > 0:
        raise InvalidArgument(f"--whiten {ridge:g}: the ridge must be above 0, such as 1e-3")
    if subject.y is not None and subject.test is None:
        subject = _tested(subject, seed)
    mean = subject.X.mean(axis=0, dtype=np.float64)
    d = len(mean)
    covariance = np.zeros((d, d))
    for start in range(0, len(subject.X), _CHUNK):
        rows = subject.X[start : start + _CHUNK] - mean
        covariance += rows.T @ rows
    values, vectors = np.linalg.eigh(covariance / len(subject.X))
    if not values.mean() > 0:
        raise InvalidArgument("every column holds one value only: there is nothing to whiten")
    scale = 1 / np.sqrt(np.maximum(values, 0) + ridge * values.mean())
    map_of = ((vectors * scale) @ vectors.T).astype(np.float32)

    def white(X: NDArray[Any]) -> NDArray[np.float32]:
        # The mean is subtracted in float64: of large numbers float32 would leave nothing.
        parts = [(X[i : i + _CHUNK] - mean).astype(np.float32) for i in range(0, len(X), _CHUNK)]
        return np.concatenate([part @ map_of for part in parts])

    test = subject.test
    return replace(
        subject,
        X=white(subject.X),
        test=None if test is None else (white(test[0]), test[1]),
    )


def _tested(subject: Subject, seed: int) -> Subject:
    """With a fifth of its rows as test rows."""
    assert subject.y is not None
    kept, out = held_out_rows(Targets(subject.y, subject.task or "regression"), HELD_OUT, seed)
    return replace(
        subject, X=subject.X[kept], y=subject.y[kept], test=(subject.X[out], subject.y[out])
    )


def controlled(subject: Subject, control: Control, seed: int) -> Subject:
    """The same numbers without structure, of which nothing may be found.

    independent: each variable is shuffled over the rows on its own; shuffled-rows: the columns of
    each row are shuffled, each row its own way. There is no true geometry then.
    """
    if control not in get_args(Control):
        raise unknown_name("control", control, get_args(Control))
    if control == "none":
        return subject
    random = np.random.default_rng((seed, 2))

    def shuffled(X: NDArray[Any]) -> NDArray[Any]:
        if control == "shuffled-rows":
            return np.asarray(random.permuted(X, axis=1))
        if len(set(subject.variables)) == len(subject.variables):
            return np.asarray(random.permuted(X, axis=0))
        moved = np.array(X)
        names = np.array(subject.variables)
        for variable in dict.fromkeys(subject.variables):
            columns = np.flatnonzero(names == variable)
            moved[:, columns] = X[random.permutation(len(X))][:, columns]
        return moved

    test = subject.test
    return replace(
        subject,
        X=shuffled(subject.X),
        test=None if test is None else (shuffled(test[0]), test[1]),
        true_geometry=None,
    )


def _dataset(name: str, directory: Path | None, rows: int | None) -> Subject:
    if name == "tree":
        loaded = data.load(name, train_size=rows or _TREE_ROWS)
    else:
        loaded = data.load(name, directory)
    spoken = name == spoken_digits.SPOKEN_DIGITS
    names = spoken_digits.bin_names() if spoken else _image_names(loaded.image)
    geometry = None if name == "tree" else _image_geometry(loaded.image)
    X, y = _flat(loaded.train)
    return Subject(X, y, names, loaded.task, _flat(loaded.test), geometry, names)


def _flat(split: Split) -> tuple[NDArray[np.float32], NDArray[Any]]:
    targets = split.targets.numpy()
    if targets.dtype.kind == "f":
        targets = targets.astype(np.float64)
    return split.inputs.flatten(1).float().numpy(), targets


def _image_names(image: tuple[int, int, int]) -> tuple[str, ...]:
    """By row and column, the channel first where there are several; of vectors, the place."""
    channels, height, width = image
    if channels == height == 1:
        return tuple(map(str, range(width)))
    many = channels > 1
    return tuple(",".join(map(str, (place if many else place[1:]))) for place in np.ndindex(*image))


def _image_geometry(image: tuple[int, int, int]) -> Geometry:
    channels, height, width = image
    positions = height * width
    columns = np.arange(channels * positions)
    at, channel_of = columns % positions, columns // positions
    if height == 1:
        return _line(at, channel_of)
    rows, along = np.divmod(np.arange(positions), width)
    coordinates = np.stack([rows, along], axis=1).astype(np.float64)
    return Geometry("grid", 2, coordinates, at, channel_of, (height, width))


def _line_of(variables: Sequence[str]) -> Geometry:
    """The columns in their order; those of one variable share a position."""
    number = {variable: place for place, variable in enumerate(dict.fromkeys(variables))}
    seen: Counter[str] = Counter()
    channel_of = []
    for variable in variables:
        channel_of.append(seen[variable])
        seen[variable] += 1
    return _line(np.array([number[variable] for variable in variables]), np.array(channel_of))


def _line(at: NDArray[np.int64], channel_of: NDArray[np.int64]) -> Geometry:
    positions = int(at.max()) + 1
    coordinates = np.arange(positions, dtype=np.float64)[:, None]
    return Geometry("line", 1, coordinates, at, channel_of, (positions,))


def _fewer(subject: Subject, rows: int | None, seed: int) -> Subject:
    if rows is None or rows >= len(subject.X):
        return subject
    kept = np.sort(np.random.default_rng((seed, 0)).choice(len(subject.X), rows, replace=False))
    y = subject.y
    return replace(subject, X=subject.X[kept], y=None if y is None else y[kept])
