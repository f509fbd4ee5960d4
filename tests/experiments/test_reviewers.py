"""What the reviewers asked for: what is said of given numbers, and that records alone draw it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scratchconv.errors import ScratchconvError
from scratchconv.experiments import settings
from scratchconv.experiments.reproduce import draw
from scratchconv.experiments.reviewers import (
    cells,
    length_and_width,
    residual,
    rivals,
    transfer,
)
from scratchconv.experiments.reviewers.cutting import DENSITIES, accuracy_after_cutting
from scratchconv.experiments.reviewers.operations import operations
from scratchconv.lab import Lab, LabOptions, Outcome, Picture, RunRecord, Table
from scratchconv.lab.jobs import measure_name
from scratchconv.lab.scales import LAPTOP, SMOKE
from scratchconv.training import RunConfig

EXPERIMENTS = tuple(m.EXPERIMENT for m in (rivals, length_and_width, residual, transfer))


def record(accuracy: float, *nonzeros: int, size: int = 1000, **other: Any) -> RunRecord:
    """A run of so much test accuracy in percent, with so many non-zeros in each of its layers."""
    layers = [
        {"name": f"fc{k}", "size": size, "nonzero": count, "units": 10}
        for k, count in enumerate(nonzeros or (size,))
    ]
    result = {
        "test_accuracy": accuracy / 100,
        "train_accuracy": accuracy / 100,
        "layers": layers,
        "seconds": 1.0,
        "spread": 0.5,
    }
    config = {"method": "sgd", "momentum": 0.9, "weight_decay": 5e-4, **other}
    return RunRecord("k", config, {}, result)


FAILED = RunRecord("f", {"method": "sgd"}, {}, {}, failure="the loss is nan")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, dict[str, Outcome]]:
    """All of them at scale smoke, in one folder; the runs thrown away."""
    out = tmp_path_factory.mktemp("reviewers")
    outcomes = {
        e.name: e.reproduce(Lab(e.name, SMOKE, LabOptions(out), datasets=e.datasets))
        for e in EXPERIMENTS
    }
    shutil.rmtree(out / "runs")
    return out, outcomes


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda e: e.name)
def test_drawn_anew_from_the_records_alone_it_is_the_same(made, experiment):
    out, outcomes = made
    outcome = outcomes[experiment.name]
    assert outcome.sentences
    assert all(e.png.startswith(b"\x89PNG") for e in outcome.exhibits if isinstance(e, Picture))
    drawn, _ = draw(experiment, SMOKE, out, experiment.datasets)
    *exhibits, tried = drawn.exhibits
    assert (drawn.sentences, tuple(exhibits)) == (outcome.sentences, outcome.exhibits)
    assert tried.title == "What was tried, on validation data"


def test_rivals_have_equally_many_weights_and_no_fewer_than_ours(made):
    _, outcomes = made
    table = outcomes["rivals"].exhibits[0]
    assert isinstance(table, Table)
    counts = {row[0]: int(row[2].replace(",", "")) for row in table.rows}
    ours, dense = counts.pop("β-LASSO, β = 50"), counts.pop("SGD, dense")
    assert len(counts) == 9
    assert ours <= min(counts.values()) <= max(counts.values()) < 1.13 * ours + 1 < dense
    # A connection may have the value 0, which is not counted: a handful at most.
    assert max(counts.values()) - min(counts.values()) <= 3


def test_transfer_has_native_carried_and_control_rows_for_each_dataset(made):
    _, outcomes = made
    tables = outcomes["transfer"].exhibits
    assert [table.title for table in tables] == [
        "Trained on cifar10",
        "Trained on cifar100",
        "Trained on mnist-32",
    ]
    for table, own in zip(tables, ("cifar10", "cifar100", "mnist-32"), strict=True):
        names = [row[0] for row in table.rows]
        assert names[0] == f"learned on {own}"
        assert len([name for name in names if name.startswith("learned on")]) == 3
        counts = {row[0]: row[5] for row in table.rows}
        # The controls have as many connections as the native ones.
        assert counts["random places"] == counts["local windows"] == counts[names[0]]


def _row(method: str, *records: RunRecord, training: float = 4e9) -> rivals.Row:
    measured = {
        measure_name(operations): {
            "training": training,
            "training_screened": training / 2,
            "inference": 2,
            "uses": {"fc0": 1},
        }
    }
    return rivals.Row(method, tuple(replace(r, measured=measured) for r in records))


def test_rivals_are_ranked_and_the_gap_has_the_sign_it_has():
    dense = _row("SGD, dense", record(62), training=8e9)
    rigl, random = _row("RigL", record(60, 20), record(62, 20)), _row("random", record(50, 20))
    ours = _row("β-LASSO", record(63, 18), record(65, 18))
    first, ranked, cost = rivals.verdict(ours, dense, [random, rigl], 1000)
    assert first == (
        "β-LASSO is number 1 of 3 at equal density and epochs; against the best rival, RigL: +3.00"
        " points (95 % interval −3.08 to +9.08)."
    )
    assert "leaves 1.80\u00a0% of the weights and its rivals 2.00\u00a0%" in ranked
    assert "β-LASSO 64.00, RigL 61.00, random 50.00" in ranked
    assert "β-LASSO 0.50 as the algorithm" in cost
    assert "(0.25 if none" in cost
    behind = _row("β-LASSO", record(55, 18))
    first, ranked, _ = rivals.verdict(behind, dense, [random, rigl], 1000)
    assert (
        "number 2 of 3 at equal density and epochs; against the best rival, RigL: −6.00 points."
        in first
    )
    assert "RigL 61.00, β-LASSO 55.00, random 50.00" in ranked
    level = _row("β-LASSO", record(60, 18), record(62, 18))
    first, *_ = rivals.verdict(level, dense, [random, rigl], 1000)
    assert first.startswith("β-LASSO is number 1, with 1\u00a0other, of 3 at equal density")


def test_a_row_that_is_cut_takes_its_numbers_from_after_the_cut():
    curve = {
        "density": list(DENSITIES),
        "validation_accuracy": [0.1] * len(DENSITIES),
        "test_accuracy": list(DENSITIES),
        "nonzero": [{"fc0": round(1000 * d)} for d in DENSITIES],
    }
    measured = {measure_name(accuracy_after_cutting): curve}
    whole = _row("L1", record(90, 1000)).records[0]
    row = rivals.Row("L1", (replace(whole, measured={**whole.measured, **measured}),), 0.2)
    assert row.accuracies() == [pytest.approx(20.0)]
    assert row.nonzeros() == 200
    assert row.inference_flops() == 400
    assert rivals.curve(row.records)[-1] == (1.0, 100.0)
    with pytest.raises(ScratchconvError, match=r"not cut to the density 0\.21"):
        replace(row, cut_to=0.21).accuracies()


def _points(values: list[float], method: str = "SGD") -> list[length_and_width.Point]:
    return [
        length_and_width.Point(
            method, 10 * (k + 1), 8, (record(value - 0.05), record(value + 0.05), FAILED)
        )
        for k, value in enumerate(values)
    ]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([50, 60, 61], "it never falls by more than seeds differ"),
        ([50, 60, 58], "it falls from 20 to 30 (−2.00), and does not rise again"),
        (
            [50, 60, 58, 59],
            "it falls from 20 to 30 (−2.00), and rises again after that: a double descent",
        ),
        ([60, 50, 40], "it falls from 10 to 30 (−20.00), and does not rise again"),
        ([50, 40, 45, 20], "it falls from 10 to 20 (−10.00), and rises again"),
    ],
)
def test_a_double_descent_is_named_where_there_is_one(values, said):
    sentence, _ = length_and_width.described(_points(values), lambda p: p.epochs, "epochs")
    assert said in sentence
    assert f"Training accuracy lies between {min(values):.2f} and {max(values):.2f}" in sentence
    assert "none of them fits the data" in sentence


def test_a_fall_within_what_seeds_differ_by_is_none():
    def points(*pairs: tuple[float, float]) -> list[length_and_width.Point]:
        return [
            length_and_width.Point("SGD", 10 * (k + 1), 8, tuple(map(record, pair)))
            for k, pair in enumerate(pairs)
        ]

    noisy = points((50, 52), (60, 62), (59, 61), (63, 65))  # deviation √2, errors of means 1
    sentence, _ = length_and_width.described(noisy, lambda p: p.epochs, "epochs")
    assert "never falls" in sentence
    # Neighbours differ by less than that, the ends of the slope do not.
    slope = points((60, 60.7), (58.9, 59.6), (57.8, 58.5), (62, 62.7))
    sentence, _ = length_and_width.described(slope, lambda p: p.epochs, "epochs")
    assert "it falls from 10 to 30 (−2.20), and rises again" in sentence
    sentence, _ = length_and_width.described(
        [replace(point, records=point.records[:1]) for point in slope], lambda p: p.epochs, "epochs"
    )
    assert "one seed each, so that nothing can be said of a fall" in sentence
    steady = points((51, 51.1), (61, 61.1), (60, 60.1), (64, 64.1))
    sentence, _ = length_and_width.described(steady, lambda p: p.epochs, "epochs")
    assert "it falls from 20 to 30 (−1.00), and rises again" in sentence


def test_seeds_that_never_differ_and_a_method_without_runs_say_so():
    tied = [
        length_and_width.Point("SGD", 10 * k, 8, (record(value), record(value)))
        for k, value in enumerate((50, 50.02, 50.01, 50.03), start=1)
    ]
    sgd, ours = length_and_width.described(tied, lambda p: p.epochs, "epochs")
    assert "no seed differs from another, so that nothing can be said of a fall" in sgd
    assert ours == "β-LASSO, β = 50: too few runs by epochs ended with a finite loss to compare."


def test_lengths_and_widths_are_those_of_the_scale():
    assert length_and_width.lengths(LAPTOP) == [3, 10, 20, 80]
    assert length_and_width.widths(LAPTOP) == [1, 2, 4, 8, 16]
    assert length_and_width.lengths(SMOKE) == [1, 2, 8]


def test_lam_is_carried_by_powers_of_the_ratio_of_lengths():
    config = RunConfig(alpha=8, epochs=15, lam=2e-5, lam_first=1e-4)
    half, same, whole = (settings.of_length(config, 60, power) for power in (0.5, 0.0, 1.0))
    assert whole.epochs == 60
    assert (half.lam_first, half.lam) == (5e-5, 1e-5)
    assert (same.lam_first, same.lam) == (1e-4, 2e-5)
    assert (whole.lam_first, whole.lam) == (2.5e-5, 5e-6)
    sgd = RunConfig(alpha=8, epochs=15, method="sgd", lam=0.0, weight_decay=4e-4)
    assert settings.of_length(sgd, 60).weight_decay == 1e-4
    assert settings.of_length(sgd, 60).lam_first is None


def _found(sgd: float, ours: float, res_sgd: float, res_ours: float) -> residual.Found:
    values = {
        ("S-FC", "SGD"): record(sgd, 1000, 50),
        ("S-FC", "β-LASSO, β = 50"): record(ours, 20, 50),
        ("residual MLP", "SGD"): record(res_sgd, 1000, 50),
        ("residual MLP", "β-LASSO, β = 50"): record(res_ours, 30, 50),
    }
    return {key: [value] for key, value in values.items()}


def test_the_gain_on_each_network_has_its_own_sign():
    gains, best, left = residual.verdict(_found(62, 64, 63, 61))
    assert "+2.00 points on S-FC and −2.00 points on the residual MLP" in gains
    assert "is that of S-FC by β-LASSO, β = 50, 64.00 %, which the seeds do not tell from" in best
    kept = "20 weights (2.00\u00a0%) on S-FC and 30 weights (3.00\u00a0%) on the residual MLP"
    assert kept in left
    gains, best, _ = residual.verdict(_found(62, 61, 66, 63))
    assert "−1.00 points on S-FC and −3.00 points on the residual MLP" in gains
    assert "is that of the residual MLP by SGD, 66.00 %" in best


def _target(native: float, carried: float, random: float, local: float) -> transfer.Target:
    def row(name: str, value: float) -> transfer.Row:
        return transfer.Row(name, (record(value, 20), record(value + 1, 20), FAILED))

    return transfer.Target(
        native=row("learned on cifar100", native),
        carried={"cifar10": row("learned on cifar10", carried)},
        random=row("random places", random),
        local=row("local windows", local),
        beside=(row("all", 50),),
    )


def test_carried_connections_are_held_against_native_random_and_local_ones():
    carried, own = transfer.verdict("cifar100", _target(35, 34, 25, 36))
    assert carried.startswith("cifar100, on connections learned on cifar10: 34.50 ± 0.71 %;")
    assert "against its own −1.00 points (95 % interval −4.04 to +2.04)" in carried
    assert "against random places +9.00 points (95 % interval +5.96 to +12.04)" in carried
    assert "against local windows −2.00 points (95 % interval" in carried
    assert "against random places +10.00 points (95 % interval" in own
    table = transfer.table("cifar100", _target(35, 37, 25, 36))
    by_name = {row[0]: row for row in table.rows}
    assert by_name["learned on cifar100"][2] == "–"
    assert by_name["learned on cifar10"][2:4] == ("+2.00", "−1.04 to +5.04")
    assert by_name["learned on cifar10"][-1] == "2"  # the failed seed does not count


def test_a_row_without_a_finished_run_says_why():
    with pytest.raises(ScratchconvError, match=r"no run of random places .* the loss is nan"):
        transfer.Row("random places", (FAILED, FAILED)).accuracies()


def test_cells():
    assert cells.mean_accuracy([record(50), FAILED]) == 50
