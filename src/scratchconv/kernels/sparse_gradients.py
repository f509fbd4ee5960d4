"""The gradient of a sparse weight, where weights are stored, and the step that is taken with it.

With inputs X (features, samples) and the gradient dY (units, samples) of the loss with respect to
the outputs, both as in `sparse_products`, the weight gradient is dY Xᵀ:

- `stored_gradients`: where weights are stored,
- `update_nonzeros`: the same, and with it the step of β-LASSO (Neyshabur 2020, Algorithm 1),
- `gradients_at`: at any places.

All three find the same bits at the same place. Each has a plain twin in numpy; the last bits may
differ.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from scratchconv.kernels.beta_lasso import moved
from scratchconv.kernels.bfloat16 import read
from scratchconv.kernels.compilation import BLOCKS, compiled, compiled_inline, torch_threads
from scratchconv.kernels.sparse_products import Activations, in_float32
from scratchconv.kernels.sparse_rows import Float32Array, Int32Array, Int64Array, SparseRows
from scratchconv.kernels.vector_code import PAIR, deinterleave, dot_products

_ZERO = np.float32(0)


def stored_gradients_plain(
    weight: SparseRows, inputs: Activations, gradient: Activations
) -> Float32Array:
    """Plain twin of `stored_gradients`."""
    return gradients_at_plain(weight.unit_of_each, weight.columns, inputs, gradient)


def stored_gradients(
    weight: SparseRows, inputs: Activations, gradient: Activations
) -> Float32Array:
    """The weight gradient of every stored weight, in their order: float32 (stored,)."""
    ordered = np.empty((weight.blocks.size, gradient.shape[1]), np.float32)
    slopes = np.empty(weight.stored, np.float32)
    with torch_threads(weight.stored * gradient.shape[1]):
        _stored_gradients(
            *(weight.columns, weight.offsets, weight.blocks, inputs, gradient, ordered, slopes)
        )
    return slopes


@compiled
def _stored_gradients(
    columns: Int32Array,
    offsets: Int64Array,
    blocks: Int64Array,
    inputs: Activations,
    gradient: Activations,
    orders: Float32Array,
    slopes: Float32Array,
) -> None:
    for block in prange(blocks.size - 1):
        for unit in range(blocks[block], blocks[block + 1]):
            begin, end = offsets[unit], offsets[unit + 1]
            if begin < end:
                row = slopes[begin:end]
                _row_gradient(columns, begin, end, inputs, gradient, unit, orders[block], row)


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
    slope = stored_gradients_plain(weight, inputs, gradient)
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

    Found in the same bits where a weight is stored, it makes no difference to a zero whether it is.
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
