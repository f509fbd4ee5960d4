"""`Contender`: one way of taking a training step; and the common loop that most of them share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scratchconv.bench.problem import linear_weights
from scratchconv.bench.rule import Rule
from scratchconv.models import Network

# How far a step may be from the plain fp32 loop's, as a share of the size of that step: fp32
# differs in the order of sums, bf16 keeps 8 bits of every factor.
FLOAT32_TOLERANCE = 1e-3
BFLOAT16_TOLERANCE = 0.1


class Contender(ABC):
    """Trains one network. `model` is what it predicts with, in `precision` (`fp32`, `bf16`)."""

    model: nn.Module
    precision: str = "fp32"

    @abstractmethod
    def step(self, inputs: Tensor, targets: Tensor) -> None:
        """One whole training step: zero_grad, forward, loss, backward, update."""

    @abstractmethod
    def set_lr(self, lr: float) -> None:
        """Take η for the steps to come."""

    def details(self) -> dict[str, Any]:
        """What the record should say of how it ran, beside the time it took."""
        return {}

    def weights(self) -> dict[str, Tensor]:
        """Copies of the weights of the three layers, dense and float32."""
        return linear_weights(self.model)


@dataclass(frozen=True)
class Entry:
    """A contender before it is built.

    Attributes:
        name: as tables show it.
        build: makes it, from a network that it may change, and the rule.
        tolerance: how far its step may be from the plain loop's.
        fixed_support: it can only update the weights that were not zero when it was built.
        settling_steps: how many of its first steps may run otherwise than later ones do.
        unavailable: why it cannot be built here, if so.
    """

    name: str
    build: Callable[[Network, Rule], Contender]
    tolerance: float = FLOAT32_TOLERANCE
    fixed_support: bool = False
    settling_steps: int = 0
    unavailable: str | None = None


class TorchLoop(Contender):
    """The training loop as anybody writes it, around a model and a torch optimizer."""

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, *, autocast: bool = False
    ) -> None:
        self.model, self.optimizer = model, optimizer
        self._autocast = autocast
        self.precision = "bf16" if autocast else "fp32"

    def step(self, inputs: Tensor, targets: Tensor) -> None:
        self.optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16) if self._autocast else nullcontext():
            outputs = self.model(inputs)
        F.cross_entropy(outputs.float(), targets).backward()
        self.optimizer.step()

    def set_lr(self, lr: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = lr

    def set_rule(self, rule: Rule) -> None:
        """Take other settings; the groups are in the order of `rule.groups`."""
        self.set_lr(rule.lr)
        lams = (rule.lam_first, rule.lam, 0.0)
        for group, lam in zip(self.optimizer.param_groups, lams, strict=True):
            group["lam"], group["beta"] = lam, rule.beta
