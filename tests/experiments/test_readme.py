"""The README's numbers are those of the committed records."""

import sys
from pathlib import Path

import pytest

from scratchconv.errors import ScratchconvError
from scratchconv.experiments import readme
from scratchconv.experiments.command import run_command
from scratchconv.experiments.overview import overview
from scratchconv.experiments.readme import with_tables

ROOT = Path(__file__).resolve().parents[2]
MARKS = (
    "before\n<!-- results: written by make readme -->\nold\n<!-- end of results -->\nbetween\n"
    "<!-- paper: written by make readme -->\nold\n<!-- end of paper -->\nand\n"
    "<!-- speed: written by make readme -->\nold\n<!-- end of speed -->\nafter\n"
    "<!-- discovery: written by make readme -->\nold\n<!-- end of discovery -->\nend\n"
)


def test_the_readme_is_not_stale():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert with_tables(text, ROOT / "results") == text, "run: make readme"


def test_the_overviews_are_not_stale():
    pages = readme.overview_pages(ROOT / "results")
    assert ROOT / "results" / "laptop" / "README.md" in pages
    for page in pages:
        assert page.read_text(encoding="utf-8") == overview(page.parent), "run: make readme"


def test_only_what_stands_between_the_marks_is_replaced(monkeypatch):
    monkeypatch.setattr(readme, "results_table", lambda folder: "accuracies")
    monkeypatch.setattr(readme, "paper_table", lambda folder: "published")
    monkeypatch.setattr(readme, "speed_table", lambda folder: "speeds")
    monkeypatch.setattr(readme, "discovery_table", lambda folder: "structure")
    written = with_tables(MARKS, Path("anywhere"))
    assert written.splitlines() == [
        "before",
        "<!-- results: written by make readme -->",
        "accuracies",
        "<!-- end of results -->",
        "between",
        "<!-- paper: written by make readme -->",
        "published",
        "<!-- end of paper -->",
        "and",
        "<!-- speed: written by make readme -->",
        "speeds",
        "<!-- end of speed -->",
        "after",
        "<!-- discovery: written by make readme -->",
        "structure",
        "<!-- end of discovery -->",
        "end",
    ]


@pytest.mark.parametrize("lost", ["results: written", "end of results", "end of speed"])
def test_a_readme_without_its_marks_is_refused(lost):
    with pytest.raises(ScratchconvError, match="lacks its marks"):
        with_tables(MARKS.replace(lost, ""), ROOT / "results")


def test_a_missing_record_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(readme, "results_table", lambda folder: "accuracies")
    with pytest.raises(ScratchconvError, match=r"table2: .* have no record"):
        with_tables(MARKS, tmp_path)
    monkeypatch.setattr(readme, "paper_table", lambda folder: "published")
    with pytest.raises(ScratchconvError, match=r"steps.bench\.json cannot be read"):
        with_tables(MARKS, tmp_path)


def test_outside_the_checkout_it_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["readme"])
    with pytest.raises(SystemExit) as ended:
        run_command(readme.main)
    assert ended.value.code == 1
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert "README.md" in told
    assert told.count("\n") == 1
