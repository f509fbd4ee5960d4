"""Targets are refused with the reason, and what is held out leaves something to learn."""

from __future__ import annotations

import numpy as np
import pytest

from scratchconv.discovery.targets import RowScaling, Targets, checked_targets, held_out_rows
from scratchconv.errors import InvalidArgument


def test_missing_targets_are_counted():
    pandas = pytest.importorskip("pandas")
    for y in (
        pandas.Series(["a", None, "b"] * 4, dtype="string"),
        pandas.Series([True, None, False] * 4, dtype="boolean"),
        np.array(["a", pandas.NA, "b"] * 4, dtype=object),
        np.array(["a", None, "b"] * 4, dtype=object),
        np.array(["a", float("nan"), "b"] * 4, dtype=object),
    ):
        with pytest.raises(InvalidArgument, match="y has 4 missing values: drop those rows"):
            checked_targets(y, 12)


@pytest.mark.parametrize("seed", range(4))
def test_one_number_that_differs_is_on_one_side_only(seed):
    values = np.zeros(120)
    values[7] = 3.0
    with pytest.raises(InvalidArgument, match=r"it is 0\.0 in all (96|24) of 120 rows that are"):
        held_out_rows(Targets(values, "regression"), 0.2, seed)


def test_a_class_of_one_row_must_be_left_to_learn_from():
    targets = Targets(np.array(["u"] * 119 + ["v"]), "classification")
    with pytest.raises(InvalidArgument, match=r"it is u in all 96 of 120 rows that are left to"):
        held_out_rows(targets, 0.2, seed=0)
    kept, out = held_out_rows(targets, 0.2, seed=1)  # of one class only is what is held out
    assert (119 in kept, len(out)) == (True, 24)


def test_numbers_that_are_all_the_same_are_scaled_to_nothing():
    table = np.random.RandomState(0).normal(size=(30, 2))
    targets = Targets(np.full(30, 0.1), "regression")
    samples = RowScaling.of(table, targets).samples(table, targets.values)
    assert np.allclose(samples.targets, 0)
