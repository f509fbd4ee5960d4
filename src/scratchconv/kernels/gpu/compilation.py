"""How kernels are compiled, and what they share: rounding, products, the β-LASSO update."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from scratchconv.errors import InvalidArgument


def kernel(function: Any) -> Any:
    """Compile `function` for the GPU at its first launch, or interpret it on the CPU."""
    return triton.jit(function)


@kernel
def beta_lasso(
    weight: tl.tensor, gradient: tl.tensor, lr: tl.tensor, lam: tl.tensor, threshold: tl.tensor
) -> tl.tensor:
    """One step of Algorithm 1 (Neyshabur 2020); NaN is below nothing, so it stays NaN."""
    shrink = tl.where(weight > 0, lam, tl.where(weight < 0, -lam, 0.0))
    moved = weight - lr * (gradient + shrink)
    return tl.where(tl.abs(moved) < threshold, 0.0, moved)


INTERPRETED = tl.constexpr(not isinstance(beta_lasso, triton.JITFunction))


@kernel
def rounded(value: tl.tensor, dtype: tl.constexpr) -> tl.tensor:
    """float32 to `dtype`, to the nearest with ties to even."""
    # The interpreter cuts off what does not fit into bfloat16, where a GPU rounds.
    if INTERPRETED and dtype == tl.bfloat16:
        bits = value.to(tl.uint32, bitcast=True)
        nearest = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        nearest = tl.where(value == value, nearest, 0x7FC0)
        return nearest.to(tl.uint16).to(tl.bfloat16, bitcast=True)
    return value.to(dtype)


@kernel
def add_product(
    total: tl.tensor, left: tl.tensor, right: tl.tensor, precision: tl.constexpr
) -> tl.tensor:
    """`total` + `left` @ `right`, summed in float32."""
    # The interpreter multiplies the bit patterns of bfloat16. Widening loses nothing.
    if INTERPRETED:
        left = left.to(tl.float32)
        right = right.to(tl.float32)
    return tl.dot(left, right, total, input_precision=precision)


def on_device_of(tensor: Tensor) -> AbstractContextManager[object]:
    """Inside, kernels are launched on the device of `tensor`, which need not be the current one."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()


def check_on_one_device(tensors: dict[str, Tensor | None]) -> None:
    """Raise `InvalidArgument` where a tensor is not where these kernels run, beside the others."""
    wanted = "cpu" if INTERPRETED.value else "cuda"
    given = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    devices = {name: tensor.device for name, tensor in given.items()}
    if len(set(devices.values())) != 1 or next(iter(devices.values())).type != wanted:
        listed = ", ".join(f"{name} on {device}" for name, device in devices.items())
        raise InvalidArgument(
            f"{listed}: these kernels need all tensors on one {wanted} device"
            " (elsewhere use the plain twins)"
        )


def check_tensor(
    name: str, tensor: Tensor, dtypes: tuple[torch.dtype, ...], shape: tuple[int, ...]
) -> None:
    """Raise `InvalidArgument` where `tensor` is not of one of `dtypes`, or not of `shape`."""
    if tensor.dtype not in dtypes or tuple(tensor.shape) != shape:
        kinds = " or ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
        raise InvalidArgument(
            f"{name} is {str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}:"
            f" give {kinds} {shape}"
        )
