"""BatchNorm over units: every position of every channel has its own statistics and scale."""

from __future__ import annotations

import torch
from torch import nn

from scratchconv.errors import InvalidArgument


class UnitBatchNorm2d(nn.BatchNorm1d):
    """BatchNorm of a map `(n, channels, height, width)` that treats every unit on its own.

    `nn.BatchNorm2d` shares one mean, variance, scale and shift among all positions of a channel.
    A layer that shares nothing has no reason to, so here there are `channels · height · width` of
    each, in the order of the flattened map, as `nn.BatchNorm1d` has behind a dense layer.

    Args:
        channels, height, width: shape of the map, without the batch.
        eps, momentum: as in `nn.BatchNorm1d`.
    """

    def __init__(
        self,
        channels: int,
        height: int,
        width: int,
        *,
        eps: float = 1e-5,
        momentum: float = 0.1,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            channels * height * width, eps=eps, momentum=momentum, device=device, dtype=dtype
        )
        self.map_shape = (channels, height, width)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if input.shape[1:] != self.map_shape:
            raise InvalidArgument(
                f"input has shape {tuple(input.shape)}: expected (n, {self.map_shape[0]}, "
                f"{self.map_shape[1]}, {self.map_shape[2]})"
            )
        normalised: torch.Tensor = super().forward(input.flatten(1))
        return normalised.view(input.shape)

    def extra_repr(self) -> str:
        return f"{self.map_shape[0]}, {self.map_shape[1]}, {self.map_shape[2]}, eps={self.eps}"
