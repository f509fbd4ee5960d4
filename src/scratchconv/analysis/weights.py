"""The weights of a module: its `weight`, and what it has beside it or in its place."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList

from scratchconv.optim.groups import is_weight
from scratchconv.sparse import SparseLinear


def has_weight(module: nn.Module) -> bool:
    """Whether the module's own `weight` has two or more dimensions."""
    if isinstance(module, SparseLinear):  # to look at its dense weight would be to make one
        return True
    weight = getattr(module, "weight", None)
    return isinstance(weight, Tensor) and weight.ndim >= 2


def other_weights(module: nn.Module) -> dict[str, nn.Parameter]:
    """The weights that attention, recurrent and unknown layers have under other names, by these.

    What a `weight` is computed from (pruning, weight_norm) is not among them.
    """
    if isinstance(module, ParametrizationList):
        return {}
    computed = has_weight(module)
    return {
        name: parameter
        for name, parameter in module.named_parameters(recurse=False)
        if is_weight(module, name, parameter)
        and not (computed and name.partition("_")[0] == "weight")
    }
