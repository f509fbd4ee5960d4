"""Methods by name: which optimizer they build, and which options they take."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from scratchconv import models
from scratchconv.errors import InvalidArgument
from scratchconv.optim import METHODS, BetaLasso, ProximalLasso, build


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 2))


def test_names() -> None:
    assert list(METHODS) == ["sgd", "adam", "beta-lasso", "lasso", "proximal-lasso"]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains(method: str) -> None:
    torch.manual_seed(0)
    net = model()
    optimizer = build(method, net, lr=0.2)
    inputs = torch.randn(64, 4)
    targets = (inputs[:, 0] > 0).long()
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(inputs), targets)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_options_reach_the_optimizer() -> None:
    optimizer = build("beta-lasso", model(), lr=0.3, lam=1e-4, lam_first=2e-4, beta=20)
    assert isinstance(optimizer, BetaLasso)
    assert [(g["lr"], g["lam"], g["beta"]) for g in optimizer.param_groups] == [
        (0.3, 2e-4, 20),
        (0.3, 1e-4, 20),
        (0.3, 0, 20),
    ]
    optimizer = build("lasso", model(), lam=1e-4)
    assert isinstance(optimizer, BetaLasso)
    assert [(g["lam"], g["beta"]) for g in optimizer.param_groups] == [(1e-4, 0)] * 2 + [(0, 0)]
    optimizer = build("proximal-lasso", model(), lam=1e-4, lam_first=0.0)
    assert isinstance(optimizer, ProximalLasso)
    assert [g["lam"] for g in optimizer.param_groups] == [0, 1e-4, 0]


def test_sgd_decays_weights_only() -> None:
    optimizer = build("sgd", model(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    assert isinstance(optimizer, torch.optim.SGD)
    assert [g["weight_decay"] for g in optimizer.param_groups] == [1e-4, 1e-4, 0]
    assert {g["momentum"] for g in optimizer.param_groups} == {0.9}


def test_adam_takes_the_steps_of_the_paper() -> None:
    """Kingma & Ba 2015, Algorithm 1, written out in float64."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 2))
    weight = net[0].weight
    assert isinstance(weight, nn.Parameter)
    optimizer = build("adam", net, lr=0.01)
    expected = weight.detach().double()
    first, second = torch.zeros_like(expected), torch.zeros_like(expected)
    for step in range(1, 6):
        slope = torch.randn_like(weight)
        for parameter in net.parameters():
            parameter.grad = torch.zeros_like(parameter)
        weight.grad = slope.clone()
        optimizer.step()
        first = 0.9 * first + 0.1 * slope.double()
        second = 0.999 * second + 0.001 * slope.double() ** 2
        scale = (second / (1 - 0.999**step)).sqrt() + 1e-8
        expected = expected - 0.01 * first / (1 - 0.9**step) / scale
        torch.testing.assert_close(weight.detach().double(), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("method", "option", "taken"),
    [
        ("beta-lasso", {"momentum": 0.9}, "lam, lam_first, beta"),
        ("beta-lasso", {"weight_decay": 1e-4}, "lam, lam_first, beta"),
        ("sgd", {"lam": 1e-4}, "momentum, weight_decay"),
        ("adam", {"momentum": 0.9}, "nothing"),
        ("adam", {"weight_decay": 1e-4}, "nothing"),
        ("sgd", {"lam_first": 0.0}, "momentum, weight_decay"),
        ("lasso", {"beta": 20}, "lam, lam_first"),
        ("proximal-lasso", {"beta": 20}, "lam, lam_first"),
    ],
)
def test_options_that_a_method_does_not_take(
    method: str, option: dict[str, Any], taken: str
) -> None:
    (name,) = option
    with pytest.raises(InvalidArgument, match=f"{method}.*{name}.*{taken}$"):
        build(method, model(), **option)


def test_default_values_of_other_methods_pass() -> None:
    build("sgd", model(), lam=0.0, lam_first=None, beta=50.0)
    build("lasso", model(), beta=50.0, momentum=0.0, weight_decay=0.0)


@pytest.mark.parametrize("option", ["lr", "momentum", "weight_decay"])
def test_invalid_values(option: str) -> None:
    with pytest.raises(InvalidArgument, match=f"{option} must be finite and at least 0, not -1"):
        build("sgd", model(), **{option: -1.0})


def test_unknown_method() -> None:
    with pytest.raises(InvalidArgument, match=r"'beta_lasso'.*Did you mean 'beta-lasso'"):
        build("beta_lasso", model())


@pytest.mark.parametrize("method", ["beta-lasso", "lasso", "proximal-lasso"])
def test_a_penalty_of_weights_that_are_not_there_is_refused(method: str) -> None:
    dense = models.build("3-fc", image=(1, 4, 4), classes=2, alpha=3)
    with pytest.raises(InvalidArgument, match="give lam"):
        build(method, dense, lam_first=0.1)
    build(method, dense, lam=0.1, lam_first=0.2)
    tree = models.build("tree-local", image=(1, 1, 8), classes=1, alpha=1)
    with pytest.raises(InvalidArgument, match="give lam_first"):
        build(method, tree, lam=0.1, lam_first=0.0)
