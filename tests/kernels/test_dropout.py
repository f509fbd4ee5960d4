"""Which outputs dropout keeps: the kernels' choice is the plain twin's, and looks random."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scratchconv.kernels import batch_norm
from scratchconv.kernels.batch_norm import NONE, Units
from scratchconv.kernels.dropout import Dropout, kept_plain

ORDINARY = settings(deadline=None, max_examples=60)
streams = st.integers(0, 2**63 - 1)


def kept_by_kernel(dropout: Dropout, units: int, samples: int) -> np.ndarray:
    """What is left of outputs that are 1, over the gain."""
    zeros, ones = np.zeros((2, units), np.float32)
    ones += 1
    given = Units(ones, ones, zeros, zeros, ones, 0.0, NONE, relu=True, dropout=dropout)
    outputs = np.empty((units, samples), np.float32)
    sums = np.zeros_like(outputs)
    batch_norm.dense_units(sums, given, np.empty((0, 0), np.float32), outputs)
    np.testing.assert_array_equal(np.unique(outputs[outputs != 0]), np.float32(dropout.gain))
    return outputs != 0


@ORDINARY
@given(
    streams,
    st.sampled_from([1e-3, 0.1, 0.5, 0.9, 0.999]),
    st.sampled_from([1, 2, 70, 200]),
    st.sampled_from([1, 31, 64, 301]),
)
def test_the_kernels_keep_what_the_twin_keeps(stream, rate, units, samples):
    dropout = Dropout(rate, stream)
    kept = kept_plain(dropout, units, samples)
    if kept.any():
        np.testing.assert_array_equal(kept_by_kernel(dropout, units, samples), kept)


@pytest.mark.parametrize("rate", [0.05, 0.5, 0.8])
@pytest.mark.parametrize("stream", [0, 1, 2**62])
def test_the_share_kept_is_that_asked_for_in_all_and_in_every_unit(rate, stream):
    kept = kept_plain(Dropout(rate, stream), 200, 512)
    deviation = np.sqrt(rate * (1 - rate))
    assert abs(kept.mean() - (1 - rate)) < 4 * deviation / np.sqrt(kept.size)
    for axis in (0, 1):
        means = kept.mean(axis)
        scores = (means - (1 - rate)) * np.sqrt(kept.shape[axis]) / deviation
        assert np.abs(scores).max() < 5
        assert 0.8 < scores.std() < 1.2  # neither alike nor evened out


def test_units_samples_and_streams_have_nothing_to_do_with_each_other():
    one, other = (kept_plain(Dropout(0.5, stream), 128, 512) - 0.5 for stream in (6, 7))
    for a, b in ((one, one), (one, other), (one.T, one.T), (one[:, 1:], other[:, :-1])):
        correlation = a @ b.T * 4 / a.shape[1]
        if a is b or a.base is b.base is not None:
            np.fill_diagonal(correlation, 0)
        scores = correlation * np.sqrt(a.shape[1])
        assert np.abs(scores).max() < 6
        assert 0.9 < scores.std() < 1.1


def test_a_rate_of_one_drops_all_and_of_none_keeps_all():
    assert Dropout(0.0).gain == 1
    assert kept_plain(Dropout(0.0), 3, 5).all()
    all_gone = Dropout(1.0, stream=3)
    assert all_gone.gain == 0
    assert not kept_plain(all_gone, 50, 200).any()
    assert not kept_by_kernel(all_gone, 50, 200).any()
