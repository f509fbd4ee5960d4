"""Neighbours from the data alone: no labels, no training.

i and j are neighbours if no third column is nearer to both than they are to each other: the
relative neighbourhood graph (Toussaint, "The relative neighbourhood graph of a finite planar set",
Pattern Recognition 12, 1980). It needs no number of neighbours and no distance, only that nearer
columns depend more on each other: of a square grid it keeps the four neighbours and no diagonal.
That images' correlations tell where their pixels lie is known from Le Roux, Bengio, Lamblin,
Joliveau and Kégl, "Learning the 2-D topology of images", NIPS 2007.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scratchconv.discovery.channels import Channels, find_channels, position_scores
from scratchconv.discovery.dependence import Dependence, checked_table, dependence
from scratchconv.discovery.geometry import Geometry, find_geometry
from scratchconv.discovery.graph import Evidence, Floats, Floats32, Integers, NeighbourGraph

STRUCTURE = 1e-4
"""No edge is believed unless the best of all has a false-discovery rate below this: under the null
that happens once in 10,000 data sets."""
FALSE_EDGES = 0.05
"""Once there is structure: the share of edges that may be no more than chance."""
_REREAD = {"line": 0.75, "ring": 0.75, "grid": 0.9}
"""A geometry that agrees with the edges as well as this knows better than single edges do. Of a
grid that fits less well, whole regions are shifted by a cell."""
_ACROSS = 3.0
"""Steps that an edge may reach in a geometry that fits less well."""
_NEAREST = 16
"""Relative neighbours are looked for among this many nearest of each column."""


@dataclass(frozen=True, eq=False)
class Unsupervised:
    """What the data alone say.

    dependence: of all pairs of columns, beside the null.
    channels: which columns share a position.
    scores: float32 (positions, positions), dependence of positions.
    graph: neighbours among the positions; what the geometry says, where it is a line, ring or grid.
    geometry: where the positions lie.
    constant: int64, the columns that hold one value only, and have no neighbours.
    """

    dependence: Dependence
    channels: Channels
    scores: Floats32
    graph: NeighbourGraph
    geometry: Geometry
    constant: Integers

    def column_graph(self) -> NeighbourGraph:
        """Neighbours among the columns: of the same channel, or channels of the same position."""
        if self.channels.count == 1:
            return self.graph
        members = self.channels.members()
        both = np.concatenate([members[self.graph.edges[:, end]] for end in (0, 1)], axis=1)
        count = self.channels.count
        pairs = [both[:, [channel, count + channel]] for channel in range(count)]
        confidence = [self.graph.confidence] * count
        strength = [self.graph.strength] * count
        for first in range(count):
            for second in range(first + 1, count):
                within = members[:, [first, second]]
                within = within[(within >= 0).all(axis=1)]
                pairs.append(within)
                confidence.append(np.full(len(within), self.channels.share))
                scores = self.dependence.score[within[:, 0], within[:, 1]]
                strength.append(scores.astype(np.float64))
        edges = np.concatenate(pairs)
        kept = (edges >= 0).all(axis=1)
        return NeighbourGraph.ordered(
            self.dependence.columns,
            edges[kept],
            np.concatenate(confidence)[kept],
            np.concatenate(strength)[kept],
        )


def unsupervised(values: ArrayLike, *, seed: int = 0) -> Unsupervised:
    """Find channels, neighbours and geometry of the columns of `values` (n, d).

    Needs some 10·d² float32 besides the data. `seed` draws a sample of the null for reports; what
    is found does not depend on it. Raises InvalidArgument for values that cannot be compared.
    """
    table = checked_table(values)
    live = np.asarray(table.max(axis=0) != table.min(axis=0))
    found = dependence(table, seed=seed)
    channels = find_channels(found, live)
    scores = position_scores(found, channels)

    def believed(pairs: Integers) -> NeighbourGraph:
        return believed_edges(scores, position_p_values(found, channels, pairs))

    graph = believed(relative_neighbours(scores))
    geometry = find_geometry(scores, graph, channels)
    graph = reread_edges(graph, geometry, believed)
    return Unsupervised(found, channels, scores, graph, geometry, np.flatnonzero(~live))


def unsupervised_graph(values: ArrayLike, *, seed: int = 0) -> NeighbourGraph:
    """Only the neighbours among the columns of `values` (n, d)."""
    return unsupervised(values, seed=seed).column_graph()


def relative_neighbours(scores: NDArray[Any]) -> Integers:
    """The pairs (m, 2) that no third is nearer to, of the 16 nearest of each. Higher is nearer."""
    d = len(scores)
    others = scores.astype(np.float32)
    np.fill_diagonal(others, -np.inf)
    count = min(_NEAREST, d - 1)
    nearest = np.argpartition(-others, count - 1, axis=1)[:, :count]
    pairs = []
    for i in range(d):
        candidates = nearest[i]
        strength = others[i, candidates]
        nearer_to_both = (others[i] > strength[:, None]) & (others[candidates] > strength[:, None])
        kept = candidates[~nearer_to_both.any(axis=1)]
        pairs.append(np.stack([np.minimum(i, kept), np.maximum(i, kept)], axis=1))
    return np.unique(np.concatenate(pairs), axis=0).astype(np.int64)


def reread_edges(
    graph: NeighbourGraph, geometry: Geometry, believed: Callable[[Integers], NeighbourGraph]
) -> NeighbourGraph:
    """The graph as its geometry corrects it.

    Where the geometry fits nearly all edges, its single steps are the neighbours, as far as chance
    does not explain them: the `believed` ones. Where it fits less well it only rules out edges that
    reach far across it. Positions without a place keep their edges.
    """
    if geometry.shape is None:
        return graph
    if geometry.fit >= _REREAD[geometry.kind]:
        nowhere = ~geometry.placed()[graph.edges].all(axis=1)
        return believed(np.concatenate([geometry.steps(), graph.edges[nowhere]]))
    apart = geometry.distances()[graph.edges[:, 0], graph.edges[:, 1]]
    kept = ~(apart > _ACROSS)  # NaN where there is no place
    return NeighbourGraph(
        graph.columns, graph.edges[kept], graph.confidence[kept], graph.strength[kept]
    )


@dataclass(frozen=True, eq=False)
class EdgeChances:
    """Pairs of positions (m, 2) with the chance of each, `p_values` (m,), under the null."""

    edges: Integers
    p_values: Floats


def position_p_values(
    found: Dependence | Evidence, channels: Channels, edges: Integers
) -> EdgeChances:
    """The chance that any pair of columns of two positions depends as much: Bonferroni's bound."""
    members = channels.members()
    chances = np.ones(len(edges))
    for a in members.T:
        for b in members.T:
            pairs = np.stack([a[edges[:, 0]], b[edges[:, 1]]], axis=1)
            both = (pairs >= 0).all(axis=1)
            chances[both] = np.minimum(chances[both], found.p_values(pairs[both]))
    return EdgeChances(edges, np.minimum(chances * channels.count**2, 1.0))


def believed_edges(
    scores: NDArray[Any],
    tested: EdgeChances,
    *,
    structure: float = STRUCTURE,
    false_edges: float = FALSE_EDGES,
) -> NeighbourGraph:
    """The edges that chance does not explain, each with its confidence.

    Benjamini and Hochberg's step-up procedure (J. Royal Statistical Society B 57, 1995) over all
    pairs of positions, those that are no edges counted as chance. No edge at all if the best does
    not reach `structure`.
    """
    positions = len(scores)
    every = positions * (positions - 1) / 2
    order = np.argsort(tested.p_values, kind="stable")
    rates = tested.p_values[order] * every / np.arange(1, len(order) + 1)
    rates = np.minimum(np.minimum.accumulate(rates[::-1])[::-1], 1.0)
    if not len(rates) or rates[0] > structure:
        return NeighbourGraph.empty(positions)
    kept = rates <= false_edges
    edges = tested.edges[order[kept]]
    strength = scores[edges[:, 0], edges[:, 1]].astype(np.float64)
    return NeighbourGraph.ordered(positions, edges, 1 - rates[kept], strength)
