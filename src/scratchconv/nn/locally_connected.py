"""`LocallyConnected2d`: the connections of a convolution without its weight sharing."""

from __future__ import annotations

import math
import numbers

import torch
from torch import nn

from scratchconv.errors import InvalidArgument
from scratchconv.nn.local_product import LocalProduct, Windows


class LocallyConnected2d(nn.Module):
    """A convolution's connections, with a filter of its own for every output position.

    Output unit (o, y, x) sees exactly the inputs it would see under
    `nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding)`, but shares its weights
    with no other unit (the LOCAL networks of Neyshabur 2020, §2.1).

    Shapes: input `(n, in_channels, height, width)` of the `image_size` it was made for, output
    `(n, out_channels, rows, columns)`. `weight` is `(rows, columns, out_channels, in_channels,
    kernel height, kernel width)`: `weight[y, x]` is the filter bank of `nn.Conv2d` at that
    position. `bias`, if any, is `(out_channels, rows, columns)`.

    Weights that only ever see the zero padding are stored too, so that `weight.numel()` is the
    published count (out · rows · columns · c · k²); they get a zero gradient and never matter.
    `support` tells them apart.

    Weights and bias start uniform in ±1/√(in_channels · kernel height · kernel width), as those of
    `nn.Conv2d` do. Under autocast the products run in its precision. Gradients are exact;
    gradients of gradients, and transforms of torch.func, are not offered.

    Args:
        in_channels, out_channels: channels before and after.
        kernel_size, stride, padding: as in `nn.Conv2d`, one int or (vertical, horizontal).
        image_size: height and width of the input, or one int for a square.
        bias: whether to add a bias per output unit.

    Raises:
        InvalidArgument: a size is not possible, or an input is not of the size given here.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        *,
        image_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.in_channels = _at_least(1, "in_channels", in_channels)
        self.out_channels = _at_least(1, "out_channels", out_channels)
        self.image_size = _pair("image_size", image_size, 1)
        self.kernel_size = _pair("kernel_size", kernel_size, 1)
        self.stride = _pair("stride", stride, 1)
        self.padding = _pair("padding", padding, 0)
        self._windows = Windows(self.image_size, self.kernel_size, self.stride, self.padding)
        if any(k > p for k, p in zip(self.kernel_size, self._windows.padded, strict=True)):
            raise InvalidArgument(
                f"kernel_size {self.kernel_size} is larger than the padded image "
                f"{self._windows.padded}: use a smaller kernel or more padding"
            )
        self.output_size = self._windows.output
        self.weight = nn.Parameter(
            torch.empty(
                *self.output_size,
                self.out_channels,
                self.in_channels,
                *self.kernel_size,
                device=device,
                dtype=dtype,
            )
        )
        self.bias: nn.Parameter | None
        if bias:
            self.bias = nn.Parameter(
                torch.empty(self.out_channels, *self.output_size, device=device, dtype=dtype)
            )
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weights and bias anew, as `nn.Conv2d` does."""
        bound = 1 / math.sqrt(self.in_channels * math.prod(self.kernel_size))
        nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        expected = (self.in_channels, *self.image_size)
        if input.dim() != 4 or input.shape[1:] != expected:
            raise InvalidArgument(
                f"input has shape {tuple(input.shape)}: this layer was made for "
                f"(n, {expected[0]}, {expected[1]}, {expected[2]})"
            )
        weight: torch.Tensor = self.weight
        device = input.device.type
        if device != "meta" and torch.is_autocast_enabled(device):
            # Cast before patches are gathered: afterwards there would be k² times as much to cast.
            precision = torch.get_autocast_dtype(device)
            input = input if input.dtype == torch.float64 else input.to(precision)
            weight = weight if weight.dtype == torch.float64 else weight.to(precision)
        output: torch.Tensor = LocalProduct.apply(input, weight, self._windows)  # type: ignore[no-untyped-call]
        return output if self.bias is None else output + self.bias.to(output.dtype)

    def support(self) -> torch.Tensor:
        """Which weights see a pixel rather than padding: bool, broadcasts against `weight`.

        Shape `(rows, columns, 1, 1, kernel height, kernel width)`, on the device of `weight`.
        """
        inside = self.weight.new_ones(1, 1, *self.image_size, dtype=torch.bool)
        patches = self._windows.patches(self._windows.pad(inside))
        return patches.squeeze(-1).unsqueeze(2)

    @torch.no_grad()
    def dense_weight(self) -> torch.Tensor:
        """The same linear map as one matrix, `(out · rows · columns, in · height · width)`.

        Units and inputs are in the order of flattened (c, h, w) maps; `F.linear(input.flatten(1),
        dense_weight())` is this layer without its bias. A new tensor: it does not follow changes.
        """
        inputs = self.in_channels * math.prod(self.image_size)
        # Number the inputs from 1 and see which number each weight meets; padding reads 0.
        numbers = torch.arange(1, inputs + 1, device=self.weight.device)
        numbers = numbers.view(1, self.in_channels, *self.image_size)
        met = self._windows.patches(self._windows.pad(numbers)).squeeze(-1).unsqueeze(2)
        dense = self.weight.new_zeros(*self.output_size, self.out_channels, inputs + 1)
        dense.scatter_(3, met.expand_as(self.weight).flatten(3), self.weight.flatten(3))
        return dense[..., 1:].permute(2, 0, 1, 3).reshape(-1, inputs)

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"image_size={self.image_size}, stride={self.stride}, padding={self.padding}, "
            f"bias={self.bias is not None}"
        )


def _at_least(least: int, name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        raise InvalidArgument(f"{name} is {value!r}: it must be an integer of at least {least}")
    return int(value)


def _pair(name: str, value: int | tuple[int, int], least: int) -> tuple[int, int]:
    """One int for both directions, or (vertical, horizontal)."""
    if not isinstance(value, (tuple, list)):
        value = (value, value)
    if len(value) != 2:
        raise InvalidArgument(f"{name} is {value!r}: it must be one integer or a pair of them")
    return _at_least(least, name, value[0]), _at_least(least, name, value[1])
