"""Zhang's image networks: the sizes that the text gives, and what each unit sees."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from scratchconv import models
from scratchconv.errors import InvalidArgument
from scratchconv.nn import LocallyConnected2d

ZHANG = [name for name in models.NAMES if name.startswith("zhang-")]
MATCHED = [name for name in ZHANG if name != "zhang-weight-even"]
MNIST, CIFAR = (1, 28, 28), (3, 32, 32)
WEIGHTED = (nn.Linear, nn.Conv2d, LocallyConnected2d)


@pytest.mark.parametrize(("image", "parameters"), [(MNIST, 44_426), (CIFAR, 62_006)])
def test_conv_net_has_the_known_number_of_parameters(image, parameters):
    """With biases: the widespread 6-16-120-84 network, 62 006 in PyTorch's CIFAR-10 tutorial."""
    network = models.build("zhang-conv", image=image, alpha=1)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


@pytest.mark.parametrize(
    ("name", "image", "maps"),
    [(name, MNIST, [(6, 12, 12), (16, 4, 4)]) for name in MATCHED]
    + [(name, CIFAR, [(6, 14, 14), (16, 5, 5)]) for name in MATCHED]
    + [
        ("zhang-weight-even", MNIST, [(6, 13, 13), (16, 5, 5)]),
        ("zhang-weight-even", CIFAR, [(6, 15, 15), (16, 5, 5)]),
        ("zhang-weight-even", (2, 17, 20), [(6, 7, 9), (16, 1, 3)]),
    ],
)
def test_latent_maps_and_dense_layers(name, image, maps):
    network = models.build(name, image=image, alpha=1, seed=0)
    shapes = {}
    for layer, module in network.named_children():
        module.register_forward_hook(
            lambda _, __, output, layer=layer: shapes.__setitem__(layer, tuple(output.shape[1:]))
        )
    network(torch.randn(2, *image))
    last = "pool" if name == "zhang-conv" else "relu"
    found = [shapes[f"{last}{number}"] for number in (1, 2)]
    assert found == ([(math.prod(shape),) for shape in maps] if name == "zhang-fc" else maps)
    assert [shapes[f"fc{number}"] for number in (1, 2, 3)] == [(120,), (84,), (10,)]
    assert list(shapes)[-1] == "fc3"  # the scores themselves, no ReLU behind them


@pytest.mark.parametrize("name", ZHANG)
@pytest.mark.parametrize("image", [MNIST, CIFAR, (2, 17, 20)])
@pytest.mark.parametrize("classes", [2, 10])
def test_weights_by_the_formula_of_the_docstring(name, image, classes):
    c, h, w = image
    first = [(side - 4) // 2 for side in (h, w)]
    second = [(side - 4) // 2 for side in first]
    if name == "zhang-weight-even":  # an even number of zeros makes every side odd
        first, second = ([side + 1 - side % 2 for side in sides] for sides in (first, second))
    a, b = math.prod(first), math.prod(second)
    convolutions = {
        "zhang-weight-even": 6 * c * h * w + 96 * a,
        "zhang-conv": 150 * c + 2400,
        "zhang-local": 216 * c * a + 3456 * b,
        "zhang-weight": 6 * c * h * w + 96 * a,
        "zhang-fc": 6 * c * h * w * a + 96 * a * b,
    }[name]
    expected = convolutions + 1920 * b + 10_080 + 84 * classes
    assert models.parameter_count(name, image, classes, 1) == expected


@settings(deadline=None, max_examples=30)
@given(
    name=st.sampled_from(ZHANG),
    image=st.tuples(st.integers(1, 3), st.integers(16, 35), st.integers(16, 35)),
    classes=st.integers(1, 12),
    alpha=st.integers(1, 4),
)
def test_the_formula_equals_the_network(name, image, classes, alpha):
    with torch.device("meta"):
        network = models.build(name, image=image, classes=classes, alpha=alpha)
    found = sum(m.weight.numel() for m in network.modules() if isinstance(m, WEIGHTED))
    assert models.parameter_count(name, image, classes, alpha) == found


@pytest.mark.parametrize("name", ZHANG)
def test_every_layer_has_a_bias_and_learns(name):
    network = models.build(name, image=(2, 16, 19), classes=3, alpha=2, dropout=0.3, seed=0)
    weighted = {n: m for n, m in network.named_modules() if isinstance(m, WEIGHTED)}
    assert list(weighted) == ["conv1", "conv2", "fc1", "fc2", "fc3"]
    assert network.convolution_layers == ("conv1", "conv2")
    assert network.first_layer is weighted["conv1"]
    network(torch.randn(8, 2, 16, 19)).square().sum().backward()
    for module in weighted.values():
        assert module.weight.grad.abs().sum() > 0
        assert module.bias.grad.abs().sum() > 0
    order = [layer for layer, _ in network.named_children()]
    dropouts = [layer for layer in order if "dropout" in layer]
    assert dropouts == ["fc2_dropout", "fc3_dropout"]
    assert all(order[order.index(layer) + 1] == layer[:3] for layer in dropouts)


def seen(outputs: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
    """Which pixels one output depends on, by its gradient."""
    return torch.autograd.grad(outputs, inputs, retain_graph=True)[0] != 0


def test_a_local_unit_sees_what_a_pooled_unit_sees():
    conv, local = (
        models.build(f"zhang-{kind}", image=MNIST, alpha=1) for kind in ("conv", "local")
    )
    for layer in (conv.first_layer, local.first_layer):
        nn.init.ones_(layer.weight)
    inputs = torch.rand(1, *MNIST, requires_grad=True)
    # The mean in place of the maximum, which would tell of one position alone.
    pooled = F.avg_pool2d(conv.first_layer(inputs), 2)
    own = local.first_layer(inputs)
    for row, column in ((0, 0), (3, 7), (11, 11)):
        expected = seen(pooled[0, 2, row, column], inputs)
        assert torch.equal(seen(own[0, 2, row, column], inputs), expected)
        assert int(expected.sum()) == 36


def test_weight_net_moves_one_whole_kernel_over_zeros():
    network = models.build("zhang-weight", image=(2, 17, 20), alpha=1, seed=0).double()
    layer = network.first_layer
    assert isinstance(layer, nn.Conv2d)
    assert layer.kernel_size == (17, 20)
    image = torch.randn(1, 2, 17, 20, dtype=torch.float64)
    maps = layer(network.get_submodule("pad1")(image))
    rows, columns = 6, 8
    assert maps.shape == (1, 6, rows, columns)
    # Written out: at position (y, x) the kernel lies y − 2 rows and x − 3 columns into the image.
    for y in range(rows):
        for x in range(columns):
            down, right = y - (rows - 1) // 2, x - (columns - 1) // 2
            moved = torch.zeros_like(image)
            source = image[
                :, :, max(0, down) : 17 + min(0, down), max(0, right) : 20 + min(0, right)
            ]
            top, left = max(0, -down), max(0, -right)
            moved[:, :, top : top + source.shape[2], left : left + source.shape[3]] = source
            expected = torch.einsum("nchw,ochw->no", moved, layer.weight) + layer.bias
            torch.testing.assert_close(maps[:, :, y, x], expected)


@pytest.mark.parametrize("image", [MNIST, CIFAR])
def test_the_even_weight_net_has_as_many_zeros_before_as_behind(image):
    network = models.build("zhang-weight-even", image=image, alpha=1)
    for number in (1, 2):
        left, right, above, below = network.get_submodule(f"pad{number}").padding
        assert left == right == above == below > 0


@pytest.mark.parametrize("name", ZHANG)
@pytest.mark.parametrize("image", [(1, 15, 28), (3, 32, 8), (1, 1, 64)])
def test_images_too_small_are_refused(name, image):
    with pytest.raises(InvalidArgument, match=f"{name} needs at least 16 rows and columns"):
        models.build(name, image=image, alpha=1)
