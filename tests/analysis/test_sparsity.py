"""Non-zeros and dead units, counted exactly in every layer and dtype."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune
from torch.nn.utils import weight_norm as old_weight_norm
from torch.nn.utils.parametrize import ParametrizationList

from scratchconv.analysis import LayerSparsity, sparsity
from scratchconv.nn import LocallyConnected2d
from scratchconv.optim import param_groups


def test_counts_every_weight_matrix_in_order_and_nothing_else():
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 16, 5)
    )
    convolution, linear = model[0], model[4]
    nn.init.ones_(convolution.weight)
    nn.init.ones_(linear.weight)
    with torch.no_grad():
        convolution.weight[1] = 0
        convolution.weight[2, 0, 1, 1] = -0.0
        linear.weight[:, 3:] = 0
        linear.weight[4] = 0
    assert sparsity(model) == [
        LayerSparsity("0", nonzero=3 * 18 - 1, size=72, units=4, dead_units=1),
        LayerSparsity("4", nonzero=4 * 3, size=320, units=5, dead_units=1),
    ]
    assert sparsity(model)[1].density == 12 / 320


@pytest.mark.parametrize(
    "model",
    [
        nn.TransformerEncoderLayer(8, 2, 16),
        nn.LSTM(4, 5, bidirectional=True),
        nn.Bilinear(3, 4, 5),
        nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 3)), nn.Linear(3, 2)),
    ],
    ids=lambda model: type(model).__name__,
)
def test_counts_what_is_regularised(model):
    convolution, others, _ = param_groups(model, lam=1e-3)
    computed = [m for m in model.modules() if isinstance(m, ParametrizationList)]
    beside = sum(p.numel() for m in computed for p in m.parameters() if p.shape[1:].numel() == 1)
    regularised = sum(p.numel() for p in convolution["params"] + others["params"])
    assert sum(layer.size for layer in sparsity(model)) == regularised - beside
    assert len({layer.name for layer in sparsity(model)}) == len(sparsity(model))


def test_other_weights_that_are_computed_count_as_what_comes_out():
    attention = nn.MultiheadAttention(8, 2)
    prune.l1_unstructured(attention, "in_proj_weight", amount=100)
    pruned, whole = sparsity(attention)
    assert (pruned.name, pruned.nonzero, pruned.size) == ("in_proj_weight", 92, 192)
    assert (whole.name, whole.nonzero) == ("out_proj", 64)
    for weight_norm in (parametrizations.weight_norm, old_weight_norm):
        layer = weight_norm(nn.LSTM(4, 5), "weight_hh_l0")
        assert {one.name: one.size for one in sparsity(layer)} == {
            "weight_ih_l0": 80,
            "weight_hh_l0": 100,
        }


def test_what_pruning_left_counts_once():
    layer = nn.Linear(10, 4)
    prune.l1_unstructured(layer, "weight", amount=30)
    (found,) = sparsity(layer)
    assert (found.name, found.nonzero, found.size) == ("", 10, 40)


@pytest.mark.parametrize("groups", [1, 2])
def test_units_of_a_transposed_convolution_are_its_outputs(groups):
    layer = nn.ConvTranspose2d(4, 6, 3, groups=groups, bias=False)
    with torch.no_grad():
        layer.weight[:2, 1] = 0  # of one group, or of the first inputs
        layer.weight[2:, 2] = 0
    outputs = layer(torch.rand(2, 4, 5, 5))
    dead = int((outputs.flatten(2).abs().amax((0, 2)) == 0).sum())
    (found,) = sparsity(layer)
    assert (found.units, found.dead_units) == (6, dead)
    assert dead == (2 if groups == 2 else 0)


def test_bias_does_not_keep_a_unit_alive():
    layer = nn.Linear(3, 2)
    nn.init.zeros_(layer.weight)
    nn.init.ones_(layer.bias)
    assert sparsity(layer) == [LayerSparsity("", nonzero=0, size=6, units=2, dead_units=2)]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_counts_are_exact_in_every_dtype(dtype):
    layer = nn.Linear(5000, 3, dtype=dtype)
    nn.init.ones_(layer.weight)
    with torch.no_grad():
        layer.weight[0, 0] = torch.finfo(dtype).smallest_normal
        layer.weight[1, :3] = 0
    assert sparsity(layer)[0].nonzero == 3 * 5000 - 3


def test_local_units_are_channel_position_pairs():
    layer = LocallyConnected2d(2, 3, 3, image_size=5, stride=2, padding=1)
    with torch.no_grad():
        layer.weight.fill_(1.0)
        layer.weight[1, 2, 0] = 0
    (found,) = sparsity(layer)
    assert (found.units, found.dead_units) == (3 * 3 * 3, 1)
    assert (found.nonzero, found.size) == (26 * 18, 27 * 18)


def test_local_unit_that_only_sees_padding_is_dead():
    layer = LocallyConnected2d(1, 1, 3, image_size=3, padding=1)
    with torch.no_grad():
        layer.weight.fill_(1.0)
        layer.weight[0, 0] = 0
        layer.weight[0, 0, 0, 0, 0, :] = 1.0  # the row above the image
    (found,) = sparsity(layer)
    assert found.dead_units == 1
    assert found.nonzero == 9 * 9 - 6


def test_dead_agrees_with_a_constant_output():
    torch.manual_seed(0)
    layer = nn.Linear(20, 50, bias=False)
    with torch.no_grad():
        layer.weight *= torch.rand(50, 20) < 0.05
    constant = (layer(torch.randn(64, 20)) == 0).all(dim=0)
    assert sparsity(layer)[0].dead_units == int(constant.sum()) > 0


def test_density_of_an_empty_layer_is_not_a_number():
    assert math.isnan(LayerSparsity("x", 0, 0, 0, 0).density)
