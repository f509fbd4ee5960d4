"""Controls without structure: what is counted, and that the same look does see structure."""

import json

import pytest

from scratchconv.errors import RunDirectoryError
from scratchconv.experiments import no_structure
from scratchconv.experiments.no_structure import Trial, false_discoveries


def test_a_seed_counts_where_any_edge_was_found():
    trials = [
        Trial("digits", 300, 64, control, seed, {"data": edges, "labels": 0, "both": edges}, kind)
        for control, seed, edges, kind in (
            ("independent", 0, 0, "none"),
            ("independent", 1, 3, "other"),
            ("shuffled-rows", 0, 0, "none"),
        )
    ]
    assert false_discoveries(trials).rows == (
        ("digits", "300 × 64", "independent", "2", "1", "0", "1", "1"),
        ("digits", "300 × 64", "shuffled-rows", "1", "0", "0", "0", "0"),
    )


def test_structure_is_seen_until_it_is_taken_out():
    assert no_structure.trial("digits", None, 600, "none", 0, "data").edges["data"] > 50
    for control in no_structure.CONTROLS:
        assert no_structure.trial("digits", None, 600, control, 0, "data").edges["data"] == 0


def test_the_record_is_whole_and_is_not_overwritten(tmp_path, monkeypatch):
    found = Trial("digits", 300, 64, "independent", 0, {"data": 0, "both": 0}, "none")
    monkeypatch.setattr(no_structure, "trial", lambda *asked: found)
    no_structure.main(out=tmp_path, datasets=("digits",), seeds=1)
    record = json.loads((tmp_path / "no-structure.json").read_text(encoding="utf-8"))
    assert "--seeds 1" in record["command"]
    assert len(record["trials"]) == 2
    assert "| digits | 300 × 64 | independent | 2 |" in (tmp_path / "no-structure.md").read_text(
        encoding="utf-8"
    )
    with pytest.raises(RunDirectoryError, match="--overwrite"):
        no_structure.main(out=tmp_path, datasets=("digits",), seeds=1)
