"""Lines, rings and grids laid through graphs that are right, and through some that are not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from scratchconv.discovery.geometry import agreement, find_geometry, growth, single_steps
from scratchconv.discovery.graph import NeighbourGraph
from scratchconv.discovery.lattice import steps_between
from scratchconv.discovery.recovery import edge_recovery, rank_correlation, true_grid_edges
from scratchconv.errors import InvalidArgument


def shuffled(edges, places, seed, spread=2.0):
    """A graph and scores falling with distance, the positions renumbered: and their true places."""
    order = np.random.default_rng(seed).permutation(len(places))
    number = np.argsort(order)
    moved = number[np.asarray(edges)]
    distances = cdist(places, places)[np.ix_(order, order)]
    scores = 50 * np.exp(-distances / spread)
    np.fill_diagonal(scores, 0)
    strength = scores[moved[:, 0], moved[:, 1]]
    graph = NeighbourGraph.ordered(len(places), moved, np.ones(len(moved)), strength)
    return scores, graph, places[order]


def cells(*shape):
    return np.stack(np.unravel_index(np.arange(np.prod(shape)), shape), axis=1).astype(float)


@settings(max_examples=15, deadline=None)
@given(st.integers(3, 9), st.integers(3, 9), st.integers(0, 2**16))
def test_a_grid_is_laid_out_as_it_was(h, w, seed):
    scores, graph, places = shuffled(true_grid_edges(h, w), cells(h, w), seed)
    found = find_geometry(scores, graph)
    assert found.kind == "grid"
    assert found.dimension == 2
    assert sorted(found.shape) == sorted((h, w))
    assert found.fit == 1
    assert rank_correlation(found.distances(), cdist(places, places)) == pytest.approx(1)
    assert edge_recovery(found.steps(), graph.edges).precision == 1


@settings(max_examples=15, deadline=None)
@given(st.integers(6, 60), st.integers(0, 2**16))
def test_a_line_is_put_in_order(m, seed):
    scores, graph, places = shuffled(true_grid_edges(m), cells(m), seed)
    found = find_geometry(scores, graph)
    assert (found.kind, found.dimension, found.shape) == ("line", 1, (m,))
    assert rank_correlation(found.distances(), cdist(places, places)) == pytest.approx(1)


@settings(max_examples=15, deadline=None)
@given(st.integers(6, 60), st.integers(0, 2**16))
def test_a_ring_is_closed(m, seed):
    angle = 2 * np.pi * np.arange(m) / m
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1) * m / (2 * np.pi)
    scores, graph, places = shuffled(true_grid_edges(m, closed=True), circle, seed)
    found = find_geometry(scores, graph)
    assert (found.kind, found.dimension, found.shape) == ("ring", 1, (m,))
    # Rounded, for chords of one arc differ in their last digits.
    assert rank_correlation(found.distances(), cdist(places, places).round(6)) > 1 - 1e-9
    assert edge_recovery(found.steps(), graph.edges).recall == 1


@pytest.mark.parametrize("seed", range(3))
def test_a_grid_survives_wrong_and_missing_edges(seed):
    rng = np.random.default_rng(seed)
    true = true_grid_edges(12, 10)
    kept = true[rng.random(len(true)) < 0.93]
    diagonals = np.array([[i, i + 11] for i in rng.choice(100, 8) if i % 10 < 9])
    scores, graph, places = shuffled(np.concatenate([kept, diagonals]), cells(12, 10), seed)
    found = find_geometry(scores, graph)
    assert found.kind == "grid"
    assert rank_correlation(found.distances(), cdist(places, places)) > 0.98
    back = edge_recovery(found.steps(), np.argwhere(np.triu(cdist(places, places) == 1)))
    assert min(back.precision, back.recall) > 0.9


def test_a_line_survives_a_shortcut():
    edges = np.concatenate([true_grid_edges(60), [[5, 40], [17, 52]]])
    scores, graph, places = shuffled(edges, cells(60), 0)
    found = find_geometry(scores, graph)
    assert found.kind == "line"
    assert rank_correlation(found.distances(), cdist(places, places)) > 0.99


def test_positions_without_neighbours_have_no_place():
    scores, graph, _ = shuffled(true_grid_edges(6, 6), cells(6, 6), 1)
    wider = np.zeros((40, 40))
    wider[:36, :36] = scores
    graph = NeighbourGraph(40, graph.edges, graph.confidence, graph.strength)
    found = find_geometry(wider, graph)
    assert found.kind == "grid"
    assert found.placed().tolist() == [True] * 36 + [False] * 4
    assert np.isnan(found.distances()[0, 39])


def test_what_is_none_of_these_is_other():
    rng = np.random.default_rng(0)
    random = np.unique(np.sort(rng.integers(0, 60, (150, 2)), axis=1), axis=0)
    random = random[random[:, 0] < random[:, 1]]
    tree = np.array([[(child - 1) // 2, child] for child in range(1, 127)])
    star = np.array([[0, leaf] for leaf in range(1, 40)])
    apart = np.concatenate([true_grid_edges(4) + 4 * i for i in range(9)])
    for edges in (random, tree, star, apart):
        graph = NeighbourGraph.ordered(
            int(edges.max()) + 1, edges, np.ones(len(edges)), rng.random(len(edges))
        )
        scores = graph.adjacency().toarray()
        found = find_geometry(scores, graph)
        assert found.kind == "other"
        assert found.shape is None
        assert len(found.steps()) == 0
        assert found.placed().sum() >= 4


def test_no_edges_are_no_geometry():
    found = find_geometry(np.zeros((7, 7)), NeighbourGraph.empty(7))
    assert (found.kind, found.dimension, found.fit) == ("none", 0, 0)
    assert not found.placed().any()
    assert found.coordinates.shape == (7, 0)


@pytest.mark.parametrize(("shape", "dimension"), [((200,), 1), ((30, 30), 2), ((12, 12, 12), 3)])
def test_growth_is_near_the_dimension(shape, dimension):
    edges = true_grid_edges(*shape)
    found = growth(steps_between(int(np.prod(shape)), edges))
    assert found == pytest.approx(dimension, abs=0.4)


def test_agreement_is_the_harmonic_mean_of_both_shares():
    assert agreement(np.array([[0, 1], [2, 1]]), np.array([[1, 0], [1, 2], [3, 4], [5, 6]])) == (
        pytest.approx(2 / (1 / 1.0 + 1 / 0.5))
    )
    assert agreement(np.zeros((0, 2), int), np.zeros((0, 2), int)) == 0


def test_single_steps_of_a_grid_with_holes():
    places = np.array([[0, 0], [0, 2], [1, 0], [1, 1]])
    assert {tuple(sorted(pair)) for pair in single_steps("grid", places).tolist()} == {
        (0, 2),
        (2, 3),
    }


def test_scores_of_another_graph_are_refused():
    with pytest.raises(InvalidArgument, match="7 positions"):
        find_geometry(np.zeros((6, 6)), NeighbourGraph.empty(7))
