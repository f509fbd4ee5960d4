"""Weights of sparse layers that others put there: they are taken up, or refused."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector, vector_to_parameters

import scratchconv as sc
from scratchconv.errors import InvalidArgument

modes = pytest.mark.parametrize("mode", ["dense", "sparse"])


def network() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 4))


def batch(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(32, 20, generator=generator), torch.randint(4, (32,), generator=generator)


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
    for seed in steps:
        x, y = batch(seed)
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()


def trained(mode: str | None) -> tuple[nn.Sequential, sc.BetaLasso, sc.sparse.Engine | None]:
    model = network()
    optimizer = sc.BetaLasso(sc.param_groups(model, lam=1e-3), lr=0.1, beta=10.0)
    engine = sc.sparsify(model, optimizer, mode=mode) if mode else None
    train(model, optimizer, range(3))
    return model, optimizer, engine


def by_functional_call(m: nn.Sequential, x: Tensor) -> Tensor:
    return functional_call(m, {name: p * 0 for name, p in m.named_parameters()}, (x,))


def by_assignment(m: nn.Sequential, x: Tensor) -> Tensor:
    m[0].weight = nn.Parameter(torch.zeros(16, 20))
    return m(x)


def by_vector(m: nn.Sequential, x: Tensor) -> Tensor:
    vector_to_parameters(parameters_to_vector(m.parameters()) * 0.5, m.parameters())
    return m(x)


def by_data_of_parameters(m: nn.Sequential, x: Tensor) -> Tensor:
    for parameter in m.parameters():
        parameter.data = parameter.data * 0.5
    return m(x)


def by_data_of_a_whole_weight(m: nn.Sequential, x: Tensor) -> Tensor:
    next(iter(m.parameters())).data = torch.eye(16, 20)
    return m(x)


def by_reset(m: nn.Sequential, x: Tensor) -> Tensor:
    torch.manual_seed(7)
    m[0].reset_parameters()
    return m(x)


@torch.no_grad()
def by_zero_(m: nn.Sequential, x: Tensor) -> Tensor:
    m[0].weight.zero_()
    return m(x)


@torch.no_grad()
def by_rows(m: nn.Sequential, x: Tensor) -> Tensor:
    m[0].weight[2:5] = 0
    m[0].weight[5].mul_(2)
    return m(x)


def by_weight_data(m: nn.Sequential, x: Tensor) -> Tensor:
    m[0].weight.data.mul_(2)
    return m(x)


def by_init(m: nn.Sequential, x: Tensor) -> Tensor:
    nn.init.constant_(m[0].weight, 0.5)
    return m(x)


ROUTES = {
    by_functional_call: "refused",
    by_assignment: "refused",
    by_vector: "taken up",
    by_data_of_parameters: "taken up",
    by_data_of_a_whole_weight: "taken up",
    by_reset: "taken up",
    by_zero_: "refused if compressed",
    by_rows: "refused if compressed",
    by_weight_data: "refused if compressed",
    by_init: "refused if compressed",
}


@modes
@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.__name__)
def test_other_weights_take_effect_or_are_refused(route: Callable[..., Tensor], mode):
    model, optimizer, engine = trained(mode)
    plain, plain_optimizer, _ = trained(None)
    plain.load_state_dict(model.state_dict())
    x, _ = batch(9)
    expected = route(plain, x)
    if ROUTES[route] == "refused" or (mode == "sparse" and "compressed" in ROUTES[route]):
        with pytest.raises(InvalidArgument, match=r"to_dense\(\)|decompress\(\)"):
            route(model, x)
        engine.to_dense()
        found = route(model, x)
    else:
        found = route(model, x)
        assert model[0].compressed == (mode == "sparse")
        assert model[0].nonzero_per_unit().tolist() == (plain[0].weight != 0).sum(1).tolist()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    train(model, optimizer, range(9, 12))
    train(plain, plain_optimizer, range(9, 12))
    torch.testing.assert_close(model.state_dict(), plain.state_dict(), rtol=1e-4, atol=1e-5)


@modes
def test_after_a_functional_call_the_layer_goes_on_with_its_own_weight(mode):
    model, _, _ = trained(mode)
    x, _ = batch(9)
    before = model(x)
    with pytest.raises(InvalidArgument, match="replaced by another tensor"):
        by_functional_call(model, x)
    assert torch.equal(model(x), before)


def test_values_that_fit_nowhere_are_refused():
    model, _, _ = trained("sparse")
    model[0].values.data = torch.zeros(3)
    with pytest.raises(InvalidArgument, match=r"replaced by torch\.float32 of shape \(3,\)"):
        model(batch()[0])


def test_a_compressed_weight_computes_as_any():
    model, _, _ = trained("sparse")
    weight = model[0].weight
    dense = model.state_dict()["0.weight"]
    changed = weight.detach().clone()
    changed.zero_()
    assert type(weight * 2) is Tensor
    torch.testing.assert_close((weight * 2).detach(), dense * 2)
    torch.testing.assert_close(weight.detach().t()[3], dense.t()[3], check_dtype=True)
    assert (weight.detach().numpy() == dense.numpy()).all()
    assert torch.equal(copy.deepcopy(model)[0].weight, weight)
    assert "Snapshot" in repr(weight)
    for copied in (copy.deepcopy(weight), pickle.loads(pickle.dumps(weight))):
        assert type(copied) is Tensor
        assert torch.equal(copied.zero_(), torch.zeros(16, 20))


@modes
@pytest.mark.parametrize("put", ["copy_", "set"])
def test_a_moving_average_put_in_place_for_an_evaluation_is_evaluated(put, mode):
    model, optimizer, _ = trained(None)
    plain, plain_optimizer, _ = trained(None)
    sc.sparsify(model, optimizer, mode=mode)
    x, y = batch(9)

    def evaluated(m: nn.Sequential) -> tuple[Tensor, Tensor]:
        """Outputs and input gradients, of half the weights, under autocast."""
        own = [parameter.data.clone() for parameter in m.parameters()]
        swap(m, [0.5 * data for data in own])
        inputs = x.clone().requires_grad_()
        outputs = m.eval()(inputs)
        (slope,) = torch.autograd.grad(outputs.float().square().sum(), inputs)
        swap(m, own)
        m.train()
        return outputs.detach().float(), slope

    def swap(m: nn.Sequential, to: list[Tensor]) -> None:
        for parameter, data in zip(m.parameters(), to, strict=True):
            if put == "copy_":
                parameter.data.copy_(data)
            else:
                parameter.data = data.clone()

    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        for m, o in ((model, optimizer), (plain, plain_optimizer)):
            o.zero_grad()
            F.cross_entropy(m(x).float(), y).backward()
            o.step()
        raw = model(x).float()
        for found, expected in zip(evaluated(model), evaluated(plain), strict=True):
            # Of the whole weights they would be more than twice as large; a rounding of bfloat16
            # may switch a ReLU.
            assert (found - expected).norm() < 0.3 * expected.norm()
        assert torch.equal(model(x).float(), raw)  # and training goes on with its own
