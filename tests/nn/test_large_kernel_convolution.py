"""LargeKernelConv2d is nn.Conv2d, outputs and gradients alike."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from scratchconv.nn import LargeKernelConv2d

sides = st.tuples(st.integers(1, 6), st.integers(1, 6))


@settings(deadline=None, max_examples=40)
@given(
    kernel=sides,
    positions=sides,
    channels=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    samples=st.integers(1, 4),
    channels_last=st.booleans(),
)
def test_is_conv2d(kernel, positions, channels, samples, channels_last):
    torch.manual_seed(0)
    layer = LargeKernelConv2d(*channels, kernel).double()
    shape = [k + p - 1 for k, p in zip(kernel, positions, strict=True)]
    inputs = torch.randn(samples, channels[0], *shape, dtype=torch.float64)
    if channels_last:
        inputs = inputs.contiguous(memory_format=torch.channels_last)
    inputs.requires_grad_()
    output, expected = layer(inputs), F.conv2d(inputs, layer.weight, layer.bias)
    torch.testing.assert_close(output, expected, rtol=0, atol=0)
    upstream = torch.randn_like(output)
    tensors = [inputs, *layer.parameters()]
    torch.testing.assert_close(
        torch.autograd.grad(output, tensors, upstream),
        torch.autograd.grad(expected, tensors, upstream),
    )


def test_starts_as_conv2d_and_takes_single_samples():
    torch.manual_seed(0)
    layer = LargeKernelConv2d(3, 2, (4, 5))
    torch.manual_seed(0)
    plain = nn.Conv2d(3, 2, (4, 5))
    assert torch.equal(layer.weight, plain.weight)
    assert torch.equal(layer.bias, plain.bias)
    sample = torch.randn(3, 6, 6)
    torch.testing.assert_close(layer(sample), plain(sample))


def test_an_empty_batch_passes_and_gives_zero_gradients():
    layer = LargeKernelConv2d(3, 2, (4, 5))
    inputs = torch.randn(0, 3, 6, 6, requires_grad=True)
    layer(inputs).sum().backward()
    assert inputs.grad.shape == inputs.shape
    assert layer.weight.grad.shape == layer.weight.shape
    assert not layer.weight.grad.any()


def test_under_autocast_it_is_torchs_own():
    layer = LargeKernelConv2d(3, 2, (4, 5))
    inputs = torch.randn(2, 3, 6, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = layer(inputs)
    assert output.dtype == torch.bfloat16
    output.float().sum().backward()
    assert layer.weight.grad is not None


@pytest.mark.parametrize("wanted", ["input", "weight"])
def test_only_the_gradients_asked_for(wanted):
    layer = LargeKernelConv2d(2, 3, (4, 4))
    inputs = torch.randn(2, 2, 6, 6, requires_grad=wanted == "input")
    layer.requires_grad_(wanted == "weight")
    layer(inputs).sum().backward()
    assert (inputs.grad is not None) == (wanted == "input")
    assert (layer.weight.grad is not None) == (wanted == "weight")
