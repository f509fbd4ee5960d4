"""`LargeKernelConv2d`: a convolution whose kernel is larger than its map of outputs."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.nn.grad import conv2d_input


class LargeKernelConv2d(nn.Conv2d):
    """`nn.Conv2d` of stride 1 without padding, faster where the kernel exceeds the output.

    The gradient of the weight is itself a convolution: of the inputs with the gradient of the
    output, samples and channels exchanged. On a CPU, PyTorch computes that several times as fast
    as what it takes for this gradient, which is made for small kernels. The same sums in another
    order; elsewhere and under autocast it is PyTorch's own. It has one derivative only, and
    torch.func cannot transform it.

    Shapes and parameters as of `nn.Conv2d(in_channels, out_channels, kernel_size)`.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: tuple[int, int]) -> None:
        super().__init__(in_channels, out_channels, kernel_size)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        ours = input.device.type == "cpu" and input.dim() == 4 and len(input) > 0
        if not ours or torch.is_autocast_enabled("cpu"):
            return super().forward(input)
        output: torch.Tensor = _Convolution.apply(input, self.weight, self.bias)  # type: ignore[no-untyped-call]
        return output


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
    ) -> torch.Tensor:
        ctx.save_for_backward(input, weight)
        return F.conv2d(input, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        input, weight = ctx.saved_tensors
        of_input, of_weight, of_bias = ctx.needs_input_grad
        return (
            conv2d_input(input.shape, weight, gradient) if of_input else None,
            F.conv2d(input.transpose(0, 1), gradient.transpose(0, 1)).transpose(0, 1)
            if of_weight
            else None,
            gradient.sum((0, 2, 3)) if of_bias else None,
        )
