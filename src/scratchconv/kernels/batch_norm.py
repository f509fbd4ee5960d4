"""Bias, BatchNorm, ReLU and dropout on feature-major activations, row by row; the way back is in
`batch_norm_backward`.

What stands behind a sparse product costs more than the product at 1 % density if it passes over
memory for itself. Here a unit's outputs are normalised while they lie in the nearest cache, as
they come from the product (`sparse_units`) or from a dense matrix product (`dense_units`).

Ioffe & Szegedy 2015, Algorithm 1 and the equations of §3: with y = Σ w x + b over the samples of a
batch, x̂ = (y − mean) / √(variance + ε), z = max(0, γ x̂ + β). Subnormal results become zero.

A unit whose weights are all zero has no variance: x̂ is 0 for every sample, z one number, and dY
what is left of dZ without its mean. Neither pass reads or writes its x̂ or sums anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from scratchconv.kernels.bfloat16 import read, write
from scratchconv.kernels.compilation import (
    BLOCKS,
    compiled,
    compiled_inline,
    compiled_reduction,
    torch_threads,
)
from scratchconv.kernels.dropout import NO_DROPOUT, Dropout, is_kept, kept_plain, unit_key
from scratchconv.kernels.sparse_products import (
    Activations,
    in_float32,
    in_scipy,
    product,
)
from scratchconv.kernels.sparse_rows import Float32Array, Int32Array, Int64Array, SparseRows
from scratchconv.kernels.tiles import SMALLEST_NORMAL

_ZERO = np.float32(0)
_ONE = np.float32(1)

# What `Units.statistics` may be.
NONE, BATCH, GIVEN = 0, 1, 2


@dataclass(frozen=True, eq=False)
class Units:
    """What is done to a unit's weighted sums; every array is float32 (units,).

    bias: b; zeros where there is none.
    scale, shift: γ and β of BatchNorm.
    mean, variance: of a unit over the batch; written with `BATCH`, read with `GIVEN`. The variance
        is the biased one.
    eps: ε of BatchNorm.
    statistics: `NONE` (no BatchNorm), `BATCH` (of the batch, in training) or `GIVEN`.
    relu: whether ReLU follows.
    dropout: what follows the ReLU; none without one.

    With `BATCH` a unit whose variance is zero, as float32, is constant: its x̂ is not written.
    """

    bias: Float32Array
    scale: Float32Array
    shift: Float32Array
    mean: Float32Array
    variance: Float32Array
    eps: float
    statistics: int
    relu: bool
    dropout: Dropout = NO_DROPOUT

    def arguments(self) -> tuple[Any, ...]:
        """In the order of the kernels."""
        return (
            *(self.bias, self.scale, self.shift, self.mean, self.variance),
            *(np.float32(self.eps), self.statistics, self.relu, *self.dropout.arguments()),
        )


def units_plain(sums: Float32Array, units: Units, normalised: Activations) -> Float32Array:
    """Plain twin: what `dense_units` makes of `sums` (units, samples), in float32.

    `normalised` receives x̂ where it is not empty.
    """
    y = sums + units.bias[:, None]
    if units.statistics == BATCH:
        units.mean[:], units.variance[:] = y.mean(1), y.var(1)
    if units.statistics != NONE:
        y = (y - units.mean[:, None]) / np.sqrt(units.variance[:, None] + units.eps)
        constant = constant_plain(units)
        y[constant] = 0
        if normalised.size:
            normalised[~constant] = y[~constant]
        y = units.scale[:, None] * y + units.shift[:, None]
    if not units.relu:
        return y
    kept = kept_plain(units.dropout, *y.shape) & ~(y < SMALLEST_NORMAL)
    outputs: Float32Array = np.where(kept, y * np.float32(units.dropout.gain), _ZERO)
    return outputs


def constant_plain(units: Units) -> NDArray[np.bool_]:
    constant: NDArray[np.bool_] = units.variance == 0
    return constant & (units.statistics == BATCH and units.eps > 0)


@compiled_reduction
def row_sum(row: Float32Array, samples: int) -> np.float32:
    total: np.float32 = np.float32(0)
    for s in range(samples):
        total += row[s]
    return total


@compiled_reduction
def row_sum_of_squares(row: Float32Array, samples: int, centre: np.float32) -> np.float32:
    total: np.float32 = np.float32(0)
    for s in range(samples):
        total += (row[s] - centre) * (row[s] - centre)
    return total


@compiled_inline
def is_constant(variance: np.float32, eps: np.float32, statistics: int) -> bool:
    """Whether x̂ is 0 for every sample. Without ε it is 0/0."""
    return statistics == BATCH and variance == _ZERO and eps > _ZERO


@compiled_inline
def _level(scale: np.float32, shift: np.float32, relu: bool) -> np.float32:
    """z of a unit that is constant; NaN where γ is not finite."""
    y = _ZERO * scale + shift
    small = y < SMALLEST_NORMAL if relu else abs(y) < SMALLEST_NORMAL
    level: np.float32 = _ZERO if small else y
    return level


@compiled_inline
def fill_row(rows: Activations, row: int, number: np.float32) -> None:
    for s in range(rows.shape[1]):
        write(rows, row, s, number)


@compiled_inline
def _fill_kept(
    outputs: Activations,
    unit: int,
    level: np.float32,
    stream: np.uint64,
    bar: np.uint32,
    gain: np.float32,
) -> None:
    """The outputs of a unit that is constant."""
    if bar == 0 or level == _ZERO:
        fill_row(outputs, unit, level)
        return
    key = unit_key(stream, unit)
    for s in range(outputs.shape[1]):
        write(outputs, unit, s, level * gain if is_kept(key, s, bar) else _ZERO)


@compiled_inline
def _finish(
    sums: Float32Array,
    unit: int,
    bias: Float32Array,
    scale: Float32Array,
    shift: Float32Array,
    mean: Float32Array,
    variance: Float32Array,
    eps: np.float32,
    statistics: int,
    relu: bool,
    stream: np.uint64,
    bar: np.uint32,
    gain: np.float32,
    normalised: Activations,
    outputs: Activations,
) -> None:
    """A unit's outputs from its weighted sums."""
    samples = outputs.shape[1]
    factor, offset = _ONE, bias[unit]
    if statistics != NONE:
        if statistics == BATCH:
            centre = row_sum(sums, samples) / np.float32(samples)
            variance[unit] = row_sum_of_squares(sums, samples, centre) / np.float32(samples)
            mean[unit] = centre + bias[unit]
            if is_constant(variance[unit], eps, statistics):
                level = _level(scale[unit], shift[unit], relu)
                _fill_kept(outputs, unit, level, stream, bar, gain)
                return
        inverse = _ONE / np.sqrt(variance[unit] + eps)
        centre = mean[unit] - bias[unit]
        if normalised.shape[0] > 0:
            for s in range(samples):
                x = (sums[s] - centre) * inverse
                write(normalised, unit, s, _ZERO if abs(x) < SMALLEST_NORMAL else x)
        factor = scale[unit] * inverse
        offset = shift[unit] - centre * factor
    if relu and bar > 0:
        key = unit_key(stream, unit)
        for s in range(samples):
            y = sums[s] * factor + offset
            y = _ZERO if y < SMALLEST_NORMAL else y
            write(outputs, unit, s, y * gain if is_kept(key, s, bar) else _ZERO)
    elif relu:
        for s in range(samples):
            y = sums[s] * factor + offset
            write(outputs, unit, s, _ZERO if y < SMALLEST_NORMAL else y)
    else:
        for s in range(samples):
            y = sums[s] * factor + offset
            write(outputs, unit, s, _ZERO if abs(y) < SMALLEST_NORMAL else y)


def sparse_units_plain(
    weight: SparseRows, inputs: Activations, units: Units, normalised: Activations
) -> Float32Array:
    """Plain twin of `sparse_units`, in float32."""
    return units_plain(in_scipy(weight) @ in_float32(inputs), units, normalised)


def sparse_units(
    weight: SparseRows,
    inputs: Activations,
    units: Units,
    normalised: Activations,
    outputs: Activations,
) -> None:
    """z of W X into `outputs`, and x̂ into `normalised`.

    Args:
        weight: W, (units, features).
        inputs: X, (features, samples).
        normalised: (units, samples), of the same dtype; (0, 0) where x̂ is not wanted. That of
            units that are constant is left as it was.
        outputs: (units, samples), of the same dtype.
    """
    scratch = np.empty((weight.blocks.size, outputs.shape[1]), np.float32)
    with torch_threads(outputs.size + weight.stored * outputs.shape[1]):
        _sparse_units(
            *(weight.values, weight.columns, weight.offsets, weight.blocks, inputs),
            *(*units.arguments(), normalised, outputs, scratch),
        )


@compiled
def _sparse_units(
    values: Float32Array,
    columns: Int32Array,
    offsets: Int64Array,
    blocks: Int64Array,
    inputs: Activations,
    bias: Float32Array,
    scale: Float32Array,
    shift: Float32Array,
    mean: Float32Array,
    variance: Float32Array,
    eps: np.float32,
    statistics: int,
    relu: bool,
    stream: np.uint64,
    bar: np.uint32,
    gain: np.float32,
    normalised: Activations,
    outputs: Activations,
    scratch: Float32Array,
) -> None:
    for block in prange(blocks.size - 1):
        sums = scratch[block]
        for unit in range(blocks[block], blocks[block + 1]):
            reads_nothing = offsets[unit] == offsets[unit + 1]
            if reads_nothing and is_constant(_ZERO, eps, statistics):
                mean[unit], variance[unit] = bias[unit], _ZERO
                level = _level(scale[unit], shift[unit], relu)
                _fill_kept(outputs, unit, level, stream, bar, gain)
                continue
            product(values, None, columns, offsets[unit], offsets[unit + 1], inputs, sums)
            _finish(
                *(sums, unit, bias, scale, shift, mean, variance, eps, statistics, relu),
                *(stream, bar, gain, normalised, outputs),
            )


def dense_units(
    sums: Activations, units: Units, normalised: Activations, outputs: Activations
) -> None:
    """z of the weighted sums `sums` (units, samples) into `outputs`, x̂ into `normalised`."""
    scratch = np.empty((BLOCKS, outputs.shape[1]), np.float32)
    arguments = (sums, *units.arguments(), normalised, outputs, scratch)
    with torch_threads(outputs.size):
        _dense_units(*arguments)


@compiled
def _dense_units(
    given: Activations,
    bias: Float32Array,
    scale: Float32Array,
    shift: Float32Array,
    mean: Float32Array,
    variance: Float32Array,
    eps: np.float32,
    statistics: int,
    relu: bool,
    stream: np.uint64,
    bar: np.uint32,
    gain: np.float32,
    normalised: Activations,
    outputs: Activations,
    scratch: Float32Array,
) -> None:
    units, samples = outputs.shape
    blocks = scratch.shape[0]
    for block in prange(blocks):
        sums = scratch[block]
        for unit in range(units * block // blocks, units * (block + 1) // blocks):
            for s in range(samples):
                sums[s] = read(given, unit, s)
            _finish(
                *(sums, unit, bias, scale, shift, mean, variance, eps, statistics, relu),
                *(stream, bar, gain, normalised, outputs),
            )
