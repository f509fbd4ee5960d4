"""Which BatchNorm1d, ReLU and Dropout stand right behind a linear layer, to be computed with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import pairwise, takewhile
from typing import NamedTuple

import torch
from torch import nn

from scratchconv.models import Network, modules_in_order
from scratchconv.sparse.tracing import Trace, watched, works_in_place


def followers(model: nn.Module, traced: list[Trace]) -> dict[nn.Linear, list[nn.Module]]:
    """For each linear layer the modules that its output, and only its output, goes through next.

    Found in `nn.Sequential`, in this package's networks, and where `torch.fx` can trace the model.
    Modules that are used in more than one place are left out, since they cannot belong to one.
    """
    uses = Counter(id(m) for _, m in model.named_modules(remove_duplicate=False))
    found: dict[nn.Linear, list[nn.Module]] = {}
    for first, *behind in (chain for trace in traced for chain in trace.chains):
        if type(first) is nn.Linear:
            # Called more than once, or in training and evaluation: what is behind it every time.
            found[first] = _common(found[first], behind) if first in found else behind
    # A trace knows how a module is used; the order in a container only suggests it.
    for chain in _containers(model):
        for place, module in enumerate(chain):
            if type(module) is nn.Linear and module not in found:
                found[module] = _until_overwritten(chain[place + 1 :])
    for linear, behind in found.items():
        # A hook before the forward pass sees what it saw; all others see what comes out.
        seen = linear._forward_hooks or linear._backward_hooks or linear._backward_pre_hooks
        whole = uses[id(linear)] == 1 and not seen
        own = takewhile(partial(_only_behind, linear, uses, traced), behind)
        found[linear] = list(own) if whole else []
    return found


def _only_behind(
    linear: nn.Linear, uses: Counter[int], traced: list[Trace], module: nn.Module
) -> bool:
    """Whether `module`, found behind `linear`, stands nowhere else, and nobody looks at it."""
    # In evaluation, say, it may be called without the layer.
    together = all(trace.calls[module] == trace.calls[linear] for trace in traced)
    return uses[id(module)] == 1 and not watched(module) and together


def _common(one: list[nn.Module], other: list[nn.Module]) -> list[nn.Module]:
    pairs = takewhile(lambda pair: pair[0] is pair[1], zip(one, other, strict=False))
    return [module for module, _ in pairs]


def _until_overwritten(behind: list[nn.Module]) -> list[nn.Module]:
    """`behind` without a Dropout whose output the next module overwrites, and without the rest.

    A layer that does the work of a Dropout reads its outputs again in the backward pass.
    """
    for place, (module, user) in enumerate(pairwise(behind)):
        if type(module) is nn.Dropout and works_in_place(user):
            return behind[:place]
    return behind


class Followers(NamedTuple):
    """Modules behind a linear layer, in their order; None where there is none."""

    batch_norm: nn.BatchNorm1d | None = None
    relu: nn.ReLU | None = None
    dropout: nn.Dropout | None = None


def absorbable(linear: nn.Linear, behind: list[nn.Module]) -> Followers:
    """What a layer can do the work of, of the modules behind it: a Dropout behind a ReLU only."""
    norm = relu = dropout = None
    if behind and _usual(behind[0], linear.out_features):
        norm, behind = behind[0], behind[1:]
    if behind and type(behind[0]) is nn.ReLU:
        relu, behind = behind[0], behind[1:]
    if relu is not None and behind and type(behind[0]) is nn.Dropout:
        dropout = behind[0]
    assert norm is None or isinstance(norm, nn.BatchNorm1d)
    return Followers(norm, relu, dropout)


def _usual(module: nn.Module, units: int) -> bool:
    return (
        type(module) is nn.BatchNorm1d
        and module.num_features == units
        and module.affine
        and module.weight.dtype == torch.float32
        and module.track_running_stats
        and module.momentum is not None
    )


def _containers(model: nn.Module) -> Iterator[list[nn.Module]]:
    for module in model.modules():
        if type(module) is nn.Sequential or isinstance(module, Network):
            yield [child for _, child in modules_in_order(module)]
