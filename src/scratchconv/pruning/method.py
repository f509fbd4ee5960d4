"""`Pruning`: what every method that holds weights at zero has in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from scratchconv.errors import InvalidArgument
from scratchconv.optim import param_groups
from scratchconv.pruning.densities import kept_in_all


class Pruning:
    """Keeps a mask on every weight of `model`, and asks its method when to change it.

    Weights are the parameters that `param_groups` regularises, of the first and of all other
    layers; biases and normalisation stay whole. Masked weights are exactly 0, and so is what the
    optimizer remembers of them (momentum), so that a connection that returns starts anew.

    The number of connections is exact. A connection may still have the value 0: one that has just
    grown, or one whose input or output never was active. Weights of a local layer that meet nothing
    but padding are weights like others: some connections may be theirs.

    A training loop calls

    1. `begin(loss)` once, before its first step;
    2. at each step `before_forward(step)` first;
    3. after the backward pass `before_update(step)`: where it is True, the step is spent on
       changing connections and the optimizer takes none;
    4. `after_update(step)` last;

    and takes its learning rate from `schedule(step)`. To go on later, `state` and `load_state`.

    Attributes:
        weights: the weights that are pruned, by name.
        masks: where they have connections, bool, by the same names.
        held: names of weights whose layers have their connections alone, which needs no masking.
        fixed: whether the connections are those it was made with, all the time.
        kept: connections in all at the end of the run: density · weights, rounded.
    """

    name: str
    fixed: ClassVar[bool] = False

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, *, density: float
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.density = density
        self.weights = prunable_weights(model)
        stored = [name for name, weight in self.weights.items() if weight.dim() < 2]
        if stored:
            raise InvalidArgument(
                f"{', '.join(stored)} hold the weights of fixed connections only, and cannot be"
                " pruned: call to_dense() of what fix_connections returned first"
            )
        self.kept = kept_in_all(density, sum(w.numel() for w in self.weights.values()))
        self.masks = {
            name: torch.ones(weight.shape, dtype=torch.bool, device=weight.device)
            for name, weight in self.weights.items()
        }
        self.held: frozenset[str] = frozenset()

    def begin(self, loss: Callable[[], Tensor]) -> None:
        """Choose the first connections. `loss` computes that of one training batch anew."""
        self.apply()

    def before_forward(self, step: int) -> None:
        """Change what is due between the steps before `step` (counted from 0) and `step` itself.

        So a network looked at or saved between two steps is as the earlier one left it.
        """

    def before_update(self, step: int) -> bool:
        """Look at the gradients of `step`; True where the optimizer is to leave it out."""
        return False

    def after_update(self, step: int) -> None:
        """Zero what has no connection."""
        self.apply()

    def schedule(self, step: int, steps: int) -> tuple[int, int]:
        """The step that the learning rate of `step` is of, and the length it is annealed over."""
        return step, steps

    def dense_gradients(self, start: int, end: int) -> int:
        """How many of the steps from `start` to before `end` need the gradient of all weights.

        Beyond those that have connections, that is: `analysis.flops` counts them. The one batch
        that SNIP looks at in `begin` is no step.
        """
        return 0

    def connections(self) -> dict[str, int]:
        """How many connections each weight has."""
        return {name: int(torch.count_nonzero(mask)) for name, mask in self.masks.items()}

    @torch.no_grad()
    def apply(self) -> None:
        """Zero weights without connection, and what the optimizer remembers of them."""
        for name, weight in self.weights.items():
            if name in self.held:
                continue
            mask = self.masks[name]
            for tensor in (weight, *_remembered(self.optimizer, weight)):
                # A product would leave −0, which is a value of its own to what reads weights' bits.
                torch.where(mask, tensor, tensor.new_zeros(()), out=tensor)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors by name, and what else there is, as JSON: all that the rest of a run needs.

        The schedule is a function of the step, and randomness of the seed and the step.
        """
        tensors = {f"mask.{name}": mask for name, mask in self.masks.items()}
        return tensors, {"method": self.name, "kept": self.kept}

    def load_state(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        """Go on from a `state`, of weights and an optimizer that are restored elsewhere.

        Raises:
            InvalidArgument: it is of another method, density or network.
        """
        if plain != {"method": self.name, "kept": self.kept}:
            raise InvalidArgument(
                f"the state is of {plain.get('method')} with {plain.get('kept')} connections: "
                f"this is {self.name} with {self.kept}; go on with the settings it was begun with"
            )
        for name, mask in self.masks.items():
            saved = tensors.get(f"mask.{name}")
            if saved is None or saved.shape != mask.shape:
                raise InvalidArgument(
                    f"the state has no mask of shape {tuple(mask.shape)} for {name}: "
                    "it is of another network"
                )
        self.masks = {
            name: tensors[f"mask.{name}"].to(mask.device, torch.bool)
            for name, mask in self.masks.items()
        }


def prunable_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """The weights by name that methods prune: those that `param_groups` regularises."""
    chosen = {
        parameter
        for group in param_groups(model, lam=0.0)
        if group["name"] != "unregularised"
        for parameter in group["params"]
    }
    return {name: parameter for name, parameter in model.named_parameters() if parameter in chosen}


def gradient(weight: nn.Parameter, name: str) -> Tensor:
    """The dense gradient of a weight; raises InvalidArgument where there is none."""
    if weight.grad is None:
        raise InvalidArgument(f"{name} has no gradient: call this after the backward pass")
    return weight.grad


def _remembered(optimizer: torch.optim.Optimizer, weight: Tensor) -> Iterator[Tensor]:
    for value in optimizer.state.get(weight, {}).values():
        if isinstance(value, Tensor) and value.shape == weight.shape:
            yield value
