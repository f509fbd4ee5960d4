"""Budgets of learned connectivity: what is read after each, and what is written."""

import json

import pytest

from scratchconv.errors import InvalidArgument, RunDirectoryError
from scratchconv.experiments import learned_connectivity
from scratchconv.experiments.learned_connectivity import Reading, over_budgets, readings


def reading(seed: int, rounds: int, recall: float) -> Reading:
    return Reading(
        data="cifar10",
        rows=50_000,
        columns=3072,
        seed=seed,
        rounds=rounds,
        seconds=50.0 * rounds,
        precision=0.8,
        recall=recall,
        chance=0.0038,
        told_precision=0.9,
        told_recall=recall,
        kind="none",
        rank_correlation=None,
    )


def test_a_row_has_the_mean_and_standard_error_of_its_seeds():
    table = over_budgets([reading(0, 1, 0.2), reading(0, 2, 0.5), reading(1, 1, 0.4)])
    assert table.rows[0][:4] == ("1", "50 ± 0", "0.800 ± 0.000", "0.300 ± 0.100")
    assert table.rows[1][:4] == ("2", "100", "0.800", "0.500")
    assert "0.38 %" in table.note


def test_neighbours_of_digits_are_learned_better_than_by_chance():
    found = readings("digits", None, 1500, (2, 1), 1e-2, 0)
    assert [one.rounds for one in found] == [1, 2]
    assert found[1].seconds > found[0].seconds
    for one in found:
        assert one.precision > 3 * one.chance
        assert 0 <= one.told_recall <= 1
    assert found[1].recall > 0


@pytest.mark.parametrize("rounds", [(), (0,), (2, 0)])
def test_rounds_below_one_are_refused(rounds):
    with pytest.raises(InvalidArgument, match="--rounds"):
        readings("digits", None, 200, rounds, 1e-2, 0)


def test_the_record_is_whole_and_is_not_overwritten(tmp_path, monkeypatch):
    monkeypatch.setattr(
        learned_connectivity, "readings", lambda *asked: [reading(asked[-1], 1, 0.5)]
    )
    learned_connectivity.main(out=tmp_path, rounds=(1,), seeds=2)
    record = json.loads((tmp_path / "learned-connectivity.json").read_text(encoding="utf-8"))
    assert "--rounds 1 --ridge 0.001 --seeds 2" in record["command"]
    assert [one["seed"] for one in record["readings"]] == [0, 1]
    page = (tmp_path / "learned-connectivity.md").read_text(encoding="utf-8")
    assert "| 1 | 50 ± 0 |" in page
    with pytest.raises(RunDirectoryError, match="--overwrite"):
        learned_connectivity.main(out=tmp_path, rounds=(1,))
