"""Dependence and its null: exact moments, honest chances, and what it sees."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scratchconv.discovery.dependence import (
    RowMoments,
    dependence,
    magnitude_scores,
    normal_scores,
)
from scratchconv.errors import InvalidArgument


def all_pairs(columns):
    return np.stack(np.triu_indices(columns, 1), axis=1)


@settings(deadline=None)
@given(st.integers(3, 40), st.integers(1, 5), st.integers(0, 2**16))
def test_normal_scores_keep_the_order_and_nothing_else(n, d, seed):
    values = np.random.default_rng(seed).integers(0, 6, (n, d)).astype(float)
    scores = normal_scores(values)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores.mean(axis=0), 0, atol=1e-5)
    for column, own in zip(values.T, scores.T, strict=True):
        assert own.std() == pytest.approx(1 if np.ptp(column) else 0, abs=1e-4)
        higher = column[:, None] > column
        assert ((own[:, None] > own) == higher).all()
    np.testing.assert_array_equal(normal_scores(np.exp(values)), scores)


def test_the_second_function_is_uncorrelated_with_the_first():
    rng = np.random.default_rng(0)
    values = np.stack([rng.normal(size=500), rng.exponential(size=500)], axis=1)
    first = normal_scores(values)
    second = magnitude_scores(first)
    np.testing.assert_allclose((first * second).mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(second.std(axis=0), 1, atol=1e-4)
    binary = normal_scores((values > 1).astype(float))
    assert not magnitude_scores(binary).any()


def test_null_moments_are_those_of_all_permutations_of_the_rows():
    rng = np.random.default_rng(3)
    first, second = rng.normal(size=(2, 4, 3)).astype(np.float32)
    first += 2  # equally dependent columns, so that |mean| is the mean
    weights = (0.3, 0.7)
    draws = []
    for orders in itertools.product(itertools.permutations(range(3)), repeat=4):
        rows = np.arange(4)
        a = first[rows[:, None], np.array(orders)]
        b = second[rows[:, None], np.array(orders)]
        linear, magnitude = 0.3 * (a[:, 0] @ a[:, 1]), 0.7 * (b[:, 0] @ b[:, 1])
        draws.append(((linear + magnitude) / 4, (linear - magnitude) / 4))
    mean, deviation = RowMoments.of(first, second).null(weights)
    assert mean == pytest.approx(np.mean(draws, axis=0)[0], rel=1e-5)
    assert deviation == pytest.approx(np.std(draws, axis=0).max(), rel=1e-5)


def no_structure(kind, rng, n=400, d=40):
    if kind == "gaussian":
        return rng.normal(size=(n, d))
    if kind == "cauchy":
        return rng.standard_cauchy((n, d))
    if kind == "rare":
        return (rng.random((n, d)) < 0.004).astype(int)
    if kind == "equally dependent":
        return rng.normal(size=(n, d)) + 2 * rng.normal(size=(n, 1))
    if kind == "rows of all sizes":
        return rng.normal(size=(n, d)) * np.exp(rng.normal(size=(n, 1)))
    parts = [
        rng.normal(size=(n, d // 4)),
        rng.standard_cauchy((n, d // 4)),
        rng.integers(0, 4, (n, d // 4)),
        rng.random((n, d // 4)) < rng.random(d // 4),
    ]
    return np.concatenate(parts, axis=1)


KINDS = ("gaussian", "cauchy", "rare", "equally dependent", "rows of all sizes", "mixed")


@pytest.mark.parametrize("kind", KINDS)
def test_chances_are_no_smaller_than_they_should_be(kind):
    smallest = []
    for seed in range(20):
        found = dependence(no_structure(kind, np.random.default_rng(seed)), seed=seed)
        pairs = all_pairs(found.columns)
        smallest.append(found.p_values(pairs).min() * len(pairs))
    # Of 20 draws from a uniform distribution one lies below 0.002 in 4 cases of 100.
    assert min(smallest) > 2e-3


@pytest.mark.parametrize("kind", ["gaussian", "equally dependent", "mixed"])
def test_the_sampled_null_looks_like_the_scores_without_structure(kind):
    found = dependence(no_structure(kind, np.random.default_rng(1)))
    first, second = all_pairs(found.columns).T
    scores = found.score[first, second]
    assert found.null.mean() == pytest.approx(scores.mean(), abs=0.1)
    assert found.null.std() == pytest.approx(scores.std(), abs=0.35)


def test_magnitudes_show_what_correlation_cannot():
    rng = np.random.default_rng(0)
    size = np.exp(rng.normal(size=(800, 1)))
    signs = rng.choice([-1, 1], (800, 2))
    values = np.concatenate([signs * size, rng.normal(size=(800, 4))], axis=1)
    values += 0.01 * rng.normal(size=values.shape)
    found = dependence(values)
    assert abs(found.linear[0, 1]) < 0.1
    assert found.magnitude[0, 1] > 0.9
    assert found.p_values(np.array([[0, 1]]))[0] < 1e-12
    assert found.p_values(np.array([[0, 2], [3, 4]])).min() > 1e-3


@settings(max_examples=20, deadline=None)
@given(st.integers(20, 60), st.integers(2, 12), st.integers(0, 2**16))
def test_columns_may_come_in_any_order_and_unit(n, d, seed):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, d)) + rng.normal(size=(n, 1))
    order = rng.permutation(d)
    found = dependence(values)
    moved = dependence(values[:, order] * 3 + 1)
    np.testing.assert_allclose(moved.score, found.score[np.ix_(order, order)], atol=2e-2)
    assert not np.diag(found.score).any()


def test_a_function_that_shows_nothing_adds_no_noise():
    rng = np.random.default_rng(0)
    size = np.exp(rng.normal(size=(2000, 1, 12)))
    values = (size * rng.normal(size=(2000, 3, 12))).reshape(2000, 36)
    found = dependence(values)
    first, second = all_pairs(36).T
    scores = found.score[first, second]
    weight = np.corrcoef(scores, found.magnitude[first, second])[0, 1]
    assert weight > 0.99


def test_constant_columns_change_nothing_for_the_others():
    rng = np.random.default_rng(2)
    coins = (rng.random((1000, 30)) < 0.5).astype(float)
    alone = dependence(coins)
    beside = dependence(np.concatenate([coins, np.ones((1000, 30))], axis=1))
    np.testing.assert_allclose(beside.score[:30, :30], alone.score, atol=1e-3)
    pairs = all_pairs(30)
    np.testing.assert_allclose(beside.p_values(pairs), alone.p_values(pairs), rtol=1e-2)
    assert beside.null.std() == pytest.approx(alone.null.std(), rel=0.1)


def test_columns_of_two_values_do_not_make_others_look_dependent():
    """They have no second function: its part of chance is that of the others alone."""
    rng = np.random.default_rng(3)
    coins = (rng.random((1000, 90)) < 0.5).astype(float)
    found = dependence(np.concatenate([coins, rng.normal(size=(1000, 10))], axis=1))
    own = found.score[90:, 90:][np.triu_indices(10, 1)]
    assert np.sqrt(np.square(own).mean()) < 1.25


@pytest.mark.parametrize("alike", [False, True])
def test_of_two_columns_neither_is_nearer_than_another(alike):
    values = np.random.default_rng(0).normal(size=(200, 2))
    if alike:
        values[:, 1] = values[:, 0]
    for table in (values, np.concatenate([values, np.ones((200, 3))], axis=1)):
        found = dependence(table)
        assert not found.score.any()
        assert found.p_values(np.array([[0, 1]]))[0] > 0.5


def test_the_scores_are_evidence():
    found = dependence(np.random.default_rng(0).normal(size=(50, 6)))
    assert found.evidence.columns == found.columns == 6
    assert found.evidence.score is found.score


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.zeros(30), "no table"),
        (np.zeros((30, 3), complex), "no numbers"),
        (np.zeros((5, 3)), "5 rows"),
        (np.zeros((30, 1)), "1 columns"),
        (np.zeros((30, 5000)), "5000 columns"),
        (np.where(np.eye(30) > 0, np.nan, 0.0), "30 columns, the first of them 0"),
    ],
)
def test_unfit_tables_are_refused(values, said):
    with pytest.raises(InvalidArgument, match=said):
        dependence(values)
