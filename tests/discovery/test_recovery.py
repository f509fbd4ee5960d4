"""Measures of recovery, on what is known to be recovered or lost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from scratchconv.discovery.recovery import (
    edge_recovery,
    procrustes_error,
    rank_correlation,
    true_grid_edges,
)
from scratchconv.errors import InvalidArgument


def test_edges_count_once_in_either_direction():
    found = edge_recovery([[1, 0], [0, 1], [5, 6]], [[0, 1], [1, 2], [2, 3], [3, 4]])
    assert (found.precision, found.recall) == (0.5, 0.25)
    nothing = edge_recovery(np.zeros((0, 2)), [[0, 1]])
    assert (nothing.precision, nothing.recall) == (1.0, 0.0)


@given(st.integers(1, 6), st.integers(1, 6))
def test_grid_edges_are_the_pairs_at_distance_one(h, w):
    cells = np.stack(np.divmod(np.arange(h * w), w), axis=1)
    near = np.argwhere(np.triu(cdist(cells, cells) == 1))
    assert {tuple(e) for e in true_grid_edges(h, w).tolist()} == {tuple(e) for e in near.tolist()}


def test_a_ring_is_a_closed_line():
    assert len(true_grid_edges(7, closed=True)) == len(true_grid_edges(7)) + 1 == 7


@given(st.integers(0, 2**16), st.floats(0.1, 10))
def test_procrustes_forgives_all_that_no_data_can_tell(seed, scale):
    rng = np.random.default_rng(seed)
    true = rng.normal(size=(12, 2))
    turn, _ = np.linalg.qr(rng.normal(size=(2, 2)))
    assert procrustes_error(scale * true @ turn + 5, true) == pytest.approx(0, abs=1e-9)
    assert 0 < procrustes_error(rng.normal(size=(12, 2)), true) <= 1


def test_what_has_no_place_is_left_out():
    true = np.array([[0.0], [1], [2], [3]])
    found = np.array([[3.0], [np.nan], [1], [0]])
    assert procrustes_error(found, true) == pytest.approx(0, abs=1e-12)
    assert rank_correlation(cdist(found, found), cdist(true, true)) == pytest.approx(1)
    assert np.isnan(rank_correlation(np.full((4, 4), np.nan), cdist(true, true)))
    assert procrustes_error(np.zeros((4, 1)), true) == 1


def test_bad_input_is_named():
    with pytest.raises(InvalidArgument, match="shape"):
        edge_recovery([[0, 1, 2]], [[0, 1]])
    with pytest.raises(InvalidArgument, match="shape"):
        true_grid_edges(0, 3)
    with pytest.raises(InvalidArgument, match="do not fit"):
        rank_correlation(np.zeros((2, 2)), np.zeros((3, 3)))
    with pytest.raises(InvalidArgument, match="do not fit"):
        procrustes_error(np.zeros((2, 2)), np.zeros((3, 2)))
    with pytest.raises(InvalidArgument, match="give no more"):
        procrustes_error(np.zeros((3, 2)), np.zeros((3, 1)))
