"""`sparsify`: two lines that make a training loop pay only for the weights that are left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from scratchconv.errors import InvalidArgument, unknown_name
from scratchconv.kernels import gpu
from scratchconv.optim import BetaLasso
from scratchconv.sparse.absorbed import AbsorbedBatchNorm1d, AbsorbedDropout, AbsorbedReLU
from scratchconv.sparse.chains import Followers, absorbable, followers
from scratchconv.sparse.layer_step import LayerStep, Regrowth
from scratchconv.sparse.linear import SparseLinear
from scratchconv.sparse.switching import ALWAYS_COMPRESSED, ALWAYS_DENSE, SwitchAt
from scratchconv.sparse.tracing import traces

Mode = Literal["auto", "dense", "sparse"]

# Layers with fewer weights cost next to nothing in any form: auto leaves them to PyTorch.
SMALLEST = 1 << 18

# Devices on which layers have the GPU's form. Tests add the CPU, where Triton interprets kernels.
_GPUS = {"cuda"}


@dataclass
class Engine:
    """The layers of a model that `sparsify` took over.

    Attributes:
        layers: by the name that each had, and has, in the model.
        steps: what takes their steps, by the same names.
        left: the linear layers that stayed as they were, and why.
    """

    model: nn.Module
    optimizer: BetaLasso
    layers: dict[str, SparseLinear] = field(default_factory=dict)
    steps: dict[str, LayerStep] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)

    def to_dense(self) -> nn.Module:
        """Make the model again what it was: plain modules, dense weights; returns it.

        A gradient that waits for a step is forgotten.
        """
        for layer in self.layers.values():
            if not layer.replaced:  # another weight stands there, and is dense
                layer.decompress()
            self.optimizer.defer(layer.values, None)
            for module in (layer.batch_norm, layer.relu, layer.dropout):
                if module is not None:
                    module.__class__ = plain_class(module)  # type: ignore[assignment]
            for name in _ATTRIBUTES:
                layer.__dict__.pop(name, None)
            layer.__class__ = plain_class(layer)  # type: ignore[assignment]
        self.layers, self.steps = {}, {}
        return self.model

    def state(self) -> dict[str, Any]:
        """What a resumed run must know beside weights: the forms of the layers, their steps."""
        return {
            name: {"compressed": step.layer.compressed, "steps": step.steps}
            for name, step in self.steps.items()
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from `state()` of an engine on the same model."""
        for name, entry in state.items():
            step = self.steps[name]
            step.steps = int(entry["steps"])
            if entry["compressed"] and step.layer.compressible:
                step.layer.compress()
            else:
                step.layer.decompress()

    def take_record(self) -> list[dict[str, Any]]:
        """What happened in the steps since this was last called: one dict a layer and step.

        `step` counts from 1; `units`, `norms`, `blocks`, `pairs` and `revived` are those of
        `screening.Screened`, where the layer was screened.
        """
        return [
            {"step": line["step"], "layer": name, **line}
            for name, step in self.steps.items()
            for line in step.take_record()
        ]


_ATTRIBUTES = ("_form", *Followers._fields, "input_gradient_wanted", "_gradients", "_owner")


def plain_class(module: nn.Module) -> type[nn.Module]:
    """Its class, or the one it had before `sparsify` took it over: in evaluation they compute the
    same, taken all together.
    """
    kind = type(module)
    if kind.__module__.startswith(f"{__package__}."):
        kind = next(base for base in kind.__mro__ if base.__module__.startswith("torch."))
    return kind


def sparsify(
    model: nn.Module,
    optimizer: BetaLasso,
    *,
    mode: Mode = "auto",
    regrowth: Regrowth = "exact",
    switch_at: Mapping[str, SwitchAt] | None = None,
) -> Engine:
    """Make the linear layers of `model` train at the cost of the weights that are left.

    The model and the training loop go on as before; layers are changed in place and keep their
    parameters' names. Taken over is every `nn.Linear` whose weight `optimizer` regularises (λ > 0);
    `Engine.left` tells why another was not. A BatchNorm1d, a ReLU and a Dropout behind it that
    follow it directly are computed with it (on the CPU; the Dropout has its own random numbers, of
    which each pass takes the first from torch's generator).

    The weight's gradient is never formed: `weight.grad` stays None, and `optimizer.step` does the
    update. So nothing between `backward` and `step` can change that gradient (clipping, hooks). One
    that the weight has already is forgotten.

    On an NVIDIA GPU, where Triton must be installed (the extra `gpu`), layers are always dense, and
    no step makes the host wait for the device (if the learning rate is a number, not a tensor on
    it). Which zero weights return follows from the gradient of all of them. The bounds that spare a
    CPU most of it give lists whose lengths the host would have to read at every step, and forming
    all of it, as the dense update does, leaves a compressed layer only the other products to save.

    Args:
        model: also one wrapped by torch.compile.
        optimizer: of the model's weights.
        mode: "auto": layers are dense, with the update fused into the weight gradient, until a
            timing on this machine, taken at the first step, says that compressed is faster; and
            back again. Layers with fewer than `SMALLEST` weights are left alone. "dense" and
            "sparse" (on the CPU only): always in that form, whatever the size.
        regrowth: "exact": every step is Algorithm 1, zero weights included; safe bounds decide
            which units need their whole gradient. K: zero weights of a compressed layer may
            return at every K-th step only.
        switch_at: densities to change form at, by layer, instead of a timing (mode "auto", on the
            CPU).

    Raises InvalidArgument: another optimizer, an unknown mode, a `regrowth` that is neither
    "exact" nor at least 1, a name in `switch_at` that is not taken over, no layer to take over, a
    layer on a GPU that is to be compressed, or one that another optimizer's engine trains.
    """
    if not isinstance(optimizer, BetaLasso):
        raise InvalidArgument(
            f"{type(optimizer).__name__} cannot be sparsified: give scratchconv.BetaLasso, whose"
            " zeros stay zero until their gradient passes a bar"
        )
    if isinstance(model, nn.parallel.DistributedDataParallel | nn.DataParallel):
        raise InvalidArgument(
            f"{type(model).__name__} cannot average gradients that are never formed: train the"
            " plain model in one process"
        )
    if mode not in get_args(Mode):
        raise unknown_name("mode", str(mode), get_args(Mode))
    if regrowth != "exact" and not (
        isinstance(regrowth, int) and not isinstance(regrowth, bool) and regrowth >= 1
    ):
        raise InvalidArgument(f'regrowth={regrowth!r}: give "exact", or check every K ≥ 1 steps')
    regularised = {
        parameter
        for group in optimizer.param_groups
        for parameter in group["params"]
        if group["lam"] > 0
    }
    uses = Counter(parameter for _, parameter in model.named_parameters(remove_duplicate=False))
    _stay_out_of_graphs(SparseLinear)
    engine = Engine(model, optimizer)
    traced = traces(model)
    behind = followers(model, traced)
    read = {parameter for trace in traced for parameter in trace.read}
    taken = {}
    for name, module in model.named_modules():
        if not isinstance(module, nn.Linear):
            continue
        if isinstance(module, SparseLinear) and not optimizer.defers(module.values):
            raise InvalidArgument(
                f"layer {name!r} is trained by the engine of another optimizer, or is a copy of"
                " one that is: call to_dense() of its engine first, before copying"
            )
        if reason := _why_not(module, regularised, uses, read, mode):
            engine.left[name] = reason
        else:
            taken[name] = module
            if _on_gpu(module.weight) and (mode == "sparse" or name in (switch_at or {})):
                raise InvalidArgument(
                    f"layer {name!r} is on {module.weight.device}, and layers are compressed on"
                    ' the CPU only: give mode="auto" or "dense", and no switch_at for it'
                )
    for name, module in taken.items():
        in_mode = {"dense": ALWAYS_DENSE, "sparse": ALWAYS_COMPRESSED}.get(mode)
        at = ALWAYS_DENSE if _on_gpu(module.weight) else (switch_at or {}).get(name, in_mode)
        layer = _take_over(module, behind.get(module, []))
        step = LayerStep(layer, regrowth, at)
        optimizer.defer(layer.values, step)
        engine.layers[name], engine.steps[name] = layer, step
        if at is not None:
            step.switch()
    for name in switch_at or {}:
        if name not in engine.layers:
            names = list(engine.layers)
            engine.to_dense()
            raise unknown_name("layer", name, names)
    if not engine.layers and mode != "auto":
        reasons = "; ".join(f"{name}: {reason}" for name, reason in engine.left.items())
        raise InvalidArgument(
            f"no linear layer of {type(model).__name__} can be sparsified"
            f" ({reasons or 'it has none'})"
        )
    for layer in engine.layers.values():
        layer.values.grad = None  # what is stepped from now on is the layer's own
    return engine


@cache
def _stay_out_of_graphs(kind: type[nn.Module]) -> None:
    """Let torch.compile leave these modules alone; not at import, where it costs a second."""
    kind.forward = torch.compiler.disable(kind.forward)


def _on_gpu(weight: Tensor) -> bool:
    return weight.device.type in _GPUS


def _why_not(
    layer: nn.Linear,
    regularised: set[nn.Parameter],
    uses: Counter[nn.Parameter],
    read: set[nn.Parameter],
    mode: Mode,
) -> str | None:
    """Why `layer` must stay as it is, None where it need not."""
    if isinstance(layer, SparseLinear):
        return "it is a SparseLinear already"
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
    if _on_gpu(weight) and not gpu.available(weight.device):
        return f"its weight is on {weight.device}, where the engine needs {gpu.NEEDED}"
    if _on_gpu(weight) and not weight.is_contiguous():
        return f"its weight has strides {weight.stride()}, not those of a contiguous matrix"
    if weight not in regularised:
        return "the optimizer does not regularise its weight (λ > 0)"
    if uses[weight] > 1:
        return "another layer shares its weight"
    if weight in read:
        return "the forward pass uses its weight for something else too"
    if mode == "auto" and weight.numel() < SMALLEST:
        return f"it has {weight.numel()} weights, too few to gain from"
    return None


def _take_over(linear: nn.Linear, behind: list[nn.Module]) -> SparseLinear:
    """Turn `linear` into a `SparseLinear` that does the work of the modules `behind` it too.

    The classes change and the objects stay: whoever holds one of them, the model, a hook or the
    user, goes on holding the layer that is trained.
    """
    found = absorbable(linear, behind)
    layer_kind: type[SparseLinear] = SparseLinear
    norm_kind: type[nn.BatchNorm1d] = AbsorbedBatchNorm1d
    if _on_gpu(linear.weight):
        # Here, since these modules import Triton.
        from scratchconv.sparse.gpu_batch_norm import BatchNormReLU
        from scratchconv.sparse.gpu_linear import GpuLinear

        layer_kind, norm_kind = GpuLinear, BatchNormReLU
        _stay_out_of_graphs(GpuLinear)
        _stay_out_of_graphs(BatchNormReLU)
        # Its kernel does both of these; torch does one alone, and dropout.
        both = found.batch_norm is not None and found.relu is not None
        found = found._replace(dropout=None) if both else Followers()
    linear.__class__ = layer_kind
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
