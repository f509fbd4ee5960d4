"""Operations counted from non-zeros, against counts by hand and the formulas of Evci 2020."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune
from torch.utils.flop_counter import FlopCounterMode

from scratchconv import models
from scratchconv.analysis import sparsity
from scratchconv.analysis.flops import (
    Flops,
    LayerUse,
    Stretch,
    inference_flops,
    layer_uses,
    step_flops,
    training_flops,
)
from scratchconv.errors import InvalidArgument

LAYERS = [LayerUse("a", size=100, uses=9), LayerUse("b", size=40, uses=1)]
NONZERO = {"a": 10, "b": 20}


def test_a_weight_is_used_once_in_a_dense_layer_and_at_every_position_in_a_convolution():
    conv = models.build("s-conv", image=(3, 8, 8), classes=10, alpha=2, seed=0)
    assert layer_uses(conv, (3, 8, 8)) == [
        LayerUse("conv1", 2 * 3 * 81, 16),
        LayerUse("fc1", 2 * 16 * 48, 1),
        LayerUse("fc2", 480, 1),
    ]
    local = models.build("s-local", image=(3, 8, 8), classes=10, alpha=2, seed=0)
    assert layer_uses(local, (3, 8, 8))[0] == LayerUse("conv1", 16 * 2 * 3 * 81, 1)
    assert conv.training


def test_a_dense_layer_over_positions_counts_each():
    assert layer_uses(nn.Sequential(nn.Linear(4, 3)), (2, 5, 4)) == [LayerUse("0", 12, 10)]


@pytest.mark.parametrize("name", ["s-conv", "s-fc", "3-fc", "res-mlp", "d-conv", "resnet18"])
def test_dense_networks_cost_what_torch_counts(name):
    model = models.build(name, image=(3, 8, 8), classes=10, alpha=2, seed=0)
    layers = layer_uses(model, (3, 8, 8))
    counts = {layer.name: layer.nonzero for layer in sparsity(model)}
    model.eval()
    with FlopCounterMode(display=False) as counter:
        outputs = model(torch.randn(1, 3, 8, 8))
        forward = counter.get_total_flops()
        outputs.sum().backward()
    assert inference_flops(layers, counts) == forward
    step = step_flops(layers, counts, dense_gradient=True)
    assert step.forward == forward
    assert step.total == counter.get_total_flops()


def test_one_step_by_hand():
    assert inference_flops(LAYERS, NONZERO) == 2 * (10 * 9 + 20)
    assert step_flops(LAYERS, NONZERO) == Flops(220, 40, 220)
    assert step_flops(LAYERS, NONZERO, dense_gradient=True) == Flops(220, 40, 2 * 940)
    assert step_flops(LAYERS, NONZERO, image_gradient=True) == Flops(220, 220, 220)


def test_training_is_evcis_formula_where_the_image_gradient_counts():
    sparse, dense, every = 220, 2 * 940, 100
    formulas = {
        0.0: 3 * sparse,  # static, SNIP, SET
        1 / (every + 1): (3 * sparse * every + 2 * sparse + dense) / (every + 1),  # RigL
        1.0: 2 * sparse + dense,  # SNFS
    }
    for share, formula in formulas.items():
        stretch = Stretch(50, NONZERO, share)
        total = training_flops(LAYERS, [stretch], image_gradient=True).total
        assert total == pytest.approx(50 * formula, rel=1e-12)
    whole = Stretch(50, {"a": 100, "b": 40}, 1)
    assert training_flops(LAYERS, [whole], image_gradient=True).total == 50 * 3 * dense


def test_stretches_add_up():
    stretches = [Stretch(3, NONZERO), Stretch(2, {"a": 0, "b": 40}, 1.0)]
    assert training_flops(LAYERS, stretches) == Flops(
        3 * 220 + 2 * 80, 3 * 40 + 2 * 80, 3 * 220 + 2 * 1880
    )
    assert training_flops(LAYERS, []) == Flops()


@pytest.mark.parametrize("nonzero", [{"a": 1}, {"a": 1, "b": 41}, {"a": -1, "b": 0}])
def test_counts_that_do_not_fit_are_refused(nonzero):
    with pytest.raises(InvalidArgument, match="layer"):
        inference_flops(LAYERS, nonzero)


@pytest.mark.parametrize("stretch", [Stretch(1, NONZERO, 1.5), Stretch(-1, NONZERO)])
def test_an_impossible_stretch_is_refused(stretch):
    with pytest.raises(InvalidArgument, match="dense_gradients"):
        training_flops(LAYERS, [stretch])


def test_layers_that_cannot_be_counted_are_named():
    with pytest.raises(InvalidArgument, match="layer 0 is a Embedding"):
        layer_uses(nn.Sequential(nn.Embedding(4, 3)), (1, 2, 2))
    shared = nn.Linear(4, 4)
    with pytest.raises(InvalidArgument, match="passed twice"):
        layer_uses(nn.Sequential(shared, shared), (1, 4, 4))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention, self.fc = nn.MultiheadAttention(8, 2), nn.Linear(8, 3)

    def forward(self, x):
        x = x.flatten(2).transpose(1, 2)
        return self.fc(self.attention(x, x, x)[0])


class TakesTheWeight(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.a(x.flatten(1)) @ self.b.weight.t()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Attention(), "layer attention is a MultiheadAttention, and has in_proj_weight"),
        (nn.Sequential(nn.LSTM(8, 4)), "layer 0 is a LSTM, and has weight_ih_l0"),
        (TakesTheWeight(), "the forward pass does not call layer b"),
    ],
)
def test_no_weight_is_left_out_in_silence(model, message):
    with pytest.raises(InvalidArgument, match=message):
        layer_uses(model, (8, 1, 1))


def test_a_weight_that_is_computed_counts_once():
    linear, pruned = nn.Linear(8, 4), nn.Linear(4, 2)
    model = nn.Sequential(nn.Flatten(), parametrizations.weight_norm(linear), pruned)
    prune.random_unstructured(pruned, "weight", amount=0.5)
    assert layer_uses(model, (2, 2, 2)) == [LayerUse("1", 32, 1), LayerUse("2", 8, 1)]


def test_networks_without_weights_or_memory():
    assert layer_uses(nn.Flatten(), (2, 2, 2)) == []
    with torch.device("meta"):
        local = models.build("s-local", image=(3, 8, 8), classes=10, alpha=2)
    assert layer_uses(local, (3, 8, 8))[0] == LayerUse("conv1", 16 * 2 * 3 * 81, 1)


def test_a_transposed_convolution_is_not_counted_as_if_it_were_a_convolution():
    model = nn.Sequential(nn.ConvTranspose2d(2, 3, 3, stride=2, bias=False))
    with pytest.raises(InvalidArgument, match="ConvTranspose2d"):
        layer_uses(model, (2, 4, 4))


def test_frozen_modules_stay_frozen():
    model = nn.Sequential(nn.Flatten(), nn.Linear(8, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    model[2].eval()
    layer_uses(model, (2, 2, 2))
    assert [module.training for module in model] == [True, True, False, True]
