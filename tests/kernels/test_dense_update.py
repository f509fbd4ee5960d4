"""The fused step on rows of a dense weight against its plain twin, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scratchconv.kernels import dense_update
from scratchconv.kernels.sparse_products import in_float32

# Values that meet the threshold 0.5 exactly for some of the rules below, and every special one.
SPECIAL = [0.0, -0.0, 0.5, -0.5, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 3e38, -3e38]
NOTHING = np.empty((0, 0), np.uint16)

shapes = st.tuples(
    st.sampled_from([0, 1, 2, 3, 17, 70]),
    st.sampled_from([0, 1, 2, 15, 31, 32, 33, 63, 257]),
)
rules = st.tuples(
    st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    st.sampled_from([0.0, 1e-4, 0.01, 1.0]),
    st.sampled_from([0.0, 5e-3, 0.5]),
).map(lambda rule: tuple(np.float32(number) for number in rule))
dtypes = pytest.mark.parametrize("bfloat16", [False, True])


def bits_of(numbers: np.ndarray) -> np.ndarray:
    """bfloat16 patterns of float32 numbers, as torch rounds them."""
    return torch.from_numpy(numbers).bfloat16().view(torch.uint16).numpy()


def random_numbers(rng: np.random.Generator, shape: tuple[int, int], special: float) -> np.ndarray:
    """float32, a share `special` of them taken from SPECIAL."""
    others = rng.choice(np.array(SPECIAL, np.float32), shape)
    return np.where(rng.random(shape) < special, others, rng.normal(size=shape)).astype(np.float32)


def assert_same_bits(one: np.ndarray, other: np.ndarray) -> None:
    """Equal bit for bit, but for the payload of NaNs, which no arithmetic promises."""
    nan = np.isnan(one)
    np.testing.assert_array_equal(nan, np.isnan(other))
    np.testing.assert_array_equal(one.view(np.uint32)[~nan], other.view(np.uint32)[~nan])


@dtypes
@pytest.mark.parametrize("with_copy", [False, True])
@settings(deadline=None, max_examples=80)
@given(st.integers(0, 2**32 - 1), shapes, rules, st.sampled_from([0.0, 0.1, 1.0]))
def test_update_rows_is_its_twin(bfloat16, with_copy, seed, shape, rule, special):
    rng = np.random.default_rng(seed)
    theta = random_numbers(rng, shape, special)
    gradient = random_numbers(rng, shape, special)
    gradient = bits_of(gradient) if bfloat16 else gradient
    expected, left = theta.copy(), np.full(shape[0], -1)
    with np.errstate(all="ignore"):
        dense_update.update_rows_plain(expected, NOTHING, gradient, *rule, left)
    copy = np.full(shape, 7, np.uint16) if with_copy else NOTHING
    nonzero = np.full(shape[0], -1)
    dense_update.update_rows(theta, copy, gradient, *rule, nonzero)
    assert_same_bits(theta, expected)
    np.testing.assert_array_equal(nonzero, left)
    np.testing.assert_array_equal(nonzero, np.count_nonzero(theta, axis=1))
    if with_copy:
        assert_same_bits(in_float32(copy), in_float32(bits_of(theta)))


def test_a_step_by_hand():
    theta = np.array([[2, -2, 0, 0], [1, -1, 0.75, 0]], np.float32)
    gradient = np.array([[1, 1, 4, 0], [0, 0, 0, 1]], np.float32)
    copy, nonzero = np.empty((2, 4), np.uint16), np.empty(2, np.int64)
    rule = np.float32(0.5), np.float32(1), np.float32(0.5)
    dense_update.update_rows(theta, copy, gradient, *rule, nonzero)
    # What has come down to the threshold stays; what is below it goes.
    assert theta.tolist() == [[1, -2, -2, 0], [0.5, -0.5, 0, -0.5]]
    assert nonzero.tolist() == [3, 3]
    np.testing.assert_array_equal(in_float32(copy), theta)


def test_the_copy_rounds_as_torch_does():
    rng = np.random.default_rng(0)
    theta = (rng.normal(size=(100, 200)) * np.logspace(-30, 30, 200)).astype(np.float32)
    theta[:, ::2] = in_float32(bits_of(theta[:, ::2].copy()))
    # Half way between two neighbours: ties go to the even one.
    theta.view(np.uint32)[:, ::4] |= 0x8000
    none, before = np.float32(0), theta.copy()
    copy, nonzero = np.empty(theta.shape, np.uint16), np.empty(100, np.int64)
    dense_update.update_rows(theta, copy, np.zeros_like(theta), none, none, none, nonzero)
    np.testing.assert_array_equal(theta, before)
    np.testing.assert_array_equal(copy, bits_of(theta))


@dtypes
def test_some_rows_alone(bfloat16):
    rng = np.random.default_rng(1)
    theta, gradient = rng.normal(size=(2, 9, 40)).astype(np.float32)
    gradient = bits_of(gradient) if bfloat16 else gradient
    copy, nonzero = bits_of(theta), np.full(9, -1)
    before, copied = theta.copy(), copy.copy()
    rule = np.float32(0.5), np.float32(0.1), np.float32(0.3)
    dense_update.update_rows(theta[3:5], copy[3:5], gradient[3:5], *rule, nonzero[3:5])
    others = [0, 1, 2, 5, 6, 7, 8]
    np.testing.assert_array_equal(theta[others], before[others])
    np.testing.assert_array_equal(copy[others], copied[others])
    assert (nonzero[others] == -1).all()
    dense_update.update_rows_plain(before[3:5], NOTHING, gradient[3:5], *rule, nonzero[3:5])
    assert_same_bits(theta[3:5], before[3:5])


@dtypes
def test_any_number_of_threads(bfloat16):
    rng = np.random.default_rng(2)
    start, gradient = rng.normal(size=(2, 257, 401)).astype(np.float32)
    gradient = bits_of(gradient) if bfloat16 else gradient
    rule = np.float32(0.1), np.float32(0.01), np.float32(0.3)
    expected, left = start.copy(), np.empty(257, np.int64)
    dense_update.update_rows_plain(expected, NOTHING, gradient, *rule, left)
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            theta, copy = start.copy(), np.empty(start.shape, np.uint16)
            nonzero = np.empty(257, np.int64)
            dense_update.update_rows(theta, copy, gradient, *rule, nonzero)
            assert_same_bits(theta, expected)
            np.testing.assert_array_equal(copy, bits_of(theta))
            np.testing.assert_array_equal(nonzero, left)
    finally:
        torch.set_num_threads(before)
    assert 0 < left.sum() < start.size
