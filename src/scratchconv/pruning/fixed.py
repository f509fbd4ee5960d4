"""Connections that never change: drawn at random, or given."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from scratchconv.errors import InvalidArgument
from scratchconv.pruning.choosing import largest, random_scores
from scratchconv.pruning.densities import Distribution, layer_counts
from scratchconv.pruning.method import Pruning


class RandomConnections(Pruning):
    """As many random connections a layer as its density allows: the static baseline of Evci 2020.

    Args:
        model: the network, with its initial weights.
        optimizer: what trains it.
        density: share of all weights that have connections.
        distribution: how densities vary between layers, see `densities`.
        seed: what connections are drawn from.
    """

    name = "random"
    fixed = True

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        density: float,
        distribution: Distribution = "erdos-renyi",
        seed: int = 0,
    ) -> None:
        super().__init__(model, optimizer, density=density)
        self.seed = seed
        shapes = {name: tuple(weight.shape) for name, weight in self.weights.items()}
        counts = layer_counts(shapes, self.kept, distribution)
        for layer, (name, weight) in enumerate(self.weights.items()):
            # Step 0, when SET does not draw yet.
            self.masks[name] = largest(random_scores(weight, seed, 0, layer), counts[name])


class GivenConnections(Pruning):
    """Connections learned elsewhere, or made by hand, on some or all of the weights.

    Args:
        model: the network, with its initial weights.
        optimizer: what trains it.
        masks: bool tensors by the names of weights; weights that are not named stay dense.

    Raises:
        InvalidArgument: a name that is no weight of the model, a mask of another shape, or masks
            that leave no connection at all.
    """

    name = "given"
    fixed = True

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, *, masks: Mapping[str, Tensor]
    ) -> None:
        super().__init__(model, optimizer, density=1.0)
        for name, mask in masks.items():
            if name not in self.weights or mask.shape != self.weights[name].shape:
                shapes = {n: tuple(weight.shape) for n, weight in self.weights.items()}
                raise InvalidArgument(
                    f"the mask of {name} has shape {tuple(mask.shape)}: the weights are {shapes}"
                )
            self.masks[name] = mask.to(self.weights[name].device, torch.bool, copy=True)
        self.kept = sum(self.connections().values())
        if self.kept == 0:
            raise InvalidArgument("the masks leave no connection: give at least one")
        self.density = self.kept / sum(mask.numel() for mask in self.masks.values())
