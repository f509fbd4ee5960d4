"""`sparsify`: two lines that make a training loop pay only for the weights that are left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from torch import nn

from scratchconv.errors import InvalidArgument, unknown_name
from scratchconv.optim import BetaLasso
from scratchconv.sparse.layer_step import LayerStep, Regrowth
from scratchconv.sparse.linear import SparseLinear
from scratchconv.sparse.switching import ALWAYS_COMPRESSED, ALWAYS_DENSE, SwitchAt
from scratchconv.sparse.taking_over import Candidates, give_back, on_gpu

Mode = Literal["auto", "dense", "sparse"]

# Layers with fewer weights cost next to nothing in any form: auto leaves them to PyTorch.
SMALLEST = 1 << 18


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
            self.optimizer.defer(layer.values, None)
            give_back(layer)
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
    candidates = Candidates(model)
    engine = Engine(model, optimizer)
    taken = {}
    for name, module in candidates.layers.items():
        if (
            isinstance(module, SparseLinear)
            and module.defers_steps
            and not optimizer.defers(module.values)
        ):
            raise InvalidArgument(
                f"layer {name!r} is trained by the engine of another optimizer, or is a copy of"
                " one that is: call to_dense() of its engine first, before copying"
            )
        if reason := candidates.why_not(module) or _not_worth_it(module, regularised, mode):
            engine.left[name] = reason
        else:
            taken[name] = module
            if on_gpu(module.weight) and (mode == "sparse" or name in (switch_at or {})):
                raise InvalidArgument(
                    f"layer {name!r} is on {module.weight.device}, and layers are compressed on"
                    ' the CPU only: give mode="auto" or "dense", and no switch_at for it'
                )
    for name, module in taken.items():
        in_mode = {"dense": ALWAYS_DENSE, "sparse": ALWAYS_COMPRESSED}.get(mode)
        at = ALWAYS_DENSE if on_gpu(module.weight) else (switch_at or {}).get(name, in_mode)
        layer = candidates.take_over(module)
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


def _not_worth_it(layer: nn.Linear, regularised: set[nn.Parameter], mode: Mode) -> str | None:
    """Why a layer that could be taken over is not, None where it is."""
    if layer.weight not in regularised:
        return "the optimizer does not regularise its weight (λ > 0)"
    if mode == "auto" and layer.weight.numel() < SMALLEST:
        return f"it has {layer.weight.numel()} weights, too few to gain from"
    return None
