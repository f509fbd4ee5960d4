"""A residual MLP: S-FC with skip connections, which the reviewers of Neyshabur 2020 asked for.

`res-mlp` is S-FC with residual blocks between the linear map `fc1` to 24α units and the BatchNorm
and ReLU behind it; its first layer stands for the 9×9 convolution as it does there. (It is not the
ResMLP of Touvron 2021, which cuts images into patches.) Each block is

    x + W₂·relu(bn(W₁·relu(bn(x))))

of 24α units throughout, the full pre-activation of He et al. 2016 (arXiv 1603.05027, Figure 4e):
from `fc1` to the last BatchNorm the signal can pass by additions alone.

There are two blocks, the fewest where one reads a sum that another made. Their 4·(24α)² = 2304α²
weights are few beside the 6s²α² of `fc1` (2 % of the network at s = 32 and α = 8), so that it is of
the size of S-FC, and the first layer, whose connections are the question, is the same. For an image
of side s (even) with 3 channels and c classes there are

- 6s²α² + 2304α² + (3s⁴/4 + 24c)α

weights. Other images are counted likewise. Every layer but the classifier is without bias:
whatever reads its output, past any number of skips, is a BatchNorm, which would cancel it. A seed
gives `conv1`, `fc1` and `fc2` the weights that they have in S-FC. Dropout, as there, is applied to
the inputs of `fc1` and `fc2`.
"""

from __future__ import annotations

import torch
from torch import nn

from scratchconv.models import s_family
from scratchconv.models.architecture import Architecture
from scratchconv.models.network import Network, Settings

BLOCKS = 2
_S_FC = next(network for network in s_family.ARCHITECTURES if network.name == "s-fc")


class ResidualBlock(nn.Module):
    """A branch of two dense layers, added to its input; `(n, units)` to `(n, units)`."""

    def __init__(self, units: int) -> None:
        super().__init__()
        # In a Sequential the sparse engine sees which BatchNorm and ReLU follow a layer.
        self.branch = nn.Sequential()
        for number in (1, 2):
            self.branch.add_module(f"norm{number}", nn.BatchNorm1d(units))
            self.branch.add_module(f"relu{number}", nn.ReLU())
            self.branch.add_module(f"fc{number}", nn.Linear(units, units, bias=False))

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        residual: torch.Tensor = self.branch(input)
        return input + residual


def _build(settings: Settings) -> Network:
    plain = _S_FC.build(settings)
    layers: dict[str, nn.Module] = {}
    for name, layer in plain.named_children():
        layers[name] = layer
        if isinstance(layer, nn.Linear) and name == "fc1":
            for number in range(1, BLOCKS + 1):
                layers[f"block{number}"] = ResidualBlock(layer.out_features)
    return Network(
        "res-mlp",
        settings,
        layers,
        first_layer="conv1",
        convolution_layers=plain.convolution_layers,
    )


def _count(settings: Settings) -> int:
    units = 24 * settings.alpha
    return _S_FC.count(settings) + BLOCKS * 2 * units**2


ARCHITECTURE = Architecture("res-mlp", _build, _count)
