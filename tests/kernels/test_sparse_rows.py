"""`SparseRows` against scipy's matrices and against the dense arrays they stand for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from scratchconv.errors import InvalidArgument
from scratchconv.kernels.sparse_rows import SparseRows

ORDINARY = settings(deadline=None, max_examples=80)

problems = st.tuples(
    st.integers(0, 2**32 - 1),
    st.sampled_from([0, 1, 2, 3, 17, 63, 64, 65, 130]),  # units
    st.sampled_from([0, 1, 2, 7, 33, 90]),  # features
    st.sampled_from([0.0, 0.02, 0.3, 1.0]),
)


def random_dense(seed: int, units: int, features: int, density: float) -> np.ndarray:
    """Some rows are empty whatever the density."""
    rng = np.random.default_rng(seed)
    filled = rng.random((units, features)) < density * (rng.random((units, 1)) < 0.8)
    return np.where(filled, rng.normal(size=filled.shape), 0).astype(np.float32)


def some_zeroed(rows: SparseRows, seed: int, share: float) -> SparseRows:
    """The same places, some of the values zero."""
    dies = np.random.default_rng(seed).random(rows.stored) < share
    return rows.with_values(np.where(dies, np.float32(0), rows.values))


def assert_same(found: SparseRows, expected: SparseRows) -> None:
    for name in ("values", "columns", "offsets"):
        mine, theirs = getattr(found, name), getattr(expected, name)
        np.testing.assert_array_equal(mine, theirs)
        assert mine.dtype == theirs.dtype
    assert (found.units, found.features) == (expected.units, expected.features)


@ORDINARY
@given(problems)
def test_from_dense_is_what_scipy_makes(problem):
    dense = random_dense(*problem)
    rows, expected = SparseRows.from_dense(dense), sparse.csr_matrix(dense)
    np.testing.assert_array_equal(rows.values, expected.data)
    np.testing.assert_array_equal(rows.columns, expected.indices)
    np.testing.assert_array_equal(rows.offsets, expected.indptr)
    dtypes = [array.dtype for array in (rows.values, rows.columns, rows.offsets)]
    assert dtypes == [np.float32, np.int32, np.int64]
    assert (rows.units, rows.features) == dense.shape
    assert rows.stored == np.count_nonzero(dense)
    assert rows.longest_row == np.count_nonzero(dense, axis=1).max(initial=0)


@ORDINARY
@given(problems, st.sampled_from([0.0, 0.3, 1.0]))
def test_to_dense_is_the_way_back(problem, share):
    dense = random_dense(*problem)
    np.testing.assert_array_equal(SparseRows.from_dense(dense).to_dense(), dense)
    rows = some_zeroed(SparseRows.from_dense(dense), problem[0], share)
    expected = dense.copy()
    expected[dense != 0] = rows.values
    out = np.full(dense.shape, np.nan, np.float32)
    assert rows.to_dense(out) is out
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize(
    "view",
    [
        lambda dense: dense.T,
        lambda dense: dense[::2, ::-1],
        np.asfortranarray,
        lambda dense: np.broadcast_to(dense[:1], dense.shape),
    ],
)
def test_from_dense_takes_any_strides(view):
    dense = view(random_dense(1, 12, 9, 0.4))
    np.testing.assert_array_equal(SparseRows.from_dense(dense).to_dense(), dense)


def test_what_counts_as_zero():
    dense = np.array([[-0.0, np.nan, 0], [np.inf, 1e-45, -0.0]], np.float32)
    rows = SparseRows.from_dense(dense)
    assert rows.columns.tolist() == [1, 0, 1]
    np.testing.assert_array_equal(rows.to_dense(), dense)


@ORDINARY
@given(problems, st.sampled_from([0.0, 0.3, 1.0]))
def test_without_zeros_stores_what_from_dense_does(problem, share):
    rows = some_zeroed(SparseRows.from_dense(random_dense(*problem)), problem[0], share)
    assert_same(rows.without_zeros(), SparseRows.from_dense(rows.to_dense()))


@ORDINARY
@given(problems, st.sampled_from([0.0, 0.3, 1.0]), st.sampled_from([0.0, 0.1, 1.0]))
def test_with_more_stores_what_from_dense_does(problem, share, added):
    dense = random_dense(*problem)
    rows = some_zeroed(SparseRows.from_dense(dense), problem[0], share)
    rng = np.random.default_rng(problem[0])
    units, features = np.nonzero((dense == 0) & (rng.random(dense.shape) < added))
    order = rng.permutation(units.size)
    units, features = units[order], features[order].astype(np.int32)
    values = (1 + rng.random(units.size)).astype(np.float32)
    expected = rows.to_dense()
    expected[units, features] = values
    stored_before = rows.values.copy()
    assert_same(rows.with_more(units, features, values), SparseRows.from_dense(expected))
    np.testing.assert_array_equal(rows.values, stored_before)


@ORDINARY
@given(problems, st.sampled_from([0.0, 0.3]))
def test_by_column_is_the_order_of_csc(problem, share):
    rows = some_zeroed(SparseRows.from_dense(random_dense(*problem)), problem[0], share)
    arrays = (rows.values, rows.columns, rows.offsets)
    expected = sparse.csr_matrix(arrays, shape=(rows.units, rows.features)).tocsc()
    index = rows.by_column
    np.testing.assert_array_equal(rows.values[index.positions], expected.data)
    np.testing.assert_array_equal(index.rows, expected.indices)
    np.testing.assert_array_equal(index.offsets, expected.indptr)
    np.testing.assert_array_equal(np.sort(index.positions), np.arange(rows.stored))
    dtypes = [array.dtype for array in (index.positions, index.rows, index.offsets)]
    assert dtypes == [np.int32, np.int32, np.int64]


@ORDINARY
@given(problems)
def test_blocks_cover_everything_and_share_the_work(problem):
    rows = SparseRows.from_dense(random_dense(*problem))
    longest_column = np.diff(rows.by_column.offsets).max(initial=0)
    for blocks, offsets, longest in (
        (rows.blocks, rows.offsets, rows.longest_row),
        (rows.by_column.blocks, rows.by_column.offsets, longest_column),
    ):
        assert blocks[0] == 0
        assert blocks[-1] == offsets.size - 1
        assert (np.diff(blocks) >= 0).all()
        # Each row counts as four non-zeros more than it has, and is never cut.
        fair = (rows.stored + 4 * (offsets.size - 1)) / (blocks.size - 1)
        work = np.diff((offsets + 4 * np.arange(offsets.size))[blocks])
        assert work.max() <= fair + longest + 4 + 1e-6


def test_work_that_lies_in_few_rows_is_shared():
    dense = np.zeros((500, 50), np.float32)
    dense[100:110] = 1
    rows = SparseRows.from_dense(dense)
    assert np.diff(rows.offsets[rows.blocks]).max() <= 50
    columns = SparseRows.from_dense(np.ascontiguousarray(dense.T)).by_column
    assert np.diff(columns.offsets[columns.blocks]).max() <= 50


def test_other_values_keep_what_was_made_of_the_places():
    rows = SparseRows.from_dense(random_dense(2, 20, 10, 0.5))
    fresh = rows.with_values(-rows.values)
    np.testing.assert_array_equal(fresh.by_column.positions, rows.by_column.positions)
    index, blocks = rows.by_column, rows.blocks
    other = rows.with_values(2 * rows.values)
    assert other.by_column is index
    assert other.blocks is blocks
    assert other.longest_row == rows.longest_row
    np.testing.assert_array_equal(other.to_dense(), 2 * rows.to_dense())


def test_any_number_of_threads():
    dense = random_dense(3, 701, 403, 0.1)
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            rows = SparseRows.from_dense(dense)
            np.testing.assert_array_equal(rows.values, dense[dense != 0])
            np.testing.assert_array_equal(rows.to_dense(), dense)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("shape", [(2**31, 1), (1, 2**31)])
def test_sizes_that_an_index_cannot_hold_are_refused(shape):
    with pytest.raises(InvalidArgument, match=f"{shape[0]} × {shape[1]} is too large"):
        SparseRows.from_dense(np.broadcast_to(np.float32(1), shape))
