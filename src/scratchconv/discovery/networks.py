"""Networks of a given structure: dense, sparse, local or shared, over rows of a table.

All are plain `nn.Sequential`s that take rows (n, d), so `fitting.train` trains each of them, and
they can be pickled and exported like any other. The first layer differs; BatchNorm, ReLU and a
dense layer for the outputs follow.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scratchconv.discovery.geometry import Geometry
from scratchconv.discovery.graph import Integers
from scratchconv.discovery.neighbourhoods import arranged_columns, is_regular, neighbourhoods
from scratchconv.errors import InvalidArgument, unknown_name

Kind = Literal["dense", "sparse", "local", "shared"]
KINDS: tuple[Kind, ...] = ("dense", "sparse", "local", "shared")


@dataclass(frozen=True)
class Structure:
    """What the first layer of a network looks like.

    kind: dense; sparse (dense, but penalised, or with a given support); local: every position has
        units of its own, which see its window; shared: those of all positions have the same
        weights.
    width: units of a dense or sparse layer, units of each position of the others.
    window: positions along one side of the window; of "other" geometries, positions in all.
    pool: places left along each axis before the outputs, by averaging (1: the sum); 0: all of them.
        Only for shared layers: it is sharing in the layer behind.
    """

    kind: Kind
    width: int
    window: int = 0
    pool: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise unknown_name("kind of structure", self.kind, KINDS)
        if self.width < 1 or self.pool < 0:
            raise InvalidArgument(
                f"width is {self.width} and pool {self.pool}: give at least 1 and at least 0"
            )
        placed = self.kind in ("local", "shared")
        if placed != (self.window > 0):
            raise InvalidArgument(
                f"window is {self.window} for a {self.kind} layer: local and shared layers need an"
                " odd number, the others 0"
            )


class Arranged(nn.Module):
    """Rows (n, d) laid on their line, ring or grid: (n, channels, *shape), 0 where nothing lies.

    In memory the channels of a place lie side by side: convolutions on grids are fastest so.
    """

    index: Tensor

    def __init__(self, geometry: Geometry) -> None:
        super().__init__()
        places = torch.from_numpy(arranged_columns(geometry))
        self.columns = len(geometry.position_of)
        self.shape = tuple(places.shape)
        beyond = torch.full_like(places, self.columns)
        found = torch.where(places < 0, beyond, places)
        self.register_buffer("index", found.movedim(0, -1).reshape(-1))

    def forward(self, input: Tensor) -> Tensor:
        _check_rows(input, self.columns)
        padded = F.pad(input, (0, 1))
        channels, *shape = self.shape
        return padded[:, self.index].view(-1, *shape, channels).movedim(-1, 1)

    def extra_repr(self) -> str:
        return f"{self.columns} columns → {self.shape}"


class Neighbourhoods(nn.Module):
    """Units that see the columns around their position: (n, d) → (n, width, positions).

    `weight` is (positions, width, size), or (1, width, size) if all positions share it; without
    bias, as BatchNorm follows. It starts uniform in ±1/√size, as layers of torch do.

    Args:
        index: int64 (positions, size), the columns of each neighbourhood, −1 for none.
        columns: d.
        width: units of each position.
        shared: whether their weights are those of every other position.
    """

    index: Tensor

    def __init__(self, index: Integers, columns: int, width: int, *, shared: bool) -> None:
        super().__init__()
        positions, size = index.shape
        self.columns = columns
        found = torch.from_numpy(index)
        self.register_buffer(
            "index", torch.where(found < 0, torch.full_like(found, columns), found)
        )
        self.weight: nn.Parameter = nn.Parameter(
            torch.empty(1 if shared else positions, width, size)
        )
        nn.init.uniform_(self.weight, -1 / math.sqrt(size), 1 / math.sqrt(size))
        if not shared:
            with torch.no_grad():  # what sees nothing is no weight
                self.weight.mul_((found >= 0).unsqueeze(1))

    def forward(self, input: Tensor) -> Tensor:
        _check_rows(input, self.columns)
        seen = F.pad(input, (0, 1))[:, self.index]  # (n, positions, size)
        if len(self.weight) == 1:
            return F.linear(seen, self.weight[0]).transpose(1, 2)
        # One product for each position.
        found = torch.bmm(seen.transpose(0, 1), self.weight.transpose(1, 2))
        return found.permute(1, 2, 0)

    def extra_repr(self) -> str:
        shared = "shared" if len(self.weight) == 1 else "own"
        positions, size = self.index.shape
        return f"{self.columns} columns → {self.weight.shape[1]}×{positions}, {size} {shared}"


class Masked(nn.Module):
    """A dense layer (n, d) → (n, units) that keeps to a support: other weights are zero, and stay.

    `weight` (units, d) starts uniform in ±1/√(mean number of columns a unit sees).
    """

    support: Tensor

    def __init__(self, support: Tensor) -> None:
        super().__init__()
        self.register_buffer("support", support.clone())
        bound = 1 / math.sqrt(max(float(support.sum()) / len(support), 1.0))
        self.weight = nn.Parameter(torch.empty(support.shape).uniform_(-bound, bound) * support)

    def forward(self, input: Tensor) -> Tensor:
        _check_rows(input, self.weight.shape[1])
        return F.linear(input, self.weight * self.support)

    def extra_repr(self) -> str:
        units, columns = self.weight.shape
        return f"{columns} columns → {units}, {int(self.support.sum())} weights"


class SumOverPlaces(nn.Module):
    """(n, width, *places) → (n, width): the sum over the places, over the root of their number.

    A mean of many places hardly varies, and what follows would learn as slowly.
    """

    def forward(self, input: Tensor) -> Tensor:
        places = input.flatten(2)
        return places.sum(dim=2) / math.sqrt(places.shape[2])


def new_structured_network(
    structure: Structure,
    geometry: Geometry | None,
    columns: int,
    outputs: int,
    seed: int,
    *,
    support: Tensor | None = None,
) -> nn.Sequential:
    """A fresh network with one hidden layer: its parts are named first, norm, … and head.

    Args:
        structure: of the first layer.
        geometry: of the columns, needed for local and shared layers.
        columns, outputs: d, and classes or 1.
        seed: of the weights; torch's global generator is left as it was.
        support: bool (width, columns), which weights a sparse layer may have; None: all.

    Raises InvalidArgument: a structure that the geometry does not allow.
    """
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(seed)
        layers = OrderedDict(_layers(structure, geometry, columns, support))
        with torch.no_grad():
            width = nn.Sequential(layers).eval()(torch.zeros(1, columns)).shape[1]
        layers["head"] = nn.Linear(width, outputs)
    return nn.Sequential(layers)


def _layers(
    structure: Structure, geometry: Geometry | None, columns: int, support: Tensor | None
) -> list[tuple[str, nn.Module]]:
    width = structure.width
    if structure.kind in ("dense", "sparse"):
        first: nn.Module = (
            nn.Linear(columns, width, bias=False) if support is None else Masked(support)
        )
        return [("first", first), ("norm", nn.BatchNorm1d(width)), ("relu", nn.ReLU())]
    if geometry is None or geometry.kind == "none":
        raise InvalidArgument(
            f"a {structure.kind} layer needs a geometry, and none was found: use dense or sparse"
        )
    if structure.kind == "local":
        index = neighbourhoods(geometry, structure.window)
        return [
            ("first", Neighbourhoods(index, columns, width, shared=False)),
            ("flatten", nn.Flatten()),
            ("norm", nn.BatchNorm1d(width * len(index))),
            ("relu", nn.ReLU()),
        ]
    layers: list[tuple[str, nn.Module]] = []
    if is_regular(geometry):
        layers += [("arranged", Arranged(geometry)), ("first", _convolution(structure, geometry))]
    else:
        index = neighbourhoods(geometry, structure.window)
        layers += [("first", Neighbourhoods(index, columns, width, shared=True))]
    two_axes = is_regular(geometry) and geometry.dimension == 2
    layers += [
        ("norm", nn.BatchNorm2d(width) if two_axes else nn.BatchNorm1d(width)),
        ("relu", nn.ReLU()),
        *_pooled(structure.pool, geometry),
        ("flatten", nn.Flatten()),
    ]
    return layers


def _convolution(structure: Structure, geometry: Geometry) -> nn.Module:
    places = arranged_columns(geometry)
    window, channels = structure.window, places.shape[0]
    neighbourhoods(geometry, window)  # refuses windows that cannot be
    mode: Literal["circular", "zeros"] = "circular" if geometry.kind == "ring" else "zeros"
    layer = nn.Conv2d if geometry.dimension == 2 else nn.Conv1d
    return layer(
        channels, structure.width, window, padding=window // 2, padding_mode=mode, bias=False
    )


def _pooled(pool: int, geometry: Geometry) -> list[tuple[str, nn.Module]]:
    if pool == 0:
        return []
    if pool == 1:
        return [("pool", SumOverPlaces())]
    if geometry.shape is None:
        raise InvalidArgument(
            f"pool is {pool}, but positions lie on no line or grid: use 0 (none) or 1 (all)"
        )
    sides = tuple(math.ceil(extent / pool) for extent in geometry.shape)
    if len(sides) == 2:
        return [("pool", nn.AvgPool2d((sides[0], sides[1]), ceil_mode=True))]
    return [("pool", nn.AvgPool1d(sides[0], ceil_mode=True))]


def _check_rows(input: Tensor, columns: int) -> None:
    if input.dim() != 2 or input.shape[1] != columns:
        raise InvalidArgument(
            f"input has shape {tuple(input.shape)}: this network takes rows, (n, {columns})"
        )
