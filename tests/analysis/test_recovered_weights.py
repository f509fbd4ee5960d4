"""Weights that compute the same function are recognised as the same, and no others."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from scratchconv import models
from scratchconv.analysis.recovered_weights import recovered_weights
from scratchconv.data.tree import draw_theta, tree_function
from scratchconv.errors import InvalidArgument

KINDS = ("tree-weight", "tree-local", "tree-oracle")


def network(name: str, levels: int = 6, alpha: int = 1) -> models.Network:
    built = models.build(name, image=(1, 1, 2**levels), classes=1, alpha=alpha, seed=3)
    return built.double()


def weights(model: models.Network) -> list[torch.Tensor]:
    return [model.get_parameter(f"{layer}.weight") for layer in model.convolution_layers]


@torch.no_grad()
def equivalent(name: str, theta: torch.Tensor, seed: int) -> models.Network:
    """A network that computes the tree's function, with signs and shifts of its own."""
    model = network(name, levels=len(theta))
    generator = torch.Generator().manual_seed(seed)

    def signs(count: int) -> torch.Tensor:
        return 1.0 - 2 * torch.randint(2, (count,), generator=generator).double()

    shift, before = 0, torch.ones(2 ** len(theta), dtype=torch.float64)
    for level, (weight, pair) in enumerate(zip(weights(model), theta, strict=True), start=1):
        units = 2 ** (len(theta) - level)
        after = signs(units if name == "tree-local" else 1).expand(units)
        after = torch.ones_like(after) if level == len(theta) else after
        if name == "tree-local":
            weight.copy_((after[:, None] * before.view(-1, 2) * pair).view_as(weight))
        else:
            shift_after = int(torch.randint(units, (), generator=generator))
            filled = torch.zeros(weight.numel(), dtype=torch.float64)
            filled[:2] = after[0] * before[0] * pair
            at = 2 * shift_after - shift if name == "tree-weight" else 0
            weight.copy_(filled.roll(at).view_as(weight))
            shift = shift_after
        before = after
    return model


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("seed", range(5))
def test_equivalent_networks_are_recovered_exactly(name, seed):
    theta = draw_theta(seed)
    model = equivalent(name, theta, seed)
    inputs = torch.randn(20, 64, dtype=torch.float64)
    torch.testing.assert_close(model(inputs.view(20, 1, 1, 64))[:, 0], tree_function(inputs, theta))
    found = recovered_weights(model, theta)
    assert [level.level for level in found] == [1, 2, 3, 4, 5, 6]
    for level, pair in zip(found, theta, strict=True):
        assert level.error == level.relative_error == 0
        assert torch.equal(level.left, level.true_left)
        assert torch.equal(level.right, level.true_right)
        assert (level.true_left[0], level.true_right[0]) == tuple(pair)
    lengths = {"tree-weight": [32, 16, 8, 4, 2, 1], "tree-local": [32, 16, 8, 4, 2, 1]}
    assert [len(level.left) for level in found] == lengths.get(name, [1] * 6)


def test_true_weights_of_figure_2():
    """WeightNet should have θ₁₁ once and zeros elsewhere, LocalNet θ₁₁ everywhere."""
    theta = draw_theta(0)
    shared = recovered_weights(network("tree-weight"), theta)[0]
    local = recovered_weights(network("tree-local"), theta)[0]
    assert shared.true_left.tolist() == [float(theta[0, 0])] + [0.0] * 31
    assert local.true_right.tolist() == [float(theta[0, 1])] * 32


def total_error(model: models.Network, theta: torch.Tensor) -> float:
    """Σ of squared differences over all levels."""
    return sum(
        float((level.left - level.true_left).square().sum())
        + float((level.right - level.true_right).square().sum())
        for level in recovered_weights(model, theta)
    )


def by_enumeration(model: models.Network, theta: torch.Tensor) -> float:
    """The least Σ of squared differences to any equivalent of the tree's weights, one by one."""
    levels, given = len(theta), [weight.detach().flatten() for weight in weights(model)]
    units = [2 ** (levels - level) for level in range(1, levels)]
    local, shared = model.name == "tree-local", model.name == "tree-weight"
    of_signs = [itertools.product((1, -1), repeat=u if local else 1) for u in units]
    of_shifts = [range(u) if shared else (0,) for u in units]
    least = math.inf
    all_shifts = list(itertools.product(*of_shifts))
    for signs in itertools.product(*of_signs):
        before_after = zip(((1,) * 2**levels, *signs), (*signs, (1,)), strict=True)
        pairs = []
        for (before, after), pair in zip(before_after, theta, strict=True):
            if local:
                rows = torch.tensor(before).view(-1, 2) * torch.tensor(after)[:, None]
                pairs.append((rows * pair).flatten())
            else:
                pairs.append(before[0] * after[0] * pair)
        for shifts in all_shifts:
            total = 0.0
            for weight, pair, m, m_after in zip(
                given, pairs, (0, *shifts), (*shifts, 0), strict=True
            ):
                true = torch.zeros_like(weight)
                true[: len(pair)] = pair
                total += float((weight - true.roll(2 * m_after - m)).square().sum())
            least = min(least, total)
    return least


@pytest.mark.parametrize(
    ("name", "levels"), [("tree-weight", 3), ("tree-local", 3), ("tree-oracle", 5)]
)
@pytest.mark.parametrize("seed", range(4))
def test_the_nearest_of_all_equivalents_is_found(name, levels, seed):
    theta = draw_theta(seed)[:levels]
    model = network(name, levels=levels)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in weights(model):
            weight.copy_(torch.randn(weight.shape, generator=generator, dtype=torch.float64))
    assert total_error(model, theta) == pytest.approx(by_enumeration(model, theta), rel=1e-12)


@pytest.mark.parametrize("name", KINDS)
def test_errors_measure_the_difference(name):
    theta = draw_theta(1)
    model = equivalent(name, theta, seed=2)
    with torch.no_grad():
        for weight in weights(model):
            weight.mul_(1.01)
    for level, pair in zip(recovered_weights(model, theta), theta, strict=True):
        assert level.relative_error == pytest.approx(0.01)
        size = len(level.left) * 2
        times = size // 2 if name == "tree-local" else 1
        expected = 0.01 * math.sqrt(float(pair.square().sum()) * times / size)
        assert level.error == pytest.approx(expected)


def test_what_is_not_equivalent_is_not_recovered():
    """The first level turned by an odd number joins other pairs: another function."""
    theta = draw_theta(4)
    model = equivalent("tree-weight", theta, seed=4)
    with torch.no_grad():
        weights(model)[0].copy_(weights(model)[0].roll(1, dims=3))
    assert recovered_weights(model, theta)[0].relative_error > 0.3
    # The same sign change in one level alone.
    model = equivalent("tree-local", theta, seed=4)
    with torch.no_grad():
        weights(model)[2].neg_()
    assert max(level.relative_error for level in recovered_weights(model, theta)) > 0.3


@pytest.mark.parametrize(
    ("name", "theta", "alpha", "message"),
    [
        ("tree-fc", draw_theta(0), 1, "the weights of tree-fc cannot be held against"),
        ("tree-local", draw_theta(0), 2, "tree-oracle with alpha 1"),
        ("tree-local", draw_theta(0)[:5], 1, r"theta of shape \(5, 2\) is no tree of the 6 levels"),
    ],
)
def test_other_networks_are_refused(name, theta, alpha, message):
    with pytest.raises(InvalidArgument, match=message):
        recovered_weights(network(name, alpha=alpha), theta)


def test_weights_that_are_not_finite_are_refused():
    model = network("tree-local")
    with torch.no_grad():
        weights(model)[3].fill_(math.nan)
    with pytest.raises(InvalidArgument, match="NaN or infinity"):
        recovered_weights(model, draw_theta(0))
