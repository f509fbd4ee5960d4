"""Graphs of neighbours: order, selection, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scratchconv.discovery.graph import Evidence, NeighbourGraph
from scratchconv.errors import InvalidArgument


def graph_of(columns, edges, confidence):
    strength = np.arange(len(edges), dtype=float)
    return NeighbourGraph.ordered(columns, np.array(edges), np.array(confidence), strength)


def test_edges_are_sorted_whatever_their_order_and_direction():
    graph = graph_of(5, [[3, 1], [0, 4], [2, 4]], [0.5, 0.9, 0.7])
    assert graph.edges.tolist() == [[0, 4], [2, 4], [1, 3]]
    assert graph.confidence.tolist() == [0.9, 0.7, 0.5]
    assert graph.strength.tolist() == [1, 2, 0]
    assert graph.neighbours(4).tolist() == [0, 2]
    assert graph.neighbours(3).tolist() == [1]
    assert graph.at_least(0.7).edges.tolist() == [[0, 4], [2, 4]]


@given(st.integers(2, 12), st.integers(0, 2**16))
def test_adjacency_agrees_with_neighbours(columns, seed):
    rng = np.random.default_rng(seed)
    first, second = np.triu_indices(columns, 1)
    kept = rng.random(len(first)) < 0.4
    edges = np.stack([second, first], axis=1)[kept]
    graph = NeighbourGraph.ordered(columns, edges, rng.random(len(edges)), rng.random(len(edges)))
    dense = graph.adjacency().toarray()
    assert dense.shape == (columns, columns)
    assert (dense == dense.T).all()
    assert dense.sum() == 2 * len(graph)
    for column in range(columns):
        assert set(graph.neighbours(column)) == set(np.flatnonzero(dense[column]))


def test_an_empty_graph_has_columns_and_no_neighbours():
    graph = NeighbourGraph.empty(3)
    assert len(graph) == 0
    assert graph.adjacency().nnz == 0
    assert graph.neighbours(2).tolist() == []


@pytest.mark.parametrize("edges", [[[1, 0]], [[0, 0]], [[0, 3]], [[-1, 1]]])
def test_edges_that_are_none_are_refused(edges):
    with pytest.raises(InvalidArgument, match="i < j"):
        NeighbourGraph(3, np.array(edges), np.ones(1), np.ones(1))


def test_bad_input_is_named():
    with pytest.raises(InvalidArgument, match="do not fit"):
        NeighbourGraph(3, np.array([[0, 1]]), np.ones(2), np.ones(1))
    with pytest.raises(InvalidArgument, match="column 3"):
        NeighbourGraph.empty(3).neighbours(3)
    with pytest.raises(InvalidArgument, match="confidence 2"):
        NeighbourGraph.empty(3).at_least(2)
    with pytest.raises(InvalidArgument, match=r"\(2, 3\)"):
        Evidence(np.zeros((2, 3), np.float32), np.zeros(0, np.float32), "labels")
