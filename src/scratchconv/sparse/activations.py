"""Feature-major activations: (features, samples), one contiguous row of samples a feature.

A layer hands on the transpose of that memory, a tensor of the usual shape (samples, features), so
that any module can follow, and the next sparse layer finds its rows without moving anything.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scratchconv.errors import InvalidArgument


def storage_dtype(weight: Tensor) -> torch.dtype:
    """What activations are stored in now: bfloat16 under an autocast to it, else float32.

    Raises InvalidArgument under an autocast to anything else.
    """
    device = weight.device.type
    if not torch.is_autocast_enabled(device):
        return torch.float32
    dtype = torch.get_autocast_dtype(device)
    if dtype != torch.bfloat16:
        raise InvalidArgument(
            f"autocast to {dtype}: sparse layers compute in float32 or bfloat16; use"
            f' torch.autocast("{device}", torch.bfloat16)'
        )
    return dtype


def feature_major(rows: Tensor, dtype: torch.dtype) -> Tensor:
    """(samples, features) -> contiguous (features, samples) of `dtype`, a view where it can be."""
    # In that order: converting while transposing takes three times as long.
    return rows.to(dtype).t().contiguous()


def numbers(rows: Tensor) -> NDArray[Any]:
    """The memory of a tensor for the kernels: float32, or the bit patterns of bfloat16."""
    if rows.dtype == torch.bfloat16:
        rows = rows.view(torch.uint16)
    array: NDArray[Any] = rows.detach().numpy()
    return array


# Larger tiles leave the cache, smaller ones spend their time on starting threads.
_TILE = 3 << 20


def tiles(rows: int, columns: int) -> list[slice]:
    """Cuts of a matrix into tiles of whole rows, each of about as many numbers as serves best."""
    height = max(1, _TILE // max(1, columns))
    return [slice(first, min(first + height, rows)) for first in range(0, rows, height)]


def no_rows(dtype: torch.dtype) -> NDArray[Any]:
    """What kernels take for an array that is not wanted."""
    return np.empty((0, 0), np.uint16 if dtype == torch.bfloat16 else np.float32)
