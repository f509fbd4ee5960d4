"""torch's own CSR tensors, used as best as torch can.

The forward product is `CSR @ Xᵀ` (`F.linear(X, CSR)` is several times slower), the input gradient
the same with a CSR matrix of the transpose, and the weight gradient `sampled_addmm`, which computes
it on the non-zeros only. Weights that die stay as stored zeros; none come back.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from scratchconv.bench.contender import Entry, TorchLoop
from scratchconv.bench.rule import SPARSE_LAYERS, Rule, groups
from scratchconv.models import Network
from scratchconv.optim import BetaLasso

NAME = "torch CSR"


class TorchCsrLinear(nn.Module):
    """A linear layer without bias; `values` is the parameter, its places never change."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.units, self.inputs = weight.shape
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # "support is in beta", once a process
            csr = weight.detach().to_sparse_csr()
        numbered = csr_matrix(
            csr.crow_indices(), csr.col_indices(), torch.arange(csr._nnz()), weight.shape
        )
        transposed = numbered.to_sparse_coo().t().coalesce().to_sparse_csr()
        self.values = nn.Parameter(csr.values().clone())
        # int32 is what the product's library takes; int64 would be converted at every call.
        self.offsets, self.columns = csr.crow_indices().int(), csr.col_indices().int()
        self.offsets_t = transposed.crow_indices().int()
        self.columns_t = transposed.col_indices().int()
        self.order_t = transposed.values()

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = _Product.apply(self.values, inputs.t().contiguous(), self)  # type: ignore[no-untyped-call]
        return outputs.t()

    def matrix(self, values: Tensor) -> Tensor:
        """The CSR matrix (units, inputs) with these values."""
        return csr_matrix(self.offsets, self.columns, values, (self.units, self.inputs))

    def transposed(self, values: Tensor) -> Tensor:
        """The CSR matrix (inputs, units) of the transpose."""
        ordered = values.index_select(0, self.order_t)
        return csr_matrix(self.offsets_t, self.columns_t, ordered, (self.inputs, self.units))

    def dense_weight(self) -> Tensor:
        return self.matrix(self.values.detach()).to_dense()


class _Product(torch.autograd.Function):
    """`W @ X` for X (inputs, n), contiguous."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, inputs: Tensor, layer: TorchCsrLinear) -> Tensor:
        ctx.save_for_backward(values, inputs)
        ctx.layer = layer
        return layer.matrix(values) @ inputs

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        values, inputs = ctx.saved_tensors
        layer: TorchCsrLinear = ctx.layer
        gradient = gradient.contiguous()
        of_values = of_inputs = None
        if ctx.needs_input_grad[0]:
            # beta=0 ignores the numbers of the first argument; its places are what is sampled.
            pattern = layer.matrix(values)
            of_values = torch.sparse.sampled_addmm(pattern, gradient, inputs.t(), beta=0.0).values()
        if ctx.needs_input_grad[1]:
            of_inputs = layer.transposed(values) @ gradient
        return of_values, of_inputs, None


def csr_matrix(offsets: Tensor, columns: Tensor, values: Tensor, shape: Any) -> Tensor:
    """torch's CSR tensor of this shape from its three arrays, which it shares."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # as above
        return torch.sparse_csr_tensor(
            offsets, columns, values, size=tuple(shape), check_invariants=False
        )


class TorchCsrStep(TorchLoop):
    """The fp32 training loop with the two large layers held as CSR."""

    def __init__(self, model: Network, rule: Rule) -> None:
        for name in SPARSE_LAYERS:
            weight = model.get_submodule(name).get_parameter("weight")
            setattr(model, name, TorchCsrLinear(weight))
        super().__init__(model, BetaLasso(groups(model, rule), lr=rule.lr, beta=rule.beta))

    def weights(self) -> dict[str, Tensor]:
        layers: Any = self.model
        dense = {name: getattr(layers, name).dense_weight() for name in SPARSE_LAYERS}
        return dense | {"fc2": layers.fc2.weight.detach().clone()}


ENTRY = Entry(NAME, TorchCsrStep, fixed_support=True)
