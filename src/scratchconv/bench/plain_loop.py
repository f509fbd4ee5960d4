"""The plain fp32 loop of published reimplementations, and the step all others are held to."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from scratchconv.bench.contender import Contender, Entry
from scratchconv.bench.rule import Rule, groups
from scratchconv.models import Network

NAME = "plain fp32 loop"


class PlainLoop(Contender):
    """fp32 `nn.Linear` layers, and Algorithm 1 spelled out in Python, parameter by parameter."""

    def __init__(self, model: Network, rule: Rule) -> None:
        self.model, self._rule, self._lr = model, rule, rule.lr
        self._groups = groups(model, rule)

    def step(self, inputs: Tensor, targets: Tensor) -> None:
        self.model.zero_grad()
        F.cross_entropy(self.model(inputs), targets).backward()
        for group in self._groups:
            lam = group["lam"]
            for p in group["params"]:
                p.data.add_(-self._lr * (p.grad + lam * torch.sign(p.data)))
                p.data[p.data.abs() < self._rule.beta * lam] = 0

    def set_lr(self, lr: float) -> None:
        self._lr = lr


ENTRY = Entry(NAME, PlainLoop)
