"""What is said of hand-made results, in both directions; and which runs are asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_ind

from scratchconv import models, published
from scratchconv.experiments import settings
from scratchconv.experiments.neyshabur import (
    bounds,
    figure1,
    figure2,
    figure2_right,
    figure3,
    figure4,
    figure5,
    permutation,
    table1,
    table2,
)
from scratchconv.lab import Lab, LabOptions, RunRecord, run_key
from scratchconv.lab.scales import LAPTOP
from scratchconv.training import RunConfig


def record(
    test: float = 50.0,
    train: float = 60.0,
    layers: tuple[tuple[int, int], ...] = (),
    **more: object,
) -> RunRecord:
    """A finished run of these accuracies (percent) and layers (non-zeros, size)."""
    described = [{"nonzero": n, "size": size, "units": 4, "dead_units": 0} for n, size in layers]
    result = {"test_accuracy": test / 100, "train_accuracy": train / 100, "layers": described}
    return RunRecord("k", {}, dict(more.pop("resolved", {})), result | more, [], {})


class PretendedLab(Lab):
    """Asks as the laptop's lab does, trains nothing: every run has the accuracy it is told."""

    def __init__(self, name, datasets, out, accuracy=lambda config: 50.0):
        super().__init__(name, LAPTOP, LabOptions(out), datasets=datasets)
        self.accuracy = accuracy
        self.asked = {}

    def train(self, configs, *, measure=None, epochs=False, weights=False):
        made = {}
        for name, config in configs.items():
            config.check()
            self.asked[run_key(config)] = config
            result = {
                "test_accuracy": None if config.skip_test else self.accuracy(config) / 100,
                "validation_accuracy": self.accuracy(config) / 100,
                "train_accuracy": self.accuracy(config) / 100,
                "layers": [{"nonzero": 10, "size": 10**6, "units": 4, "dead_units": 0}] * 3,
                "seconds": 1.0,
            }
            made[name] = RunRecord(
                run_key(config),
                config.identity(),
                {"alpha": config.alpha or 1, "image": [3, 32, 32]},
                result,
            )
        return made


# --- the formulas of Figure 1


@given(row=st.sampled_from(figure1.ROWS), alpha=st.integers(1, 9), sixteenths=st.integers(1, 4))
def test_the_formulas_of_the_layers_give_what_is_counted(row, alpha, sixteenths):
    side = 16 * sixteenths
    assert row.exact(alpha, side, figure1.CLASSES) == figure1.counted(row.model, alpha, side)


def test_a_wrong_formula_is_said_to_be_wrong():
    counts = {row.model: {(1, 64): 10, (2, 128): 100} for row in figure1.ROWS}
    for row in figure1.ROWS:
        counts[row.model] |= {(row.alpha, s): 10 for s in (64, 128)}
    said = figure1.sentences(counts)[0]
    assert "miss some counts of D-CONV, D-LOCAL" in said


# --- Table 1


def test_table1_names_what_is_worth_more(tmp_path):
    lab = PretendedLab("table1", ("cifar10",), tmp_path)
    cells = {"s-conv": 80.0, "s-local": 79.0, "s-fc": 60.0}
    found = {
        table1.Cell(m, "cifar10", length): record(a)
        for m, a in cells.items()
        for length in ("short", "long")
    }
    assert (
        "worth +19.00 points, more than sharing weights, +1.00 (in the paper +7.23 and +1.19)"
        in (table1.sentences(lab, "cifar10", found)[0])
    )
    found[table1.Cell("s-local", "cifar10", "long")] = record(61.0)
    assert (
        "+1.00 points, less than sharing weights, +19.00"
        in (table1.sentences(lab, "cifar10", found)[0])
    )
    found[table1.Cell("s-local", "cifar10", "long")] = RunRecord("k", {}, {}, {}, failure="inf")
    assert not [s for s in table1.sentences(lab, "cifar10", found) if "S-*" in s]


def test_table1_says_what_depth_and_length_are_worth(tmp_path):
    lab = PretendedLab("table1", ("cifar10",), tmp_path)
    cells = {("s-fc", "short"): 50, ("s-fc", "long"): 60, ("d-fc", "long"): 55}
    cells |= {("3-fc", "short"): 50, ("3-fc", "long"): 58}
    found = {table1.Cell(m, "cifar10", length): record(a) for (m, length), a in cells.items()}
    depth, length = table1.sentences(lab, "cifar10", found)
    assert "that depth is worth (in the paper): FC −5.00 (−15.01); one seed" in depth
    assert "40\u00a0epochs are worth instead of 10 (in the paper): S-FC +10.00 (+5.86)" in length
    assert "3-FC +8.00 (+5.93); settings" in length
    assert length.endswith("more than in the paper, whose shorter training is long already.")
    found[table1.Cell("3-fc", "cifar10", "long")] = record(51)
    _, length = table1.sentences(lab, "cifar10", found)
    assert "3-FC +1.00 (+5.93)" in length
    assert "All gain more" not in length


# --- which runs are asked for, at scale laptop


def asked(experiment, tmp_path, datasets=("cifar10",)):
    lab = PretendedLab(experiment.name, datasets, tmp_path, _accuracy)
    experiment.reproduce(lab)
    return lab.asked


def _accuracy(config: RunConfig) -> float:
    return 50.0 + 100 * config.momentum + 1e4 * config.weight_decay - 1e4 * config.lam


def test_table1_shares_the_long_runs_of_table2(tmp_path):
    mine, theirs = (asked(e.EXPERIMENT, tmp_path) for e in (table1, table2))
    for model in ("s-conv", "s-local", "s-fc", "3-fc"):
        long_ones = {
            key: config
            for key, config in mine.items()
            if config.model == model and config.epochs == LAPTOP.long
        }
        assert long_ones.keys() <= theirs.keys(), model
        assert any(config.seed == LAPTOP.seeds[0] for config in long_ones.values())
    # The deep ones choose at the shorter length.
    trials = [c for c in mine.values() if c.model == "d-fc" and c.seed == LAPTOP.search_seed]
    assert {config.epochs for config in trials} == {LAPTOP.short}


def test_table2_says_what_every_beta_gains_here_and_in_the_paper():
    theirs = published.load("neyshabur2020")["table2"]
    found = {
        "s-fc/beta-lasso-50": [record(64.4), record(64.6)],
        "s-fc/beta-lasso-1": [record(61.0)],
        "s-fc/beta-lasso-0": [record(61.5)],
        "s-fc/sgd": [record(63.0), record(63.2)],
    }
    edges = {"s-fc/beta-lasso-1": ["smallest λ", "largest rate"], "s-fc/beta-lasso-0": []}
    fifty, one, none = table2.against_sgd("cifar10", found, theirs, edges)
    expected = ttest_ind([64.4, 64.6], [63.0, 63.2], equal_var=False).confidence_interval(0.95)
    assert f"+1.40 points (95 % interval +{expected.low:.2f} to +{expected.high:.2f})" in fifty
    assert fifty.endswith("in the paper +6.56.")
    assert one.endswith(
        "on the same S-FC: −2.10 points; in the paper +3.89; β = 1 at the smallest λ and largest"
        " rate tried."
    )
    assert none.endswith("β = 0 against SGD on the same S-FC: −1.60 points; in the paper +3.82.")


def test_momentum_is_compared_at_one_weight_decay():
    def trial(momentum: float, decay: float, accuracy: float, **other: object) -> RunRecord:
        settings_ = {"model": "s-fc", "method": "sgd", "data": "cifar10", "skip_test": True}
        settings_ |= {"momentum": momentum, "weight_decay": decay, **other}
        return RunRecord("k", settings_, {}, {"validation_accuracy": accuracy / 100})

    trials = [trial(0.0, 5e-4, 61.5), trial(0.9, 5e-4, 62.4), trial(0.9, 1e-3, 62.8)]
    trials += [trial(0.9, 5e-4, 99, model="s-conv"), trial(0.9, 5e-4, 98, skip_test=False)]
    ours = [trial(0.0, 0.0, of, method="beta-lasso", beta=beta) for beta, of in ((50, 62), (1, 70))]
    assert settings.momentum("cifar10", "s-fc", "S-FC", trials) == []
    trials += ours
    (sentence,) = settings.momentum("cifar10", "s-fc", "S-FC", trials)
    assert "at weight decay 0.0005 SGD's trial on S-FC comes to 62.40 %" in sentence
    assert "with momentum and to 61.50 % without" in sentence
    assert "β-LASSO, which is defined without, to 62.00 %" in sentence
    assert settings.momentum("cifar10", "s-fc", "S-FC", trials[1:]) == []
    assert settings.momentum("cifar100", "s-fc", "S-FC", trials) == []


def test_who_chose_at_the_edge_of_what_was_tried_is_named():
    decays = ((0.0, 5e-4), (0.9, 5e-4), (0.9, 1e-3), (0.9, 2e-3))
    lams = ((0.1, 1e-4), (0.3, 5e-5), (0.3, 3e-5), (0.3, 9e-5))
    sgd = [RunConfig(method="sgd", momentum=m, weight_decay=decay) for m, decay in decays]
    lasso = [RunConfig(lr=lr, lam=1e-5, lam_first=lam) for lr, lam in lams]
    rows = {
        "S-CONV": (sgd, sgd[3]),
        "S-LOCAL": (sgd, sgd[2]),
        "S-FC": (sgd, sgd[0]),  # the only one without momentum: nothing is known of more or less
        "β = 50": (lasso, lasso[1]),
        "β = 0": (lasso, lasso[2]),
        "β = 1": (lasso, lasso[2]),
    }
    assert settings.at_the_edge("cifar10", rows) == [
        "cifar10: at the edge of what was tried the largest weight decay was chosen by S-CONV; the"
        " largest rate was chosen by β = 50, β = 0 and β = 1; the smallest λ was chosen by β = 0"
        " and β = 1."
    ]
    assert settings.at_the_edge("cifar10", {"3-FC": (sgd[:1], sgd[0])}) == []
    assert settings.at_the_edge("cifar10", {"S-FC": (lasso[:3], lasso[0])}) == [
        "cifar10: at the edge of what was tried the only λ at its rate was chosen by S-FC; the"
        " smallest rate was chosen by S-FC."
    ]


def test_settings_are_chosen_once_and_taken_over(tmp_path):
    runs = asked(table1.EXPERIMENT, tmp_path, ("cifar10", "cifar100")).values()
    trials = [c for c in runs if c.seed == LAPTOP.search_seed]
    assert {config.data for config in trials} == {"cifar10"}
    assert all(config.skip_test for config in trials)
    finals = [c for c in runs if c.seed == LAPTOP.seeds[0]]
    assert len(finals) == 7 * 2 * 2
    # Weight decay goes with the square root of the length.
    assert {(c.epochs, c.weight_decay) for c in finals} == {(40, 2e-3), (10, 4e-3)}
    assert {c.momentum for c in finals} == {0.9}


@pytest.mark.parametrize("module", [table1, figure2, figure5, permutation])
def test_the_chosen_settings_are_those_of_the_final_runs(module, tmp_path, monkeypatch):
    grid = ((0.1, 0.0, 0.0), (0.3, 0.5, 1e-4))
    monkeypatch.setattr(settings, "_SGD", {"laptop": grid})
    runs = asked(module.EXPERIMENT, tmp_path).values()
    finals = [c for c in runs if not c.skip_test and c.method == "sgd"]
    assert finals
    assert {(c.lr, c.momentum) for c in finals} == {(0.3, 0.5)}
    for config in finals:
        ratio = (LAPTOP.long / config.epochs) ** 0.5
        assert config.weight_decay == pytest.approx(1e-4 * ratio, rel=1e-3)


def test_the_closer_looks_ask_for_runs_of_table2_alone(tmp_path):
    theirs = asked(table2.EXPERIMENT, tmp_path)
    for experiment in (figure3.EXPERIMENT, figure4.EXPERIMENT, bounds.EXPERIMENT):
        lab = PretendedLab(experiment.name, ("cifar10",), tmp_path, _accuracy)
        with pytest.raises((KeyError, IndexError)):  # nothing was measured; all has been asked for
            experiment.reproduce(lab)
        assert lab.asked
        assert lab.asked.keys() <= theirs.keys(), experiment.name
    mine = asked(permutation.EXPERIMENT, tmp_path)
    permuted = {key: c for key, c in mine.items() if c.permute is not None}
    assert mine.keys() - permuted.keys() <= theirs.keys()
    assert len(permuted) == 3 * len(LAPTOP.seeds)


def test_every_budget_of_figure2_can_be_built():
    for sizes in figure2.SIZES.values():
        for _, model in figure2.NETWORKS:
            image = (1, 8, 8) if sizes is figure2.SIZES["smoke"] else (3, 32, 32)
            least = models.parameter_count(model, image)
            assert sizes.choosing in sizes.of(model)
            assert all(millions * 1e6 >= least for millions in sizes.of(model)), model


# --- Figure 2


def test_the_fewest_weights_are_those_of_the_first_size_that_fits():
    curve = {
        1.0: [record(50, 55, ((1, 1_100_000),)), record(54, 57, ((1, 1_100_000),))],
        2.0: [record(60, 61, ((1, 2_000_000),))],
        4.0: [record(58, 80, ((1, 4_000_000),))],
        8.0: [],
    }
    assert figure2_right.fewest(curve, 60) == figure2_right.Fewest(2.0, 1.1, 60.0)
    assert figure2_right.fewest(curve, 56) == figure2_right.Fewest(1.1, None, 60.0)
    assert figure2_right.fewest(curve, 90) == figure2_right.Fewest(None, 4.0, 60.0)
    assert figure2_right.fewest({1.0: []}, 60) is None


@pytest.mark.parametrize("right", [True, False])
def test_figure2_says_whether_the_order_is_the_papers(right):
    theirs = published.load("neyshabur2020")["fig2_fig6"]
    at = theirs["params_millions"].index(0.512)
    sign = 1 if right else -1
    by_model = {
        model: {0.512: [record(50 + sign * theirs["cifar10"][model]["test"][at] / 2)]}
        for _, model in figure2.NETWORKS
    }
    [sentence] = figure2.sentences("cifar10", by_model)
    assert ("(the paper's order)" in sentence) is right
    assert ("(not the paper's order)" in sentence) is not right


# --- Figure 3


def run_of_s_fc(alpha: int, counts: list[int]) -> RunRecord:
    size = 3 * 32**2 * 16**2 * alpha
    others = ((5, 16**2 * 24 * alpha**2), (9, 240 * alpha))
    resolved = {"image": [3, 32, 32], "classes": 10, "alpha": alpha}
    made = record(layers=((counts[-1], size), *others), resolved=resolved)
    lines = [
        {"epoch": i, "layers": [{"nonzero": n, "size": size}, *made.result["layers"][1:]]}
        for i, n in enumerate(counts, start=1)
    ]
    return RunRecord("k", {}, made.resolved, made.result, lines)


def test_the_reference_lines_are_the_papers_at_its_alpha():
    lines = figure3.reference_lines(run_of_s_fc(230, [10]))
    theirs = published.load("neyshabur2020")["fig3"]["reference_lines"]
    assert lines["S-CONV"] == theirs["layer1_s_conv"]
    assert lines["S-LOCAL"] == 3 * theirs["layer1_s_local_without_input_channels"]


@pytest.mark.parametrize("data", ["cifar10", "cifar100", "svhn"])
def test_published_shares_are_shares(data):
    shares = [figure3.published_density(data, layer) for layer in range(3)]
    assert all(0 < share < 1 for share in shares)
    assert shares[0] < shares[1] < shares[2]  # the paper: the first the sparsest, the last dense


def test_bursts_are_rises_of_more_than_a_tenth():
    epochs = list(range(8))
    counts = [1000, 400, 404, 200, 230, 300, 290, 100]
    assert figure3.bursts(epochs, counts) == [figure3.Burst(3, 5, 200, 300)]
    assert figure3.bursts(epochs[:3], counts[:3]) == []
    assert figure3.bursts([0, 1, 2], [100, 50, 80]) == [figure3.Burst(1, 2, 50, 80)]
    level = figure3.bursts([0, 1, 2, 3], [100, 106, 106, 112])  # it stands still, and falls nowhere
    assert level == [figure3.Burst(0, 3, 100, 112)]
    ends = figure3.bursts(list(range(7)), [200, 100, 100, 100, 150, 150, 150])
    assert ends == [figure3.Burst(3, 4, 100, 150)]


def test_figure3_says_what_is_left_beside_s_conv_and_s_local():
    left, calm, _ = figure3.sentences("cifar10", run_of_s_fc(8, [5_000_000, 48_600]))
    assert "of 6,291,456 first-layer weights 48,600 are left" in left
    assert left.endswith(
        "25 times as many as S-CONV's 1,944 (the paper: 2.2 times); S-LOCAL's has 497,664."
    )
    assert "no bursts" in calm
    _, burst, _ = figure3.sentences("cifar10", run_of_s_fc(8, [10_000, 90_000, 500]))
    assert "from 10,000 weights to 90,000" in burst


# --- Figures 4 and 5, permutation


@pytest.mark.parametrize(
    ("spread", "chance", "words"),
    [
        (0.5, 0.9, "more local than SGD's (0.800), and less than"),
        (0.85, 0.9, "not more local than SGD's (0.800), and less than"),
        (0.85, 0.8, "not more local than SGD's (0.800), and not less than"),
    ],
)
def test_figure4_says_what_is_more_local(spread, chance, words):
    locality = {"spread_by_chance": chance}
    sgd = record(spread=0.8, locality=locality)
    lasso = record(spread=spread, locality=locality)
    assert words in figure4.sentences("svhn", [sgd, sgd, lasso])[0]
    dead = record(spread=None, locality=None)
    assert "no unit" in figure4.sentences("svhn", [sgd, sgd, dead])[0]


def test_figure5_says_what_larger_kernels_cost():
    methods = {
        "sgd": {3: [record(60)], 9: [record(50)], 15: []},
        "beta-lasso": {3: [record(61)], 9: [record(58)], 15: []},
    }
    cost, gain = figure5.sentences("cifar10", methods)
    assert "−10.00 points (the paper −3.02) by SGD and −3.00 points (the paper −2.30)" in cost
    assert "+1.00 at 3 (the paper +0.24), +8.00 at 9 (the paper +0.96)" in gain


def test_permutation_says_what_changes_and_how_sure_that_is():
    plain = [record(60.0), record(60.2), record(59.9)]
    permuted = [record(60.1), record(59.8), record(60.0)]
    (same,) = permutation.sentences("cifar10", {"S-FC, SGD": permutation.Pair(plain, permuted)})
    low, high = ttest_ind(
        [60.1, 59.8, 60.0], [60.0, 60.2, 59.9], equal_var=False
    ).confidence_interval(0.95)
    assert f"interval −{-low:.2f} to +{high:.2f}): the seeds do not tell them apart" in same
    worse = permutation.Pair(plain, [record(50.1), record(50.0), record(50.2)])
    (changed,) = permutation.sentences("cifar10", {"S-CONV, SGD": worse})
    assert "changes test accuracy by −9.93 points (95 % interval" in changed
    assert "seeds" not in changed
    alone = permutation.Pair(plain[:1], permuted[:1])
    assert "one seed" in permutation.sentences("cifar10", {"S-FC, SGD": alone})[0]
