"""The way back through dropout, ReLU, BatchNorm and bias on feature-major activations, row by row.

The equations of Ioffe & Szegedy 2015, §3, in one pass over a unit's samples. Subnormal results
become zero. For a unit that is constant (`batch_norm.Units`) x̂ is 0 and not read. What dropout
dropped is not asked again: an output of the ReLU that is 0 lets nothing through, whoever made it 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import prange

from scratchconv.kernels.batch_norm import (
    BATCH,
    NONE,
    Units,
    constant_plain,
    fill_row,
    is_constant,
    row_sum,
    row_sum_of_squares,
)
from scratchconv.kernels.bfloat16 import read, write
from scratchconv.kernels.compilation import BLOCKS, compiled, compiled_reduction, torch_threads
from scratchconv.kernels.sparse_products import Activations
from scratchconv.kernels.sparse_rows import Float32Array
from scratchconv.kernels.tiles import SMALLEST_NORMAL

_ZERO = np.float32(0)
_ONE = np.float32(1)


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


def units_backward_plain(
    gradient: Float32Array, outputs: Float32Array, normalised: Float32Array, units: Units
) -> tuple[Float32Array, UnitGradients]:
    """Plain twin of `units_backward`, in float32: dY and the gradients of the units."""
    if units.statistics != NONE:
        normalised = np.where(constant_plain(units)[:, None], _ZERO, normalised)
    d = gradient
    if units.relu:
        d = np.where(outputs > 0, gradient * np.float32(units.dropout.gain), _ZERO)
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
def _sum_of_products(row: Float32Array, others: Activations, unit: int, samples: int) -> np.float32:
    total: np.float32 = np.float32(0)
    for s in range(samples):
        total += row[s] * read(others, unit, s)
    return total


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
            *(gradient, outputs, normalised, units.scale, units.shift, units.variance),
            *(np.float32(units.eps), units.statistics, units.relu),
            *(np.float32(units.dropout.gain), sums_gradient),
            *(result.bias, result.scale, result.shift, result.square, scratch),
        )
    return result


@compiled
def _units_backward(
    gradient: Activations,
    outputs: Activations,
    normalised: Activations,
    scale: Float32Array,
    shift: Float32Array,
    variance: Float32Array,
    eps: np.float32,
    statistics: int,
    relu: bool,
    gain: np.float32,
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
            constant = is_constant(variance[unit], eps, statistics)
            factor = _ONE
            if statistics != NONE:
                factor = scale[unit] / np.sqrt(variance[unit] + eps)
            if constant and relu and not (shift[unit] >= SMALLEST_NORMAL):
                # Nothing comes through the ReLU, whatever dZ is.
                nothing = _ZERO * abs(factor)
                fill_row(sums_gradient, unit, nothing)
                shift_gradient[unit] = scale_gradient[unit] = _ZERO
                bias_gradient[unit] = square[unit] = nothing
                continue
            if relu:
                for s in range(samples):
                    passes = read(outputs, unit, s) > _ZERO
                    d[s] = read(gradient, unit, s) * gain if passes else _ZERO
            else:
                for s in range(samples):
                    d[s] = read(gradient, unit, s)
            along_shift = row_sum(d, samples)
            shift_gradient[unit] = along_shift
            scale_gradient[unit] = _ZERO
            level = along_shift / np.float32(samples)
            if constant:
                scale_gradient[unit] = along_shift * _ZERO
                for s in range(samples):
                    d[s] -= level
            elif statistics != NONE:
                along_scale = _sum_of_products(d, normalised, unit, samples)
                scale_gradient[unit] = along_scale
                if statistics == BATCH:
                    # dY = γ/√(σ²+ε) · (dẑ − mean dẑ − x̂ · mean(dẑ·x̂)): §3, written in one pass
                    slope = along_scale / np.float32(samples)
                    for s in range(samples):
                        d[s] -= level + read(normalised, unit, s) * slope
            for s in range(samples):
                y = d[s] * factor
                y = _ZERO if abs(y) < SMALLEST_NORMAL else y
                write(sums_gradient, unit, s, y)
                d[s] = read(sums_gradient, unit, s)
            bias_gradient[unit] = row_sum(d, samples)
            square[unit] = row_sum_of_squares(d, samples, _ZERO)
