"""Counts per layer: the total is exact, and the proportions are those of the papers."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scratchconv.errors import InvalidArgument
from scratchconv.pruning.densities import kept_in_all, layer_counts

SHAPES = st.lists(
    st.lists(st.integers(1, 40), min_size=2, max_size=4).map(tuple), min_size=1, max_size=5
)


@given(SHAPES, st.floats(0.01, 1), st.sampled_from(["erdos-renyi", "uniform"]))
def test_counts_add_up_to_the_weight_and_fit_their_layers(shapes, density, distribution):
    named = {str(i): shape for i, shape in enumerate(shapes)}
    sizes = {name: math.prod(shape) for name, shape in named.items()}
    total = max(1, round(density * sum(sizes.values())))
    try:
        counts = layer_counts(named, total, distribution)
    except InvalidArgument:
        # Only where the smallest share is less than one weight.
        parts = sizes.values() if distribution == "uniform" else [sum(shape) for shape in shapes]
        assert total * min(parts) < sum(parts)
        return
    assert sum(counts.values()) == total
    assert all(0 < counts[name] <= sizes[name] for name in named)


def test_uniform_is_the_same_density_everywhere():
    counts = layer_counts({"a": (10, 20), "b": (5, 10)}, 100, "uniform")
    assert counts == {"a": 80, "b": 20}


def test_erdos_renyi_of_dense_layers_by_hand():
    # ε(n_in + n_out): 300ε + 120ε = 84, so ε = 1/5 (Mocanu 2018, equation 1).
    assert layer_counts({"a": (100, 200), "b": (20, 100)}, 84, "erdos-renyi") == {"a": 60, "b": 24}


def test_erdos_renyi_kernel_sums_all_sides():
    # 3 + 4 + 5 + 5 = 17 and 10 + 6 = 16 (Evci 2020, §3).
    counts = layer_counts({"conv": (3, 4, 5, 5), "fc": (10, 6)}, 33, "erdos-renyi")
    assert counts == {"conv": 17, "fc": 16}


def test_a_layer_that_is_full_leaves_the_rest_to_the_others():
    counts = layer_counts({"a": (100, 100), "b": (50, 100), "c": (2, 3)}, 700, "erdos-renyi")
    assert counts["c"] == 6
    assert counts["a"] + counts["b"] == 694
    assert counts["a"] / counts["b"] == pytest.approx(200 / 150, rel=0.01)


@pytest.mark.parametrize("density", [0.0, -0.1, 1.5, math.nan])
def test_an_impossible_density_is_refused(density):
    with pytest.raises(InvalidArgument, match="above 0 and at most 1"):
        kept_in_all(density, 10)


def test_a_density_that_leaves_nothing_is_refused():
    with pytest.raises(InvalidArgument, match=r"at least 0\.01"):
        kept_in_all(0.001, 100)


def test_a_layer_without_connections_is_named():
    with pytest.raises(InvalidArgument, match="leave none to small"):
        layer_counts({"large": (100, 100), "small": (2, 2)}, 20, "uniform")


def test_an_unknown_distribution_lists_the_known():
    with pytest.raises(InvalidArgument, match="erdos-renyi, uniform"):
        layer_counts({"a": (2, 2)}, 2, "erk")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("total", "present", "message"),
    [
        (101, {"a": 50, "b": 50}, "101 weights in all .* more than are present"),
        (100, {"a": 10, "b": 100}, "more than are present in a"),
    ],
)
def test_more_than_is_present_is_refused(total, present, message):
    with pytest.raises(InvalidArgument, match=message):
        layer_counts({"a": (10, 10), "b": (10, 10)}, total, "uniform", present)


@given(SHAPES, st.sampled_from(["erdos-renyi", "uniform"]))
def test_less_in_all_gives_no_layer_more(shapes, distribution):
    named = {str(i): shape for i, shape in enumerate(shapes)}
    present = {name: math.prod(shape) for name, shape in named.items()}
    for total in range(sum(present.values()), 0, -1 - sum(present.values()) // 50):
        try:
            counts = layer_counts(named, total, distribution, present)
        except InvalidArgument:
            return  # too few for every layer to keep one
        assert sum(counts.values()) == total
        assert all(counts[name] <= present[name] for name in named)
        present = counts
