"""What a `SparseLinear` computes, with its gradients, as an operation of autograd."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from scratchconv.errors import InvalidArgument
from scratchconv.kernels import batch_norm, batch_norm_backward
from scratchconv.kernels.batch_norm import Units
from scratchconv.kernels.dropout import NO_DROPOUT, Dropout
from scratchconv.sparse.absorbed import AbsorbedBatchNorm1d
from scratchconv.sparse.activations import feature_major, no_rows, numbers, storage_dtype
from scratchconv.sparse.weight import DenseWeight, StoredWeight

if TYPE_CHECKING:
    from scratchconv.sparse.linear import SparseLinear


class Gradient(NamedTuple):
    """One weight gradient dY Xᵀ, kept as its two factors until the optimizer's step.

    inputs: X (features, samples); outputs: dY (units, samples).
    square: Σ dY² of each unit, float32 (units,).
    """

    inputs: Tensor
    outputs: Tensor
    square: Tensor


class Product(torch.autograd.Function):
    """Dropout(ReLU(BatchNorm(W X + b))) with its gradients; the layer gives the weight's."""

    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        values: Tensor,
        bias: Tensor | None,
        scale: Tensor | None,
        shift: Tensor | None,
        layer: SparseLinear,
        recorded: bool,
    ) -> Tensor:
        inputs = feature_major(input, storage_dtype(values))
        units = _units(layer, samples=inputs.shape[1])
        # x̂ is read again by the backward pass only.
        kept = units.statistics != batch_norm.NONE and recorded and any(ctx.needs_input_grad)
        normalised = inputs.new_empty(layer.out_features, inputs.shape[1]) if kept else None
        form = layer.form
        assert isinstance(form, DenseWeight | StoredWeight)
        ctx.training = layer.training and recorded
        outputs = form.outputs(inputs, units, normalised, training=ctx.training)
        if units.statistics == batch_norm.BATCH:
            assert isinstance(layer.batch_norm, AbsorbedBatchNorm1d)
            layer.batch_norm.track(units.mean, units.variance, inputs.shape[1])
        ctx.layer, ctx.units = layer, units
        ctx.save_for_backward(inputs, outputs if units.relu else None, normalised, values)
        # Detached, it is no view to autograd, and modules behind may work on it in place.
        return outputs.t().detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, output_gradient: Tensor) -> tuple[Tensor | None, ...]:
        inputs, outputs, normalised, _ = ctx.saved_tensors
        layer, units = ctx.layer, ctx.units
        gradient = feature_major(output_gradient, inputs.dtype)
        nothing = no_rows(inputs.dtype)
        sums_gradient = torch.empty_like(gradient)
        of_units = batch_norm_backward.units_backward(
            numbers(gradient),
            nothing if outputs is None else numbers(outputs),
            nothing if normalised is None else numbers(normalised),
            units,
            numbers(sums_gradient),
        )
        input_gradient = weight_gradient = None
        layer.input_gradient_wanted = ctx.needs_input_grad[0]
        if ctx.needs_input_grad[0]:
            input_gradient = layer.form.input_gradient(sums_gradient, training=ctx.training).t()
        # A gradient that waits for a step must be one that somebody asked for. Others may be formed
        # for nobody: in autograd.grad, `reaches` cannot be asked about a leaf.
        if ctx.needs_input_grad[1] and (
            not layer.defers_steps or reaches(ctx.next_functions[1][0])
        ):
            factors = Gradient(inputs, sums_gradient, torch.from_numpy(of_units.square))
            weight_gradient = layer.weight_gradient(factors)
        parts = (of_units.bias, of_units.scale, of_units.shift)
        return (
            input_gradient,
            weight_gradient,
            *(
                torch.from_numpy(part) if wanted else None
                for part, wanted in zip(parts, ctx.needs_input_grad[2:5], strict=True)
            ),
            None,
            None,
        )


def reaches(leaf: Any) -> bool:
    """Whether this backward pass is to give `leaf` its gradient: autograd.grad may not ask."""
    wanted: bool = torch._C._will_engine_execute_node(leaf)
    return wanted


def _units(layer: SparseLinear, samples: int) -> Units:
    """What is done to the weighted sums of `layer` in this pass."""
    norm, count = layer.batch_norm, layer.out_features
    zeros = np.zeros(count, np.float32)
    bias = zeros if layer.bias is None else numbers(layer.bias)
    behind = layer.relu is not None, _dropout(layer.dropout)
    if norm is None:
        return Units(bias, zeros, zeros, zeros, zeros, 0.0, batch_norm.NONE, *behind)
    # Copies: the backward pass reads them, whatever has become of the parameters by then.
    scale, shift = numbers(norm.weight).copy(), numbers(norm.bias).copy()
    if not norm.training:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        mean, variance = numbers(norm.running_mean).copy(), numbers(norm.running_var).copy()
        return Units(bias, scale, shift, mean, variance, norm.eps, batch_norm.GIVEN, *behind)
    if samples < 2:
        raise InvalidArgument(
            f"a batch of {samples}: BatchNorm in training needs at least 2 samples"
        )
    mean, variance = np.empty(count, np.float32), np.empty(count, np.float32)
    return Units(bias, scale, shift, mean, variance, norm.eps, batch_norm.BATCH, *behind)


def _dropout(module: nn.Dropout | None) -> Dropout:
    """What is dropped in this pass; its stream is the next number of torch's generator."""
    if module is None or not module.training or module.p == 0:
        return NO_DROPOUT
    return Dropout(module.p, int(torch.randint(2**63 - 1, ())))
