"""The paper-scale run in slices, at a tiny scale on the CPU; and what a step costs at the least."""

from __future__ import annotations

import json
import os
import signal

import pytest
import torch

from scratchconv import models
from scratchconv.errors import InvalidArgument
from scratchconv.experiments import paper_scale
from scratchconv.experiments.step_floor import rates_of, work_of_step
from scratchconv.training import RunConfig, Silent, Stopped, load_run, load_weights, train

TINY = {"alpha": 1, "data": "digits", "epochs": 2, "batch_size": 300, "device": "cpu"}
AT_ONCE = 1e-9


def slices(out):
    return [json.loads(line) for line in (out / "slices.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def in_one_go(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "in-one-go"
    paper_scale.main(out, lam=1e-3, **TINY)
    return out


def test_two_slices_end_as_one_run(in_one_go, tmp_path, capsys):
    out = tmp_path / "run"
    paper_scale.main(out, lam=1e-3, slice_seconds=AT_ONCE, **TINY)
    assert capsys.readouterr().out == "step 1 of 8: the same command goes on\n"
    assert load_run(out).result is None
    paper_scale.main(out, lam=1e-3, **TINY)
    assert capsys.readouterr().out == ""
    ours, theirs = load_weights(out), load_weights(in_one_go)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    first, second = slices(out)
    assert (first["steps"], first["done"], first["of"], first["finished"]) == (1, 1, 8, False)
    assert (second["steps"], second["done"], second["finished"]) == (7, 8, True)


def test_slices_of_one_step_come_to_the_end(in_one_go, tmp_path):
    out = tmp_path / "run"
    for _ in range(9):  # the last one only evaluates
        paper_scale.main(out, lam=1e-3, slice_seconds=AT_ONCE, **TINY)
    ours, theirs = load_weights(out), load_weights(in_one_go)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert [line["finished"] for line in slices(out)] == [False] * 8 + [True]
    paper_scale.main(out, lam=1e-3, **TINY)  # nothing left to do, and nothing to record
    assert len(slices(out)) == 9


def test_a_slice_is_recorded_with_the_work_of_its_steps(in_one_go):
    (line,) = slices(in_one_go)
    assert line["steps"] == 8
    assert 0 < line["seconds_per_step"] < line["seconds"]
    assert line["peak_memory_bytes"] > 10**6
    assert line["dense_floor"]["operations"] > 0
    assert line["dense_floor"]["seconds"] is None  # no rates are known of a CPU
    assert line["environment"]["versions"]["torch"] == torch.__version__
    assert line["resolved"]["precision"] == "fp32"


def test_a_ctrl_c_is_no_end_of_a_slice_but_recorded(tmp_path):
    class Impatient(Silent):
        def epoch(self, metrics):
            os.kill(os.getpid(), signal.SIGINT)

    config = RunConfig(model="s-fc", lam=1e-3, **TINY)
    with pytest.raises(Stopped, match="stopped as asked"):
        paper_scale.run_slice(config, tmp_path / "run", None, Impatient())
    assert [line["done"] for line in slices(tmp_path / "run")] == [4]


def test_seconds_must_be_positive(tmp_path):
    with pytest.raises(InvalidArgument, match="seconds is 0"):
        train(RunConfig(lam=1e-3, **TINY), tmp_path / "run", seconds=0)
    assert not (tmp_path / "run").exists()


def test_the_clock_takes_stretches_that_hold_nothing_but_steps(monkeypatch):
    now = iter((10.0, 10.4, 99.0))
    monkeypatch.setattr(paper_scale.time, "monotonic", lambda: next(now))
    clock = paper_scale.StepClock(Silent())
    assert clock.seconds_per_step() is None
    clock.step(2, 1.0)
    clock.step(6, 1.0)  # 0.1 s each
    clock.epoch({"step": 10, "seconds": 1.0})
    clock.step(12, 1.0)  # an evaluation lies before it
    clock.epoch({"step": 20, "seconds": 4.0})  # 0.3 s each
    assert clock.seconds_per_step() == pytest.approx(0.2)


def test_the_work_of_a_step_counted_by_hand():
    model = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.ReLU(), torch.nn.Linear(5, 2))
    work = work_of_step(model, 7, "bf16")
    # Two passes over layer 1, three over layer 2; 2 bytes a pass, 10 for the update.
    assert work.operations == 2 * 7 * (2 * 15 + 3 * 10)
    assert work.bytes == 15 * (2 + 10) + 10 * (2 + 2 + 10)
    assert work_of_step(model, 7, "fp32").bytes == 15 * (4 + 8) + 10 * (4 + 4 + 8)


def test_the_floor_of_the_paper_scale_on_an_h200():
    with torch.device("meta"):
        model = models.build("s-fc", params=256e6)
    work = work_of_step(model, 512, "bf16")
    rates = rates_of("NVIDIA H200")
    assert rates_of("NVIDIA GeForce GTX 1080") is None
    assert rates_of(None) is None
    seconds = work.seconds(rates, "bf16")
    assert seconds["bytes"] == work.bytes / 4.8e12
    assert seconds["operations"] == work.operations / 989e12
    assert 5e-4 < min(seconds.values()) < max(seconds.values()) < 1e-3
