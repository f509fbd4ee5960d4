"""What both estimators do: train a fully connected network by β-LASSO, and choose its λ.

The network is S-FC (Neyshabur 2020, §2.1) without an image: dense layers, each but the last
followed by BatchNorm and ReLU. Inputs and numeric targets are standardised before they come here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from scratchconv.data.dataset import Task
from scratchconv.errors import Collapse
from scratchconv.optim import BetaLasso, param_groups
from scratchconv.sparse import sparsify
from scratchconv.sparse.engine import SMALLEST
from scratchconv.sparse.switching import SwitchAt
from scratchconv.training.evaluation import loss_of
from scratchconv.training.schedule import cosine, sum_of_rates

# λ of the first layer, in units of `Budget.natural_lam`. 0 is the dense network. On six tables
# (178 to 2000 rows, 10 to 100 columns) one half changed next to nothing; 1 left 2 to 12 % of the
# first layer; the best was among 0, 1, 2 and 4; from 8 on units died and came back in bursts.
MULTIPLES = (0.0, 1.0, 2.0, 4.0)

# The multiple of the other layers, beside the first layer's. The paper chooses the two λ apart
# (Neyshabur 2020, §4); the runs of this project chose half (docs/lambda.md).
_REST = 0.5

# Where compressed layers win is timed for training runs. A timing differs from one fit to the next,
# and with it the rounding: here the densities are fixed, below the 15 to 25 % of those timings.
_SWITCH_AT = SwitchAt(below=0.1, above=0.2)

# Weights of a layer from which the engine gains, at 128 rows a step: with half a million it took as
# long as torch's layers, with four million 0.6 of it (one thread, 2 % of them left).
_WORTH_SPARSIFYING = 1 << 20

# Multiply-adds of one product that are worth more than one thread: about a tenth of a millisecond.
_WORTH_THREADS = 1 << 22


@dataclass(frozen=True)
class Samples:
    """Distinct rows, and how much each counts.

    inputs: float32 (n, d), standardised.
    targets: (n,): int64 class numbers, or float32 numbers, standardised.
    weights: float32 (n,), of mean 1.
    """

    inputs: Tensor
    targets: Tensor
    weights: Tensor
    task: Task

    def __len__(self) -> int:
        return len(self.inputs)

    def part(self, rows: NDArray[np.int64]) -> Samples:
        """Some of the rows."""
        index = torch.from_numpy(rows)
        weights = self.weights[index]
        return Samples(self.inputs[index], self.targets[index], weights / weights.mean(), self.task)

    def losses(self, outputs: Tensor, rows: Tensor | None = None) -> Tensor:
        """The loss of each row, times its weight."""
        targets, weights = self.targets, self.weights
        if rows is not None:
            targets, weights = targets[rows], weights[rows]
        return weights * loss_of(outputs, targets, self.task, reduction="none")


@dataclass(frozen=True)
class Penalty:
    """λ of the first layer's weights and of all others."""

    first: float
    rest: float


@dataclass(frozen=True)
class Budget:
    """How long a network is trained, and how hard it is cut.

    steps: of the optimizer, with a learning rate that falls from `lr` to zero along a cosine.
    beta: the threshold coefficient β.
    """

    steps: int
    batch_size: int
    lr: float
    beta: float

    @classmethod
    def of(cls, steps: int, batch_size: int, lr: float, beta: float | None = None) -> Budget:
        """With a β that suits the length, where none is given.

        β is 50 in the paper, for Ση of thousands. It is an eighth of Ση where that is less: an idle
        weight goes if it is below λ(β + Ση), and were β most of that, weights would be cut by what
        they were drawn as, not by what they learned.
        """
        return cls(
            steps, batch_size, lr, min(50.0, sum_of_rates(steps, lr) / 8) if beta is None else beta
        )

    def penalty(self, multiple: float, widths: Sequence[int]) -> Penalty:
        """`multiple` times the natural λ, for a network of these `widths` (its columns first)."""
        first, rest = (self.natural_lam(width) for width in widths[:2])
        return Penalty(multiple * first, _REST * multiple * rest)

    def natural_lam(self, inputs: int) -> float:
        """The λ at which a weight that never gets a gradient is just gone when training ends.

        It starts below 1/√inputs, loses λ·Ση (Neyshabur 2020, Algorithm 1) and is cut below βλ:
        λ = 1 / (√inputs · (β + Ση)). So one multiple of it means alike for tables of every width
        and runs of every length.
        """
        return 1 / (math.sqrt(inputs) * (self.beta + sum_of_rates(self.steps, self.lr)))


@dataclass(frozen=True)
class Tried:
    """One λ of the search.

    loss: mean over the rows held out, cross entropy or squared error of standardised targets; ∞
        where training diverged.
    density: the share of the first layer's weights that were left.
    """

    penalty: Penalty
    loss: float
    density: float


def batches_of(samples: int, batch_size: int) -> int:
    """Batches in one pass: of at least two samples each, since BatchNorm cannot do with one."""
    return max(1, min(math.ceil(samples / batch_size), samples // 2))


def new_network(
    columns: int, hidden: Sequence[int], outputs: int, unused: NDArray[np.bool_], seed: int
) -> nn.Sequential:
    """The network with fresh weights; those of `unused` columns (d,) are zero, and stay so.

    Leaves torch's global generator as it was.
    """
    layers: list[nn.Module] = []
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(seed)
        width = columns
        for units in hidden:
            linear = nn.Linear(width, units, bias=False, dtype=torch.float32)
            layers += [linear, nn.BatchNorm1d(units, dtype=torch.float32), nn.ReLU()]
            width = units
        layers.append(nn.Linear(width, outputs, dtype=torch.float32))
    network = nn.Sequential(*layers)
    with torch.no_grad():
        first_layer(network).weight[:, torch.from_numpy(unused)] = 0
    return network


def first_layer(network: nn.Sequential) -> nn.Linear:
    """The layer that sees the columns."""
    layer = network[0]
    assert isinstance(layer, nn.Linear)
    return layer


def train(
    network: nn.Sequential, samples: Samples, penalty: Penalty, budget: Budget, seed: int
) -> None:
    """Train in place, from `budget.lr` down to zero. Raises `Collapse` where it diverges."""
    rates = [cosine(step, budget.steps, budget.lr) for step in range(budget.steps)]
    _run(network, samples, penalty, budget, rates, np.random.RandomState(seed))


def train_once(
    network: nn.Sequential,
    samples: Samples,
    penalty: Penalty,
    budget: Budget,
    seed: Sequence[int],
) -> int:
    """One pass at half of `budget.lr`, the cosine's mean: a stream has no end to anneal towards.

    Returns the number of steps. Raises `Collapse` where training diverges.
    """
    steps = batches_of(len(samples), budget.batch_size)
    rates = [budget.lr / 2] * steps
    _run(network, samples, penalty, budget, rates, np.random.RandomState(list(seed)))
    return steps


def _run(
    network: nn.Sequential,
    samples: Samples,
    penalty: Penalty,
    budget: Budget,
    rates: Sequence[float],
    random: np.random.RandomState,
) -> None:
    groups = param_groups(network, lam=penalty.rest, lam_first=penalty.first)
    optimizer = BetaLasso(groups, lr=budget.lr, beta=budget.beta)
    sizes = {
        name: layer.weight.numel()
        for name, layer in network.named_children()
        if isinstance(layer, nn.Linear)
    }
    engine = None
    if max(sizes.values()) >= _WORTH_SPARSIFYING and min(penalty.first, penalty.rest) > 0:
        # All that the engine takes over: it would time the others.
        taken = {name: _SWITCH_AT for name, size in sizes.items() if size >= SMALLEST}
        engine = sparsify(network, optimizer, switch_at=taken)
    network.train()
    batches = _batches(len(samples), budget.batch_size, random)
    largest = max(layer.weight.numel() for layer in network if isinstance(layer, nn.Linear))
    with torch.enable_grad(), threads_for(largest * budget.batch_size):
        for rate, rows in zip(rates, batches, strict=False):  # without end
            for group in optimizer.param_groups:
                group["lr"] = rate
            outputs = network(samples.inputs if rows is None else samples.inputs[rows])
            loss = samples.losses(outputs, rows).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    optimizer.zero_grad()
    if engine is not None:
        engine.to_dense()
    network.eval()
    if not all(bool(torch.isfinite(value).all()) for value in network.state_dict().values()):
        raise Collapse(
            f"training diverged with lr={budget.lr:g}: try a third of it, and look for sample"
            " weights or targets that are far larger than the others"
        )


@contextmanager
def threads_for(multiply_adds: int) -> Iterator[None]:
    """One thread while products are as small as this, as many as before afterwards.

    Two threads meet several times a step. On a machine with other work one waits for the other to
    be scheduled each time, which made steps of half a millisecond thirty times longer.
    """
    before = torch.get_num_threads()
    if multiply_adds < _WORTH_THREADS:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _batches(
    samples: int, batch_size: int, random: np.random.RandomState
) -> Iterator[Tensor | None]:
    """Rows of one batch after the other, without end; None is all of them."""
    count = batches_of(samples, batch_size)
    while True:
        if count == 1:
            yield None
        else:
            order = torch.from_numpy(random.permutation(samples))
            yield from order.tensor_split(count)


def search(
    new: Callable[[], nn.Sequential],
    samples: Samples,
    held_out: Samples,
    penalties: Sequence[Penalty],
    budget: Budget,
    seed: int,
) -> list[Tried]:
    """Train a `new` network under each of `penalties`, and score it on the rows held out."""
    tried = []
    for penalty in penalties:
        network = new()
        try:
            train(network, samples, penalty, budget, seed)
        except Collapse:
            tried.append(Tried(penalty, math.inf, math.nan))
            continue
        with torch.no_grad():
            loss = float(held_out.losses(network(held_out.inputs)).mean())
        tried.append(Tried(penalty, loss, density(network)))
    return tried


def best(tried: Sequence[Tried]) -> Tried:
    """The one of least loss; of equals the last. Raises `Collapse` where none has a loss."""
    found = min(reversed(tried), key=lambda one: one.loss)
    if not math.isfinite(found.loss):
        raise Collapse("training diverged with every λ tried: try a third of the learning rate lr")
    return found


def density(network: nn.Sequential) -> float:
    """The share of the first layer's weights that are not zero."""
    weight = first_layer(network).weight
    return int(torch.count_nonzero(weight)) / weight.numel()
