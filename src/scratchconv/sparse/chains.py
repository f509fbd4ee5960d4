"""Which BatchNorm1d and ReLU stand right behind a linear layer, so that it can do their work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from torch import fx, nn

from scratchconv.models import Network


def followers(model: nn.Module) -> dict[nn.Linear, list[nn.Module]]:
    """For each linear layer the modules that its output, and only its output, goes through next.

    Found in `nn.Sequential`, in this package's networks, and where `torch.fx` can trace the model.
    Modules that are used in more than one place are left out, since they cannot belong to one.
    """
    uses = Counter(id(m) for _, m in model.named_modules(remove_duplicate=False))
    found: dict[nn.Linear, list[nn.Module]] = {}
    for chain in _chains(model):
        for place, module in enumerate(chain):
            if type(module) is nn.Linear and module not in found and uses[id(module)] == 1:
                behind = chain[place + 1 :]
                shared = next((i for i, m in enumerate(behind) if uses[id(m)] > 1), len(behind))
                found[module] = behind[:shared]
    return found


def absorbable(
    behind: list[nn.Module],
) -> tuple[nn.BatchNorm1d | None, nn.ReLU | None]:
    """The BatchNorm1d and the ReLU that a layer can do the work of, of the modules behind it."""
    norm = relu = None
    if behind and _usual(behind[0]):
        norm, behind = behind[0], behind[1:]
    if behind and type(behind[0]) is nn.ReLU:
        relu = behind[0]
    assert norm is None or isinstance(norm, nn.BatchNorm1d)
    return norm, relu


def _usual(module: nn.Module) -> bool:
    return (
        type(module) is nn.BatchNorm1d
        and module.affine
        and module.track_running_stats
        and module.momentum is not None
    )


def _chains(model: nn.Module) -> Iterator[list[nn.Module]]:
    for module in model.modules():
        if type(module) is nn.Sequential or isinstance(module, Network):
            yield list(module.children())
    yield from _traced_chains(model)


def _traced_chains(model: nn.Module) -> Iterator[list[nn.Module]]:
    try:
        graph = fx.Tracer().trace(model)
    except Exception:  # any code may stand in a forward pass; what cannot be traced is not fused
        return
    modules = dict(model.named_modules())
    calls = Counter(node.target for node in graph.nodes if node.op == "call_module")
    for node in graph.nodes:
        chain = []
        while node.op == "call_module" and calls[node.target] == 1:
            chain.append(modules[str(node.target)])
            if len(node.users) != 1:
                break
            node = next(iter(node.users))
        if chain:
            yield chain
