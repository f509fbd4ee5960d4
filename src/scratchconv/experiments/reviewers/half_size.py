"""S-FC of half the scale's α, for experiments of so many runs that its own would take too long."""

from __future__ import annotations

from scratchconv.lab import Lab
from scratchconv.lab.scales import Scale
from scratchconv.training import RunConfig


def half_alpha(scale: Scale) -> int:
    """Half of the scale's α of S-FC: 8 at `laptop`, with 6.7 M weights."""
    return max(1, scale.alpha["s-fc"] // 2)


def half_size(lab: Lab, data: str) -> RunConfig:
    """S-FC of that α by SGD, else as the scale has it."""
    return lab.config("s-fc", data, alpha=half_alpha(lab.scale))
