"""Models whose forward pass keeps state, or depends on the mode, go on as before `sparsify`."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import scratchconv as sc
from scratchconv.sparse.tracing import traces

modes = pytest.mark.parametrize("mode", ["dense", "sparse"])


def sparsified(model: nn.Module, mode: str = "dense") -> sc.sparse.Engine:
    optimizer = sc.BetaLasso(sc.param_groups(model, lam=1e-3), lr=0.1, beta=10.0)
    return sc.sparsify(model, optimizer, mode=mode)


def batch() -> Tensor:
    return torch.randn(9, 20, generator=torch.Generator().manual_seed(0))


class Remembers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc, self.relu = nn.Linear(20, 20), nn.ReLU()
        self.h: Tensor | None = None
        self.seen: list[Tensor] = []
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        h = self.fc(x)
        if self.h is not None:
            h = h + 0.1 * self.h
        self.h = self.relu(h).detach()
        self.seen.append(self.h)
        return self.relu(h)


@modes
def test_the_state_that_a_forward_pass_keeps_is_as_before(mode):
    model, plain = Remembers(), Remembers()
    sparsified(model, mode)
    assert traces(model)
    assert (model.h, model.seen, int(model.calls), model.training) == (None, [], 0, True)
    for _ in range(3):
        found, expected = model(batch()), plain(batch())
        assert type(found) is Tensor
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert int(model.calls) == 3
    assert [type(h) for h in model.seen] == [Tensor] * 3


def test_hooks_of_a_container_see_no_proxies():
    seen: list[object] = []
    inner = nn.Sequential(nn.Linear(20, 20), nn.ReLU())
    inner.register_forward_hook(lambda module, x, y: seen.append(y))
    engine = sparsified(nn.Sequential(inner, nn.Linear(20, 4)))
    assert seen == []
    assert engine.layers["0.0"].relu is inner[1]


class EmbedsInEvaluation(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.fc, self.relu, self.head = nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.fc(x)
        return self.head(self.relu(h)) if self.training else h


class SkipsInEvaluation(EmbedsInEvaluation):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.relu(self.fc(x) if self.training else x[:, :16]))


@modes
@pytest.mark.parametrize("kind", [EmbedsInEvaluation, SkipsInEvaluation])
@pytest.mark.parametrize("training", [True, False])
def test_training_and_evaluation_may_differ(training, kind, mode):
    model = kind()
    plain = copy.deepcopy(model)
    sparsified(model.train(training), mode)
    assert model.training == training
    for way in (True, False):
        found, expected = model.train(way)(batch()), plain.train(way)(batch())
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


class Untraceable(nn.Module):
    """Its forward pass branches on values, and one ReLU stands in two places of its Sequential."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        relu = nn.ReLU()
        self.layers = nn.Sequential(
            nn.Linear(20, 20), relu, nn.Linear(20, 20), relu, nn.BatchNorm1d(20)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x if x.sum() > 0 else x + 1)


@modes
def test_a_relu_that_stands_twice_is_not_skipped(mode):
    model, plain = Untraceable(), Untraceable()
    sparsified(model, mode)
    assert not traces(model)
    torch.testing.assert_close(model(batch()), plain(batch()), rtol=1e-4, atol=1e-5)
