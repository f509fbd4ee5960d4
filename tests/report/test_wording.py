"""Numbers as the report writes them, above all where rounding changes their length."""

from __future__ import annotations

import pytest

from scratchconv.report import wording


def plain(text: str) -> str:
    """With ordinary spaces."""
    return text.replace("\u00a0", " ").replace("\u202f", " ")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.0, "0 %"),
        (1.0, "100 %"),
        (0.99949, "99.9 %"),
        (0.9995, "> 99.9 %"),
        (0.9999999, "> 99.9 %"),
        (0.5678, "56.8 %"),
        (0.0444, "4.44 %"),
        (0.0017, "0.17 %"),
        (0.0000123, "0.0012 %"),
    ],
)
def test_percent(value, text):
    assert plain(wording.percent(value)) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (2e-4, "2e−4"),
        (1.5e-4, "1.5e−4"),
        (-0.25, "−0.25"),
        (1.266, "1.27"),
        (999.4, "999"),
        (999.6, "1000"),
        (1234.0, "1234"),
        (1e6, "1e6"),
        (25.6e6, "2.56e7"),
    ],
)
def test_number(value, text):
    assert wording.number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (999, "999"), (999.6, "1 k"), (12_345, "12.3 k"), (256e6, "256 M")],
)
def test_compact(value, text):
    assert plain(wording.compact(value)) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (-0.74, "−0.7"), (9.94, "9.9"), (9.96, "10"), (80.3, "80")]
)
def test_z_score(value, text):
    assert wording.z_score(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3.14, "3.1 s"), (59.7, "1 min 00 s"), (200, "3 min 20 s"), (7505, "2 h 05 min")],
)
def test_duration(seconds, text):
    assert plain(wording.duration(seconds)) == text


def test_names_and_lists():
    assert wording.data_name("some folder/my.npz") == "my.npz"
    assert wording.network_name("s-fc") == "S-FC"
    assert plain(wording.grouped(125_000)) == "125 000"
    assert wording.listed(["a"]) == "a"
    assert wording.listed(["a", "b", "c"]) == "a, b and c"
