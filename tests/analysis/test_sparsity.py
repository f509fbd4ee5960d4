"""Non-zeros and dead units, counted exactly in every layer and dtype."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from scratchconv.analysis import LayerSparsity, sparsity
from scratchconv.nn import LocallyConnected2d


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
