"""Convolutional networks and their stand-ins: the same units, without sharing, without locality.

Neyshabur 2020, §2.1: a network of convolutions and then dense layers comes in three kinds.

- `conv`: the convolutions themselves.
- `local`: `LocallyConnected2d`, the same connections with a weight of its own for each.
- `fc`: `nn.Linear` between the same numbers of units, in the order of flattened (c, h, w) maps.

Every layer but the last is followed by BatchNorm, then ReLU. There is no pooling. Layers in front
of a BatchNorm have no bias, which it would cancel; the classifier has one. The paper does not say
how weights start: every layer starts as PyTorch starts it, uniform in ±1/√fan_in.

BatchNorm has one mean, variance, scale and shift per channel behind a convolution, and one per
unit behind a dense layer. Behind a local layer the paper leaves it open; here it is per unit. A
local layer shares nothing, and with per-unit statistics it is exactly the dense network with the
other weights held at zero, so the three kinds are nested and differ in one thing at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import nn

from scratchconv.models.architecture import Architecture
from scratchconv.models.network import Network, Settings
from scratchconv.models.strides import strides_within
from scratchconv.nn import LocallyConnected2d, UnitBatchNorm2d

Kind = Literal["conv", "local", "fc"]
KINDS: tuple[Kind, ...] = ("conv", "local", "fc")


@dataclass(frozen=True)
class Convolution:
    """A square convolution that keeps ⌈size / stride⌉ positions a side: padding is kernel // 2."""

    out_channels: int
    kernel_size: int
    stride: int

    @property
    def padding(self) -> int:
        return self.kernel_size // 2

    def output(self, image: tuple[int, int, int]) -> tuple[int, int, int]:
        """Shape (c, h, w) of its output for an image of shape (c, h, w)."""
        _, height, width = image
        return self.out_channels, -(-height // self.stride), -(-width // self.stride)

    def weights(self, image: tuple[int, int, int], kind: Kind) -> int:
        """Number of weights of the layer of this kind, on an image of shape (c, h, w)."""
        output = self.output(image)
        if kind == "fc":
            return math.prod(image) * math.prod(output)
        shared = image[0] * self.kernel_size**2 * self.out_channels
        return shared * math.prod(output[1:]) if kind == "local" else shared


def architectures(
    family: str, convolutions: Callable[[int], list[Convolution]], *, hidden: int
) -> tuple[Architecture, ...]:
    """The three kinds of a family: `convolutions` of α, then a dense layer of `hidden`·α units."""

    def architecture(kind: Kind) -> Architecture:
        name = f"{family}-{kind}"

        def build_kind(settings: Settings) -> Network:
            alpha = settings.alpha
            return build(name, settings, kind, convolutions(alpha), hidden=hidden * alpha)

        def count_kind(settings: Settings) -> int:
            alpha = settings.alpha
            return count(settings, kind, convolutions(alpha), hidden=hidden * alpha)

        return Architecture(name, build_kind, count_kind)

    return tuple(architecture(kind) for kind in KINDS)


def count(settings: Settings, kind: Kind, convolutions: Sequence[Convolution], hidden: int) -> int:
    """Weights of the network, without biases and BatchNorm, for any image."""
    total, image = 0, settings.image
    for convolution in convolutions:
        total += convolution.weights(image, kind)
        image = convolution.output(image)
    return total + math.prod(image) * hidden + hidden * settings.classes


def build(
    name: str, settings: Settings, kind: Kind, convolutions: Sequence[Convolution], hidden: int
) -> Network:
    """`conv1` … of the given kind, then `fc1` with `hidden` units and the classifier `fc2`.

    Dropout, if any, is applied to the inputs of `fc1` and `fc2`.
    """
    layers: dict[str, nn.Module] = {}
    if kind == "fc":
        layers["flatten"] = nn.Flatten()
    image = settings.image
    for number, convolution in enumerate(convolutions, start=1):
        output = convolution.output(image)
        layer, norm = _layer(kind, convolution, image, output)
        layers |= {f"conv{number}": layer, f"norm{number}": norm, f"relu{number}": nn.ReLU()}
        image = output
    names = [layer_name for layer_name in layers if layer_name.startswith("conv")]
    if kind != "fc":
        layers["flatten"] = nn.Flatten()
    layers |= dense_head(settings, math.prod(image), hidden)
    return Network(name, settings, layers, first_layer="conv1", convolution_layers=names)


def dense_head(settings: Settings, inputs: int, hidden: int) -> dict[str, nn.Module]:
    """The last two dense layers: `fc1` with BatchNorm and ReLU, and the classifier `fc2`."""
    layers: dict[str, nn.Module] = {
        "fc1": nn.Linear(inputs, hidden, bias=False),
        "fc1_norm": nn.BatchNorm1d(hidden),
        "fc1_relu": nn.ReLU(),
        "fc2": nn.Linear(hidden, settings.classes),
    }
    if settings.dropout == 0:
        return layers
    with_dropout: dict[str, nn.Module] = {}
    for layer_name, layer in layers.items():
        if isinstance(layer, nn.Linear):
            with_dropout[f"{layer_name}_dropout"] = nn.Dropout(settings.dropout)
        with_dropout[layer_name] = layer
    return with_dropout


def _layer(
    kind: Kind,
    convolution: Convolution,
    image: tuple[int, int, int],
    output: tuple[int, int, int],
) -> tuple[nn.Module, nn.Module]:
    """The layer of this kind and its BatchNorm."""
    if kind == "fc":
        units = math.prod(output)
        return nn.Linear(math.prod(image), units, bias=False), nn.BatchNorm1d(units)
    channels, kernel_size = convolution.out_channels, convolution.kernel_size
    stride, padding = convolution.stride, convolution.padding
    if kind == "local":
        local = LocallyConnected2d(
            image[0],
            channels,
            kernel_size,
            image_size=image[1:],
            stride=stride,
            padding=padding,
            bias=False,
        )
        return local, UnitBatchNorm2d(*output)
    strides = strides_within(image[1:], stride)
    conv = nn.Conv2d(image[0], channels, kernel_size, strides, padding, bias=False)
    return conv, nn.BatchNorm2d(channels)
