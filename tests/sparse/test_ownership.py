"""Who steps the weights of sparse layers: one optimizer, on gradients that it alone has."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import scratchconv as sc
from scratchconv.errors import InvalidArgument

modes = pytest.mark.parametrize("mode", ["dense", "sparse"])


def network() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 4))


def optimizer_of(model: nn.Module) -> sc.BetaLasso:
    return sc.BetaLasso(sc.param_groups(model, lam=1e-3), lr=0.1, beta=10.0)


def sparsified(mode: str) -> tuple[nn.Sequential, sc.BetaLasso, sc.sparse.Engine]:
    model = network()
    optimizer = optimizer_of(model)
    return model, optimizer, sc.sparsify(model, optimizer, mode=mode)


def loss(model: nn.Module, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(32, 20, generator=generator)
    return F.cross_entropy(model(x), torch.randint(4, (32,), generator=generator))


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 3) -> None:
    for seed in range(steps):
        optimizer.zero_grad()
        loss(model, seed).backward()
        optimizer.step()


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_trains_as(plain: nn.Module, model: nn.Module, optimizer: sc.BetaLasso) -> None:
    """`plain`, of the same weights and without an engine, comes to the same."""
    train(model, optimizer)
    train(plain, optimizer_of(plain))
    torch.testing.assert_close(weights(model), weights(plain), rtol=1e-4, atol=1e-5)


@modes
@pytest.mark.parametrize("unscaled", [False, True], ids=["step", "unscale_, step"])
@pytest.mark.parametrize("overflow", [False, True])
def test_a_gradient_scaler_is_refused_and_leaves_no_trace(overflow, unscaled, mode):
    model, optimizer, _ = sparsified(mode)
    before = weights(model)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaled = scaler.scale(loss(model))
    (scaled * float("inf") if overflow else scaled).backward()
    if unscaled:
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    with pytest.raises(InvalidArgument, match="GradScaler cannot reach"):
        scaler.step(optimizer)
    torch.testing.assert_close(weights(model), before, rtol=0, atol=0)
    assert_trains_as(network(), model, optimizer)


@modes
def test_a_penalty_on_the_weight_is_refused(mode):
    model, optimizer, _ = sparsified(mode)
    before = weights(model)

    def step() -> None:
        (loss(model) + 0.1 * model[0].weight.pow(2).sum()).backward()
        optimizer.step()

    with pytest.raises(InvalidArgument, match=r"past the layer.*to_dense\(\)"):
        step()
    torch.testing.assert_close(weights(model), before, rtol=0, atol=0)
    optimizer.zero_grad()
    assert model[0].weight.pow(2).sum().item() > 0  # looked at, it is as any
    assert_trains_as(network(), model, optimizer)


@modes
def test_a_gradient_from_before_is_forgotten(mode):
    model = network()
    optimizer = optimizer_of(model)
    loss(model).backward()
    sc.sparsify(model, optimizer, mode=mode)
    before = weights(model)
    optimizer.step()
    assert torch.equal(model.state_dict()["0.weight"], before["0.weight"])
    optimizer.zero_grad(set_to_none=False)
    loss(model).backward()
    optimizer.step()
    assert not torch.equal(model.state_dict()["0.weight"], before["0.weight"])


class TiedAutoencoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.encoder, self.last = nn.Linear(20, 16), nn.Linear(20, 4)

    def forward(self, x: Tensor) -> Tensor:
        code = torch.relu(self.encoder(x.to(self.last.weight.dtype)))
        return self.last(F.linear(code, self.encoder.weight.t()))


@modes
def test_a_weight_with_two_uses_is_left_alone_and_trains_as_before(mode):
    model, plain = TiedAutoencoder(), TiedAutoencoder()
    optimizer = optimizer_of(model)
    engine = sc.sparsify(model, optimizer, mode=mode)
    assert engine.left == {"encoder": "the forward pass uses its weight for something else too"}
    assert_trains_as(plain, model, optimizer)


@modes
def test_a_second_optimizer_is_refused_until_the_first_engine_lets_go(mode):
    model, optimizer, engine = sparsified(mode)
    train(model, optimizer)
    with pytest.raises(InvalidArgument, match=r"layer '0' is trained by.*to_dense\(\)"):
        sc.param_groups(model, lam=1e-3)
    other = sc.BetaLasso(model.parameters(), lam=1e-3)
    with pytest.raises(InvalidArgument, match=r"layer '0' is trained by.*to_dense\(\)"):
        sc.sparsify(model, other)
    before = weights(model)
    engine.to_dense()
    other = optimizer_of(model)
    sc.sparsify(model, other, mode=mode)
    train(model, other)
    assert not torch.equal(model.state_dict()["0.weight"], before["0.weight"])


def forget(model: nn.Module, optimizer: sc.BetaLasso, engine: sc.sparse.Engine) -> nn.Module:
    """The model, after which nobody else has its optimizer."""
    return model


ORPHANS: dict[str, Callable[..., nn.Module]] = {
    "a copy": lambda model, optimizer, engine: copy.deepcopy(model),
    "its optimizer is gone": forget,
}


@modes
@pytest.mark.parametrize("orphan", ORPHANS)
def test_layers_that_nobody_steps_do_not_gather_gradients(orphan, mode):
    model = ORPHANS[orphan](*sparsified(mode))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loss(model).backward()
    optimizer.step()
    with pytest.raises(InvalidArgument, match="no optimizer steps this sparse layer"):
        loss(model).backward()
    model.requires_grad_(False)
    for _ in range(3):
        x = torch.ones(2, 20, requires_grad=True)
        model(x).sum().backward()
        assert x.grad.abs().sum() > 0
