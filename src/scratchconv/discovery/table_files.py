"""Formats that `tables` reads: parquet as named columns, the others as one array."""

from __future__ import annotations

import importlib
import io
import math
import warnings
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from scratchconv.discovery.csv_cells import missing_text
from scratchconv.errors import DataError, InvalidArgument
from scratchconv.models.memory import available_bytes

# Raised by numpy where an array's header is damaged or claims more than there is, and by zipfile.
_DAMAGED_ARRAY = (ValueError, EOFError, SyntaxError, TokenError, OverflowError, MemoryError)
_DAMAGED_ARCHIVE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)


@dataclass(frozen=True, eq=False)
class Column:
    """One column of a file.

    values: (n,), numbers, truth values or text; where one is missing, anything.
    missing: bool (n,).
    marks: of its decimals, ",", "." or both, where a csv file may have either.
    unreadable: why its values cannot be told; None if they can. They are anything then.
    """

    name: str
    values: NDArray[Any]
    missing: NDArray[np.bool_]
    marks: frozenset[str] = frozenset()
    unreadable: str | None = None


def check_readable(columns: Sequence[Column], path: Path) -> None:
    """Raises DataError if values of these columns, those that were not dropped, cannot be told."""
    for column in columns:
        if column.unreadable is not None:
            raise DataError(column.unreadable)
    of_mark = {mark: column.name for column in columns for mark in column.marks}
    if len(of_mark) > 1:
        raise DataError(
            f"{path} has numbers with a decimal comma (column {of_mark[',']!r}) and with a point"
            f" (column {of_mark['.']!r}): write all with a point"
        )


def read_txt(path: Path) -> tuple[NDArray[Any], list[str]]:
    """Numbers with blanks between them (n, d), a row a line, and names for the columns."""
    check_memory(path.stat().st_size, path)
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
    """The columns of a parquet file, before `check_readable`; see `tables.read_table`."""
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
            check_memory(sum(file.metadata.row_group(g).total_byte_size for g in groups), path)
            check_memory(8 * file.metadata.num_rows * file.metadata.num_columns, path)
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
        missing = missing | missing_text(values)
    elif types.is_boolean(kind):
        values = column.fill_null(False).to_numpy().astype(bool)
    elif types.is_integer(kind):
        values = column.fill_null(0).to_numpy()
    elif types.is_floating(kind) or types.is_decimal(kind):
        values = column.cast(pyarrow.float64()).fill_null(math.nan).to_numpy()
        missing = missing | np.isnan(values)
    else:
        problem = f"column {name!r} of {path} holds {kind}: leave it out, or turn it into numbers"
        return Column(name, np.zeros(len(column)), missing, unreadable=problem)
    return Column(name, values, missing)


def read_npy(path: Path) -> tuple[NDArray[Any], list[str]]:
    """The array of an npy file, as numbers (n, d), and names for its columns."""
    with path.open("rb") as file:
        array = _read_array(file, path.stat().st_size, str(path))
    return _matrix(array, str(path))


def read_npz(
    path: Path, target: str | int | None, drop: Sequence[str | int]
) -> tuple[NDArray[Any], NDArray[Any] | None, list[str], list[str | int]]:
    """Inputs (n, d), target (n,) or None, and names of the columns; see `tables.read_table`.

    Last come the columns to drop: "y" is the target, unless a column is called so.
    """
    arrays = _npz_arrays(path)
    if isinstance(target, int):
        raise InvalidArgument(f"target is {target}: an npz file wants the name of an array")
    if target is not None and target not in arrays:
        raise InvalidArgument(
            f"{path} has no array {target!r} for a target: choose from {', '.join(arrays)}"
        )
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
    if "names" in arrays and target != "names":
        given = _decoded(arrays["names"], f"array 'names' of {path}")
        names = [str(name) for name in given.ravel()]
        if len(names) != X.shape[1] or len(set(names)) < len(names):
            raise DataError(
                f"{path} has {len(names)} names, {len(set(names))} of them different, for"
                f" {X.shape[1]} columns: give each its own, or leave names out"
            )
    left = list(drop)
    if target is None and "y" in arrays and "y" in drop and "y" not in names:
        del arrays["y"]
        left = [name for name in drop if name != "y"]
    aim = arrays.get("y" if target is None else target)
    if aim is None:
        return X, None, names, left
    aim = _decoded(aim, f"the target of {path}")
    if aim.ndim == 2 and aim.shape[1] == 1:
        aim = aim[:, 0]
    if aim.ndim != 1 or aim.dtype.kind not in "biufU":
        raise DataError(
            f"the target of {path} is {aim.dtype} of shape {aim.shape}: give one number or text"
            " a row"
        )
    return X, aim, names, left


def _decoded(array: NDArray[Any], what: str) -> NDArray[Any]:
    """Text where it is bytes."""
    if array.dtype.kind != "S":
        return array
    try:
        return np.char.decode(array, "utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{what} is not UTF-8 text ({error.reason}): write it as text") from None


def _npz_arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.infolist() if m.filename.endswith(".npy")]
            check_memory(sum(member.file_size for member in members), path)
            arrays = {}
            for member in members:
                name = member.filename.removesuffix(".npy")
                content = io.BytesIO(archive.read(member))
                arrays[name] = _read_array(content, member.file_size, f"array {name!r} of {path}")
            return arrays
    except (*_DAMAGED_ARCHIVE, OSError) as error:
        raise DataError(f"{path} is no npz file that can be read: {error}") from None


def _read_array(file: IO[bytes], size: int, what: str) -> NDArray[Any]:
    check_memory(size, what)
    try:
        array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    except _DAMAGED_ARRAY as error:
        raise DataError(
            f"{what} is damaged, or holds Python objects, which are not loaded: {error}"
        ) from None
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


def check_memory(needed: int, what: Path | str) -> None:
    """Raises DataError if `what` takes more bytes than there are."""
    available = available_bytes()
    if available is not None and needed > available:
        raise DataError(
            f"{what} needs {needed:,} bytes, but {available:,} are available: take fewer rows or"
            " columns"
        )
