"""Planted pairs are found, shuffled supports hold none, and the null is what it claims to be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from scratchconv.discovery.co_selection import (
    co_selection,
    learned_graph,
    shuffled,
    significant_edges,
    standard_scores,
)
from scratchconv.discovery.graph import Evidence
from scratchconv.errors import InvalidArgument


def line_supports(units, d, seed, width=3, noise=2):
    """Units that keep `width` columns in a row, and `noise` others."""
    rng = np.random.default_rng(seed)
    support = np.zeros((units, d), bool)
    start = rng.choice(d - width + 1, units)
    for k in range(width):
        support[np.arange(units), start + k] = True
    for _ in range(noise):
        support[np.arange(units), rng.integers(d, size=units)] = True
    return support


def random_supports(units, d, rng):
    """Columns and units that keep very different numbers, otherwise at random."""
    column, unit = rng.uniform(0.1, 1, d), rng.uniform(0.1, 1, (units, 1))
    return rng.random((units, d)) < 0.4 * column * unit


def distances(graph):
    return np.abs(np.diff(graph.edges, axis=1))[:, 0]


@pytest.mark.parametrize("parts", [None, [0, 0, 1, 1], ["a", "b", "c", "a"]])
def test_planted_neighbours_are_found(parts):
    supports = [line_supports(300, 40, seed) for seed in range(4)]
    graph = learned_graph(supports, parts=parts)
    assert {(i, i + 1) for i in range(1, 38)} <= set(map(tuple, graph.edges))
    assert np.mean(distances(graph) > 2) <= 0.15  # 0.05 on average
    assert (graph.confidence >= 0.95).all()
    assert (np.diff(graph.confidence) <= 0).all()


def test_weights_tell_more_than_counts():
    """Strong at neighbours and weak elsewhere, where every unit keeps every column."""
    rng = np.random.default_rng(0)
    weights = [
        line_supports(200, 30, seed, noise=0) + 0.05 * rng.normal(size=(200, 30))
        for seed in range(2)
    ]
    assert len(learned_graph([w != 0 for w in weights], parts=[0, 1])) == 0
    graph = learned_graph(weights, parts=[0, 1])
    assert {(i, i + 1) for i in range(1, 28)} <= set(map(tuple, graph.edges))
    flipped = [w * rng.choice([-1, 1], size=w.shape) for w in weights]
    np.testing.assert_array_equal(learned_graph(flipped, parts=[0, 1]).edges, graph.edges)


@pytest.mark.parametrize("seed", range(20))
def test_shuffled_supports_have_no_neighbours(seed):
    rng = np.random.default_rng(seed)
    real = [sparse.csr_array(line_supports(150, 30, 2 * seed + k)) for k in range(2)]
    broken = [shuffled(support, rng) for support in real]
    assert len(learned_graph(broken, seed=seed)) == 0
    assert len(learned_graph(broken, parts=[0, 1], seed=seed)) == 0


@pytest.mark.parametrize("seed", range(20))
def test_accidents_of_the_rows_are_not_believed(seed):
    """Networks on the same rows agree about pairs that networks on other rows know nothing of."""
    rng = np.random.default_rng(seed)
    supports = []
    for _ in range(2):
        pairs = rng.permutation(60).reshape(30, 2)
        support = random_supports(300, 60, rng)
        for unit in support:
            unit[pairs[rng.choice(30, 3, replace=False)]] = True
        supports.append(support)
    assert len(learned_graph([supports[0]], seed=seed)) > 10
    assert len(learned_graph(supports, parts=[0, 1], seed=seed)) == 0


def test_columns_that_every_unit_keeps_are_no_neighbours():
    """The target depends on five columns: all units keep them, and margins explain it."""
    rng = np.random.default_rng(0)
    supports = [rng.random((400, 50)) < 0.1 for _ in range(2)]
    for support in supports:
        support[:, :5] = True
    assert len(learned_graph(supports, parts=[0, 1])) == 0
    assert len(learned_graph(supports)) == 0


@settings(deadline=None, max_examples=25)
@given(
    units=st.integers(1, 30),
    d=st.integers(2, 20),
    density=st.floats(0, 1),
    seed=st.integers(0, 2**32 - 1),
)
def test_shuffling_keeps_every_margin(units, d, density, seed):
    rng = np.random.default_rng(seed)
    support = (rng.random((units, d)) < density).astype(float)
    again = shuffled(sparse.csr_array(support), rng).toarray()
    assert set(np.unique(again)) <= {0, 1}
    np.testing.assert_array_equal(again.sum(axis=0), support.sum(axis=0))
    np.testing.assert_array_equal(again.sum(axis=1), support.sum(axis=1))


def test_shuffling_visits_all_supports_equally_often():
    """Of 3×3 with two entries in each row and column there are six."""
    rng = np.random.default_rng(0)
    support = sparse.csr_array(1.0 - np.eye(3))
    seen = [tuple(shuffled(support, rng).toarray().ravel()) for _ in range(1200)]
    counts = np.unique(np.array(seen), axis=0, return_counts=True)[1]
    assert len(counts) == 6
    assert ((counts - 200) ** 2 / 200).sum() < 20.5  # chi² with 5 degrees of freedom, 0.1 %


def test_scores_of_shuffled_supports_are_standard():
    rng = np.random.default_rng(0)
    support = sparse.csr_array(random_supports(600, 50, rng).astype(float))
    upper = np.triu_indices(50, 1)
    draws = np.stack([standard_scores(shuffled(support, rng))[upper] for _ in range(30)])
    assert abs(draws.mean()) < 0.05
    assert 0.8 < draws.std() < 1.1


@settings(deadline=None, max_examples=30)
@given(
    units=st.integers(1, 12),
    d=st.integers(2, 12),
    density=st.floats(0, 1),
    networks=st.integers(1, 3),
    apart=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_any_support_gives_finite_symmetric_scores(units, d, density, networks, apart, seed):
    rng = np.random.default_rng(seed)
    supports = [
        rng.normal(size=(units, d)) * (rng.random((units, d)) < density) for _ in range(networks)
    ]
    parts = list(range(networks)) if apart else None
    evidence = co_selection(supports, parts=parts, seed=seed)
    assert evidence.score.dtype == evidence.null.dtype == np.float32
    assert evidence.score.shape == (d, d)
    assert np.isfinite(evidence.score).all()
    assert np.isfinite(evidence.null).all()
    np.testing.assert_array_equal(evidence.score, evidence.score.T)
    assert (evidence.score.diagonal() == 0).all()
    significant_edges(evidence)


def test_the_names_of_the_columns_do_not_matter():
    supports = [line_supports(300, 40, seed) for seed in range(2)]
    order = np.random.default_rng(0).permutation(40)
    straight = co_selection(supports, parts=[0, 1])
    renamed = co_selection([s[:, order] for s in supports], parts=[0, 1])
    np.testing.assert_allclose(renamed.score, straight.score[order][:, order], rtol=1e-4, atol=1e-5)


def test_same_seed_same_evidence_sparse_or_dense():
    supports = [line_supports(100, 20, seed) for seed in range(2)]
    one = co_selection(supports, parts=[0, 1], seed=3)
    two = co_selection([sparse.csr_array(s) for s in supports], parts=[0, 1], seed=3)
    np.testing.assert_array_equal(one.score, two.score)
    np.testing.assert_array_equal(one.null, two.null)


def test_confidence_is_one_minus_the_share_of_false_edges():
    """3 scores stand out of 45; ranks in 999 of the null, Benjamini and Hochberg by hand."""
    score = np.zeros((10, 10), np.float32)
    for (i, j), value in {(0, 1): 9, (2, 3): 8, (4, 5): 7}.items():
        score[i, j] = score[j, i] = value
    null = np.append(np.zeros(99_998), 7.5).astype(np.float32)
    graph = significant_edges(Evidence(score, null, "test"))
    np.testing.assert_array_equal(graph.edges, [(0, 1), (2, 3), (4, 5)])
    np.testing.assert_allclose(
        graph.confidence, 1 - np.array([45 / 2, 45 / 2, 2 * 45 / 3]) / 100_000
    )
    assert len(significant_edges(Evidence(score, null[:500], "too few to tell"))) == 0


@pytest.mark.parametrize(
    ("supports", "options", "message"),
    [
        ([], {}, "no supports"),
        ([np.ones((3, 4)), np.ones((3, 5))], {}, "4, 5"),
        ([np.ones((3, 1))], {}, "1 columns"),
        ([np.ones((3, 5000))], {}, "4096"),
        ([np.full((3, 4), np.nan)], {}, "NaN"),
        ([np.ones((3, 4))], {"parts": [0, 1]}, "2 parts for 1"),
    ],
)
def test_bad_supports_are_refused(supports, options, message):
    with pytest.raises(InvalidArgument, match=message):
        co_selection(supports, **options)


@pytest.mark.parametrize("confidence", [-0.1, 1.0, 95])
def test_bad_confidence_is_refused(confidence):
    with pytest.raises(InvalidArgument, match="confidence"):
        learned_graph([np.ones((3, 4))], confidence=confidence)
