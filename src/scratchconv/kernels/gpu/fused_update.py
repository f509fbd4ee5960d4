"""Weight gradient and β-LASSO update in one kernel: the full gradient never exists.

For a layer Y = X·θᵀ the gradient is G = dYᵀ·X, summed over the samples. Each program sums one tile
of it in float32 registers, then moves the same tile of θ (Neyshabur 2020, Algorithm 1), rounds it
into the bfloat16 copy that the products read, and counts what is not zero. Of memory, a step then
moves ten bytes a weight: θ in, θ and the copy out.

Every operation of the update is rounded on its own, as `optim/reference.py` says. The gradient is
summed in the same order whichever tile size the tuning picks: all of them cut the samples alike.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from scratchconv.errors import InvalidArgument
from scratchconv.kernels.gpu.compilation import (
    INTERPRETED,
    add_product,
    beta_lasso,
    check_on_one_device,
    check_tensor,
    kernel,
    on_device_of,
    rounded,
)

# Samples taken at a time: a row of 64 bfloat16 is the 128 bytes that shared memory is swizzled by.
_SAMPLES = 64

# Tiles in a column that share their inputs while these are in the L2 cache.
_GROUP = 8


def update_options(
    lr: float | Tensor, lam: float, beta: float, *, device: torch.device | str
) -> Tensor:
    """What the update reads on the device: float32 (η, λ, βλ). `write_options` changes it."""
    options = torch.empty(3, dtype=torch.float32, device=device)
    write_options(options, lr, lam, beta)
    return options


def write_options(options: Tensor, lr: float | Tensor, lam: float, beta: float) -> None:
    """Put other numbers into `options` without waiting for the device; `lr` may lie on it."""
    # βλ is formed in double precision, then rounded.
    for place, number in zip(options, (lr, lam, beta * lam), strict=True):
        if isinstance(number, Tensor):
            place.copy_(number.reshape(()), non_blocking=True)
        else:
            place.fill_(number)


def fused_update_plain(
    theta: Tensor,
    dY: Tensor,
    X: Tensor,
    options: Tensor,
    *,
    copy: Tensor | None = None,
    counts: Tensor | None = None,
) -> None:
    """Plain twin of `fused_update`, with the whole gradient in memory."""
    lr, lam, threshold = options
    gradient = dY.float().t() @ X.float()
    moved = theta - lr * (gradient + lam * torch.sign(theta))
    theta.copy_(torch.where(moved.abs() < threshold, 0.0, moved))
    if copy is not None:
        copy.copy_(theta)
    if counts is not None:
        counts.copy_((theta != 0).sum(dim=1))


def fused_update(
    theta: Tensor,
    dY: Tensor,
    X: Tensor,
    options: Tensor,
    *,
    copy: Tensor | None = None,
    counts: Tensor | None = None,
) -> None:
    """One step of Algorithm 1 on `theta`, in place, with the gradient dYᵀ·X.

    Args:
        theta: float32 (out, in), contiguous: the weights.
        dY: (N, out), bfloat16 or float32, any strides: gradient of the layer's outputs.
        X: (N, in), like `dY`: inputs of the layer.
        options: float32 (3,) on the device: η, λ and βλ, as `update_options` makes it.
        copy: bfloat16 (out, in), contiguous: becomes `theta`, rounded to the nearest.
        counts: int32 (out,): becomes the number of non-zeros of each row.

    Float32 inputs are multiplied as `torch.set_float32_matmul_precision` says. The first call with
    new shapes tries a few tile sizes, for which it takes a copy of `theta`, and waits for the
    device: let it come before a CUDA graph is captured.

    Raises InvalidArgument: a shape, a dtype, strides or a device is not as said here.
    """
    (samples, units), inputs = _checked(theta, dY, X, options, copy, counts)
    if counts is not None:
        counts.zero_()
    if units == 0 or inputs == 0:
        return

    def grid(meta: dict[str, int]) -> tuple[int]:
        tiles = triton.cdiv(units, meta["BLOCK_UNITS"]) * triton.cdiv(inputs, meta["BLOCK_INPUTS"])
        return (tiles,)

    with on_device_of(theta):
        _launch(
            grid,
            # Without a copy or counts their pointers are never followed.
            *(theta, theta if copy is None else copy, theta if counts is None else counts),
            *(dY, X, options, units, inputs, samples),
            *(dY.stride(0), dY.stride(1), X.stride(0), X.stride(1)),
            HAS_COPY=copy is not None,
            HAS_COUNTS=counts is not None,
            PRECISION="ieee" if torch.get_float32_matmul_precision() == "highest" else "tf32",
        )


@kernel
def _fused_update(
    theta: tl.tensor,
    copy: tl.tensor,
    counts: tl.tensor,
    dY: tl.tensor,
    X: tl.tensor,
    options: tl.tensor,
    units: tl.tensor,
    inputs: tl.tensor,
    samples: tl.tensor,
    dY_sample: tl.tensor,
    dY_unit: tl.tensor,
    X_sample: tl.tensor,
    X_input: tl.tensor,
    HAS_COPY: tl.constexpr,
    HAS_COUNTS: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_UNITS: tl.constexpr,
    BLOCK_INPUTS: tl.constexpr,
    BLOCK_SAMPLES: tl.constexpr,
    GROUP: tl.constexpr,
) -> None:
    row, column = tl.swizzle2d(
        tl.program_id(0) // tl.cdiv(inputs, BLOCK_INPUTS),
        tl.program_id(0) % tl.cdiv(inputs, BLOCK_INPUTS),
        tl.cdiv(units, BLOCK_UNITS),
        tl.cdiv(inputs, BLOCK_INPUTS),
        GROUP,
    )
    unit = row * BLOCK_UNITS + tl.arange(0, BLOCK_UNITS)
    input = column * BLOCK_INPUTS + tl.arange(0, BLOCK_INPUTS)
    sample = tl.arange(0, BLOCK_SAMPLES)
    # In 64 bits: a layer may have more than 2³¹ weights.
    left = dY + unit.to(tl.int64)[:, None] * dY_unit + sample[None, :] * dY_sample
    right = X + input.to(tl.int64)[None, :] * X_input + sample[:, None] * X_sample
    gradient = tl.zeros((BLOCK_UNITS, BLOCK_INPUTS), dtype=tl.float32)
    for start in range(0, samples, BLOCK_SAMPLES):
        there = start + sample < samples
        slopes = tl.load(left, mask=(unit < units)[:, None] & there[None, :], other=0.0)
        values = tl.load(right, mask=(input < inputs)[None, :] & there[:, None], other=0.0)
        gradient = add_product(gradient, slopes, values, PRECISION)
        left += BLOCK_SAMPLES * dY_sample
        right += BLOCK_SAMPLES * X_sample

    # One half after the other: with all of θ's tile in registers, only one program would fit on a
    # multiprocessor, whose memory would then wait while it multiplies.
    half: tl.constexpr = BLOCK_INPUTS // 2
    halves = tl.permute(tl.reshape(gradient, (BLOCK_UNITS, 2, half)), (0, 2, 1))
    first, second = tl.split(halves)
    input = column * BLOCK_INPUTS + tl.arange(0, half)
    _move(theta, copy, counts, first, options, unit, input, units, inputs, HAS_COPY, HAS_COUNTS)
    input += half
    _move(theta, copy, counts, second, options, unit, input, units, inputs, HAS_COPY, HAS_COUNTS)


@kernel
def _move(
    theta: tl.tensor,
    copy: tl.tensor,
    counts: tl.tensor,
    gradient: tl.tensor,
    options: tl.tensor,
    unit: tl.tensor,
    input: tl.tensor,
    units: tl.tensor,
    inputs: tl.tensor,
    HAS_COPY: tl.constexpr,
    HAS_COUNTS: tl.constexpr,
) -> None:
    """Update the weights at `unit` × `input` by their `gradient`."""
    place = unit.to(tl.int64)[:, None] * inputs + input[None, :]
    inside = (unit < units)[:, None] & (input < inputs)[None, :]
    # Weights pass through once: they must not push X and dY out of the L2 cache.
    weight = tl.load(theta + place, mask=inside, other=0.0, eviction_policy="evict_first")
    lr, lam, threshold = tl.load(options), tl.load(options + 1), tl.load(options + 2)
    moved = beta_lasso(weight, gradient, lr, lam, threshold)
    tl.store(theta + place, moved, mask=inside, eviction_policy="evict_first")
    if HAS_COPY:
        nearest = rounded(moved, tl.bfloat16)
        tl.store(copy + place, nearest, mask=inside, eviction_policy="evict_first")
    if HAS_COUNTS:
        alive = tl.sum(((moved != 0) & inside).to(tl.int32), axis=1)
        # Whole numbers: the order of the additions does not matter.
        tl.atomic_add(counts + unit, alive, mask=unit < units, sem="relaxed")


# (units, inputs) of a tile, warps, and the registers a thread may have. From 64 units and 4 warps
# on, Hopper multiplies by warp groups; the registers let two or more programs share one of its
# multiprocessors, so that one moves weights while another multiplies.
_TILES = (
    ((128, 128), 8, 128),
    ((64, 128), 4, 168),
    ((128, 64), 4, 168),
    ((64, 64), 4, None),
)


def _configurations() -> list[Any]:
    return [
        triton.Config(
            {
                "BLOCK_UNITS": units,
                "BLOCK_INPUTS": inputs,
                "BLOCK_SAMPLES": _SAMPLES,
                "GROUP": _GROUP,
            },
            num_warps=warps,
            num_stages=3,
            maxnreg=registers,
        )
        for (units, inputs), warps, registers in _TILES
    ]


def _tuned() -> Any:
    return triton.autotune(
        _configurations(),
        key=["units", "inputs", "samples"],
        restore_value=["theta", "copy", "counts"],
    )(_fused_update)


_TUNED = None if INTERPRETED.value else _tuned()


def _launch(grid: Any, *arguments: Any, **options: Any) -> None:
    if _TUNED is None:
        # Small, so that tests of small layers meet several tiles of both kinds.
        blocks = {"BLOCK_UNITS": 16, "BLOCK_INPUTS": 32, "BLOCK_SAMPLES": 16, "GROUP": 2}
        _fused_update[grid](*arguments, **options, **blocks)
    else:
        # No contraction into fused multiply-adds. Products on tensor cores are not touched by it.
        _TUNED[grid](*arguments, **options, enable_fp_fusion=False)


def _checked(
    theta: Tensor,
    dY: Tensor,
    X: Tensor,
    options: Tensor,
    copy: Tensor | None,
    counts: Tensor | None,
) -> tuple[tuple[int, int], int]:
    """((N, out), in), after checking every argument of `fused_update`."""
    if dY.ndim != 2 or X.ndim != 2:
        raise InvalidArgument(
            f"dY {tuple(dY.shape)} and X {tuple(X.shape)}: give (N, out) and (N, in)"
        )
    (samples, units), inputs = dY.shape, X.shape[1]
    check_tensor("theta", theta, (torch.float32,), (units, inputs))
    check_tensor("dY", dY, (torch.bfloat16, torch.float32), (samples, units))
    check_tensor("X", X, (dY.dtype,), (samples, inputs))
    check_tensor("options", options, (torch.float32,), (3,))
    if copy is not None:
        check_tensor("copy", copy, (torch.bfloat16,), (units, inputs))
    if counts is not None:
        check_tensor("counts", counts, (torch.int32,), (units,))
    written = {"theta": theta, "copy": copy, "counts": counts, "options": options}
    for name, tensor in written.items():
        if tensor is not None and not tensor.is_contiguous():
            raise InvalidArgument(f"{name} has strides {tensor.stride()}: it must be contiguous")
    check_on_one_device({**written, "dY": dY, "X": X})
    return (samples, units), inputs
