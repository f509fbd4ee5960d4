"""`fix_connections`: the weights of given connections train alone, at their own cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from scratchconv.errors import InvalidArgument, unknown_name
from scratchconv.kernels.sparse_rows import SparseRows
from scratchconv.sparse.fixed_linear import FixedLinear
from scratchconv.sparse.linear import SparseLinear
from scratchconv.sparse.snapshot import MAKE_DENSE
from scratchconv.sparse.taking_over import Candidates, give_back, on_gpu


@dataclass
class FixedConnections:
    """The layers of a model that `fix_connections` took over.

    layers: by the name that each had, and has, in the model.
    optimizer: what remembers something of their weights, if it was given.
    """

    model: nn.Module
    layers: dict[str, FixedLinear]
    optimizer: torch.optim.Optimizer | None

    def to_dense(self) -> nn.Module:
        """Make the model again what it was: plain modules, dense weights; returns it.

        The optimizer remembers zeros of what was not connected; one that was not given to
        `fix_connections` has to be made anew.
        """
        for layer in self.layers.values():
            layer.values.grad = None
            stored = torch.Size([layer.places.stored])
            _carry(self.optimizer, layer.values, stored, layer.with_zeros)
            give_back(layer)
        self.layers = {}
        return self.model


def fix_connections(
    model: nn.Module,
    masks: Mapping[str, Tensor],
    *,
    optimizer: torch.optim.Optimizer | None = None,
) -> FixedConnections:
    """Let linear layers of `model` hold the weights of given connections, and no others.

    For connections that are known before training: learned by another run, left by pruning, or made
    by hand. Layers are changed in place and keep their parameters' names and `state_dict`; the
    forward pass and both gradients cost what the connections cost. A BatchNorm1d, a ReLU and a
    Dropout behind a layer are computed with it, as `sparsify` has it.

    What is trained of a layer is then `layer.values`, the parameter that its weight was, now of
    shape (connections,) with an ordinary `grad`: SGD with momentum and weight decay, Adam and other
    optimizers that treat each number by itself, clipping of gradients, GradScaler and DDP (wrapped
    around it afterwards) work as on any other, on the connections alone. `layer.weight` is a dense
    copy for reading. The weights of all other places are gone: they count as zero. A gradient that
    the weight has already is forgotten.

    Args:
        model: on the CPU; also one wrapped by torch.compile.
        masks: bool (units, features) by the names of weights, `{"0.weight": …}`, True where there
            is a connection. Layers without a mask stay as they are.
        optimizer: give one that has a state already, from its first step on, or from the start as
            Adagrad: what it remembers of the weights, such as momentum, goes on as that of the
            connections. Others may be made before or after this.

    Raises InvalidArgument: no mask at all, a name that is no linear layer's weight, a mask of
    another shape or dtype, a layer that cannot be taken over, with the reason, or an optimizer that
    has none of the weights or remembers them in another shape than theirs.
    """
    if isinstance(model, nn.parallel.DistributedDataParallel | nn.DataParallel):
        raise InvalidArgument(
            f"the connections of a {type(model).__name__} cannot be fixed: fix those of the model"
            " first, and wrap it then"
        )
    if not masks:
        raise InvalidArgument(
            "no mask is given: name the weights, "
            '{"0.weight": mask}, with True where there is a connection'
        )
    candidates = Candidates(model)
    layers = {f"{layer}.weight".lstrip("."): layer for layer in candidates.layers}
    taken = {}
    for name, mask in masks.items():
        if name not in layers:
            raise unknown_name("weight of a linear layer", name, list(layers))
        layer = candidates.layers[layers[name]]
        if isinstance(layer, SparseLinear):
            raise InvalidArgument(
                f"the connections of {name} cannot be fixed: it is a {type(layer).__name__}"
                f" already; {MAKE_DENSE}"
            )
        if on_gpu(layer.weight):
            raise InvalidArgument(
                f"the connections of {name} cannot be fixed: it is on {layer.weight.device}, and"
                " layers are compressed on the CPU only"
            )
        if reason := candidates.why_not(layer):
            raise InvalidArgument(f"the connections of {name} cannot be fixed: {reason}")
        if optimizer is not None:
            _check_memory(optimizer, name, layer.weight)
        _check_mask(mask, name, layer.weight.shape)
        taken[layers[name]] = layer, mask
    fixed = FixedConnections(model, {}, optimizer)
    for layer_name, (layer, mask) in taken.items():
        made = candidates.take_over(layer, FixedLinear)
        assert isinstance(made, FixedLinear)
        made.places = SparseRows.from_dense(mask.cpu().numpy().astype(np.float32))
        made.compress()
        _carry(optimizer, made.values, mask.shape, made.at_connections)
        fixed.layers[layer_name] = made
    return fixed


def _check_mask(mask: object, name: str, shape: torch.Size) -> None:
    if isinstance(mask, Tensor) and mask.dtype == torch.bool and mask.shape == shape:
        return
    given = f"of type {type(mask).__name__}"
    if isinstance(mask, Tensor):
        given = f"{mask.dtype} of shape {tuple(mask.shape)}"
    raise InvalidArgument(
        f"the mask of {name} is {given}: give a tensor of torch.bool of shape {tuple(shape)}"
    )


def _check_memory(optimizer: torch.optim.Optimizer, name: str, weight: Tensor) -> None:
    kind = type(optimizer).__name__
    if not any(weight is one for group in optimizer.param_groups for one in group["params"]):
        raise InvalidArgument(f"the {kind} that was given does not train {name}: give its own")
    for key, value in optimizer.state.get(weight, {}).items():
        alike = not isinstance(value, Tensor) or value.numel() == 1 or value.shape == weight.shape
        if isinstance(value, list | tuple | dict) or not alike:
            raise InvalidArgument(
                f"{kind} remembers {key} of {name} in another shape than the weight's: make it anew"
                " after fix_connections"
            )


def _carry(
    optimizer: torch.optim.Optimizer | None,
    parameter: nn.Parameter,
    shape: torch.Size,
    carried: Callable[[Tensor], Tensor],
) -> None:
    """Put in the place of what is remembered of a parameter of this `shape` what is `carried`."""
    state = {} if optimizer is None else optimizer.state.get(parameter, {})
    for key, value in state.items():
        if isinstance(value, Tensor) and value.shape == shape:
            state[key] = carried(value)
