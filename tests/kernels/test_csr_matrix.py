"""The sparse matrix: what it holds, how its rows are shared out, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from scratchconv.errors import InvalidArgument
from scratchconv.kernels.csr_matrix import CSRMatrix


def test_blocks_cover_all_rows_and_share_the_work():
    dense = np.zeros((500, 50))
    dense[100:110] = 1  # all the work is in ten rows
    matrix = CSRMatrix.from_dense(dense)
    assert matrix.blocks[0] == 0
    assert matrix.blocks[-1] == 500
    assert (np.diff(matrix.blocks) >= 0).all()
    assert np.diff(matrix.offsets[matrix.blocks]).max() <= 50


def test_matrices_there_and_back():
    rng = np.random.default_rng(5)
    dense = rng.normal(size=(12, 8)).astype(np.float32) * (rng.random((12, 8)) < 0.3)
    matrix = CSRMatrix.from_dense(dense)
    np.testing.assert_array_equal(matrix.to_dense(), dense)
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
