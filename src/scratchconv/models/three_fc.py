"""3-FC: two equal hidden layers and a classifier (Neyshabur 2020, §2.2, Figure 2).

`alpha` is the number of units in each hidden layer. The paper gives 3-FC no base channels to
scale, and no fixed multiple of α meets both published budgets: 256 M weights need 14 532 units on
CIFAR-10, 25.6 M need 3 748 (EE-411 writes α = 64 for it). Counted in units, every budget is met.

It stands for no convolution: `convolution_layers` is empty, and `first_layer` is `fc0`, so
that `fc1` and `fc2` are the last two layers as in the other networks.
"""

from __future__ import annotations

import math

from torch import nn

from scratchconv.models.architecture import Architecture
from scratchconv.models.network import Network, Settings
from scratchconv.models.stand_ins import dense_head


def _build(settings: Settings) -> Network:
    units = settings.alpha
    layers: dict[str, nn.Module] = {
        "flatten": nn.Flatten(),
        "fc0": nn.Linear(math.prod(settings.image), units, bias=False),
        "fc0_norm": nn.BatchNorm1d(units),
        "fc0_relu": nn.ReLU(),
        **dense_head(settings, units, units),
    }
    return Network("3-fc", settings, layers, first_layer="fc0", convolution_layers=())


def _count(settings: Settings) -> int:
    units = settings.alpha
    return units * (math.prod(settings.image) + units + settings.classes)


ARCHITECTURE = Architecture("3-fc", _build, _count)
