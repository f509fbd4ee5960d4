"""Passes over activations and tiles of products that decide which zero weights may return."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import prange
from numpy.typing import NDArray

from scratchconv.kernels.bfloat16 import read
from scratchconv.kernels.compilation import (
    compiled,
    compiled_inline,
    compiled_reduction,
    torch_threads,
)
from scratchconv.kernels.sparse_products import Activations, in_float32
from scratchconv.kernels.sparse_rows import Float32Array, Int32Array, Int64Array

_ZERO = np.float32(0)


def row_squares_plain(rows: Activations) -> Float32Array:
    """Plain twin of `row_squares`."""
    wide = in_float32(rows)
    squares: Float32Array = (wide * wide).sum(1)
    return squares


def row_squares(rows: Activations) -> Float32Array:
    """Σ x² of every row: float32 (rows,)."""
    squares = np.empty(len(rows), np.float32)
    with torch_threads(rows.size):
        _row_squares(rows, squares)
    return squares


@compiled_reduction
def _square(rows: Activations, row: int) -> np.float32:
    square: np.float32 = np.float32(0)
    for s in range(rows.shape[1]):
        square += read(rows, row, s) * read(rows, row, s)
    return square


@compiled
def _row_squares(rows: Activations, squares: Float32Array) -> None:
    for row in prange(rows.shape[0]):
        squares[row] = _square(rows, row)


def largest_bounds_plain(
    products: Activations, row_factors: Float32Array, column_factors: Float32Array
) -> Float32Array:
    """Plain twin of `largest_bounds`."""
    pairs = np.abs(in_float32(products)) + row_factors[:, None] * column_factors
    result: Float32Array = pairs.max(1)
    return result


def largest_bounds(
    products: Activations, row_factors: Float32Array, column_factors: Float32Array
) -> Float32Array:
    """max over j of |products[i, j]| + row_factors[i] · column_factors[j]: float32 (rows,).

    NaN is larger than anything, so that a row which cannot be judged is never let go.
    """
    result = np.empty(len(products), np.float32)
    with torch_threads(products.size):
        _largest_bounds(products, row_factors, column_factors, result)
    return result


@compiled_reduction
def _largest(
    products: Activations, row: int, row_factor: np.float32, column_factors: Float32Array
) -> np.float32:
    largest: np.float32 = np.float32(0)
    wrong = np.int32(0)
    for j in range(products.shape[1]):
        bound = abs(read(products, row, j)) + row_factor * column_factors[j]
        wrong |= np.int32(bound != bound)
        largest = bound if bound > largest else largest
    return np.float32(np.nan) if wrong else largest


@compiled
def _largest_bounds(
    products: Activations,
    row_factors: Float32Array,
    column_factors: Float32Array,
    result: Float32Array,
) -> None:
    for row in prange(products.shape[0]):
        result[row] = _largest(products, row, row_factors[row], column_factors)


def at_least_plain(gradient: Activations, bars: Float32Array) -> tuple[Int64Array, Int32Array]:
    """Plain twin of `at_least`."""
    rows, columns = np.nonzero(np.abs(in_float32(gradient)) >= bars[:, None])
    return rows, columns.astype(np.int32)


def at_least(gradient: Activations, bars: Float32Array) -> tuple[Int64Array, Int32Array]:
    """Where |gradient[i, j]| ≥ bars[i]: rows int64 and columns int32, row after row."""
    counts = np.empty(len(gradient), np.int64)
    with torch_threads(gradient.size):
        _count_at_least(gradient, bars, counts)
    ends = np.cumsum(counts)
    columns = np.empty(int(ends[-1]) if ends.size else 0, np.int32)
    if columns.size:
        with torch_threads(gradient.size):
            _find_at_least(gradient, bars, counts, ends, columns)
    return np.repeat(np.arange(len(gradient)), counts), columns


@compiled
def _count_at_least(gradient: Activations, bars: Float32Array, counts: Int64Array) -> None:
    for row in prange(gradient.shape[0]):
        bar, count = bars[row], np.int32(0)
        for j in range(gradient.shape[1]):
            count += np.int32(abs(read(gradient, row, j)) >= bar)
        counts[row] = count


@compiled
def _find_at_least(
    gradient: Activations,
    bars: Float32Array,
    counts: Int64Array,
    ends: Int64Array,
    columns: Int32Array,
) -> None:
    for row in prange(gradient.shape[0]):
        place = ends[row] - counts[row]
        if counts[row] > 0:
            for j in range(gradient.shape[1]):
                if abs(read(gradient, row, j)) >= bars[row]:
                    columns[place] = j
                    place += 1


def are_stored(
    rows: Int64Array, columns: Int32Array, stored_columns: Int32Array, offsets: Int64Array
) -> NDArray[np.bool_]:
    """Whether the place (rows[i], columns[i]) of a `SparseRows` is stored."""
    result = np.empty(rows.size, np.bool_)
    with torch_threads(rows.size):
        _are_stored(rows, columns, stored_columns, offsets, result)
    return result


@compiled
def _are_stored(
    rows: Int64Array,
    columns: Int32Array,
    stored_columns: Int32Array,
    offsets: Int64Array,
    result: NDArray[np.bool_],
) -> None:
    for i in prange(rows.size):
        low, high = offsets[rows[i]], offsets[rows[i] + 1]
        end = high
        while low < high:
            middle = (low + high) // 2
            if stored_columns[middle] < columns[i]:
                low = middle + 1
            else:
                high = middle
        result[i] = low < end and stored_columns[low] == columns[i]


@dataclass(frozen=True, eq=False)
class Quantised:
    """Rows in 255 levels, and what that loses.

    levels: int8 (rows, samples).
    scales: float32 (rows,), the step from one level to the next.
    kept, lost: float32 (rows,), the lengths of what the levels stand for and of the rest; NaN where
        a row is not finite.
    """

    levels: NDArray[np.int8]
    scales: Float32Array
    kept: Float32Array
    lost: Float32Array

    @property
    def lengths(self) -> Float32Array:
        """At least the lengths of the rows."""
        return self.kept + self.lost

    def rows(self, chosen: slice) -> Quantised:
        """Some of the rows."""
        return Quantised(
            self.levels[chosen], self.scales[chosen], self.kept[chosen], self.lost[chosen]
        )


def quantised_plain(rows: Activations) -> Quantised:
    """Plain twin of `quantised`, for rows that are finite."""
    wide = in_float32(rows)
    scales = (np.abs(wide).max(1, initial=0) / np.float32(127)).astype(np.float32)
    inverse = np.divide(1, scales, out=np.zeros_like(scales), where=scales > 0)
    levels = np.floor(wide * inverse[:, None] + np.float32(0.5)).astype(np.int8)
    stands_for = levels * scales[:, None]
    kept, lost = (np.linalg.norm(part, axis=1) for part in (stands_for, wide - stands_for))
    return Quantised(levels, scales, kept, lost)


def quantised(rows: Activations) -> Quantised:
    """Every row in levels of its own: 127 is its largest magnitude."""
    levels = np.empty(rows.shape, np.int8)
    scales, kept, lost = np.empty((3, len(rows)), np.float32)
    with torch_threads(rows.size):
        _quantised(rows, levels, scales, kept, lost)
    return Quantised(levels, scales, kept, lost)


@compiled_inline
def _row_largest(rows: Activations, row: int) -> np.float32:
    """The largest magnitude; NaN where there is one.

    Magnitudes are in the order of their bits, NaN above all, and a loop over integers is
    vectorised: over floats NaN would stand in its way.
    """
    largest = np.int32(0)
    for s in range(rows.shape[1]):
        bits = np.float32(abs(read(rows, row, s))).view(np.int32)
        largest = max(largest, bits)
    magnitude: np.float32 = np.int32(largest).view(np.float32)
    return magnitude


@compiled_reduction
def _quantise_row(
    rows: Activations, row: int, scale: np.float32, levels: NDArray[np.int8]
) -> tuple[np.float32, np.float32]:
    inverse = np.float32(1) / scale if scale != _ZERO else _ZERO
    kept: np.float32 = np.float32(0)
    lost: np.float32 = np.float32(0)
    for s in range(rows.shape[1]):
        x = read(rows, row, s)
        level = np.floor(x * inverse + np.float32(0.5))
        levels[row, s] = np.int8(level)
        kept += (level * scale) * (level * scale)
        lost += (x - level * scale) * (x - level * scale)
    return kept, lost


@compiled
def _quantised(
    rows: Activations,
    levels: NDArray[np.int8],
    scales: Float32Array,
    kept: Float32Array,
    lost: Float32Array,
) -> None:
    for row in prange(rows.shape[0]):
        scales[row] = _row_largest(rows, row) / np.float32(127)
        squares = _quantise_row(rows, row, scales[row], levels)
        kept[row], lost[row] = np.sqrt(squares[0]), np.sqrt(squares[1])


def may_reach_plain(
    products: NDArray[np.int32], units: Quantised, features: Quantised, bar: float
) -> tuple[Int64Array, Int32Array]:
    """Plain twin of `may_reach`."""
    bounds = (
        np.abs(products) * units.scales[:, None] * features.scales
        + units.kept[:, None] * features.lost
        + units.lost[:, None] * features.lengths
    )
    rows, columns = np.nonzero(~(bounds < np.float32(bar)))
    return rows, columns.astype(np.int32)


def may_reach(
    products: NDArray[np.int32], units: Quantised, features: Quantised, bar: float
) -> tuple[Int64Array, Int32Array]:
    """Where |x_i · y_j| may be `bar` or more: rows int64 and columns int32, row after row.

    With x = x̂ + δx and y = ŷ + δy, of which the levels keep x̂ and ŷ,
    |x · y| ≤ |x̂ · ŷ| + ‖x̂‖ ‖δy‖ + ‖δx‖ ‖y‖.

    Args:
        products: int32 (units, features), products of the levels.
        units, features: what the rows and the columns are products of.
        bar: what is compared with.
    """
    numbers = (units.scales, units.kept, units.lost)
    others = (features.scales, features.lost, features.lengths)
    counts = np.empty(len(products), np.int64)
    with torch_threads(products.size):
        _count_may_reach(products, *numbers, *others, np.float32(bar), counts)
    ends = np.cumsum(counts)
    columns = np.empty(int(ends[-1]) if ends.size else 0, np.int32)
    if columns.size:
        with torch_threads(products.size):
            _find_may_reach(products, *numbers, *others, np.float32(bar), counts, ends, columns)
    return np.repeat(np.arange(len(products)), counts), columns


@compiled_inline
def _bound(
    product: np.int32, step: np.float32, by_column: np.float32, by_row: np.float32
) -> np.float32:
    """|x̂ · ŷ| + ‖x̂‖ ‖δy‖ + ‖δx‖ ‖y‖, `product` that of the levels and `step` of their steps."""
    bound: np.float32 = abs(np.float32(product)) * step + by_column + by_row
    return bound


@compiled
def _count_may_reach(
    products: NDArray[np.int32],
    scales: Float32Array,
    kept: Float32Array,
    lost: Float32Array,
    other_scales: Float32Array,
    other_lost: Float32Array,
    other_lengths: Float32Array,
    bar: np.float32,
    counts: Int64Array,
) -> None:
    for row in prange(products.shape[0]):
        scale, keeps, loses, count = scales[row], kept[row], lost[row], np.int32(0)
        for j in range(products.shape[1]):
            step = scale * other_scales[j]
            bound = _bound(products[row, j], step, keeps * other_lost[j], loses * other_lengths[j])
            count += np.int32(not (bound < bar))
        counts[row] = count


@compiled
def _find_may_reach(
    products: NDArray[np.int32],
    scales: Float32Array,
    kept: Float32Array,
    lost: Float32Array,
    other_scales: Float32Array,
    other_lost: Float32Array,
    other_lengths: Float32Array,
    bar: np.float32,
    counts: Int64Array,
    ends: Int64Array,
    columns: Int32Array,
) -> None:
    for row in prange(products.shape[0]):
        place = ends[row] - counts[row]
        if counts[row] > 0:
            scale, keeps, loses = scales[row], kept[row], lost[row]
            for j in range(products.shape[1]):
                step = scale * other_scales[j]
                bound = _bound(
                    products[row, j], step, keeps * other_lost[j], loses * other_lengths[j]
                )
                if not (bound < bar):
                    columns[place] = j
                    place += 1
