"""Which BatchNorm1d, ReLU and Dropout stand right behind a linear layer, to be computed with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import takewhile
from typing import NamedTuple

import torch
from torch import fx, nn

from scratchconv.models import Network


def followers(model: nn.Module) -> dict[nn.Linear, list[nn.Module]]:
    """For each linear layer the modules that its output, and only its output, goes through next.

    Found in `nn.Sequential`, in this package's networks, and where `torch.fx` can trace the model.
    Modules that are used in more than one place are left out, since they cannot belong to one.
    """
    uses = Counter(id(m) for _, m in model.named_modules(remove_duplicate=False))
    found: dict[nn.Linear, list[nn.Module]] = {}
    for first, *behind in _traced_chains(model):
        if type(first) is nn.Linear:
            # Called more than once: what is behind it every time.
            found[first] = _common(found[first], behind) if first in found else behind
    # A trace knows how a module is used; the order in a container only suggests it.
    for chain in _containers(model):
        for place, module in enumerate(chain):
            if type(module) is nn.Linear and module not in found:
                found[module] = chain[place + 1 :]
    for linear, behind in found.items():
        whole = uses[id(linear)] == 1 and not linear._forward_hooks and not linear._backward_hooks
        own = takewhile(lambda module: uses[id(module)] == 1 and not _watched(module), behind)
        found[linear] = list(own) if whole else []
    return found


def _common(one: list[nn.Module], other: list[nn.Module]) -> list[nn.Module]:
    pairs = takewhile(lambda pair: pair[0] is pair[1], zip(one, other, strict=False))
    return [module for module, _ in pairs]


def _watched(module: nn.Module) -> bool:
    """Whether hooks look at what goes in and out of `module`, and must go on seeing it."""
    return any(
        (
            module._forward_hooks,
            module._forward_pre_hooks,
            module._backward_hooks,
            module._backward_pre_hooks,
        )
    )


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
            yield list(module.children())


def _traced_chains(model: nn.Module) -> Iterator[list[nn.Module]]:
    try:
        graph = fx.Tracer().trace(model)
    except Exception:  # any code may stand in a forward pass; what cannot be traced is not fused
        return
    modules = dict(model.named_modules())
    calls = Counter(node.target for node in graph.nodes if node.op == "call_module")
    for node in graph.nodes:
        chain, times = [], calls[node.target]
        while node.op == "call_module" and calls[node.target] == times:
            chain.append(modules[str(node.target)])
            if len(node.users) != 1:
                break
            node = next(iter(node.users))
        if chain:
            yield chain
