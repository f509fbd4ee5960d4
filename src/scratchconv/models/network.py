"""`Network`: what every model of this package has in common."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import torch
from torch import nn

from scratchconv.errors import InvalidArgument


class Settings(NamedTuple):
    """What a network is built from; already checked by `models.build`.

    Attributes:
        image: shape (channels, height, width) of one input.
        classes: outputs of the network.
        alpha: its size; each network says what it counts.
        dropout: rate applied to the inputs of the last two dense layers, or of the only one.
        kernel_size: side of the kernels of a network that leaves it open.
    """

    image: tuple[int, int, int]
    classes: int
    alpha: int
    dropout: float = 0.0
    kernel_size: int = 3


class Network(nn.Module):
    """Named layers applied in turn to images `(n, c, h, w)`; returns `(n, classes)`.

    Attributes:
        name, alpha, image, classes: as given to `models.build`.
        first_layer: the layer that sees the image.
        convolution_layers: names of the modules that are, or stand for, convolutions. The paper
            chooses λ for these separately (Neyshabur 2020, §4). A dense or local layer that stands
            for a convolution keeps the convolution's name.
    """

    def __init__(
        self,
        name: str,
        settings: Settings,
        layers: Mapping[str, nn.Module],
        *,
        first_layer: str,
        convolution_layers: Iterable[str],
    ) -> None:
        super().__init__()
        for layer_name, layer in layers.items():
            self.add_module(layer_name, layer)
        self.name = name
        self.alpha = settings.alpha
        self.image = settings.image
        self.classes = settings.classes
        self.convolution_layers = tuple(convolution_layers)
        self._first_layer = first_layer

    @property
    def first_layer(self) -> nn.Module:
        return self.get_submodule(self._first_layer)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if input.dim() != 4 or input.shape[1:] != self.image:
            channels, height, width = self.image
            raise InvalidArgument(
                f"input has shape {tuple(input.shape)}: this {self.name} was built for "
                f"(n, {channels}, {height}, {width})"
            )
        for _, layer in modules_in_order(self):
            input = layer(input)
        return input


def modules_in_order(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The named children of `module`, one that stands in two places twice.

    A Sequential and a Network apply it twice, where `named_children()` leaves it out.
    """
    return ((name, child) for name, child in module._modules.items() if child is not None)
