"""What every optimizer here asks of its options and of the gradients it is given."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from scratchconv.errors import InvalidArgument


def nonnegative(name: str, value: float | Tensor) -> None:
    """Raise InvalidArgument unless `value` is one finite number, zero or more."""
    if isinstance(value, Tensor) and value.numel() != 1:
        raise InvalidArgument(
            f"{name} must be one number, not a tensor of shape {tuple(value.shape)}"
        )
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise InvalidArgument(f"{name} must be a number, not {value!r}") from None
    if not (math.isfinite(number) and number >= 0):
        raise InvalidArgument(f"{name} must be finite and at least 0, not {number:g}")


def group_options(group: dict[str, Any], names: tuple[str, ...]) -> None:
    """Check the options `names` of a parameter group and the dtypes of its parameters."""
    for name in names:
        nonnegative(name, group[name])
    for parameter in group["params"]:
        if not parameter.is_floating_point():
            raise InvalidArgument(
                f"a parameter of dtype {parameter.dtype} cannot be regularised towards zero: "
                "use real floating point parameters"
            )


def with_gradients(parameters: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """The parameters that have a gradient, and these gradients; raises on a sparse gradient."""
    chosen = [parameter for parameter in parameters if parameter.grad is not None]
    gradients = [parameter.grad for parameter in chosen if parameter.grad is not None]
    for parameter, gradient in zip(chosen, gradients, strict=True):
        if gradient.layout != torch.strided:
            raise InvalidArgument(
                f"a parameter of shape {tuple(parameter.shape)} has a gradient of layout "
                f"{gradient.layout}: every weight shrinks at every step, so gradients must be "
                "dense (for torch.nn.Embedding, sparse=False)"
            )
    return chosen, gradients


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype an update is computed in: float64 for float64 parameters, else float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32
