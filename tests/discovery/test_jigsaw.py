"""A grid is put together from edges of which many are missing and some are wrong."""

from __future__ import annotations

import numpy as np
import pytest

from scratchconv.discovery import geometry
from scratchconv.discovery.geometry import find_geometry
from scratchconv.discovery.graph import NeighbourGraph
from scratchconv.discovery.jigsaw import put_together

STEPS = ((0, 1), (1, 0))


def worn_grid(height, width, *, missing=0.06, diagonals=0.03, far=2, seed=0):
    """Edges of a grid in random order, some missing and some wrong, scores, and the true cells."""
    random = np.random.default_rng(seed)
    cells = [(row, column) for row in range(height) for column in range(width)]
    name = dict(zip(cells, random.permutation(len(cells)).tolist(), strict=True))
    edges = set()
    for row, column in cells:
        for down, right in STEPS:
            to = (row + down, column + right)
            if to in name and random.random() >= missing:
                edges.add((name[row, column], name[to]))
        slant = (row + 1, column + 1)
        if slant in name and random.random() < diagonals:
            edges.add((name[row, column], name[slant]))
    for _ in range(far):
        i, j = random.choice(len(cells), 2, replace=False).tolist()
        edges.add((i, j))
    edges = np.array(sorted({(min(edge), max(edge)) for edge in edges}), np.int64)
    true = np.zeros((len(cells), 2), np.int64)
    for cell, position in name.items():
        true[position] = cell
    apart = np.abs(true[:, None] - true[None]).sum(axis=2)
    scores = 10.0 / (1 + apart)
    np.fill_diagonal(scores, 0)
    return edges, scores, true


def right(placed, cells, true):
    """The share of positions that lie where they should, however the grid is turned and moved."""
    shares = []
    for turned in (cells, cells[:, ::-1]):
        for signs in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
            away = turned * signs - true[placed]
            _, count = np.unique(away, axis=0, return_counts=True)
            shares.append(count.max() / len(true))
    return max(shares)


@pytest.mark.parametrize("seed", range(4))
def test_a_worn_grid_is_put_together(seed):
    edges, scores, true = worn_grid(14, 17, seed=seed)
    placed, cells = put_together(scores, edges, beginnings=40, ruins=60)
    assert len(np.unique(cells, axis=0)) == len(placed)
    assert cells.min() == 0
    assert right(placed, cells, true) > 0.95
    again = put_together(scores, edges, beginnings=40, ruins=60)
    assert np.array_equal(placed, again[0])
    assert np.array_equal(cells, again[1])


def test_a_placement_to_begin_with_is_one_among_others():
    edges, scores, true = worn_grid(10, 10, seed=5)
    first = dict(enumerate(map(tuple, true.tolist())))
    placed, cells = put_together(scores, edges, first, beginnings=1, ruins=0)
    assert right(placed, cells, true) == 1
    scattered = {position: (7 * row, 7 * column) for position, (row, column) in first.items()}
    placed, cells = put_together(scores, edges, scattered, beginnings=40, ruins=60)
    assert right(placed, cells, true) > 0.95


def test_without_a_square_or_a_placement_nothing_is_placed():
    line = np.stack([np.arange(9), np.arange(1, 10)], axis=1)
    placed, cells = put_together(np.ones((10, 10)), line)
    assert (placed.shape, cells.shape) == ((0,), (0, 2))
    placed, cells = put_together(np.ones((10, 10)), line, {3: (2, 2)})
    assert len(placed) == 10
    assert np.abs(np.diff(cells[np.argsort(placed)], axis=0)).sum(axis=1).tolist() == [1] * 9


def test_a_grid_that_its_map_bends_is_mended(monkeypatch):
    edges, scores, true = worn_grid(16, 16, missing=0.1, diagonals=0.05, seed=2)
    graph = NeighbourGraph(len(true), edges, np.ones(len(edges)), np.ones(len(edges)))
    found = find_geometry(scores, graph)

    def unchanged(_, __, first):
        return np.array(sorted(first)), np.array([first[position] for position in sorted(first)])

    monkeypatch.setattr(geometry, "put_together", unchanged)
    bent = find_geometry(scores, graph)
    assert (found.kind, bent.kind) == ("grid", "grid")
    assert found.fit > bent.fit
    shares = [
        right(np.flatnonzero(one.placed()), one.coordinates[one.placed()].astype(np.int64), true)
        for one in (found, bent)
    ]
    assert shares[0] > max(0.95, shares[1])


def test_a_grid_that_fits_is_left_alone(monkeypatch):
    edges, scores, true = worn_grid(8, 9, missing=0, diagonals=0, far=0)

    def never(*_):
        raise AssertionError("a perfect grid was put together anew")

    monkeypatch.setattr(geometry, "put_together", never)
    graph = NeighbourGraph(len(true), edges, np.ones(len(edges)), np.ones(len(edges)))
    assert find_geometry(scores, graph).shape in ((8, 9), (9, 8))
