"""Bias, BatchNorm and ReLU on feature-major activations, forward and backward, row by row.

What stands behind a sparse product costs more than the product at 1 % density if it passes over
memory for itself. Here a unit's outputs are normalised while they lie in the nearest cache, as
they come from the product (`sparse_units`) or from a dense matrix product (`dense_units`).

Ioffe & Szegedy 2015, Algorithm 1 and the equations of §3: with y = Σ w x + b over the samples of a
batch, x̂ = (y − mean) / √(variance + ε), z = max(0, γ x̂ + β). Subnormal results become zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import prange

from scratchconv.kernels.bfloat16 import read, write
from scratchconv.kernels.compilation import (
    BLOCKS,
    compiled,
    compiled_inline,
    compiled_reduction,
    torch_threads,
)
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
    """

    bias: Float32Array
    scale: Float32Array
    shift: Float32Array
    mean: Float32Array
    variance: Float32Array
    eps: float
    statistics: int
    relu: bool

    def arguments(self) -> tuple[Any, ...]:
        """In the order of the kernels."""
        return (
            *(self.bias, self.scale, self.shift, self.mean, self.variance),
            *(np.float32(self.eps), self.statistics, self.relu),
        )


@dataclass(frozen=True, eq=False)
class UnitGradients:
    """Gradients of the loss, float32 (units,), and the lengths that safe screening needs.

    bias, scale, shift: with respect to b, γ and β.
    square: Σ dY² over the samples, of dY as it was rounded.
    """

    bias: Float32Array
    scale: Float32Array
    shift: Float32Array
    square: Float32Array

    @classmethod
    def empty(cls, units: int) -> UnitGradients:
        return cls(*np.empty((4, units), np.float32))


def units_plain(sums: Float32Array, units: Units, normalised: Activations) -> Float32Array:
    """Plain twin: what `dense_units` makes of `sums` (units, samples), in float32.

    `normalised` receives x̂ where it is not empty.
    """
    y = sums + units.bias[:, None]
    if units.statistics == BATCH:
        units.mean[:], units.variance[:] = y.mean(1), y.var(1)
    if units.statistics != NONE:
        y = (y - units.mean[:, None]) / np.sqrt(units.variance[:, None] + units.eps)
        if normalised.size:
            normalised[:] = y
        y = units.scale[:, None] * y + units.shift[:, None]
    return np.where(y < SMALLEST_NORMAL, _ZERO, y) if units.relu else y


def units_backward_plain(
    gradient: Float32Array, outputs: Float32Array, normalised: Float32Array, units: Units
) -> tuple[Float32Array, UnitGradients]:
    """Plain twin of `units_backward`, in float32: dY and the gradients of the units."""
    d = np.where(outputs > 0, gradient, _ZERO) if units.relu else gradient
    result = UnitGradients.empty(len(d))
    result.shift[:] = d.sum(1)
    result.scale[:] = (d * normalised).sum(1) if units.statistics != NONE else 0
    dy = d
    if units.statistics != NONE:
        inverse = (units.scale / np.sqrt(units.variance + np.float32(units.eps)))[:, None]
        if units.statistics == BATCH:
            samples = d.shape[1]
            d = d - (result.shift[:, None] + normalised * result.scale[:, None]) / samples
        dy = inverse * d
    result.bias[:] = dy.sum(1)
    result.square[:] = (dy * dy).sum(1)
    return dy, result


@compiled_reduction
def _sum(row: Float32Array, samples: int) -> np.float32:
    total: np.float32 = np.float32(0)
    for s in range(samples):
        total += row[s]
    return total


@compiled_reduction
def _sum_of_squares(row: Float32Array, samples: int, centre: np.float32) -> np.float32:
    total: np.float32 = np.float32(0)
    for s in range(samples):
        total += (row[s] - centre) * (row[s] - centre)
    return total


@compiled_reduction
def _sum_of_products(row: Float32Array, others: Activations, unit: int, samples: int) -> np.float32:
    total: np.float32 = np.float32(0)
    for s in range(samples):
        total += row[s] * read(others, unit, s)
    return total


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
    normalised: Activations,
    outputs: Activations,
) -> None:
    """A unit's outputs from its weighted sums."""
    samples = outputs.shape[1]
    factor, offset = _ONE, bias[unit]
    if statistics != NONE:
        if statistics == BATCH:
            centre = _sum(sums, samples) / np.float32(samples)
            variance[unit] = _sum_of_squares(sums, samples, centre) / np.float32(samples)
            mean[unit] = centre + bias[unit]
        inverse = _ONE / np.sqrt(variance[unit] + eps)
        centre = mean[unit] - bias[unit]
        if normalised.shape[0] > 0:
            for s in range(samples):
                x = (sums[s] - centre) * inverse
                write(normalised, unit, s, _ZERO if abs(x) < SMALLEST_NORMAL else x)
        factor = scale[unit] * inverse
        offset = shift[unit] - centre * factor
    if relu:
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
        normalised: (units, samples), of the same dtype; (0, 0) where x̂ is not wanted.
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
    normalised: Activations,
    outputs: Activations,
    scratch: Float32Array,
) -> None:
    for block in prange(blocks.size - 1):
        sums = scratch[block]
        for unit in range(blocks[block], blocks[block + 1]):
            product(values, None, columns, offsets[unit], offsets[unit + 1], inputs, sums)
            _finish(
                *(sums, unit, bias, scale, shift, mean, variance, eps, statistics, relu),
                *(normalised, outputs),
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
                *(normalised, outputs),
            )


def units_backward(
    gradient: Activations,
    outputs: Activations,
    normalised: Activations,
    units: Units,
    sums_gradient: Activations,
) -> UnitGradients:
    """dY into `sums_gradient`, from the gradient of the loss with respect to z.

    Args:
        gradient: dZ, (units, samples).
        outputs: z as the forward pass left it; read where ReLU follows.
        normalised: x̂ as the forward pass left it; read where there is BatchNorm.
        units: as in the forward pass, `mean` and `variance` filled in.
        sums_gradient: (units, samples), written.
    """
    result = UnitGradients.empty(len(gradient))
    scratch = np.empty((BLOCKS, gradient.shape[1]), np.float32)
    with torch_threads(gradient.size):
        _units_backward(
            *(gradient, outputs, normalised, units.scale, units.variance),
            *(np.float32(units.eps), units.statistics, units.relu, sums_gradient),
            *(result.bias, result.scale, result.shift, result.square, scratch),
        )
    return result


@compiled
def _units_backward(
    gradient: Activations,
    outputs: Activations,
    normalised: Activations,
    scale: Float32Array,
    variance: Float32Array,
    eps: np.float32,
    statistics: int,
    relu: bool,
    sums_gradient: Activations,
    bias_gradient: Float32Array,
    scale_gradient: Float32Array,
    shift_gradient: Float32Array,
    square: Float32Array,
    scratch: Float32Array,
) -> None:
    units, samples = gradient.shape
    blocks = scratch.shape[0]
    for block in prange(blocks):
        d = scratch[block]
        for unit in range(units * block // blocks, units * (block + 1) // blocks):
            if relu:
                for s in range(samples):
                    d[s] = read(gradient, unit, s) if read(outputs, unit, s) > _ZERO else _ZERO
            else:
                for s in range(samples):
                    d[s] = read(gradient, unit, s)
            along_shift = _sum(d, samples)
            shift_gradient[unit] = along_shift
            scale_gradient[unit] = _ZERO
            factor = _ONE
            if statistics != NONE:
                along_scale = _sum_of_products(d, normalised, unit, samples)
                scale_gradient[unit] = along_scale
                factor = scale[unit] / np.sqrt(variance[unit] + eps)
                if statistics == BATCH:
                    # dY = γ/√(σ²+ε) · (dẑ − mean dẑ − x̂ · mean(dẑ·x̂)): §3, written in one pass
                    level = along_shift / np.float32(samples)
                    slope = along_scale / np.float32(samples)
                    for s in range(samples):
                        d[s] -= level + read(normalised, unit, s) * slope
            for s in range(samples):
                y = d[s] * factor
                y = _ZERO if abs(y) < SMALLEST_NORMAL else y
                write(sums_gradient, unit, s, y)
                d[s] = read(sums_gradient, unit, s)
            bias_gradient[unit] = _sum(d, samples)
            square[unit] = _sum_of_squares(d, samples, _ZERO)
