"""What a run is trained on: Zhang's numbers of samples, his noise, his pixels, no sample lost."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

from scratchconv import data
from scratchconv.errors import InvalidArgument, RunDirectoryError
from scratchconv.training import RunConfig, load_run, load_weights, train
from scratchconv.training.samples import load_samples, split_samples
from scratchconv.training.setup import prepare
from scratchconv.training.start import SliceOver
from scratchconv.training.trained import load_dataset

SMALL = RunConfig(
    model="3-fc", alpha=4, data="digits", method="sgd", validation=0, batch_size=32, epochs=1
)
TREE = RunConfig(
    model="tree-fc",
    alpha=1,
    data="tree",
    method="adam",
    lr=1e-3,
    schedule="step",
    train_size=64,
    validation=0,
    batch_size=32,
    epochs=4,
)


def trained_on(config: RunConfig) -> data.Split:
    return split_samples(config, load_samples(config))["train"]


@pytest.mark.parametrize("validation", [0, 0.1, 300])
def test_train_size_is_how_many_are_trained_on(validation: float) -> None:
    config = replace(SMALL, train_size=100, validation=validation)
    splits = split_samples(config, load_samples(config))
    assert torch.bincount(splits["train"].targets).tolist() == [10] * 10
    whole = split_samples(replace(config, train_size=None), load_samples(config))
    assert torch.equal(splits["validation"].inputs, whole["validation"].inputs)
    assert torch.equal(splits["test"].inputs, whole["test"].inputs)
    resolved = prepare(config).resolved()
    assert resolved["train_size"] == 100


def test_trials_draw_other_samples_and_runs_of_a_trial_share_them() -> None:
    one, same, other = (
        trained_on(replace(SMALL, train_size=50, data_seed=trial, seed=seed))
        for trial, seed in ((0, 0), (0, 5), (1, 0))
    )
    assert torch.equal(one.inputs, same.inputs)
    assert not torch.equal(one.inputs, other.inputs)


def test_the_tree_is_drawn_by_the_data_seed() -> None:
    assert prepare(TREE).resolved()["train_size"] == 64
    one, other, noisy = (
        load_samples(replace(TREE, **changes))
        for changes in ({}, {"data_seed": 3}, {"data_seed": 3, "tree_noise": 0.3})
    )
    assert not torch.equal(one.test.targets, other.test.targets)
    assert torch.equal(other.test.targets, noisy.test.targets)
    assert torch.equal(other.train.inputs, noisy.train.inputs)
    added = noisy.train.targets - other.train.targets
    assert 0.2 < float(added.std()) < 0.4
    shared = load_samples(
        replace(TREE, data_seed=3, tree_noise=0.3, tree_noise_shared=True)
    ).train.targets
    assert float((shared - other.train.targets).std()) < 1e-5
    assert torch.equal(
        load_samples(replace(TREE, train_size=None)).train.inputs, data.load("tree").train.inputs
    )


@pytest.mark.parametrize("size", [10, 30, 3])
def test_keep_loses_no_sample(size: int) -> None:
    config = replace(TREE, train_size=size, batch_size=4, last_batch="keep")
    setup = prepare(config)
    seen = [targets for _, targets in setup.training.epoch(0)]
    assert [len(targets) for targets in seen] == [4] * (size // 4) + [size % 4] * (size % 4 > 0)
    assert sorted(torch.cat(seen).tolist()) == sorted(setup.splits["train"].targets.tolist())


def test_a_kept_last_batch_counts_in_steps_and_losses(tmp_path: Path) -> None:
    config = replace(SMALL, train_size=10, batch_size=4, last_batch="keep", epochs=3)
    run = train(config, tmp_path / "run")
    assert run.resolved["steps"] == run.result["steps"] == 9
    assert run.metrics[-1]["step"] == 9
    # An accuracy of ten samples, not of eight.
    assert all((10 * line["train_accuracy"]) % 1 == pytest.approx(0) for line in run.metrics)


def test_a_batch_of_one_is_for_networks_without_batch_norm(tmp_path: Path) -> None:
    run = train(replace(TREE, train_size=9, batch_size=4, last_batch="keep"), tmp_path / "kept")
    assert run.resolved["steps"] == 12
    one = train(replace(TREE, train_size=5, batch_size=1, epochs=2), tmp_path / "ones")
    assert one.resolved["steps"] == 10
    with pytest.raises(InvalidArgument, match=r"--batch-size 1: the BatchNorm of 3-fc"):
        prepare(replace(SMALL, batch_size=1))
    with pytest.raises(InvalidArgument, match=r"last batch of one of 9 samples.*--last-batch drop"):
        prepare(replace(SMALL, batch_size=4, train_size=9, last_batch="keep"))
    assert len(prepare(replace(SMALL, batch_size=4, train_size=9)).training) == 2


def test_half_shows_pixels_from_minus_one_to_one() -> None:
    setup = prepare(replace(SMALL, normalise="half", augment="none"))
    assert setup.dataset.mean == setup.dataset.std == (0.5,)
    for batches in (setup.training.epoch(0), setup.evaluation_batches("test")):
        inputs = torch.cat([inputs for inputs, _ in batches])
        assert float(inputs.min()) == -1
        assert float(inputs.max()) == 1
    usual = torch.cat([inputs for inputs, _ in prepare(SMALL).training.epoch(0)])
    assert abs(float(usual.mean())) < 0.02
    assert abs(float(usual.std()) - 1) < 0.02


def test_the_data_of_a_run_can_be_had_again(tmp_path: Path) -> None:
    config = replace(SMALL, normalise="half", train_size=70, data_seed=2)
    train(config, tmp_path / "run")
    found = load_dataset(tmp_path / "run")
    assert found.mean == found.std == (0.5,)
    assert torch.equal(found.train.inputs, trained_on(config).inputs)
    assert torch.equal(found.test.inputs, data.load("digits").test.inputs)
    record = json.loads((tmp_path / "run" / "config.json").read_text())
    record["config"]["colour"] = "red"
    (tmp_path / "run" / "config.json").write_text(json.dumps(record))
    with pytest.raises(RunDirectoryError, match="colour"):
        load_dataset(tmp_path / "run")


def test_adam_halves_and_resumes_bit_for_bit(tmp_path: Path) -> None:
    config = replace(TREE, checkpoint_seconds=0.0)
    whole = train(config, tmp_path / "whole")
    assert [line["lr"] for line in whole.metrics] == [1e-3, 1e-3, 1e-4, 1e-4]
    for _ in range(100):
        try:
            train(config, tmp_path / "slices", resume=True, seconds=1e-9)  # one step each
            break
        except SliceOver:
            continue
    ours, theirs = load_weights(tmp_path / "whole"), load_weights(tmp_path / "slices")
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_tree_is_learned_as_in_the_text(tmp_path: Path) -> None:
    config = replace(TREE, model="tree-oracle", train_size=256, epochs=60, lr=1e-2, data_seed=1)
    result = train(config, tmp_path / "run").result
    assert result is not None
    assert result["test_loss"] < 0.02 * float(load_samples(config).test.targets.var())


RESULTS = sorted((Path(__file__).parents[2] / "results").glob("**/config.json"))


@pytest.mark.parametrize("path", RESULTS[:40], ids=lambda path: path.parent.name)
def test_runs_from_before_a_setting_existed_are_the_same_runs(path: Path) -> None:
    """What was recorded says all that decides the run: every setting since has it as default."""
    before = load_run(path.parent)
    config = RunConfig(**{"engine": "torch", **before.config})
    config.check()
    defaults = {field.name: field.default for field in fields(RunConfig)}
    identity = config.identity()
    assert {name: identity[name] for name in before.config} == before.config
    since = identity.keys() - before.config.keys() - {"engine"}
    assert all(identity[name] == defaults[name] for name in since)
    if before.result is not None:
        recorded = before.result["environment"]["command"]
        assert config.command().replace(" --engine torch", "") == recorded.replace(
            " --engine torch", ""
        )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_size": 0}, "--train-size 0"),
        ({"train_size": 10.0}, "--train-size 10.0: must be a whole number"),
        ({"train_size": 1438}, "--train-size 1438 is more than the 1437 training samples"),
        ({"train_size": 30}, "more than the 30 training samples.*--train-size.*--last-batch keep"),
        ({"data_seed": -1, "train_size": 9}, "--data-seed -1"),
        ({"data_seed": 1}, "--data-seed has no effect"),
        ({"tree_noise": 0.1}, "--tree-noise is of --data tree"),
        ({"tree_noise": float("nan"), "data": "tree"}, "--tree-noise nan"),
        ({"tree_noise": -0.1, "data": "tree"}, "--tree-noise -0.1"),
        ({"tree_noise_shared": True, "data": "tree"}, "--tree-noise-shared has no effect"),
        ({"normalise": "half", "data": "tree"}, "--normalise half is for images"),
        ({"normalise": "whole"}, "unknown --normalise 'whole'"),
        ({"last_batch": "kept"}, "unknown --last-batch 'kept'.*Did you mean 'keep'"),
        ({"schedule": "cosin"}, "unknown --schedule 'cosin'.*Did you mean 'cosine'"),
        ({"batch_size": 0}, "--batch-size 0"),
        ({"record_every": 0}, "--record-every 0"),
        ({"method": "adam", "momentum": 0.9}, "'adam' does not take momentum"),
        ({"method": "adam", "lam": 0.9}, "'adam' does not take lam"),
    ],
)
def test_what_cannot_be_is_refused(
    changes: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidArgument, match=message):
        train(replace(SMALL, **{"batch_size": 64, **changes}), tmp_path / "run")  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()
