"""Zhang's items: the runs they ask for, what they say, and that records alone draw them."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from scratchconv import analysis, published
from scratchconv.data.tree import draw_theta
from scratchconv.experiments.reproduce import draw
from scratchconv.experiments.zhang import (
    attack_measures,
    attacks,
    image_runs,
    read_off,
    samples,
    tree,
    tree_runs,
    tree_weights,
)
from scratchconv.lab import Lab, LabOptions, Outcome, Picture, RunRecord, run_key
from scratchconv.lab.jobs import Measure, measure_name
from scratchconv.lab.scales import LAPTOP, PAPER, SMOKE
from scratchconv.training import RunConfig, load_model

ITEMS = (tree, tree_weights, samples, attacks)
EXPERIMENTS = tuple(e for item in ITEMS for e in (item.EXPERIMENT, item.AS_PUBLISHED_CODE))


class HandMade(Lab):
    """A lab whose runs come out as `result` says, and which keeps what it was asked for."""

    def __init__(self, tmp_path: Path, result: Callable[[RunConfig], Any], **given: Any) -> None:
        super().__init__("t", given.pop("scale", LAPTOP), LabOptions(tmp_path), **given)
        self.result, self.asked = result, {}

    def train(
        self,
        configs: Mapping[str, RunConfig],
        *,
        measure: Measure | None = None,
        epochs: bool = False,
        weights: bool = False,
    ) -> dict[str, RunRecord]:
        self.asked |= configs
        made = {}
        for name, config in configs.items():
            config.check()
            result, measured = self.result(config)
            kept = {} if measure is None else {measure_name(measure): measured}
            failure = "" if result else "the loss became infinite"
            made[name] = RunRecord(run_key(config), {}, {}, result, measured=kept, failure=failure)
        return made


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, dict[str, Outcome]]:
    """All of them at scale smoke, in one folder; the runs thrown away."""
    out = tmp_path_factory.mktemp("zhang")
    outcomes = {
        e.name: e.reproduce(Lab(e.name, SMOKE, LabOptions(out), datasets=e.datasets))
        for e in EXPERIMENTS
    }
    shutil.rmtree(out / "runs")
    return out, outcomes


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item.EXPERIMENT.name)
def test_drawn_anew_from_the_records_alone_it_is_the_same(made, item):
    out, outcomes = made
    experiment = item.EXPERIMENT
    assert draw(experiment, SMOKE, out, experiment.datasets)[0] == outcomes[experiment.name]


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda e: e.name)
def test_pictures_are_pictures_and_tables_have_no_gaps(made, experiment):
    _, outcomes = made
    for exhibit in outcomes[experiment.name].exhibits:
        if isinstance(exhibit, Picture):
            assert exhibit.png.startswith(b"\x89PNG")
        else:
            assert exhibit.rows
            assert all(len(row) == len(exhibit.columns) for row in exhibit.rows)
            assert "nan" not in exhibit.markdown()


def test_one_dataset_can_be_left_out(made):
    out, _ = made
    for item in (samples, attacks):
        less, _ = draw(item.EXPERIMENT, SMOKE, out, ("mnist",))
        assert not any("cifar10" in sentence for sentence in less.sentences)
        assert any(sentence.startswith("mnist") for sentence in less.sentences)


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item.EXPERIMENT.name)
def test_the_two_ways_have_folders_of_their_own_and_say_how_they_differ(made, item):
    _, outcomes = made
    text, code = item.EXPERIMENT, item.AS_PUBLISHED_CODE
    assert code.name == f"{text.name}-as-published-code"
    assert outcomes[text.name].sentences[-1] != outcomes[code.name].sentences[-1]
    assert "--as-published-code" in outcomes[text.name].sentences[-1]
    assert outcomes[code.name].sentences[-1].startswith("As the published code:")


# The tree.


def tree_asks(lab: Lab, *, published_code: bool = False) -> dict[str, RunConfig]:
    """All runs of Figure 1."""
    return {
        name: config
        for place in tree_runs.places(lab)
        for network in tree_runs.NETWORKS
        for name, config in tree_runs.runs(
            lab, place, network, published_code=published_code
        ).items()
    }


def test_the_trees_runs_are_those_of_the_text(tmp_path):
    asked = list(tree_asks(Lab("t", LAPTOP, LabOptions(tmp_path))).values())
    assert len(asked) == len({run_key(c) for c in asked}) == 420
    assert sum(c.epochs * math.ceil(c.train_size / 32) for c in asked) == 3_134_400
    epochs = {c.train_size: c.epochs for c in asked}
    theirs = published.load("zhang2021")["binary_tree"]
    assert list(epochs) == theirs["n_train"]
    assert list(epochs.values()) == theirs["epochs"]
    assert {c.tree_noise for c in asked} == set(theirs["epsilon"])
    for c in asked:
        c.check()
        assert (c.method, c.lr, c.schedule, c.batch_size) == ("adam", 1e-3, "step", 32)
        assert (c.data, c.alpha, c.validation, c.tree_noise_shared) == ("tree", 1, 0.0, False)
    # A trial is one tree for all four networks, and every trial has its own.
    by_tree: dict[int, set[str]] = {}
    for c in asked:
        by_tree.setdefault(c.data_seed, set()).add(c.model)
    assert len(by_tree) == 105
    assert all(len(models) == 4 for models in by_tree.values())


def test_as_published_code_the_trees_noise_is_shared_and_clean_runs_are_the_same(tmp_path):
    lab = Lab("t", LAPTOP, LabOptions(tmp_path))
    text, code = (tree_asks(lab, published_code=code).values() for code in (False, True))
    assert all(c.tree_noise_shared == (c.tree_noise > 0) for c in code)
    keys = [{run_key(c) for c in runs} for runs in (text, code)]
    assert len(keys[0] & keys[1]) == 140


def test_the_tree_says_whether_locality_helps(tmp_path):
    places = tree_runs.places(Lab("t", LAPTOP, LabOptions(tmp_path)))
    errors = {"weight": 0.9, "local": 0.2, "oracle": 0.01, "fc": 0.8}
    falling = {
        place: {n: [e * (0.05 if place.samples >= 2048 else 1.0)] for n, e in errors.items()}
        for place in places
    }
    said = tree.sentences(falling)
    assert "WeightNet and FCNet at 21 of 21 pairs" in said[0]
    assert "figure: 21, 4 of them by less than it can be read to), and in 21 of 21" in said[0]
    assert "With 4,096 samples and ε = 0, 0.1, 0.3, WeightNet's mean error is 0.045" in said[1]
    assert "WeightNet 2,048 (the paper: 2,048), LocalNet 2,048 (the paper: 512)" in said[2]
    assert "OracleNet 64 (the paper: 512), FCNet 2,048 (the paper: 4,096)" in said[2]

    worse = {p: {n: [1.0 if n == "local" else 0.5] for n in errors} for p in places}
    said = tree.sentences(worse)
    assert "at 0 of 21 pairs" in said[0]
    assert "WeightNet at no size here" in said[2]


def test_a_run_that_failed_leaves_a_gap(tmp_path):
    def result(config: RunConfig) -> Any:
        failed = config.model == "tree-fc" and config.train_size == 64
        return ({} if failed else {"test_loss": 0.5}), None

    picture, table = tree.reproduce(HandMade(tmp_path, result)).exhibits
    assert picture.png.startswith(b"\x89PNG")
    assert [row[-2] for row in table.rows].count("–") == 3


def recovered(error: Callable[[RunConfig, int], float]) -> Callable[[RunConfig], Any]:
    def result(config: RunConfig) -> Any:
        values = {
            "theta": [0.6, 1.2],
            "relative_errors": [error(config, level) for level in range(6)],
            "left": [0.6] + [0.0] * 31,
            "right": [1.2] + [-0.1] * 31,
        }
        return {"test_loss": 0.02}, values

    return result


def test_figure_2_counts_the_trials_that_recover_the_tree(tmp_path):
    lab = HandMade(
        tmp_path, recovered(lambda c, level: 0.05 if c.train_size == 4096 else 1.1 + level / 10)
    )
    outcome = tree_weights.reproduce(lab)
    assert len(lab.asked) == 70
    assert lab.asked.items() <= tree_asks(lab).items()  # the runs of Figure 1
    weight, local, _ = outcome.sentences
    assert "WeightNet: the relative error of its first level falls from 1.1" in weight
    assert "to 0.050 and 0.050 at 4,096 (the paper's trial: 0.11); 2 of 2 trials" in weight
    assert "the paper's trial: 0.011" in local
    rows = {row[:2]: row for row in outcome.exhibits[-1].rows}
    assert rows["WeightNet", "512"][3::2] == ("1.1", "1.4", "0", "0.082")
    assert rows["WeightNet", "512"][6:9:2] == ("1.6", "0.020")
    assert rows["LocalNet", "128"][5] == "–"

    name = measure_name(tree_weights.recovery)
    _, far = recovered(lambda c, level: 0.4)(RunConfig())
    record = RunRecord("k", {}, {}, {}, measured={name: far})
    small, large = tree_runs.places(lab)[0], tree_runs.places(lab)[6]
    (said,) = tree_weights.sentences({"weight": {small: [record], large: [record, record]}})
    assert "does not fall from 0.4" in said
    assert "0 of 2 trials" in said


def test_up_to_scale_a_unit_of_local_net_and_all_of_weight_net_may_be_larger():
    def of(left: list[float], right: list[float]) -> RunRecord:
        values = {"theta": [3.0, 4.0], "left": left, "right": right}
        return RunRecord("k", {}, {}, {}, measured={measure_name(tree_weights.recovery): values})

    shared = of([1.5, 0.0], [2.0, 0.0])  # half of θ
    assert tree_weights.up_to_scale(shared, "weight") == pytest.approx(0)
    assert tree_weights.up_to_scale(shared, "local") == pytest.approx(0.5**0.5)  # a dead unit
    local = of([1.5, -6.0], [2.0, -8.0])
    assert tree_weights.up_to_scale(local, "local") == pytest.approx(0)
    away = of([4.0], [-3.0])  # at a right angle to θ
    assert tree_weights.up_to_scale(away, "weight") == pytest.approx(1)
    assert tree_weights.up_to_scale(away, "local") == pytest.approx(1)


def test_recovery_measures_what_the_analysis_does(tmp_path):
    lab = Lab("t", SMOKE, LabOptions(tmp_path))
    configs = tree_runs.runs(lab, tree_runs.places(lab)[0], "weight", published_code=False)
    ((name, config),) = configs.items()
    record = lab.train(configs, measure=tree_weights.recovery)[name]
    levels = analysis.recovered_weights(
        load_model(lab.directory(config)), draw_theta(config.data_seed)
    )
    assert tree_weights.first_level(record) == pytest.approx(levels[0].relative_error, abs=1e-6)
    values = record.measured[measure_name(tree_weights.recovery)]
    assert values["left"] == pytest.approx(levels[0].left.tolist(), abs=1e-5)
    assert len(values["relative_errors"]) == 6


# MNIST and CIFAR-10.


def test_the_image_runs_are_those_of_the_text(tmp_path):
    lab = Lab("t", PAPER, LabOptions(tmp_path))
    drawn = image_runs.sizes(lab, published_code=False)
    theirs = published.load("zhang2021")["images"]
    assert [(s.label, s.epochs) for s in drawn] == list(
        zip(theirs["n_train"], theirs["epochs"], strict=True)
    )
    assert [s.trials for s in drawn] == [11, 11, 8, 8, 5, 5, 2, 2]
    for size in drawn:
        runs = image_runs.runs(lab, "mnist", size, "weight", published_code=False)
        assert len(runs) == size.trials
        for trial, config in enumerate(runs.values()):
            config.check()
            assert (config.model, config.batch_size) == ("zhang-weight", 4)
            assert (config.train_size, config.seed, config.data_seed) == (size.label, trial, trial)
            assert (config.lr, config.momentum, config.schedule) == (1e-3, 0.9, "constant")
            assert (config.normalise, config.augment, config.last_batch) == ("half", "none", "keep")


def test_as_published_code_sizes_are_of_each_class_up_to_all_there_are(tmp_path):
    lab = Lab("t", LAPTOP, LabOptions(tmp_path))
    drawn = image_runs.sizes(lab, published_code=True)
    assert [size.batch for size in drawn] == [1, 1, 2, 2, 4, 4, 8, 8]
    taken = {
        data: [image_runs.samples(lab, data, size, published_code=True) for size in drawn]
        for data in ("mnist", "cifar10")
    }
    assert taken["mnist"] == [100, 300, 1000, 3000, 10_000, 30_000, 60_000, 60_000]
    assert taken["cifar10"][-2:] == [50_000, 50_000]
    for size in drawn:
        runs = image_runs.runs(lab, "cifar10", size, "weight", published_code=True)
        for config in runs.values():
            config.check()
            assert config.model == "zhang-weight-even"
            assert config.batch_size == size.batch
            assert config.train_size == (None if size.label >= 10_000 else 10 * size.label)
    last = [
        [run_key(c) for c in image_runs.runs(lab, "mnist", s, "fc", published_code=True).values()]
        for s in drawn[-2:]
    ]
    assert last[0] == last[1]


def test_at_laptop_every_size_of_the_text_has_three_trials(tmp_path):
    lab = Lab("t", LAPTOP, LabOptions(tmp_path))
    assert min(size.trials for size in image_runs.sizes(lab, published_code=False)) == 3


def test_table_2_takes_the_runs_of_figure_3(tmp_path):
    given = {"datasets": ("mnist", "cifar10")}
    first = HandMade(tmp_path, accurate(lambda config: 0.5), **given)
    samples.reproduce(first)
    second = HandMade(tmp_path, attacked(lambda config: (0.9, 0.7)), **given)
    attacks.reproduce(second)
    assert {c.train_size for c in second.asked.values()} == {1000, 10_000}
    assert second.asked.items() <= first.asked.items()


def accurate(accuracy: Callable[[RunConfig], float]) -> Callable[[RunConfig], Any]:
    return lambda config: ({"test_accuracy": accuracy(config)}, None)


def test_the_published_curves_themselves_are_at_no_distance(tmp_path):
    """Fed what the paper shows, Figure 3 says what the paper says."""
    drawn = image_runs.sizes(Lab("t", LAPTOP, LabOptions(tmp_path)), published_code=False)
    number = {size.label: size.number for size in drawn}

    def theirs(config: RunConfig) -> float:
        network = config.model.removeprefix("zhang-")
        return read_off.FIGURE3[config.data][network][number[config.train_size]] / 100

    lab = HandMade(tmp_path, accurate(theirs), datasets=("mnist", "cifar10"))
    said = samples.reproduce(lab).sentences
    assert said[0].startswith("mnist, 30,000 samples: ConvNet 98.8 > LocalNet 97.7 > WeightNet")
    assert "the best of the four at 8 of the 8 sizes at which one of them reaches 15 %" in said[1]
    assert "ours from the paper's: 0.0 points at one size as printed, " in said[2]
    assert "WeightNet the worst at 8 (the paper: 8)" in said[4]


def test_figure_3_says_when_the_order_is_another(tmp_path):
    backwards = accurate(lambda c: 0.9 if c.model == "zhang-weight" else 0.5)
    said = samples.reproduce(HandMade(tmp_path, backwards, datasets=("cifar10",))).sentences
    assert ": WeightNet 90.0 > " in said[0]
    assert "best of the four at 0 of the 8 sizes" in said[1]
    assert "WeightNet the worst at 0 (" in said[1]


def attacked(scores: Callable[[RunConfig], tuple[float, float]]) -> Callable[[RunConfig], Any]:
    tile = attack_measures.side_by_side(torch.zeros(8, 1, 16, 16))
    words = {name: ["a"] * 8 for name in ("true", "read_after")}

    def result(config: RunConfig) -> Any:
        clean, adversarial = scores(config)
        values = {"epsilon": 0.1, "samples": 10_000, "clean": clean, "adversarial": adversarial}
        return {"test_accuracy": clean}, values | {"before": tile, "after": tile} | words

    return result


def test_table_2_has_the_published_rows_beside_ours(tmp_path):
    lab = HandMade(tmp_path, attacked(lambda c: (0.8, 0.6)), datasets=("mnist", "cifar10"))
    outcome = attacks.reproduce(lab)
    table, *pictures = outcome.exhibits
    assert len(table.rows) == 16
    assert [p.name for p in pictures] == ["zhang_attacks_mnist", "zhang_attacks_cifar10"]
    rows = {(row[0], row[1], row[3]): row[5:] for row in table.rows}
    assert rows["cifar10", "1,000", "LocalNet"] == (
        *("80.00 ± 0.00", "47.19", "60.00 ± 0.00", "28.29"),
        *("−25 %", "−40 %"),
    )
    assert rows["mnist", "10,000", "ConvNet (notebooks only)"][1::2] == (
        *("98.75", "92.23"),
        "−7 %",
    )


def test_table_2_says_which_network_is_more_robust_and_whether_the_paper_does(tmp_path):
    def as_in_the_paper(config: RunConfig) -> tuple[float, float]:
        network = config.model.removeprefix("zhang-")
        size = image_runs.Size(config.train_size, 1, 1, 4, 0)
        clean, adversarial = attacks.published_row(config.data, size, network)
        return clean / 100, adversarial / 100 + 0.01 * (config.seed - 1)

    lab = HandMade(tmp_path, attacked(as_in_the_paper), datasets=("mnist", "cifar10"))
    said = attacks.reproduce(lab).sentences
    assert "19 % of WeightNet's right answers (95.5 %) and 18 % of LocalNet's (96.2 %):" in said[0]
    assert "the trials do not tell them apart, −0.46 points" in said[0]
    assert "; in the paper it takes 19 and 18 %." in said[0]
    assert "mnist: from 1,000 to 10,000 samples that share changes by: WeightNet −4" in said[2]
    assert "24 % of WeightNet's right answers (" in said[3]
    assert "and 40 % of LocalNet's (47.2 %): LocalNet loses more, +1" in said[3]
    assert "; and so in the paper, where it takes 24 and 40 %." in said[3]

    reverse = attacked(
        lambda c: (0.8, 0.01 * c.seed + (0.2 if c.model == "zhang-weight" else 0.79))
    )
    said = attacks.reproduce(HandMade(tmp_path, reverse, datasets=("cifar10",))).sentences
    assert "(80.0 %) and 0 % of LocalNet's (80.0 %): WeightNet loses more" in said[0]
    assert "; not so in the paper, where it takes 24 and 40 %." in said[0]


def test_table_2_as_the_published_code_says_what_its_sizes_are(tmp_path):
    lab = HandMade(tmp_path, attacked(lambda c: (0.8, 0.6)), datasets=("mnist",))
    outcome = attacks.reproduce(lab, published_code=True)
    assert outcome.sentences[0].startswith("mnist, 1,000 samples a class: ")
    assert "from 1,000 to 10,000 samples a class that share" in outcome.sentences[2]
    table, picture = outcome.exhibits
    assert {row[1:3] for row in table.rows} == {("1,000", "10,000"), ("10,000", "60,000")}
    assert "networks of 10,000 samples a class." in picture.note


def test_the_attack_is_the_analysis_own_and_the_codes_is_half_of_it(made):
    out, _ = made
    lines = [
        RunRecord(**record)
        for record in map(
            json.loads, (out / "zhang-attacks" / "records.jsonl").read_text().splitlines()
        )
    ]
    values = [r.measured[measure_name(attack_measures.attack)] for r in lines]
    assert {v["epsilon"] for v in values} == {0.1}
    # What the run found on the test data, the attack finds before it begins.
    for record, value in zip(lines, values, strict=True):
        assert value["clean"] == pytest.approx(record.result["test_accuracy"], abs=3e-3)
        assert value["adversarial"] <= value["clean"]
    halved = (out / "zhang-attacks-as-published-code" / "records.jsonl").read_text().splitlines()
    for record in map(json.loads, halved):
        value = record["measured"][measure_name(attack_measures.attack_halved)]
        assert value["epsilon"] == 0.05
