"""Which parameters are regularised, and how strongly: the groups that the optimizers take."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from scratchconv.errors import InvalidArgument, unknown_name
from scratchconv.optim.checks import nonnegative

_NORMALISATION = (
    nn.modules.batchnorm._NormBase,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
)


def param_groups(
    model: nn.Module, *, lam: float, lam_first: float | None = None
) -> list[dict[str, Any]]:
    """Three groups: weights that stand for convolutions, other weights, and all the rest.

    1. `convolution_weights`, λ = `lam_first` (default: `lam`): weights of the layers named in
       `model.convolution_layers`; of the first layer with a weight where the model names none.
    2. `weights`, λ = `lam`: the weights of all other layers.
    3. `unregularised`, λ = 0: biases and the parameters of normalisation layers. The paper does not
       say whether it regularises them; a threshold would only switch channels off.

    The paper chooses the two λ separately (Neyshabur 2020, §4). A weight is a parameter of two or
    more dimensions that is neither a bias nor of a normalisation layer. A parameter shared between
    layers belongs to the first of them. A group may be empty, so positions stay the same.

    Args:
        model: any module, also wrapped in DistributedDataParallel or compiled.
        lam: λ of the weights.
        lam_first: λ of the weights of the convolution layers; None means `lam`.

    Raises:
        InvalidArgument: a negative or infinite λ, a name in `model.convolution_layers` that is no
            module of the model, a model with no weight, or one that another optimizer's engine
            trains.
    """
    lam_first = lam if lam_first is None else lam_first
    nonnegative("lam", lam)
    nonnegative("lam_first", lam_first)
    model = _unwrapped(model)
    for layer, module in model.named_modules():
        if getattr(module, "defers_steps", False):
            raise InvalidArgument(
                f"layer {layer!r} is trained by the engine of another optimizer: call to_dense()"
                " of that engine first, then make the groups"
            )
    convolution_layers = _convolution_layers(model)
    groups: list[dict[str, Any]] = [
        {"params": [], "lam": lam_first, "name": "convolution_weights"},
        {"params": [], "lam": lam, "name": "weights"},
        {"params": [], "lam": 0.0, "name": "unregularised"},
    ]
    convolution_weights, weights, unregularised = (group["params"] for group in groups)
    seen: set[nn.Parameter] = set()
    for layer, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter in seen:
                continue
            seen.add(parameter)
            if not is_weight(module, name, parameter):
                unregularised.append(parameter)
            elif any(
                layer == first or layer.startswith(f"{first}.") for first in convolution_layers
            ):
                convolution_weights.append(parameter)
            else:
                weights.append(parameter)
    return groups


def _unwrapped(model: nn.Module) -> nn.Module:
    """The user's own module: `convolution_layers` counts its names from there."""
    while True:
        if isinstance(model, nn.parallel.DistributedDataParallel | nn.DataParallel):
            model = model.module
        elif isinstance(model, torch._dynamo.OptimizedModule):
            model = model._orig_mod
        else:
            return model


def _convolution_layers(model: nn.Module) -> tuple[str, ...]:
    modules = dict(model.named_modules())
    layers = [
        layer
        for layer, module in modules.items()
        if any(is_weight(module, *named) for named in module.named_parameters(recurse=False))
    ]
    if not layers:
        raise InvalidArgument(
            f"{type(model).__name__} has no weight of two or more dimensions to regularise"
        )
    if not hasattr(model, "convolution_layers"):
        return (layers[0],)
    named: tuple[str, ...] = tuple(model.convolution_layers)  # type: ignore[arg-type]
    for layer in named:
        if layer not in modules:
            raise unknown_name("convolution layer", layer, layers)
    return named


def is_weight(module: nn.Module, name: str, parameter: Tensor) -> bool:
    """Whether this parameter of `module` itself is a weight, as `param_groups` has it."""
    if name == "weight" and getattr(module, "compressed", False):
        return True  # a matrix, of which some weights are stored in one row
    return parameter.dim() >= 2 and "bias" not in name and not isinstance(module, _NORMALISATION)
