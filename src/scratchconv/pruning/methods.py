"""The pruning methods by name, each with what its paper recommends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import nn

from scratchconv.errors import InvalidArgument, unknown_name
from scratchconv.pruning.densities import Distribution
from scratchconv.pruning.fixed import RandomConnections
from scratchconv.pruning.magnitude import MagnitudePruning, cuts
from scratchconv.pruning.method import Pruning
from scratchconv.pruning.rewiring import Rewiring
from scratchconv.pruning.rigl import RigL
from scratchconv.pruning.snip import Snip
from scratchconv.pruning.sparse_evolution import SparseEvolution


@dataclass(frozen=True)
class _Asked:
    """What `build` was asked for."""

    density: float
    steps: int
    epoch_steps: int
    distribution: Distribution | None
    seed: int


_Build = Callable[[nn.Module, torch.optim.Optimizer, _Asked], Pruning]


def iterative_rounds(steps: int, epoch_steps: int) -> int:
    """Rounds of `iterative-magnitude`: five, or as many as leave each training five epochs.

    At least two. The 20 % a round of Frankle & Carbin 2019 would take 21 rounds for 1 %; theirs are
    whole trainings, these share the `steps` of the run.
    """
    return max(2, min(5, steps // (5 * epoch_steps) - 1))


def _one_shot(model: nn.Module, optimizer: torch.optim.Optimizer, asked: _Asked) -> Pruning:
    return _magnitude(model, optimizer, asked, rounds=1)


def _iterative(model: nn.Module, optimizer: torch.optim.Optimizer, asked: _Asked) -> Pruning:
    rounds = iterative_rounds(asked.steps, asked.epoch_steps)
    return _magnitude(model, optimizer, asked, rounds=rounds)


def _magnitude(
    model: nn.Module, optimizer: torch.optim.Optimizer, asked: _Asked, *, rounds: int
) -> Pruning:
    early = _rewind_to(asked.steps, asked.epoch_steps, rounds)
    return MagnitudePruning(
        model,
        optimizer,
        density=asked.density,
        steps=asked.steps,
        rounds=rounds,
        rewind_to=early,
        distribution=asked.distribution,
    )


def _rewind_to(steps: int, epoch_steps: int, rounds: int) -> int:
    # Back to the end of the first epoch, where that leaves most of the training: Frankle 2020
    # finds that large networks need it, and that a few percent of the training are enough.
    return 0 if steps < 10 * (rounds + 1) * epoch_steps else epoch_steps


def cut_steps(name: str, steps: int, epoch_steps: int) -> tuple[int, ...]:
    """The steps of a run before which the method `name` leaves fewer weights than there were."""
    if name not in ("magnitude", "iterative-magnitude"):
        return ()
    rounds = 1 if name == "magnitude" else iterative_rounds(steps, epoch_steps)
    return cuts(steps, rounds, _rewind_to(steps, epoch_steps, rounds))


def rigl_interval(steps: int) -> int:
    """Steps between two exchanges of `rigl`.

    The ΔT of Evci 2020 is 100 in trainings of tens of thousands of steps: in a shorter one it is
    less, but a tenth of its steps is as much as exchanges may cost.
    """
    return min(100, max(10, steps // 100))


def _snip(model: nn.Module, optimizer: torch.optim.Optimizer, asked: _Asked) -> Pruning:
    if asked.distribution is not None:
        raise InvalidArgument(
            f"snip takes no distribution ({asked.distribution}): its sensitivities decide how many"
            " weights each layer keeps; leave it out"
        )
    return Snip(model, optimizer, density=asked.density)


def _random(model: nn.Module, optimizer: torch.optim.Optimizer, asked: _Asked) -> Pruning:
    return RandomConnections(
        model,
        optimizer,
        density=asked.density,
        distribution=asked.distribution or "erdos-renyi",
        seed=asked.seed,
    )


def _set(model: nn.Module, optimizer: torch.optim.Optimizer, asked: _Asked) -> Pruning:
    return SparseEvolution(
        model,
        optimizer,
        density=asked.density,
        # Mocanu 2018 goes on until the last epoch, at a constant learning rate. What comes while a
        # cosine ends would never be trained: it ends where RigL's ends.
        rewiring=Rewiring(every=asked.epoch_steps, until=max(1, asked.steps * 3 // 4), decay=False),
        distribution=asked.distribution or "erdos-renyi",
        seed=asked.seed,
    )


def _rigl(model: nn.Module, optimizer: torch.optim.Optimizer, asked: _Asked) -> Pruning:
    return RigL(
        model,
        optimizer,
        density=asked.density,
        rewiring=Rewiring(every=rigl_interval(asked.steps), until=max(1, asked.steps * 3 // 4)),
        distribution=asked.distribution or "erdos-renyi",
        seed=asked.seed,
    )


METHODS: Mapping[str, _Build] = MappingProxyType(
    {
        "magnitude": _one_shot,
        "iterative-magnitude": _iterative,
        "snip": _snip,
        "set": _set,
        "rigl": _rigl,
        "random": _random,
    }
)


def build(
    name: str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    density: float,
    steps: int,
    epoch_steps: int,
    distribution: Distribution | None = None,
    seed: int = 0,
) -> Pruning:
    """The pruning method of this name for a run of `steps`, set as its paper recommends.

    But for what depends on the run's length, in which they had more: see `iterative_rounds` and
    `rigl_interval`.

    Args:
        name: "magnitude" (one-shot) or "iterative-magnitude" (with rewinding to the end of the
            first epoch, or to the start where each training has fewer than ten), "snip", "set"
            and "rigl" (whose connections change during the first three quarters of the run), or
            "random" (connections that never change).
        model: the network, with its initial weights.
        optimizer: what trains it.
        density: share of all weights that is left in the end.
        steps: optimizer steps of the whole run.
        epoch_steps: optimizer steps of an epoch.
        distribution: how densities vary between layers, see `densities`. None is what the papers
            do: "erdos-renyi" for set, rigl and random, and no rule for the others, which compare
            all weights with each other.
        seed: of what is random.

    Raises:
        InvalidArgument: an unknown name, or a value that cannot be used.
    """
    if name not in METHODS:
        raise unknown_name("pruning method", name, METHODS)
    if epoch_steps < 1 or steps < 1:
        raise InvalidArgument(f"{steps} steps, {epoch_steps} an epoch: both must be at least 1")
    return METHODS[name](model, optimizer, _Asked(density, steps, epoch_steps, distribution, seed))
