"""The difference of two means, and what the seeds allow to be said of it."""

from __future__ import annotations

import math
import statistics

import pytest

from scratchconv.experiments.mean_difference import mean_difference


def test_the_interval_is_welchs():
    ours, theirs = [64.5, 65.0, 64.8], [63.0, 63.4]
    found = mean_difference(ours, theirs)
    # Welch 1947: the variances of both means add up, and so do their shares of the freedom.
    errors = [statistics.variance(of) / len(of) for of in (ours, theirs)]
    freedom = sum(errors) ** 2 / sum(
        error**2 / (len(of) - 1) for error, of in zip(errors, (ours, theirs), strict=True)
    )
    assert 2 < freedom < 3
    low, high = found.interval
    assert found.mean == pytest.approx(statistics.mean(ours) - statistics.mean(theirs))
    assert (low + high) / 2 == pytest.approx(found.mean)
    quantiles = 4.303, 3.182  # of Student's t, two-sided 95 %, at 2 and 3 degrees of freedom
    assert quantiles[1] < (high - low) / 2 / math.sqrt(sum(errors)) < quantiles[0]


def test_it_is_separated_where_zero_is_out_of_the_interval():
    assert mean_difference([64.5, 65.0, 64.8], [61.0, 61.4]).separated
    assert not mean_difference([64.5, 65.0, 64.8], [64.4, 65.1]).separated
    assert not mean_difference([70.0], [61.0, 61.4]).separated  # one run says nothing of chance
    # That two seeds tie says nothing of how far others are apart.
    assert not mean_difference([2.0, 2.0], [1.0, 1.0]).separated


def test_words():
    assert str(mean_difference([1.0], [3.0, 4.0])) == "−2.50 points"
    assert mean_difference([1.0], [3.0, 4.0]).range == "–"
    two = mean_difference([2.0, 2.0], [1.0, 1.0])
    assert str(two) == "+1.00 points"
