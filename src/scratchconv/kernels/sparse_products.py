"""Products of a sparse weight with a batch, on the non-zeros only: forward, and input gradient.

Activations are feature-major, (features, samples) and contiguous: every weight then meets one row
of samples, and kernels read where it lies without asking. They are float32, or bfloat16 as uint16
bit patterns; sums are float32 in either case.
With weights W (units, features), inputs X (features, samples) and the gradient dY of the loss with
respect to the output Y = WX + b:

- `product`: one row of Y (the fused layer of `sparse_units` is built on it),
- `input_gradient`: dX = Wᵀ dY.

The weight gradient dY Xᵀ is in `sparse_gradients`. A plain twin stands beside each; the last bits
may differ.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray
from scipy import sparse

from scratchconv.kernels.bfloat16 import read, write
from scratchconv.kernels.compilation import compiled, compiled_inline, torch_threads
from scratchconv.kernels.sparse_rows import Float32Array, Int32Array, Int64Array, SparseRows
from scratchconv.kernels.tiles import SMALLEST_NORMAL
from scratchconv.kernels.vector_code import PAIR, weighted_sum

# float32, or uint16 holding bfloat16 bit patterns
Activations = NDArray[Any]

_ZERO = np.float32(0)
_WIDE = 8 * PAIR  # 256 samples: sixteen sums in vectors leave half the registers for operands


def in_float32(rows: Activations) -> Float32Array:
    """The numbers that activations stand for, as a float32 array."""
    if rows.dtype == np.uint16:
        return (rows.astype(np.uint32) << 16).view(np.float32)
    return rows


def in_scipy(weight: SparseRows) -> Any:
    """The weight as a scipy CSR array."""
    arrays = (weight.values, weight.columns, weight.offsets)
    return sparse.csr_array(arrays, shape=(weight.units, weight.features))


@compiled_inline
def product(
    values: Float32Array,
    positions: Any,
    columns: Int32Array,
    begin: int,
    end: int,
    rows: Activations,
    sums: Float32Array,
) -> None:
    """In kernels: `sums[s] = Σ_k value(k) · rows[columns[k], s]`, k in [begin, end), all samples.

    value(k) is `values[k]`, or `values[positions[k]]` where `positions` is not None.
    """
    samples = rows.shape[1]
    start = 0
    while start + _WIDE <= samples:
        weighted_sum(*(values, positions, columns, begin, end, rows, samples, start, sums, _WIDE))
        start += _WIDE
    while start + PAIR <= samples:
        weighted_sum(*(values, positions, columns, begin, end, rows, samples, start, sums, PAIR))
        start += PAIR
    if start < samples:
        for s in range(start, samples):
            sums[s] = _ZERO
        for k in range(begin, end):
            value = values[k] if positions is None else values[positions[k]]
            column = columns[k]
            for s in range(start, samples):
                sums[s] += value * read(rows, column, s)


def input_gradient_plain(weight: SparseRows, gradient: Activations) -> Float32Array:
    """Plain twin of `input_gradient`, in float32."""
    result: Float32Array = in_scipy(weight).T @ in_float32(gradient)
    return result


def input_gradient(weight: SparseRows, gradient: Activations, out: Activations) -> None:
    """dX = Wᵀ dY into `out` (features, samples), rounded to its dtype; subnormals become zero."""
    by_column = weight.by_column
    scratch = np.empty((by_column.blocks.size, gradient.shape[1]), np.float32)
    with torch_threads(weight.stored * gradient.shape[1]):
        _input_gradient(
            *(weight.values, by_column.positions, by_column.rows, by_column.offsets),
            *(by_column.blocks, gradient, out, scratch),
        )


@compiled
def _input_gradient(
    values: Float32Array,
    positions: Int32Array,
    rows: Int32Array,
    offsets: Int64Array,
    blocks: Int64Array,
    gradient: Activations,
    out: Activations,
    scratch: Float32Array,
) -> None:
    samples = gradient.shape[1]
    for block in prange(blocks.size - 1):
        sums = scratch[block]
        for feature in range(blocks[block], blocks[block + 1]):
            if offsets[feature] == offsets[feature + 1]:
                for s in range(samples):
                    write(out, feature, s, _ZERO)
                continue
            product(
                *(values, positions, rows, offsets[feature], offsets[feature + 1], gradient, sums)
            )
            for s in range(samples):
                total = sums[s]
                write(out, feature, s, _ZERO if abs(total) < SMALLEST_NORMAL else total)
