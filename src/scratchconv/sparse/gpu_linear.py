"""`GpuLinear`: a `SparseLinear` on a GPU."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from scratchconv.errors import InvalidArgument
from scratchconv.sparse.activations import feature_major, storage_dtype
from scratchconv.sparse.gpu_weight import GpuWeight
from scratchconv.sparse.linear import SparseLinear
from scratchconv.sparse.product import Gradient, reaches


class GpuLinear(SparseLinear):
    """A `SparseLinear` on a GPU: always dense; the update is one kernel with the weight gradient.

    A BatchNorm1d and a ReLU right behind it are one kernel (`BatchNormReLU`), not part of this one.
    """

    _form: GpuWeight
    compressible: ClassVar[bool] = False

    @staticmethod
    def dense_form(parameter: nn.Parameter) -> GpuWeight:
        return GpuWeight(parameter)

    def compress(self) -> None:
        """Raises InvalidArgument: `sparsify` says why."""
        raise InvalidArgument(
            f"a layer on {self.values.device} has no compressed form: move the model to the CPU"
            " before sparsify"
        )

    def forward(self, input: Tensor) -> Tensor:
        output: Tensor = _Product.apply(
            self.rows_of(input),
            self.values,
            self.bias,
            self,
            self.training and torch.is_grad_enabled(),
        )  # type: ignore[no-untyped-call]
        return output if input.dim() == 2 else output.reshape(*input.shape[:-1], self.out_features)


class _Product(torch.autograd.Function):
    """W X + b with its gradients; the weight's is left with the layer."""

    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        values: Tensor,
        bias: Tensor | None,
        layer: GpuLinear,
        training: bool,
    ) -> Tensor:
        inputs = feature_major(input, storage_dtype(values))
        ctx.layer, ctx.training = layer, training
        ctx.save_for_backward(inputs, values)
        # Detached, it is no view to autograd, and modules behind may work on it in place.
        return layer._form.outputs(inputs, bias, training=training).t().detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, output_gradient: Tensor) -> tuple[Tensor | None, ...]:
        inputs, _ = ctx.saved_tensors
        layer: GpuLinear = ctx.layer
        gradient = feature_major(output_gradient, inputs.dtype)
        input_gradient = weight_gradient = bias_gradient = None
        layer.input_gradient_wanted = ctx.needs_input_grad[0]
        if ctx.needs_input_grad[0]:
            input_gradient = layer.form.input_gradient(gradient, training=ctx.training).t()
        if ctx.needs_input_grad[1] and reaches(ctx.next_functions[1][0]):
            # Lengths of dY are for screening, which a dense weight has no need of.
            factors = Gradient(inputs, gradient, square=gradient.new_empty(0))
            weight_gradient = layer.weight_gradient(factors)
        if ctx.needs_input_grad[2]:
            bias_gradient = gradient.sum(1, dtype=torch.float32)
        return input_gradient, weight_gradient, bias_gradient, None, None
