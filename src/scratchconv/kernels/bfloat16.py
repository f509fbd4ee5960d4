"""bfloat16 in kernels: numba has no such type, so arrays hold the uint16 bit patterns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from scratchconv.kernels.compilation import compiled_inline


@compiled_inline
def widened(bits: np.uint16) -> np.float32:
    """The float32 that a bfloat16 bit pattern stands for."""
    wide: np.float32 = np.uint32(np.uint32(bits) << np.uint32(16)).view(np.float32)
    return wide


@compiled_inline
def rounded(value: np.float32) -> np.uint16:
    """The bit pattern of the bfloat16 nearest to a float32, ties to even; NaN stays NaN."""
    bits: np.uint32 = np.float32(value).view(np.uint32)
    odd = np.uint32(bits >> np.uint32(16)) & np.uint32(1)
    nearest: np.uint32 = np.uint32(bits + np.uint32(0x7FFF) + odd) >> np.uint32(16)
    bit_pattern: np.uint16 = np.uint16(0x7FC0) if value != value else np.uint16(nearest)
    return bit_pattern


def read(rows: Any, row: int, place: int) -> Any:
    """In kernels: `rows[row, place]` as float32; `rows` holds float32 or bfloat16 patterns."""
    raise NotImplementedError("for compiled kernels only")


@overload(read, strict=False)
def _read(rows: Any, row: Any, place: Any) -> Callable[..., Any]:
    if rows.dtype == types.uint16:
        return lambda rows, row, place: widened(rows[row, place])
    return lambda rows, row, place: rows[row, place]


def write(rows: Any, row: int, place: int, value: Any) -> None:
    """In kernels: `rows[row, place] = value`, rounded to what `rows` holds."""
    raise NotImplementedError("for compiled kernels only")


@overload(write, strict=False)
def _write(rows: Any, row: Any, place: Any, value: Any) -> Callable[..., Any]:
    if rows.dtype == types.uint16:

        def store(rows: Any, row: Any, place: Any, value: Any) -> None:
            rows[row, place] = rounded(value)
    else:

        def store(rows: Any, row: Any, place: Any, value: Any) -> None:
            rows[row, place] = value

    return store
