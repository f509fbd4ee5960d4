"""Which layers of a run hold their connections alone, where connections never change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from scratchconv import pruning, sparse
from scratchconv.errors import InvalidArgument
from scratchconv.sparse.engine import SMALLEST

# Measured on two AVX-512 cores at batch 512, momentum and bf16: at a fifth, layers of 0.3 to 12.6 M
# weights take the same time as dense ones with a mask to half of it, above it some lose. The rule
# looks at sizes alone, never at a clock, so that a seed gives the same result twice on one machine.
_FASTER_BELOW = 0.2


def hold_connections(
    model: nn.Module, pruner: pruning.Pruning, *, before: Mapping[str, Any] | None
) -> list[str]:
    """Let the sparse ones of the linear layers hold their connections alone; returns their names.

    Layers on a GPU are dense, and masked, always.

    Args:
        model: on its device, with its initial weights.
        pruner: told which weights need no masking any more.
        before: what a run to be resumed had `resolved` to: the same layers are taken as then.

    Raises InvalidArgument for a run that is to be resumed on a GPU and has such layers.
    """
    device = next(iter(pruner.weights.values())).device
    if before is not None:
        layers = list(before.get("fixed_layers") or [])
        if layers and device.type != "cpu":
            raise InvalidArgument(
                f"this run was begun on a CPU, where {', '.join(layers)} hold their connections"
                f" alone, which they cannot on {device}: go on with it by --device cpu"
            )
    elif device.type != "cpu":
        layers = []
    else:
        layers = [
            name.removesuffix(".weight")
            for name, mask in pruner.masks.items()
            if type(model.get_submodule(name.removesuffix(".weight"))) is nn.Linear
            and mask.numel() >= SMALLEST
            and int(mask.sum()) < _FASTER_BELOW * mask.numel()
        ]
    masks = {name: pruner.masks[name] for name in (f"{layer}.weight" for layer in layers)}
    if masks:
        sparse.fix_connections(model, masks)
    pruner.held = frozenset(masks)
    return layers
