"""Half the size and half the length, for experiments of so many runs that more takes too long."""

from __future__ import annotations

from scratchconv.lab import Lab
from scratchconv.lab.scales import Scale
from scratchconv.training import RunConfig


def half_alpha(scale: Scale, model: str = "s-fc") -> int:
    """Half of the scale's α of a network: 8 at `laptop`, where S-FC then has 6.7 M weights."""
    return max(1, scale.alpha[model] // 2)


def half_length(scale: Scale) -> int:
    """Half of the scale's long training, in epochs: 20 at `laptop`.

    At least two, so that pruning in rounds has some steps for each.
    """
    return max(2, scale.long // 2)


def half_size(lab: Lab, data: str, model: str = "s-fc") -> RunConfig:
    """A network of that α by SGD, for that many epochs, else as the scale has it."""
    scale = lab.scale
    return lab.config(model, data, alpha=half_alpha(scale, model), epochs=half_length(scale))
