"""A run from start to end: reproducible, resumable at any instant, safe against misuse."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch

from scratchconv import data
from scratchconv.errors import Collapse, DataError, InvalidArgument, RunDirectoryError
from scratchconv.training import (
    RunConfig,
    Silent,
    Stopped,
    checkpoint,
    load_model,
    load_run,
    load_weights,
    loop,
    records,
    state,
    train,
)
from scratchconv.training.evaluation import loss_of
from scratchconv.training.setup import prepare

SMALL = {
    "model": "s-fc",
    "alpha": 2,
    "data": "digits",
    "epochs": 3,
    "batch_size": 128,
    "lam": 2e-3,
    "dropout": 0.2,
}


def same_weights(one, other):
    first, second = load_weights(one), load_weights(other)
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


def without_clock(metrics):
    return [{name: v for name, v in line.items() if name != "seconds"} for line in metrics]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "finished"
    return train(RunConfig(**SMALL), out)


def test_a_finished_run_is_fully_recorded(finished):
    assert finished.config["model"] == "s-fc"
    assert "data_dir" not in finished.config
    assert [line["epoch"] for line in finished.metrics] == [1, 2, 3]
    assert finished.result["epochs"] == 3
    assert finished.result["steps"] == finished.resolved["steps"]
    assert 0.3 < finished.result["test_accuracy"] <= 1
    assert finished.result["layers"] == finished.metrics[-1]["layers"]
    assert finished.result["environment"]["command"].startswith("scratchconv train --model s-fc")
    counted = sum(layer["size"] for layer in finished.result["layers"])
    assert counted == finished.resolved["parameters"]
    weights = load_weights(finished.directory)
    nonzero = [int(w.count_nonzero()) for w in weights.values() if w.ndim == 2]
    assert nonzero == [layer["nonzero"] for layer in finished.result["layers"]]


def test_a_seed_gives_the_same_weights_twice(finished, tmp_path):
    again = train(RunConfig(**SMALL), tmp_path / "again")
    assert same_weights(finished.directory, again.directory)
    assert without_clock(finished.metrics) == without_clock(again.metrics)


def test_another_seed_gives_other_weights(finished, tmp_path):
    other = train(RunConfig(**{**SMALL, "seed": 1}), tmp_path / "other")
    assert not same_weights(finished.directory, other.directory)


KILLED = {
    "dropout and beta-lasso": SMALL,
    "momentum": {
        **{k: v for k, v in SMALL.items() if k != "lam"},
        "method": "sgd",
        "momentum": 0.9,
        "weight_decay": 5e-4,
    },
}


@pytest.mark.parametrize("name", KILLED)
def test_killed_at_any_instant_it_ends_with_the_same_weights(name, tmp_path):
    settings = {**KILLED[name], "epochs": 12, "checkpoint_seconds": 0.0}
    undisturbed = train(RunConfig(**settings), tmp_path / "undisturbed")
    out = tmp_path / "killed"
    program = (
        "from scratchconv.training import RunConfig, train\n"
        f"train(RunConfig(**{settings!r}), {str(out)!r}, resume=True)"
    )
    for lines in (2, 6):
        process = subprocess.Popen([sys.executable, "-c", program])
        wait_for_epochs(out, lines, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (out / "result.json").exists()
    resumed = train(RunConfig(**settings), out, resume=True)
    assert same_weights(undisturbed.directory, resumed.directory)
    assert without_clock(undisturbed.metrics) == without_clock(resumed.metrics)


def wait_for_epochs(out, count, process):
    deadline = time.monotonic() + 60
    path = out / "metrics.jsonl"
    while not (path.exists() and len(path.read_bytes().splitlines()) >= count):
        assert process.poll() is None, "ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)


class StopAt(Silent):
    """Asks the run to stop, as Ctrl-C does, once it has done so many steps."""

    def __init__(self, step):
        self.at = step

    def step(self, done, loss):
        if done >= self.at:
            os.kill(os.getpid(), signal.SIGINT)


def test_stopped_in_the_middle_of_an_epoch_it_goes_on_from_there(finished, tmp_path, monkeypatch):
    monkeypatch.setattr("scratchconv.training.loop._LOOK_SECONDS", 0.0)
    out = tmp_path / "stopped"
    config = RunConfig(**SMALL)
    with pytest.raises(Stopped, match="--resume"):
        train(config, out, progress=StopAt(13))
    (path,) = checkpoint.paths(out / "checkpoints")
    assert checkpoint.load(path).state["position"]["step"] not in (0, None)
    resumed = train(config, out, resume=True)
    assert same_weights(finished.directory, resumed.directory)
    assert without_clock(finished.metrics) == without_clock(resumed.metrics)


class Notes(Silent):
    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


def test_a_damaged_checkpoint_is_named_and_the_one_before_used(finished, tmp_path, monkeypatch):
    monkeypatch.setattr("scratchconv.training.loop._LOOK_SECONDS", 0.0)
    out = tmp_path / "damaged"
    config = RunConfig(**{**SMALL, "checkpoint_seconds": 0.0})
    with pytest.raises(Stopped):
        train(config, out, progress=StopAt(20))
    newest = checkpoint.paths(out / "checkpoints")[0]
    newest.write_bytes(newest.read_bytes()[:1000])
    notes = Notes()
    resumed = train(config, out, resume=True, progress=notes)
    assert any(newest.name in note for note in notes.notes)
    assert same_weights(finished.directory, resumed.directory)


def test_damaged_weights_of_a_finished_run_are_no_others(finished, tmp_path):
    out = tmp_path / "finished"
    shutil.copytree(finished.directory, out)
    last, before = checkpoint.paths(out / "checkpoints")[0], out / "checkpoints" / "step-0000000001"
    shutil.copy(last, before.with_suffix(".safetensors"))
    content = bytearray(last.read_bytes())
    content[-1] ^= 1
    last.write_bytes(content)
    with pytest.raises(RunDirectoryError, match=rf"{last.name} is damaged.* delete .*result.json"):
        load_model(out)
    before.with_suffix(".safetensors").rename(before)
    with pytest.raises(RunDirectoryError, match="or make the run anew in another --out"):
        load_model(out)
    before.rename(before.with_suffix(".safetensors"))
    (out / "result.json").unlink()  # one that is not finished has the weights of the one before
    with pytest.warns(UserWarning, match=rf"{last.name} is damaged.* of the one before it"):
        load_weights(out)


def test_a_run_without_its_checkpoints_says_that_it_begins_anew(tmp_path):
    out, config = tmp_path / "emptied", RunConfig(**SMALL, checkpoint_seconds=0)
    with pytest.raises(Stopped):
        train(config, out, progress=StopAt(25))
    assert load_run(out).metrics
    for path in checkpoint.paths(out / "checkpoints"):
        path.unlink()
    notes = Notes()
    train(config, out, resume=True, progress=notes)
    assert any("holds no checkpoint: the run begins anew" in note for note in notes.notes)


def test_a_run_is_not_gone_on_with_on_other_data(tmp_path, monkeypatch):
    out, config = tmp_path / "run", RunConfig(**SMALL, checkpoint_seconds=0)
    with pytest.raises(Stopped):
        train(config, out, progress=StopAt(1))
    written = (out / "config.json").read_text()
    digits = data.load("digits")
    inputs = digits.test.inputs.clone()
    inputs[-1, -1, -1, -1] ^= 1
    other = replace(digits, test=replace(digits.test, inputs=inputs))
    with monkeypatch.context() as patch:
        patch.setattr(data, "load", lambda name, folder: other)
        with pytest.raises(RunDirectoryError, match="begun on other data of the name digits"):
            train(config, out, resume=True)
    # One that an earlier version began does not tell.
    content = json.loads(written)
    del content["resolved"]["data_digest"]
    (out / "config.json").write_text(json.dumps(content))
    assert train(config, out, resume=True).result


def test_a_run_of_settings_that_are_not_known_is_left_to_others(tmp_path):
    out, config = tmp_path / "run", RunConfig(**SMALL, checkpoint_seconds=0)
    with pytest.raises(Stopped):
        train(config, out, progress=StopAt(1))
    content = json.loads((out / "config.json").read_text())
    content["config"]["label_smoothing"] = 0.1
    (out / "config.json").write_text(json.dumps(content))
    with pytest.raises(RunDirectoryError, match="begun with label_smoothing, which this version"):
        train(config, out, resume=True)


def test_momentum_is_laid_out_as_its_weights_again():
    config = RunConfig(
        model="d-conv", alpha=2, data="digits", method="sgd", momentum=0.9, batch_size=128
    )
    one, other = prepare(config), prepare(config)
    inputs, targets = next(iter(one.training.epoch(0)))
    loss_of(one.model(inputs), targets, "classification").backward()
    one.optimizer.step()
    state.restore(other, state.capture(one, state.Position(step=1)))
    for ours, theirs in zip(one.model.parameters(), other.model.parameters(), strict=True):
        before = one.optimizer.state[ours]["momentum_buffer"]
        after = other.optimizer.state[theirs]["momentum_buffer"]
        assert before.stride() == after.stride() == theirs.stride()
        assert torch.equal(before, after)


def test_a_metrics_line_cut_short_is_made_anew(finished, tmp_path):
    out = tmp_path / "cut"
    with pytest.raises(Stopped):
        train(RunConfig(**{**SMALL, "checkpoint_seconds": 0}), out, progress=StopAt(1))
    with (out / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 1, "ste')
    resumed = train(RunConfig(**SMALL), out, resume=True)
    assert without_clock(finished.metrics) == without_clock(resumed.metrics)


def test_the_folder_of_the_data_may_change(tmp_path):
    out = tmp_path / "moved"
    config = RunConfig(**SMALL, data_dir=tmp_path, checkpoint_seconds=0)
    with pytest.raises(Stopped):
        train(config, out, progress=StopAt(1))
    assert train(RunConfig(**SMALL, data_dir=tmp_path / "elsewhere"), out, resume=True).result


def test_resume_of_a_finished_run_changes_nothing(finished):
    notes = Notes()
    before = (finished.directory / "result.json").read_bytes()
    again = train(RunConfig(**SMALL), finished.directory, resume=True, progress=notes)
    assert again.result == finished.result
    assert (finished.directory / "result.json").read_bytes() == before
    assert "finished already" in notes.notes[0]


def test_nothing_is_overwritten_without_being_asked(finished, tmp_path):
    with pytest.raises(RunDirectoryError, match=r"already holds a run.*--resume"):
        train(RunConfig(**SMALL), finished.directory)
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(RunDirectoryError, match="not empty"):
        train(RunConfig(**SMALL), tmp_path)
    with pytest.raises(RunDirectoryError, match="is a file"):
        train(RunConfig(**SMALL), tmp_path / "letter.txt")
    assert (tmp_path / "letter.txt").read_text() == "mine"


def test_another_configuration_is_not_mixed_in(finished):
    with pytest.raises(RunDirectoryError, match=r"another run \(lam 0.002 → 0.003\)"):
        train(RunConfig(**{**SMALL, "lam": 3e-3}), finished.directory, resume=True)


def test_a_second_process_is_turned_away(tmp_path):
    out = tmp_path / "busy"
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from scratchconv.training import run_directory\n"
        f"run_directory.create(Path({str(out)!r}))\n"
        f"with run_directory.lock(Path({str(out)!r})):\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RunDirectoryError, match="in use by another process"):
            train(RunConfig(**SMALL), out, resume=True)
    finally:
        holder.communicate("")
    assert train(RunConfig(**{**SMALL, "epochs": 1}), out, resume=True).result


def test_a_loss_that_explodes_stops_the_run_and_keeps_it(tmp_path):
    out = tmp_path / "exploded"
    settings = {**SMALL, "method": "sgd", "lam": 0.0, "lr": 1e30, "precision": "fp32"}
    with pytest.raises(Collapse, match="learning rate is too large"):
        train(RunConfig(**settings), out)
    assert load_run(out).result is None


@pytest.mark.parametrize("model", ["s-fc", "s-conv"])
@pytest.mark.parametrize("validation", [0, 0.1])
def test_weights_that_explode_in_the_last_step_are_no_result(model, validation, tmp_path):
    settings = {**SMALL, "model": model, "method": "sgd", "lam": 0.0, "lr": 3e38}
    settings |= {"validation": validation, "epochs": 1, "batch_size": 1200, "precision": "fp32"}
    with pytest.raises(Collapse, match="after 1 steps"):
        train(RunConfig(**settings), tmp_path / "run")
    assert load_run(tmp_path / "run").result is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_weight_that_is_not_finite_is_found(value):
    model = prepare(RunConfig(**SMALL)).model
    assert math.isfinite(loop.largest(model))
    with torch.no_grad():
        model.first_layer.weight[3, 4] = value
    assert not math.isfinite(loop.largest(model))


def test_a_test_loss_that_is_not_finite_is_no_result(tmp_path, monkeypatch):
    evaluate = records.evaluate

    def no_test(model, batches, **options):
        score = evaluate(model, batches := list(batches), **options)
        return replace(score, loss=math.nan) if sum(len(y) for _, y in batches) == 360 else score

    monkeypatch.setattr(records, "evaluate", no_test)
    with pytest.raises(Collapse, match="test loss is nan"):
        train(RunConfig(**{**SMALL, "epochs": 1}), tmp_path / "run")
    assert load_run(tmp_path / "run").result is None


def test_too_large_a_lam_is_reported_in_the_record(tmp_path):
    run = train(RunConfig(**{**SMALL, "lam": 0.05}), tmp_path / "heavy")
    warnings = [warning for line in run.metrics for warning in line["warnings"]]
    assert any("λ" in warning for warning in warnings)


def test_lam_is_carried_to_another_run_length(tmp_path):
    run = train(
        RunConfig(**{**SMALL, "lam": 1e-4, "lam_scale": "steps", "lam_epochs": 30}),
        tmp_path / "scaled",
    )
    steps = run.resolved["steps"]
    assert run.resolved["lam"] == pytest.approx(1e-4 * (10 * steps + 1) / (steps + 1))


def test_regression_has_a_loss_and_no_accuracy(tmp_path):
    config = RunConfig(
        model="3-fc", alpha=16, data="tree", method="sgd", lr=0.01, epochs=2, batch_size=256
    )
    result = train(config, tmp_path / "tree").result
    assert result["test_accuracy"] is None
    assert result["test_loss"] > 0


@pytest.mark.parametrize("name", ["s-conv", "s-local", "3-fc", "d-conv", "d-local", "resnet18"])
def test_every_kind_of_network_trains(name, tmp_path):
    config = RunConfig(
        model=name, alpha=2, data="digits", method="sgd", epochs=1, batch_size=256, seed=3
    )
    result = train(config, tmp_path / name).result
    assert json.loads(json.dumps(result)) == result
    assert result["layers"]


def test_without_validation_all_training_data_is_used(tmp_path):
    run = train(RunConfig(**{**SMALL, "validation": 0, "epochs": 1}), tmp_path / "all")
    assert run.resolved["validation_size"] == 0
    assert run.result["validation_accuracy"] is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "s-cf"}, "unknown network 's-cf': choose from .*Did you mean 's-fc'"),
        ({"data": "cifar"}, "unknown dataset 'cifar'"),
        ({"method": "b-lasso"}, "unknown method"),
        ({"epochs": 0}, "--epochs 0"),
        ({"lr": float("nan")}, "--lr nan"),
        ({"lr": -0.1}, "--lr -0.1"),
        ({"lr": 1e39}, r"--lr 1e\+39: too large"),
        ({"beta": 1e39}, r"--beta 1e\+39: too large"),
        ({"alpha": None}, "--alpha .* or --params"),
        ({"batch_size": 10**6}, "--batch-size 1000000 is more than the .* training samples"),
        ({"batch_size": 1}, "--batch-size 1"),
        ({"batch_size": 64.0}, "whole number"),
        ({"seed": 2**64}, "--seed"),
        ({"seed": -1}, "--seed -1"),
        ({"cutout": 10**20}, "--cutout 10+: must be at most 2147483647"),
        ({"batch_size": 10**20, "last_batch": "keep"}, "--batch-size 10+: must be at most"),
        ({"lam_epochs": 10**20, "lam_scale": "steps"}, "--lam-epochs 10+: must be at most"),
        ({"train_size": 10**20, "data": "tree"}, "--train-size 10+: must be at most"),
        ({"model": "resnet18", "kernel_size": 1001}, "kernel_size is 1001.* 8×8 .*at most 15"),
        ({"permute": -1}, "--permute -1"),
        ({"lam_epochs": 0, "lam_scale": "steps"}, "--lam-epochs 0"),
        ({"validation": 1.5}, "--validation 1.5.*whole count"),
        ({"validation": 0.9999}, "validation 0.9999 must leave some of the 1437"),
        ({"checkpoint_seconds": float("nan")}, "--checkpoint-seconds nan"),
        ({"precision": "fp8"}, "unknown --precision 'fp8'"),
        ({"augment": "some"}, "unknown --augment 'some'"),
        ({"lam_scale": "step"}, "unknown --lam-scale 'step'.*Did you mean 'steps'"),
        ({"params": 1e6}, "exactly one"),
        ({"alpha": 0}, "alpha is 0"),
        ({"alpha": 10**7}, "smaller alpha"),
        ({"alpha": None, "params": 1}, "smallest"),
        ({"dropout": 1.0}, "dropout"),
        ({"kernel_size": 5}, "kernel_size"),
        ({"lam": 0.0}, "plain sgd"),
        ({"lam": -1.0}, "lam"),
        ({"lam_scale": "steps"}, "--lam-epochs"),
        ({"lam_epochs": 5}, "--lam-scale steps"),
        ({"device": "tpu"}, "--device tpu"),
        ({"precision": "fp16", "device": "cpu"}, "fp16 needs a GPU"),
        ({"validation": 1.0e9}, "validation"),
        ({"momentum": 0.9}, "momentum"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_before_anything_is_made(change, message, tmp_path):
    with pytest.raises(InvalidArgument, match=message) as raised:
        train(RunConfig(**{**SMALL, **change}), tmp_path / "run")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run").exists()


def test_missing_data_says_how_to_get_it(tmp_path):
    config = RunConfig(**{**SMALL, "data": "cifar10", "data_dir": tmp_path})
    with pytest.raises(DataError, match="scratchconv data fetch cifar10"):
        train(config, tmp_path / "run")


def test_a_run_made_to_choose_leaves_the_test_data_alone(tmp_path):
    result = train(RunConfig(**{**SMALL, "epochs": 1, "skip_test": True}), tmp_path / "r").result
    assert result["test_loss"] is None
    assert result["test_accuracy"] is None
    assert result["validation_accuracy"] > 0
    assert "--skip-test " in result["environment"]["command"]


def test_cutout_changes_training_and_is_recorded(finished, tmp_path):
    run = train(RunConfig(**{**SMALL, "cutout": 4}), tmp_path / "cutout")
    assert run.config["cutout"] == 4
    assert run.metrics[0]["train_loss"] != finished.metrics[0]["train_loss"]
    with pytest.raises(InvalidArgument, match="--cutout -1"):
        train(RunConfig(**{**SMALL, "cutout": -1}), tmp_path / "negative")


def test_the_trained_network_can_be_loaded(finished):
    model = load_model(finished.directory)
    assert not model.training
    weights = load_weights(finished.directory)
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
