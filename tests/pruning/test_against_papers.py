"""Each method against its equations, on small layers, ties and empty choices included."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from scratchconv.errors import InvalidArgument
from scratchconv.pruning import (
    MagnitudePruning,
    Rewiring,
    RigL,
    Snip,
    SparseEvolution,
    reference,
)
from scratchconv.pruning.rigl import exchanged
from scratchconv.pruning.sparse_evolution import without_weakest

NUMBERS = st.integers(-4, 4).map(float)
LAYERS = st.lists(st.tuples(NUMBERS, NUMBERS, st.booleans()), min_size=1, max_size=24)


@given(LAYERS, st.floats(0, 1))
def test_rigl_is_algorithm_1(layer, fraction):
    theta = [t if connected else 0.0 for t, _, connected in layer]
    gradient, mask = [g for _, g, _ in layer], [connected for *_, connected in layer]
    new_theta, new_mask = reference.rigl(theta, gradient, mask, fraction)
    ours = exchanged(torch.tensor(theta), torch.tensor(gradient), torch.tensor(mask), fraction)
    assert ours.tolist() == new_mask
    assert (torch.tensor(theta) * ours).tolist() == new_theta
    assert sum(new_mask) == sum(mask)


@given(LAYERS, st.floats(0, 1))
def test_set_removes_by_sign(layer, zeta):
    theta = [t if connected else 0.0 for t, _, connected in layer]
    mask = [connected for *_, connected in layer]
    ours = without_weakest(torch.tensor(theta), torch.tensor(mask), zeta)
    assert ours.tolist() == reference.set_removal(theta, mask, zeta)


def test_fraction_follows_the_cosine():
    rewiring = Rewiring(every=100, until=1000, fraction=0.3)
    assert rewiring.fraction_at(0) == 0.3
    assert rewiring.fraction_at(500) == pytest.approx(0.15)
    assert rewiring.fraction_at(250) == pytest.approx(0.15 * (1 + math.sqrt(0.5)))
    assert [t for t in range(1201) if rewiring.due(t)] == list(range(0, 1000, 100))
    assert Rewiring(every=1, until=9, decay=False).fraction_at(8) == 0.3


def network() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(7, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(20, 7, generator=generator), torch.arange(20) % 3


def test_snip_is_equations_5_to_7():
    model, (inputs, targets) = network(), batch()
    weights = [model[0].weight, model[3].weight]
    # L(c ⊙ w) with c explicit, differentiated by c at 1.
    c = [torch.ones_like(w, requires_grad=True) for w in weights]
    hidden = F.linear(inputs, c[0] * weights[0], model[0].bias)
    hidden = F.relu(F.batch_norm(hidden, None, None, training=True))
    loss = F.cross_entropy(F.linear(hidden, c[1] * weights[1], model[3].bias), targets)
    by_mask = torch.autograd.grad(loss, c)
    running = model[1].running_mean.clone()
    pruning = Snip(model, torch.optim.SGD(model.parameters(), lr=0.1), density=0.4)
    expected = reference.snip(
        [w.flatten().tolist() for w in weights],
        [g.flatten().tolist() for g in by_mask],
        pruning.kept,
    )
    pruning.begin(lambda: F.cross_entropy(model(inputs), targets))
    assert [m.flatten().tolist() for m in pruning.masks.values()] == expected
    assert pruning.kept == 24 == sum(pruning.connections().values())
    assert torch.equal(model[1].running_mean, running)
    assert int(model[1].num_batches_tracked) == 0
    assert all(w.grad is None for w in weights)


def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    inputs, targets = batch()
    optimizer.zero_grad()
    F.cross_entropy(model(inputs), targets).backward()


def test_rigl_spends_the_step_on_its_connections():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    rewiring = Rewiring(every=3, until=8)
    pruning = RigL(model, optimizer, density=0.4, rewiring=rewiring)
    pruning.begin(lambda: torch.zeros(()))
    changed = []
    for number in range(10):
        pruning.before_forward(number)
        step(model, optimizer)
        before = {name: weight.detach().clone() for name, weight in pruning.weights.items()}
        masks = dict(pruning.masks)
        if pruning.before_update(number):
            changed.append(number)
            pruning.after_update(number)
            for name, weight in pruning.weights.items():
                expected = reference.rigl(
                    before[name].flatten().tolist(),
                    weight.grad.flatten().tolist(),
                    masks[name].flatten().tolist(),
                    rewiring.fraction_at(number),
                )
                assert weight.flatten().tolist() == expected[0]
                assert pruning.masks[name].flatten().tolist() == expected[1]
        else:
            optimizer.step()
            pruning.after_update(number)
    assert changed == [0, 3, 6]
    assert pruning.dense_gradients(0, 10) == 3
    assert pruning.dense_gradients(1, 6) == 1


def test_set_exchanges_before_the_steps_named_but_the_first():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    rewiring = Rewiring(every=3, until=8, decay=False)
    pruning = SparseEvolution(model, optimizer, density=0.4, rewiring=rewiring)
    pruning.begin(lambda: torch.zeros(()))
    counts, changed = pruning.connections(), []
    for number in range(10):
        before = {name: weight.detach().clone() for name, weight in pruning.weights.items()}
        masks = dict(pruning.masks)
        pruning.before_forward(number)
        assert pruning.connections() == counts
        for name, weight in pruning.weights.items():
            if pruning.masks[name] is masks[name]:
                continue
            changed.append(number)
            kept = torch.tensor(
                reference.set_removal(
                    before[name].flatten().tolist(), masks[name].flatten().tolist(), 0.3
                )
            ).view(weight.shape)
            assert torch.equal(pruning.masks[name] & kept, kept)
            assert torch.equal(weight, torch.where(kept, before[name], 0))
        step(model, optimizer)
        assert not pruning.before_update(number)
        optimizer.step()
        pruning.after_update(number)
    assert changed == [3, 3, 6, 6]


@pytest.mark.parametrize(
    ("rounds", "rewind_to", "starts"),
    [(1, 0, [10]), (1, 4, [12]), (3, 0, [5, 10, 15]), (3, 2, [8, 12, 16])],
)
def test_magnitude_cuts_and_rewinds_between_trainings(rounds, rewind_to, starts):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    pruning = MagnitudePruning(
        model, optimizer, density=0.2, steps=20, rounds=rounds, rewind_to=rewind_to
    )
    pruning.begin(lambda: torch.zeros(()))
    early, cut, positions = {}, [], []
    for number in range(20):
        if number == rewind_to:
            early = {name: value.clone() for name, value in model.state_dict().items()}
        before = {name: weight.detach().clone() for name, weight in pruning.weights.items()}
        masks = dict(pruning.masks)
        pruning.before_forward(number)
        if number in starts:
            cut.append(number)
            left = round(60 * 0.2 ** (len(cut) / rounds))
            expected = reference.magnitude(
                [w.flatten().tolist() for w in before.values()],
                [m.flatten().tolist() for m in masks.values()],
                left,
            )
            assert [m.flatten().tolist() for m in pruning.masks.values()] == expected
            for name, value in model.state_dict().items():
                mask = pruning.masks.get(name, torch.tensor(True))
                assert torch.equal(value, torch.where(mask, early[name], 0))
            assert not optimizer.state
        else:
            assert all(torch.equal(pruning.masks[name], masks[name]) for name in masks)
        positions.append(pruning.schedule(number, 20))
        step(model, optimizer)
        assert not pruning.before_update(number)
        optimizer.step()
        pruning.after_update(number)
    assert cut == starts
    assert sum(pruning.connections().values()) == pruning.kept == 12
    length = 20 - starts[-1] + rewind_to
    for start, end in zip([0, *starts], [*starts, 20], strict=True):
        first = rewind_to if start else 0
        whole = length if start else starts[0]
        assert positions[start:end] == [(first + i, whole) for i in range(end - start)]


def test_what_was_cut_never_returns_in_place_of_a_weight_that_is_zero():
    model = nn.Linear(6, 1, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    pruning = MagnitudePruning(model, optimizer, density=1 / 3, steps=9, rounds=2)
    with torch.no_grad():
        model.weight.copy_(torch.arange(1.0, 7.0).view(1, 6))
    for number in (0, 3):
        pruning.before_forward(number)
    assert pruning.masks["weight"].tolist() == [[False] * 3 + [True] * 3]
    with torch.no_grad():
        model.weight[:, 4:] = 0
    pruning.before_forward(6)
    assert pruning.masks["weight"].tolist() == [[False] * 3 + [True] * 2 + [False]]


def test_set_draws_anew_every_time():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    rewiring = Rewiring(every=3, until=8, decay=False)
    pruning = SparseEvolution(model, optimizer, density=0.4, rewiring=rewiring)
    drawn = [pruning.masks["0.weight"]]
    for number in (3, 6):
        with torch.no_grad():
            model[0].weight.zero_()  # so that all connections are exchanged
        pruning.before_forward(number)
        drawn.append(pruning.masks["0.weight"])
    assert not torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[1], drawn[2])


def test_magnitude_needs_steps_to_train_in():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for rounds, rewind_to in ((1, 20), (30, 0), (0, 0), (1, -1)):
        with pytest.raises(InvalidArgument, match="step"):
            MagnitudePruning(
                model, optimizer, density=0.2, steps=20, rounds=rounds, rewind_to=rewind_to
            )
