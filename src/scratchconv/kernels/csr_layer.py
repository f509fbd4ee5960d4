"""Rows of a sparse layer: a CSR matrix times activations, bias and ReLU fused.

Activations come as a tile, as `tiles` lays it out. Every output is bias + Σ value · x, summed in
the order of the stored columns and rounded at each step, then max(0, ·) where asked. So a sample's
result is the same bit for bit in every batch and on any number of threads. What is not stored is
not read: a missing weight ignores NaN and infinity.

Outputs of a ReLU that are subnormal are flushed to zero: some processors take many times longer
over products with them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scratchconv.kernels.compilation import compiled_inline
from scratchconv.kernels.csr_chain import ChainArrays
from scratchconv.kernels.csr_matrix import Float32Array, OffsetArray
from scratchconv.kernels.csr_row_sum import row_sum

_ZERO = np.float32(0)

# Non-zeros of an average row from which a vector meets two rows at a time.
_LONG = 100


@compiled_inline
def layer_rows(
    arrays: ChainArrays,
    layer: int,
    first: int,
    last: int,
    width: int,
    tile: Float32Array,
    outputs: Float32Array,
) -> None:
    """Rows `first` to `last` of a layer, from one tile into another; nothing is checked."""
    rows, _, value, offset, start, _, _ = arrays.places[layer]
    values, columns = arrays.values[value:], arrays.columns[value:]
    offsets = arrays.offsets[offset : offset + rows + 1]
    bias, least = arrays.bias[start : start + rows], arrays.least[layer]
    if width == 1:
        _vector_rows(values, columns, offsets, bias, least, tile, outputs, first, last)
        return
    for unit in range(first, last):
        begin, end, sum0, row = offsets[unit], offsets[unit + 1], bias[unit], unit * width
        if width == 64:
            row_sum(values, columns, begin, end, sum0, least, tile, outputs, row, 64)
        elif width == 32:
            row_sum(values, columns, begin, end, sum0, least, tile, outputs, row, 32)
        elif width == 16:
            row_sum(values, columns, begin, end, sum0, least, tile, outputs, row, 16)
        elif width == 8:
            row_sum(values, columns, begin, end, sum0, least, tile, outputs, row, 8)
        else:
            row_sum(values, columns, begin, end, sum0, least, tile, outputs, row, 4)


@compiled_inline
def _vector_rows(
    values: Float32Array,
    columns: NDArray[np.int32],
    offsets: OffsetArray,
    bias: Float32Array,
    least: np.float32,
    x: Float32Array,
    outputs: Float32Array,
    first: int,
    last: int,
) -> None:
    # Indices are unsigned: of a signed one numba asks each time whether it counts from the end,
    # which takes longer than the arithmetic.
    unit = first
    if last > first and offsets[last] - offsets[first] >= _LONG * (last - first):
        # A sum waits for each of its additions. Two rows at a time, one adds while the other waits;
        # short rows overlap without help, and pay for a second loop.
        while unit + 1 < last:
            one, two = np.uint64(offsets[unit]), np.uint64(offsets[unit + 1])
            end = np.uint64(offsets[unit + 2])
            both = min(two - one, end - two)
            sum1, sum2 = bias[unit], bias[unit + 1]
            for k in range(both):
                sum1 += values[one + k] * x[np.uint32(columns[one + k])]
                sum2 += values[two + k] * x[np.uint32(columns[two + k])]
            sum1 = _continued(values, columns, one + both, two, sum1, x)
            sum2 = _continued(values, columns, two + both, end, sum2, x)
            outputs[unit] = _ZERO if sum1 < least else sum1
            outputs[unit + 1] = _ZERO if sum2 < least else sum2
            unit += 2
    for rest in range(unit, last):
        begin, end = np.uint64(offsets[rest]), np.uint64(offsets[rest + 1])
        total = _continued(values, columns, begin, end, bias[rest], x)
        outputs[rest] = _ZERO if total < least else total


@compiled_inline
def _continued(
    values: Float32Array,
    columns: NDArray[np.int32],
    begin: np.uint64,
    end: np.uint64,
    total: np.float32,
    x: Float32Array,
) -> np.float32:
    for k in range(begin, end):
        total += values[k] * x[np.uint32(columns[k])]
    return total
