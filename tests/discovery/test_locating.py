"""Two sources together: what both know, what only one knows, and what neither does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from scipy.stats import combine_pvalues

from scratchconv.discovery.channels import Channels
from scratchconv.discovery.combining import (
    combined_evidence,
    data_evidence,
    fisher,
    label_evidence,
)
from scratchconv.discovery.dependence import dependence
from scratchconv.discovery.graph import Evidence
from scratchconv.discovery.locating import checked_source, learned_evidence, located
from scratchconv.discovery.recovery import edge_recovery, true_grid_edges
from scratchconv.discovery.targets import Targets
from scratchconv.errors import InvalidArgument

SIDE = 8
TRUE = true_grid_edges(SIDE, SIDE)
POSITIONS = SIDE**2
LIVE = np.ones(POSITIONS, bool)


def images(rows, noise, seed=0):
    """Smooth images of 8×8 in noise: the more noise, the less is known of neighbours."""
    random = np.random.default_rng(seed)
    smooth = gaussian_filter(random.normal(size=(rows, SIDE, SIDE)), (0, 0.7, 0.7))
    flat = smooth.reshape(rows, -1) / smooth.std()
    return flat + noise * random.normal(size=flat.shape)


def taught(strength, seed=0, edges=TRUE):
    """Scores as learned ones are: beyond chance at the `edges`, else with heavy tails."""
    random = np.random.default_rng(seed)
    score = np.triu(random.laplace(scale=0.4, size=(POSITIONS, POSITIONS)), 1).clip(0)
    null = random.laplace(scale=0.4, size=500_000).clip(0)
    score[edges[:, 0], edges[:, 1]] += strength * random.uniform(0.5, 1.5, len(edges))
    return Evidence(
        (score + score.T).astype(np.float32), null.astype(np.float32), "learned connectivity"
    )


def recovered(graph):
    held = edge_recovery(graph.edges, TRUE)
    return held.precision, held.recall


@given(st.lists(st.tuples(st.floats(1e-150, 1), st.floats(1e-150, 1)), min_size=1, max_size=5))
@settings(deadline=None)
def test_fisher_is_scipys(pairs):
    first, second = np.array(pairs).T
    expected = [combine_pvalues(pair).pvalue for pair in pairs]
    np.testing.assert_allclose(fisher(first, second), expected, rtol=1e-9)


def test_fisher_of_chances_too_small_for_numbers():
    assert fisher(np.zeros(2), np.array([0.0, 1.0])).max() < 1e-300


def test_two_weak_sources_tell_more_than_each():
    single = Channels(1, np.arange(POSITIONS), np.zeros(POSITIONS, np.int64), 0.0)
    first = data_evidence(dependence(images(300, 1.2)), single)
    second = label_evidence(taught(3.0), single)
    both = recovered(combined_evidence(second, first).graph())
    each = [recovered(evidence.graph()) for evidence in (first, second)]
    assert both[1] > max(recall for _, recall in each) + 0.1
    assert both[0] > max(precision for precision, _ in each)


@pytest.mark.parametrize("strength", [3.0, 4.0, 12.0])
@pytest.mark.parametrize("rows", [400, 2000])
def test_both_are_no_worse_than_the_better(rows, strength):
    found = located(dependence(images(rows, 0.9)), taught(strength), LIVE)
    better = max(recovered(found.graphs[source])[1] for source in ("data", "labels"))
    precision, recall = recovered(found.graphs["both"])
    assert recall >= better - 0.02
    assert precision >= 0.95
    assert found.source == ("both" if rows == 400 else "data")
    assert found.geometry.kind == "grid"


def test_learned_edges_that_reach_across_do_not_spoil_the_order():
    """What is learned may be as certain of diagonals as of neighbours."""
    number = np.arange(POSITIONS).reshape(SIDE, SIDE)
    diagonals = np.stack([number[:-1, :-1].ravel(), number[1:, 1:].ravel()], axis=1)
    learned = taught(12.0, edges=np.concatenate([TRUE[::2], diagonals]))
    found = located(dependence(images(2000, 0.7)), learned, LIVE)
    assert recovered(found.graphs["labels"])[0] < 0.7
    assert min(recovered(found.graphs["both"])) >= 0.98
    assert recovered(found.graph) == (1, 1)


@pytest.mark.parametrize("seed", range(3))
def test_labels_that_say_nothing_add_no_edges(seed):
    found = located(dependence(images(2000, 0.7)), taught(0.0, seed), LIVE)
    assert len(found.graphs["labels"]) == 0
    np.testing.assert_array_equal(found.graphs["both"].edges, found.graphs["data"].edges)
    assert recovered(found.graph) == (1, 1)
    assert found.source == "data"


@pytest.mark.parametrize("seed", range(3))
def test_data_that_say_nothing_leave_it_to_the_labels(seed):
    independent = np.random.default_rng(seed).normal(size=(500, POSITIONS))
    found = located(dependence(independent), taught(12.0, seed), LIVE)
    assert found.source == "labels"
    assert len(found.graphs["data"]) == 0
    assert found.geometry.kind == "grid"
    assert found.geometry.shape == (SIDE, SIDE)
    assert min(recovered(found.graph)) >= 0.95


@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("seed", range(2))
def test_without_structure_no_source_sees_any(seed, shuffled):
    random = np.random.default_rng(seed)
    table = random.normal(size=(400, 20))
    labels = (table[:, 0] > 0).astype(int)
    if shuffled:
        table += np.roll(table, 1, axis=1)
        table = random.permuted(table, axis=1)
    learned = learned_evidence(table, Targets(labels, "classification"), rounds=1, steps=60)
    found = located(dependence(table), learned, np.ones(20, bool))
    assert [len(graph) for graph in found.graphs.values()] == [0, 0, 0]
    assert found.geometry.kind == "none"
    assert found.source == "both"


def test_neighbours_that_only_labels_tell():
    random = np.random.default_rng(0)
    labels = random.integers(2, size=3000)
    noise = random.normal(size=(3000, 30))
    sign = np.where(labels == 0, 0.6, -0.6)[:, None]
    table = noise + sign * np.roll(noise, 1, axis=1)
    order = random.permutation(30)
    learned = learned_evidence(
        table[:, order], Targets(labels, "classification"), rounds=2, steps=150
    )
    found = located(None, learned, np.ones(30, bool))
    assert found.geometry.kind == "ring"
    held = edge_recovery(order[found.graph.edges], true_grid_edges(30, closed=True))
    assert min(held.precision, held.recall) > 0.9


def test_constant_columns_have_no_neighbours():
    table = images(1500, 0.3)
    table[:, [0, 9]] = 1.0
    live = np.ones(POSITIONS, bool)
    live[[0, 9]] = False
    score = taught(12.0).score.copy()
    score[[0, 9]] = score[:, [0, 9]] = 0
    for learned in (None, Evidence(score, taught(0.0).null, "learned connectivity")):
        found = located(dependence(table), learned, live)
        assert not np.isin(found.graph.edges, [0, 9]).any()
        assert len(found.graph) > 90


def test_which_sources_are_asked():
    assert checked_source("auto", None, 100) == "data"
    assert checked_source("auto", [0, 1], 100) == "both"
    assert checked_source("auto", [0, 1], 39) == "data"
    assert checked_source("labels", [0, 1], 39) == "labels"
    with pytest.raises(InvalidArgument, match="there are no labels"):
        checked_source("both", None, 100)
    with pytest.raises(InvalidArgument, match="Did you mean 'labels'"):
        checked_source("label", [0, 1], 100)
    with pytest.raises(InvalidArgument, match="no source"):
        located(None, None, LIVE)


def test_many_learned_edges_of_little_weight_do_not_lead():
    """Labels may believe more edges than there are, and be right of three in four."""
    random = np.random.default_rng(0)
    wrong = np.sort(random.integers(0, POSITIONS, (60, 2)), axis=1)
    wrong = wrong[wrong[:, 0] != wrong[:, 1]]
    learned = taught(8.0, edges=np.concatenate([TRUE[1:], wrong]))
    found = located(dependence(images(4000, 0.5)), learned, LIVE)
    assert recovered(found.graphs["labels"])[0] < 0.8
    assert found.source == "data"
    assert found.geometry.shape == (SIDE, SIDE)
    assert recovered(found.graph) == (1, 1)
    assert recovered(found.graphs["both"])[0] > recovered(found.graphs["labels"])[0] + 0.1
