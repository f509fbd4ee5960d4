"""How a model uses its modules, found by `torch.fx`, in training and in evaluation."""

from __future__ import annotations

import copy
import operator
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import fx, nn

from scratchconv.sparse.linear import SparseLinear

# What `h += x` and the like call. To torch.fx they are `h = h + x`, unless its proxies have them.
_IN_PLACE = [
    getattr(operator, f"i{name}")
    for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and", "or", "xor")
]

# What may be asked of a weight without a gradient reaching it.
_DESCRIPTIONS = {"device", "dtype", "shape", "ndim", "size", "dim", "numel", "detach", "data"}


class Trace(NamedTuple):
    """One forward pass.

    chains: for each call of a module, that module and those that its output, and only its output,
        goes through next.
    calls: how often each module was called.
    read: the parameters that were used by other code than their module's.
    """

    chains: list[list[nn.Module]]
    calls: Counter[nn.Module]
    read: set[nn.Parameter]


def traces(model: nn.Module) -> list[Trace]:
    """A trace in training and one in evaluation; none at all where either cannot be had."""
    if isinstance(model, torch._dynamo.OptimizedModule):
        model = model._orig_mod
    # A forward pass may keep what it computes, so a copy is traced. It is only looked at, and can
    # do with the model's own weights.
    forms = [m.form for m in model.modules() if isinstance(m, SparseLinear)]
    shared = [*model.parameters(), *forms]
    try:
        copied = copy.deepcopy(model, {id(part): part for part in shared})
        return [_trace(copied.train(training), model) for training in (True, False)]
    except Exception:  # any code may stand in a forward pass; what cannot be traced is not fused
        return []


def watched(module: nn.Module) -> bool:
    """Whether hooks look at what goes in and out of `module`, and must go on seeing it."""
    return any(
        (
            module._forward_hooks,
            module._forward_pre_hooks,
            module._backward_hooks,
            module._backward_pre_hooks,
        )
    )


class _Proxy(fx.Proxy):
    """A proxy that tells in-place operators from the others."""


def _in_place_operator(function: Any) -> Any:
    def apply(self: fx.Proxy, other: Any) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", function, (self, other), {})

    return apply


for _function in _IN_PLACE:
    setattr(_Proxy, f"__{_function.__name__.rstrip('_')}__", _in_place_operator(_function))


class _Tracer(fx.Tracer):
    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        # Hooks would be called with proxies, and might keep them.
        leaf = isinstance(m, SparseLinear) or watched(m)
        return leaf or super().is_leaf_module(m, module_qualified_name)


def _trace(copied: nn.Module, model: nn.Module) -> Trace:
    """The forward pass of `copied`, told in the modules of `model`."""
    graph = _Tracer().trace(copied)
    modules, parameters = dict(model.named_modules()), dict(model.named_parameters())
    targets = Counter(str(node.target) for node in graph.nodes if node.op == "call_module")
    calls = Counter({modules[target]: times for target, times in targets.items()})
    read = {
        parameters[str(node.target)]
        for node in graph.nodes
        if node.op == "get_attr" and str(node.target) in parameters and _is_used(node)
    }
    return Trace([*_chains(graph, modules, calls)], calls, read)


def _is_used(node: fx.Node) -> bool:
    asked = (user.args[1] if user.target is getattr else user.target for user in node.users)
    return any(what not in _DESCRIPTIONS for what in asked)


def _chains(
    graph: fx.Graph, modules: dict[str, nn.Module], calls: Counter[nn.Module]
) -> Iterator[list[nn.Module]]:
    for node in graph.nodes:
        chain: list[nn.Module] = []
        while node.op == "call_module":
            module = modules[str(node.target)]
            if chain and calls[module] != calls[chain[0]]:
                break
            if type(module) is nn.Dropout and any(
                _overwrites(user, modules) for user in node.users
            ):
                break
            chain.append(module)
            if len(node.users) != 1:
                break
            node = next(iter(node.users))
        if chain:
            yield chain


def _overwrites(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    """Whether this operation works in place."""
    if node.op == "call_module":
        return works_in_place(modules[str(node.target)])
    if node.op == "call_method":
        return str(node.target).endswith("_") and not str(node.target).endswith("__")
    return node.target in _IN_PLACE or bool(node.kwargs.get("inplace"))


def works_in_place(module: nn.Module) -> bool:
    return bool(getattr(module, "inplace", False))
