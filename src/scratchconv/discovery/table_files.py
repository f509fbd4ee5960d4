"""The formats that `tables` reads: each as named columns, or as one array."""

from __future__ import annotations

import csv
import importlib
import io
import math
import warnings
import zipfile
from collections.abc import Iterator, Set
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from scratchconv.discovery.csv_cells import (
    is_number,
    missing_text,
    numbers_or_text,
    separator_of,
    stripped,
)
from scratchconv.errors import DataError, InvalidArgument
from scratchconv.models.memory import available_bytes

_ROWS = 2048  # of a csv file at a time: cells are text only for so long

# Of memory for one of a csv file: a number of few digits becomes eight.
_BYTES_A_BYTE = 4


@dataclass(frozen=True, eq=False)
class Column:
    """One column of a file.

    values: (n,), numbers, truth values or text; where one is missing, anything.
    missing: bool (n,).
    """

    name: str
    values: NDArray[Any]
    missing: NDArray[np.bool_]


def read_csv(path: Path) -> list[Column]:
    """The columns of a csv file; see `tables.read_table`."""
    _check_memory(_BYTES_A_BYTE * path.stat().st_size, path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            names, columns, marks = _csv_columns(file, path, text=frozenset())
            mixed = {i for i, parts in enumerate(columns) if len({p.dtype.kind for p in parts}) > 1}
            if mixed:  # "01" was read as 1 before the first letter came
                names, columns, marks = _csv_columns(file, path, text=mixed)
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text ({error.reason}): save it as UTF-8") from None
    except csv.Error as error:
        raise DataError(f"{path} is no csv file that can be read: {error}") from None
    if len(marks) > 1:
        raise DataError(
            f"{path} has numbers with a decimal comma (column {marks[',']!r}) and with a point"
            f" (column {marks['.']!r}): write all with a point"
        )
    found = []
    for name, parts in zip(names, columns, strict=True):
        values = np.concatenate(parts)
        text = values.dtype.kind == "U"
        found.append(Column(name, values, missing_text(values) if text else np.isnan(values)))
    return found


def _csv_columns(
    file: IO[str], path: Path, text: Set[int]
) -> tuple[list[str], list[list[NDArray[Any]]], dict[str, str]]:
    """Names of the columns, and each as chunks; those of `text` as they are written.

    Between semicolons decimals have a comma or a point: a column for each of the marks found.
    """
    separator = separator_of(file)
    rows = _rows_of_one_width(file, separator, path)
    head = next(rows, None)
    if head is None:
        raise DataError(f"{path} is empty")
    if all(is_number(cell, separator) for cell in head):
        names, pending = [str(i) for i in range(len(head))], [head]
    else:
        names, pending = [cell.strip() or str(i) for i, cell in enumerate(head)], []
    columns: list[list[NDArray[Any]]] = [[] for _ in names]
    marks: dict[str, str] = {}
    while chunk := pending + list(islice(rows, _ROWS)):
        pending = []
        for i, cells in enumerate(zip(*chunk, strict=True)):
            if i in text:
                columns[i].append(stripped(cells))
                continue
            columns[i].append(numbers_or_text(cells, separator, f"column {names[i]!r} of {path}"))
            if separator == ";" and columns[i][-1].dtype.kind == "f":
                found = {mark for mark in ".," if any(mark in cell for cell in cells)}
                marks |= dict.fromkeys(found, names[i])
    if not columns[0]:
        raise DataError(f"{path} has a heading but no rows")
    return names, columns, marks


def _rows_of_one_width(file: IO[str], separator: str, path: Path) -> Iterator[list[str]]:
    reader = csv.reader(file, delimiter=separator)
    width = None
    for row in reader:
        if not row:
            continue
        width = width or len(row)
        if len(row) != width:
            raise DataError(
                f"line {reader.line_num} of {path} has {len(row)} cells, but the first has {width}:"
                " the file is damaged, or a separator stands unquoted in a cell"
            )
        yield row


def read_txt(path: Path) -> tuple[NDArray[Any], list[str]]:
    """Numbers with blanks between them (n, d), a row a line, and names for the columns."""
    _check_memory(path.stat().st_size, path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of a file without rows: told below
            array = np.loadtxt(path, dtype=np.float64, encoding="utf-8-sig", ndmin=2)
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text ({error.reason}): save it as UTF-8") from None
    except ValueError as error:
        reason = str(error).split("; use")[0]
        raise DataError(
            f"{path} is no table of numbers with blanks between them ({reason}): separated by"
            " commas or with names above the columns, call it .csv"
        ) from None
    if array.size == 0:
        raise DataError(f"{path} is empty")
    return array, [str(i) for i in range(array.shape[1])]


def read_parquet(path: Path) -> list[Column]:
    """The columns of a parquet file; see `tables.read_table`."""
    try:
        parquet = importlib.import_module("pyarrow.parquet")
        pyarrow = importlib.import_module("pyarrow")
    except ImportError:
        raise DataError(
            f"reading {path} needs pyarrow: pip install 'scratchconv[tables]', or save it as csv"
        ) from None
    try:
        with parquet.ParquetFile(path) as file:
            groups = range(file.metadata.num_row_groups)
            _check_memory(sum(file.metadata.row_group(g).total_byte_size for g in groups), path)
            _check_memory(8 * file.metadata.num_rows * file.metadata.num_columns, path)
            table = file.read()
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path} is no parquet file that can be read: {error}") from None
    return [
        _arrow_column(name, column, pyarrow, path)
        for name, column in zip(table.column_names, table.columns, strict=True)
    ]


def _arrow_column(name: str, column: Any, pyarrow: Any, path: Path) -> Column:
    types, kind = pyarrow.types, column.type
    if types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    missing = column.is_null().to_numpy()
    if types.is_string(kind) or types.is_large_string(kind):
        values = np.array(["" if text is None else text for text in column.to_pylist()], dtype="U")
    elif types.is_boolean(kind):
        values = column.fill_null(False).to_numpy().astype(bool)
    elif types.is_integer(kind):
        values = column.fill_null(0).to_numpy()
    elif types.is_floating(kind) or types.is_decimal(kind):
        values = column.cast(pyarrow.float64()).fill_null(math.nan).to_numpy()
        missing = missing | np.isnan(values)
    else:
        raise DataError(
            f"column {name!r} of {path} holds {kind}: leave it out, or turn it into numbers"
        )
    return Column(name, values, missing)


def read_npy(path: Path) -> tuple[NDArray[Any], list[str]]:
    """The array of an npy file, as numbers (n, d), and names for its columns."""
    with path.open("rb") as file:
        array = _read_array(file, path.stat().st_size, str(path))
    return _matrix(array, str(path))


def read_npz(
    path: Path, target: str | int | None
) -> tuple[NDArray[Any], NDArray[Any] | None, list[str]]:
    """Inputs (n, d), target (n,) or None, and names of the columns; see `tables.read_table`."""
    arrays = _npz_arrays(path)
    if isinstance(target, int):
        raise InvalidArgument(f"target is {target}: an npz file wants the name of an array")
    if target is not None and target not in arrays:
        raise InvalidArgument(
            f"{path} has no array {target!r} for a target: choose from {', '.join(arrays)}"
        )
    aim = arrays.get("y") if target is None else arrays[target]
    candidates = [name for name, array in arrays.items() if array.ndim > 1 and name != target]
    if "X" in arrays and target != "X":
        chosen = "X"
    elif len(candidates) == 1:
        chosen = candidates[0]
    else:
        raise DataError(
            f"{path} has arrays {', '.join(arrays) or 'none'}, and none of them is called X: name"
            " the inputs X and the target y"
        )
    X, names = _matrix(arrays[chosen], f"array {chosen!r} of {path}")
    given = arrays.get("names")
    if given is not None and given is not aim:
        names = [str(name) for name in given.ravel()]
        if len(names) != X.shape[1] or len(set(names)) < len(names):
            raise DataError(
                f"{path} has {len(names)} names, {len(set(names))} of them different, for"
                f" {X.shape[1]} columns: give each its own, or leave names out"
            )
    if aim is not None and aim.ndim == 2 and aim.shape[1] == 1:
        aim = aim[:, 0]
    if aim is not None and (aim.ndim != 1 or aim.dtype.kind not in "biufU"):
        raise DataError(
            f"the target of {path} is {aim.dtype} of shape {aim.shape}: give one number or text"
            " a row"
        )
    return X, aim, names


def _npz_arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.infolist() if m.filename.endswith(".npy")]
            _check_memory(sum(member.file_size for member in members), path)
            arrays = {}
            for member in members:
                name = member.filename.removesuffix(".npy")
                content = io.BytesIO(archive.read(member))
                arrays[name] = _read_array(content, member.file_size, f"array {name!r} of {path}")
            return arrays
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError) as error:
        raise DataError(f"{path} is no npz file that can be read: {error}") from None


def _read_array(file: IO[bytes], size: int, what: str) -> NDArray[Any]:
    _check_memory(size, what)
    try:
        array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise DataError(f"{what} cannot be read without trusting it: {error}") from None
    return array


def _matrix(array: NDArray[Any], what: str) -> tuple[NDArray[Any], list[str]]:
    """As float32 or float64 (n, d); columns are named by their places, "2" or "0,2,5"."""
    if array.ndim < 2 or array.dtype.kind not in "biuf":
        raise DataError(
            f"{what} is {array.dtype} of shape {array.shape}: give numbers of two or more"
            " dimensions, the first of them the rows"
        )
    exact = array.dtype.kind == "f" and array.dtype.itemsize == 4
    small = array.dtype.kind != "f" and array.dtype.itemsize <= 2
    small = small or array.dtype == np.float16
    dtype = np.float32 if exact or small else np.float64
    places = np.ndindex(*array.shape[1:])
    names = [",".join(map(str, place)) for place in places]
    rows = array.reshape(len(array), math.prod(array.shape[1:]))  # −1 is nothing without rows
    return np.ascontiguousarray(rows, dtype=dtype), names


def _check_memory(needed: int, what: Path | str) -> None:
    available = available_bytes()
    if available is not None and needed > available:
        raise DataError(
            f"{what} needs {needed:,} bytes, but {available:,} are available: take fewer rows or"
            " columns"
        )
