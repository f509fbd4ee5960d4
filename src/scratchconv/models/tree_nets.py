"""WeightNet, LocalNet, OracleNet and FCNet for the binary-tree task (Zhang 2021, §2.2, Table 1).

Each level joins its inputs two by two, so 64 inputs pass six levels of 32, 16, 8, 4, 2 and 1
outputs. tanh follows every level but the last, and there are no biases. Level k has

- `tree-weight`: 2^(7−k) weights, one filter as long as its input at every even cyclic shift;
  weights are shared, nothing is local;
- `tree-local`: 2^(7−k) weights, two for every pair; local, nothing shared;
- `tree-oracle`: 2 weights for all pairs, both local and shared;
- `tree-fc`: 2^(13−2k) weights, a matrix, neither;

126, 126, 12 and 2730 weights in all. Every one of them can compute the tree's f_θ exactly.

`alpha` is the number of channels between the levels: 1 is the published network. Larger ones are
our extension, for budgets: a level then holds its weights once for each pair of a channel before
and a channel after. Other lengths that are a power of two give other numbers of levels.

Left open by the paper: the initial weights. They start as PyTorch starts them, uniform in
±1/√fan_in, which is also what its published code does. Every level counts as a convolution layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from torch import nn

from scratchconv.errors import InvalidArgument
from scratchconv.models.architecture import Architecture
from scratchconv.models.network import Network, Settings
from scratchconv.nn import LocallyConnected2d
from scratchconv.nn.cyclic_convolution import CyclicConv2d

Kind = Literal["weight", "local", "oracle", "fc"]
KINDS: tuple[Kind, ...] = ("weight", "local", "oracle", "fc")


def _levels(name: str, settings: Settings) -> Iterator[tuple[int, int, int]]:
    """(channels before, channels after, inputs a channel) of each level."""
    channels, height, width = settings.image
    if height != 1 or width < 4 or width & (width - 1):
        raise InvalidArgument(
            f"image is {settings.image}: {name} joins its inputs two by two and needs one row of "
            "4, 8, 16, … of them, (1, 1, 64) in the tree data"
        )
    if settings.dropout > 0:
        raise InvalidArgument(
            f"dropout is {settings.dropout!r}, but {name} has no dense layers to apply it to: "
            "leave it out"
        )
    while width > 1:
        after = settings.alpha if width > 2 else settings.classes
        yield channels, after, width
        channels, width = after, width // 2


def _layer(kind: Kind, before: int, after: int, width: int) -> nn.Module:
    if kind == "weight":
        return CyclicConv2d(before, after, (1, width), stride=(1, 2), bias=False)
    if kind == "local":
        return LocallyConnected2d(
            before, after, (1, 2), image_size=(1, width), stride=(1, 2), bias=False
        )
    if kind == "oracle":
        return nn.Conv2d(before, after, (1, 2), stride=(1, 2), bias=False)
    return nn.Linear(before * width, after * width // 2, bias=False)


def _weights(kind: Kind, before: int, after: int, width: int) -> int:
    """Weights of one level."""
    each = {"weight": width, "local": width, "oracle": 2, "fc": width * width // 2}
    return before * after * each[kind]


def _architecture(kind: Kind) -> Architecture:
    name = f"tree-{kind}"

    def build(settings: Settings) -> Network:
        layers: dict[str, nn.Module] = {}
        for number, level in enumerate(_levels(name, settings), start=1):
            if number > 1:
                layers[f"tanh{number - 1}"] = nn.Tanh()
            layers[f"level{number}"] = _layer(kind, *level)
        names = [layer for layer in layers if layer.startswith("level")]
        flatten = {"flatten": nn.Flatten()}
        layers = flatten | layers if kind == "fc" else layers | flatten
        return Network(name, settings, layers, first_layer="level1", convolution_layers=names)

    def count(settings: Settings) -> int:
        return sum(_weights(kind, *level) for level in _levels(name, settings))

    return Architecture(name, build, count)


ARCHITECTURES = tuple(_architecture(kind) for kind in KINDS)
