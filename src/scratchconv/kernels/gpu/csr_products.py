"""Sparse products on the GPU, and the update of the weights that are stored.

Activations are feature-major, (features, N): the samples of one feature lie side by side, so that a
non-zero weight meets one contiguous run of them. Each program takes one row of the matrix and a
block of samples, and gathers the runs that the row's non-zeros point to, eight at a time, which
keeps enough loads under way to cover their latency. Rows are started from the longest to the
shortest, so that none is left running alone at the end (Gale et al. 2020, "Sparse GPU Kernels for
Deep Learning", §V, call it row swizzle).

The three products of a layer Y = W·X with W (units, features) in compressed rows:

- forward: `product` with the pattern of W;
- input gradient Wᵀ·dY: `product` with `pattern.transposed()`, which reads the same values;
- weight gradient on the non-zeros, with the update: `update_nonzeros`.

Sums are made in float32, in an order that depends on the shapes alone.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from scratchconv.errors import InvalidArgument
from scratchconv.kernels.gpu.compilation import (
    beta_lasso,
    check_on_one_device,
    check_tensor,
    kernel,
    on_device_of,
    rounded,
)
from scratchconv.kernels.gpu.pattern import Pattern

_ACTIVATIONS = (torch.bfloat16, torch.float32)

# Non-zeros of a row taken at a time, and most samples of a program: 32 sums in each thread.
_NONZEROS = 8
_MOST_SAMPLES = 512
_WARPS = 4


def product_plain(
    pattern: Pattern,
    values: Tensor,
    x: Tensor,
    *,
    bias: Tensor | None = None,
    relu: bool = False,
) -> Tensor:
    """Plain twin of `product`, through the dense matrix."""
    outputs = pattern.to_dense(values) @ x.float()
    if bias is not None:
        outputs = outputs + bias[:, None]
    return (outputs.relu() if relu else outputs).to(x.dtype)


def product(
    pattern: Pattern,
    values: Tensor,
    x: Tensor,
    *,
    bias: Tensor | None = None,
    relu: bool = False,
) -> Tensor:
    """``relu?(matrix · x + bias)``: a new tensor (rows, N) with the dtype of `x`, contiguous.

    Args:
        pattern: where the non-zeros of the matrix (rows, columns) lie.
        values: float32 (nonzero,): what they are.
        x: (columns, N), bfloat16 or float32, its last dimension contiguous.
        bias: float32 (rows,), contiguous.
        relu: whether outputs below zero become zero.

    Raises InvalidArgument: a shape, a dtype, strides or a device is not as said here.
    """
    _check_values(pattern, values)
    _check_activations("x", x, pattern.columns)
    if bias is not None:
        check_tensor("bias", bias, (torch.float32,), (pattern.rows,))
    check_on_one_device({**pattern.tensors(), "values": values, "x": x, "bias": bias})
    samples = x.shape[1]
    outputs = x.new_empty(pattern.rows, samples)
    if outputs.numel():
        block = _block(samples)
        with on_device_of(x):
            _product[(pattern.rows, triton.cdiv(samples, block))](
                *(values, pattern.indices, pattern.offsets, pattern.order),
                *(values if pattern.positions is None else pattern.positions,),
                *(x, values if bias is None else bias.contiguous(), outputs),
                *(samples, x.stride(0)),
                HAS_POSITIONS=pattern.positions is not None,
                HAS_BIAS=bias is not None,
                RELU=relu,
                NONZEROS=_NONZEROS,
                BLOCK_SAMPLES=block,
                num_warps=_WARPS,
                enable_fp_fusion=True,
            )
    return outputs


@kernel
def _product(
    values: tl.tensor,
    indices: tl.tensor,
    offsets: tl.tensor,
    order: tl.tensor,
    positions: tl.tensor,
    x: tl.tensor,
    bias: tl.tensor,
    outputs: tl.tensor,
    samples: tl.tensor,
    x_row: tl.tensor,
    HAS_POSITIONS: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    RELU: tl.constexpr,
    NONZEROS: tl.constexpr,
    BLOCK_SAMPLES: tl.constexpr,
) -> None:
    row = tl.load(order + tl.program_id(0)).to(tl.int64)
    sample = tl.program_id(1) * BLOCK_SAMPLES + tl.arange(0, BLOCK_SAMPLES)
    inside = sample < samples
    begin, end = tl.load(offsets + row), tl.load(offsets + row + 1)
    # Each non-zero of a group has its own sums; they meet once, at the end.
    sums = tl.zeros((NONZEROS, BLOCK_SAMPLES), dtype=tl.float32)
    for start in range(begin, end, NONZEROS):
        place = start + tl.arange(0, NONZEROS)
        stored = place < end
        index = tl.load(indices + place, mask=stored, other=0).to(tl.int64)
        if HAS_POSITIONS:
            place = tl.load(positions + place, mask=stored, other=0)
        value = tl.load(values + place, mask=stored, other=0.0)
        there = stored[:, None] & inside[None, :]
        run = tl.load(x + index[:, None] * x_row + sample[None, :], mask=there, other=0.0)
        sums += value[:, None] * run.to(tl.float32)
    total = tl.sum(sums, axis=0)
    if HAS_BIAS:
        total += tl.load(bias + row)
    if RELU:
        # A comparison, not a maximum: NaN stays NaN.
        total = tl.where(total < 0, 0.0, total)
    nearest = rounded(total, outputs.dtype.element_ty)
    tl.store(outputs + row * samples + sample, nearest, mask=inside)


def update_nonzeros_plain(
    pattern: Pattern,
    values: Tensor,
    dY: Tensor,
    X: Tensor,
    options: Tensor,
    *,
    counts: Tensor | None = None,
) -> None:
    """Plain twin of `update_nonzeros`, with the whole gradient in memory."""
    lr, lam, threshold = options
    gradient = dY.float() @ X.float().t()
    slopes = gradient[pattern.row_of_each(), pattern.indices.long()]
    moved = values - lr * (slopes + lam * torch.sign(values))
    values.copy_(torch.where(moved.abs() < threshold, 0.0, moved))
    if counts is not None:
        counts.copy_(pattern.to_dense(values).ne(0).sum(dim=1))


def update_nonzeros(
    pattern: Pattern,
    values: Tensor,
    dY: Tensor,
    X: Tensor,
    options: Tensor,
    *,
    counts: Tensor | None = None,
) -> None:
    """One step of Algorithm 1 on the stored weights, in place, with their gradient dY·Xᵀ.

    A stored weight that is or becomes zero keeps its place, and returns as Algorithm 1 says.
    Weights that are not stored are not looked at.

    Args:
        pattern: where the weights (units, features) lie; not a transposed one.
        values: float32 (nonzero,), contiguous: the weights.
        dY: (units, N), bfloat16 or float32, its last dimension contiguous: gradient of the outputs.
        X: (features, N), like `dY`: inputs of the layer.
        options: float32 (3,) on the device: η, λ and βλ, as `fused_update.update_options` makes it.
        counts: int32 (units,): becomes the number of non-zeros of each row.

    Raises InvalidArgument: a shape, a dtype, strides or a device is not as said here.
    """
    if pattern.positions is not None:
        raise InvalidArgument("a transposed pattern: update with the pattern of the weights")
    _check_values(pattern, values)
    _check_activations("dY", dY, pattern.rows)
    _check_activations("X", X, pattern.columns)
    check_tensor("X", X, (dY.dtype,), (pattern.columns, dY.shape[1]))
    check_tensor("options", options, (torch.float32,), (3,))
    if counts is not None:
        check_tensor("counts", counts, (torch.int32,), (pattern.rows,))
    check_on_one_device(
        {**pattern.tensors(), "values": values, "dY": dY, "X": X, "options": options}
        | {"counts": counts}
    )
    if pattern.rows == 0:
        return
    samples = dY.shape[1]
    with on_device_of(values):
        _update_nonzeros[(pattern.rows,)](
            *(values, pattern.indices, pattern.offsets, pattern.order),
            *(values if counts is None else counts, dY, X, options),
            *(samples, dY.stride(0), X.stride(0)),
            HAS_COUNTS=counts is not None,
            NONZEROS=_NONZEROS,
            BLOCK_SAMPLES=_block(samples),
            num_warps=_WARPS,
            enable_fp_fusion=False,  # each operation of the update is rounded on its own
        )


@kernel
def _update_nonzeros(
    values: tl.tensor,
    indices: tl.tensor,
    offsets: tl.tensor,
    order: tl.tensor,
    counts: tl.tensor,
    dY: tl.tensor,
    X: tl.tensor,
    options: tl.tensor,
    samples: tl.tensor,
    dY_row: tl.tensor,
    X_row: tl.tensor,
    HAS_COUNTS: tl.constexpr,
    NONZEROS: tl.constexpr,
    BLOCK_SAMPLES: tl.constexpr,
) -> None:
    row = tl.load(order + tl.program_id(0)).to(tl.int64)
    begin, end = tl.load(offsets + row), tl.load(offsets + row + 1)
    lr, lam, threshold = tl.load(options), tl.load(options + 1), tl.load(options + 2)
    alive = tl.zeros((NONZEROS,), dtype=tl.int32)
    for start in range(begin, end, NONZEROS):
        place = start + tl.arange(0, NONZEROS)
        stored = place < end
        index = tl.load(indices + place, mask=stored, other=0).to(tl.int64)
        sums = tl.zeros((NONZEROS, BLOCK_SAMPLES), dtype=tl.float32)
        for first in range(0, samples, BLOCK_SAMPLES):
            sample = first + tl.arange(0, BLOCK_SAMPLES)
            inside = sample < samples
            # Read anew for each group, but from the L1 cache.
            slope = tl.load(dY + row * dY_row + sample, mask=inside, other=0.0).to(tl.float32)
            there = stored[:, None] & inside[None, :]
            run = tl.load(X + index[:, None] * X_row + sample[None, :], mask=there, other=0.0)
            sums += slope[None, :] * run.to(tl.float32)
        weight = tl.load(values + place, mask=stored, other=0.0)
        moved = beta_lasso(weight, tl.sum(sums, axis=1), lr, lam, threshold)
        tl.store(values + place, moved, mask=stored)
        alive += ((moved != 0) & stored).to(tl.int32)
    if HAS_COUNTS:
        tl.store(counts + row, tl.sum(alive, axis=0))


def _block(samples: int) -> int:
    block: int = triton.next_power_of_2(samples)
    return min(_MOST_SAMPLES, max(16, block))


def _check_values(pattern: Pattern, values: Tensor) -> None:
    check_tensor("values", values, (torch.float32,), (pattern.indices.numel(),))
    if not values.is_contiguous():
        raise InvalidArgument(f"values have stride {values.stride(0)}: they must be contiguous")


def _check_activations(name: str, tensor: Tensor, features: int) -> None:
    samples = tensor.shape[1] if tensor.ndim == 2 else -1
    if tensor.ndim != 2 or tensor.shape[0] != features or tensor.dtype not in _ACTIVATIONS:
        raise InvalidArgument(
            f"{name} is {tensor.dtype} {tuple(tensor.shape)}:"
            f" give bfloat16 or float32 ({features}, N)"
        )
    if samples > 1 and tensor.stride(1) != 1:
        raise InvalidArgument(
            f"{name} has strides {tensor.stride()}: the samples of a feature must lie side by side"
        )
