"""Dropout that a sparse layer computes: the outputs it keeps, its gradients, when it is silent."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import scratchconv as sc
from scratchconv.kernels.dropout import Dropout, kept_plain

modes = pytest.mark.parametrize("mode", ["dense", "sparse"])


class Masked(nn.Module):
    """Dropout in plain words: the outputs kept by the stream that torch's generator gives next."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        dropout = Dropout(self.rate, int(torch.randint(2**63 - 1, ())))
        kept = torch.from_numpy(kept_plain(dropout, x.shape[1], x.shape[0])).t()
        return torch.where(kept, x / (1 - self.rate), 0)


def network(dropout: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    hidden = (nn.Linear(12, 20), nn.BatchNorm1d(20), nn.ReLU())
    return nn.Sequential(*hidden, dropout, nn.Linear(20, 3))


def sparsified(model: nn.Module, mode: str) -> tuple[sc.sparse.Engine, sc.BetaLasso]:
    optimizer = sc.BetaLasso(sc.param_groups(model, lam=1e-3), lr=0.1, beta=20)
    return sc.sparsify(model, optimizer, mode=mode), optimizer


def batch(samples: int = 40) -> Tensor:
    return torch.randn(samples, 12, generator=torch.Generator().manual_seed(1))


@modes
@pytest.mark.parametrize("rate", [0.2, 0.7])
def test_outputs_and_gradients_are_those_of_the_outputs_kept(rate, mode):
    model, plain = network(nn.Dropout(rate)), network(Masked(rate))
    engine, _ = sparsified(model, mode)
    assert engine.layers["0"].dropout is model[3]
    x = batch()
    results = []
    for module in (model, plain):
        torch.manual_seed(5)
        inputs = x.clone().requires_grad_()
        outputs = module(inputs)
        outputs.square().sum().backward()
        results.append((outputs.detach(), inputs.grad, module[1].weight.grad, module[1].bias.grad))
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    gradient = engine.layers["0"].take_gradients()
    formed = gradient.outputs @ gradient.inputs.t()
    torch.testing.assert_close(formed, plain[0].weight.grad, rtol=1e-4, atol=1e-4)


@modes
def test_each_pass_drops_others_and_the_same_seed_the_same(mode):
    model = network(nn.Dropout(0.5))
    sparsified(model, mode)
    x = batch()
    torch.manual_seed(3)
    first, second = model(x), model(x)
    torch.manual_seed(3)
    again = model(x)
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


@modes
def test_both_forms_drop_the_same(mode):
    model = network(nn.Dropout(0.5))
    engine, _ = sparsified(model, mode)
    layer = engine.layers["0"]
    before = torch.manual_seed(3) and model(batch())
    layer.decompress() if mode == "sparse" else layer.compress()
    after = torch.manual_seed(3) and model(batch())
    torch.testing.assert_close(before, after, rtol=1e-5, atol=1e-5)


@modes
def test_in_evaluation_and_at_a_rate_of_zero_nothing_is_drawn_or_dropped(mode):
    model = network(nn.Dropout(0.5))
    plain = copy.deepcopy(model).eval()
    engine, _ = sparsified(model, mode)
    state = torch.get_rng_state()
    torch.testing.assert_close(model.eval()(batch()), plain(batch()), rtol=1e-5, atol=1e-5)
    model[3].p = 0.0
    model.train()(batch())
    assert torch.equal(torch.get_rng_state(), state)
    model[3].p = 1.0  # read anew at every pass
    assert (model[:4](batch()) == 0).all()
    plain = engine.to_dense()
    assert type(plain[3]) is nn.Dropout
    assert (plain[:4](batch()) == 0).all()


@pytest.mark.parametrize(
    "behind",
    [
        [nn.Dropout(0.5), nn.ReLU()],
        [nn.BatchNorm1d(20), nn.Dropout(0.5)],
        [nn.ReLU(), nn.AlphaDropout(0.5)],
        [nn.ReLU(), nn.Flatten(), nn.Dropout(0.5)],
    ],
    ids=["before the ReLU", "without one", "another kind", "something between"],
)
def test_other_dropout_is_left_to_itself(behind):
    model = nn.Sequential(nn.Linear(12, 20), *behind)
    kinds = [type(module) for module in behind if "Dropout" in type(module).__name__]
    engine, _ = sparsified(model, "sparse")
    assert engine.layers["0"].dropout is None
    assert [type(m) for m in model if "Dropout" in type(m).__name__] == kinds


# Active, but with nothing dropped from a small batch: which outputs would be is another matter.
RARELY = 1e-6


class OverwritesDropout(nn.Module):
    """What is behind the Dropout works in place, which plain modules allow."""

    def __init__(self, how: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc, self.relu, self.dropout = nn.Linear(12, 12), nn.ReLU(), nn.Dropout(RARELY)
        self.clip, self.last = nn.Hardtanh(-1, 1, inplace=True), nn.Linear(12, 3)
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        h = self.dropout(self.relu(self.fc(x)))
        if self.how == "operator":
            h += x
        elif self.how == "method":
            h.add_(x)
        elif self.how == "function":
            h = nn.functional.relu(h, inplace=True)
        else:
            h = self.clip(h)
        return self.last(h)


@modes
@pytest.mark.parametrize("how", ["operator", "method", "function", "module", "sequential"])
def test_what_follows_a_dropout_may_work_in_place(how, mode):
    if how == "sequential":
        model: nn.Module = network(nn.Sequential(nn.Dropout(RARELY), nn.Hardtanh(inplace=True)))
        model = nn.Sequential(*model[:3], *model[3], model[4])
    else:
        model = OverwritesDropout(how)
    plain = copy.deepcopy(model)
    sparsified(model, mode)
    for module in (model, plain):
        torch.manual_seed(2)
        module(batch()).square().sum().backward()
    for found, expected in zip(model.parameters(), plain.parameters(), strict=True):
        if expected.dim() == 1:
            torch.testing.assert_close(found.grad, expected.grad, rtol=1e-4, atol=1e-4)


def test_our_networks_have_their_dropout_computed():
    model = sc.models.build("s-fc", image=(3, 4, 4), classes=3, alpha=4, dropout=0.5)
    engine, optimizer = sparsified(model, "sparse")
    dropped = [layer.dropout for layer in engine.layers.values() if layer.dropout is not None]
    assert dropped == [module for module in model.modules() if isinstance(module, nn.Dropout)]
    assert dropped
    x = torch.randn(16, 3, 4, 4)
    loss = nn.functional.cross_entropy(model(x), torch.arange(16) % 3)
    loss.backward()
    optimizer.step()
    assert all(parameter.isfinite().all() for parameter in model.parameters())
