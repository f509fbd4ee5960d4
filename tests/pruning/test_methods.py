"""What every method promises: exact counts, zeros that stay, and going on bit for bit."""

from __future__ import annotations

import json
from typing import Literal

import pytest
import torch
from safetensors.torch import load, save
from torch import nn
from torch.nn import functional as F

from scratchconv import models, pruning, sparse
from scratchconv.errors import Collapse, InvalidArgument
from scratchconv.pruning import (
    METHODS,
    GivenConnections,
    MagnitudePruning,
    Pruning,
    build,
    iterative_rounds,
    layer_counts,
    prunable_weights,
)
from scratchconv.training.schedule import cosine

STEPS, EPOCH_STEPS = 24, 4


class Run:
    """A small S-FC in training, as the training loop does it."""

    def __init__(
        self,
        name: str,
        density: float = 0.1,
        seed: int = 0,
        distribution: Literal["erdos-renyi", "uniform"] | None = None,
    ) -> None:
        self.model = models.build("s-fc", image=(1, 6, 6), classes=3, alpha=2, seed=1)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9)
        self.pruning: Pruning = build(
            name,
            self.model,
            self.optimizer,
            density=density,
            steps=STEPS,
            epoch_steps=EPOCH_STEPS,
            distribution=distribution,
            seed=seed,
        )

    def begin(self) -> None:
        self.pruning.begin(lambda: self.loss(0))

    def loss(self, step: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(step)
        inputs = torch.randn(16, 1, 6, 6, generator=generator)
        return F.cross_entropy(self.model(inputs), (inputs.sum((1, 2, 3)) > 0).long())

    def train(self, start: int, end: int) -> None:
        for step in range(start, end):
            self.optimizer.param_groups[0]["lr"] = cosine(*self.pruning.schedule(step, STEPS), 0.1)
            self.pruning.before_forward(step)
            self.optimizer.zero_grad()
            self.loss(step).backward()
            if not self.pruning.before_update(step):
                self.optimizer.step()
            self.pruning.after_update(step)


def test_iterative_pruning_leaves_each_training_five_epochs_where_it_can():
    assert [iterative_rounds(87 * epochs, 87) for epochs in (2, 10, 20, 25, 40, 400)] == [
        2,
        2,
        3,
        4,
        5,
        5,
    ]


@pytest.mark.parametrize(("steps", "every"), [(24, 10), (1740, 17), (10**5, 100)])
def test_connections_change_in_the_first_three_quarters(steps, every):
    for name, interval in (("rigl", every), ("set", 4)):
        model = models.build("s-fc", image=(1, 6, 6), classes=3, alpha=2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        made = build(name, model, optimizer, density=0.1, steps=steps, epoch_steps=4)
        assert (made.rewiring.every, made.rewiring.until) == (interval, steps * 3 // 4)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("density", [0.031, 0.5, 1.0])
def test_ends_with_exactly_the_density_asked_for(name, density):
    run = Run(name, density)
    run.begin()
    run.train(0, STEPS)
    size = sum(weight.numel() for weight in run.pruning.weights.values())
    assert sum(run.pruning.connections().values()) == round(density * size)
    for name_, weight in run.pruning.weights.items():
        mask = run.pruning.masks[name_]
        buffer = run.optimizer.state[weight]["momentum_buffer"]
        for tensor in (weight.detach(), buffer):
            assert not tensor[~mask].any()
            assert not torch.signbit(tensor[~mask]).any()
    assert any(weight.count_nonzero() for weight in run.pruning.weights.values())


@pytest.mark.parametrize("name", [name for name in METHODS if name != "snip"])
def test_a_distribution_gives_every_method_the_same_counts(name):
    run = Run(name, 0.031, distribution="erdos-renyi")
    run.begin()
    run.train(0, STEPS)
    shapes = {key: tuple(weight.shape) for key, weight in run.pruning.weights.items()}
    assert run.pruning.connections() == layer_counts(shapes, run.pruning.kept, "erdos-renyi")


def test_snip_names_a_weight_that_the_loss_does_not_use():
    run = Run("snip")
    with pytest.raises(InvalidArgument, match=r"fc1.weight takes no part in the loss"):
        run.pruning.begin(lambda: run.model.conv1(torch.randn(4, 1, 6, 6).flatten(1)).sum())


def test_snip_chooses_nothing_where_no_weight_has_an_effect():
    run = Run("snip")
    with pytest.raises(Collapse, match="no weight has an effect"):
        run.pruning.begin(lambda: 0.0 * run.loss(0))


def test_snip_takes_no_distribution():
    with pytest.raises(InvalidArgument, match="snip takes no distribution"):
        Run("snip", distribution="uniform")


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("stop", [0, 1, 4, 8, 11, 12, 13])
def test_goes_on_bit_for_bit(name, stop):
    whole = Run(name)
    whole.begin()
    whole.train(0, STEPS)
    first = Run(name)
    first.begin()
    first.train(0, stop)
    tensors, plain = first.pruning.state()
    second = Run(name)
    second.pruning.load_state(load(save(tensors)), json.loads(json.dumps(plain)))
    second.model.load_state_dict(first.model.state_dict())
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    second.train(stop, STEPS)
    for key, value in whole.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[key]), key
    for key, mask in whole.pruning.masks.items():
        assert torch.equal(mask, second.pruning.masks[key])


@pytest.mark.parametrize("name", ["set", "rigl", "random"])
def test_the_seed_draws_the_connections(name):
    masks = [Run(name, seed=seed).pruning.masks["conv1.weight"] for seed in (0, 0, 1)]
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])


def test_rounds_with_a_distribution_connect_nothing_again():
    # By largest remainders alone the third layer would have 8 connections, and then 9.
    model = nn.ModuleList(nn.Linear(*sizes) for sizes in [(10, 3), (2, 3), (3, 3), (3, 9)])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    steps = 60
    pruning = MagnitudePruning(
        model, optimizer, density=0.9, steps=steps, rounds=5, distribution="uniform"
    )
    pruning.begin(lambda: torch.zeros(()))
    masks = dict(pruning.masks)
    for step in range(steps):
        pruning.before_forward(step)
        for name, mask in pruning.masks.items():
            assert not (mask & ~masks[name]).any(), (step, name)
        masks = dict(pruning.masks)
        pruning.after_update(step)
    assert sum(pruning.connections().values()) == pruning.kept


def test_a_state_of_another_run_is_refused():
    tensors, plain = Run("rigl").pruning.state()
    with pytest.raises(InvalidArgument, match="is of rigl with"):
        Run("set").pruning.load_state(tensors, plain)
    with pytest.raises(InvalidArgument, match="is of rigl with"):
        Run("rigl", density=0.2).pruning.load_state(tensors, plain)
    with pytest.raises(InvalidArgument, match="no mask of shape"):
        Run("rigl").pruning.load_state({}, plain)


def test_prunes_weights_of_all_layers_and_nothing_else():
    model = models.build("s-conv", image=(1, 6, 6), classes=3, alpha=2, seed=1)
    assert list(prunable_weights(model)) == ["conv1.weight", "fc1.weight", "fc2.weight"]


def test_given_connections_hold_and_unnamed_weights_stay_dense():
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    mask = torch.eye(3, 4, dtype=torch.bool)
    pruning = GivenConnections(model, optimizer, masks={"0.weight": mask})
    pruning.begin(lambda: torch.zeros(()))
    assert torch.equal(model[0].weight != 0, mask)
    assert pruning.connections() == {"0.weight": 3, "1.weight": 6}
    assert pruning.kept == 9
    model(torch.ones(2, 4)).sum().backward()
    optimizer.step()
    pruning.after_update(0)
    assert torch.equal(model[0].weight != 0, mask)


@pytest.mark.parametrize("masks", [{"1.weight": torch.ones(1, 1)}, {"0.weight": torch.ones(2)}])
def test_masks_that_do_not_fit_are_refused(masks):
    model = nn.Sequential(nn.Linear(4, 3))
    with pytest.raises(InvalidArgument, match="the weights are"):
        GivenConnections(model, torch.optim.SGD(model.parameters(), lr=0.1), masks=masks)


def test_unknown_names_list_the_known():
    with pytest.raises(InvalidArgument, match=r"iterative-magnitude, magnitude, .* 'rigl'"):
        Run("rigL")


def test_rigl_needs_the_backward_pass():
    run = Run("rigl")
    run.begin()
    with pytest.raises(InvalidArgument, match="after the backward pass"):
        run.pruning.before_update(0)


@pytest.mark.parametrize("overflown", [float("inf"), float("nan")])
def test_rigl_leaves_a_step_whose_gradients_overflowed_to_the_scaler(overflown):
    run = Run("rigl")
    run.begin()
    before = dict(run.pruning.masks)
    run.loss(0).backward()
    run.model.get_parameter("fc1.weight").grad[0, 0] = overflown
    assert run.pruning.before_update(0) is False
    assert all(torch.equal(mask, before[name]) for name, mask in run.pruning.masks.items())
    run.optimizer.zero_grad()
    run.loss(0).backward()
    assert run.pruning.before_update(0) is True
    assert any(not torch.equal(mask, before[name]) for name, mask in run.pruning.masks.items())


@pytest.mark.parametrize("name", models.NAMES)
def test_what_can_be_pruned_is_what_the_paper_counts(name):
    image, classes = ((1, 1, 64), 1) if name.startswith("tree") else ((3, 32, 32), 10)
    model = models.build(name, image=image, classes=classes, alpha=2)
    counted = sum(weight.numel() for weight in prunable_weights(model).values())
    assert counted == models.parameter_count(name, image, classes, 2)


def test_a_model_of_fixed_connections_is_not_pruned_once_more():
    model = nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 2))
    sparse.fix_connections(model, {"0.weight": torch.eye(4, 6) > 0})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(InvalidArgument, match=r"0.weight hold the weights of fixed connections"):
        pruning.RandomConnections(model, optimizer, density=0.5)
