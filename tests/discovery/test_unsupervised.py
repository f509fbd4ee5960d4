"""From data to neighbours and their geometry, and to none where there are none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import cdist

from scratchconv.data.tree import make_tree
from scratchconv.discovery.geometry import Geometry
from scratchconv.discovery.graph import NeighbourGraph
from scratchconv.discovery.recovery import edge_recovery, rank_correlation, true_grid_edges
from scratchconv.discovery.unsupervised import (
    EdgeChances,
    believed_edges,
    relative_neighbours,
    reread_edges,
    unsupervised,
    unsupervised_graph,
)


def smooth_images(seed, n=1500, h=10, w=12):
    rng = np.random.default_rng(seed)
    return gaussian_filter(rng.normal(size=(n, h, w)), (0, 1, 1))


@settings(max_examples=20, deadline=None)
@given(st.integers(3, 30), st.integers(0, 2**16))
def test_relative_neighbours_are_those_with_no_third_between(d, seed):
    points = np.random.default_rng(seed).normal(size=(d, 2))
    distance = cdist(points, points)
    expected = {
        (i, j)
        for i in range(d)
        for j in range(i + 1, d)
        if not any(max(distance[i, k], distance[j, k]) < distance[i, j] for k in range(d))
    }
    found = relative_neighbours(-distance)
    assert {tuple(pair) for pair in found.tolist()} == expected


def test_confidence_is_that_of_benjamini_and_hochberg():
    scores = np.zeros((5, 5))
    edges = np.array([[0, 1], [1, 2], [2, 3], [3, 4]])
    chances = np.array([0.5, 1e-6, 8e-4, 1e-6])
    graph = believed_edges(scores, EdgeChances(edges, chances))
    assert graph.edges.tolist() == [[1, 2], [3, 4], [2, 3]]
    np.testing.assert_allclose(1 - graph.confidence, [5e-6, 5e-6, 8e-3 / 3])
    assert len(believed_edges(scores, EdgeChances(edges, np.maximum(chances, 1e-4)))) == 0


def test_a_shuffled_grid_is_found():
    images = smooth_images(0)
    order = np.random.default_rng(1).permutation(120)
    found = unsupervised(images.reshape(len(images), -1)[:, order])
    assert found.channels.count == 1
    assert found.geometry.kind == "grid"
    assert sorted(found.geometry.shape) == [10, 12]
    back = edge_recovery(order[found.graph.edges], true_grid_edges(10, 12))
    assert (back.precision, back.recall) == (1, 1)
    places = np.stack(np.divmod(order, 12), axis=1)
    assert rank_correlation(found.geometry.distances(), cdist(places, places)) > 0.99


def test_a_grid_is_found_in_magnitudes_alone():
    rng = np.random.default_rng(0)
    size = np.exp(2 * smooth_images(2, n=3000))
    values = (size * rng.normal(size=size.shape)).reshape(3000, -1)
    order = rng.permutation(120)
    found = unsupervised(values[:, order])
    linear = found.dependence.linear - np.eye(120)
    assert np.abs(linear).max() < 0.15
    back = edge_recovery(order[found.graph.edges], true_grid_edges(10, 12))
    assert back.precision > 0.95
    assert back.recall > 0.95


def test_coloured_pixels_are_neighbours_by_position():
    images = smooth_images(3)
    rng = np.random.default_rng(4)
    detail = 0.1 * rng.normal(size=images.shape)
    colours = [images + detail + 0.2 * smooth_images(5 + c) for c in range(3)]
    values = np.stack(colours, axis=1).reshape(len(images), -1)
    order = rng.permutation(360)
    found = unsupervised(values[:, order])
    assert found.channels.count == 3
    assert found.geometry.kind == "grid"
    column = found.channels.members()[:, 0]
    back = edge_recovery((order % 120)[column][found.graph.edges], true_grid_edges(10, 12))
    assert (back.precision, back.recall) == (1, 1)
    between = order[found.column_graph().edges]
    true = [true_grid_edges(10, 12) + 120 * c for c in range(3)]
    true += [np.stack([np.arange(120), np.arange(120) + 120], axis=1) + s for s in (0, 120)]
    true += [np.stack([np.arange(120), np.arange(120) + 240], axis=1)]
    back = edge_recovery(between, np.concatenate(true))
    assert (back.precision, back.recall) == (1, 1)


@pytest.mark.parametrize("kind", ["line", "ring"])
def test_one_dimension_is_found(kind):
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(800, 50 if kind == "ring" else 54))
    values = sum(np.roll(noise, -k, axis=1)[:, :50] for k in range(5))
    order = rng.permutation(50)
    found = unsupervised(values[:, order])
    assert found.geometry.kind == kind
    true = true_grid_edges(50, closed=kind == "ring")
    back = edge_recovery(order[found.graph.edges], true)
    assert (back.precision, back.recall) == (1, 1)


def no_structure(kind, seed):
    rng = np.random.default_rng(seed)
    if kind == "gaussian":
        return rng.normal(size=(300, 50))
    if kind == "heavy-tailed":
        return rng.standard_cauchy((300, 50))
    if kind == "discrete":
        return rng.poisson(rng.exponential(size=50), (300, 50))
    if kind == "mixed":
        parts = [rng.normal(size=(300, 15)), rng.standard_cauchy((300, 15))]
        return np.concatenate([*parts, rng.random((300, 20)) < 0.3 * rng.random(20)], axis=1)
    if kind == "tree":
        return make_tree(train_size=1000, seed=seed)[0].inputs.numpy().reshape(1000, 64)
    images = smooth_images(seed, n=300, h=7, w=7).reshape(300, 49)
    images = images * np.exp(rng.normal(size=(300, 1))) + rng.normal(size=(300, 1))
    return rng.permuted(images, axis=1 if kind == "rows shuffled" else 0)


NO_STRUCTURE = (
    "gaussian",
    "heavy-tailed",
    "discrete",
    "mixed",
    "tree",
    "rows shuffled",
    "columns shuffled",
)


@pytest.mark.parametrize("kind", NO_STRUCTURE)
def test_nothing_is_found_where_there_is_nothing(kind):
    for seed in range(20):
        found = unsupervised(no_structure(kind, seed), seed=seed)
        assert len(found.graph) == 0
        assert found.channels.count == 1
        assert found.geometry.kind == "none"


def test_clusters_have_neighbours_and_no_geometry():
    rng = np.random.default_rng(0)
    values = (rng.normal(size=(600, 6, 1)) + rng.normal(size=(600, 6, 9))).reshape(600, 54)
    found = unsupervised(values)
    assert found.geometry.kind == "other"
    assert (found.graph.edges[:, 0] // 9 == found.graph.edges[:, 1] // 9).all()


def test_constant_columns_are_named_and_have_no_neighbours():
    values = smooth_images(0, n=600).reshape(600, -1).copy()
    values[:, [0, 11, 60]] = 3.0
    found = unsupervised(values)
    assert found.constant.tolist() == [0, 11, 60]
    assert not np.isin(found.graph.edges, found.constant).any()
    assert not found.geometry.placed()[[0, 11]].any()


def test_the_same_data_give_the_same_graph():
    values = smooth_images(0, n=300).reshape(300, -1)
    first, second = unsupervised_graph(values, seed=1), unsupervised_graph(values, seed=1)
    np.testing.assert_array_equal(first.edges, second.edges)
    np.testing.assert_array_equal(first.confidence, second.confidence)
    np.testing.assert_array_equal(first.edges, unsupervised_graph(values, seed=2).edges)


def test_positions_without_a_place_keep_their_edges():
    line = np.append(np.arange(5.0), [np.nan, np.nan, np.nan])[:, None]
    geometry = Geometry("line", 1, line, np.arange(8), np.zeros(8, np.int64), (5,), {"line": 0.9})
    edges = np.array([[0, 1], [1, 2], [2, 3], [0, 3], [5, 6], [4, 7]])
    graph = NeighbourGraph(8, edges, np.full(6, 0.99), np.ones(6))

    def believed(pairs):
        return NeighbourGraph.ordered(8, pairs, np.ones(len(pairs)), np.ones(len(pairs)))

    again = reread_edges(graph, geometry, believed)
    assert again.edges.tolist() == [[0, 1], [1, 2], [2, 3], [3, 4], [4, 7], [5, 6]]
