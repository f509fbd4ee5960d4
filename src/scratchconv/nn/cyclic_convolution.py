"""`CyclicConv2d`: weight sharing without locality."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from scratchconv.errors import InvalidArgument


class CyclicConv2d(nn.Conv2d):
    """A convolution whose kernel is as large as its input, which is taken as periodic.

    Output unit (o, y, x) is ⟨w_o, C(z, y·stride, x·stride)⟩ with C(z, a, b) the map z shifted
    cyclically, so that its row a and column b come first. Every unit of a channel sees every input
    through the same weights: they are shared, and nothing is local (WeightNet of Zhang 2021,
    Table 1, is this with one row and stride 2).

    Shapes: input `(n, in_channels, height, width)` of the `image_size` it was made for, output
    `(n, out_channels, ⌈height / stride⌉, ⌈width / stride⌉)`. `weight` is `(out_channels,
    in_channels, height, width)` and starts, like `bias`, as that of `nn.Conv2d` does.

    Args:
        in_channels, out_channels: channels before and after.
        image_size: (height, width) of the input.
        stride: (vertical, horizontal) distance between shifts.
        bias: whether to add a bias per output channel.

    Raises:
        InvalidArgument: a size below 1, or an input of another shape.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        image_size: tuple[int, int],
        *,
        stride: tuple[int, int] = (1, 1),
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if min(in_channels, out_channels, *image_size, *stride) < 1:
            raise InvalidArgument(
                f"in_channels {in_channels}, out_channels {out_channels}, image_size {image_size} "
                f"and stride {stride} must each be at least 1"
            )
        super().__init__(
            in_channels,
            out_channels,
            image_size,
            stride,
            bias=bias,
            padding_mode="circular",  # how it reads beyond the edge; the padding itself is below
            device=device,
            dtype=dtype,
        )
        self._wrapped = (0, image_size[1] - 1, 0, image_size[0] - 1)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        expected = (self.in_channels, *self.kernel_size)
        if input.dim() != 4 or input.shape[1:] != expected:
            raise InvalidArgument(
                f"input has shape {tuple(input.shape)}: this layer was made for "
                f"(n, {expected[0]}, {expected[1]}, {expected[2]})"
            )
        periodic = F.pad(input, self._wrapped, mode="circular")
        return F.conv2d(periodic, self.weight, self.bias, self.stride)
