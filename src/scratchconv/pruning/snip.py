"""SNIP (Lee 2019): connections chosen once, before training, by their effect on the loss."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from scratchconv.errors import Collapse, InvalidArgument
from scratchconv.pruning.choosing import largest_of_all
from scratchconv.pruning.method import Pruning


class Snip(Pruning):
    """Keeps the weights of the largest connection sensitivity, over all layers together.

    s_j = |g_j| / Σ_k |g_k|, g_j = ∂L(c ⊙ w)/∂c_j at c = 1 (Lee 2019, equations 5 and 6), which is
    w_j · ∂L/∂w_j; kept are the κ largest (equation 7). One batch decides, as in the paper; weights
    start as the network's do, not by the paper's variance scaling. A layer may lose all of its
    connections: the method itself does not prevent it.
    """

    name = "snip"

    def begin(self, loss: Callable[[], Tensor]) -> None:
        """Choose the connections by the gradient of one batch's loss.

        Where `loss` draws numbers (dropout), it should seed them itself: masks would otherwise
        depend on what the process drew before, and a run could not be repeated.

        Raises `InvalidArgument` for a weight that the loss does not depend on at all, `Collapse`
        where every sensitivity is zero, infinite or not a number.
        """
        buffers = [(buffer, buffer.clone()) for buffer in self.model.buffers()]
        with torch.enable_grad():
            gradients = torch.autograd.grad(loss(), list(self.weights.values()), allow_unused=True)
        for name, gradient in zip(self.weights, gradients, strict=True):
            if gradient is None:
                raise InvalidArgument(
                    f"{name} takes no part in the loss, so that SNIP cannot judge its connections:"
                    " prune a model without it"
                )
        with torch.no_grad():
            for buffer, before in buffers:  # the batch must leave no trace in a BatchNorm
                buffer.copy_(before)
            # The sum that divides all sensitivities alike changes none of the choices.
            sensitivities = {
                name: (weight * slope).abs()
                for (name, weight), slope in zip(self.weights.items(), gradients, strict=True)
            }
        if not any(bool(sensitivity.any()) for sensitivity in sensitivities.values()):
            raise Collapse(
                "SNIP cannot choose: no weight has an effect on the first batch's loss (all"
                " sensitivities are 0, equation 6 would divide by their sum)"
            )
        self.masks = largest_of_all(sensitivities, self.kept)
        self.apply()
