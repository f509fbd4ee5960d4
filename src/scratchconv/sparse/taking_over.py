"""Turning the linear layers of a model into sparse ones, in place, and back.

The classes change and the objects stay: whoever holds one of them, the model, a hook or the user,
goes on holding the layer that is trained.
"""

from __future__ import annotations

from collections import Counter
from functools import cache

import torch
from torch import Tensor, nn

from scratchconv.kernels import gpu
from scratchconv.sparse.absorbed import AbsorbedBatchNorm1d, AbsorbedDropout, AbsorbedReLU
from scratchconv.sparse.chains import Followers, absorbable, followers
from scratchconv.sparse.linear import SparseLinear
from scratchconv.sparse.tracing import traces

# Devices on which layers have the GPU's form. Tests add the CPU, where Triton interprets kernels.
_GPUS = {"cuda"}


class Candidates:
    """The linear layers of a model, and what its forward pass does with them.

    layers: by their names.
    """

    def __init__(self, model: nn.Module) -> None:
        _stay_out_of_graphs(SparseLinear)
        # A trace tells of the modules in a model, so that a layer alone needs one around it.
        around = nn.Sequential(model) if isinstance(model, nn.Linear) else model
        traced = traces(around)
        self._behind = followers(around, traced)
        self._read = {parameter for trace in traced for parameter in trace.read}
        named = model.named_parameters(remove_duplicate=False)
        self._uses = Counter(parameter for _, parameter in named)
        self.layers = {
            name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)
        }

    def why_not(self, layer: nn.Linear) -> str | None:
        """Why `layer` must stay as it is, None where it need not."""
        if isinstance(layer, SparseLinear):
            return f"it is a {type(layer).__name__} already"
        if type(layer) is not nn.Linear:
            return f"it is a {type(layer).__name__}, whose forward pass may be its own"
        weight = layer.weight
        if not isinstance(weight, nn.Parameter):
            return "its weight is computed from other parameters (pruning, weight_norm)"
        if weight.device.type not in ("cpu", "cuda") or weight.dtype != torch.float32:
            return (
                f"its weight is {weight.dtype} on {weight.device},"
                " not float32 on the CPU or an NVIDIA GPU"
            )
        if on_gpu(weight) and not gpu.available(weight.device):
            return f"its weight is on {weight.device}, where the engine needs {gpu.NEEDED}"
        if on_gpu(weight) and not weight.is_contiguous():
            return f"its weight has strides {weight.stride()}, not those of a contiguous matrix"
        if self._uses[weight] > 1:
            return "another layer shares its weight"
        if weight in self._read:
            return "the forward pass uses its weight for something else too"
        return None

    def take_over(self, linear: nn.Linear, kind: type[SparseLinear] = SparseLinear) -> SparseLinear:
        """Turn `linear` into a `kind` that does the work of the modules behind it too."""
        found = absorbable(linear, self._behind.get(linear, []))
        norm_kind: type[nn.BatchNorm1d] = AbsorbedBatchNorm1d
        if on_gpu(linear.weight):
            # Here, since these modules import Triton.
            from scratchconv.sparse.gpu_batch_norm import BatchNormReLU
            from scratchconv.sparse.gpu_linear import GpuLinear

            kind, norm_kind = GpuLinear, BatchNormReLU
            _stay_out_of_graphs(GpuLinear)
            _stay_out_of_graphs(BatchNormReLU)
            # Its kernel does both of these; torch does one alone, and dropout.
            both = found.batch_norm is not None and found.relu is not None
            found = found._replace(dropout=None) if both else Followers()
        linear.__class__ = kind
        assert isinstance(linear, SparseLinear)
        parameter = linear._parameters["weight"]
        assert parameter is not None
        linear.form = linear.dense_form(parameter)
        linear._gradients = []
        linear.input_gradient_wanted = True
        if found.batch_norm is not None:
            found.batch_norm.__class__ = norm_kind
        if found.relu is not None:
            found.relu.__class__ = AbsorbedReLU
        if found.dropout is not None:
            found.dropout.__class__ = AbsorbedDropout
        # Past nn.Module's own book-keeping: these modules belong to the model, not to the layer.
        linear.__dict__.update(found._asdict())
        return linear


def give_back(layer: SparseLinear) -> None:
    """Make `layer`, and what it did the work of, the plain modules they were."""
    if not layer.replaced:  # another weight stands there, and is dense
        layer.decompress()
    for module in (layer.batch_norm, layer.relu, layer.dropout):
        if module is not None:
            module.__class__ = plain_class(module)  # type: ignore[assignment]
    for name in (*Followers._fields, *layer.own_attributes):
        layer.__dict__.pop(name, None)
    layer.__class__ = plain_class(layer)  # type: ignore[assignment]


def plain_class(module: nn.Module) -> type[nn.Module]:
    """Its class, or the one it had before it was taken over: in evaluation they compute the same,
    taken all together.
    """
    kind = type(module)
    if kind.__module__.startswith(f"{__package__}."):
        kind = next(base for base in kind.__mro__ if base.__module__.startswith("torch."))
    return kind


def on_gpu(weight: Tensor) -> bool:
    """Whether a layer with this weight has the GPU's form."""
    return weight.device.type in _GPUS


@cache
def _stay_out_of_graphs(kind: type[nn.Module]) -> None:
    """Let torch.compile leave these modules alone; not at import, where it costs a second."""
    kind.forward = torch.compiler.disable(kind.forward)
