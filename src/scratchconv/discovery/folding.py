"""A trained network as it is described: BatchNorm folded into the weights, those in few bits."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from scratchconv.discovery.networks import Neighbourhoods
from scratchconv.errors import InvalidArgument

_CLIPPED = (1.0, 0.85, 0.7, 0.55)
"""Shares of the largest magnitude that the steps may reach to: the closest fit is taken."""


@dataclass(frozen=True, eq=False)
class Parts:
    """The tensors of a network that are described, after BatchNorm is folded into them."""

    first: Tensor
    shifts: Tensor
    head: Tensor
    biases: Tensor


def parts_of(network: nn.Sequential) -> Parts:
    """The network's own tensors, not copies of them."""
    first = network.get_submodule("first").get_parameter("weight")
    norm, head = network.get_submodule("norm"), network.get_submodule("head")
    parameters = (norm.get_parameter("bias"), *map(head.get_parameter, ("weight", "bias")))
    shifts, weight, biases = (parameter.detach() for parameter in parameters)
    return Parts(first.detach(), shifts, weight, biases)


def folded(network: nn.Sequential) -> nn.Sequential:
    """The same function in evaluation mode, BatchNorm being no more than a shift."""
    plain = copy.deepcopy(network).eval()
    norm = plain.get_submodule("norm")
    assert isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    parts = parts_of(plain)
    scale = norm.weight.detach() / (norm.running_var + norm.eps).sqrt()
    parts.shifts.sub_(norm.running_mean * scale)
    if isinstance(plain.get_submodule("first"), Neighbourhoods):
        units = scale.view(parts.first.shape[1], -1)  # (width, positions or 1)
        parts.first.mul_(units.T.unsqueeze(2))
    else:
        parts.first.mul_(scale.view(-1, *[1] * (parts.first.dim() - 1)))
    norm.weight.detach().fill_(1)
    norm.running_mean.zero_()
    norm.running_var.fill_(1 - norm.eps)
    if parts.first.dim() == 2:
        _drop_dead_units(parts)
    _balance(plain, parts)
    if len(parts.head) == 2:  # only their difference matters
        parts.head.sub_(parts.head[:1].clone())
        parts.biases.sub_(parts.biases[:1].clone())
    return plain


def _balance(folded: nn.Sequential, parts: Parts) -> None:
    """Bring the weights into a unit, and those out of it, to one size.

    ReLU lets factors pass, so the function stays the same (Neyshabur, Salakhutdinov and Srebro,
    "Path-SGD", 2015). Steps of a common size then fit the weights of every unit.
    """
    first, units = parts.first, parts.shifts.numel()
    if isinstance(folded.get_submodule("first"), Neighbourhoods):
        into = first.norm(dim=2).T.reshape(-1)
    else:
        into = first.flatten(1).norm(dim=1)
    out = parts.head.view(len(parts.head), units, -1).norm(dim=(0, 2))
    factor = torch.where((into > 0) & (out > 0), (out / into.clamp_min(1e-30)).sqrt(), 1.0)
    parts.shifts.mul_(factor)
    if isinstance(folded.get_submodule("first"), Neighbourhoods):
        first.mul_(factor.view(first.shape[1], -1).T.unsqueeze(2))
    else:
        first.mul_(factor.view(-1, *[1] * (first.dim() - 1)))
    parts.head.view(len(parts.head), units, -1).div_(factor.unsqueeze(1))


def _drop_dead_units(parts: Parts) -> None:
    """Units without weights put out a constant: the outputs' biases can hold it."""
    dead = ~(parts.first != 0).any(dim=1)
    parts.biases.add_(parts.head @ (torch.relu(parts.shifts) * dead))
    parts.head[:, dead] = 0
    parts.shifts[dead] = 0


def rounded_to(folded: nn.Sequential, b: int) -> nn.Sequential:
    """All numbers of the network in b bits, the tensors each with a step of its own."""
    rounded = copy.deepcopy(folded)
    for tensor in vars(parts_of(rounded)).values():
        tensor.copy_(in_steps(tensor, b))
    return rounded


def in_steps(values: Tensor, b: int) -> Tensor:
    """The nearest of 2^b − 1 equally spaced numbers around 0; their distance is a bfloat16."""
    largest = float(values.abs().max())
    if largest == 0:
        return values.clone()
    most = 2 ** (b - 1) - 1
    tried = []
    for share in _CLIPPED:
        step = float(torch.tensor(share * largest / most).to(torch.bfloat16))
        if step == 0:
            raise InvalidArgument(f"weights of {largest:g} at most are too small to be described")
        rounded = (values / step).round().clamp(-most, most) * step
        tried.append((float((rounded - values).square().sum()), rounded))
    return min(tried, key=lambda one: one[0])[1]
