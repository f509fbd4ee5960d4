"""A geometry that was found, held against the true one."""

from __future__ import annotations

import numpy as np

from scratchconv.discovery.findings import Recovery
from scratchconv.discovery.geometry import Geometry
from scratchconv.discovery.graph import NeighbourGraph
from scratchconv.discovery.recovery import edge_recovery, procrustes_error, rank_correlation
from scratchconv.errors import InvalidArgument


def recovery_of(graph: NeighbourGraph, geometry: Geometry, true: Geometry) -> Recovery:
    """How much of the `true` geometry of the same columns was found.

    graph: among the positions of `geometry`. A position that was found is held to be the true one
    of most of its columns, so that edges between columns of one true position, where channels were
    not found, are neither right nor wrong. Raises InvalidArgument: another number of columns, or a
    truth without single steps ("other", "none").
    """
    d = len(true.position_of)
    if len(geometry.position_of) != d:
        raise InvalidArgument(
            f"the geometry has {len(geometry.position_of)} columns, the true one {d}: they differ"
        )
    if true.shape is None:
        raise InvalidArgument(f"a true geometry of kind {true.kind!r} has no single steps")
    votes = np.zeros((geometry.positions, true.positions), np.int32)
    np.add.at(votes, (geometry.position_of, true.position_of), 1)
    edges = votes.argmax(axis=1)[graph.edges]
    edges = edges[edges[:, 0] != edges[:, 1]]
    held = edge_recovery(edges, true.steps())
    # One column of each true position stands for it.
    _, first = np.unique(true.position_of, return_index=True)
    at = geometry.position_of[first]
    correlation = error = float("nan")
    if geometry.dimension:
        correlation = rank_correlation(geometry.distances()[np.ix_(at, at)], true.distances())
    if geometry.dimension == true.dimension and geometry.shape is not None:
        error = procrustes_error(geometry.coordinates[at], true.coordinates)
    same = [
        np.array_equal(geometry.position_of == p, true.position_of == t)
        for p, t in zip(geometry.position_of, true.position_of, strict=True)
    ]
    return Recovery(held.precision, held.recall, correlation, error, float(np.mean(same)))
