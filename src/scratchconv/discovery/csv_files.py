"""csv files as named columns."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from scratchconv.discovery.csv_cells import (
    is_heading,
    missing_text,
    numbers_or_text,
    separator_of,
    stripped,
)
from scratchconv.discovery.table_files import Column, check_memory
from scratchconv.errors import DataError

_ROWS = 2048  # of a csv file at a time: cells are text only for so long

# Of memory for one of a csv file: a number of few digits becomes eight.
_BYTES_A_BYTE = 4


def read_csv(path: Path) -> list[Column]:
    """The columns of a csv file, before `check_readable`; see `tables.read_table`."""
    check_memory(_BYTES_A_BYTE * path.stat().st_size, path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            columns = _csv_columns(file, path, text=frozenset())
            mixed = {i for i, c in enumerate(columns) if len({p.dtype.kind for p in c.parts}) > 1}
            if mixed:  # "01" was read as 1 before the first letter came
                columns = _csv_columns(file, path, text=mixed)
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text ({error.reason}): save it as UTF-8") from None
    except csv.Error as error:
        raise DataError(f"{path} is no csv file that can be read: {error}") from None
    found = []
    for column in columns:
        values = np.concatenate(column.parts)
        missing = missing_text(values) if values.dtype.kind == "U" else np.isnan(values)
        marks = frozenset(column.marks)
        found.append(Column(column.name, values, missing, marks, column.unreadable))
    return found


@dataclass
class _Parts:
    """A column of a csv file while it is read, in parts of some rows each."""

    name: str
    parts: list[NDArray[Any]] = field(default_factory=list)
    marks: set[str] = field(default_factory=set)
    unreadable: str | None = None


def _csv_columns(file: IO[str], path: Path, text: Set[int]) -> list[_Parts]:
    """The columns, those of `text` as they are written."""
    separator = separator_of(file)
    rows = _rows_of_one_width(file, separator, path)
    head = next(rows, None)
    if head is None:
        raise DataError(f"{path} is empty")
    chunk = list(islice(rows, _ROWS))
    if is_heading(head, chunk, separator):
        names = [cell.strip() or f"unnamed {i}" for i, cell in enumerate(head)]
    else:
        names, chunk = [str(i) for i in range(len(head))], [head, *chunk]
    if not chunk:
        raise DataError(f"{path} has a heading but no rows")
    columns = [_Parts(name) for name in names]
    while chunk:
        for i, cells in enumerate(zip(*chunk, strict=True)):
            _add(columns[i], cells, separator, path, as_text=i in text)
        chunk = list(islice(rows, _ROWS))
    return columns


def _add(
    column: _Parts, cells: Sequence[str], separator: str, path: Path, *, as_text: bool
) -> None:
    if as_text:
        column.parts.append(stripped(cells))
        return
    try:
        values = numbers_or_text(cells, separator, f"column {column.name!r} of {path}")
    except DataError as error:
        column.unreadable = str(error)
        values = np.full(len(cells), math.nan)
    column.parts.append(values)
    if separator == ";" and values.dtype.kind == "f":
        column.marks |= {mark for mark in ".," if any(mark in cell for cell in cells)}


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
