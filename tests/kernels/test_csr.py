"""The CSR kernels and tiles against their plain twins and against sums written out."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scratchconv.errors import InvalidArgument
from scratchconv.kernels import csr, tiles
from scratchconv.kernels.csr_matrix import CSRMatrix

ORDINARY = settings(deadline=None, max_examples=60)


def random_matrix(seed: int, rows: int, features: int, density: float) -> CSRMatrix:
    rng = np.random.default_rng(seed)
    dense = rng.normal(size=(rows, features)) * (rng.random((rows, features)) < density)
    return CSRMatrix.from_dense(dense)


def identity_reading(features: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    ones = np.ones(features, np.float32)
    return np.arange(features, dtype=np.int32), ones, 0 * ones


def written_out(matrix: CSRMatrix, x: np.ndarray, bias: np.ndarray, relu: bool) -> np.ndarray:
    """One sum after the other, each step rounded to float32, for samples ``x`` (n, features)."""
    outputs = np.empty((len(x), matrix.rows), np.float32)
    for unit in range(matrix.rows):
        total = np.full(len(x), bias[unit], np.float32)
        for k in range(matrix.offsets[unit], matrix.offsets[unit + 1]):
            total = total + matrix.values[k] * x[:, matrix.columns[k]]
        outputs[:, unit] = np.maximum(total, np.float32(0)) if relu else total
    return outputs


problems = st.tuples(
    st.integers(0, 2**32 - 1),
    st.sampled_from([0, 1, 2, 3, 5, 17, 70]),  # rows
    st.sampled_from([0, 1, 2, 7, 16, 33, 90]),  # features
    st.sampled_from([0.0, 0.02, 0.3, 1.0]),
)


@ORDINARY
@given(problems, st.integers(0, 150), st.sampled_from(tiles.WIDTHS), st.booleans())
def test_tiled_product_is_the_sum_written_out(problem, samples, width, relu):
    matrix = random_matrix(*problem)
    rng = np.random.default_rng(problem[0])
    x = rng.normal(size=(samples, matrix.features)).astype(np.float32)
    bias = rng.normal(size=matrix.rows).astype(np.float32)
    tiled = tiles.to_tiles(x, *identity_reading(matrix.features), width)
    found = csr.tiled_product(matrix, tiled, bias, relu)
    expected = written_out(matrix, x, bias, relu)
    np.testing.assert_array_equal(tiles.from_tiles(found, samples), expected)
    plain = csr.tiled_product_plain(matrix, tiled, bias, relu)
    np.testing.assert_allclose(found, plain, rtol=1e-4, atol=1e-4)


@ORDINARY
@given(problems, st.booleans())
def test_vector_product_is_the_sum_written_out(problem, relu):
    matrix = random_matrix(*problem)
    rng = np.random.default_rng(problem[0])
    x = rng.normal(size=matrix.features).astype(np.float32)
    bias = rng.normal(size=matrix.rows).astype(np.float32)
    found = csr.vector_product(matrix, x, bias, relu)
    np.testing.assert_array_equal(found, written_out(matrix, x[None], bias, relu)[0])
    plain = csr.vector_product_plain(matrix, x, bias, relu)
    np.testing.assert_allclose(found, plain, rtol=1e-4, atol=1e-4)


@ORDINARY
@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 140),
    st.integers(0, 70),
    st.sampled_from(tiles.WIDTHS),
    st.booleans(),
)
def test_tiles_there_and_back(seed, samples, features, width, as_bytes):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(samples, features)).astype(np.float32)
    if as_bytes:
        rows = (50 * rows).astype(np.int8).view(np.uint8)
    chosen = np.flatnonzero(rng.random(features) < 0.7).astype(np.int32)
    scale, shift = rng.normal(size=(2, chosen.size)).astype(np.float32)
    found = tiles.to_tiles(rows, chosen, scale, shift, width)
    np.testing.assert_array_equal(found, tiles.to_tiles_plain(rows, chosen, scale, shift, width))
    back = tiles.from_tiles(found, samples)
    np.testing.assert_array_equal(back, tiles.from_tiles_plain(found, samples))
    np.testing.assert_array_equal(back, rows[:, chosen].astype(np.float32) * scale + shift)


def test_the_narrowest_width_is_chosen():
    widths = [tiles.width_for(samples) for samples in (1, 16, 17, 32, 33, 64, 65, 1000)]
    assert widths == [16, 16, 32, 32, 64, 64, 64, 64]


@pytest.mark.parametrize("offsets", [np.int32, np.int64])
@pytest.mark.parametrize("threads", [1, 2])
def test_large_products_on_any_number_of_threads(offsets, threads):
    matrix = random_matrix(1, 300, 200, 0.1)
    matrix = CSRMatrix(matrix.values, matrix.columns, matrix.offsets.astype(offsets), 200)
    rng = np.random.default_rng(2)
    x = rng.normal(size=(130, 200)).astype(np.float32)
    bias = rng.normal(size=300).astype(np.float32)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        tiled = tiles.to_tiles(x, *identity_reading(200), 64)
        found = tiles.from_tiles(csr.tiled_product(matrix, tiled, bias, True), 130)
        alone = np.stack([csr.vector_product(matrix, sample, bias, True) for sample in x])
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(found, written_out(matrix, x, bias, True))
    np.testing.assert_array_equal(found, alone)


def test_several_threads_at_once():
    matrix = random_matrix(3, 200, 100, 0.2)
    tiled = np.random.default_rng(0).normal(size=(3, 100, 64)).astype(np.float32)
    bias = np.zeros(200, np.float32)
    expected = csr.tiled_product(matrix, tiled, bias, True)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: csr.tiled_product(matrix, tiled, bias, True), range(20)):
            np.testing.assert_array_equal(found, expected)


def test_inputs_that_are_not_contiguous():
    matrix = random_matrix(4, 9, 20, 0.4)
    wide = np.random.default_rng(0).normal(size=(2, 40, 32)).astype(np.float32)
    bias = np.arange(18, dtype=np.float32)[::2]
    expected = csr.tiled_product(matrix, wide[:, ::2].copy(), bias.copy(), False)
    np.testing.assert_array_equal(csr.tiled_product(matrix, wide[:, ::2], bias, False), expected)
    x = wide[0, ::-2, 0]
    found = csr.vector_product(matrix, x, bias, False)
    np.testing.assert_array_equal(found, csr.vector_product(matrix, x.copy(), bias, False))
    rows = np.asfortranarray(wide[0])
    reading = identity_reading(32)
    np.testing.assert_array_equal(
        tiles.to_tiles(rows, *reading, 16), tiles.to_tiles_plain(rows, *reading, 16)
    )


def test_nan_and_infinity_pass_where_a_weight_reads_them():
    matrix = CSRMatrix.from_dense(np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 0]]))
    x = np.array([np.nan, -np.inf, np.inf], np.float32)
    bias = np.array([0, 0, 2], np.float32)
    found = csr.vector_product(matrix, x, bias, True)
    np.testing.assert_array_equal(found, np.array([np.nan, 0, 2], np.float32))
    tiled = csr.tiled_product(matrix, np.tile(x[None, :, None], (1, 1, 16)), bias, True)
    np.testing.assert_array_equal(tiled[0, :, 5], found)


def test_subnormal_activations_are_flushed():
    tiny = np.float32(1e-40)
    matrix = CSRMatrix.from_dense(np.eye(2))
    bias = np.zeros(2, np.float32)
    x = np.array([tiny, 1], np.float32)
    assert csr.vector_product(matrix, x, bias, True).tolist() == [0, 1]
    assert csr.vector_product(matrix, x, bias, False)[0] == tiny
    assert tiles.choose(x[None], *identity_reading(2)).tolist() == [[0, 1]]
    assert tiles.to_tiles(x[None], *identity_reading(2), 16)[0, :, 0].tolist() == [0, 1]


def test_blocks_cover_all_rows_and_share_the_work():
    dense = np.zeros((500, 50))
    dense[100:110] = 1  # all the work is in ten rows
    matrix = CSRMatrix.from_dense(dense)
    assert matrix.blocks[0] == 0
    assert matrix.blocks[-1] == 500
    assert (np.diff(matrix.blocks) >= 0).all()
    assert np.diff(matrix.offsets[matrix.blocks]).max() <= 50


def test_matrices_there_and_back():
    matrix = random_matrix(5, 12, 8, 0.3)
    again = CSRMatrix.from_dense(matrix.to_dense())
    np.testing.assert_array_equal(again.columns, matrix.columns)
    np.testing.assert_array_equal(again.values, matrix.values)
    assert matrix.density == matrix.nonzero / 96
    assert CSRMatrix.from_dense(np.zeros((0, 0))).density == 0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"values": np.ones(2)}, "float32"),
        ({"values": np.ones(3, np.float32)}, "3 values but 2 columns"),
        ({"values": np.ones(4, np.float32)[::2]}, "contiguous"),
        ({"columns": np.array([0, 3], np.int32)}, "outside"),
        ({"columns": np.array([-1, 0], np.int32)}, "outside"),
        ({"offsets": np.array([0, 2, 1, 2], np.int32)}, "decrease"),
        ({"offsets": np.array([0, 1, 1, 1], np.int32)}, "run from 0"),
        ({"offsets": np.array([1, 1, 1, 2], np.int32)}, "run from 0"),
        ({"offsets": np.array([0, 2**31 - 1, -(2**31), 2], np.int32)}, "decrease"),
        ({"offsets": np.array([], np.int32)}, "run from 0"),
        ({"features": -1}, "features"),
    ],
)
def test_impossible_matrices_are_refused(changed, message):
    parts = {
        "values": np.ones(2, np.float32),
        "columns": np.array([0, 2], np.int32),
        "offsets": np.array([0, 1, 1, 2], np.int32),
        "features": 3,
    }
    CSRMatrix(**parts)
    with pytest.raises(InvalidArgument, match=message):
        CSRMatrix(**{**parts, **changed})


def test_operands_that_do_not_fit_are_refused():
    matrix = random_matrix(6, 4, 3, 0.5)
    bias = np.zeros(4, np.float32)
    with pytest.raises(InvalidArgument, match="3 features"):
        csr.vector_product(matrix, np.zeros(4, np.float32), bias, True)
    with pytest.raises(InvalidArgument, match="float32"):
        csr.vector_product(matrix, np.zeros(3), bias, True)
    with pytest.raises(InvalidArgument, match="bias"):
        csr.vector_product(matrix, np.zeros(3, np.float32), bias[:3], True)
    with pytest.raises(InvalidArgument, match="width"):
        csr.tiled_product(matrix, np.zeros((1, 3, 20), np.float32), bias, True)
    with pytest.raises(InvalidArgument, match="do not hold"):
        tiles.from_tiles(np.zeros((1, 3, 16), np.float32), 17)
    reading = identity_reading(3)
    with pytest.raises(InvalidArgument, match="not one of the 2"):
        tiles.to_tiles(np.zeros((1, 2), np.float32), *reading, 16)
    with pytest.raises(InvalidArgument, match="one number for each"):
        tiles.to_tiles(np.zeros((1, 3), np.float32), reading[0], reading[1][:2], reading[2], 16)
    with pytest.raises(InvalidArgument, match="uint8 or float32"):
        tiles.to_tiles(np.zeros((1, 3)), *reading, 16)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_computes_the_same():
    matrix = random_matrix(7, 30, 20, 0.3)
    x = np.random.default_rng(0).normal(size=(40, 20)).astype(np.float32)
    bias = np.zeros(30, np.float32)
    reading = identity_reading(20)

    def work() -> np.ndarray:
        tiled = tiles.to_tiles(x, *reading, 64)
        return tiles.from_tiles(csr.tiled_product(matrix, tiled, bias, True), 40)

    expected = work()
    child = os.fork()
    if child == 0:
        same = np.allclose(work(), expected, atol=1e-5)
        same &= np.allclose(csr.vector_product(matrix, x[0], bias, True), expected[0], atol=1e-5)
        os._exit(0 if same else 1)
    assert os.waitpid(child, 0)[1] == 0
