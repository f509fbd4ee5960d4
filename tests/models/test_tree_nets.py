"""The tree networks: Table 1 of Zhang 2021, and that each can be the tree itself."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from scratchconv import models
from scratchconv.data.tree import DEPTH, INPUTS, draw_theta, tree_function
from scratchconv.errors import InvalidArgument

TREE = [name for name in models.NAMES if name.startswith("tree-")]
IMAGE = (1, 1, INPUTS)


def build(name: str, **settings: int) -> models.Network:
    return models.build(name, **{"image": IMAGE, "classes": 1, "alpha": 1, "seed": 0, **settings})


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("tree-weight", lambda k: 2 ** (7 - k)),
        ("tree-local", lambda k: 2 ** (7 - k)),
        ("tree-oracle", lambda k: 2),
        ("tree-fc", lambda k: 2 ** (13 - 2 * k)),
    ],
)
def test_weights_of_every_level_are_those_of_table_1(name, weights):
    network = build(name)
    found = [network.get_submodule(layer).weight.numel() for layer in network.convolution_layers]
    assert found == [weights(k) for k in range(1, DEPTH + 1)]
    total = {"tree-weight": 126, "tree-local": 126, "tree-oracle": 12, "tree-fc": 2730}[name]
    assert models.parameter_count(name, IMAGE, classes=1, alpha=1) == total == sum(found)
    assert sum(parameter.numel() for parameter in network.parameters()) == total  # no biases


@pytest.mark.parametrize("name", TREE)
def test_tanh_after_every_level_but_the_last(name):
    network = build(name)
    order = [layer for layer, _ in network.named_children() if layer != "flatten"]
    assert order == [f"{kind}{k}" for k in range(1, 7) for kind in ("level", "tanh")][:-1]
    assert sum(isinstance(module, nn.Tanh) for module in network.modules()) == 5
    assert network.first_layer is network.get_submodule("level1")
    outputs = {}
    for layer in network.convolution_layers:
        network.get_submodule(layer).register_forward_hook(
            lambda module, _, output: outputs.__setitem__(module, output[0].numel())
        )
    network(torch.randn(3, *IMAGE))
    assert list(outputs.values()) == [2 ** (6 - k) for k in range(1, 7)]


def exact_weight(layer: nn.Module, pair: torch.Tensor) -> torch.Tensor:
    """The level of the tree with these θ, as the weight of a layer."""
    if isinstance(layer, nn.Linear):
        return torch.kron(torch.eye(layer.out_features, dtype=pair.dtype), pair[None])
    if isinstance(layer, nn.Conv2d):  # shared: θ, then zeros
        return torch.cat([pair, pair.new_zeros(layer.weight[0].numel() - 2)]).view_as(layer.weight)
    return pair.expand_as(layer.weight)


@pytest.mark.parametrize("name", TREE)
def test_every_network_can_be_the_tree(name):
    network, theta = build(name).double(), draw_theta(5)
    with torch.no_grad():
        for layer, pair in zip(network.convolution_layers, theta, strict=True):
            module = network.get_submodule(layer)
            module.weight.copy_(exact_weight(module, pair))
    inputs = torch.randn(7, INPUTS, dtype=torch.float64)
    output = network(inputs.view(7, *IMAGE))
    assert output.shape == (7, 1)
    torch.testing.assert_close(output.squeeze(1), tree_function(inputs, theta))


def test_weight_net_as_the_text_has_it():
    """With any weights: inner products with the even cyclic shifts, level by level."""
    network = build("tree-weight").double()
    inputs = torch.randn(5, INPUTS, dtype=torch.float64)
    z = inputs
    for k, layer in enumerate(network.convolution_layers, start=1):
        w = network.get_parameter(f"{layer}.weight").flatten()
        assert len(w) == 2 ** (7 - k) == z.shape[1]
        z = torch.stack([torch.roll(z, -c, 1) @ w for c in range(0, 2 ** (7 - k) - 1, 2)], dim=1)
        z = z if k == 6 else z.tanh()
    torch.testing.assert_close(network(inputs.view(5, *IMAGE)), z)


@settings(deadline=None, max_examples=40)
@given(
    name=st.sampled_from(TREE),
    channels=st.integers(1, 3),
    levels=st.integers(2, 6),
    classes=st.integers(1, 4),
    alpha=st.integers(1, 4),
)
def test_the_formula_equals_the_network(name, channels, levels, classes, alpha):
    image = (channels, 1, 2**levels)
    network = models.build(name, image=image, classes=classes, alpha=alpha, seed=0)
    found = sum(parameter.numel() for parameter in network.parameters())
    assert models.parameter_count(name, image, classes, alpha) == found
    assert len(network.convolution_layers) == levels
    output = network(torch.randn(3, *image))
    assert output.shape == (3, classes)
    output.square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in network.parameters())


def test_a_budget_of_weights_is_met_by_channels():
    # 2·(1·α + 4·α·α + α·1) = 96 at α = 3.
    assert models.build("tree-oracle", image=IMAGE, classes=1, params=96).alpha == 3


@pytest.mark.parametrize("name", TREE)
@pytest.mark.parametrize("image", [(1, 8, 8), (1, 1, 48), (1, 1, 2), (1, 1, 1)])
def test_other_images_are_refused(name, image):
    message = f"{name} joins its inputs two by two and needs one row of 4, 8, 16"
    with pytest.raises(InvalidArgument, match=message):
        models.build(name, image=image, classes=1, alpha=1)
    with pytest.raises(InvalidArgument, match=message):
        models.parameter_count(name, image, 1, 1)


def test_dropout_is_refused():
    with pytest.raises(InvalidArgument, match=r"dropout is 0\.5, but tree-fc has no dense"):
        models.build("tree-fc", image=IMAGE, classes=1, alpha=1, dropout=0.5)
