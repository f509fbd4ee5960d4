"""Cells of a csv file: what stands between them, and which are names, numbers, missing, or text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice, pairwise
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from scratchconv.errors import DataError

# What stands for a value that is not there, in lower case.
_MISSING = frozenset(("", "na", "n/a", "nan", "null", "none", "?"))

_QUOTED = re.compile(r'"[^"]*"')
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+(e[+-]?\d+)?", re.IGNORECASE)
_NUMBER = re.compile(r"[+-]?(\d+[.,]?\d*|[.,]\d+)(e[+-]?\d+)?", re.IGNORECASE)
_WHOLE = re.compile(r"-?\d{1,15}")
_WITH_THOUSANDS = re.compile(r"[+-]?\d{1,3}((\.\d{3})+,|(,\d{3})+\.)\d+")


def separator_of(file: IO[str]) -> str:
    """Comma, semicolon or tab, by the first two lines that are not blank; reads from the start.

    Where decimals have commas there are more of these than of what separates the cells.
    """
    file.seek(0)
    lines = [_QUOTED.sub("", line) for line in islice(filter(str.strip, file), 2)] or [""]
    file.seek(0)
    for separator in ";\t":
        rows = [[cell.strip() for cell in line.split(separator)] for line in lines]
        of_one_width = [row for row in rows if len(row) == len(rows[0]) > 1]
        if any(_DECIMAL_COMMA.fullmatch(cell) for row in of_one_width for cell in row):
            return separator
    return max(",;\t", key=lines[0].count)


def is_heading(first: Sequence[str], below: Sequence[Sequence[str]], separator: str) -> bool:
    """Whether the first row names the columns, as the rows below it let one think.

    Text does, unless all of it stands in its columns once more. Numbers do not, but for 0, 1, 2, …,
    which pandas writes for columns without names, and for whole ones that rise by equal steps, such
    as wavelengths, where no row below does the same.
    """
    text = [i for i, cell in enumerate(first) if not is_number(cell, separator)]
    if text:
        return any(all(row[i] != first[i] for row in below) for i in text)
    if all(cell.strip() == str(i) for i, cell in enumerate(first)):
        return True
    return _rises_evenly(first) and not any(map(_rises_evenly, below))


def _rises_evenly(cells: Sequence[str]) -> bool:
    """Of two numbers that says nothing."""
    if len(cells) < 3 or not all(_WHOLE.fullmatch(cell.strip()) for cell in cells):
        return False
    steps = {after - before for before, after in pairwise(map(int, cells))}
    return len(steps) == 1 and min(steps) > 0


def is_number(cell: str, separator: str) -> bool:
    if "_" in cell:  # which Python's numbers may have: "3_1" is a name
        return False
    try:
        float(cell.replace(",", ".") if separator == ";" else cell)
    except ValueError:
        return False
    return True


def numbers_or_text(cells: Sequence[str], separator: str, what: str) -> NDArray[Any]:
    """Numbers where all cells are, NaN for those that are missing; text otherwise.

    Between semicolons a comma is a decimal one: that is why they are there. Raises DataError,
    naming the column as `what`, where a comma in all its numbers could be anything.
    """
    if "_" in "".join(cells):
        return stripped(cells)
    try:
        return np.array(cells, dtype=np.float64)
    except ValueError:
        text = stripped(cells)
    missing = missing_text(text)
    filled = np.where(missing, "nan", text)
    try:
        return filled.astype(np.float64)
    except ValueError:
        kinds = [str(kind) for kind in np.unique(text[~missing])]
    thousands = [kind for kind in kinds if _WITH_THOUSANDS.fullmatch(kind)]
    numbers = len(thousands) + sum(_NUMBER.fullmatch(kind) is not None for kind in kinds)
    if separator == "," or numbers < len(kinds):
        return text
    if thousands:
        raise DataError(
            f"{what} has numbers with marks between thousands, such as {thousands[0]}: write them"
            " without"
        )
    if separator != ";":
        shown = next(kind for kind in kinds if "," in kind)
        raise DataError(
            f"{what} has numbers with a comma, such as {shown}: write decimal commas as points, or"
            " separate the cells by semicolons"
        )
    return np.char.replace(filled, ",", ".").astype(np.float64)


def stripped(cells: Sequence[str]) -> NDArray[Any]:
    return np.array([cell.strip() for cell in cells])


def missing_text(values: NDArray[Any]) -> NDArray[np.bool_]:
    kinds, which = np.unique(values, return_inverse=True)
    return np.array([str(kind).strip().lower() in _MISSING for kind in kinds], dtype=bool)[which]
