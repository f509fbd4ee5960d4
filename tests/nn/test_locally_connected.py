"""LocallyConnected2d against the convolution and the dense layer it lies between."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from scratchconv.errors import InvalidArgument
from scratchconv.nn import LocallyConnected2d, local_product


@st.composite
def layers(draw: st.DrawFn) -> LocallyConnected2d:
    """Layers of any possible geometry, not square, in double."""
    pair = lambda least, most: draw(st.tuples(*[st.integers(least, most)] * 2))  # noqa: E731
    image, kernel, stride, padding = pair(1, 9), pair(1, 5), pair(1, 4), pair(0, 3)
    assume(all(k <= i + 2 * p for k, i, p in zip(kernel, image, padding, strict=True)))
    return LocallyConnected2d(
        draw(st.integers(1, 3)),
        draw(st.integers(1, 3)),
        kernel,
        image_size=image,
        stride=stride,
        padding=padding,
        bias=draw(st.booleans()),
        dtype=torch.float64,
    )


def images(layer: LocallyConnected2d, batch: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(
        batch, layer.in_channels, *layer.image_size, dtype=torch.float64, generator=generator
    )


@settings(deadline=None, max_examples=60)
@given(layers())
def test_equals_a_convolution_when_all_filters_are_equal(layer: LocallyConnected2d) -> None:
    filters = torch.randn(
        layer.out_channels, layer.in_channels, *layer.kernel_size, dtype=torch.float64
    )
    with torch.no_grad():
        layer.weight.copy_(filters.expand_as(layer.weight))
        if layer.bias is not None:
            layer.bias.zero_()
    expected = F.conv2d(images(layer), filters, stride=layer.stride, padding=layer.padding)
    torch.testing.assert_close(layer(images(layer)), expected)


@settings(deadline=None, max_examples=60)
@given(layers(), st.sampled_from([1, 2000, 10**9]))
def test_output_and_gradients_equal_those_of_the_masked_dense_layer(
    layer: LocallyConnected2d, buffer_bytes: int
) -> None:
    """Whatever the geometry, and however many rows the buffer holds at a time."""
    inputs = images(layer).requires_grad_()
    dense = layer.dense_weight().requires_grad_()
    dense_inputs = images(layer).requires_grad_()
    bias = 0.0 if layer.bias is None else layer.bias.detach()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local_product, "_BUFFER_BYTES_CPU", buffer_bytes)
        output = layer(inputs)
        expected = F.linear(dense_inputs.flatten(1), dense).view_as(output) + bias
        torch.testing.assert_close(output, expected)

        upstream = torch.randn_like(output)
        output.backward(upstream)
        expected.backward(upstream)
    torch.testing.assert_close(inputs.grad, dense_inputs.grad)
    assert dense.grad is not None
    assert layer.weight.grad is not None
    mask, gradient = copy.deepcopy(layer), copy.deepcopy(layer)
    with torch.no_grad():
        mask.weight.fill_(1)
        gradient.weight.copy_(layer.weight.grad)
    torch.testing.assert_close(gradient.dense_weight(), dense.grad * mask.dense_weight())
    if layer.bias is not None:
        torch.testing.assert_close(layer.bias.grad, upstream.sum(0))


@pytest.mark.parametrize(
    ("image", "kernel", "stride", "padding"),
    [((5, 4), 3, 2, 1), ((4, 6), (2, 3), (1, 2), (0, 2)), (3, 3, 1, 0)],
)
def test_gradients_agree_with_finite_differences(
    image: int | tuple[int, int],
    kernel: int | tuple[int, int],
    stride: int | tuple[int, int],
    padding: int | tuple[int, int],
) -> None:
    layer = LocallyConnected2d(
        2, 3, kernel, image_size=image, stride=stride, padding=padding, dtype=torch.float64
    )

    def apply(inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (inputs,))

    inputs = images(layer, batch=2).requires_grad_()
    assert torch.autograd.gradcheck(apply, (inputs, layer.weight, layer.bias))


@settings(deadline=None, max_examples=30)
@given(layers())
def test_support_is_where_the_gradient_can_be(layer: LocallyConnected2d) -> None:
    layer(torch.ones_like(images(layer))).sum().backward()
    assert layer.weight.grad is not None
    support = layer.support().expand_as(layer.weight)
    assert torch.equal(layer.weight.grad != 0, support)
    with torch.no_grad():
        layer.weight.fill_(1)
    assert int(layer.dense_weight().sum()) == int(support.sum())


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_autocast_runs_in_its_precision_and_keeps_float32_gradients(
    precision: torch.dtype,
) -> None:
    layer = LocallyConnected2d(2, 4, 3, image_size=8, padding=1)
    exact = copy.deepcopy(layer).double()
    inputs = torch.randn(16, 2, 8, 8, requires_grad=True)
    with torch.autocast("cpu", precision):
        output = layer(inputs)
    assert output.dtype == precision
    output.float().square().sum().backward()
    exact_inputs = inputs.detach().double().requires_grad_()
    exact(exact_inputs).square().sum().backward()
    for found, expected in [
        (layer.weight.grad, exact.weight.grad),
        (inputs.grad, exact_inputs.grad),
    ]:
        assert found is not None
        assert expected is not None
        assert found.dtype == torch.float32
        assert (found - expected).norm() < 0.01 * expected.norm()


def test_inputs_and_gradients_of_any_memory_layout() -> None:
    layer = LocallyConnected2d(3, 2, 3, image_size=(5, 6), dtype=torch.float64)
    inputs = images(layer)
    output = layer(inputs)
    for layout in (
        inputs.contiguous(memory_format=torch.channels_last),
        inputs.transpose(2, 3).contiguous().transpose(2, 3),
    ):
        torch.testing.assert_close(layer(layout), output)
    first = torch.autograd.grad(output.sum(), layer.weight, retain_graph=True)[0]
    second = torch.autograd.grad((output * torch.ones_like(output)).sum(), layer.weight)[0]
    torch.testing.assert_close(first, second)


def test_an_empty_batch_passes_and_gives_zero_gradients() -> None:
    layer = LocallyConnected2d(1, 2, 3, image_size=5)
    output = layer(torch.empty(0, 1, 5, 5))
    assert output.shape == (0, 2, 3, 3)
    output.sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.abs().sum() == 0


def test_starts_as_a_convolution_starts() -> None:
    torch.manual_seed(0)
    layer = LocallyConnected2d(3, 8, 5, image_size=16)
    convolution = torch.nn.Conv2d(3, 4096, 5)
    bound = 1 / math.sqrt(3 * 5 * 5)
    for parameter in (layer.weight, layer.bias):
        assert parameter is not None
        assert parameter.abs().max() <= bound
        assert parameter.abs().max() > 0.99 * bound
    expected = convolution.weight.std().item()
    assert layer.weight.std().item() == pytest.approx(expected, rel=0.02)


def test_state_dict_copies_devices_and_types() -> None:
    layer = LocallyConnected2d(2, 3, 3, image_size=(6, 5), stride=2)
    other = LocallyConnected2d(2, 3, 3, image_size=(6, 5), stride=2)
    other.load_state_dict(layer.state_dict())
    inputs = torch.randn(4, 2, 6, 5)
    assert torch.equal(layer(inputs), other(inputs))
    assert torch.equal(copy.deepcopy(layer)(inputs), layer(inputs))
    assert LocallyConnected2d(1, 1, 2, image_size=4, dtype=torch.float16).weight.dtype == (
        torch.float16
    )
    assert LocallyConnected2d(1, 1, 2, image_size=4, device="meta").weight.is_meta
    assert layer.double()(inputs.double()).dtype == torch.float64


def test_repr_tells_the_geometry() -> None:
    layer = LocallyConnected2d(3, 8, 9, image_size=32, stride=2, padding=4, bias=False)
    assert repr(layer) == (
        "LocallyConnected2d(3, 8, kernel_size=(9, 9), image_size=(32, 32), stride=(2, 2), "
        "padding=(4, 4), bias=False)"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel_size": 6}, r"kernel_size \(6, 6\) is larger than the padded image \(5, 5\)"),
        ({"kernel_size": (3, 8), "padding": 1}, r"larger than the padded image \(7, 7\)"),
        ({"kernel_size": 0}, "kernel_size is 0"),
        ({"stride": 0}, "stride is 0: it must be an integer of at least 1"),
        ({"stride": (1, -1)}, "stride is -1"),
        ({"padding": -1}, "padding is -1: it must be an integer of at least 0"),
        ({"padding": (1, 2, 3)}, r"padding is \(1, 2, 3\): it must be one integer or a pair"),
        ({"image_size": 2.5}, "image_size is 2.5"),
        ({"in_channels": 0}, "in_channels is 0"),
        ({"out_channels": True}, "out_channels is True"),
    ],
)
def test_impossible_arguments_are_refused_by_name(
    arguments: dict[str, object], message: str
) -> None:
    possible = {"in_channels": 1, "out_channels": 1, "kernel_size": 3, "image_size": 5}
    with pytest.raises(InvalidArgument, match=message):
        LocallyConnected2d(**{**possible, **arguments})  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(2, 1, 5, 6), (2, 3, 5, 5), (1, 5, 5)])
def test_an_input_of_another_size_is_refused(shape: tuple[int, ...]) -> None:
    layer = LocallyConnected2d(1, 1, 3, image_size=5)
    with pytest.raises(InvalidArgument, match=r"made for \(n, 1, 5, 5\)"):
        layer(torch.zeros(shape))
