"""What SET and RigL share: when connections are exchanged, and how many."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from scratchconv.errors import InvalidArgument
from scratchconv.pruning.densities import Distribution
from scratchconv.pruning.fixed import RandomConnections


@dataclass(frozen=True)
class Rewiring:
    """Every `every` steps, before step `until`, a share of each layer's connections is exchanged.

    every: ΔT, in steps.
    until: T_end, in steps.
    fraction: the share at the start, α of Evci 2020 and ζ of Mocanu 2018.
    decay: whether it falls along a cosine, α/2 · (1 + cos(πt/T_end)) (Evci 2020, §3), to 0 at
        `until`; otherwise it is constant.

    Raises InvalidArgument for a length below 1 or a fraction outside [0, 1].
    """

    every: int
    until: int
    fraction: float = 0.3
    decay: bool = True

    def __post_init__(self) -> None:
        if self.every < 1 or self.until < 1:
            raise InvalidArgument(
                f"connections are to change every {self.every} steps until step {self.until}: "
                "both must be at least 1"
            )
        if not 0 <= self.fraction <= 1:
            raise InvalidArgument(f"fraction is {self.fraction:g}: it must be between 0 and 1")

    def due(self, step: int) -> bool:
        """Whether connections change at `step`: t mod ΔT = 0 and t < T_end."""
        return step % self.every == 0 and step < self.until

    def fraction_at(self, step: int) -> float:
        """The share of the connections that is exchanged at `step`."""
        if not self.decay:
            return self.fraction
        return self.fraction / 2 * (1 + math.cos(math.pi * step / self.until))


class Rewired(RandomConnections):
    """Random connections that a method exchanges at the steps that `rewiring` names.

    Args:
        model, optimizer, density, distribution, seed: as in `RandomConnections`.
        rewiring: when, and how many.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        density: float,
        rewiring: Rewiring,
        distribution: Distribution = "erdos-renyi",
        seed: int = 0,
    ) -> None:
        super().__init__(model, optimizer, density=density, distribution=distribution, seed=seed)
        self.rewiring = rewiring
