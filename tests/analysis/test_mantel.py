"""The permutation test against every permutation and the whole distance matrix."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scratchconv.analysis.mantel import (
    PairWeights,
    PixelGrid,
    null_draws,
    null_moments,
    observed,
    pair_mass,
)


def random_pairs(positions, seed, keep=1.0):
    rng = np.random.default_rng(seed)
    first, second = np.triu_indices(positions, 1)
    kept = rng.random(len(first)) < keep
    kept[0] = True
    value = rng.exponential(size=int(kept.sum()))
    return PairWeights(first[kept], second[kept], value / value.sum())


def distances(grid):
    y, x = np.divmod(np.arange(grid.positions), grid.width)
    return np.sqrt((y[:, None] - y) ** 2 + (x[:, None] - x) ** 2)


@pytest.mark.parametrize("shape", [(1, 2), (1, 3), (3, 1), (2, 2), (1, 5), (2, 3), (1, 7)])
@pytest.mark.parametrize("keep", [1.0, 0.4])
def test_moments_are_those_of_all_permutations(shape, keep):
    grid = PixelGrid(*shape)
    pairs = random_pairs(grid.positions, seed=1, keep=keep)
    d = distances(grid)
    every = [
        (d[order][:, order][pairs.first, pairs.second] * pairs.value).sum()
        for order in map(np.array, itertools.permutations(range(grid.positions)))
    ]
    mean, deviation = null_moments(pairs, grid)
    assert mean == pytest.approx(np.mean(every), rel=1e-12)
    assert deviation == pytest.approx(np.std(every), rel=1e-9, abs=1e-12)


@settings(deadline=None, max_examples=30)
@given(height=st.integers(1, 9), width=st.integers(2, 9), keep=st.floats(0.01, 1))
def test_grid_sums_are_those_of_the_distance_matrix(height, width, keep):
    grid = PixelGrid(height, width)
    d = distances(grid)
    n = grid.positions
    off = ~np.eye(n, dtype=bool)
    assert grid.mean_distance == pytest.approx(d[off].mean())
    centred = np.where(off, d - d[off].mean(), 0.0)
    squares, rows = grid.centred_moments
    assert squares == pytest.approx((centred**2).sum() / 2)
    assert rows == pytest.approx((centred.sum(axis=1) ** 2).sum(), abs=1e-9)
    mass = np.random.default_rng(0).random(n)
    outer = np.outer(mass, mass)
    assert grid.mean_distance_within(mass) == pytest.approx((outer * d).sum() / outer[off].sum())
    pairs = random_pairs(n, seed=2, keep=keep)
    expected = (d[pairs.first, pairs.second] * pairs.value).sum()
    assert observed(pairs, grid) == pytest.approx(expected)


def test_draws_have_the_closed_form_moments():
    grid = PixelGrid(7, 12)
    pairs = random_pairs(grid.positions, seed=3, keep=0.02)
    draws = null_draws(pairs, grid, 4000, np.random.default_rng(0))
    mean, deviation = null_moments(pairs, grid)
    assert draws.mean() == pytest.approx(mean, abs=4 * deviation / 4000**0.5)
    assert draws.std() == pytest.approx(deviation, rel=0.05)


def test_statistic_does_not_depend_on_how_pairs_are_cut(monkeypatch):
    grid = PixelGrid(5, 6)
    pairs = random_pairs(grid.positions, seed=4)
    whole = observed(pairs, grid)
    monkeypatch.setattr("scratchconv.analysis.mantel._CHUNK", 7)
    assert observed(pairs, grid) == pytest.approx(whole, rel=1e-14)


def test_even_weights_leave_nothing_to_chance():
    grid = PixelGrid(6, 6)
    first, second = np.triu_indices(36, 1)
    even = PairWeights(first, second, np.full(len(first), 1 / len(first)))
    mean, deviation = null_moments(even, grid)
    assert deviation == 0.0
    assert observed(even, grid) == pytest.approx(mean, rel=1e-12)


def test_pair_mass_keeps_its_digits():
    mass = np.array([[0.25, 0.25, 0.5], [1.0, 0.0, 0.0], [1 - 1e-18, 1e-18, 0.0]])
    assert pair_mass(mass) == pytest.approx([0.625, 0.0, 2e-18], rel=1e-12)
