"""ConvNet, LocalNet, WeightNet and FCNet for MNIST and CIFAR-10 (Zhang 2021, §3.2).

`zhang-conv` has two 5×5 convolutions of 6 and 16 channels, each with ReLU and 2×2 max-pooling, then
dense layers of 120, 84 and `classes` units. The others keep the dense layers and the size of the
map after each convolution with its pooling, 6×12×12 and 16×4×4 on MNIST, 6×14×14 and 16×5×5 on
CIFAR-10. None of them pools.

- `zhang-local`: 6×6 windows of stride 2, which is what a pooled unit of `zhang-conv` sees, with a
  filter and a bias for every position.
- `zhang-weight`: a convolution whose kernel is as large as its input, of stride 1. The input is
  padded with zeros to give the map its size.
- `zhang-fc`: dense layers between the same numbers of units.
- `zhang-weight-even`: `zhang-weight` as the published code has it, see below.

With h × w inputs of c channels, a and b positions in the two maps and a head of 1920b + 10080 + 84·
classes, the weights at α = 1 are, besides the head, 150c + 2400 (`zhang-conv`), 216ca + 3456b
(`zhang-local`), 6chw + 96a (`zhang-weight`) and 6chwa + 96ab (`zhang-fc`).

`alpha` multiplies the 6, 16, 120 and 84: 1 is the published size, more is our extension.

Left open by the paper, or not as its published code has it:

- "ReLU is used after every layer". Here, as in the code, not after the last: a class whose output
  is below zero would get no gradient.
- The windows of LocalNet are not in the text. They are the code's.
- WeightNet's padding "to maintain the correct latent dimensions" must be uneven where a map has an
  even side: 11 zeros in all for 12 positions, five before and six behind. The code pads evenly and
  has maps of side 13 and 5 on MNIST, 15 and 5 on CIFAR-10: not those of ConvNet. That network is
  `zhang-weight-even`; its even sides are one longer, and its weights are as many as the formulas of
  `zhang-weight` say, with its own maps for a and b.
- Initial weights start as PyTorch starts them, uniform in ±1/√fan_in. Every layer has biases.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from torch import nn

from scratchconv.errors import InvalidArgument
from scratchconv.models.architecture import Architecture
from scratchconv.models.network import Network, Settings
from scratchconv.nn import LargeKernelConv2d, LocallyConnected2d

Kind = Literal["conv", "local", "weight", "fc", "weight-even"]
KINDS: tuple[Kind, ...] = ("conv", "local", "weight", "fc", "weight-even")

_CHANNELS = (6, 16)
_HIDDEN = (120, 84)
_KERNEL = 5
_POOL = 2
_WINDOW = _KERNEL + _POOL - 1  # what a pooled unit sees


class _Stage(NamedTuple):
    """A convolution with its pooling, or what stands for it: shapes (c, h, w) before and after."""

    before: tuple[int, int, int]
    after: tuple[int, int, int]


def _stages(kind: Kind, settings: Settings) -> list[_Stage]:
    stages, image = [], settings.image
    height, width = image[1:]
    for channels in _CHANNELS:
        height, width = ((side - _KERNEL + 1) // _POOL for side in (height, width))
        if min(height, width) < 1:
            raise InvalidArgument(
                f"image is {settings.image}: two 5×5 convolutions with pooling leave nothing of "
                f"it; zhang-{kind} needs at least 16 rows and columns"
            )
        # As many zeros on both sides make the positions of a kernel as large as its input odd.
        rows, columns = (height | 1, width | 1) if kind == "weight-even" else (height, width)
        after = (channels * settings.alpha, rows, columns)
        stages.append(_Stage(image, after))
        image = after
    return stages


def _stage_layers(kind: Kind, number: int, stage: _Stage) -> dict[str, nn.Module]:
    conv, relu = f"conv{number}", {f"relu{number}": nn.ReLU()}
    before, after = stage
    if kind == "conv":
        layer = nn.Conv2d(before[0], after[0], _KERNEL)
        return {conv: layer, **relu, f"pool{number}": nn.MaxPool2d(_POOL)}
    if kind == "local":
        local = LocallyConnected2d(
            before[0], after[0], _WINDOW, image_size=before[1:], stride=_POOL
        )
        return {conv: local, **relu}
    if kind in ("weight", "weight-even"):
        (above, below), (left, right) = (_padding(side) for side in after[1:])
        padding = nn.ZeroPad2d((left, right, above, below))
        return {
            f"pad{number}": padding,
            conv: LargeKernelConv2d(before[0], after[0], before[1:]),
            **relu,
        }
    return {conv: nn.Linear(math.prod(before), math.prod(after)), **relu}


def _padding(positions: int) -> tuple[int, int]:
    """Zeros before and behind a side, so that a kernel as long as it has so many positions."""
    return (positions - 1) // 2, positions // 2


def _stage_weights(kind: Kind, stage: _Stage) -> int:
    before, after = stage
    if kind == "fc":
        return math.prod(before) * math.prod(after)
    if kind in ("weight", "weight-even"):
        return math.prod(before) * after[0]
    if kind == "conv":
        return before[0] * after[0] * _KERNEL**2
    return before[0] * _WINDOW**2 * math.prod(after)


def _head_units(settings: Settings, inputs: int) -> tuple[int, ...]:
    return (inputs, *(units * settings.alpha for units in _HIDDEN), settings.classes)


def _head(settings: Settings, inputs: int) -> dict[str, nn.Module]:
    """Three dense layers; dropout, if any, is applied to the inputs of the last two."""
    units = _head_units(settings, inputs)
    layers: dict[str, nn.Module] = {}
    for number in (1, 2, 3):
        if number > 1:
            layers[f"fc{number - 1}_relu"] = nn.ReLU()
            if settings.dropout > 0:
                layers[f"fc{number}_dropout"] = nn.Dropout(settings.dropout)
        layers[f"fc{number}"] = nn.Linear(units[number - 1], units[number])
    return layers


def _architecture(kind: Kind) -> Architecture:
    name = f"zhang-{kind}"

    def build(settings: Settings) -> Network:
        stages = _stages(kind, settings)
        layers: dict[str, nn.Module] = {}
        for number, stage in enumerate(stages, start=1):
            layers |= _stage_layers(kind, number, stage)
        names = [layer for layer in layers if layer.startswith("conv")]
        flatten = {"flatten": nn.Flatten()}
        layers = flatten | layers if kind == "fc" else layers | flatten
        layers |= _head(settings, math.prod(stages[-1].after))
        return Network(name, settings, layers, first_layer="conv1", convolution_layers=names)

    def count(settings: Settings) -> int:
        stages = _stages(kind, settings)
        units = _head_units(settings, math.prod(stages[-1].after))
        head = sum(units[i] * units[i + 1] for i in range(3))
        return head + sum(_stage_weights(kind, stage) for stage in stages)

    return Architecture(name, build, count)


ARCHITECTURES = tuple(_architecture(kind) for kind in KINDS)
