"""The weights of a network as one vector w ∈ ℝ_bⁿ: which tensors it holds, rounded to b bits."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.prune import is_pruned

from scratchconv.errors import InvalidArgument
from scratchconv.nn import LocallyConnected2d

FEWEST_BITS, MOST_BITS = 9, 32
_CHUNK = 2**22
"""Weights rounded at a time, so that a large layer needs little memory beside itself."""


@dataclass(frozen=True, eq=False)
class WeightVector:
    """w ∈ ℝ_bⁿ, held by its non-zeros.

    ℝ_b are the first b bits of IEEE float32: a sign, eight bits of exponent, b − 9 of fraction. So
    b = 32 is float32 and b = 16 is bfloat16. It is fixed before any data is seen. The theorem has
    |ℝ_b| = 2^b; the patterns of −0, infinity and NaN belong to that count, but no weight is one.

    n: length of w, zeros included.
    b: bits of a weight, 9 to 32.
    positions: int64 (‖w‖₀,), ascending, in [0, n).
    patterns: uint32 (‖w‖₀,), the b bits of each non-zero weight as an integer.

    Raises InvalidArgument if these do not fit together.
    """

    n: int
    b: int
    positions: NDArray[np.int64]
    patterns: NDArray[np.uint32]

    def __post_init__(self) -> None:
        check_bits(self.b)
        positions = self.positions
        if not 0 <= self.n < 2**63:
            raise InvalidArgument(f"n is {self.n}: it must be in [0, 2^63)")
        if positions.dtype != np.int64 or self.patterns.dtype != np.uint32:
            raise InvalidArgument(
                f"positions are {positions.dtype} and patterns {self.patterns.dtype}: give int64"
                " and uint32"
            )
        if positions.ndim != 1 or positions.shape != self.patterns.shape:
            raise InvalidArgument(
                f"positions have shape {positions.shape} and patterns {self.patterns.shape}: give"
                " one row of each, of the same length"
            )
        if (problem := position_problem(positions, self.n)) is not None:
            raise InvalidArgument(f"positions {problem}")
        if (problem := pattern_problem(self.patterns, self.b)) is not None:
            raise InvalidArgument(f"patterns {problem}")

    @property
    def nonzero(self) -> int:
        """‖w‖₀."""
        return self.positions.size

    def values(self) -> NDArray[np.float32]:
        """The non-zero weights, float32 (‖w‖₀,), exactly."""
        return values_of(self.patterns, self.b)

    def dense(self) -> NDArray[np.float32]:
        """w itself, float32 (n,), exactly."""
        weights = np.zeros(self.n, np.float32)
        weights[self.positions] = self.values()
        return weights


def check_bits(b: int) -> None:
    if isinstance(b, bool) or not isinstance(b, int) or not FEWEST_BITS <= b <= MOST_BITS:
        raise InvalidArgument(
            f"b is {b!r}: give the bits of a weight, from {FEWEST_BITS} (sign and exponent alone)"
            f" to {MOST_BITS} (float32); 16 is bfloat16"
        )


def position_problem(positions: NDArray[np.int64], n: int) -> str | None:
    """What is wrong with the positions of the non-zeros, if anything is."""
    if not positions.size:
        return None
    if (positions[1:] <= positions[:-1]).any():
        return "do not ascend"
    if positions[0] < 0 or positions[-1] >= n:
        return f"reach from {positions[0]} to {positions[-1]}, which is not within [0, {n})"
    return None


def pattern_problem(patterns: NDArray[np.uint32], b: int) -> str | None:
    """What is wrong with the b-bit patterns of non-zero weights, if anything is."""
    if (patterns.astype(np.uint64) >> np.uint64(b)).any():
        return f"do not fit in {b} bits"
    magnitudes = patterns & np.uint32(2 ** (b - 1) - 1)
    if not magnitudes.all():
        return "hold zero, or −0, as a weight that is not zero"
    if (magnitudes >= np.uint32(0xFF << (b - FEWEST_BITS))).any():
        return "hold a weight that is NaN or infinite"
    return None


def values_of(patterns: NDArray[np.uint32], b: int) -> NDArray[np.float32]:
    """The numbers that b-bit patterns stand for."""
    whole = patterns << np.uint32(MOST_BITS - b)
    return np.asarray(whole.view(np.float32), np.float32)


def rounded_patterns(values: NDArray[np.float32], b: int) -> NDArray[np.uint32]:
    """The b bits of the element of ℝ_b nearest to each finite value, the even one of two as near.

    At 9 bits, where no significand is even, that is the larger one (IEEE 754-2019, §4.3.1). A value
    too large for b bits becomes the pattern of infinity.
    """
    patterns = values.view(np.uint32)
    dropped = MOST_BITS - b
    if not dropped:
        return patterns
    kept = patterns >> np.uint32(dropped)
    lowest_kept = kept & np.uint32(1)
    if b == FEWEST_BITS:  # sign and exponent: below the smallest power of two, 0 is even
        lowest_kept = (kept & np.uint32(0xFF) != 0).astype(np.uint32)
    # A carry out of the fraction raises the exponent: just what rounding up to a power of two is.
    half = np.uint32(2 ** (dropped - 1) - 1)
    return np.asarray((patterns + half + lowest_kept) >> np.uint32(dropped), np.uint32)


def rounded_plain(values: NDArray[np.float32], b: int) -> NDArray[np.float64]:
    """Plain twin of `rounded_patterns`: the nearest multiple of the spacing that ℝ_b has there."""
    wide = values.astype(np.float64)
    exponent = np.frexp(wide)[1] - 1  # 2^exponent ≤ |value| < 2^(exponent + 1)
    spacing = np.ldexp(1.0, np.maximum(exponent, -126) - (b - FEWEST_BITS))
    return np.asarray(np.rint(wide / spacing) * spacing, np.float64)


@dataclass(frozen=True)
class DescribedTensor:
    """A tensor of a network and where it lies in w: row by row from `start` on."""

    name: str
    shape: tuple[int, ...]
    start: int

    @property
    def size(self) -> int:
        return math.prod(self.shape)


def described_tensors(
    model: nn.Module, *, weights_only: bool = False
) -> tuple[DescribedTensor, ...]:
    """What w is made of, in the order of the state dict; values are not looked at.

    All floating tensors of the state dict: the outputs in evaluation mode depend on all of them,
    the running statistics of a BatchNorm included. `num_batches_tracked` does not matter there and
    is left out. A tensor with two names counts once. With `weights_only`, only what the published
    counts of parameters count: tensors of two or more dimensions that are no biases.

    Raises InvalidArgument: the model holds a state that is not made of real floating numbers.
    """
    tensors: list[DescribedTensor] = []
    start = 0
    for name, tensor in _state(model, weights_only):
        tensors.append(DescribedTensor(name, tuple(tensor.shape), start))
        start += tensor.numel()
    return tuple(tensors)


def weight_vector(model: nn.Module, *, b: int, weights_only: bool = False) -> WeightVector:
    """The tensors of `described_tensors` as one vector, each weight rounded to b bits.

    float64 is rounded to float32 first. A weight that rounds to zero is one. Weights of a
    `LocallyConnected2d` that only see padding never matter: they are taken as zero, but n counts
    them, as published counts do.

    Raises InvalidArgument: b is not in 9…32, or the model holds a weight that is not finite in b
    bits, or none that can be read.
    """
    check_bits(b)
    supports = {
        f"{name}.weight" if name else "weight": module
        for name, module in model.named_modules()
        if isinstance(module, LocallyConnected2d)
    }
    positions: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
    patterns: list[NDArray[np.uint32]] = [np.empty(0, np.uint32)]
    start = 0
    for name, tensor in _state(model, weights_only):
        if tensor.is_meta:
            raise InvalidArgument(f"{name!r} is on the meta device: it has no values to describe")
        if name in supports:
            tensor = tensor.masked_fill(~supports[name].support(), 0)
        flat = tensor.reshape(-1)
        for begin in range(0, flat.numel(), _CHUNK):
            chunk = flat[begin : begin + _CHUNK].to("cpu", torch.float32).numpy()
            where, bits = _nonzeros(name, chunk, b)
            positions.append(where + (start + begin))
            patterns.append(bits)
        start += flat.numel()
    return WeightVector(start, b, np.concatenate(positions), np.concatenate(patterns))


def tensors_of(vector: WeightVector, tensors: tuple[DescribedTensor, ...]) -> dict[str, Tensor]:
    """w cut into the tensors that it is made of: float32, by name."""
    total = sum(tensor.size for tensor in tensors)
    if total != vector.n:
        raise InvalidArgument(f"w has {vector.n} weights, but the network has {total}")
    found: dict[str, Tensor] = {}
    for tensor in tensors:
        begin, end = np.searchsorted(vector.positions, [tensor.start, tensor.start + tensor.size])
        weights = np.zeros(tensor.size, np.float32)
        weights[vector.positions[begin:end] - tensor.start] = values_of(
            vector.patterns[begin:end], vector.b
        )
        found[tensor.name] = torch.from_numpy(weights.reshape(tensor.shape))
    return found


def _nonzeros(
    name: str, chunk: NDArray[np.float32], b: int
) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
    """Where the weights that b bits do not round to zero lie, and their patterns."""
    where = np.flatnonzero(chunk).astype(np.int64, copy=False)
    values = chunk[where]
    if not np.isfinite(values).all():
        raise InvalidArgument(
            f"{name!r} has weights that are NaN, infinite or too large for float32: such a network"
            " has no description"
        )
    bits = rounded_patterns(values, b)
    kept = (bits & np.uint32(2 ** (b - 1) - 1)) != 0
    if not kept.all():
        where, bits = where[kept], bits[kept]
    if pattern_problem(bits, b) is not None:
        raise InvalidArgument(f"{name!r} has weights too large for {b} bits: use a larger b")
    return where, bits


def _state(model: nn.Module, weights_only: bool) -> Iterator[tuple[str, Tensor]]:
    """The tensors that are described, each once, by the first of its names."""
    if is_pruned(model):
        raise InvalidArgument(
            "the model is under torch.nn.utils.prune, so that its state holds weights and masks,"
            " not what they make: call prune.remove on its layers first"
        )
    state: dict[str, Any] = model.state_dict(keep_vars=True)
    seen: set[int] = set()
    for name, tensor in state.items():
        last = name.rpartition(".")[2]
        if last == "num_batches_tracked" or id(tensor) in seen:
            continue
        seen.add(id(tensor))
        if nn.parameter.is_lazy(tensor):
            raise InvalidArgument(f"{name!r} has no shape yet: run the model on a sample first")
        if not (isinstance(tensor, Tensor) and tensor.is_floating_point()):
            kind = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
            raise InvalidArgument(
                f"{name!r} is {kind}: only networks whose state is real floating numbers can be"
                " described (Linear, Conv2d, LocallyConnected2d, BatchNorm and the like)"
            )
        if tensor.layout != torch.strided:
            raise InvalidArgument(f"{name!r} is stored as {tensor.layout}: make it dense first")
        if not weights_only or (tensor.dim() >= 2 and "bias" not in last):
            yield name, tensor.detach()
