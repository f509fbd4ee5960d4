"""BatchNorm1d and the ReLU behind it on a GPU, where one kernel each way does both."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.autograd.graph import increment_version

from scratchconv.kernels.gpu import batch_norm
from scratchconv.kernels.gpu.batch_norm import MOST_SAMPLES, Normalised
from scratchconv.sparse.activations import feature_major


class BatchNormReLU(nn.BatchNorm1d):
    """A BatchNorm1d that does the work of the ReLU behind it too, behind a `GpuLinear`.

    In training that is one kernel each way, which reads the layer's feature-major sums as they
    lie; torch passes over them several times. Where the kernel cannot serve, torch does it: in
    evaluation, for which it does not exist, and for batches of more than `MOST_SAMPLES`, which its
    registers cannot hold.
    """

    def forward(self, input: Tensor) -> Tensor:
        served = (
            self.training
            and input.dim() == 2
            and 2 <= len(input) <= MOST_SAMPLES
            and input.dtype in (torch.float32, torch.bfloat16)
        )
        if not served:
            return super().forward(input).relu()
        output: Tensor = _BatchNormReLU.apply(input, self.weight, self.bias, self)  # type: ignore[no-untyped-call]
        return output


class _BatchNormReLU(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, input: Tensor, scale: Tensor, shift: Tensor, norm: BatchNormReLU
    ) -> Tensor:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        assert norm.num_batches_tracked is not None
        assert norm.momentum is not None
        result = batch_norm.batch_norm_relu(
            feature_major(input, input.dtype),
            scale,
            shift,
            running_mean=norm.running_mean,
            running_variance=norm.running_var,
            momentum=norm.momentum,
            eps=norm.eps,
        )
        increment_version([norm.running_mean, norm.running_var])
        norm.num_batches_tracked.add_(1)
        ctx.save_for_backward(*result, scale)
        # Detached, it is no view to autograd, and modules behind may work on it in place.
        return result.output.t().detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, output_gradient: Tensor) -> tuple[Tensor | None, ...]:
        *result, scale = ctx.saved_tensors
        forward = Normalised(*result)
        gradients = batch_norm.batch_norm_relu_backward(
            feature_major(output_gradient, forward.output.dtype), forward, scale
        )
        return gradients.input.t(), gradients.weight, gradients.bias, None
