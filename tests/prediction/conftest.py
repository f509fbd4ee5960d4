"""Networks as training leaves them: few weights, dead units, BatchNorm with statistics."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from scratchconv import models


def trained_like(model: nn.Module, density: float, seed: int) -> nn.Module:
    """Keep `density` of the weights, silence every fourth unit, set biases and statistics."""
    generator = torch.Generator().manual_seed(seed)

    def random(like: torch.Tensor) -> torch.Tensor:
        return torch.rand(like.shape, generator=generator).to(like)

    with torch.no_grad():
        for module in model.modules():
            weight = getattr(module, "weight", None)
            if isinstance(weight, nn.Parameter) and weight.ndim > 1:
                weight.mul_(random(weight) < density).mul_(3)
                if isinstance(module, nn.Linear):
                    weight[torch.rand(len(weight), generator=generator) < 0.25] = 0
            elif isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
                module.running_mean.copy_(random(module.running_mean) - 0.5)
                module.running_var.copy_(random(module.running_var) + 0.2)
                if module.affine:
                    module.weight.copy_(2 * random(module.weight) - 0.5)
                    module.bias.copy_(random(module.bias) - 0.5)
            if isinstance(bias := getattr(module, "bias", None), nn.Parameter):
                bias.copy_(random(bias) - 0.5)
    return model.eval()


@pytest.fixture
def network() -> Callable[..., nn.Module]:
    """``network(name, density=…, seed=…)``: a small trained-like network of this package."""

    def build(
        name: str = "s-fc", *, image=(3, 8, 6), alpha=2, classes=5, density=0.1, seed=0
    ) -> nn.Module:
        model = models.build(
            name, image=image, alpha=alpha, classes=classes, dropout=0.2, seed=seed
        )
        return trained_like(model, density, seed)

    return build


@pytest.fixture
def sparsened() -> Callable[..., nn.Module]:
    return trained_like
