"""Reports when a network falls apart, when it happens, with the likely cause and what to try."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from scratchconv.errors import Collapse

# Half of the units of a layer gone is far beyond what sparsity that helps looks like.
_ALARMING = 0.5

EmptiedBy = Literal["penalty", "pruning", "connections", "steps"]
"""What takes all weights of a unit: λ, `--pruning`, `--connections-from`, or steps too long."""

_REMEDIES: dict[EmptiedBy, str] = {
    "penalty": "λ is the likely cause: try a half or a third of it, or a smaller learning rate",
    "pruning": "--pruning left them none: try a larger --density, or another --density-by",
    "connections": "--connections-from may have given them none: then they stay so",
    "steps": "a smaller learning rate may help",
}


def new_warnings(
    layers: Sequence[dict[str, Any]], before: Sequence[dict[str, Any]], *, by: EmptiedBy
) -> list[str]:
    """What has become alarming in `layers` since the epoch `before` (empty at the start).

    Each layer is a dictionary with `name`, `nonzero`, `units` and `dead_units`. Compared
    with the epoch before, so that a lasting state is told once and a resumed run tells the same.
    """
    known = {layer["name"]: _state(layer) for layer in before}
    cause = _REMEDIES[by]
    found = []
    for layer in layers:
        state = _state(layer)
        if state == "alive" or state == known.get(layer["name"]):
            continue
        if state == "empty":
            found.append(
                f"every weight of layer {layer['name']} is zero:"
                f" the network's output no longer depends on its input. {cause}"
            )
        else:
            found.append(
                f"{layer['dead_units']} of {layer['units']} units of layer {layer['name']}"
                f" have lost all their weights. {cause}"
            )
    return found


def collapsed(what: str, *, regularised: bool, checkpoint: str | None) -> Collapse:
    """The error for `what` has gone wrong beyond repair: with the likely cause and remedy."""
    kept = f"the last checkpoint ({checkpoint}) is kept" if checkpoint else "no checkpoint yet"
    causes = (
        "the learning rate or λ is too large" if regularised else "the learning rate is too large"
    )
    return Collapse(
        f"{what}: {causes}, most likely."
        f" Try a third of it in a new run, or --precision fp32; {kept}"
    )


def _state(layer: dict[str, Any]) -> str:
    if layer["nonzero"] == 0:
        return "empty"
    return "dying" if layer["dead_units"] > _ALARMING * layer["units"] else "alive"
