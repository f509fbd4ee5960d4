"""Line charts: nothing lost in thinning, and the same in words."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scratchconv.report.charts import Series, _thinned, line_chart, log_limits

VALUES = st.lists(st.floats(-1e6, 1e6) | st.just(math.nan), min_size=1, max_size=400)


@settings(deadline=None)
@given(values=VALUES, points=st.integers(24, 60))
def test_thinning_keeps_ends_and_extremes(values, points):
    kept = _thinned(values, points)
    assert kept == sorted(set(kept))
    assert kept[0] == 0
    assert kept[-1] == len(values) - 1
    assert len(kept) <= max(points, 24)
    finite = [v for v in values if math.isfinite(v)]
    if finite:
        drawn = [values[i] for i in kept if math.isfinite(values[i])]
        assert max(drawn) == max(finite)
        assert min(drawn) == min(finite)


@pytest.mark.parametrize("scale", ["log", "fraction", "linear"])
def test_chart_in_words(scale):
    chart = line_chart(
        "Title", [Series("a", [1, 2, 3], [math.nan, 0.25, 0.5], 0)], scale=scale, identity="x"
    )
    assert chart.description.startswith("Title. a: ")
    assert "at epoch 2" in chart.description
    assert "at epoch 3" in chart.description
    assert chart.svg.startswith("<svg")


def test_nothing_to_draw_is_no_chart():
    nothing = [Series("a", [1, 2], [math.nan, math.nan], 0), Series("b", [], [], 1)]
    assert line_chart("Title", nothing, scale="linear", identity="x") is None
    assert log_limits(nothing) is None


@pytest.mark.parametrize("values", [[7e5], [2e5, 3e5], [0, 0], [1, 0, 1e8], [5, 5]])
def test_logarithmic_axis_always_has_numbers(values):
    series = [Series("a", list(range(1, len(values) + 1)), values, 0)]
    chart = line_chart("Title", series, scale="log", identity="x", limits=log_limits(series))
    # One label each for the epoch axis and "epoch" itself come on top of the value axis's.
    assert chart.svg.count("<text") >= 3
