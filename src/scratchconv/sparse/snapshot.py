"""The dense weight of a compressed layer, to be read: what would change it is refused.

The layer goes on with its non-zeros and would know nothing of a change, nor of a gradient that
reaches this copy past the layer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from scratchconv.errors import InvalidArgument

# The remedy for what a plain layer can do, and a sparse one cannot.
MAKE_DENSE = "call to_dense() of what sparsify or fix_connections returned first"


def snapshot(values: nn.Parameter, dense: Callable[[], Tensor]) -> Tensor:
    """What `dense` makes, computed from `values` as far as autograd knows."""
    made: Tensor = _Reading.apply(values, dense)  # type: ignore[no-untyped-call]
    return made.as_subclass(Snapshot)


class Snapshot(Tensor):
    """A tensor that cannot be changed, and neither can its views; what is computed from it can."""

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        first = next(iter((*args, *kwargs.values())), None)
        if isinstance(first if _writes(func.__name__) else kwargs.get("out"), Snapshot):
            raise InvalidArgument(
                f"{func.__name__} on the weight of a compressed layer would change a copy: call"
                " decompress() of the layer first and compress() of it then, or load weights by"
                " load_state_dict"
            )
        with torch._C.DisableTorchFunctionSubclass():
            result = func(*args, **kwargs)
            if isinstance(result, Tensor) and any(
                isinstance(arg, Snapshot) and result.data_ptr() == arg.data_ptr() for arg in args
            ):
                return result.as_subclass(Snapshot)
        return result

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        return self.detach().clone()

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.detach().clone().__reduce_ex__(protocol)  # stored, it is a tensor as any


def _writes(name: str) -> bool:
    if name.startswith("__"):
        changing = name.startswith("__i") and name not in ("__int__", "__index__", "__invert__")
        return changing or name in ("__set__", "__setitem__")
    return name.endswith("_")


class _Reading(torch.autograd.Function):
    """The dense weight, whose gradient nobody would take."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, dense: Callable[[], Tensor]) -> Tensor:
        return dense()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, ...]:
        raise InvalidArgument(
            "a gradient reached the weight of a compressed layer past the layer (a penalty on it,"
            " or another use in the forward pass), where it would be lost: regularise by λ, fixed"
            f" connections by a penalty on layer.values, or {MAKE_DENSE}"
        )
