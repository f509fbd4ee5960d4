"""`SparseRows`: the non-zeros of a weight matrix that is being trained.

As in CSR, but made to change: values are written in place by every step, a weight that has died
stays stored as a zero until enough of them have gathered, and the order by columns, which the input
gradient needs, is an index into the same values.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numba import prange
from numpy.typing import NDArray

from scratchconv.errors import InvalidArgument
from scratchconv.kernels.compilation import BLOCKS, compiled, compiled_serial, torch_threads

Float32Array = NDArray[np.float32]
Int32Array = NDArray[np.int32]
Int64Array = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ByColumn:
    """The same non-zeros in the order of their columns.

    positions: int32 (stored,), where each value lies in `SparseRows.values`.
    rows: int32 (stored,), the unit that each value belongs to.
    offsets: int64 (features + 1,).
    blocks: int64, cuts of the columns into blocks of about as many non-zeros.
    """

    positions: Int32Array
    rows: Int32Array
    offsets: Int64Array
    blocks: Int64Array


@dataclass(frozen=True, eq=False)
class SparseRows:
    """Stored weights of a matrix (units, features), row after row, columns increasing.

    values: float32 (stored,); some may be zero.
    columns: int32 (stored,), in [0, features).
    offsets: int64 (units + 1,).
    features: columns of the matrix.
    """

    values: Float32Array
    columns: Int32Array
    offsets: Int64Array
    features: int

    @property
    def units(self) -> int:
        return self.offsets.size - 1

    @property
    def stored(self) -> int:
        return self.values.size

    @property
    def unit_of_each(self) -> Int64Array:
        """The unit that each stored weight belongs to: int64 (stored,)."""
        return np.repeat(np.arange(self.units), np.diff(self.offsets))

    @cached_property
    def longest_row(self) -> int:
        """The most weights that one unit has stored."""
        return int(np.diff(self.offsets).max(initial=0))

    @cached_property
    def blocks(self) -> Int64Array:
        """Where to cut the rows for the threads; ends included."""
        return _cuts(self.offsets)

    @cached_property
    def by_column(self) -> ByColumn:
        """The order by columns, made when first asked for."""
        offsets = np.zeros(self.features + 1, np.int64)
        np.cumsum(np.bincount(self.columns, minlength=self.features), out=offsets[1:])
        positions = np.empty(self.stored, np.int32)
        rows = np.empty(self.stored, np.int32)
        _order_by_column(self.columns, self.offsets, offsets[:-1].copy(), positions, rows)
        return ByColumn(positions, rows, offsets, _cuts(offsets))

    @classmethod
    def from_dense(cls, dense: Float32Array) -> SparseRows:
        """The non-zeros of `dense`, float32 (units, features), any strides."""
        units, features = dense.shape
        _check_size(units, features)
        dense = np.ascontiguousarray(dense)
        counts = np.empty(units, np.int64)
        with torch_threads(dense.size):
            _count_nonzero(dense, counts)
        offsets = np.zeros(units + 1, np.int64)
        np.cumsum(counts, out=offsets[1:])
        stored = int(offsets[-1])
        if stored >= 2**31:
            raise InvalidArgument(f"{stored} non-zeros are too many: indices are int32")
        values, columns = np.empty(stored, np.float32), np.empty(stored, np.int32)
        with torch_threads(dense.size):
            _gather_nonzero(dense, offsets, values, columns)
        return cls(values, columns, offsets, features)

    def to_dense(self, out: Float32Array | None = None) -> Float32Array:
        """The matrix with its zeros, float32 (units, features)."""
        dense = np.empty((self.units, self.features), np.float32) if out is None else out
        with torch_threads(dense.size):
            _scatter(self.values, self.columns, self.offsets, dense)
        return dense

    def with_values(self, values: Float32Array) -> SparseRows:
        """The same places with other values; what was made of the places is kept."""
        other = SparseRows(values, self.columns, self.offsets, self.features)
        for name in ("blocks", "by_column", "longest_row"):
            if name in self.__dict__:
                other.__dict__[name] = self.__dict__[name]
        return other

    def without_zeros(self) -> SparseRows:
        """The same matrix, no zero stored."""
        kept = self.values != 0
        offsets = np.zeros(self.units + 1, np.int64)
        offsets[1:] = np.cumsum(kept)[self.offsets[1:] - 1] if self.stored else 0
        offsets[1:][self.offsets[1:] == 0] = 0
        return SparseRows(self.values[kept], self.columns[kept], offsets, self.features)

    def with_more(self, rows: Int64Array, columns: Int32Array, values: Float32Array) -> SparseRows:
        """The same matrix with weights at places that were not stored; zeros are dropped.

        rows, columns, values: (added,), in any order, no place twice.
        """
        kept = self.values != 0
        all_rows = np.concatenate([self.unit_of_each[kept], rows])
        all_columns = np.concatenate([self.columns[kept], columns])
        order = np.argsort(all_rows * self.features + all_columns, kind="stable")
        offsets = np.zeros(self.units + 1, np.int64)
        np.cumsum(np.bincount(all_rows, minlength=self.units), out=offsets[1:])
        all_values = np.concatenate([self.values[kept], values])
        return SparseRows(
            all_values[order].astype(np.float32, copy=False),
            all_columns[order].astype(np.int32, copy=False),
            offsets,
            self.features,
        )


def _check_size(units: int, features: int) -> None:
    if max(units, features) >= 2**31:
        raise InvalidArgument(
            f"a weight of {units} × {features} is too large: rows and columns are int32"
        )


def _cuts(offsets: Int64Array) -> Int64Array:
    rows, stored = offsets.size - 1, int(offsets[-1])
    # A row costs about as much as a few non-zeros even when it is empty.
    work = offsets + 4 * np.arange(rows + 1)
    quantiles = np.linspace(0, stored + 4 * rows, min(BLOCKS, max(1, rows)) + 1)
    cuts = np.searchsorted(work, quantiles).astype(np.int64)
    cuts[0], cuts[-1] = 0, rows
    return cuts


@compiled
def _count_nonzero(dense: Float32Array, counts: Int64Array) -> None:
    for unit in prange(dense.shape[0]):
        count = 0
        for feature in range(dense.shape[1]):
            count += dense[unit, feature] != 0
        counts[unit] = count


@compiled
def _gather_nonzero(
    dense: Float32Array, offsets: Int64Array, values: Float32Array, columns: Int32Array
) -> None:
    for unit in prange(dense.shape[0]):
        k = offsets[unit]
        for feature in range(dense.shape[1]):
            if dense[unit, feature] != 0:
                values[k] = dense[unit, feature]
                columns[k] = feature
                k += 1


@compiled
def _scatter(
    values: Float32Array, columns: Int32Array, offsets: Int64Array, dense: Float32Array
) -> None:
    for unit in prange(dense.shape[0]):
        dense[unit] = np.float32(0)
        for k in range(offsets[unit], offsets[unit + 1]):
            dense[unit, columns[k]] = values[k]


@compiled_serial
def _order_by_column(
    columns: Int32Array,
    offsets: Int64Array,
    next_place: Int64Array,
    positions: Int32Array,
    rows: Int32Array,
) -> None:
    for unit in range(offsets.size - 1):
        for k in range(offsets[unit], offsets[unit + 1]):
            place = next_place[columns[k]]
            next_place[columns[k]] = place + 1
            positions[place] = k
            rows[place] = unit
