"""Laying the positions of a graph on a line, a ring or a grid.

All three start from the same map: the number of steps from position to position, laid out by
classical scaling (Isomap: Tenenbaum, de Silva and Langford, Science 290, 2000). Isomap bends what
is far apart; what is kept of it is the order, or the direction of each single step.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from scratchconv.discovery.graph import Floats, Integers

_ROUNDS = 20
_MISFIT = 0.25
"""How far off a step an edge must be to count for a quarter."""
_ASSIGNED_AT_MOST = 4096


def steps_between(positions: int, edges: Integers) -> Floats:
    """The number of edges on the shortest path between all pairs, infinite where there is none."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import shortest_path

    ones = np.ones(len(edges))
    graph = csr_array((ones, (edges[:, 0], edges[:, 1])), shape=(positions, positions))
    return np.asarray(shortest_path(graph, directed=False, unweighted=True))


def isomap(distances: Floats, dimension: int) -> tuple[Floats, Floats]:
    """Classical scaling: coordinates (positions, dimension), and the variance along each.

    Torgerson 1952. `distances` are finite. The sign of each axis is fixed by its largest entry.
    """
    from scipy.sparse.linalg import eigsh

    squares = distances**2
    means = squares.mean(axis=0)
    gram = -0.5 * (squares - means - means[:, None] + means.mean())
    wanted = min(dimension, len(gram) - 1)
    start = np.ones(len(gram)) + np.arange(len(gram)) / len(gram)
    variance, axes = eigsh(gram, k=wanted, which="LA", v0=start)
    variance, axes = variance[::-1], axes[:, ::-1]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(wanted)])
    coordinates = np.zeros((len(gram), dimension))
    coordinates[:, :wanted] = axes * np.sqrt(np.maximum(variance, 0))
    return coordinates, np.maximum(variance, 0)


def orders(map_of: Floats, scores: NDArray[Any]) -> tuple[Integers, list[Integers]]:
    """A way to put the positions on a ring, and ways to put them on a line: the place 0 … of each.

    The ring goes round the map's middle. The lines: along the map's first axis; the ring, parted
    where neighbours are least alike; and what joining the most alike that have an end free leads
    to. Each is then set right locally.
    """
    ring = np.argsort(np.arctan2(map_of[:, 1], map_of[:, 0]), kind="stable")
    ring = _improved(ring, scores, closed=True)
    links = scores[ring, np.roll(ring, -1)]
    parted = np.roll(ring, -int(links.argmin()) - 1)
    lines = [np.argsort(map_of[:, 0], kind="stable"), parted, _joined_ends(scores)]
    return _places(ring), [_places(_improved(line, scores, closed=False)) for line in lines]


def _places(order: Integers) -> Integers:
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    return places


def _joined_ends(scores: NDArray[Any]) -> Integers:
    """The order that joining the highest scores first leads to, never branching or closing."""
    m = len(scores)
    first, second = np.triu_indices(m, 1)
    best = np.argsort(-scores[first, second], kind="stable")
    path = {i: [i] for i in range(m)}  # the path that each free end is an end of
    for i, j in zip(first[best].tolist(), second[best].tolist(), strict=True):
        left, right = path.get(i), path.get(j)
        if left is None or right is None or left is right:
            continue
        left = left if left[-1] == i else left[::-1]
        right = right if right[0] == j else right[::-1]
        joined = left + right
        for end in {i, j} - {joined[0], joined[-1]}:
            del path[end]
        path[joined[0]] = path[joined[-1]] = joined
        if len(joined) == m:
            return np.array(joined)
    return np.arange(m)


def _improved(order: Integers, scores: NDArray[Any], *, closed: bool) -> Integers:
    """Reverse short stretches of the order while that brings higher scores side by side (2-opt)."""
    order, longest = order.copy(), min(12, len(order) - 1)
    length = len(order)
    for _ in range(_ROUNDS):
        changed = False
        for size in range(2, longest + 1):
            for start in range(length if closed else length - size + 1):
                stretch = (start + np.arange(-1, size + 1)) % length
                before, after = stretch[0], stretch[-1]
                first, last = order[stretch[1]], order[stretch[-2]]
                gain = 0.0
                if closed or start > 0:
                    gain += scores[order[before], last] - scores[order[before], first]
                if closed or start + size < length:
                    gain += scores[order[after], first] - scores[order[after], last]
                if gain > 1e-9:
                    order[stretch[1:-1]] = order[stretch[1:-1]][::-1]
                    changed = True
        if not changed:
            break
    return order


def grid_cells(map_of: Floats, edges: Integers) -> Integers:
    """The (row, column) of each position on a grid: int64 (positions, 2), from 0.

    Every edge is a step up, down, left or right: which, the map says, once it is turned so that
    steps lie along its axes. The cells are then those that agree best with all steps (least
    squares on the graph), as the steps are with the cells, in turn. Edges that are no such step,
    as diagonals, are weighted down. Rounding gives every position a cell, and an assignment
    parts those that meet in one.
    """
    place = _turned(map_of[:, :2], edges)
    weight = np.ones(len(edges))
    for _ in range(_ROUNDS):
        before = place
        steps = _unit_steps(place[edges[:, 1]] - place[edges[:, 0]])
        place = _solved(len(map_of), edges, steps, weight)
        vectors = place[edges[:, 1]] - place[edges[:, 0]]
        residual = np.linalg.norm(vectors - _unit_steps(vectors), axis=1)
        weight = 1 / (1 + (residual / _MISFIT) ** 2) ** 2
        if np.abs(np.ptp(place - before, axis=0)).max() < 1e-3:
            break
    cells = _parted(place - _offset(place))
    return np.asarray(cells - cells.min(axis=0))


def _turned(flat: Floats, edges: Integers) -> Floats:
    """Turn the map so that its edges lie along the axes: by the mean of four times their angles."""
    vectors = flat[edges[:, 1]] - flat[edges[:, 0]]
    turns = (vectors[:, 0] + 1j * vectors[:, 1]) ** 4
    size = np.abs(turns) ** 0.75  # leaves each vector the weight of its length
    angle = np.angle((turns / np.maximum(size, 1e-12)).sum()) / 4
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.asarray(flat @ np.array([[cosine, -sine], [sine, cosine]]))


def _unit_steps(vectors: Floats) -> Floats:
    """The step of 1 along one axis that is nearest to each vector."""
    steps = np.zeros_like(vectors)
    axis = np.abs(vectors).argmax(axis=1)
    rows = np.arange(len(vectors))
    steps[rows, axis] = np.where(vectors[rows, axis] < 0, -1.0, 1.0)
    return steps


def _solved(positions: int, edges: Integers, steps: Floats, weight: Floats) -> Floats:
    """Places p that minimise Σ weight·‖p_j − p_i − step‖² over the edges; p_0 = 0."""
    from scipy.sparse import csr_array
    from scipy.sparse.linalg import splu

    m = len(edges)
    rows = np.repeat(np.arange(m), 2)
    signs = np.tile([-1.0, 1.0], m)
    difference = csr_array((signs, (rows, edges.reshape(-1))), shape=(m, positions))
    scaled = difference.multiply(weight[:, None]).tocsr()
    laplacian = (difference.T @ scaled).tocsc()[1:, 1:]
    place = np.zeros((positions, 2))
    place[1:] = splu(laplacian).solve((scaled.T @ steps)[1:])
    return place


def _offset(place: Floats) -> Floats:
    """The fraction of a cell by which all places are shifted off the grid, per axis."""
    return np.asarray(np.angle(np.exp(2j * np.pi * place).sum(axis=0)) / (2 * np.pi))


def _parted(place: Floats) -> Integers:
    """The nearest cells, one position each: those that meet take the cells around that are free."""
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    cells = np.rint(place).astype(np.int64)
    _, count = np.unique(cells, axis=0, return_counts=True)
    if count.max() == 1 or len(place) > _ASSIGNED_AT_MOST:
        return cells
    low, high = cells.min(axis=0), cells.max(axis=0)
    rows, columns = np.arange(low[0], high[0] + 1), np.arange(low[1], high[1] + 1)
    if len(rows) * len(columns) < len(place):
        return cells
    free = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)
    if len(free) > 3 * len(place) + 64:  # scattered far too widely to be a grid
        return cells
    _, chosen = linear_sum_assignment(cdist(place, free, "sqeuclidean"))
    return np.asarray(free[chosen])
