"""SET, sparse evolutionary training (Mocanu 2018): the weakest give way to random connections."""

from __future__ import annotations

import torch
from torch import Tensor

from scratchconv.pruning.choosing import largest, random_scores
from scratchconv.pruning.rewiring import Rewired


class SparseEvolution(Rewired):
    """SET: Mocanu 2018, Figure 1 and its algorithm. Starts from random (Erdős–Rényi) connections.

    Before a step that `rewiring` names (but not before the first), each layer loses the fraction ζ
    of its positive weights, and of its negative ones, that is nearest to zero, and all that are
    zero; as many new ones come at random where there is none then. The paper does it after every
    epoch but the last, with ζ = 0.3 throughout; `build` stops at three quarters of the training.

    New weights are 0 and start without momentum, as in the published code for CIFAR-10, also where
    chance returns one just lost. The paper leaves its output layer dense: here it is pruned like
    the others, and Erdős–Rényi makes it the densest.
    """

    name = "set"

    def before_forward(self, step: int) -> None:
        """Exchange connections where that is due."""
        if step == 0 or not self.rewiring.due(step):
            return
        fraction = self.rewiring.fraction_at(step)
        before = self.connections()
        self.masks = {
            name: without_weakest(weight.detach(), self.masks[name], fraction)
            for name, weight in self.weights.items()
        }
        self.apply()
        for layer, (name, kept) in enumerate(self.masks.items()):
            scores = random_scores(kept, self.seed, step, layer).masked_fill(kept, -1)
            missing = before[name] - int(torch.count_nonzero(kept))
            self.masks[name] = kept | largest(scores, missing)


def without_weakest(weight: Tensor, mask: Tensor, fraction: float) -> Tensor:
    """The mask of one layer without `fraction` of its positive and of its negative weights."""
    kept = torch.zeros_like(mask)
    for signed in (weight, -weight):
        scores = signed.masked_fill(~mask, 0)
        count = int(torch.count_nonzero(scores > 0))
        kept |= largest(scores, count - int(fraction * count))
    return kept
