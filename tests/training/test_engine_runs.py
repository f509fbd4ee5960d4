"""Runs by the sparse engine: their record, their resumption, and which runs it takes part in."""

import json
import os

import pytest
import torch

from scratchconv.errors import InvalidArgument, RunDirectoryError
from scratchconv.sparse import SparseLinear
from scratchconv.training import RunConfig, Stopped, load_run, load_weights, train
from scratchconv.training.progress import Silent
from scratchconv.training.run_directory import read_engine_record
from scratchconv.training.setup import prepare

SMALL = {
    "model": "s-fc",
    "alpha": 1,
    "data": "digits",
    "epochs": 3,
    "batch_size": 300,
    "lam": 3e-3,
    "lr": 0.5,
    "checkpoint_seconds": 0,
}
ENGINES = ("dense", "sparse")


class StopAt(Silent):
    """Asks the run to stop once `steps` steps are done."""

    def __init__(self, steps):
        self.steps = steps

    def step(self, done, loss):
        if done == self.steps:
            os.kill(os.getpid(), 2)


def lines_without_time(run):
    return [{**line, "seconds": None} for line in run.metrics]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_stopped_run_ends_with_the_same_bits(tmp_path, engine, precision):
    config = RunConfig(**SMALL, engine=engine, precision=precision)
    whole = train(config, tmp_path / "whole")
    for steps in (2, 7):
        with pytest.raises(Stopped):
            train(config, tmp_path / "parts", resume=True, progress=StopAt(steps))
    parts = train(config, tmp_path / "parts", resume=True)
    ours, theirs = load_weights(parts.directory), load_weights(whole.directory)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert lines_without_time(parts) == lines_without_time(whole)
    kept = [
        [(line["step"], line["layer"], line["nonzero"]) for line in read_engine_record(directory)]
        for directory in (tmp_path / "parts", tmp_path / "whole")
    ]
    assert sorted(kept[0]) == sorted(kept[1])


@pytest.mark.parametrize("engine", ENGINES)
def test_the_engine_learns_what_torch_learns(tmp_path, engine):
    settings = {**SMALL, "precision": "fp32", "epochs": 1}
    plain = train(RunConfig(**settings, engine="torch"), tmp_path / "torch")
    ours = train(RunConfig(**settings, engine=engine), tmp_path / engine)
    weights, others = load_weights(ours.directory), load_weights(plain.directory)
    assert weights.keys() == others.keys()
    for name, weight in weights.items():
        # Four steps on: rounding has had no time to grow.
        assert torch.allclose(weight.double(), others[name].double(), rtol=1e-3, atol=1e-4), name
    assert [layer["nonzero"] for layer in ours.result["layers"]] == pytest.approx(
        [layer["nonzero"] for layer in plain.result["layers"]], rel=1e-3
    )


def test_every_step_of_every_layer_is_on_record(tmp_path):
    run = train(RunConfig(**SMALL, engine="sparse"), tmp_path / "run")
    record = read_engine_record(run.directory)
    steps = run.result["steps"]
    for layer in ("conv1", "fc1", "fc2"):
        lines = [line for line in record if line["layer"] == layer]
        assert [line["step"] for line in lines] == list(range(1, steps + 1))
        assert all(line["compressed"] for line in lines)
        assert all(
            line["units"] >= line["norms"] >= line["blocks"] >= line["pairs"] for line in lines
        )
        nonzero = next(entry for entry in run.result["layers"] if entry["name"] == layer)["nonzero"]
        assert lines[-1]["nonzero"] == nonzero


def test_auto_leaves_small_networks_to_torch():
    setup = prepare(RunConfig(**SMALL))
    assert not any(isinstance(module, SparseLinear) for module in setup.model.modules())
    assert setup.resolved()["switch_at"] == {}


def test_auto_times_large_layers_once_and_records_where_they_switch(tmp_path, monkeypatch):
    monkeypatch.setattr("scratchconv.sparse.engine.SMALLEST", 1)
    config = RunConfig(**{**SMALL, "epochs": 1})
    run = train(config, tmp_path / "run")
    timed = run.resolved["switch_at"]
    assert timed.keys() == {"conv1", "fc1", "fc2"}
    again = prepare(config, before=run.resolved)
    assert again.resolved()["switch_at"] == timed


@pytest.mark.parametrize("settings", [{"method": "sgd", "lam": 0.0}, {"method": "proximal-lasso"}])
def test_other_methods_are_left_to_torch(settings):
    settings = {**SMALL, **settings}
    setup = prepare(RunConfig(**settings))
    assert setup.engine is None
    with pytest.raises(InvalidArgument, match="beta-lasso only"):
        RunConfig(**settings, engine="sparse").check()


def test_an_unknown_engine_is_refused_with_the_choices():
    with pytest.raises(InvalidArgument, match="auto, dense, sparse, torch"):
        RunConfig(**SMALL, engine="spares").check()
    with pytest.raises(InvalidArgument, match="--regrowth 0"):
        RunConfig(**SMALL, regrowth=0).check()
    for engine in ("dense", "torch"):
        with pytest.raises(InvalidArgument, match="--regrowth 10 is of compressed layers"):
            RunConfig(**SMALL, engine=engine, regrowth=10).check()


def test_zeros_return_at_every_kth_step_only(tmp_path):
    config = RunConfig(**{**SMALL, "lam": 1e-3, "lr": 2.0}, engine="sparse", regrowth=4)
    run = train(config, tmp_path / "run")
    record = read_engine_record(run.directory)
    assert {line["step"] % 4 for line in record if "units" in line} == {0}
    assert sum(line.get("revived", 0) for line in record) > 0


def test_a_run_from_before_the_engine_goes_on_without_it(tmp_path):
    config = RunConfig(**SMALL, engine="torch")
    with pytest.raises(Stopped):
        train(config, tmp_path / "run", progress=StopAt(2))
    path = tmp_path / "run" / "config.json"
    written = json.loads(path.read_text())
    del written["config"]["engine"], written["config"]["regrowth"]
    path.write_text(json.dumps(written))
    with pytest.raises(RunDirectoryError, match="engine 'torch' → 'auto'"):
        train(RunConfig(**SMALL), tmp_path / "run", resume=True)
    assert train(config, tmp_path / "run", resume=True).result is not None


def test_a_cut_line_of_the_engine_record_is_left_out(tmp_path):
    run = train(RunConfig(**{**SMALL, "epochs": 1}, engine="sparse"), tmp_path / "run")
    whole = read_engine_record(run.directory)
    with (run.directory / "engine.jsonl").open("a") as file:
        file.write('{"step": 99, "lay')
    assert read_engine_record(run.directory) == whole
    assert load_run(run.directory).result is not None
