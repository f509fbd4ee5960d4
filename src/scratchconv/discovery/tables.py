"""Tables from files: csv, txt, parquet, npz and npy, as the arrays that the estimators take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from scratchconv.data.dataset import Task
from scratchconv.discovery.csv_cells import missing_text
from scratchconv.discovery.csv_files import read_csv
from scratchconv.discovery.sequence_columns import SHORTEST, is_sequence, sequence_columns
from scratchconv.discovery.table_files import (
    Column,
    check_readable,
    read_npy,
    read_npz,
    read_parquet,
    read_txt,
)
from scratchconv.errors import DataError, InvalidArgument, unknown_name

Target: TypeAlias = str | int | None
ENDINGS = (".csv", ".tsv", ".txt", ".parquet", ".npz", ".npy")

# Text of more values than this is a name or a remark, not a category.
MOST_CATEGORIES = 20

# Whole numbers of at most so many values are classes; with more, or fewer than five rows for each
# on average, they are counts or years.
MOST_CLASSES = 100
_ROWS_A_CLASS = 5

_MOST_NAMED = 5


@dataclass(frozen=True, eq=False)
class Table:
    """Rows of numbers, and what is to be learned of them.

    X: float32 or float64 (n, d), finite.
    y: (n,), text or numbers; None where the file has no target and none was asked for.
    names: of the d columns, all different.
    task: what y asks for; None without y.
    variables: of which column of the file each is, by name: those that a text became share one, and
        so do the letters of one place of a sequence.
    """

    X: NDArray[Any]
    y: NDArray[Any] | None
    names: tuple[str, ...]
    task: Task | None
    variables: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.variables:
            object.__setattr__(self, "variables", self.names)


def read_table(
    path: Path | str,
    *,
    target: Target = None,
    task: Task | None = None,
    drop: Sequence[str | int] = (),
) -> Table:
    """Read a table; its kind is told by the file's ending.

    - `.csv`, `.tsv`: UTF-8 text, separated by commas, semicolons or tabs; between semicolons
      decimals may have a comma. The first row names the columns unless all of it are numbers, or
      all its text stands in the same columns once more: then they are called 0, 1, …. The numbers
      0, 1, 2, … are names, though, and so are three or more whole ones that rise by equal steps
      where no row below does the same. A column without a name is called by its place,
      "unnamed 0".
    - `.parquet`: numbers, truth values and text; needs pyarrow (the extra `tables`).
    - `.npz`: an array `X` of two or more dimensions, its rows along the first and the others
      flattened; the target in an array `y` of one; names in `names`, where there are any. A file
      with one array of two or more dimensions may call it anything. Dropping "y" leaves out the
      target, unless a column is called so.
    - `.npy`: one array like `X`; the target is a column of it.
    - `.txt`: numbers with blanks between them, no names: the columns are called 0, 1, ….

    Text of two values becomes one column of 0 and 1, text of up to `MOST_CATEGORIES` values a
    column for each ("colour=red"). Of more values it must be a sequence, all of one length and of
    few letters, and becomes a column for each place and letter ("DNA[17]=A", see
    `sequence_columns`). The target stays as it is. Text that is empty, NA, N/A, NaN, null, None or
    ? (in capitals or not) is a missing value.

    Args:
        path: of the file. No pickle is ever loaded from it.
        target: name of the target's column (of its array in an npz), or its number: 0 is the
            first, −1 the last. A number in text, "3", is one too where no column has that name. A
            csv, parquet or npy file without it has no y; an npz file has the array `y` as target.
        drop: columns to leave out, as names or numbers like the target.
        task: "classification" or "regression". None: the first for text, for truth values and for
            whole numbers of few values (`MOST_CLASSES`), if exact: a float is below 2⁵³.

    Raises:
        DataError: the file is missing, damaged, too large for the memory, has missing or infinite
            values (named with their counts), or text that is neither category nor sequence.
        InvalidArgument: another ending, an unknown target, column or task.
    """
    path = Path(path)
    variables: list[str] | None = None
    readers: dict[str, Callable[[Path], list[Column]]] = {
        ".csv": read_csv,
        ".tsv": read_csv,
        ".parquet": read_parquet,
    }
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise InvalidArgument(
            f"{path} ends in {ending!r}: give a file that ends in {', '.join(ENDINGS)}"
        )
    if task is not None and task not in get_args(Task):
        raise unknown_name("task", task, get_args(Task))
    if not path.is_file():
        raise DataError(f"{path} is not a file: check the name")
    if ending in readers:
        columns = readers[ending](path)
        _check_names([column.name for column in columns], path)
        given = [column.name for column in columns]
        chosen = None if target is None else _position(given, target, path)
        kept = [columns[i] for i in _kept(given, chosen, drop, path)]
        check_readable(kept if chosen is None else [*kept, columns[chosen]], path)
        y = None if chosen is None else _filled(columns[chosen], path)
        X, names, variables = _numbers(kept, path)
    elif ending == ".npz":
        X, y, names, left = read_npz(path, target, drop)
        X, names = _without(X, names, None, left, path)
    else:
        X, names = read_txt(path) if ending == ".txt" else read_npy(path)
        chosen = None if target is None else _position(names, target, path)
        y = None if chosen is None else X[:, chosen].copy()
        X, names = _without(X, names, chosen, drop, path)
    table = _checked(X, y, names, task, path)
    return table if variables is None else replace(table, variables=tuple(variables))


def _checked(
    X: NDArray[Any],
    y: NDArray[Any] | None,
    names: Sequence[str],
    task: Task | None,
    path: Path,
) -> Table:
    if X.size == 0:
        missing = "row" if X.shape[1] else "column beside the target"
        raise DataError(f"{path} has no {missing}: there is nothing to learn from")
    bad = len(X) - np.isfinite(X).sum(axis=0)
    if bad.any():
        _refuse_missing({names[i]: int(bad[i]) for i in np.flatnonzero(bad).tolist()}, path)
    if y is None:
        return Table(X, None, tuple(names), None)
    if len(y) != len(X):
        raise DataError(f"{path} has {len(X)} rows but {len(y)} targets: they must be as many")
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        _refuse_missing({"the target": int((~np.isfinite(y)).sum())}, path)
    if y.dtype.kind == "U" and missing_text(y).any():
        _refuse_missing({"the target": int(missing_text(y).sum())}, path)
    if y.dtype.kind != "U" and task != "regression":
        whole = y.dtype.kind in "biu" or bool(np.equal(np.mod(y, 1), 0).all())
        values = len(np.unique(y)) if whole else 0
        few = values <= min(MOST_CLASSES, max(2, len(y) // _ROWS_A_CLASS))
        inexact = whole and _is_inexact(y)
        inferred: Task = "classification" if whole and few and not inexact else "regression"
        task = task or inferred
        if task == "classification" and not whole:
            raise InvalidArgument(
                f"the target of {path} has fractions, such as {y[np.mod(y, 1) != 0][0]:g}, and"
                " cannot be classes: choose task regression, or another target"
            )
        if task == "classification" and inexact:
            raise InvalidArgument(
                f"the target of {path} has whole numbers as large as {np.abs(y).max():g}, whose"
                " last digits are lost, and cannot be classes: put a letter before each, choose"
                " task regression, or another target"
            )
        if task == "classification":
            y = y if y.dtype.kind == "b" else y.astype(np.int64)
    elif y.dtype.kind == "U":
        if task == "regression":
            raise InvalidArgument(
                f"the target of {path} is text, such as {str(y[0])!r}: choose task classification,"
                " or another target"
            )
        task = "classification"
    if task == "regression":
        y = y.astype(np.float64)
    return Table(X, y, tuple(names), task)


def _is_inexact(y: NDArray[Any]) -> bool:
    """Whether whole numbers are so large that two of them may have become one."""
    if y.dtype.kind == "b":
        return False
    limit = 2**53 if y.dtype.kind == "f" else 2**63  # classes are int64
    return max(int(y.max()), -int(y.min())) >= limit


def _kept(
    names: Sequence[str], chosen: int | None, drop: Sequence[str | int], path: Path
) -> list[int]:
    """The columns that are neither the target, `chosen`, nor dropped."""
    left_out = {_position(names, name, path, "to drop") for name in drop}
    if chosen in left_out:
        raise InvalidArgument(
            f"column {names[chosen]!r} of {path} is the target and cannot be dropped as well"
        )
    return [i for i in range(len(names)) if i != chosen and i not in left_out]


def _without(
    X: NDArray[Any],
    names: list[str],
    chosen: int | None,
    drop: Sequence[str | int],
    path: Path,
) -> tuple[NDArray[Any], list[str]]:
    if chosen is None and not drop:
        return X, names
    kept = _kept(names, chosen, drop, path)
    return X[:, kept], [names[i] for i in kept]


def _position(
    names: Sequence[str], target: str | int, path: Path, purpose: str = "for a target"
) -> int:
    """Which column `target` is."""
    if isinstance(target, str) and target in names:
        return list(names).index(target)
    try:
        number = int(target)
    except ValueError:
        near = get_close_matches(str(target), names, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise InvalidArgument(
            f"{path} has no column {target!r} {purpose}: its {len(names)} columns are"
            f" {_few(names)}.{hint}"
        ) from None
    if not -len(names) <= number < len(names):
        raise InvalidArgument(
            f"{path} has no column {target} {purpose}: it has {len(names)}; give a name, or a"
            f" number from {-len(names)} to {len(names) - 1}"
        )
    return number % len(names)


def _numbers(
    columns: Sequence[Column], path: Path
) -> tuple[NDArray[np.float64], list[str], list[str]]:
    """All columns as numbers, text as categories; their names, and of which variable each is."""
    missing = {c.name: int(c.missing.sum()) for c in columns if c.missing.any()}
    if missing:
        _refuse_missing(missing, path)
    names: list[str] = []
    variables: list[str] = []
    arrays: list[NDArray[np.float64]] = []
    for column in columns:
        if column.values.dtype.kind != "U":
            names.append(column.name)
            variables.append(column.name)
            arrays.append(column.values.astype(np.float64))
            continue
        values, codes = np.unique(column.values, return_inverse=True)
        if len(values) > MOST_CATEGORIES:
            if not is_sequence(values):
                raise DataError(
                    f"column {column.name!r} of {path} is text of {len(values)} different values,"
                    f" such as {_few(values[:2].tolist())}: leave it out (drop), or turn it into"
                    f" numbers, at most {MOST_CATEGORIES} categories, or sequences of one length,"
                    f" at least {SHORTEST}"
                )
            places, letters = sequence_columns(column.name, column.values)
            names += places
            variables += [place.rpartition("=")[0] for place in places]
            arrays += list(letters.T)
            continue
        # Of two values, one tells the other.
        for code in range(1 if len(values) == 2 else 0, len(values)):
            names.append(f"{column.name}={values[code]}")
            variables.append(column.name)
            arrays.append((codes == code).astype(np.float64))
    _check_names(names, path)
    rows = len(columns[0].values) if columns else 0
    X = np.empty((rows, len(arrays)))
    for i, array in enumerate(arrays):
        X[:, i] = array
    return X, names, variables


def _filled(column: Column, path: Path) -> NDArray[Any]:
    if column.missing.any():
        _refuse_missing({column.name: int(column.missing.sum())}, path)
    return column.values


def _refuse_missing(counts: dict[str, int], path: Path) -> None:
    worst = sorted(counts, key=lambda name: -counts[name])
    listed = _few([f"{name} ({counts[name]})" for name in worst])
    raise DataError(
        f"{path} has missing or infinite values in {len(counts)} columns: {listed}. Leave out these"
        " rows or columns, or fill them first (sklearn.impute)"
    )


def _check_names(names: Sequence[str], path: Path) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"{path} has more than one column called {_few(twice)}: rename them")


def _few(names: Sequence[Any]) -> str:
    shown = ", ".join(str(name) for name in names[:_MOST_NAMED])
    return shown + (f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else "")
