"""Reading a model as a chain of affine maps and ReLUs, with BatchNorm folded in, in float64."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import nn

from scratchconv.errors import InvalidArgument
from scratchconv.models import Network, modules_in_order
from scratchconv.nn import LocallyConnected2d, UnitBatchNorm2d
from scratchconv.sparse import plain_class

Float64Array = NDArray[np.float64]

_NOTHING_IN_EVALUATION = (
    nn.Identity,
    *(nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d),
    *(nn.AlphaDropout, nn.FeatureAlphaDropout),
)


@dataclass(frozen=True)
class Affine:
    """``relu?(matrix @ x + bias)``: a float64 scipy CSR array (units, inputs) and its bias."""

    name: str
    matrix: Any
    bias: Float64Array
    relu: bool = False


@dataclass(frozen=True)
class AffineChain:
    """What a model computes on flattened samples; `image` as far as the model tells."""

    layers: tuple[Affine, ...]
    features: int
    image: tuple[int, int, int] | None


def affine_chain(model: nn.Module) -> AffineChain:
    """`model` in evaluation mode, whatever mode it is in.

    A model is a `Network` of this package, an ``nn.Sequential`` (nested ones too) or one layer,
    made of Linear, LocallyConnected2d, BatchNorm, ReLU, Dropout, Flatten and Identity.

    Raises InvalidArgument: the model is or holds something else, its shapes do not fit together, or
    it has a weight that is not finite.
    """
    reader = _Reader(model.image if isinstance(model, Network) else None)
    for name, module in _applied_in_order(model):
        reader.read(name, module)
    return reader.chain()


def _applied_in_order(module: nn.Module, name: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The modules that `module` applies one after the other."""
    if any(map(nn.parameter.is_lazy, module.parameters(recurse=False))):
        raise InvalidArgument(
            f"module {name or type(module).__name__!r} has no shape yet: run the model on a sample"
            " first"
        )
    if module._forward_hooks or module._forward_pre_hooks:
        raise InvalidArgument(
            f"module {name or type(module).__name__!r} has forward hooks, which may change what it"
            " computes: remove them first (torch.nn.utils.prune.remove, if they are of pruning)"
        )
    if not (_is(module, Network) or _is(module, nn.Sequential)):
        yield name, module
        return
    for child_name, child in modules_in_order(module):
        yield from _applied_in_order(child, f"{name}.{child_name}" if name else child_name)


def _is(module: nn.Module, *kinds: type[nn.Module]) -> bool:
    """Whether it is of one of these kinds and computes what they do; subclasses may not."""
    own = plain_class(module)
    if "forward" in vars(module) or own.__call__ is not nn.Module.__call__:
        return False
    return any(issubclass(own, kind) and own.forward is kind.forward for kind in kinds)


class _Reader:
    """Takes the modules one by one.

    A BatchNorm behind a linear layer is folded into it at once. One that stands first or behind a
    ReLU scales the inputs of the next layer, and waits for it.
    """

    def __init__(self, image: tuple[int, int, int] | None) -> None:
        self.image = image
        self.features = math.prod(image) if image else None
        # Shape of one sample at this point: (c, h, w) of maps, (features,) once flat.
        self.shape: tuple[int, ...] | None = image
        self.layers: list[Affine] = []
        self.waiting: tuple[str, Float64Array, Float64Array] | None = None

    def chain(self) -> AffineChain:
        self._settle()
        if not self.layers or not self.features or not self.layers[-1].bias.size:
            raise InvalidArgument("the model has no inputs, no outputs or no layers to compact")
        return AffineChain(tuple(self.layers), self.features, self.image)

    def read(self, name: str, module: Any) -> None:
        if _is(module, nn.Linear):
            self._linear(name, module)
        elif _is(module, LocallyConnected2d):
            self._local(name, module)
        elif _is(module, nn.BatchNorm1d, nn.BatchNorm2d, UnitBatchNorm2d):
            self._batch_norm(name, module)
        elif _is(module, nn.ReLU):
            self._relu(name)
        elif _is(module, nn.Flatten):
            self._flatten(name, module)
        elif not _is(module, *_NOTHING_IN_EVALUATION):
            raise InvalidArgument(
                f"module {name!r} is a {type(module).__name__}: a model can be compacted if it is a"
                " chain of Linear, LocallyConnected2d, BatchNorm, ReLU, Dropout, Flatten and"
                " Identity; predict with the model itself"
            )

    def _linear(self, name: str, module: nn.Linear) -> None:
        if self.shape is not None and self.shape != (module.in_features,):
            raise InvalidArgument(
                f"module {name!r} takes {module.in_features} features, but one sample has shape"
                f" {self.shape} there: put a Flatten in front, or check the sizes"
            )
        matrix = sparse.csr_array(_numpy(module.weight))
        self._append(name, matrix, module.bias, (module.out_features,))

    def _local(self, name: str, module: LocallyConnected2d) -> None:
        expected = (module.in_channels, *module.image_size)
        if self.shape is None and not self.layers:
            self.image = expected
        elif self.shape != expected:
            raise InvalidArgument(
                f"module {name!r} takes maps of shape {expected}, but one sample has shape"
                f" {self.shape} there"
            )
        shape = (module.out_channels, *module.output_size)
        self._append(name, _local_matrix(module), module.bias, shape)

    def _append(
        self, name: str, matrix: Any, bias: torch.Tensor | None, shape: tuple[int, ...]
    ) -> None:
        units, inputs = matrix.shape
        shift = np.zeros(units) if bias is None else _numpy(bias).astype(np.float64).reshape(-1)
        if self.features is None:
            self.features = inputs
        if self.waiting is not None:
            _, scale, offset = self.waiting
            shift = shift + matrix @ offset
            matrix = matrix.astype(np.float64)
            matrix.data *= scale[matrix.indices]
            self.waiting = None
        self._push(Affine(name, matrix, shift))
        self.shape = shape

    def _push(self, layer: Affine) -> None:
        if not (np.isfinite(layer.matrix.data).all() and np.isfinite(layer.bias).all()):
            raise InvalidArgument(
                f"module {layer.name!r} has weights that are not finite: the training went wrong"
            )
        self.layers.append(layer)

    def _batch_norm(self, name: str, module: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
        scale, offset = _scale_and_offset(name, module)
        flat = not isinstance(module, nn.BatchNorm2d)
        shape = self.shape
        if isinstance(module, UnitBatchNorm2d):
            fits = shape in (None, module.map_shape)
            self.image = self.image if shape else module.map_shape
            shape = module.map_shape
        elif flat:
            fits = shape in (None, (scale.size,))
            shape = (scale.size,)
        else:
            fits = shape is not None and len(shape) == 3 and shape[0] == scale.size
            positions = math.prod(shape[1:]) if shape else 1
            scale, offset = scale.repeat(positions), offset.repeat(positions)
        if not fits:
            raise InvalidArgument(
                f"module {name!r} normalises {module.num_features} features, which does not fit"
                f" samples of shape {self.shape} there"
            )
        self.shape = shape
        self.features = self.features or scale.size
        if self.waiting is not None:
            _, first_scale, first_offset = self.waiting
            self.waiting = (name, first_scale * scale, first_offset * scale + offset)
        elif self.layers and not self.layers[-1].relu:
            last = self.layers.pop()
            matrix = last.matrix.astype(np.float64)
            matrix.data *= np.repeat(scale, np.diff(matrix.indptr))
            self._push(Affine(last.name, matrix, last.bias * scale + offset))
        else:
            self.waiting = (name, scale, offset)

    def _settle(self) -> None:
        """Make a waiting BatchNorm a layer of its own, where no other takes it in."""
        if self.waiting is not None:
            name, scale, offset = self.waiting
            self.waiting = None
            self._push(
                Affine(
                    name, sparse.dia_array((scale[None], [0]), (scale.size,) * 2).tocsr(), offset
                )
            )

    def _relu(self, name: str) -> None:
        self._settle()
        if not self.layers:
            raise InvalidArgument(
                f"module {name!r} is a ReLU in front of all layers: apply it to the inputs instead"
            )
        self.layers[-1] = replace(self.layers[-1], relu=True)

    def _flatten(self, name: str, module: nn.Flatten) -> None:
        last = len(self.shape) if self.shape else -1
        if module.start_dim != 1 or module.end_dim not in (-1, last):
            raise InvalidArgument(
                f"module {name!r} flattens dimensions {module.start_dim} to {module.end_dim}:"
                " only a Flatten of everything but the batch can be compacted"
            )
        if self.shape is not None:
            self.shape = (math.prod(self.shape),)


def _numpy(parameter: torch.Tensor) -> NDArray[Any]:
    """float64 as it is, everything else as float32 (exactly)."""
    if parameter.is_meta:
        raise InvalidArgument("the model is on the meta device: it has no weights to compact")
    kind = torch.float64 if parameter.dtype == torch.float64 else torch.float32
    array: NDArray[Any] = parameter.detach().to("cpu", kind).numpy()
    return array


def _scale_and_offset(
    name: str, module: nn.BatchNorm1d | nn.BatchNorm2d
) -> tuple[Float64Array, Float64Array]:
    """BatchNorm in evaluation mode as ``x · scale + offset``, a number of each per feature."""
    if module.running_mean is None or module.running_var is None:
        raise InvalidArgument(
            f"module {name!r} keeps no running statistics, so that a sample's output depends on its"
            " batch: build it with track_running_stats=True"
        )
    mean, variance = (
        _numpy(t).astype(np.float64) for t in (module.running_mean, module.running_var)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = 1 / np.sqrt(variance + module.eps)
    if module.weight is not None:
        scale = scale * _numpy(module.weight)
    offset = -mean * scale
    if module.bias is not None:
        offset = offset + _numpy(module.bias)
    if not (np.isfinite(scale).all() and np.isfinite(offset).all()):
        raise InvalidArgument(
            f"module {name!r} has statistics that are not finite: the training went wrong"
        )
    return scale, offset


def _local_matrix(module: LocallyConnected2d) -> Any:
    """Its non-zero weights as a CSR array between flattened (c, h, w) maps."""
    inputs = module.in_channels * math.prod(module.image_size)
    # Number the inputs from 1 and see which number each weight meets; padding reads 0.
    numbers = torch.arange(1, inputs + 1, dtype=torch.float64)
    met = nn.functional.unfold(
        numbers.view(1, module.in_channels, *module.image_size),
        module.kernel_size,
        padding=module.padding,
        stride=module.stride,
    )
    positions = met.shape[2]
    columns = met[0].t().to(torch.int64).numpy() - 1  # (positions, weights of a filter)
    # (rows, columns, out, c, kh, kw) -> (out, positions, weights of a filter)
    weight = _numpy(module.weight).reshape(positions, module.out_channels, -1).swapaxes(0, 1)
    channel, position, place = np.nonzero((weight != 0) & (columns >= 0))
    units = module.out_channels * positions
    counts = np.bincount(channel * positions + position, minlength=units)
    offsets = np.concatenate([[0], counts.cumsum()])
    values = weight[channel, position, place]
    return sparse.csr_array((values, columns[position, place], offsets), shape=(units, inputs))
