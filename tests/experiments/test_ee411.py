"""The EE-411 report's table and figures: what is said, and that they are drawn from records."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from scratchconv import models, published
from scratchconv.experiments.ee411 import figure1, figure2, table1
from scratchconv.experiments.reproduce import draw
from scratchconv.lab import Lab, LabOptions, Outcome, Picture, RunRecord
from scratchconv.lab.scales import EE411, LAPTOP, SMOKE

EXPERIMENTS = (table1.EXPERIMENT, figure1.EXPERIMENT, figure2.EXPERIMENT)
_THEIRS = published.load("ee411")["table1"]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, dict[str, Outcome]]:
    """All of them at scale smoke, in one folder; the runs thrown away."""
    out = tmp_path_factory.mktemp("ee411")
    outcomes = {
        e.name: e.reproduce(Lab(e.name, SMOKE, LabOptions(out), datasets=e.datasets))
        for e in EXPERIMENTS
    }
    shutil.rmtree(out / "runs")
    return out, outcomes


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda e: e.name)
def test_drawn_anew_from_the_records_alone_it_is_the_same(made, experiment):
    out, outcomes = made
    drawn, _ = draw(experiment, SMOKE, out, experiment.datasets)
    outcome = outcomes[experiment.name]
    exhibits = drawn.exhibits[: len(outcome.exhibits)]  # what was tried follows
    assert (drawn.sentences, exhibits) == (outcome.sentences, outcome.exhibits)


def test_the_table_has_the_report_beside_ours_and_svhn_can_be_left_out(made):
    out, outcomes = made
    table, left = outcomes["ee411-table1"].exhibits
    assert table.columns[3:] == (
        *("cifar10: ours", "the report"),
        *("cifar100: ours", "the report"),
        *("svhn: ours", "the report"),
    )
    by_row = {row[:2]: row[4::2] for row in table.rows}
    assert by_row["S-FC", "β-LASSO, β = 50"] == ("55 %", "29 %", "81 %")
    assert by_row["S-CONV", "SGD"] == ("64 %", "34 %", "87 %")
    assert by_row["3-FC", "SGD"] == by_row["3-FC, 64 units a layer", "SGD"]
    assert len(left.rows) == 3 * len(table1.ROWS)
    less, _ = draw(table1.EXPERIMENT, SMOKE, out, ("cifar10",))
    assert less.exhibits[0].columns[3:] == ("cifar10: ours", "the report")


def test_pictures_are_of_the_three_layers_and_the_three_networks(made):
    _, outcomes = made
    for name in ("ee411-figure1", "ee411-figure2"):
        pictures = [e for e in outcomes[name].exhibits if isinstance(e, Picture)]
        assert all(picture.png.startswith(b"\x89PNG") for picture in pictures)
        stem = name.replace("-", "_")
        assert [p.name for p in pictures] == [f"{stem}-cifar10", f"{stem}-cifar100"]
    _, counts, _, _ = outcomes["ee411-figure1"].exhibits
    assert [row[0] for row in counts.rows] == [
        "SGD",
        "β = 0",
        "β = 1",
        "β = 50",
        "Neyshabur 2020, S-FC, β = 50",
    ]
    assert counts.rows[0][1] == "4,096 (100\u00a0%)"
    assert counts.rows[-1][1:] == ("0.069\u00a0%", "1.21\u00a0%", "61.8\u00a0%")


def test_settings_are_the_reports_at_every_scale(tmp_path):
    sizes = {}
    for scale, epochs in ((LAPTOP, 20), (EE411, 100)):
        lab = Lab("t", scale, LabOptions(tmp_path), datasets=("cifar10",))
        for row in table1.ROWS:
            if row.beta is None:
                config = table1.configs_of(lab, [row])[row, "cifar10"]
                assert (config.augment, config.momentum, config.weight_decay) == ("none", 0, 0)
                assert (config.lr, config.batch_size, config.epochs) == (0.1, 512, epochs)
                sizes[scale.name, row.network] = config.alpha or config.params
    assert [sizes["ee411", name] for name in ("S-CONV", "S-LOCAL", "S-FC")] == [64, 64, 28]
    assert sizes["ee411", "3-FC"] == 25.6e6
    assert sizes["ee411", "3-FC, 64 units a layer"] == 64
    # What the docstring says of the two 3-FC.
    assert models.parameter_count("3-fc", alpha=64) == pytest.approx(0.2e6, rel=0.02)
    assert models.build("3-fc", params=25.6e6).alpha == 3748


def _records(accuracies: dict[str, float], epochs: int = 100) -> dict[table1.Row, RunRecord]:
    """One record a row: rows are named by their key, the small 3-FC by `small`."""
    found = {}
    for row in table1.ROWS:
        name = "small" if row.units else row.key
        size = 204_000 if row.units else 25_600_000
        result = {
            "test_accuracy": accuracies.get(name, 50.0) / 100,
            "layers": [{"size": size, "nonzero": size}],
        }
        found[row] = RunRecord("k", {"epochs": epochs}, {}, result)
    return found


def test_sentences_say_which_way_beta_goes_and_which_3_fc_it_was():
    ranked, gain, size = table1.verdict(
        "cifar10",
        _records(
            {
                "s-conv/sgd": 66,
                "s-fc/sgd": 58,
                "s-fc/beta-lasso-50": 56,
                "3-fc/sgd": 55,
                "small": 38,
            }
        ),
        _THEIRS,
    )
    assert ranked.startswith("cifar10: S-CONV 66.0 > S-FC 58.0 > S-FC β = 50 56.0 > 3-FC 55.0 > ")
    assert "−2.0 points from SGD on the same S-FC, as in the report (−3)" in gain
    assert "S-LOCAL 64 > S-FC β = 1 59 > S-FC 58 > " in ranked
    assert "36 %, is 2 points from ours with 0.204 M weights, 19 from ours with 25.6 M." in size


def test_sentences_say_the_opposite_of_opposite_numbers():
    _, gain, size = table1.verdict(
        "cifar10",
        _records({"s-fc/sgd": 58, "s-fc/beta-lasso-50": 61, "3-fc/sgd": 40, "small": 10}),
        _THEIRS,
    )
    assert "+3.0 points from SGD on the same S-FC, unlike in the report (−3)" in gain
    assert "which may be why: not tested" in gain
    assert "36 %, is 4 points from ours with 25.6 M weights, 26 from ours with 0.204 M" in size


def test_sentences_keep_what_cannot_be_told_to_themselves():
    close = {"s-fc/sgd": 58, "s-fc/beta-lasso-50": 58.9, "3-fc/sgd": 40, "small": 10}
    _, gain, _ = table1.verdict("cifar10", _records(close, epochs=20), _THEIRS)
    assert "+0.9 points from SGD on the same S-FC, too little for one training each" in gain
    records = _records(close)
    records[table1.ROWS[4]] = RunRecord("f", {"epochs": 100}, {}, {}, failure="the loss is nan")
    ranked, size = table1.verdict("cifar10", records, _THEIRS)
    assert "S-FC β = 50 58.9" in ranked
    assert "S-FC 58.0" not in ranked
    assert "; without a finite loss S-FC; one training each" in ranked
    assert "points from ours" in size
    near = {key: {**of, "cifar10": of["cifar10"]} for key, of in _THEIRS.items()}
    near["s-fc/beta-lasso-50"]["cifar10"] = near["s-fc/sgd"]["cifar10"] + 1
    apart = {"s-fc/sgd": 58, "s-fc/beta-lasso-50": 60, "3-fc/sgd": 40, "small": 10}
    _, gain, _ = table1.verdict("cifar10", _records(apart), near)
    assert "the report's numbers, which are rounded, are too near each other to tell (+1)." in gain
    gone = dict.fromkeys(table1.ROWS, RunRecord("f", {}, {}, {}, failure="the loss is nan"))
    none = table1.verdict("cifar10", gone, _THEIRS)
    assert none == ["cifar10: no training ended with a finite loss."]
    text = table1.table({"cifar10": records}, _THEIRS).markdown()
    assert "| S-FC | SGD | – | no finite loss |" in text


def test_the_threshold_of_50_stays_below_the_initial_weights(tmp_path):
    for scale in (LAPTOP, EE411):
        lab = Lab("t", scale, LabOptions(tmp_path), datasets=("cifar10",))
        for row in table1.ROWS:
            if row.beta is None:
                continue
            tried = table1.candidates(lab, row)
            bound = 1 / 3072**0.5  # of the first layer's initial weights
            assert len(tried) >= 2
            assert all(row.beta * config.lam_first < 0.6 * bound for config in tried)
            assert {c.epochs for c in tried} == {
                table1._epochs(lab) if row.beta > 1 else scale.short
            }


def _counted(nonzero: int, epochs: list[int]) -> RunRecord:
    def layers(first: int) -> list[dict]:
        return [{"size": 1000, "nonzero": n} for n in (first, 500, 10)]

    lines = [{"epoch": k, "layers": layers(count)} for k, count in enumerate(epochs, start=1)]
    return RunRecord("k", {}, {}, {"layers": layers(nonzero)}, lines)


def test_figure_1_says_what_is_left_and_where_it_grew():
    counts = {0.0: [1000, 1000], 1.0: [400, 300], 50.0: [100, 200]}
    found = {
        row: _counted(1000, [1000, 1000])
        if row.beta is None
        else _counted(counts[row.beta][-1], counts[row.beta])
        for row in figure1.LINES
    }
    left, grown = figure1.sentences(found, "cifar10")
    assert left == (
        "cifar10: of the first layer are left SGD 100\u00a0%, β = 0 100\u00a0%, β = 1 30.0\u00a0%,"
        " β = 50 20.0\u00a0%; least by β = 50."
    )
    assert grown == (
        "cifar10: stretches of epochs over which first-layer weights rise by more than 10 %"
        " without a fall between: β = 50 (1)."
    )
    alike = dict.fromkeys(figure1.LINES, _counted(1000, [1000, 1000]))
    left, _ = figure1.sentences(alike, "cifar10")
    assert left.endswith("β = 50 100\u00a0%.")


def test_numbers_that_differ_from_the_reports_by_more_than_chance_are_told():
    as_reported = {row.key: _THEIRS[row.key]["cifar10"] for row in table1.ROWS}
    near = _records({**as_reported, "s-conv/sgd": 65.4, "3-fc/sgd": 59})
    assert table1.disagreements("cifar10", near, _THEIRS) == []
    far = _records({**as_reported, "s-conv/sgd": 66.5, "s-fc/beta-lasso-50": 51})
    (said,) = table1.disagreements("cifar10", far, _THEIRS)
    assert "more than 1.5: S-CONV +2.5 and S-FC β = 50 −4.0. The report states no" in said
    assert "which λ" in said
    (of_sgd,) = table1.disagreements(
        "cifar10", _records({**as_reported, "s-conv/sgd": 70}), _THEIRS
    )
    assert "λ" not in of_sgd
