"""The verdict: each sentence against runs whose numbers are known."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest

from scratchconv.report.group import group
from scratchconv.report.label import SETTINGS
from scratchconv.report.record import read
from scratchconv.report.verdict import Verdict, verdict
from scratchconv.training import RunConfig

NULL = {"z_score": 0.3, "p_value": 0.4, "ratio": 0.99}


def said(*runs) -> str:
    """Headline and sentences as one text, with ordinary spaces."""
    found = verdict(read(runs))
    return _plain(found)


def _plain(found: Verdict) -> str:
    text = " ".join((found.headline, *found.sentences))
    return text.replace("\u00a0", " ").replace("\u202f", " ")


def test_sparse_beside_dense(make_run):
    text = said(make_run("a", accuracy=0.60), make_run("b", method="sgd", accuracy=0.5))
    kept = "β-LASSO kept 0.16 % of the first layer’s weights of S-FC"
    assert text.startswith(kept)
    assert "its filters cover 0.51 of the image’s spread (dense: 1.00" in text
    assert "far more local than the same weights with shuffled pixels (z = 80, p = 0.005)" in text
    assert "It reached 60.0 % on the CIFAR-10 test set, 10.0 points above the same network" in text
    assert "chance." not in text.split("It reached")[1]


def test_differences_the_test_set_cannot_tell_are_called_so(make_run):
    text = said(make_run("a", accuracy=0.505), make_run("b", method="sgd", accuracy=0.5))
    assert "0.5 points above" in text
    assert "10 000 test samples cannot tell from chance" in text


def test_dense_of_another_length_is_no_comparison(make_run):
    text = said(make_run("a"), make_run("b", method="sgd", epochs=2))
    assert "(1 is uniform" in text
    assert "No dense run of the same network, data and length" in text


@pytest.mark.parametrize(
    ("test", "words"),
    [
        ({"z_score": 80.3, "p_value": 0.002, "ratio": 0.7}, ", far more local than"),
        ({"z_score": 3.1, "p_value": 0.01, "ratio": 0.9}, ", more local than"),
        ({"z_score": 31.5, "p_value": 0.002, "ratio": 0.96}, ", slightly more local than"),
        ({"z_score": 3.1, "p_value": 0.01}, ", slightly more local than"),
        (NULL, ", no more local than"),
        ({"z_score": -30.0, "p_value": 1.0, "ratio": 1.2}, ", no more local than"),
        (None, "Whether that is more local than chance was not tested."),
    ],
)
def test_locality_is_claimed_only_where_shown(make_run, test, words):
    assert words in said(make_run("a", result={"locality": test}))


def test_units_that_share_their_pixels_are_not_called_local_alone(make_run):
    shared = {"z_score": 40.0, "p_value": 0.002, "statistic": 9.0, "null_mean": 13.0}
    both = said(make_run("a", result={"locality": {**shared, "average_filter": 9.2}}))
    assert "Much of this locality is that its units use the same pixels" in both
    apart = said(make_run("b", result={"locality": {**shared, "average_filter": 12.9}}))
    assert "Much of this" not in apart


def test_no_sparse_run(make_run):
    text = said(make_run("a", method="sgd", accuracy=0.565, result={"locality": NULL}))
    assert text.startswith("S-FC trained by SGD reached 56.5 % on the CIFAR-10 test set; no weight")
    assert "kept" not in text


@pytest.mark.parametrize(
    ("model", "words"),
    [("s-local", "locally connected by construction"), ("s-conv", "a convolution by construction")],
)
def test_locality_built_in_is_not_called_learned(make_run, model, words):
    text = said(make_run("a", model=model, method="sgd"))
    assert words in text
    assert "more local" not in text


def test_built_in_structure_is_named_for_comparison(make_run):
    text = said(
        make_run("a"),
        make_run("l", model="s-local", method="sgd", accuracy=0.634),
        make_run("c", model="s-conv", method="sgd", accuracy=0.671),
    )
    assert "S-LOCAL (locality built in) reached 63.4 % and S-CONV (locality and weight" in text


def test_built_in_structure_is_compared_on_the_same_task_only(make_run):
    conv = {"model": "s-conv", "method": "sgd", "accuracy": 0.671}
    for name, options in {
        "samples": {"config": {"train_size": 1000}},
        "longer": {"epochs": 9},
        "permuted": {"config": {"permute": 0}},
    }.items():
        text = said(make_run(f"{name}-a"), make_run(f"{name}-c", **conv, **options))
        assert "For comparison" not in text


def test_seeds_are_averaged(make_run):
    text = said(*(make_run(f"s{k}", seed=k, accuracy=0.5 + 0.01 * k) for k in range(3)))
    assert "It reached 51.0 % (± 1.0 %, 3 seeds) on the CIFAR-10 test set" in text
    assert "mean z = 80, every p ≤ 0.005)" in text
    assert "sparse experiments" not in text


def test_one_seed_without_locality_is_not_outvoted(make_run):
    clear = {"z_score": 40.0, "p_value": 0.002, "ratio": 0.7}
    tests = (clear, clear, {"z_score": 1.0, "p_value": 0.15, "ratio": 0.98})
    runs = [make_run(f"s{k}", seed=k, result={"locality": test}) for k, test in enumerate(tests)]
    assert "no more local than the same weights" in said(*runs)
    assert "(mean z = 27, every p ≤ 0.15)" in said(*runs)


UNTESTED = {"test_loss": None, "test_accuracy": None}


def test_runs_that_left_the_test_data_alone_quote_validation(make_run):
    text = said(make_run("a", accuracy=0.6, result=UNTESTED))
    assert "It reached 60.0 % on the CIFAR-10 validation set." in text
    alone = said(make_run("b", method="sgd", accuracy=0.5, result=UNTESTED))
    assert alone.startswith("S-FC trained by SGD reached 50.0 % on the CIFAR-10 validation set;")
    nothing = said(make_run("c", accuracy=0.6, result=UNTESTED, validation=False))
    assert "on the CIFAR-10 training set (nothing else was measured)" in nothing
    assert "No validation data" not in nothing


def test_runs_compare_on_the_split_that_both_have(make_run):
    sparse = make_run("a", accuracy=0.60, result={"test_accuracy": 0.58})
    text = said(
        sparse,
        make_run("b", method="sgd", accuracy=0.5, result=UNTESTED),
        make_run("c", model="s-conv", method="sgd", accuracy=0.671, result=UNTESTED),
    )
    assert (
        "It reached 58.0 % on the CIFAR-10 test set and 60.0 % on the validation set, 10.0 points "
        "above the same network trained dense by SGD (50.0 %)."
    ) in text
    assert "sharing built in) reached 67.1 % on the validation set." in text
    unvalidated = make_run("d", method="sgd", accuracy=0.5, validation=False)
    only_validated = make_run("e", accuracy=0.6, result=UNTESTED)
    text = said(only_validated, unvalidated)
    assert text.endswith("It reached 60.0 % on the CIFAR-10 validation set.")


def test_a_few_zeros_by_chance_leave_a_layer_dense(make_run):
    layers = [{"name": "conv", "nonzero": 10**7 - 3, "size": 10**7, "units": 10, "dead_units": 0}]
    text = said(make_run("a"), make_run("b", method="sgd", result={"layers": layers}))
    assert "the same network trained dense by SGD" in text
    assert "sparse experiments" not in text


def test_the_best_is_chosen_on_validation_never_on_test(make_run):
    good = make_run("a", accuracy=0.5, config={"lam": 1e-5})
    lucky = make_run("b", accuracy=0.4, config={"lam": 1e-4}, result={"test_accuracy": 0.9})
    text = said(lucky, good)
    assert "It reached 50.0 %" in text
    assert "the best on validation data of 2 sparse experiments" in text


def test_without_validation(make_run):
    text = said(make_run("a", validation=False))
    assert "No validation data was held out: to choose settings by these scores" in text
    assert "It reached 57.1 % on the CIFAR-10 test set" in text


def test_regression_quotes_losses(make_run):
    runs = [
        make_run("a", task="regression", image=(1, 1, 64), config={"data": "tree"}),
        make_run("b", task="regression", image=(1, 1, 64), config={"data": "tree"}, method="sgd"),
    ]
    text = said(*runs)
    assert "of the input’s spread" in text
    assert "shuffled inputs" in text
    assert "It reached a loss of 1.27 on the tree test set, equal to that of the same" in text
    assert "57.1" not in text


def test_unfinished_run_beside_a_finished_one(make_run):
    text = said(make_run("open", epochs=15, done=4, config={"lam": 1.0}), make_run("done"))
    assert text.startswith("β-LASSO kept")
    assert "Not finished: S-FC, β-LASSO" in text
    assert "(4 of 15 epochs)" in text


def test_unfinished_run_alone(make_run):
    text = said(make_run("a", epochs=15, done=4))
    assert text.startswith("So far (4 of 15 epochs), β-LASSO kept")
    assert "is tested when the run ends" in text
    assert "So far it reached" in text
    assert "validation set" in text


def test_permuted_pixels_are_named(make_run):
    assert "were shuffled before training" in said(make_run("a", config={"permute": 0}))
    assert "were shuffled before training" not in said(make_run("b"))


def test_dead_units_are_named(make_run):
    layers = [{"name": "conv", "nonzero": 90, "size": 1000, "units": 10, "dead_units": 6}]
    assert "60.0 % of its first layer’s units have no weight left" in said(
        make_run("a", result={"layers": layers})
    )


def test_labels_tell_runs_apart(make_run):
    runs = [
        make_run("a"),
        make_run("b", seed=1),
        make_run("c", config={"permute": 3}),
        make_run("d", config={"split_seed": 5}),
        make_run("e", method="sgd"),
    ]
    labels = [record.label for record in read(runs)]
    assert len(set(labels)) == len(labels)
    assert labels[4] == "S-FC, SGD"
    assert labels[2] == "S-FC, β-LASSO, pixels permuted by seed 3, split seed 0, seed 0"


def test_labels_tell_apart_runs_of_one_name(make_run):
    runs = [make_run("one/run"), make_run("other/run"), make_run("third")]
    labels = [record.label for record in read(runs)]
    assert labels[2] == "S-FC, β-LASSO (third)"
    assert "one/run" in labels[0]
    assert "other/run" in labels[1]


def test_every_setting_tells_runs_apart_or_is_told_otherwise():
    told = {"model", "method", "pruning", "connections_kind", "seed"}  # by name
    settings = {field.name for field in fields(RunConfig)} - told
    settings -= {"params", "engine", "skip_test", "lam_scale", "lam_epochs"}  # by what they lead to
    settings -= {"data_dir", "connections_from", "device", "checkpoint_seconds", "record_every"}
    assert settings == {key for key, _ in SETTINGS}


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({"pruning": "snip", "density": 0.01}, "S-FC, SGD with SNIP"),
        ({"pruning": "rigl", "density": 0.01}, "S-FC, SGD with RigL"),
        ({"pruning": "none"}, "S-FC, SGD"),
    ],
)
def test_a_pruned_run_is_called_so(make_run, config, name):
    (record,) = read([make_run("a", method="sgd", config=config)])
    assert record.label == name


def test_no_advice_about_lam_where_there_is_none(make_run):
    layers = [{"name": "conv", "nonzero": 90, "size": 1000, "units": 10, "dead_units": 6}]
    pruned = {"pruning": "magnitude", "density": 0.09}
    text = said(make_run("a", method="sgd", config=pruned, result={"layers": layers}))
    assert text.startswith("SGD with magnitude pruning kept 9.00 % of the first layer’s weights")
    assert "60.0 % of its first layer’s units have no weight left." in text
    assert "λ" not in text


def given(make_run, name: str, source: dict[str, object], **settings: object) -> Path:
    """A run on the connections of another, of those settings."""
    run = make_run(name, method="sgd", **settings)
    written = json.loads((run / "config.json").read_text())
    whence = {"config": source, "started": "2026-01-01T00:00:00+00:00"}
    written["resolved"]["connections"] = {"sha256": "0" * 64, "from": whence}
    (run / "config.json").write_text(json.dumps(written))
    return run


def test_runs_on_connections_of_other_runs_are_experiments_of_their_own(make_run):
    source = {"model": "s-fc", "method": "beta-lasso", "data": "mnist-32", "seed": 0}
    runs = [
        make_run("dense", method="sgd", accuracy=0.5),
        given(make_run, "a", {**source, "data": "cifar100"}),
        given(make_run, "b", source),
        given(make_run, "c", {**source, "seed": 1}, seed=1),
    ]
    groups = group(read(runs))
    assert [len(g.records) for g in groups] == [1, 1, 2]
    labels = [record.label for record in read(runs)]
    on = "S-FC, SGD on the connections of another run, "
    assert labels[0] == "S-FC, SGD"
    assert labels[1] == f"{on}seed 0, connections of S-FC, β-LASSO on CIFAR-100"
    assert labels[3] == f"{on}seed 1, connections of S-FC, β-LASSO on MNIST (3 × 32 × 32)"


def test_connections_that_were_given_are_not_called_learned(make_run):
    layers = [{"name": "conv", "nonzero": 90, "size": 1000, "units": 10, "dead_units": 0}]
    source = {"model": "s-fc", "method": "beta-lasso", "data": "mnist-32", "seed": 0}
    text = said(given(make_run, "a", source, result={"layers": layers}))
    assert text.startswith("S-FC trained by SGD on the connections of another run reached 57.1 %")
    assert "its first layer was given 9.00 % of its weights" in text
    assert "kept" not in text


@pytest.mark.parametrize("setting", [{"train_size": 1000}, {"cutout": 8}, {"data_seed": 4}])
def test_dense_on_other_samples_is_no_comparison(make_run, setting):
    text = said(make_run("a"), make_run("b", method="sgd", config=setting))
    assert "No dense run of the same network, data and length" in text


def test_runs_on_other_data_are_not_ranked_against_each_other(make_run):
    text = said(
        make_run("a", config={"data": "cifar10"}, accuracy=0.5),
        make_run("b", config={"data": "mnist"}, accuracy=0.9),
        make_run("c", config={"data": "tree"}, task="regression", image=(1, 1, 64)),
    )
    assert "It reached 50.0 % on the CIFAR-10 test set" in text
    assert "All this is on CIFAR-10; for MNIST and tree, see the table." in text
    assert "sparse experiments" not in text
