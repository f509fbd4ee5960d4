"""Prefix-free codes for w ∈ ℝ_bⁿ, and the length of each from a formula, term by term.

Neyshabur 2020, §3. n and b are agreed before any data is seen; the decoder knows them. Three codes:

- `dense`: b bits for each of the n weights ("the simplest form of a prefix free description
  language", below Theorem 1).
- `sparse`: the number of non-zeros, where each is, its b bits. Theorem 1 for sparse networks.
- `shared`: the code that proves the last line of Theorem 2. k values p ∈ ℝ_b^k, then the map g that
  says which weight has which of them. Its parts, in the paper's order:
  1. k, in log n bits;
  2. p, in kb bits;
  3. the map d(g): ‖w‖₀ in log n bits, k again in log n bits, and for each non-zero its position in
     log n bits and the number of its value in log k bits. So |d(g)| ≤ ‖w‖₀ log(kn) + 2 log n.

No code word is the beginning of another: what was read up to any point tells how many bits follow.

What the paper leaves open, and what is done here:

- A field holds a whole number of bits, so each logarithm is rounded up. A count can be any of
  0…n, one more than log n bits tell apart: it takes ⌈log₂(n + 1)⌉ bits. That is more than
  ⌈log₂ n⌉, by one, only where n is a power of two.
- Zero: g maps every one of the n weights, so strictly 0 is one of the k values, but the paper's
  code lists only the non-zeros. Here a weight that is not listed is 0, and k counts the others.
- Which weights share: those that are equal, so k is the number of different non-zero weights.
- Order, which the code must fix but does not need: positions ascend; p ascends by bit pattern and
  holds nothing twice or in vain. So a vector has one code word, and most damage shows.
- All positions stand before all numbers of values, instead of taking turns: just as long, faster.
- k stands twice, as in the paper, once for p and once for the map. The second must agree.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scratchconv.analysis.bit_string import BitReader, BitString, BitWriter
from scratchconv.analysis.weight_vector import (
    WeightVector,
    check_bits,
    pattern_problem,
    position_problem,
)
from scratchconv.errors import DataError, InvalidArgument, unknown_name

SCHEMES = ("dense", "sparse", "shared")


@dataclass(frozen=True)
class Term:
    """One part of a description.

    name: what these bits say.
    formula: as the paper writes it; "log" is to base 2.
    bits: what it takes in the code, in whole bits.
    formula_bits: the formula itself, with logarithms that are not rounded up.
    """

    name: str
    formula: str
    bits: int
    formula_bits: float


def code_terms(scheme: str, *, n: int, b: int, nonzero: int, k: int) -> tuple[Term, ...]:
    """The parts of a code word, in order; the sum of their `bits` is its length exactly.

    Args:
        scheme: one of `SCHEMES`.
        n, b: length of w and bits of a weight.
        nonzero: ‖w‖₀.
        k: how many different values the non-zeros have; only `shared` asks.

    Raises InvalidArgument: an unknown scheme, or counts that no vector has.
    """
    _check_scheme(scheme)
    check_bits(b)
    if not 0 <= nonzero <= n or not (nonzero > 0) <= k <= nonzero:
        raise InvalidArgument(
            f"n is {n}, ‖w‖₀ {nonzero} and k {k}: they must satisfy 0 ≤ k ≤ ‖w‖₀ ≤ n, and k ≥ 1"
            " where there is a non-zero"
        )
    if scheme == "dense":
        return (Term("values", "nb", n * b, n * b),)
    count = (count_width(n), _log2(n))
    positions = Term("positions", "‖w‖₀ log n", nonzero * choice_width(n), nonzero * _log2(n))
    if scheme == "sparse":
        return (
            Term("number of non-zeros", "log n", *count),
            positions,
            Term("values", "‖w‖₀ b", nonzero * b, nonzero * b),
        )
    return (
        Term("number of parameters", "log n", *count),
        Term("values", "kb", k * b, k * b),
        Term("map: number of non-zeros", "log n", *count),
        Term("map: number of parameters", "log n", *count),
        Term(f"map: {positions.name}", positions.formula, positions.bits, positions.formula_bits),
        Term("map: sharing", "‖w‖₀ log k", nonzero * choice_width(k), nonzero * _log2(k)),
    )


def count_width(n: int) -> int:
    """⌈log₂(n + 1)⌉: the bits of a count in 0…n."""
    return n.bit_length()


def choice_width(n: int) -> int:
    """⌈log₂ n⌉: the bits of a choice among n; 0 where there is nothing to choose."""
    return (n - 1).bit_length() if n else 0


def _log2(n: int) -> float:
    return math.log2(n) if n else 0.0


def encode_vector(vector: WeightVector, scheme: str = "shared") -> BitString:
    """The code word of w. Its length is the sum of `code_terms`."""
    _check_scheme(scheme)
    n, b = vector.n, vector.b
    writer = BitWriter()
    if scheme == "dense":
        dense = np.zeros(n, np.uint32)
        dense[vector.positions] = vector.patterns
        writer.write(dense, b)
    elif scheme == "sparse":
        writer.write(np.array([vector.nonzero]), count_width(n))
        writer.write(vector.positions, choice_width(n))
        writer.write(vector.patterns, b)
    else:
        values, numbers = np.unique(vector.patterns, return_inverse=True)
        writer.write(np.array([values.size]), count_width(n))
        writer.write(values, b)
        writer.write(np.array([vector.nonzero, values.size]), count_width(n))
        writer.write(vector.positions, choice_width(n))
        writer.write(numbers, choice_width(values.size))
    return writer.finished()


def encode_vector_plain(vector: WeightVector, scheme: str = "shared") -> str:
    """Plain twin of `encode_vector`: the code word as text, "0" and "1"."""
    _check_scheme(scheme)
    weights = {int(i): int(v) for i, v in zip(vector.positions, vector.patterns, strict=True)}
    log_n, log_n_and_zero = choice_width(vector.n), count_width(vector.n)
    if scheme == "dense":
        return "".join(_field(weights.get(i, 0), vector.b) for i in range(vector.n))
    if scheme == "sparse":
        return (
            _field(len(weights), log_n_and_zero)
            + "".join(_field(i, log_n) for i in weights)
            + "".join(_field(value, vector.b) for value in weights.values())
        )
    p = sorted(set(weights.values()))
    return (
        _field(len(p), log_n_and_zero)
        + "".join(_field(value, vector.b) for value in p)
        + _field(len(weights), log_n_and_zero)
        + _field(len(p), log_n_and_zero)
        + "".join(_field(i, log_n) for i in weights)
        + "".join(_field(p.index(value), choice_width(len(p))) for value in weights.values())
    )


def _field(number: int, width: int) -> str:
    return f"{number:0{width}b}" if width else ""


def decode_vector(
    code: BitString | bytes, *, n: int, b: int, scheme: str = "shared"
) -> WeightVector:
    """The vector whose code word this is, exactly.

    Args:
        code: what `encode_vector` gave, or its `data` alone: a prefix-free code tells by itself
            where it ends.
        n, b, scheme: as agreed with whoever encoded it; they are not in the code.

    Memory stays below some forty times that of `code`, whatever `code` says. What is damaged raises
    DataError where it shows: a word cut short or followed by anything, a count or position that
    cannot be, values that are zero, not finite, out of order, repeated or not used. A code without
    redundancy cannot show more: an exponent that was changed is another network.

    Raises:
        DataError: this is no code word.
        InvalidArgument: n, b or scheme cannot be.
    """
    _check_scheme(scheme)
    check_bits(b)
    if isinstance(n, bool) or not isinstance(n, int) or not 0 <= n < 2**63:
        raise InvalidArgument(f"n is {n!r}: it must be an integer in [0, 2^63)")
    reader = BitReader(code)
    if scheme == "dense":
        dense = reader.read(n, b, "weights").astype(np.uint32)
        reader.finish()
        positions = np.flatnonzero(dense).astype(np.int64, copy=False)
        patterns = dense[positions]
    elif scheme == "sparse":
        nonzero = _read_count(reader, n, "number of non-zeros")
        positions = _read_positions(reader, nonzero, n)
        patterns = reader.read(nonzero, b, "values").astype(np.uint32)
        reader.finish()
    else:
        positions, patterns = _decode_shared(reader, n, b)
    if (problem := pattern_problem(patterns, b)) is not None:
        raise DataError(f"the code is damaged: its values {problem}")
    return WeightVector(n, b, positions, patterns)


def _decode_shared(
    reader: BitReader, n: int, b: int
) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
    k = _read_count(reader, n, "number of parameters")
    values = reader.read(k, b, "values").astype(np.uint32)
    if (values[1:] <= values[:-1]).any():
        raise DataError("the code is damaged: its values do not ascend")
    nonzero = _read_count(reader, n, "number of non-zeros")
    again = _read_count(reader, n, "number of parameters in the map")
    if again != k:
        raise DataError(
            f"the code is damaged: it has {k} parameters, but its map is one to {again}"
        )
    positions = _read_positions(reader, nonzero, n)
    numbers = reader.read(nonzero, choice_width(k), "map").astype(np.int64)
    reader.finish()
    used = np.zeros(k, np.bool_)
    if nonzero:
        if (most := int(numbers.max())) >= k:
            raise DataError(
                f"the code is damaged: its map asks for value {most} of {k}, counted from 0"
            )
        used[numbers] = True
    if not used.all():
        raise DataError("the code is damaged: it has a value that no weight takes")
    return positions, values[numbers]


def _read_count(reader: BitReader, n: int, what: str) -> int:
    count = int(reader.read(1, count_width(n), what)[0])
    if count > n:
        raise DataError(f"the code is damaged: its {what} is {count}, but there are {n} weights")
    return count


def _read_positions(reader: BitReader, nonzero: int, n: int) -> NDArray[np.int64]:
    positions = reader.read(nonzero, choice_width(n), "positions").astype(np.int64)
    if (problem := position_problem(positions, n)) is not None:
        raise DataError(f"the code is damaged: its positions {problem}")
    return positions


def _check_scheme(scheme: str) -> None:
    if scheme not in SCHEMES:
        raise unknown_name("scheme", scheme, SCHEMES)
