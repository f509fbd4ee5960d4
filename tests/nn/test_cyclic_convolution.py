"""CyclicConv2d against inner products with shifted inputs, written out."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scratchconv.errors import InvalidArgument
from scratchconv.nn.cyclic_convolution import CyclicConv2d

sides = st.tuples(st.integers(1, 7), st.integers(1, 7))


def written_out(layer: CyclicConv2d, inputs: torch.Tensor) -> torch.Tensor:
    """⟨w, C(z, y·stride, x·stride)⟩ for every output, one after the other."""
    (down, right), (height, width) = layer.stride, inputs.shape[2:]
    rows = []
    for y in range(0, height, down):
        shifted = [inputs.roll((-y, -x), dims=(2, 3)) for x in range(0, width, right)]
        products = [torch.einsum("nchw,ochw->no", z, layer.weight) for z in shifted]
        rows.append(torch.stack(products, dim=2))
    output = torch.stack(rows, dim=2)
    return output if layer.bias is None else output + layer.bias[:, None, None]


@settings(deadline=None, max_examples=40)
@given(
    image=sides,
    stride=sides,
    channels=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    bias=st.booleans(),
)
def test_equals_inner_products_with_shifted_inputs(image, stride, channels, bias):
    torch.manual_seed(0)
    layer = CyclicConv2d(*channels, image, stride=stride, bias=bias, dtype=torch.float64)
    inputs = torch.randn(3, channels[0], *image, dtype=torch.float64, requires_grad=True)
    output, expected = layer(inputs), written_out(layer, inputs)
    torch.testing.assert_close(output, expected)
    upstream = torch.randn_like(output)
    tensors = [inputs, *layer.parameters()]
    torch.testing.assert_close(
        torch.autograd.grad(output, tensors, upstream),
        torch.autograd.grad(expected, tensors, upstream),
    )


def test_c_of_z_and_2_begins_with_the_third_input():
    """Zhang 2021, Table 1: C(z, 2) = (z₃, z₄, …, z₂)."""
    layer = CyclicConv2d(1, 1, (1, 6), stride=(1, 2), bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([1.0, 10, 0, 0, 0, 0]).view(1, 1, 1, 6))
    output = layer(torch.arange(1.0, 7.0).view(1, 1, 1, 6))
    assert output.flatten().tolist() == [1 + 20, 3 + 40, 5 + 60]


def test_turning_the_input_by_the_stride_turns_the_output_by_one():
    layer = CyclicConv2d(2, 3, (4, 6), stride=(2, 3))
    inputs = torch.randn(2, 2, 4, 6)
    turned = layer(inputs.roll((2, -3), dims=(2, 3)))
    torch.testing.assert_close(turned, layer(inputs).roll((1, -1), dims=(2, 3)))


def test_weights_start_as_those_of_a_convolution():
    torch.manual_seed(0)
    layer = CyclicConv2d(3, 50, (5, 7))
    bound = 1 / math.sqrt(3 * 5 * 7)
    for parameter in layer.parameters():
        assert parameter.abs().max() <= bound
        assert parameter.abs().max() > 0.9 * bound


@pytest.mark.parametrize("shape", [(2, 1, 1, 5), (2, 2, 1, 6), (2, 6)])
def test_an_input_of_another_shape_is_refused(shape):
    layer = CyclicConv2d(1, 1, (1, 6))
    with pytest.raises(InvalidArgument, match=r"this layer was made for \(n, 1, 1, 6\)"):
        layer(torch.zeros(shape))


def test_sizes_below_1_are_refused():
    with pytest.raises(InvalidArgument, match=r"stride \(1, 0\) must each be at least 1"):
        CyclicConv2d(1, 1, (1, 6), stride=(1, 0))
