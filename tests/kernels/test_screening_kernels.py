"""The passes that decide which zero weights may return, against their plain twins.

Where every number is a small whole one, float32 holds all sums exactly: kernel and twin must then
agree in every bit, whatever the order of their sums.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scratchconv.kernels import screening
from scratchconv.kernels.sparse_products import in_float32
from scratchconv.kernels.sparse_rows import SparseRows

ORDINARY = settings(deadline=None, max_examples=100)

seeds = st.integers(0, 2**32 - 1)
numbers_of_rows = st.sampled_from([0, 1, 2, 3, 17, 70])
widths = st.sampled_from([1, 2, 31, 32, 33, 63, 256, 257, 300, 512])
specials = st.sampled_from([0.0, 0.002, 0.3])
dtypes = pytest.mark.parametrize("bfloat16", [False, True])


def stored(numbers: np.ndarray, bfloat16: bool) -> np.ndarray:
    """float32 numbers as activations, rounded as torch rounds."""
    if bfloat16:
        return torch.from_numpy(numbers).bfloat16().view(torch.uint16).numpy()
    return numbers


def whole_numbers(
    rng: np.random.Generator, shape: int | tuple[int, int], special: float
) -> np.ndarray:
    """Small whole numbers, a share `special` of them NaN or infinite."""
    numbers = rng.integers(-8, 9, shape).astype(np.float32)
    others = rng.choice(np.array([np.nan, np.inf, -np.inf], np.float32), shape)
    return np.where(rng.random(shape) < special, others, numbers)


@dtypes
@ORDINARY
@given(seeds, numbers_of_rows, st.just(0) | widths, specials)
def test_row_squares_is_its_twin(bfloat16, seed, rows, width, special):
    rng = np.random.default_rng(seed)
    numbers = stored(whole_numbers(rng, (rows, width), special), bfloat16)
    found = screening.row_squares(numbers)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, screening.row_squares_plain(numbers))


@dtypes
@ORDINARY
@given(seeds, numbers_of_rows, widths, specials)
def test_largest_bounds_is_its_twin(bfloat16, seed, rows, width, special):
    rng = np.random.default_rng(seed)
    products = stored(whole_numbers(rng, (rows, width), special), bfloat16)
    # Lengths are not negative.
    factors = (
        np.abs(whole_numbers(rng, size, special * rng.integers(0, 2))) for size in (rows, width)
    )
    row_factors, column_factors = factors
    found = screening.largest_bounds(products, row_factors, column_factors)
    with np.errstate(invalid="ignore"):
        expected = screening.largest_bounds_plain(products, row_factors, column_factors)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)


@dtypes
@ORDINARY
@given(seeds, numbers_of_rows, widths)
def test_squares_and_bounds_of_any_numbers(bfloat16, seed, rows, width):
    rng = np.random.default_rng(seed)
    numbers = stored(rng.normal(size=(rows, width)).astype(np.float32), bfloat16)
    wide = in_float32(numbers).astype(float)
    np.testing.assert_allclose(screening.row_squares(numbers), (wide**2).sum(1), rtol=2e-6)
    row_factors = rng.random(rows).astype(np.float32)
    column_factors = rng.random(width).astype(np.float32)
    found = screening.largest_bounds(numbers, row_factors, column_factors)
    expected = (np.abs(wide) + row_factors[:, None] * column_factors.astype(float)).max(1)
    np.testing.assert_allclose(found, expected, rtol=2.0**-22)


@dtypes
@pytest.mark.parametrize("where", ["products", "row_factors", "column_factors"])
@pytest.mark.parametrize("column", [0, 15, 31, 32, 36])
def test_nan_is_larger_than_anything(bfloat16, where, column):
    operands = {
        "products": np.ones((3, 37), np.float32),
        "row_factors": np.ones(3, np.float32),
        "column_factors": np.ones(37, np.float32),
    }
    operands["products"][:, 20] = np.inf
    place = {"products": (1, column), "row_factors": 1, "column_factors": column}[where]
    operands[where][place] = np.nan
    operands["products"] = stored(operands["products"], bfloat16)
    found = screening.largest_bounds(**operands)
    judged = np.array([where != "column_factors", False, where != "column_factors"])
    np.testing.assert_array_equal(np.isnan(found), ~judged)
    assert (found[judged] == np.inf).all()


@dtypes
def test_infinite_lengths_beside_zero_lengths_cannot_be_judged(bfloat16):
    products = stored(np.zeros((2, 3), np.float32), bfloat16)
    lengths = np.array([np.inf, 1], np.float32), np.array([1, 0, 1], np.float32)
    found = screening.largest_bounds(products, *lengths)
    np.testing.assert_array_equal(found, np.array([np.nan, 1], np.float32))


@dtypes
@ORDINARY
@given(seeds, numbers_of_rows, st.just(0) | widths, specials, st.sampled_from([0, 4, 8, 9]))
def test_at_least_is_its_twin(bfloat16, seed, rows, width, special, bar):
    rng = np.random.default_rng(seed)
    gradient = stored(whole_numbers(rng, (rows, width), special), bfloat16)
    # Whole numbers meet the bars exactly; some rows have another bar, or one that nothing meets.
    bars = np.full(rows, bar, np.float32)
    bars[rng.random(rows) < 0.3] = rng.choice(np.array([np.inf, np.nan, 3, 7.5], np.float32))
    found = screening.at_least(gradient, bars)
    expected = screening.at_least_plain(gradient, bars)
    for mine, theirs, dtype in zip(found, expected, (np.int64, np.int32), strict=True):
        np.testing.assert_array_equal(mine, theirs)
        assert mine.dtype == theirs.dtype == dtype


def test_at_least_by_hand():
    gradient = np.array([[3, -4, 3.9, 0], [0, 0, 0, 0], [np.nan, -np.inf, 1, -1]], np.float32)
    bars = np.array([3.9, 0.1, 1], np.float32)
    rows, columns = screening.at_least(gradient, bars)
    assert rows.tolist() == [0, 0, 2, 2, 2]
    assert columns.tolist() == [1, 2, 1, 2, 3]


@ORDINARY
@given(
    seeds,
    st.sampled_from([1, 2, 3, 17, 70]),
    st.sampled_from([1, 2, 33, 257]),
    st.sampled_from([0.0, 0.02, 0.3, 1.0]),
    st.integers(0, 300),
)
def test_are_stored_knows_every_place(seed, units, features, density, asked):
    rng = np.random.default_rng(seed)
    filled = rng.random((units, features)) < density * (rng.random((units, 1)) < 0.7)
    weight = SparseRows.from_dense(filled.astype(np.float32))
    rows = rng.integers(0, units, asked)
    columns = rng.integers(0, features, asked).astype(np.int32)
    found = screening.are_stored(rows, columns, weight.columns, weight.offsets)
    assert found.dtype == np.bool_
    np.testing.assert_array_equal(found, filled[rows, columns])
    rows, columns = np.indices(filled.shape).reshape(2, -1)
    found = screening.are_stored(rows, columns.astype(np.int32), weight.columns, weight.offsets)
    np.testing.assert_array_equal(found, filled.ravel())


@dtypes
def test_any_number_of_threads(bfloat16):
    rng = np.random.default_rng(1)
    numbers = stored(rng.normal(size=(301, 403)).astype(np.float32), bfloat16)
    row_factors, column_factors = rng.random(301, np.float32), rng.random(403, np.float32)
    weight = SparseRows.from_dense((rng.random((301, 403)) < 0.2).astype(np.float32))
    bars = np.full(301, 1.0, np.float32)
    results = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            rows, columns = screening.at_least(numbers, bars)
            results.append(
                [
                    screening.row_squares(numbers),
                    screening.largest_bounds(numbers, row_factors, column_factors),
                    *(rows, columns),
                    screening.are_stored(rows, columns, weight.columns, weight.offsets),
                ]
            )
    finally:
        torch.set_num_threads(before)
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)
    assert rows.size > 2**15


@pytest.mark.parametrize("samples", [1, 31, 32, 33, 300])
@pytest.mark.parametrize("bfloat16", [False, True])
def test_levels_and_what_they_lose(samples, bfloat16):
    rng = np.random.default_rng(samples)
    wide = rng.standard_normal((7, samples)).astype(np.float32) * rng.lognormal(size=(7, 1))
    wide[3] = 0
    rows = wide.astype(np.float32)
    if bfloat16:
        rows = torch.from_numpy(rows).bfloat16().view(torch.uint16).numpy()
    found, plain = screening.quantised(rows), screening.quantised_plain(rows)
    assert (found.levels == plain.levels).all()
    assert np.abs(found.levels.astype(int)).max() == 127
    exact = in_float32(rows).astype(float)
    stands_for = found.levels.astype(float) * found.scales[:, None].astype(float)
    np.testing.assert_allclose(found.kept, np.linalg.norm(stands_for, axis=1), rtol=1e-5)
    np.testing.assert_allclose(
        found.lost, np.linalg.norm(exact - stands_for, axis=1), rtol=1e-3, atol=1e-6
    )
    assert (found.lengths * (1 + 1e-5) >= np.linalg.norm(exact, axis=1)).all()
    some = found.rows(slice(2, 5))
    assert (some.levels == found.levels[2:5]).all()
    assert (some.lost == found.lost[2:5]).all()


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_levels_of_a_row_that_is_not_finite_bound_nothing(wrong):
    rows = np.ones((3, 40), np.float32)
    rows[1, 5] = wrong
    units = screening.quantised(rows)
    assert np.isnan(units.lost[1])
    assert np.isfinite(units.lost[[0, 2]]).all()
    found, _ = screening.may_reach(np.zeros((3, 3), np.int32), units, units, 1e9)
    assert set(found) == {0, 1, 2}  # row 1 with every column, every row with column 1


@given(st.integers(0, 10_000), st.sampled_from([1, 5, 64, 130]), st.floats(0.05, 4))
@settings(deadline=None, max_examples=60)
def test_no_product_that_reaches_the_bar_is_missed(seed, samples, bar):
    rng = np.random.default_rng(seed)
    x = rng.standard_t(2, (9, samples)).astype(np.float32)
    y = rng.standard_t(2, (13, samples)).astype(np.float32)
    units, features = screening.quantised(x), screening.quantised(y)
    products = units.levels.astype(np.int32) @ features.levels.astype(np.int32).T
    found = screening.may_reach(products, units, features, bar * (1 - 2**-12))
    plain = screening.may_reach_plain(products, units, features, bar * (1 - 2**-12))
    exact = x.astype(float) @ y.astype(float).T
    reached = set(zip(*np.nonzero(np.abs(exact) >= bar), strict=True))
    assert reached <= set(zip(*found, strict=True))
    # One may see the last bits of a bound where the other does not.
    assert len(set(zip(*found, strict=True)) ^ set(zip(*plain, strict=True))) <= 1


def test_few_products_that_stay_below_the_bar_are_found():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 200, 256)).astype(np.float32)
    units, features = screening.quantised(x), screening.quantised(y)
    products = units.levels.astype(np.int32) @ features.levels.astype(np.int32).T
    found, _ = screening.may_reach(products, units, features, 60.0)
    exact = np.abs(x @ y.T)
    assert 0 < (exact >= 60).sum() <= len(found) <= (exact >= 45).sum()
