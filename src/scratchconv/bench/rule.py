"""The settings of β-LASSO that every contender trains with, and the groups they apply to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

# S-FC's dense layers: the one that stands for a convolution, the hidden one, the classifier.
FIRST, SECOND, LAST = "conv1", "fc1", "fc2"
SPARSE_LAYERS = (FIRST, SECOND)
LAYERS = (FIRST, SECOND, LAST)


@dataclass(frozen=True)
class Rule:
    """η, β and the two λ of Algorithm 1 (Neyshabur 2020, §4)."""

    lr: float
    beta: float
    lam_first: float
    lam: float

    def lam_of(self, layer: str) -> float:
        """λ of the layer with this name."""
        return self.lam_first if layer == FIRST else self.lam

    def scaled(self, factor: float) -> Rule:
        """η and both λ times `factor`: the bar βλ/η for a zero weight's gradient stays."""
        return Rule(self.lr * factor, self.beta, self.lam_first * factor, self.lam * factor)


def groups(model: nn.Module, rule: Rule) -> list[dict[str, Any]]:
    """Groups for `BetaLasso`, also of models whose layers hold their weights in a form of their
    own: all parameters of the two sparse layers, the classifier's weight, and the rest with λ = 0.
    """
    first = list(model.get_submodule(FIRST).parameters())
    rest = [
        *model.get_submodule(SECOND).parameters(),
        model.get_submodule(LAST).get_parameter("weight"),
    ]
    regularised = {id(parameter) for parameter in first + rest}
    others = [p for p in model.parameters() if id(p) not in regularised]
    return [
        {"params": first, "lam": rule.lam_first},
        {"params": rest, "lam": rule.lam},
        {"params": others, "lam": 0.0},
    ]
