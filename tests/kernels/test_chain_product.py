"""Chains of sparse layers against their plain twin and against sums written out, bit for bit."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scratchconv.errors import InvalidArgument
from scratchconv.kernels import chain_product as kernels
from scratchconv.kernels.chain_product import chain_product, chain_product_plain, plan
from scratchconv.kernels.csr_chain import ChainLayer, CSRChain, Reading
from scratchconv.kernels.csr_matrix import CSRMatrix
from scratchconv.kernels.tiles import choose


def random_chain(seed: int, sizes: list[int], density: float) -> CSRChain:
    rng = np.random.default_rng(seed)
    layers = []
    for number, (features, units) in enumerate(pairwise(sizes)):
        dense = rng.normal(size=(units, features)) * (rng.random((units, features)) < density)
        bias = rng.normal(size=units).astype(np.float32)
        layers.append(ChainLayer(CSRMatrix.from_dense(dense), bias, number % 2 == 0))
    return CSRChain(layers)


def random_reading(seed: int, read: int, features: int) -> Reading:
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(features, read, replace=False)).astype(np.int32)
    scale, shift = rng.normal(size=(2, read)).astype(np.float32)
    return Reading(chosen, scale, shift, features)


def written_out(chain: CSRChain, rows: np.ndarray, reading: Reading) -> np.ndarray:
    """One sum after the other, each step rounded to float32."""
    x = choose(rows, *reading.arrays)
    for matrix, bias, relu in chain.layers:
        outputs = np.empty((len(x), matrix.rows), np.float32)
        for unit in range(matrix.rows):
            total = np.full(len(x), bias[unit], np.float32)
            for k in range(matrix.offsets[unit], matrix.offsets[unit + 1]):
                total = total + matrix.values[k] * x[:, matrix.columns[k]]
            outputs[:, unit] = np.maximum(total, np.float32(0)) if relu else total
        x = outputs
    return x


@contextmanager
def setting(threads: int, *, share_from: int | None = None) -> Iterator[None]:
    """So many threads, used from so many products on."""
    before = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        if share_from is not None:
            patch.setattr(kernels, "_SHARED_TILES", share_from)
            patch.setattr(kernels, "_SHARED_ROWS", share_from)
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)


sizes = st.lists(st.sampled_from([0, 1, 2, 3, 7, 17, 70]), min_size=2, max_size=5)


@settings(deadline=None, max_examples=100)
@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=sizes,
    density=st.sampled_from([0.0, 0.05, 0.3, 1.0]),
    samples=st.sampled_from([0, 1, 2, 3, 5, 8, 9, 16, 17, 33, 64, 65, 130]),
    more=st.integers(0, 5),
    as_bytes=st.booleans(),
    threads=st.integers(1, 2),
)
def test_is_the_sums_written_out(seed, sizes, density, samples, more, as_bytes, threads):
    chain = random_chain(seed, sizes, density)
    reading = random_reading(seed, sizes[0], sizes[0] + more)
    rows = np.random.default_rng(seed).normal(size=(samples, sizes[0] + more)).astype(np.float32)
    if as_bytes:
        rows = (50 * rows).astype(np.int8).view(np.uint8)
    with setting(threads, share_from=0):
        found = chain_product(chain, rows, reading)
    np.testing.assert_array_equal(found, written_out(chain, rows, reading))
    plain = chain_product_plain(chain, rows, reading)
    scale = max(1.0, np.abs(plain).max(initial=0))
    np.testing.assert_allclose(found, plain, rtol=0, atol=2e-5 * scale)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    samples=st.integers(0, 9),
    features=st.integers(0, 20),
    as_bytes=st.booleans(),
)
def test_what_is_chosen_is_scaled_and_shifted(seed, samples, features, as_bytes):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(samples, features)).astype(np.float32)
    if as_bytes:
        rows = (50 * rows).astype(np.int8).view(np.uint8)
    read, scale, shift = random_reading(seed, features // 2, features).arrays
    found = choose(rows, read, scale, shift)
    assert found.shape == (samples, features // 2)
    for sample in range(samples):
        for i, feature in enumerate(read):
            assert found[sample, i] == np.float32(rows[sample, feature]) * scale[i] + shift[i]


def test_a_subnormal_number_is_chosen_as_zero():
    rows, one, zero = np.array([[1, 1e-40]], np.float32), np.float32([1, 1]), np.float32([0, 0])
    assert choose(rows, np.array([1, 0], np.int32), one, zero).tolist() == [[0, 1]]


@pytest.mark.parametrize("rows", [1, 2, 3, 8])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("share_from", [0, 2**62])
def test_long_rows_of_one_sample_are_the_sums_written_out(rows, relu, share_from):
    rng = np.random.default_rng(rows)
    # Lengths from 0 to 600, so that the two rows that are met together end far apart.
    dense = rng.normal(size=(rows, 600)) * (rng.random((rows, 600)) < rng.random((rows, 1)))
    dense[:1], dense[-1:, 1:] = 1, 0
    matrix = CSRMatrix.from_dense(np.vstack([dense, rng.normal(size=(rows, 600))]))
    chain = CSRChain([ChainLayer(matrix, rng.normal(size=2 * rows).astype(np.float32), relu)])
    x = rng.normal(size=(1, 600)).astype(np.float32)
    with setting(2, share_from=share_from):
        found = chain_product(chain, x, Reading.of_all(600))
    np.testing.assert_array_equal(found, written_out(chain, x, Reading.of_all(600)))


@pytest.fixture(scope="module")
def chain() -> CSRChain:
    return random_chain(1, [300, 500, 200, 10], 0.3)


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(300, 300)).astype(np.float32)


READING = Reading.of_all(300)


@pytest.mark.parametrize("share_from", [0, 2**62, None])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_sample_is_the_same_in_every_batch(chain, rows, threads, share_from):
    with setting(1):
        expected = np.concatenate([chain_product(chain, row[None], READING) for row in rows])
    with setting(threads, share_from=share_from):
        for samples in (1, 2, 3, 5, 8, 9, 16, 31, 64, 100, 129, 300):
            found = chain_product(chain, rows[:samples], READING)
            np.testing.assert_array_equal(found, expected[:samples])


def test_threads_are_woken_for_enough_work_only(chain):
    little = random_chain(0, [300, 10], 0.1)
    assert [plan(little, samples, 2) for samples in (0, 1, 2, 3, 31, 64)] == [
        *((1, 1), (1, 1), (1, 4), (1, 4), (1, 32), (1, 64)),
    ]
    assert plan(little, 100_000, 2) == (2, 64)
    much = random_chain(0, [1000, 1000, 1000], 0.4)
    assert [plan(much, samples, 2) for samples in (1, 2, 3, 31, 64, 300)] == [
        *((2, 1), (2, 4), (2, 4), (2, 16), (2, 32), (2, 64)),
    ]
    assert plan(much, 300, 1) == (1, 64)


def test_tiles_are_narrow_where_activations_would_leave_the_cache():
    layer = ChainLayer(CSRMatrix.from_dense(np.ones((7000, 1))), np.zeros(7000, np.float32), True)
    assert plan(CSRChain([layer]), 600, 1) == (1, 32)
    layer = ChainLayer(CSRMatrix.from_dense(np.ones((99000, 1))), np.zeros(99000, np.float32), True)
    assert plan(CSRChain([layer]), 600, 1) == (1, 16)


@pytest.mark.parametrize("share_from", [0, 2**62])
def test_several_threads_at_once(chain, rows, share_from):
    batches = [rows[:samples] for samples in (1, 2, 40, 128, 300)] * 6
    expected = [chain_product(chain, batch, READING) for batch in batches]
    with setting(2, share_from=share_from), ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda batch: chain_product(chain, batch, READING), batches)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)


def test_outputs_are_the_callers_own(chain, rows):
    first = chain_product(chain, rows[:3], READING)
    before = first.copy()
    chain_product(chain, rows[3:6], READING)
    np.testing.assert_array_equal(first, before)


def test_nan_passes_where_a_weight_reads_it_and_subnormals_are_flushed():
    ones, zeros = np.ones(3, np.float32), np.zeros(3, np.float32)
    diagonal = CSRMatrix.from_dense(np.diag([1.0, 1, 0]))
    chain = CSRChain([ChainLayer(diagonal, zeros, True), ChainLayer(diagonal, ones, False)])
    rows = np.array([[np.nan, 1e-40, np.inf], [-np.inf, 1, np.nan]], np.float32)
    for samples in (1, 2, 3):
        found = chain_product(chain, np.resize(rows, (samples, 3)), Reading.of_all(3))
        expected = np.array([[np.nan, 1, 1], [1, 2, 1]], np.float32)
        np.testing.assert_array_equal(found, np.resize(expected, (samples, 3)))
    tiny = CSRMatrix.from_dense(np.full((1, 1), 1e-30, np.float32))
    for relu, least in ((True, 0), (False, np.float32(1e-40))):
        chain = CSRChain([ChainLayer(tiny, zeros[:1], relu)])
        x = np.full((1, 1), 1e-10, np.float32)
        np.testing.assert_allclose(chain_product(chain, x, Reading.of_all(1)), least, rtol=1e-4)


def test_rows_of_any_strides(chain, rows):
    expected = chain_product(chain, rows[::3].copy(), READING)
    np.testing.assert_array_equal(chain_product(chain, rows[::3], READING), expected)
    columns = np.asfortranarray(rows[::3])
    np.testing.assert_array_equal(chain_product(chain, columns, READING), expected)


def test_layers_are_parts_of_the_chains_memory(chain, rows):
    wide = []
    for matrix, bias, relu in chain.layers:
        for part in (matrix.values, matrix.columns, matrix.offsets, bias):
            assert not part.flags.owndata
        offsets = matrix.offsets.astype(np.int64)
        long = CSRMatrix(matrix.values, matrix.columns, offsets, matrix.features)
        wide.append(ChainLayer(long, bias, relu))
    # Offsets that fit are held as int32, however they come: for other types kernels are compiled
    # anew.
    again = CSRChain(wide)
    assert again.arrays.offsets.dtype == np.int32
    assert again.size_in_bytes == chain.size_in_bytes
    found = chain_product(again, rows, READING)
    np.testing.assert_array_equal(found, chain_product(chain, rows, READING))


def test_what_does_not_fit_is_refused(chain, rows):
    with pytest.raises(InvalidArgument, match="0 layers"):
        CSRChain([])
    first, second, _ = chain.layers
    with pytest.raises(InvalidArgument, match="layer 1 of a chain reads 300 features"):
        CSRChain([first, first])
    with pytest.raises(InvalidArgument, match=r"bias of layer 1 is float32 \(3,\)"):
        CSRChain([first, second._replace(bias=np.zeros(3, np.float32))])
    with pytest.raises(InvalidArgument, match="float64"):
        chain_product(chain, rows.astype(np.float64), READING)
    with pytest.raises(InvalidArgument, match=r"\(300, 299\)"):
        chain_product(chain, rows[:, 1:], READING)
    with pytest.raises(InvalidArgument, match="2 features are read"):
        chain_product(chain, rows[:, :2], Reading.of_all(2))
    every, one, zero = READING.arrays
    with pytest.raises(InvalidArgument, match="not one of the 299"):
        Reading(every, one, zero, 299)
    with pytest.raises(InvalidArgument, match="one number for each"):
        Reading(every, one[1:], zero, 300)
    with pytest.raises(InvalidArgument, match="int64, float32, float32"):
        Reading(every.astype(np.int64), one, zero, 300)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_computes_the_same(chain, rows):
    with setting(2, share_from=0):
        expected = chain_product(chain, rows, READING)
        child = os.fork()
        if child == 0:
            same = np.array_equal(chain_product(chain, rows, READING), expected)
            same &= np.array_equal(chain_product(chain, rows[:1], READING), expected[:1])
            os._exit(0 if same else 1)
        assert os.waitpid(child, 0)[1] == 0
