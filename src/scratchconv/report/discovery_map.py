"""The map of the columns: every position a dot, every pair of neighbours a line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray

from scratchconv.discovery.geometry import Geometry
from scratchconv.discovery.graph import Floats, Integers, NeighbourGraph

_APART = 24.0
"""Between neighbouring dots, in units of the drawing."""
_RADIUS = 7.0
_LONGEST_ROW = 40
"""A longer line runs to and fro, each row under the last."""
_MOST_NAMED = 8
_MOST_SIDE = 1600.0


@dataclass(frozen=True)
class Dot:
    """One position: where it is drawn, its colour, and the names that show on hovering."""

    x: float
    y: float
    colour: str
    name: str


@dataclass(frozen=True)
class Map:
    """A drawing of `width` × `height`; `steps` and `leaps` are SVG paths of edges.

    steps: edges between positions that are one step apart (all edges where there are no steps).
    leaps: edges that the geometry does not explain.
    """

    width: float
    height: float
    radius: float
    dots: tuple[Dot, ...]
    steps: str
    leaps: str


def column_map(geometry: Geometry, graph: NeighbourGraph, names: Sequence[str]) -> Map | None:
    """The positions where they lie, coloured by the place of their first column in the table.

    None where no position has a place.
    """
    first = np.zeros(geometry.positions)
    first[geometry.position_of[::-1]] = np.arange(len(names))[::-1]
    shades = colormaps["viridis"](first / max(float(first.max()), 1), bytes=True)
    return _drawn(geometry, graph, names, shades)


def weight_map(
    geometry: Geometry, weights: NDArray[np.float32], names: Sequence[str]
) -> Map | None:
    """One unit's weights (d,), the strongest of each position: blue below zero, red above."""
    strongest = np.zeros(geometry.positions)
    for column in np.argsort(np.abs(weights), kind="stable"):
        strongest[geometry.position_of[column]] = weights[column]
    largest = max(float(np.abs(strongest).max()), 1e-30)
    shades = colormaps["RdBu_r"]((strongest / largest + 1) / 2, bytes=True)
    return _drawn(geometry, NeighbourGraph.empty(geometry.positions), names, shades)


def position_name(geometry: Geometry, position: int, names: Sequence[str]) -> str:
    """The columns of a position, by name."""
    columns = np.flatnonzero(geometry.position_of == position)
    return _joined([names[column] for column in columns.tolist()])


def _drawn(
    geometry: Geometry, graph: NeighbourGraph, names: Sequence[str], shades: NDArray[Any]
) -> Map | None:
    placed = np.flatnonzero(geometry.placed())
    if not len(placed):
        return None
    at = np.full((geometry.positions, 2), np.nan)
    at[placed] = _layout(geometry, geometry.coordinates[placed])
    low = at[placed].min(axis=0) - _APART
    size = at[placed].max(axis=0) + _APART - low
    at -= low
    members: list[list[str]] = [[] for _ in range(geometry.positions)]
    for name, position in zip(names, geometry.position_of.tolist(), strict=True):
        members[position].append(name)
    dots = tuple(
        Dot(
            round(float(at[p, 0]), 1),
            round(float(at[p, 1]), 1),
            "#" + bytes(shades[p][:3].tolist()).hex(),
            _joined(members[p]) + _place(geometry, geometry.coordinates[p]),
        )
        for p in placed.tolist()
    )
    known = {(i, j) for i, j in geometry.steps().tolist()}
    both = [(i, j) for i, j in graph.edges.tolist() if np.isfinite(at[[i, j]]).all()]
    steps = [pair for pair in both if pair in known or geometry.shape is None]
    leaps = [pair for pair in both if pair not in known and geometry.shape is not None]
    return Map(
        round(float(size[0]), 1),
        round(float(size[1]), 1),
        _RADIUS,
        dots,
        _path(at, steps),
        _path(at, leaps),
    )


def _layout(geometry: Geometry, coordinates: Floats) -> Floats:
    """Where the positions are drawn, (positions, 2): x to the right and y downwards."""
    first = coordinates[:, 0]
    if geometry.kind == "ring" and geometry.shape is not None:
        angle = 2 * math.pi * first / geometry.shape[0]
        radius = _APART * geometry.shape[0] / (2 * math.pi)
        return radius * np.stack([np.sin(angle), -np.cos(angle)], axis=1)
    if geometry.kind == "grid":
        return _APART * coordinates[:, ::-1]
    if geometry.shape is not None or geometry.kind not in ("other", "none"):
        return _APART * _to_and_fro(np.rint(first - first.min()).astype(np.int64))
    flat = np.zeros((len(coordinates), 2))
    flat[:, : coordinates.shape[1]] = coordinates[:, :2]
    scale = _APART / max(_nearest(flat), 1e-9)
    extent = float((flat.max(axis=0) - flat.min(axis=0)).max())
    return flat * min(scale, _MOST_SIDE / max(extent, 1e-9))


def _to_and_fro(places: Integers) -> Floats:
    rows = math.ceil((int(places.max()) + 1) / _LONGEST_ROW)
    length = math.ceil((int(places.max()) + 1) / rows)
    row, along = np.divmod(places, length)
    along = np.where(row % 2 == 1, length - 1 - along, along)
    return np.stack([along, row], axis=1).astype(np.float64)


def _nearest(points: Floats) -> float:
    """The median distance to the nearest other point."""
    from scipy.spatial import KDTree

    if len(points) < 2:
        return 1.0
    return float(np.median(KDTree(points).query(points, k=2)[0][:, 1]))


def _path(at: Floats, pairs: Sequence[tuple[int, int]]) -> str:
    return "".join(
        f"M{at[i, 0]:.1f} {at[i, 1]:.1f}L{at[j, 0]:.1f} {at[j, 1]:.1f}" for i, j in pairs
    )


def _place(geometry: Geometry, coordinates: Floats) -> str:
    if geometry.shape is None:
        return ""
    if geometry.dimension == 2:
        return f" (row {coordinates[0]:.0f}, column {coordinates[1]:.0f})"
    return f" (place {coordinates[0]:.0f})"


def _joined(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_MOST_NAMED])
    left_out = len(names) - _MOST_NAMED
    return f"{shown} and {left_out} more" if left_out > 0 else shown
