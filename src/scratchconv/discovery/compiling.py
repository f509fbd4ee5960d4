"""The structure that was found, as a network to be used.

What decides is as small as pays in bits (`sharing`). What is used may be wider, and where weights
are shared deeper: along the same places, every layer sees a window and halves what is left of them.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from scratchconv.discovery.alignment import shared_filters
from scratchconv.discovery.geometry import Geometry
from scratchconv.discovery.learned_start import start_from
from scratchconv.discovery.neighbourhoods import arranged_columns, is_regular
from scratchconv.discovery.networks import Structure, new_structured_network
from scratchconv.discovery.sharing import Sharing
from scratchconv.errors import InvalidArgument

_PLACES = 4
"""Convolutions halve the places until no more than this are left along each axis."""
_POSITION_UNITS = 2
"""Units of a local layer at each position, at least."""


def compile_network(
    decision: Sharing | Structure,
    geometry: Geometry | None,
    columns: int,
    outputs: int,
    *,
    learned: NDArray[Any] | None = None,
    width: int | None = None,
    depth: int | None = None,
    seed: int = 0,
) -> nn.Sequential:
    """A network of the structure that was decided on, not trained yet.

    Args:
        decision: what `find_sharing` found, or a structure of one's own.
        geometry: of the columns.
        columns, outputs: d, and classes, or 1 for numbers.
        learned: (units, d), weights of a trained layer that saw the columns. A sparse network keeps
            their support, and begins with them; a local or shared one begins with what of them
            lies in its windows, or with the filters that they are shifted copies of.
        width: units, units of each position, or kernels; None: those of the decision, but at least
            64 units, 2 a position, or 32 kernels: what pays in bits is too narrow to train well.
        depth: convolutions behind each other; None: so many that halving leaves 4 places along each
            axis. One for all but shared networks on a line, ring or grid.
        seed: of weights that are not learned.

    The network takes rows (n, d), standardised like those it is to be trained on, and gives
    (n, outputs). On a line, ring or grid shared layers are `nn.Conv1d` or `nn.Conv2d` behind an
    `Arranged`; of other geometries, gathered neighbourhoods.

    Raises InvalidArgument: the decision is that no network pays; it needs a geometry and there is
    none; learned weights are of another table.
    """
    structure = decision.structure if isinstance(decision, Sharing) else decision
    if structure is None:
        raise InvalidArgument(
            "the decision is 'none': no network describes these labels in fewer bits than their"
            " frequencies do. Give a Structure to compile one all the same"
        )
    if learned is not None and (learned.ndim != 2 or learned.shape[1] != columns):
        raise InvalidArgument(f"learned has shape {learned.shape}: give (units, {columns})")
    least = {"local": _POSITION_UNITS, "shared": 32}.get(structure.kind, 64)
    wide = width if width is not None else max(structure.width, least)
    support = None
    if structure.kind == "sparse" and learned is not None:
        kept = learned[(learned != 0).any(axis=1)]
        if not len(kept):
            raise InvalidArgument("no weight of learned is left: give a layer with weights")
        wide = len(kept) if width is None else min(width, len(kept))
        strongest = np.argsort(-np.linalg.norm(kept, axis=1), kind="stable")[:wide]
        learned = kept[strongest]
        support = torch.from_numpy(learned != 0)
    found = None
    if structure.kind == "shared" and learned is not None and geometry is not None:
        found = shared_filters(
            learned, geometry, window=structure.window, null_samples=1, seed=seed
        )
    structure = Structure(structure.kind, wide, structure.window, structure.pool)
    network = new_structured_network(structure, geometry, columns, outputs, seed, support=support)
    start_from(network, structure, geometry, learned, found)
    if structure.kind == "shared" and geometry is not None and is_regular(geometry):
        levels = depth if depth is not None else _depth(geometry)
        if levels < 1:
            raise InvalidArgument(f"depth is {levels}: give at least 1")
        if levels > 1:
            return _deeper(network, structure, geometry, outputs, levels, seed)
    elif depth not in (None, 1):
        raise InvalidArgument(
            f"depth is {depth}: only shared networks on a line, ring or grid can be deeper than 1"
        )
    return network


def _depth(geometry: Geometry) -> int:
    assert geometry.shape is not None
    return max(1, math.ceil(math.log2(max(geometry.shape) / _PLACES)))


def _deeper(
    shallow: nn.Sequential,
    structure: Structure,
    geometry: Geometry,
    outputs: int,
    depth: int,
    seed: int,
) -> nn.Sequential:
    """Its first convolution, then further ones, each as wide again by half, halving the places.

    The largest of two neighbours is kept, before BatchNorm and ReLU: they have less to do then,
    and ReLU of the largest is the largest ReLU.
    """
    two_axes = geometry.dimension == 2
    convolution = nn.Conv2d if two_axes else nn.Conv1d
    norm = nn.BatchNorm2d if two_axes else nn.BatchNorm1d
    halve = nn.MaxPool2d if two_axes else nn.MaxPool1d
    mode: Literal["circular", "zeros"] = "circular" if geometry.kind == "ring" else "zeros"
    extents = list(arranged_columns(geometry).shape[1:])
    width, window = structure.width, structure.window
    layers: OrderedDict[str, nn.Module] = OrderedDict(arranged=shallow.get_submodule("arranged"))
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(seed + 1)
        widths: list[int] = []
        for level in range(1, depth + 1):
            if level == 1:
                layers["first"] = shallow.get_submodule("first")
            else:
                # A window that reaches around a ring twice is none; 3 is the least there is.
                reach = min(window, 3) if mode == "zeros" or min(extents) >= 3 else 1
                layers[f"convolution{level}"] = convolution(
                    widths[-1], width, reach, padding=reach // 2, padding_mode=mode, bias=False
                )
            if max(extents) > 1:
                layers[f"halve{level}"] = halve(2, ceil_mode=True)
                extents = [math.ceil(extent / 2) for extent in extents]
            layers[f"norm{level}"] = norm(width)
            layers[f"relu{level}"] = nn.ReLU()
            widths.append(width)
            width = width * 3 // 2
        layers["flatten"] = nn.Flatten()
        layers["head"] = nn.Linear(widths[-1] * math.prod(extents), outputs)
    return nn.Sequential(layers)


def weights_of(network: nn.Module) -> int:
    """Weights as published counts have them: of two or more dimensions, those of a support only."""
    total = 0
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.dim() < 2 or "bias" in name:
                continue
            support = getattr(module, "support", None)
            total += int(support.sum()) if support is not None else parameter.numel()
    return total


def widths_to_try(structure: Structure) -> Sequence[int]:
    """Widths among which held-out rows choose, when a compiled network is compared with others."""
    return {"local": (2, 4), "shared": (16, 32)}.get(structure.kind, (64, 256))
