"""Passes over activations and tiles of products that decide which zero weights may return."""

from __future__ import annotations

import numpy as np
from numba import prange
from numpy.typing import NDArray

from scratchconv.kernels.bfloat16 import read
from scratchconv.kernels.compilation import compiled, compiled_reduction, torch_threads
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
