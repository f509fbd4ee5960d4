"""Where the columns lie: on a line, a ring, a grid, otherwise, or nowhere.

Each kind is a claim about who is next to whom, and so can be wrong. It is laid through the graph of
neighbours, and held against all its edges: the share of edges that are single steps, and of single
steps that are edges, joined to their harmonic mean F. What fits best is believed if F is high
enough, the simpler kind where two fit alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from scratchconv.discovery.channels import Channels
from scratchconv.discovery.graph import Floats, Integers, NeighbourGraph
from scratchconv.discovery.jigsaw import put_together
from scratchconv.discovery.lattice import grid_cells, isomap, orders, steps_between
from scratchconv.errors import InvalidArgument

Kind = Literal["none", "line", "ring", "grid", "other"]

_NEAREST = (None, 12, 10, 8, 6, 4)
"""Edges kept for a map: between positions that are among this many nearest of each other."""
_BELIEVED = {"line": 0.7, "ring": 0.7, "grid": 0.5}
"""A line threaded through all positions of a grid has F = 2/3, and is no line. Nothing simpler
threads a grid: there it is enough that more is right than wrong."""
_CERTAIN = 1 - 1e-4
"""A kind is held against edges of this confidence: weaker ones help to draw the map, no more. Where
no edge has it, all count: a null that is only known from a sample lets none be so certain."""
_SMALLEST = 5
_FITS = 0.99
"""No further map is tried once a kind fits as well as this."""


@dataclass(frozen=True, eq=False)
class Geometry:
    """The positions of the columns.

    kind: "line", "ring", "grid", "other" (neighbours that lie on none of these), or "none".
    dimension: intrinsic; of "other" as the number of positions within a radius grows with it.
    coordinates: float64 (positions, dimension). Whole numbers: the place on a line or ring, the
        row and column of a grid; of "other" those of a map. NaN for positions that belong nowhere.
    position_of: int64 (d,), the position of each column.
    channel_of: int64 (d,), which of the columns of its position it is.
    shape: positions along each axis of a line, ring or grid, else None.
    evidence: what was found on the way: the F of every kind, the part of the positions placed.
    """

    kind: Kind
    dimension: int
    coordinates: Floats
    position_of: Integers
    channel_of: Integers
    shape: tuple[int, ...] | None = None
    evidence: dict[str, float] = field(default_factory=dict)

    @property
    def positions(self) -> int:
        return len(self.coordinates)

    @property
    def fit(self) -> float:
        """F of the kind it is, in [0, 1]; 0 for "none" and "other"."""
        return self.evidence.get(self.kind, 0.0)

    def placed(self) -> NDArray[np.bool_]:
        """(positions,): which have coordinates."""
        return np.asarray(np.isfinite(self.coordinates).all(axis=1) & (self.dimension > 0))

    def steps(self) -> Integers:
        """The pairs of positions that are one step apart, int64 (m, 2); none for "other"."""
        at = np.flatnonzero(self.placed())
        if self.shape is None:
            return np.zeros((0, 2), np.int64)
        pairs = single_steps(self.kind, self.coordinates[at].astype(np.int64))
        return np.sort(at[pairs], axis=1)

    def distances(self) -> Floats:
        """Between all positions, float64 (positions, positions): Euclidean, or along the ring."""
        from scipy.spatial.distance import cdist

        between = cdist(self.coordinates, self.coordinates)
        if self.kind == "ring" and self.shape is not None:
            between = np.minimum(between, self.shape[0] - between)
        return np.asarray(between)


def no_geometry(channels: Channels) -> Geometry:
    """What is said of columns that have no neighbours."""
    nowhere = np.zeros((channels.positions, 0))
    return Geometry("none", 0, nowhere, channels.position_of, channels.channel_of)


def find_geometry(
    scores: NDArray[Any], graph: NeighbourGraph, channels: Channels | None = None
) -> Geometry:
    """Lay the positions of `graph` on what fits its edges best.

    scores: (positions, positions), how strongly each pair belongs together: it says which edges
    are the nearest, and decides between places that the edges leave open. Raises InvalidArgument
    if they do not belong to the graph.
    """
    positions = graph.columns
    if scores.shape != (positions, positions):
        raise InvalidArgument(
            f"scores {scores.shape} of a graph of {positions} positions: give "
            f"({positions}, {positions})"
        )
    if channels is None:
        channels = Channels(1, np.arange(positions), np.zeros(positions, np.int64), 0.0)
    if not len(graph):
        return no_geometry(channels)
    best: tuple[float, float, Kind, Integers, Integers] | None = None
    evidence: dict[str, float] = {}
    certain = _certain_edges(graph)

    def held_against_edges(part: Integers, kind: Kind, places: Integers) -> None:
        nonlocal best
        steps = part[single_steps(kind, places)]
        fit = agreement(steps, certain)
        evidence[kind] = max(fit, evidence.get(kind, 0.0))
        # Weaker edges decide between places that the certain ones leave open.
        both = fit + agreement(steps, graph.edges)
        if fit >= _BELIEVED[kind] and (best is None or both > best[0] + 1e-9):
            best = both, fit, kind, part, places

    for part, kind, places in _candidates(scores, graph):
        held_against_edges(part, kind, places)
    if best is not None and best[2] == "grid" and best[1] < _FITS:
        # Only of what is a grid: pieces of anything can be put side by side.
        held_against_edges(*_mended(scores, graph, best[3], best[4]))
    touched = np.unique(graph.edges)
    everything = steps_between(positions, graph.edges)
    evidence["growth"] = growth(everything)
    if best is None:
        return _other(everything, channels, evidence)
    _, fit, kind, part, places = best
    evidence[kind] = fit
    evidence["placed"] = len(part) / len(touched)
    dimension = places.shape[1]
    coordinates = np.full((positions, dimension), np.nan)
    coordinates[part] = places
    shape = tuple(int(extent) for extent in places.max(axis=0) + 1)
    return Geometry(
        kind, dimension, coordinates, channels.position_of, channels.channel_of, shape, evidence
    )


def _mended(
    scores: NDArray[Any], graph: NeighbourGraph, part: Integers, places: Integers
) -> tuple[Integers, Kind, Integers]:
    """The grid put together anew, edge by edge; `places` of `part` are one way to begin."""
    cells = [(int(row), int(column)) for row, column in places]
    first = dict(zip(part.tolist(), cells, strict=True))
    placed, again = put_together(scores, graph.edges, first)
    return placed, "grid", again


def _certain_edges(graph: NeighbourGraph) -> Integers:
    certain = graph.at_least(_CERTAIN).edges
    return certain if len(certain) else graph.edges


def _candidates(
    scores: NDArray[Any], graph: NeighbourGraph
) -> Iterator[tuple[Integers, Kind, Integers]]:
    """Positions laid out, the kind, and their places (positions laid out, dimension).

    A few edges between what is far apart, as the top and the bottom of a digit are, bend the whole
    map. They are seldom between nearest neighbours, so maps are drawn from the nearest alone, of
    several degrees, and held against the rest as well.
    """
    rank = _ranks(scores, graph.edges)
    drawn: set[int] = set()
    certain = _certain_edges(graph)
    touched = len(np.unique(graph.edges))
    for nearest in _NEAREST:
        edges = graph.edges if nearest is None else graph.edges[rank < nearest]
        if len(edges) in drawn:
            continue
        drawn.add(len(edges))
        part = _largest_component(graph.columns, edges)
        if len(part) < max(_SMALLEST, touched / 2):
            continue
        number = np.full(graph.columns, -1)
        number[part] = np.arange(len(part))
        own = number[edges]
        own = own[(own >= 0).all(axis=1)]
        nearness = np.asarray(scores[np.ix_(part, part)], np.float64)
        map_of, _ = isomap(steps_between(len(part), own), 2)
        fits = False
        for kind, places in _laid_out(map_of, own, nearness, len(certain)):
            fits |= agreement(part[single_steps(kind, places)], certain) >= _FITS
            yield part, kind, places
        if fits:
            return


def _laid_out(
    map_of: Floats, edges: Integers, nearness: Floats, certain: int
) -> Iterator[tuple[Kind, Integers]]:
    """The kinds laid through one map, simple ones first, and the place of each of its positions."""
    # All m steps of a line or ring may be edges: F is then 2m / (m + edges), and no higher.
    if 2 * len(map_of) / (len(map_of) + certain) >= _BELIEVED["line"]:
        around, lines = orders(map_of, nearness)
        for order in lines:
            yield "line", order[:, None]
        yield "ring", around[:, None]
    places = grid_cells(map_of, edges)
    distinct = len(np.unique(places, axis=0)) == len(places)
    if distinct and places.max(axis=0).min() > 0:  # else a line by another name, or no grid
        yield "grid", places


def _ranks(scores: NDArray[Any], edges: Integers) -> Integers:
    """How many are nearer to one end of each edge than the other end is: the larger of the two."""
    strength = scores[edges[:, 0], edges[:, 1]]
    ranks = np.zeros(len(edges), np.int64)
    for end in range(2):
        nearer = [int((scores[i] > s).sum()) for i, s in zip(edges[:, end], strength, strict=True)]
        ranks = np.maximum(ranks, nearer)
    return ranks


def _largest_component(positions: int, edges: Integers) -> Integers:
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    ones = np.ones(len(edges))
    graph = csr_array((ones, (edges[:, 0], edges[:, 1])), shape=(positions, positions))
    _, label = connected_components(graph, directed=False)
    return np.flatnonzero(label == np.bincount(label).argmax())


def single_steps(kind: Kind, places: Integers) -> Integers:
    """The pairs of rows of `places` (m, dimension) that are one step apart: int64 (steps, 2)."""
    extent = places.max(axis=0) + 1
    at = np.full(extent + 1, -1, np.int64)
    at[tuple(places.T)] = np.arange(len(places))
    pairs = []
    for axis in range(places.shape[1]):
        behind = np.roll(at, -1, axis=axis)
        both = (at >= 0) & (behind >= 0)
        pairs.append(np.stack([at[both], behind[both]], axis=1))
    if kind == "ring" and extent[0] > 2:
        pairs.append(np.array([[at[0], at[extent[0] - 1]]]))
    return np.concatenate(pairs)


def agreement(claimed: Integers, edges: Integers) -> float:
    """F: the harmonic mean of the shares of `edges` claimed, and of the claimed that are edges."""
    first = {(min(i, j), max(i, j)) for i, j in claimed.tolist()}
    second = {(min(i, j), max(i, j)) for i, j in edges.tolist()}
    total = len(first) + len(second)
    return 2 * len(first & second) / total if total else 0.0


def growth(steps: Floats) -> float:
    """The dimension by which the number of positions within r steps grows, from r to 2r.

    The correlation dimension (Grassberger and Procaccia, Physica D 9, 1983) of the graph, at the
    largest r whose 2r still reaches less than a quarter of the positions, or 1. Positions near a
    border reach fewer, so the upper quartile over the positions is taken; on a grid of D
    dimensions they grow as (r + ½)ᴰ.
    """
    counts = [float(np.quantile((steps <= r).sum(axis=1), 0.75)) for r in range(1, 65)]
    radius = 1
    while 4 * radius <= 64 and counts[4 * radius - 1] < len(steps) / 4:
        radius *= 2
    grown = counts[2 * radius - 1] / counts[radius - 1]
    return float(np.log(grown) / np.log((2 * radius + 0.5) / (radius + 0.5)))


def _other(steps: Floats, channels: Channels, evidence: dict[str, float]) -> Geometry:
    """A map of the largest component, for what has neighbours but lies on no line, ring or grid."""
    dimension = int(np.clip(np.rint(evidence["growth"]), 1, 3))
    connected = np.isfinite(steps).sum(axis=1)
    part = np.flatnonzero(np.isfinite(steps[int(connected.argmax())]))
    coordinates = np.full((len(steps), dimension), np.nan)
    if len(part) > dimension:
        coordinates[part] = isomap(steps[np.ix_(part, part)], dimension)[0]
    evidence["placed"] = len(part) / max(int((connected > 1).sum()), 1)
    return Geometry(
        "other",
        dimension,
        coordinates,
        channels.position_of,
        channels.channel_of,
        None,
        evidence,
    )
