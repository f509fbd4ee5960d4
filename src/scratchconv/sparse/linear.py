"""`SparseLinear`: a linear layer that trains at the cost of the weights that are left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from scratchconv.errors import InvalidArgument
from scratchconv.kernels import batch_norm, batch_norm_backward
from scratchconv.kernels.batch_norm import Units
from scratchconv.kernels.compilation import kernels_can_run
from scratchconv.kernels.dropout import NO_DROPOUT, Dropout
from scratchconv.sparse.absorbed import AbsorbedBatchNorm1d
from scratchconv.sparse.activations import feature_major, no_rows, numbers, storage_dtype
from scratchconv.sparse.weight import CompressedWeight, DenseWeight, Weight


class Gradient(NamedTuple):
    """One weight gradient dY Xᵀ, kept as its two factors until the optimizer's step.

    inputs: X (features, samples); outputs: dY (units, samples).
    square: Σ dY² of each unit, float32 (units,).
    """

    inputs: Tensor
    outputs: Tensor
    square: Tensor


class SparseLinear(nn.Linear):
    """`nn.Linear` whose weight is dense or compressed, whichever is faster; `sparsify` makes them.

    What was an `nn.Linear` goes on as one: the same parameters, `state_dict` keys and shapes (the
    dense weight), outputs and input gradients. Of its weight gradient only the factors are kept,
    until the optimizer's step, which applies Algorithm 1 to them; `weight.grad` stays None, so
    clipping of gradients does not see it.

    A BatchNorm1d, a ReLU and a Dropout right behind it are computed with it, where `sparsify` found
    them.

    Attributes:
        batch_norm, relu, dropout: the modules whose work this layer does too, or None.
        compressible: whether the layer has a compressed form.
        input_gradient_wanted: whether the last backward pass formed one.
        form: the weight in its present form.
    """

    in_features: int
    out_features: int
    form: Weight
    batch_norm: nn.BatchNorm1d | None
    relu: nn.ReLU | None
    dropout: nn.Dropout | None
    compressible: ClassVar[bool] = True
    input_gradient_wanted: bool
    # Each with the version of its inputs, which are the caller's own memory where they can be.
    _gradients: list[tuple[Gradient, int]]

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """The weight, float32 (out_features, in_features); built anew while it is compressed."""
        return self.form.to_dense() if self.compressed else self.form.parameter

    @property
    def values(self) -> nn.Parameter:
        """What the optimizer holds: the dense weight, or the non-zeros in one row."""
        return self.form.parameter

    @property
    def compressed(self) -> bool:
        return isinstance(self.form, CompressedWeight)

    @property
    def nonzero(self) -> int:
        """How many weights are not zero."""
        return int(self.form.nonzero)

    @property
    def density(self) -> float:
        """Share of the weights that are not zero."""
        return self.nonzero / max(1, self.in_features * self.out_features)

    def nonzero_per_unit(self) -> Tensor:
        """How many weights of each unit are not zero: int64 (out_features,)."""
        return self.form.nonzero_per_unit()

    @staticmethod
    def dense_form(parameter: nn.Parameter) -> Weight:
        """The form that holds the whole matrix."""
        return DenseWeight(parameter)

    def compress(self) -> None:
        """Keep the non-zeros only. Gradients that wait for a step stay good."""
        if not self.compressed:
            self.form = CompressedWeight.of(self.values)

    def decompress(self) -> None:
        """Keep the whole matrix."""
        if self.compressed:
            parameter = self.values
            parameter.data = self.form.to_dense()
            self.form = self.dense_form(parameter)

    def rows_of(self, input: Tensor) -> Tensor:
        """The samples of `input` (…, in_features) one after the other: (samples, in_features).

        Raises InvalidArgument for another shape.
        """
        if input.shape[-1:] != (self.in_features,):
            raise InvalidArgument(
                f"input has shape {tuple(input.shape)}: this layer takes (…, {self.in_features})"
            )
        return input.reshape(-1, self.in_features)

    def forward(self, input: Tensor) -> Tensor:
        rows = self.rows_of(input)
        if not kernels_can_run():
            raise InvalidArgument(
                "sparse layers cannot run in a process forked from one that used them: call"
                " to_dense() first, or start processes by spawn"
            )
        norm = self.batch_norm
        if norm is not None and input.dim() != 2:
            raise InvalidArgument(
                f"input has shape {tuple(input.shape)}: with the BatchNorm1d behind it this layer"
                f" takes (samples, {self.in_features})"
            )
        output: Tensor = _Product.apply(
            rows,
            self.values,
            self.bias,
            None if norm is None else norm.weight,
            None if norm is None else norm.bias,
            self,
            torch.is_grad_enabled(),
        )  # type: ignore[no-untyped-call]
        return output if input.dim() == 2 else output.reshape(*input.shape[:-1], self.out_features)

    def take_gradients(self) -> Gradient | None:
        """The gradient of all backward passes since the last step; forgets it.

        Raises InvalidArgument if an input was overwritten since.
        """
        waiting, self._gradients = self._gradients, []
        if any(gradient.inputs._version != version for gradient, version in waiting):
            raise InvalidArgument(
                "an input of a sparse layer was changed in place between backward and step: its"
                " weight gradient is formed by the step; change it after that, or give a copy"
            )
        gradients = [gradient for gradient, _ in waiting]
        if len(gradients) <= 1:
            return gradients[0] if gradients else None
        inputs, outputs, squares = zip(*gradients, strict=True)
        # A sum of gradients is one gradient over all their samples.
        return Gradient(torch.cat(inputs, 1), torch.cat(outputs, 1), sum(squares))

    def forget_gradients(self) -> None:
        """Forget the gradients of the backward passes since the last step."""
        self._gradients = []

    def __getstate__(self) -> dict[str, Any]:
        # A copy has no gradients, as copies of plain parameters have none.
        return {**self.__dict__, "_gradients": []}

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        moved = fn(self.values.detach().new_empty(0))
        device = self.values.device
        if moved.dtype != torch.float32 or moved.device != device:
            home = "the CPU" if device.type == "cpu" else device
            raise InvalidArgument(
                f"sparse layers are float32 on {home}, not {moved.dtype} on {moved.device}: call"
                " to_dense() of the engine first"
            )
        moved_layer: nn.Module = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return moved_layer

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self.compressed:
            destination[f"{prefix}weight"] = self.form.to_dense()

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *others: Any) -> None:
        compressed = self.compressed
        self.decompress()
        super()._load_from_state_dict(state_dict, prefix, *others)
        parameter = self._parameters["weight"]  # another one after load_state_dict(assign=True)
        assert parameter is not None
        self.form = self.dense_form(parameter)
        if compressed:
            self.compress()

    def extra_repr(self) -> str:
        form = "compressed" if self.compressed else "dense"
        return f"{super().extra_repr()}, {form}, density={self.density:.2%}"


class _Product(torch.autograd.Function):
    """Dropout(ReLU(BatchNorm(W X + b))) with its gradients; the weight's is left with the layer."""

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
        assert isinstance(form, DenseWeight | CompressedWeight)
        outputs = form.outputs(inputs, units, normalised)
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
        input_gradient = None
        layer.input_gradient_wanted = ctx.needs_input_grad[0]
        if ctx.needs_input_grad[0]:
            input_gradient = layer.form.input_gradient(sums_gradient).t()
        if ctx.needs_input_grad[1] and reaches(ctx.next_functions[1][0]):
            factors = Gradient(inputs, sums_gradient, torch.from_numpy(of_units.square))
            layer._gradients.append((factors, inputs._version))
        parts = (of_units.bias, of_units.scale, of_units.shift)
        return (
            input_gradient,
            None,
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
