"""Sparse matrix times dense activations, bias and ReLU fused: a layer with few weights, predicting.

Activations come as one sample (a vector) or as tiles, as `tiles` makes them. Every output is
bias + Σ value · x, summed in the order of the stored columns and rounded at each step, then
max(0, ·) where asked. So a sample's result is the same bit for bit in every batch and on any number
of threads. What is not stored is not read: a missing weight ignores NaN and infinity.

Outputs of a ReLU that are subnormal are flushed to zero: some processors take many times longer
over products with them.
"""

from __future__ import annotations

import numpy as np
from numba import prange
from numpy.typing import NDArray

from scratchconv.errors import InvalidArgument
from scratchconv.kernels.compilation import compiled, kernels_can_run, torch_threads
from scratchconv.kernels.csr_matrix import CSRMatrix, Float32Array, OffsetArray
from scratchconv.kernels.csr_row_sum import row_sum
from scratchconv.kernels.tiles import SMALLEST_NORMAL, WIDTHS

_ZERO = np.float32(0)


def _least(relu: bool) -> np.float32:
    """Outputs below this become 0. NaN is below nothing, so it stays NaN."""
    least: np.float32 = SMALLEST_NORMAL if relu else np.float32(-np.inf)
    return least


def tiled_product_plain(
    matrix: CSRMatrix, tiles: Float32Array, bias: Float32Array, relu: bool
) -> Float32Array:
    """Plain twin of `tiled_product`, in scipy; the last bits may differ."""
    count, features, width = tiles.shape
    columns = tiles.transpose(1, 0, 2).reshape(features, count * width)
    total = matrix.to_scipy() @ columns + bias[:, None]
    total = np.where(total < _least(relu), _ZERO, total)
    outputs: Float32Array = total.reshape(matrix.rows, count, width).transpose(1, 0, 2)
    return np.ascontiguousarray(outputs)


def tiled_product(
    matrix: CSRMatrix, tiles: Float32Array, bias: Float32Array, relu: bool
) -> Float32Array:
    """``relu?(matrix @ x + bias)`` for tiles of samples.

    Args:
        matrix: (units, features).
        tiles: float32 (tiles, features, width), the width one of `WIDTHS`, any strides.
        bias: float32 (units,).
        relu: whether outputs below zero become zero.

    Returns: float32 (tiles, units, width), contiguous.
    """
    if tiles.ndim != 3 or tiles.shape[2] not in WIDTHS:
        raise InvalidArgument(
            f"tiles have shape {tiles.shape}: give (tiles, features, width), width one of {WIDTHS}"
        )
    _check_operands(matrix, tiles, bias, features=tiles.shape[1])
    if not kernels_can_run():
        return tiled_product_plain(matrix, tiles, bias, relu)
    outputs = np.empty((len(tiles), matrix.rows, tiles.shape[2]), np.float32)
    with torch_threads(matrix.nonzero * len(tiles) * tiles.shape[2]):
        _tiled(
            *(matrix.values, matrix.columns, matrix.offsets, matrix.blocks),
            *(np.ascontiguousarray(bias), _least(relu), np.ascontiguousarray(tiles), outputs),
        )
    return outputs


@compiled
def _tiled(
    values: Float32Array,
    columns: NDArray[np.int32],
    offsets: OffsetArray,
    blocks: NDArray[np.int64],
    bias: Float32Array,
    least: np.float32,
    tiles: Float32Array,
    outputs: Float32Array,
) -> None:
    # Neighbouring items share a tile, so that a thread keeps to few tiles and they to its cache.
    count = blocks.size - 1
    _, features, width = tiles.shape
    units = bias.size
    for item in prange(tiles.shape[0] * count):
        number, block = item // count, item % count
        tile = number * features * width
        for unit in range(blocks[block], blocks[block + 1]):
            begin, end, start = offsets[unit], offsets[unit + 1], bias[unit]
            row = (number * units + unit) * width
            if width == 64:
                row_sum(values, columns, begin, end, start, least, tiles, tile, outputs, row, 64)
            elif width == 32:
                row_sum(values, columns, begin, end, start, least, tiles, tile, outputs, row, 32)
            else:
                row_sum(values, columns, begin, end, start, least, tiles, tile, outputs, row, 16)


def vector_product_plain(
    matrix: CSRMatrix, x: Float32Array, bias: Float32Array, relu: bool
) -> Float32Array:
    """Plain twin of `vector_product`, in scipy; the last bits may differ."""
    return tiled_product_plain(matrix, x[None, :, None], bias, relu)[0, :, 0]


def vector_product(
    matrix: CSRMatrix, x: Float32Array, bias: Float32Array, relu: bool
) -> Float32Array:
    """``relu?(matrix @ x + bias)`` for one sample: float32 (features,) -> float32 (units,)."""
    _check_operands(matrix, x, bias, features=x.size if x.ndim == 1 else -1)
    if not kernels_can_run():
        return vector_product_plain(matrix, x, bias, relu)
    outputs = np.empty(matrix.rows, np.float32)
    with torch_threads(matrix.nonzero):
        _vector(
            *(matrix.values, matrix.columns, matrix.offsets, matrix.blocks),
            *(np.ascontiguousarray(bias), _least(relu), np.ascontiguousarray(x), outputs),
        )
    return outputs


@compiled
def _vector(
    values: Float32Array,
    columns: NDArray[np.int32],
    offsets: OffsetArray,
    blocks: NDArray[np.int64],
    bias: Float32Array,
    least: np.float32,
    x: Float32Array,
    outputs: Float32Array,
) -> None:
    for block in prange(blocks.size - 1):
        for unit in range(blocks[block], blocks[block + 1]):
            total = bias[unit]
            for k in range(offsets[unit], offsets[unit + 1]):
                # Unsigned: of a signed index numba asks each time whether it counts from the end.
                total += values[k] * x[np.uint32(columns[k])]
            outputs[unit] = _ZERO if total < least else total


def _check_operands(
    matrix: CSRMatrix, x: Float32Array, bias: Float32Array, *, features: int
) -> None:
    if x.dtype != np.float32 or features != matrix.features:
        raise InvalidArgument(
            f"activations are {x.dtype} {x.shape}: give float32 with the"
            f" {matrix.features} features of the matrix"
        )
    if bias.dtype != np.float32 or bias.shape != (matrix.rows,):
        raise InvalidArgument(
            f"bias is {bias.dtype} {bias.shape}: give float32 ({matrix.rows},), one for each unit"
        )
