"""Text of one length over few letters, as DNA and proteins are written, in columns of 0 and 1."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SHORTEST = 8
"""Shorter text is a word or a code, not a sequence."""
MOST_LETTERS = 32
_GAPS = frozenset("-.*?")
_RAREST = 1e-3
"""A letter that is rarer stands for what was not read ("N" in DNA), and gets no column."""


def is_sequence(values: NDArray[Any]) -> bool:
    """Whether all text (n,) has one length of at least 8, of at most 32 letters and gaps."""
    lengths = np.char.str_len(values)
    if lengths.min() != lengths.max() or lengths[0] < SHORTEST:
        return False
    letters = np.unique(_letters(values))
    told = all(str(letter).isalpha() or str(letter) in _GAPS for letter in letters)
    return told and len(letters) <= MOST_LETTERS


def sequence_columns(name: str, values: NDArray[Any]) -> tuple[list[str], NDArray[np.float64]]:
    """Names such as "Sequence[17]=A", counted from 0, and columns of 0 and 1: float64 (n, columns).

    One column for each place and letter, place by place; of two letters, one tells the other. A
    letter that makes up less than 1 in 1000 is 0 in all columns of its place.
    """
    letters = _letters(values)
    kinds, counts = np.unique(letters, return_counts=True)
    kinds = kinds[counts >= _RAREST * letters.size]
    kept = kinds[1:] if len(kinds) == 2 else kinds
    names = [f"{name}[{place}]={letter}" for place in range(letters.shape[1]) for letter in kept]
    columns = (letters[:, :, None] == kept).reshape(len(values), -1)
    return names, columns.astype(np.float64)


def _letters(values: NDArray[Any]) -> NDArray[Any]:
    """(n, length) of one letter each."""
    length = int(np.char.str_len(values[:1])[0])
    exact = np.ascontiguousarray(values.astype(f"U{length}"))
    return exact.view("U1").reshape(len(values), length)
