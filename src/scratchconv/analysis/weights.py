"""The weights of a module: its `weight`, and what it has beside it or in its place."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList, is_parametrized

from scratchconv.optim.groups import is_weight
from scratchconv.sparse import SparseLinear

# What pruning and weight_norm call a parameter that a weight is computed from, by its ending.
_COMPUTED_FROM = ("_orig", "_v", "_g")


def has_weight(module: nn.Module) -> bool:
    """Whether the module's own `weight` has two or more dimensions."""
    if isinstance(module, SparseLinear):  # to look at its dense weight would be to make one
        return True
    weight = getattr(module, "weight", None)
    return isinstance(weight, Tensor) and weight.ndim >= 2


def other_weights(module: nn.Module) -> dict[str, Tensor]:
    """The weights that attention, recurrent and unknown layers have under other names, by these.

    One that is computed from other parameters (pruning, weight_norm) is what comes out of them.
    """
    if isinstance(module, ParametrizationList):
        return {}
    names = [name for name, _ in module.named_parameters(recurse=False)]
    if is_parametrized(module):
        names += list(module.parametrizations)  # type: ignore[arg-type]
    found = {}
    for name in names:
        for ending in _COMPUTED_FROM:
            base = name.removesuffix(ending)
            if base != name and isinstance(getattr(module, base, None), Tensor):
                name = base
        weight = getattr(module, name)
        if is_weight(module, name, weight) and not (name == "weight" and has_weight(module)):
            found[name] = weight
    return found
