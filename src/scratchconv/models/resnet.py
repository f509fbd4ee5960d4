"""ResNet18 for small images, with any odd kernel size (Neyshabur 2020, Figures 2 and 5).

He et al. 2016 (arXiv 1512.03385): four stages of two basic blocks with α, 2α, 4α, 8α channels. As
usual for 32×32 images the stem is a 3×3 convolution of stride 1 without max-pool, and a shortcut
that changes shape is a 1×1 convolution. `kernel_size` replaces the 3 in every other convolution,
with padding `kernel_size // 2`. α = 64 is the standard ResNet18.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from scratchconv.models.architecture import Architecture
from scratchconv.models.network import Network, Settings
from scratchconv.models.strides import strides_within

# (channels in units of α, stride) of each block
_BLOCKS = ((1, 1), (1, 1), (2, 2), (2, 1), (4, 2), (4, 1), (8, 2), (8, 1))


class BasicBlock(nn.Module):
    """Two convolutions with BatchNorm, added to a shortcut (He et al. 2016, Figure 2)."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: tuple[int, int]
    ) -> None:
        super().__init__()
        padding = kernel_size // 2
        self.conv1 = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=False)
        self.norm1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, kernel_size, 1, padding, bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.shortcut = nn.Sequential()
        if stride != (1, 1) or in_channels != out_channels:
            self.shortcut.add_module(
                "conv", nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
            )
            self.shortcut.add_module("norm", nn.BatchNorm2d(out_channels))

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        output = torch.relu(self.norm1(self.conv1(input)))
        return torch.relu(self.norm2(self.conv2(output)) + self.shortcut(input))


def _blocks(alpha: int) -> Iterator[tuple[int, int, int]]:
    """(channels before, channels after, stride) of each block."""
    before = alpha
    for width, stride in _BLOCKS:
        yield before, width * alpha, stride
        before = width * alpha


def _build(settings: Settings) -> Network:
    alpha, kernel_size = settings.alpha, settings.kernel_size
    layers: dict[str, nn.Module] = {
        "stem": nn.Conv2d(
            settings.image[0], alpha, kernel_size, padding=kernel_size // 2, bias=False
        ),
        "stem_norm": nn.BatchNorm2d(alpha),
        "stem_relu": nn.ReLU(),
    }
    height, width = settings.image[1:]
    for number, (before, after, stride) in enumerate(_blocks(alpha), start=1):
        strides = strides_within((height, width), stride)
        layers[f"block{number}"] = BasicBlock(before, after, kernel_size, strides)
        height, width = -(-height // stride), -(-width // stride)
    layers |= {"pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}
    if settings.dropout > 0:
        layers["fc_dropout"] = nn.Dropout(settings.dropout)
    layers["fc"] = nn.Linear(8 * alpha, settings.classes)
    convolutions = [
        f"{name}.{inner}" if inner else name
        for name, layer in layers.items()
        for inner, module in layer.named_modules()
        if isinstance(module, nn.Conv2d)
    ]
    return Network(
        "resnet18", settings, layers, first_layer="stem", convolution_layers=convolutions
    )


def _count(settings: Settings) -> int:
    alpha, area = settings.alpha, settings.kernel_size**2
    total = settings.image[0] * area * alpha + 8 * alpha * settings.classes
    for before, after, stride in _blocks(alpha):
        total += area * after * (before + after)
        if stride != 1 or before != after:
            total += before * after
    return total


ARCHITECTURE = Architecture("resnet18", _build, _count, any_kernel_size=True)
