"""Magnitude pruning with rewinding: train, cut the smallest weights, go back, train again.

Frankle & Carbin 2019 (§2): train a dense network, remove the weights of smallest magnitude, reset
the rest to their initial values, and train again, in one round ("one-shot") or several
("iterative"). Frankle 2020 (*Linear mode connectivity*) resets them to their values after k
steps instead of 0 ("rewinding"), and so does `rewind_to`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from scratchconv.errors import InvalidArgument
from scratchconv.pruning.choosing import largest, largest_of_all
from scratchconv.pruning.densities import Distribution, kept_in_all, layer_counts
from scratchconv.pruning.method import Pruning


def training_length(steps: int, rounds: int, rewind_to: int) -> int:
    """Steps of each training after the first, those before `rewind_to` included."""
    return (steps + rounds * rewind_to) // (rounds + 1)


def cuts(steps: int, rounds: int, rewind_to: int) -> tuple[int, ...]:
    """The steps before which a run of `steps` is cut and rewound, a step a round."""
    each = training_length(steps, rounds, rewind_to) - rewind_to
    return tuple(steps - left * each for left in range(rounds, 0, -1))


class MagnitudePruning(Pruning):
    """`rounds` times: cut to a share of what is left, rewind, and train anew, within `steps`.

    After round r of R there are left N·density^(r/R) weights, the same share of what was there
    each time (the papers cut 20 % a round), and exactly `kept` after the last. Magnitudes are
    compared over all layers together (`distribution=None`), as Frankle & Carbin 2019, §4, does for
    networks whose layers differ in size; a layer may then lose all of its connections. With a
    `distribution` each layer keeps the share that RigL and SET have in it (§2 cuts all layers of a
    dense network at one rate, its output at half of it).

    All rounds share the `steps` of the run. With rewinding to step k, training is T steps the
    first time and T − k, from step k on, in each round: T = ⌊(steps + R·k)/(R + 1)⌋, and the first
    has the few that are left over. The learning rate is rewound too.

    What is rewound: all parameters, and the running statistics of BatchNorm. The optimizer starts
    without momentum. The order of the data goes on, it is not rewound.

    Args:
        model: the network, with its initial weights.
        optimizer: what trains it.
        density: share of all weights that is left in the end.
        steps: optimizer steps of the whole run.
        rounds: R; 1 is one-shot.
        rewind_to: k, in steps; 0 is the initial values.
        distribution: how densities vary between layers; None leaves it to the magnitudes.

    Raises:
        InvalidArgument: less than one round, or rounds that leave no steps to train in.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        density: float,
        steps: int,
        rounds: int = 1,
        rewind_to: int = 0,
        distribution: Distribution | None = None,
    ) -> None:
        super().__init__(model, optimizer, density=density)
        if rounds < 1 or rewind_to < 0:
            raise InvalidArgument(
                f"rounds is {rounds} and rewind_to {rewind_to}: give at least 1 round, and a step"
                " from 0 on"
            )
        self.rounds, self.rewind_to, self.distribution = rounds, rewind_to, distribution
        self.length = training_length(steps, rounds, rewind_to)
        if distribution is not None:  # one that is too sparse is to be refused before training
            shapes = {name: tuple(weight.shape) for name, weight in self.weights.items()}
            layer_counts(shapes, self.kept, distribution)
        if self.length <= rewind_to:
            raise InvalidArgument(
                f"{steps} steps leave no training to {rounds} rounds after rewinding to step"
                f" {rewind_to}: train longer{', or rewind to an earlier step' if rewind_to else ''}"
            )
        self.first_length = cuts(steps, rounds, rewind_to)[0]
        self.name = "magnitude" if rounds == 1 else "iterative-magnitude"
        self._early: dict[str, Tensor] = {}

    def before_forward(self, step: int) -> None:
        """Remember what is rewound to; cut and rewind where a training is over."""
        if step == self.rewind_to:
            self._remember()
        if step < self.first_length:
            return
        rounds_begun, since = divmod(step - self.first_length, self.length - self.rewind_to)
        if since == 0:
            self._cut(self.kept_after(rounds_begun + 1))
            self._rewind()

    def after_update(self, step: int) -> None:
        """Zero what is cut."""
        if step >= self.first_length:  # nothing is, before
            self.apply()

    def schedule(self, step: int, steps: int) -> tuple[int, int]:
        """The step within the present training, and how long that is."""
        if step < self.first_length:
            return step, self.first_length
        since = (step - self.first_length) % (self.length - self.rewind_to)
        return self.rewind_to + since, self.length

    def kept_after(self, round: int) -> int:
        """Weights that are left after so many rounds."""
        size = sum(weight.numel() for weight in self.weights.values())
        return kept_in_all(self.density ** (round / self.rounds), size)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """As in `Pruning`, with the values to rewind to."""
        tensors, plain = super().state()
        early = {f"early.{name}": value for name, value in self._early.items()}
        return {**tensors, **early}, plain

    def load_state(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        """As in `Pruning`."""
        super().load_state(tensors, plain)
        now = self.model.state_dict()
        self._early = {
            name.removeprefix("early."): value.to(now[name.removeprefix("early.")].device)
            for name, value in tensors.items()
            if name.startswith("early.")
        }

    def _remember(self) -> None:
        state = self.model.state_dict()
        self._early = {name: value.detach().clone() for name, value in state.items()}

    @torch.no_grad()
    def _cut(self, kept: int) -> None:
        magnitudes = {
            # What was cut before is smaller than any weight, so that it never returns.
            name: weight.abs().masked_fill(~self.masks[name], -1)
            for name, weight in self.weights.items()
        }
        if self.distribution is None:
            self.masks = largest_of_all(magnitudes, kept)
            return
        shapes = {name: tuple(weight.shape) for name, weight in self.weights.items()}
        counts = layer_counts(shapes, kept, self.distribution, self.connections())
        self.masks = {name: largest(magnitudes[name], counts[name]) for name in magnitudes}

    def _rewind(self) -> None:
        self.model.load_state_dict(self._early)
        self.optimizer.state.clear()
        self.apply()
