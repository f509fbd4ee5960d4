"""The package `sparselab` from PyPI (CPU kernels for sparse training) at equal density.

Two ways of using it are timed. Its own `SparseLinear`, as its documentation shows; and its kernels
called without what that layer spends on the side: it transposes every activation twice, and
computes an input gradient for the images, which nobody reads. Both keep the support they start
with; its rows have no room to spare (`padding_ratio=0`), since none of it would be used.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import importlib.util
import warnings
from functools import partial
from importlib import metadata
from typing import Any

import torch
from torch import Tensor, nn

from scratchconv.bench.contender import Entry, TorchLoop
from scratchconv.bench.rule import SPARSE_LAYERS, Rule, groups
from scratchconv.models import Network
from scratchconv.optim import BetaLasso

NAME, KERNELS_NAME = "sparselab", "sparselab, its kernels alone"


def why_not() -> str | None:
    """Why it cannot be used here, with the remedy; None where it can."""
    if importlib.util.find_spec("sparselab") is None:
        return "not installed: pip install sparselab (needs Python 3.11 or newer)"
    try:
        importlib.import_module("sparselab")
    except Exception as error:  # a compiled package may fail in any way on a processor too old
        return f"does not load here ({type(error).__name__}: {error})"
    return None


def entries() -> list[Entry]:
    """Both ways of using it."""
    without = why_not()
    return [
        Entry(NAME, SparselabStep, fixed_support=True, unavailable=without),
        Entry(
            KERNELS_NAME,
            partial(SparselabStep, kernels_alone=True),
            fixed_support=True,
            unavailable=without,
        ),
    ]


class SparselabStep(TorchLoop):
    """The fp32 training loop with the two large layers held by sparselab."""

    def __init__(self, model: Network, rule: Rule, *, kernels_alone: bool = False) -> None:
        _set_threads(torch.get_num_threads())
        # It keeps transposes by the identity of their matrix: one that is gone may pass its own on.
        importlib.import_module("sparselab.ops")._transpose_cache.clear()
        for name in SPARSE_LAYERS:
            weight = model.get_submodule(name).get_parameter("weight").detach()
            layer = _sparse_linear(weight)
            setattr(model, name, _KernelsLayer(layer) if kernels_alone else layer)
        super().__init__(model, BetaLasso(groups(model, rule), lr=rule.lr, beta=rule.beta))

    def weights(self) -> dict[str, Tensor]:
        layers: Any = self.model
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of arrays that it reads but cannot write
            return self._weights(layers)

    @staticmethod
    def _weights(layers: Any) -> dict[str, Tensor]:
        dense = {name: getattr(layers, name)._csr.to_dense() for name in SPARSE_LAYERS}
        return dense | {"fc2": layers.fc2.weight.detach().clone()}


def _set_threads(threads: int) -> None:
    """As many threads as torch has: the package brings an OpenMP of its own, which asks nobody."""
    with contextlib.suppress(metadata.PackageNotFoundError):  # built, not installed
        for file in metadata.files("sparselab") or ():
            if "libgomp" in file.name:
                ctypes.CDLL(str(file.locate())).omp_set_num_threads(threads)


def _sparse_linear(weight: Tensor) -> Any:
    """A `sparselab.SparseLinear` with this weight: it has no way of its own to take one."""
    sparselab = importlib.import_module("sparselab")
    units, inputs = weight.shape
    layer = sparselab.SparseLinear(
        inputs, units, bias=False, sparsity=1 - 1 / inputs, padding_ratio=0.0
    )
    layer._csr = sparselab.PaddedCSR.from_dense(weight, padding_ratio=0.0)
    layer._values = nn.Parameter(torch.from_numpy(layer._csr.values))
    return layer


class _KernelsLayer(nn.Module):
    """sparselab's storage and kernels; activations stay unit by unit between layers."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self._csr, self._values = layer._csr, layer._values

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = _Product.apply(self._values, inputs.t().contiguous(), self._csr)  # type: ignore[no-untyped-call]
        return outputs.t()


class _Product(torch.autograd.Function):
    """As sparselab's own, but without gradients that nobody asked for."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, inputs: Tensor, csr: Any) -> Tensor:
        ctx.save_for_backward(inputs)
        ctx.csr = csr
        core = importlib.import_module("sparselab._core")
        return torch.from_numpy(core.spmm_simd(csr, inputs.numpy()))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (inputs,) = ctx.saved_tensors
        core = importlib.import_module("sparselab._core")
        ops = importlib.import_module("sparselab.ops")
        slope = gradient.contiguous().numpy()
        of_values = of_inputs = None
        if ctx.needs_input_grad[0]:
            of_values = torch.from_numpy(core.spmm_grad_w_simd(ctx.csr, slope, inputs.numpy()))
        if ctx.needs_input_grad[1]:
            transposed = ops._cached_transpose(ctx.csr)
            of_inputs = torch.from_numpy(core.spmm_simd(transposed, slope))
        return of_values, of_inputs, None
