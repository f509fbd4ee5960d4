"""Products of a sparse weight with a batch, on the non-zeros only: forward, and both gradients.

Activations are feature-major, (features, samples) and contiguous: every weight then meets one row
of samples, and kernels read where it lies without asking. They are float32, or bfloat16 as uint16
bit patterns; sums are float32 in either case.
With weights W (units, features), inputs X (features, samples) and the gradient dY of the loss with
respect to the output Y = WX + b:

- `product`: one row of Y (the fused layer of `sparse_units` is built on it),
- `input_gradient`: dX = Wᵀ dY,
- `update_nonzeros`: the weight gradient dY Xᵀ where weights are stored, and with it the step of
  β-LASSO on them (Neyshabur 2020, Algorithm 1).

Each has a plain twin in numpy or scipy; the last bits may differ.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray
from scipy import sparse

from scratchconv.kernels.beta_lasso import moved
from scratchconv.kernels.bfloat16 import read, write
from scratchconv.kernels.compilation import BLOCKS, compiled, compiled_inline, torch_threads
from scratchconv.kernels.sparse_rows import Float32Array, Int32Array, Int64Array, SparseRows
from scratchconv.kernels.tiles import SMALLEST_NORMAL
from scratchconv.kernels.vector_code import PAIR, deinterleave, dot_products, weighted_sum

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


def update_nonzeros_plain(
    weight: SparseRows,
    inputs: Activations,
    gradient: Activations,
    lr: np.float32,
    lam: np.float32,
    threshold: np.float32,
    zeros_return: bool = True,
) -> int:
    """Plain twin of `update_nonzeros`."""
    rows = np.repeat(np.arange(weight.units), np.diff(weight.offsets))
    x, dy = in_float32(inputs), in_float32(gradient)
    slope = np.einsum("ks,ks->k", dy[rows], x[weight.columns])
    theta = weight.values
    after = theta - lr * (slope + lam * np.sign(theta))
    stays_zero = (theta == 0) & (not zeros_return)
    theta[:] = np.where((np.abs(after) < threshold) | stays_zero, _ZERO, after)
    return int(np.count_nonzero(theta))


def update_nonzeros(
    weight: SparseRows,
    inputs: Activations,
    gradient: Activations,
    lr: np.float32,
    lam: np.float32,
    threshold: np.float32,
    zeros_return: bool = True,
) -> int:
    """One step of Algorithm 1 on the stored weights, in place; returns how many are not zero.

    Args:
        weight: changed in place.
        inputs: X, (features, samples).
        gradient: dY, (units, samples), of the same dtype.
        lr, lam, threshold: η, λ and βλ.
        zeros_return: whether a stored weight that is zero may become another number.
    """
    blocks = weight.blocks.size
    ordered = np.empty((blocks, gradient.shape[1]), np.float32)
    slopes = np.empty((blocks, weight.longest_row), np.float32)
    alive = np.zeros(blocks, np.int64)
    with torch_threads(weight.stored * gradient.shape[1]):
        _update_nonzeros(
            weight.values,
            weight.columns,
            weight.offsets,
            weight.blocks,
            inputs,
            gradient,
            lr,
            lam,
            threshold,
            zeros_return,
            ordered,
            slopes,
            alive,
        )
    return int(alive.sum())


@compiled
def _update_nonzeros(
    values: Float32Array,
    columns: Int32Array,
    offsets: Int64Array,
    blocks: Int64Array,
    inputs: Activations,
    gradient: Activations,
    lr: np.float32,
    lam: np.float32,
    threshold: np.float32,
    zeros_return: bool,
    orders: Float32Array,
    slope_rows: Float32Array,
    alive: Int64Array,
) -> None:
    for block in prange(blocks.size - 1):
        ordered, slopes = orders[block], slope_rows[block]
        count = 0
        for unit in range(blocks[block], blocks[block + 1]):
            begin, end = offsets[unit], offsets[unit + 1]
            if begin == end:
                continue
            _row_gradient(columns, begin, end, inputs, gradient, unit, ordered, slopes)
            # A view whose index starts at 0: numba asks of any other whether it is negative,
            # and the loop is no longer vectorised.
            row = values[begin:end]
            for k in range(row.size):
                stays_zero = row[k] == _ZERO and not zeros_return
                theta = moved(row[k], slopes[k], lr, lam, threshold)
                theta = _ZERO if stays_zero else theta
                row[k] = theta
                count += theta != _ZERO
        alive[block] = count


@compiled_inline
def _row_gradient(
    columns: Int32Array,
    begin: int,
    end: int,
    inputs: Activations,
    gradient: Activations,
    unit: int,
    ordered: Float32Array,
    slopes: Float32Array,
) -> None:
    """`slopes[k - begin] = Σ_s gradient[unit, s] · inputs[columns[k], s]`, k in [begin, end)."""
    samples = inputs.shape[1]
    paired = samples // PAIR * PAIR
    deinterleave(gradient, unit * samples, paired, ordered)
    k = begin
    # Several dot products at once read the row `ordered` once for all of them.
    while k + 4 <= end:
        dot_products(ordered, columns, k, inputs, samples, paired, slopes, k - begin, 4)
        k += 4
    if k + 2 <= end:
        dot_products(ordered, columns, k, inputs, samples, paired, slopes, k - begin, 2)
        k += 2
    if k < end:
        dot_products(ordered, columns, k, inputs, samples, paired, slopes, k - begin, 1)
    if paired < samples:
        for k in range(begin, end):
            for s in range(paired, samples):
                slopes[k - begin] += read(gradient, unit, s) * read(inputs, columns[k], s)


def gradients_at_plain(
    units: Int64Array, columns: Int32Array, inputs: Activations, gradient: Activations
) -> Float32Array:
    """Plain twin of `gradients_at`."""
    result: Float32Array = np.einsum(
        "ks,ks->k", in_float32(gradient)[units], in_float32(inputs)[columns]
    )
    return result


def gradients_at(
    units: Int64Array, columns: Int32Array, inputs: Activations, gradient: Activations
) -> Float32Array:
    """The weight gradient at the places (units[i], columns[i]): float32.

    The same bits as `update_nonzeros` finds where a weight is stored, so that it makes no
    difference to a zero whether it is stored.
    """
    slopes = np.empty(units.size, np.float32)
    blocks = min(BLOCKS, units.size)
    ordered = np.empty((blocks, gradient.shape[1]), np.float32)
    with torch_threads(units.size * gradient.shape[1]):
        _gradients_at(units, columns, inputs, gradient, ordered, slopes)
    return slopes


@compiled
def _gradients_at(
    units: Int64Array,
    columns: Int32Array,
    inputs: Activations,
    gradient: Activations,
    orders: Float32Array,
    slopes: Float32Array,
) -> None:
    samples = inputs.shape[1]
    paired = samples // PAIR * PAIR
    blocks = orders.shape[0]
    for block in prange(blocks):
        ordered, before = orders[block], -1
        for k in range(units.size * block // blocks, units.size * (block + 1) // blocks):
            if units[k] != before:
                before = units[k]
                deinterleave(gradient, before * samples, paired, ordered)
            dot_products(ordered, columns, k, inputs, samples, paired, slopes, k, 1)
            for s in range(paired, samples):
                slopes[k] += read(gradient, before, s) * read(inputs, columns[k], s)
