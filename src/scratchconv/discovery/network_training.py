"""How networks of a structure are trained, and what that costs.

Large ones by stochastic gradient descent with Nesterov's momentum (Sutskever et al., ICML 2013) and
weight decay; the small ones that are to be described by Adam (Kingma and Ba, ICLR 2015), without.
The rate rises over the first fifth of the steps and falls to zero along a line (Smith and Topin,
"Super-convergence", 2018). In bfloat16 where the hardware multiplies in it.

Costs are counted in multiply-adds, not in seconds, so that a seed gives the same on every machine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from scratchconv.discovery.fitting import Samples, batches_of, threads_for
from scratchconv.discovery.networks import Masked, Neighbourhoods
from scratchconv.errors import Collapse, InvalidArgument
from scratchconv.training.precision import autocast, resolve_precision

_MOMENTUM = 0.9
_RISE = 0.2
_DIRECTIONS = 3
"""Forward, and backward to the weights and to the inputs."""
_WRITTEN = 16


@dataclass(frozen=True)
class Course:
    """How long a network is trained, and how.

    steps: of the optimizer; batch_size: rows of each.
    lr: the highest learning rate.
    decay: what weights of two or more dimensions lose: lr · decay of themselves a step.
    exact: by Adam, with BatchNorm's statistics kept as they are in the second half. On tables
        with known structure a few hundred steps so came nearest to what is left by noise: what
        batches add to the loss is large beside that.
    """

    steps: int
    batch_size: int
    lr: float
    decay: float = 5e-4
    exact: bool = False

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_size < 1 or not self.lr > 0 or self.decay < 0:
            raise InvalidArgument(
                f"{self}: give steps and batch_size of at least 1, lr above 0, decay of at least 0"
            )

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        done = (step + 0.5) / self.steps
        return self.lr * min(done / _RISE, (1 - done) / (1 - _RISE))


def train_network(
    network: nn.Sequential, samples: Samples, *, course: Course, seed: int = 0
) -> nn.Sequential:
    """Train a network in place on the rows of `samples`, and return it.

    Args:
        network: from `compile_network`, or any other that takes the rows.
        samples: standardised rows; see `standard_samples`.
        course: steps, batch size and learning rate.
        seed: of the batches.

    Raises Collapse where training diverges.
    """
    cpu = torch.device("cpu")
    columns = samples.inputs.shape[1]
    # Of dense layers these are the weights, and kernels have as much to do with so many.
    of_a_row = multiply_adds(network, columns)
    precision = resolve_precision("auto", cpu, of_a_row)
    # With channels side by side convolutions in bfloat16 take half the time.
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = _optimizer(network, course)
    random = np.random.RandomState(seed)
    network.train()
    order: list[Tensor] = []
    with torch.enable_grad(), threads_for(of_a_row * course.batch_size):
        for step in range(course.steps):
            if not order:
                rows = torch.from_numpy(random.permutation(len(samples)))
                order = list(rows.tensor_split(batches_of(len(samples), course.batch_size)))
            for group in optimizer.param_groups:
                group["lr"] = course.rate(step)
            if course.exact and step == course.steps // 2:
                for module in network.modules():
                    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                        module.eval()
            batch = order.pop()
            with autocast(precision, cpu):
                outputs = network(samples.inputs[batch])
            loss = samples.losses(outputs, batch).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    optimizer.zero_grad()
    network.eval()
    if not all(bool(torch.isfinite(value).all()) for value in network.state_dict().values()):
        raise Collapse(f"training diverged with lr={course.lr:g}: try a third of it")
    return network


def _optimizer(network: nn.Sequential, course: Course) -> torch.optim.Optimizer:
    if course.exact:
        return torch.optim.Adam(network.parameters(), lr=course.lr, fused=True)
    decayed = [weight for weight in network.parameters() if weight.dim() > 1]
    others = [number for number in network.parameters() if number.dim() < 2]
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": course.decay},
        {"params": others},
    ]
    return torch.optim.SGD(groups, lr=course.lr, momentum=_MOMENTUM, nesterov=True, fused=True)


def multiply_adds(network: nn.Sequential, columns: int) -> int:
    """Those of one row's way through the network's layers; of a support, all its weights."""
    return _counted(network, columns)[0]


def work_of_a_row(network: nn.Sequential, columns: int) -> int:
    """What training with one row takes, in multiply-adds, forward and backward.

    A number that is written counts as 16 of them: over layers of many places and few units, as
    those that see 1,024 columns through small windows, most of the time goes into memory.
    """
    products, written = _counted(network, columns)
    return _DIRECTIONS * (products + _WRITTEN * written)


def _counted(network: nn.Sequential, columns: int) -> tuple[int, int]:
    """Multiply-adds, and numbers written, on one row's way through the network."""
    products = written = 0

    def count(module: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal products, written
        if isinstance(module, nn.Conv1d | nn.Conv2d):
            products += output[0].numel() * module.weight[0].numel()
        elif isinstance(module, Neighbourhoods):
            products += output[0].numel() * module.weight.shape[2]
            written += module.index.numel()
        elif isinstance(module, Masked | nn.Linear):
            products += module.weight.numel()
        written += output[0].numel()

    hooks = [module.register_forward_hook(count) for module in network]
    mode = network.training
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, columns))
    finally:
        network.train(mode)
        for hook in hooks:
            hook.remove()
    return products, written


def steps_of(passes: float, rows: int, batch_size: int) -> int:
    """The steps of so many passes over the rows, at least one."""
    return max(1, math.ceil(passes * batches_of(rows, batch_size)))
