"""RigL (Evci 2020): the weakest connections give way to those with the largest gradients."""

from __future__ import annotations

import torch
from torch import Tensor

from scratchconv.pruning.choosing import largest
from scratchconv.pruning.method import gradient
from scratchconv.pruning.rewiring import Rewired


class RigL(Rewired):
    """Algorithm 1 of Evci 2020. Starts from random connections.

    At a step that `rewiring` names, each layer drops its k = ⌊f_decay(t) · connections⌋ smallest
    weights, and grows as many where the gradient of the loss is largest among all that are not
    connected then, the dropped ones included. The weights take no step at it. That holds for step
    0 too, as in the algorithm and the published code.

    New weights are 0. One that is dropped and grown in the same step keeps its value and momentum,
    as in the published code (the paper does not say).

    The paper has ΔT = 100, α = 0.3 and T_end at three quarters of the training, and finds the
    Erdős–Rényi-Kernel best. In less than 10,000 steps `build` makes ΔT a hundredth, but 10 or more.
    """

    name = "rigl"

    def before_update(self, step: int) -> bool:
        """Exchange connections where that is due; the step is then spent on it.

        Where a gradient has overflowed nothing is exchanged: an fp16 scaler, which must see that
        to lower its scale, gets the step.
        """
        if not self.rewiring.due(step):
            return False
        slopes = {name: gradient(weight, name) for name, weight in self.weights.items()}
        if not all(bool(slope.isfinite().all()) for slope in slopes.values()):
            return False
        fraction = self.rewiring.fraction_at(step)
        for name, weight in self.weights.items():
            slope, mask = slopes[name], self.masks[name]
            self.masks[name] = exchanged(weight.detach(), slope, mask, fraction)
        return True

    def dense_gradients(self, start: int, end: int) -> int:
        """The steps that exchange connections."""
        return sum(self.rewiring.due(step) for step in range(start, end))


def exchanged(weight: Tensor, slope: Tensor, mask: Tensor, fraction: float) -> Tensor:
    """The mask of one layer after `fraction` of its connections are dropped and as many grown."""
    count = int(torch.count_nonzero(mask))
    grown_count = int(fraction * count)
    kept = largest(weight.abs().masked_fill(~mask, -1), count - grown_count)
    return kept | largest(slope.abs().masked_fill(kept, -1), grown_count)
