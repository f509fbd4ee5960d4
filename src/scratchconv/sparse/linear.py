"""`SparseLinear`: a linear layer that trains at the cost of the weights that are left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar
from weakref import ReferenceType, ref

import torch
from torch import Tensor, nn

from scratchconv.errors import InvalidArgument
from scratchconv.kernels.compilation import kernels_can_run
from scratchconv.optim.deferred import DeferredStep
from scratchconv.sparse.product import Gradient, Product
from scratchconv.sparse.snapshot import MAKE_DENSE, snapshot
from scratchconv.sparse.weight import CompressedWeight, DenseWeight, StoredWeight, Weight, put


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
        defers_steps: its weight is trained by what `BetaLasso.defer` was given.
        own_attributes: what it has and an `nn.Linear` has not, beside those modules.
        input_gradient_wanted: whether the last backward pass formed one.
    """

    in_features: int
    out_features: int
    batch_norm: nn.BatchNorm1d | None
    relu: nn.ReLU | None
    dropout: nn.Dropout | None
    compressible: ClassVar[bool] = True
    defers_steps: ClassVar[bool] = True
    own_attributes: ClassVar[tuple[str, ...]] = (
        "_form",
        "input_gradient_wanted",
        "_gradients",
        "_owner",
    )
    input_gradient_wanted: bool
    _form: Weight
    _owner: ReferenceType[DeferredStep] | None = None
    # Each with the version of its inputs, which are the caller's own memory where they can be.
    _gradients: list[tuple[Gradient, int]]

    @property
    def form(self) -> Weight:
        """The weight in its present form."""
        form = self._form
        if isinstance(form, StoredWeight):
            form.take_up()
        return form

    @form.setter
    def form(self, form: Weight) -> None:
        self._form = form

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """The weight, float32 (out_features, in_features); a copy while it is compressed."""
        if self.compressed and not self.replaced:
            return snapshot(self.values, self.form.to_dense)
        parameter = self._parameters["weight"]
        assert parameter is not None
        return parameter

    @property
    def values(self) -> nn.Parameter:
        """What the optimizer holds: the dense weight, or the non-zeros in one row."""
        return self._form.parameter

    @property
    def replaced(self) -> bool:
        """Whether the weight was assigned anew, which the layer does not follow."""
        return self._parameters.get("weight") is not self._form.parameter

    @property
    def compressed(self) -> bool:
        return isinstance(self._form, StoredWeight)

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

    def compressed_form(self, parameter: nn.Parameter) -> Weight:
        """The form that holds what is to be stored of the matrix."""
        return CompressedWeight.of(parameter)

    def compress(self) -> None:
        """Keep the non-zeros only. Gradients that wait for a step stay good."""
        if not self.compressed:
            self.form = self.compressed_form(self.values)

    def decompress(self) -> None:
        """Keep the whole matrix."""
        if self.compressed:
            parameter = self.values
            put(parameter, self.form.to_dense())
            self.form = self.dense_form(parameter)

    def reset_parameters(self) -> None:
        """Draw the parameters anew, as `nn.Linear` does."""
        compressed = self.compressed
        self.decompress()
        super().reset_parameters()
        self.form = self.dense_form(self.values)
        if compressed:
            self.compress()

    def rows_of(self, input: Tensor) -> Tensor:
        """The samples of `input` (…, in_features) one after the other: (samples, in_features).

        Raises InvalidArgument for another shape, and where the weight was replaced.
        """
        if self.replaced:
            raise InvalidArgument(
                "the weight of a sparse layer was replaced by another tensor (assigned, or by"
                " functional_call), which it cannot train: copy_ into it under torch.no_grad(), or"
                f" {MAKE_DENSE}"
            )
        if input.shape[-1:] != (self.in_features,):
            raise InvalidArgument(
                f"input has shape {tuple(input.shape)}: this layer takes (…, {self.in_features})"
            )
        return input.reshape(-1, self.in_features)

    def forward(self, input: Tensor) -> Tensor:
        rows = self.rows_of(input)
        if not kernels_can_run():
            raise InvalidArgument(
                "sparse layers cannot run in a process forked from one that used them:"
                f" {MAKE_DENSE}, or start processes by spawn"
            )
        norm = self.batch_norm
        if norm is not None and input.dim() != 2:
            raise InvalidArgument(
                f"input has shape {tuple(input.shape)}: with the BatchNorm1d behind it this layer"
                f" takes (samples, {self.in_features})"
            )
        output: Tensor = Product.apply(
            rows,
            self.values,
            self.bias,
            None if norm is None else norm.weight,
            None if norm is None else norm.bias,
            self,
            torch.is_grad_enabled(),
        )  # type: ignore[no-untyped-call]
        return output if input.dim() == 2 else output.reshape(*input.shape[:-1], self.out_features)

    def owned_by(self, owner: DeferredStep) -> None:
        """Let `owner` take the gradients."""
        self._owner = ref(owner)

    def weight_gradient(self, gradient: Gradient) -> Tensor | None:
        """What autograd gets for the weight in one backward pass: None, since the step forms it.

        Raises InvalidArgument if one waits already and nobody is there to take it.
        """
        if self._gradients and (self._owner is None or self._owner() is None):
            raise InvalidArgument(
                "no optimizer steps this sparse layer (a copy without its optimizer, or the"
                " optimizer is gone), so gradients would only pile up: copy model and optimizer"
                " together, or call to_dense() of the engine first; where other gradients are"
                " wanted, model.requires_grad_(False)"
            )
        self._gradients.append((gradient, gradient.inputs._version))
        return None

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
        # A copy has no gradients, as copies of plain parameters have none; its owner, if it is
        # copied too, tells it so.
        state = {**self.__dict__, "_gradients": []}
        state.pop("_owner", None)
        return state

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        moved = fn(self.values.detach().new_empty(0))
        device = self.values.device
        if moved.dtype != torch.float32 or moved.device != device:
            home = "the CPU" if device.type == "cpu" else device
            raise InvalidArgument(
                f"sparse layers are float32 on {home}, not {moved.dtype} on {moved.device}:"
                f" {MAKE_DENSE}"
            )
        moved_layer: nn.Module = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return moved_layer

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self.compressed and not self.replaced:
            destination[f"{prefix}weight"] = self.form.to_dense()

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *others: Any) -> None:
        given = state_dict.get(f"{prefix}weight")
        metadata, errors = others[0], others[-1]
        assigned = metadata.get("assign_to_params_buffers", False)
        if assigned and isinstance(given, Tensor) and given.dtype != torch.float32:
            errors.append(
                f"{prefix}weight is {given.dtype}, and sparse layers are float32: load it without"
                f" assign=True, or {MAKE_DENSE}"
            )
            return
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
