"""The README's numbers are those of the committed records."""

from pathlib import Path

import pytest

from scratchconv.errors import ScratchconvError
from scratchconv.experiments.results_table import BEGIN, END, results_table, with_table

ROOT = Path(__file__).resolve().parents[2]


def test_the_readme_is_not_stale():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    fresh = with_table(readme, results_table(ROOT / "results" / "laptop"))
    assert readme == fresh, "run: make readme"


def test_only_what_stands_between_the_marks_is_replaced():
    readme = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert with_table(readme, "new") == f"before\n{BEGIN}\nnew\n{END}\nafter\n"


def test_a_readme_without_marks_is_refused():
    with pytest.raises(ScratchconvError, match="lacks its marks"):
        with_table("no marks", "new")
