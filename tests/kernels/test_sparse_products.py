"""The products of sparse training against their plain twins.

Where every number is a small multiple of 1/8, float32 holds all sums exactly: kernel and twin must
then agree in every bit, whatever the order of their sums.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scratchconv.kernels import sparse_gradients, sparse_products
from scratchconv.kernels.sparse_products import in_float32
from scratchconv.kernels.sparse_rows import SparseRows

ORDINARY = settings(deadline=None, max_examples=100)

problems = st.tuples(
    st.integers(0, 2**32 - 1),
    st.sampled_from([1, 2, 3, 5, 17, 70]),  # units
    st.sampled_from([1, 2, 3, 4, 7, 33, 90]),  # features
    st.sampled_from([0.0, 0.02, 0.3, 1.0]),  # density
)
samples_of_a_batch = st.sampled_from([0, 1, 31, 32, 33, 63, 64, 256, 257, 300, 512])
# Learning rate, λ and threshold; the thresholds are met exactly by many weights.
rules = st.tuples(
    st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    st.sampled_from([0.0, 0.25, 1.0]),
    st.sampled_from([0.0, 0.5, 2.0, 64.0]),
).map(lambda rule: tuple(np.float32(number) for number in rule))
dtypes = pytest.mark.parametrize("bfloat16", [False, True])


def stored(numbers: np.ndarray, bfloat16: bool) -> np.ndarray:
    """float32 numbers as activations, rounded as torch rounds."""
    if bfloat16:
        return torch.from_numpy(numbers).bfloat16().view(torch.uint16).numpy()
    return numbers


def whole_numbers(
    rng: np.random.Generator, shape: tuple[int, int], special: float = 0.0
) -> np.ndarray:
    """Small whole numbers, a share `special` of them NaN or infinite."""
    numbers = rng.integers(-8, 9, shape).astype(np.float32)
    others = rng.choice(np.array([np.nan, np.inf, -np.inf], np.float32), shape)
    return np.where(rng.random(shape) < special, others, numbers)


def random_weight(
    rng: np.random.Generator, units: int, features: int, density: float, zeros: float = 0.2
) -> SparseRows:
    """Multiples of 1/8; some rows are empty, and a share `zeros` of what is stored is zero."""
    filled = rng.random((units, features)) < density * (rng.random((units, 1)) < 0.9)
    weight = SparseRows.from_dense(filled.astype(np.float32))
    values = rng.integers(1, 33, weight.stored) * rng.choice([-0.125, 0.125], weight.stored)
    values[rng.random(weight.stored) < zeros] = 0
    return weight.with_values(values.astype(np.float32))


def places_of(weight: SparseRows) -> tuple[np.ndarray, np.ndarray]:
    """Unit and feature of every stored weight."""
    return weight.unit_of_each, weight.columns


@dtypes
@ORDINARY
@given(problems, samples_of_a_batch, st.sampled_from([0.0, 0.02]))
def test_input_gradient_is_its_twin(bfloat16, problem, samples, special):
    seed, units, features, density = problem
    rng = np.random.default_rng(seed)
    weight = random_weight(rng, units, features, density)
    gradient = stored(whole_numbers(rng, (units, samples), special), bfloat16)
    out = stored(np.full((features, samples), 7, np.float32), bfloat16)
    sparse_products.input_gradient(weight, gradient, out)
    with np.errstate(invalid="ignore"):
        expected = sparse_products.input_gradient_plain(weight, gradient)
    np.testing.assert_array_equal(in_float32(out), in_float32(stored(expected, bfloat16)))


@dtypes
@ORDINARY
@given(problems, samples_of_a_batch)
def test_input_gradient_of_any_numbers(bfloat16, problem, samples):
    seed, units, features, density = problem
    rng = np.random.default_rng(seed)
    weight = random_weight(rng, units, features, density)
    weight = weight.with_values(rng.normal(size=weight.stored).astype(np.float32))
    gradient = stored(rng.normal(size=(units, samples)).astype(np.float32), bfloat16)
    out = stored(np.empty((features, samples), np.float32), bfloat16)
    sparse_products.input_gradient(weight, gradient, out)
    dense, wide = weight.to_dense().astype(float), in_float32(gradient).astype(float)
    expected, terms = dense.T @ wide, np.abs(dense.T) @ np.abs(wide)
    nearest = 2.0**-8 * np.abs(expected) if bfloat16 else 0
    assert (np.abs(in_float32(out) - expected) <= nearest + 1e-5 * terms).all()


@dtypes
def test_subnormal_input_gradients_become_zero(bfloat16):
    weight = SparseRows.from_dense(np.array([[2e-20, -2e-20, 1e-18, -1e-18]], np.float32))
    # One sample in the pairs of 32 and one behind them.
    gradient = stored(np.full((1, 33), 2.0**-63, np.float32), bfloat16)
    out = stored(np.ones((4, 33), np.float32), bfloat16)
    sparse_products.input_gradient(weight, gradient, out)
    found = in_float32(out)
    assert (found[:2] == 0).all()
    np.testing.assert_allclose(found[2], 1e-18 * 2.0**-63, rtol=2**-8)
    np.testing.assert_array_equal(found[3], -found[2])


@dtypes
@ORDINARY
@given(problems, samples_of_a_batch, rules, st.booleans(), st.sampled_from([0.0, 0.002]))
def test_update_nonzeros_is_its_twin(bfloat16, problem, samples, rule, zeros_return, special):
    seed, units, features, density = problem
    rng = np.random.default_rng(seed)
    expected = random_weight(rng, units, features, density)
    inputs = stored(whole_numbers(rng, (features, samples), special), bfloat16)
    gradient = stored(whole_numbers(rng, (units, samples), special), bfloat16)
    found = expected.with_values(expected.values.copy())
    alive = sparse_gradients.update_nonzeros(found, inputs, gradient, *rule, zeros_return)
    with np.errstate(invalid="ignore"):
        alive_plain = sparse_gradients.update_nonzeros_plain(
            expected, inputs, gradient, *rule, zeros_return
        )
    np.testing.assert_array_equal(found.values, expected.values)
    assert alive == alive_plain == np.count_nonzero(found.values)


def test_a_step_by_hand():
    weight = SparseRows(
        np.array([4, -4, 0, 1, -1, 0], np.float32),
        np.array([0, 1, 2, 0, 1, 2], np.int32),
        np.array([0, 3, 3, 6]),
        features=3,
    )
    inputs = np.array([[1.0], [2.0], [4.0]], np.float32)
    gradient = np.array([[1.0], [9.0], [0.0]], np.float32)
    rule = np.float32(0.5), np.float32(1), np.float32(0.5)
    alive = sparse_gradients.update_nonzeros(weight, inputs, gradient, *rule)
    # 4 − ½(1 + 1); −4 − ½(2 − 1); 0 − ½ · 4; 1 − ½, which is not below the threshold.
    assert weight.values.tolist() == [3, -4.5, -2, 0.5, -0.5, 0]
    assert alive == 5


@dtypes
def test_zeros_that_may_not_return(bfloat16):
    rng = np.random.default_rng(0)
    weight = random_weight(rng, 6, 20, 1.0, zeros=0.5)
    zero = weight.values == 0
    inputs = stored(np.full((20, 40), np.nan, np.float32), bfloat16)
    gradient = stored(np.ones((6, 40), np.float32), bfloat16)
    rule = np.float32(0.1), np.float32(0.1), np.float32(0.1)
    alive = sparse_gradients.update_nonzeros(weight, inputs, gradient, *rule, zeros_return=False)
    assert (weight.values[zero] == 0).all()
    assert np.isnan(weight.values[~zero]).all()
    assert alive == np.count_nonzero(~zero)


@dtypes
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("sample", [0, 31, 32])
def test_what_is_not_finite_reaches_the_weights_that_read_it(bfloat16, wrong, sample):
    weight = random_weight(np.random.default_rng(1), 5, 9, 1.0, zeros=0.0)
    units, features = places_of(weight)
    inputs, gradient = np.ones((9, 33), np.float32), np.ones((5, 33), np.float32)
    inputs[4, sample], gradient[2, sample] = wrong, wrong
    rule = np.float32(0.5), np.float32(0.1), np.float32(1e30)
    rows = stored(inputs, bfloat16), stored(gradient, bfloat16)
    sparse_gradients.update_nonzeros(weight, *rows, *rule)
    assert np.array_equal(~np.isfinite(weight.values), (units == 2) | (features == 4))
    assert (weight.values[np.isfinite(weight.values)] == 0).all()


@dtypes
@ORDINARY
@given(problems, samples_of_a_batch, st.sampled_from([0.0, 0.002]))
def test_stored_gradients_is_its_twin(bfloat16, problem, samples, special):
    seed, units, features, density = problem
    rng = np.random.default_rng(seed)
    weight = random_weight(rng, units, features, density)
    inputs = stored(whole_numbers(rng, (features, samples), special), bfloat16)
    gradient = stored(whole_numbers(rng, (units, samples), special), bfloat16)
    found = sparse_gradients.stored_gradients(weight, inputs, gradient)
    with np.errstate(invalid="ignore"):
        expected = sparse_gradients.stored_gradients_plain(weight, inputs, gradient)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)


@dtypes
@ORDINARY
@given(problems, samples_of_a_batch, st.sampled_from([0.0, 0.002]), st.integers(0, 200))
def test_gradients_at_is_its_twin(bfloat16, problem, samples, special, places):
    seed, units, features, _ = problem
    rng = np.random.default_rng(seed)
    inputs = stored(whole_numbers(rng, (features, samples), special), bfloat16)
    gradient = stored(whole_numbers(rng, (units, samples), special), bfloat16)
    # In any order, some places more than once.
    at = rng.integers(0, units, places), rng.integers(0, features, places).astype(np.int32)
    found = sparse_gradients.gradients_at(*at, inputs, gradient)
    with np.errstate(invalid="ignore"):
        expected = sparse_gradients.gradients_at_plain(*at, inputs, gradient)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)


@dtypes
@ORDINARY
@given(problems, samples_of_a_batch)
def test_it_makes_no_difference_to_a_zero_whether_it_is_stored(bfloat16, problem, samples):
    seed, units, features, density = problem
    rng = np.random.default_rng(seed)
    weight = random_weight(rng, units, features, density, zeros=1.0)
    inputs = stored(rng.normal(size=(features, samples)).astype(np.float32), bfloat16)
    gradient = stored(rng.normal(size=(units, samples)).astype(np.float32), bfloat16)
    at = places_of(weight)
    slopes = sparse_gradients.gradients_at(*at, inputs, gradient)
    found = sparse_gradients.stored_gradients(weight, inputs, gradient)
    np.testing.assert_array_equal(found, slopes)
    one, none = np.float32(1), np.float32(0)
    sparse_gradients.update_nonzeros(weight, inputs, gradient, one, none, none)
    np.testing.assert_array_equal(weight.values, -slopes)
    order = rng.permutation(slopes.size)
    shuffled = sparse_gradients.gradients_at(at[0][order], at[1][order], inputs, gradient)
    np.testing.assert_array_equal(shuffled, slopes[order])
    wide = in_float32(inputs).astype(float)[at[1]], in_float32(gradient).astype(float)[at[0]]
    terms = np.abs(wide[0] * wide[1]).sum(1)
    assert (np.abs(slopes - (wide[0] * wide[1]).sum(1)) <= 1e-5 * terms).all()


@dtypes
@pytest.mark.parametrize("samples", [32, 300])
def test_any_number_of_threads(bfloat16, samples):
    rng = np.random.default_rng(2)
    weight = random_weight(rng, 200, 150, 0.4)
    weight = weight.with_values(rng.normal(size=weight.stored).astype(np.float32))
    inputs = stored(rng.normal(size=(150, samples)).astype(np.float32), bfloat16)
    gradient = stored(rng.normal(size=(200, samples)).astype(np.float32), bfloat16)
    rule = np.float32(0.1), np.float32(0.01), np.float32(0.5)
    results = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            out = stored(np.empty((150, samples), np.float32), bfloat16)
            sparse_products.input_gradient(weight, gradient, out)
            moved = weight.with_values(weight.values.copy())
            alive = sparse_gradients.update_nonzeros(moved, inputs, gradient, *rule)
            slopes = sparse_gradients.gradients_at(*places_of(weight), inputs, gradient)
            stored_slopes = sparse_gradients.stored_gradients(weight, inputs, gradient)
            results.append((out, moved.values, alive, slopes, stored_slopes))
    finally:
        torch.set_num_threads(before)
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)
    assert 0 < results[0][2] < weight.stored


@dtypes
def test_a_matrix_without_units_or_features(bfloat16):
    for units, features in ((0, 3), (3, 0), (0, 0)):
        weight = SparseRows.from_dense(np.zeros((units, features), np.float32))
        inputs = stored(np.ones((features, 33), np.float32), bfloat16)
        gradient = stored(np.ones((units, 33), np.float32), bfloat16)
        out = stored(np.ones((features, 33), np.float32), bfloat16)
        sparse_products.input_gradient(weight, gradient, out)
        assert (out == 0).all()
        rule = np.float32(0.1), np.float32(0.1), np.float32(0.1)
        assert sparse_gradients.update_nonzeros(weight, inputs, gradient, *rule) == 0
        assert sparse_gradients.gradients_at(*places_of(weight), inputs, gradient).size == 0
        assert sparse_gradients.stored_gradients(weight, inputs, gradient).size == 0
